#pragma once

// Runs programs the way the tests and run_pair need it: in a job object that ends with its owner,
// with their output collected, and within a time limit. Nothing here is part of a lesson.

#include "common/unique_handle.hpp"

#include <windows.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace ipc::test {

// Far more than anything here takes on a busy machine; what exceeds it hangs.
constexpr DWORD default_limit_ms = 60'000;

// A kill-on-close job object: when it is destroyed, or the process that owns it dies, every process
// started in it and every child of those is terminated.
// https://learn.microsoft.com/windows/win32/procthread/job-objects
class job {
public:
    job();
    ~job() { terminate(); }
    job(const job&) = delete;
    job& operator=(const job&) = delete;

    HANDLE handle() const { return job_.get(); }

    // The processes that are in the job now and have not ended.
    std::vector<DWORD> process_ids() const;

    // Their file names, such as "processB.exe".
    std::vector<std::string> process_names() const;

    // Whether all of them ended within limit_ms.
    bool wait_until_empty(DWORD limit_ms) const;

    void terminate() const noexcept;

private:
    unique_handle job_;
};

struct start_options {
    std::vector<HANDLE> inherited; // beyond standard input and output; must be inheritable
    DWORD creation_flags = 0;      // added to those of CreateProcessW
    std::function<void(std::string_view line)> on_line; // called on a thread of its own
};

// A program and its children, in a job of their own. Standard input is empty; standard output and
// standard error are collected by two threads until the last process that holds them ends. The
// destructor terminates what is still running.
class program {
public:
    // arguments[0] is the path. Throws win32_error.
    explicit program(const std::vector<std::wstring>& arguments, const start_options& options = {});
    ~program();
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    const test::job& job() const { return job_; }
    HANDLE process() const { return process_.get(); }
    DWORD id() const { return id_; }

    // Whether it ended within limit_ms milliseconds.
    bool wait(DWORD limit_ms = default_limit_ms) const;

    // Whether the text appeared in its standard output or error within limit_ms.
    bool wait_for_output(std::string_view text, DWORD limit_ms = default_limit_ms);

    // Whether both outputs reached their end within limit_ms.
    bool wait_for_end_of_output(DWORD limit_ms = default_limit_ms);

    // Ends the program, not its children, as the Task Manager would, with this exit code.
    void kill(UINT exit_code = 99) const;

    // What Ctrl+C in its console does: runs its control handlers on a new thread of it. The program
    // must not have been started with CREATE_NEW_PROCESS_GROUP, which ignores Ctrl+C.
    void press_ctrl_c() const;

    DWORD exit_code() const; // STILL_ACTIVE (259) while it runs
    std::string output();    // what came so far, byte for byte
    std::string error_output();

    // The most memory it was seen to have committed, in bytes; looked at every 10 ms.
    std::uint64_t peak_memory_bytes() const { return peak_memory_bytes_; }

private:
    void watch_memory();
    void collect(HANDLE read_end, std::string& into, const start_options& options);

    test::job job_;
    unique_handle process_;
    DWORD id_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string output_;
    std::string error_output_;
    int open_outputs_ = 2;
    std::atomic<std::uint64_t> peak_memory_bytes_ = 0;
    std::vector<std::jthread> threads_;
};

struct result {
    DWORD exit_code = 0;
    bool timed_out = false;
    std::string output;
    std::string error_output;
    std::vector<std::string> left_running; // processes it started that were still there at its end
};

// Starts the program in a job of its own, waits for its end and for the end of its output, and
// terminates what is left. After limit_ms milliseconds everything is terminated (timed_out).
result run(const std::vector<std::wstring>& arguments, const start_options& options = {},
           DWORD limit_ms = default_limit_ms);

// The full path of a program of a pair, such as (L"01_stdout_redirection", L"processA.exe"), or of
// the tests' own (L"tests", L"helper.exe").
std::wstring program_path(std::wstring_view folder, std::wstring_view file_name);

// How many handles the process has open; its growth tells a leak. Counts by itself where
// GetProcessHandleCount does not (Wine). The handle needs PROCESS_QUERY_LIMITED_INFORMATION and
// PROCESS_DUP_HANDLE.
DWORD handle_count(HANDLE process);

// What the process has committed at this moment, in bytes. Throws if it has ended.
std::uint64_t memory_bytes(HANDLE process);

// A folder of the test's own, removed with its content at the end.
class temporary_folder {
public:
    temporary_folder();
    ~temporary_folder();
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;

    std::wstring file(std::wstring_view name) const { return (path_ / name).wstring(); }

private:
    std::filesystem::path path_;
};

// Writes a file of this many bytes; the same seed gives the same bytes. Throws if it cannot.
void write_random_file(const std::wstring& path, std::uint64_t bytes, std::uint64_t seed = 1);

// Whether both files exist and hold the same bytes.
bool same_content(const std::wstring& first, const std::wstring& second);

// The whole file; empty if there is none.
std::string read_file(const std::wstring& path);

// Whether the tests run under Wine, so that one that Wine cannot pass is skipped with the reason.
bool is_wine();

// A suffix for --name that no other test uses at the same time.
std::wstring unique_suffix();

// The lines of a text; "\r\n" and "\n" both end one.
std::vector<std::string> lines_of(std::string_view text);

// What a run of one A and any number of Bs printed, compared with expected_output.txt. Lines of the
// file begin with "A: " or "B: "; each program's own lines must come in the file's order, but two
// programs may be interleaved in any way. With several Bs the order of the lines does not count.
// Returns an empty text if they match, or else one sentence for the first difference.
std::string compare_output(const std::vector<std::string>& expected,
                           const std::vector<std::string>& lines_of_a,
                           const std::vector<std::vector<std::string>>& lines_of_each_b);

} // namespace ipc::test
