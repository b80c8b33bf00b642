#pragma once

// Runs programs for the tests and for run_pair. Each program runs in a job object that ends with
// its owner, with a time limit, and its output is collected. Nothing here is part of a lesson.

#include "common/unique_handle.hpp"

#include <windows.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace ipc::test {

// Far longer than any program here needs, even on a busy machine. A program that exceeds it hangs.
constexpr DWORD default_limit_ms = 60'000;

// A job object with JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE. When it is destroyed, or when the process
// that owns it dies, Windows terminates every process in the job, children of its processes
// included.
// https://learn.microsoft.com/windows/win32/procthread/job-objects
class job {
public:
    job();
    ~job() { terminate(); }
    job(const job&) = delete;
    job& operator=(const job&) = delete;

    HANDLE handle() const { return job_.get(); }

    // Returns the ids of the running processes in the job.
    std::vector<DWORD> process_ids() const;

    // Returns their file names, such as "processB.exe".
    std::vector<std::string> process_names() const;

    // Returns whether every process in the job ended within limit_ms milliseconds.
    bool wait_until_empty(DWORD limit_ms) const;

    void terminate() const noexcept;

private:
    unique_handle job_;
};

struct start_options {
    std::vector<HANDLE> inherited; // besides the standard handles; they must be inheritable
    DWORD creation_flags = 0;      // further flags for CreateProcessW
    std::wstring desktop;          // "station\\desktop"; empty: that of this program
    std::function<void(std::string_view line)> on_line; // is called on another thread
    // How much of each output is kept, in bytes; 0: everything. The rest is read and forgotten.
    std::size_t most_output_bytes = 0;
    // Where tests/tracer/ records the program's calls; empty: the folder in the environment variable IPC_TRACE.
    // If that is empty, too, nothing is recorded.
    std::wstring trace_folder;
};

// Returns the folder in the environment variable IPC_TRACE, or nothing.
std::wstring trace_folder();

// Removes the tracer's records from a folder. A record that cannot be removed stays.
void remove_traces(const std::wstring& folder);

// Loads the tracer's DLL into a process that was created suspended. Returns nothing, or in one line why it cannot be.
// The process can be resumed in both cases.
std::string load_tracer(HANDLE process, DWORD id, const std::wstring& dll,
                        const std::wstring& folder);

// A running program and its children, in a job of their own. Its standard input is empty. Two
// threads collect its standard output and standard error until the last process that holds them
// ends. The destructor terminates every process that still runs.
class program {
public:
    // arguments[0] is the path of the program. Throws win32_error.
    explicit program(const std::vector<std::wstring>& arguments, const start_options& options = {});
    ~program();
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    const test::job& job() const { return job_; }
    HANDLE process() const { return process_.get(); }
    DWORD id() const { return id_; }

    // Returns whether the program ended within limit_ms milliseconds.
    bool wait(DWORD limit_ms = default_limit_ms) const;

    // Returns whether the text appeared in its standard output or error within limit_ms
    // milliseconds.
    bool wait_for_output(std::string_view text, DWORD limit_ms = default_limit_ms);

    // Returns whether both outputs reached their end within limit_ms milliseconds.
    bool wait_for_end_of_output(DWORD limit_ms = default_limit_ms);

    // Ends the program with this exit code, as the Task Manager does. Its children go on.
    void kill(UINT exit_code = 99) const;

    // Does what Ctrl+C in the program's console does: runs its control handlers on a new thread in
    // it. A program that ignores Ctrl+C (see common/stop.cpp) ignores this too.
    void press_ctrl_c() const;

    DWORD exit_code() const; // STILL_ACTIVE (259) while it runs
    std::string output();    // everything it has written so far, byte for byte
    std::string error_output();

    // Returns how many bytes it has written to both outputs so far, forgotten ones included.
    std::uint64_t output_bytes() const { return output_bytes_; }

    // Returns the largest committed memory that a look every 10 ms has found, in bytes.
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
    std::atomic<std::uint64_t> output_bytes_ = 0;
    std::atomic<std::uint64_t> peak_memory_bytes_ = 0;
    std::vector<std::jthread> threads_;
};

// Returns the threads that the process has now, opened with this access. A thread that ends meanwhile is left out.
// Throws win32_error.
std::vector<unique_handle> threads_of(DWORD process_id, DWORD access);

// Stops all threads that the program has now, for as long as this object lives. They have stopped when
// the constructor returns. Throws win32_error.
// https://learn.microsoft.com/windows/win32/api/processthreadsapi/nf-processthreadsapi-suspendthread
class suspended {
public:
    explicit suspended(const program& stopped);
    ~suspended();
    suspended(const suspended&) = delete;
    suspended& operator=(const suspended&) = delete;

    bool empty() const { return threads_.empty(); } // the program had ended

private:
    std::vector<unique_handle> threads_;
};

struct result {
    DWORD exit_code = 0;
    bool timed_out = false;
    std::string output;
    std::string error_output;
    std::vector<std::string> left_running; // the processes that were still running at the end
};

// Starts the program in a job of its own and waits for its end and for the end of its output, up to
// limit_ms milliseconds (timed_out says whether that was too short). Then it terminates every
// process that is left in the job.
result run(const std::vector<std::wstring>& arguments, const start_options& options = {},
           DWORD limit_ms = default_limit_ms);

// A program of a pair that this system cannot run ends with this exit code and one line on standard error, "A: left
// out: <the reason>". Both are needed: abort() ends a program with the same code.
constexpr DWORD left_out_exit_code = 3;

// Returns the reason why a program that has ended was left out, or an empty text if it ran.
std::string left_out_reason(program& ended);

// Returns the full path of a pair's program, as (L"01_stdout_redirection", L"processA.exe"), or of
// a program of the tests, as (L"tests", L"helper.exe").
std::wstring program_path(std::wstring_view folder, std::wstring_view file_name);

// Returns how many handles the process has open, to find a leak. On Windows an injected DLL or a
// thread pool can open and close some at any time, so a test allows a margin. Where
// GetProcessHandleCount counts nothing (Wine), this tries each number. The handle needs
// PROCESS_QUERY_LIMITED_INFORMATION and PROCESS_DUP_HANDLE access.
DWORD handle_count(HANDLE process);

// Returns the processor time of the process's threads, in milliseconds, without threads that have
// ended. GetProcessTimes would do, but under Wine it does not see what another process uses.
std::uint64_t processor_ms(HANDLE process);

// Returns the committed memory of the process at this moment, in bytes. Throws if it has ended.
std::uint64_t memory_bytes(HANDLE process);

// A new folder for one test. The destructor removes it with its content.
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

// Writes a file of this many bytes. The same seed gives the same bytes. Throws std::runtime_error.
void write_random_file(const std::wstring& path, std::uint64_t bytes, std::uint64_t seed = 1);

// Returns whether both files exist and hold the same bytes.
bool same_content(const std::wstring& first, const std::wstring& second);

// Returns the content of the file, or an empty text if there is no such file.
std::string read_file(const std::wstring& path);

// Returns whether the tests run under Wine. A test that Wine cannot pass is skipped with the
// reason.
bool is_wine();

// Call it before the programs of a pair that has windows. Under Wine the first window starts a background process,
// the desktop, which lives as long as a program uses it. Started by a program of a test, it would keep this program's
// output open and run in its job. Does nothing on Windows.
void start_desktop();

// Returns a suffix for --name that no other test uses at the same time.
std::wstring unique_suffix();

// Returns the lines of a text. "\r\n" and "\n" both end a line.
std::vector<std::string> lines_of(std::string_view text);

// Compares the output of one A and any number of Bs with expected_output.txt. Each line of the file
// begins with "A: " or "B: ". The lines of each program must come in the file's order, but the
// lines of A and B may mix in any way. With several Bs the order does not matter. Returns an empty
// text if the lines match, and otherwise one sentence about the first difference.
std::string compare_output(const std::vector<std::string>& expected,
                           const std::vector<std::string>& lines_of_a,
                           const std::vector<std::vector<std::string>>& lines_of_each_b);

} // namespace ipc::test
