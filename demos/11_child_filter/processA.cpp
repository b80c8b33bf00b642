// Demo 11, process A: feeds a program and drains it at the same time.
//
// A starts B (or PROGRAM) with three anonymous pipes: standard input, standard output and standard
// error. One thread writes the input, two threads read the outputs, and none waits for another. B is
// a filter, which writes while it reads: if A wrote everything first and read afterwards, both would
// wait forever as soon as the pipes are full.
//
// Run: processA [--in FILE] [--out FILE] [--err FILE] [--limit SECONDS] [PROGRAM [ARGS...]]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "standard_input.hpp"

#include <windows.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--in FILE] [--out FILE] [--err FILE] [--limit SECONDS] [PROGRAM [ARGS...]]\n"
    "  --in FILE        the program's standard input (default: A's own standard input)\n"
    "  --out FILE       write the program's standard output to FILE, unchanged\n"
    "  --err FILE       the same for its standard error\n"
    "  --limit SECONDS  for the outputs to end after the program has ended; 0: no limit (default "
    "10)\n"
    "  PROGRAM          what to run (default: processB.exe beside this program)";
constexpr ipc::time_limit default_drain_limit{10'000};
constexpr DWORD buffer_bytes = 64 * 1024;

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0 /* default size */)) {
        ipc::throw_last_error("CreatePipe");
    }
    return pipe;
}

void make_inheritable(const ipc::unique_handle& end) {
    if (!SetHandleInformation(end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
}

// Creates a job object that terminates its processes when its last handle is closed. A holds the only
// handle, so the program and its children end with A, however A ends.
ipc::unique_handle create_job() {
    // ANCHOR: create_job
    ipc::unique_handle job(CreateJobObjectW(nullptr, nullptr));
    if (!job) {
        ipc::throw_last_error("CreateJobObjectW");
    }
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits,
                                 sizeof limits)) {
        ipc::throw_last_error("SetInformationJobObject");
    }
    // ANCHOR_END: create_job
    return job;
}

// Starts the program in the job and returns its process. It inherits the three handles and no other.
ipc::unique_handle start_program(std::wstring command, HANDLE input, HANDLE output, HANDLE error,
                                 HANDLE job) {
    constexpr DWORD attribute_count = 2;
    SIZE_T bytes = 0;
    InitializeProcThreadAttributeList(nullptr, attribute_count, 0, &bytes); // returns the size
    std::vector<std::byte> storage(bytes);
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    if (!InitializeProcThreadAttributeList(attributes, attribute_count, 0, &bytes)) {
        ipc::throw_last_error("InitializeProcThreadAttributeList");
    }
    const ipc::scope_exit delete_list([&] { DeleteProcThreadAttributeList(attributes); });
    STARTUPINFOEXW startup{};
    startup.StartupInfo.cb = sizeof startup;
    PROCESS_INFORMATION child{};
    // ANCHOR: start_program
    HANDLE inherited[] = {input, output, error}; // both arrays must live until CreateProcessW
    HANDLE jobs[] = {job};                       // has returned
    if (!UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited,
                                   sizeof inherited, nullptr, nullptr) ||
        !UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_JOB_LIST, jobs, sizeof jobs,
                                   nullptr, nullptr)) {
        ipc::throw_last_error("UpdateProcThreadAttribute");
    }
    startup.lpAttributeList = attributes;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = input;
    startup.StartupInfo.hStdOutput = output;
    startup.StartupInfo.hStdError = error;
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE /* inherit the list */,
                        EXTENDED_STARTUPINFO_PRESENT, nullptr, nullptr, &startup.StartupInfo,
                        &child)) {
        ipc::throw_last_error("CreateProcessW");
    }
    // ANCHOR_END: start_program
    CloseHandle(child.hThread);
    return ipc::unique_handle(child.hProcess);
}

// Opens --in FILE, or takes A's own standard input.
ipc::unique_handle open_input(const std::wstring& path) {
    ipc::unique_handle input;
    if (!path.empty()) {
        input.reset(CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                FILE_FLAG_SEQUENTIAL_SCAN, nullptr));
        if (!input) {
            ipc::throw_last_error("CreateFileW");
        }
    } else if (!DuplicateHandle(GetCurrentProcess(), GetStdHandle(STD_INPUT_HANDLE),
                                GetCurrentProcess(), input.put(), 0, FALSE /* not inheritable */,
                                DUPLICATE_SAME_ACCESS)) {
        ipc::throw_last_error("DuplicateHandle");
    }
    return input;
}

enum class feed_result { everything_written, program_closed_input };

// Writes all of the input to the program, and closes the pipe. It is no failure if the program does
// not want all of it: many programs read only the beginning, or nothing.
feed_result feed_program(ipc::unique_handle input, ipc::unique_handle write_end) {
    std::vector<char> buffer(buffer_bytes);
    // ANCHOR: feed_program
    while (const DWORD size = read_some(input.get(), buffer)) {
        DWORD written = 0; // equals size: a blocking byte pipe takes all bytes or fails
        if (!WriteFile(write_end.get(), buffer.data(), size, &written, nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_NO_DATA || error == ERROR_BROKEN_PIPE) {
                return feed_result::program_closed_input; // or the program has ended
            }
            ipc::throw_error("WriteFile", error);
        }
    }
    return feed_result::everything_written;
    // ANCHOR_END: feed_program
}

// Passes everything that the program writes to the sink and returns the number of bytes.
std::uint64_t drain_program(const ipc::unique_handle& read_end, ipc::byte_sink& sink) {
    std::vector<char> buffer(buffer_bytes);
    std::uint64_t total = 0;
    for (;;) {
        DWORD received = 0;
        if (!ReadFile(read_end.get(), buffer.data(), buffer_bytes, &received, nullptr)) {
            if (GetLastError() == ERROR_BROKEN_PIPE) {
                break; // every write end is closed
            }
            ipc::throw_last_error("ReadFile");
        }
        sink.write(std::string_view(buffer.data(), received));
        total += received;
    }
    sink.finish();
    return total;
}

// Runs feed_program on a thread of its own. The caller does not wait for it: the thread may be in a
// read of A's own standard input, which no call ends for certain. The end of A ends it.
std::future<feed_result> start_feeding(ipc::unique_handle input, ipc::unique_handle write_end) {
    std::packaged_task<feed_result(ipc::unique_handle, ipc::unique_handle)> task(feed_program);
    std::future<feed_result> result = task.get_future();
    std::thread(std::move(task), std::move(input), std::move(write_end)).detach();
    return result;
}

// Runs drain_program on a thread of its own. If the sink fails, nobody reads the output any more, and
// the program could wait forever: the job ends.
std::future<std::uint64_t> start_draining(ipc::unique_handle read_end, ipc::byte_sink& sink,
                                          HANDLE job) {
    return std::async(std::launch::async, [read_end = std::move(read_end), &sink, job] {
        try {
            return drain_program(read_end, sink);
        } catch (...) {
            TerminateJobObject(job, 1);
            throw;
        }
    });
}

// Returns whether the thread has ended before the given time.
template <class T>
bool has_ended(const std::future<T>& thread, std::chrono::steady_clock::time_point end) {
    return thread.wait_until(end) == std::future_status::ready;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    std::wstring err;
    ipc::time_limit drain_limit = default_drain_limit;
    std::vector<std::wstring> program;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--in", &in}, {L"--out", &out}, {L"--err", &err}, {L"--limit", &drain_limit}}, &program);
    if (program.empty()) {
        program = {ipc::beside_this_program(L"processB.exe").wstring()};
    }
    ipc::unique_handle source = open_input(in);
    ipc::byte_sink output_sink(out, "A: | ");
    ipc::byte_sink error_sink(err, "A: ! ");
    pipe_ends input = create_pipe();
    pipe_ends output = create_pipe();
    pipe_ends error = create_pipe();
    make_inheritable(input.read_end);
    make_inheritable(output.write_end);
    make_inheritable(error.write_end);
    ipc::print_line("A: running {}", std::filesystem::path(program[0]).filename().wstring());

    const ipc::unique_handle job = create_job();
    const ipc::unique_handle child =
        start_program(ipc::command_line(program), input.read_end.get(), output.write_end.get(),
                      error.write_end.get(), job.get());
    input.read_end.reset();   // or a write would not fail when the program has closed its input
    output.write_end.reset(); // or the reads would wait forever for A's own write ends
    error.write_end.reset();

    // ANCHOR: three_threads
    auto fed = start_feeding(std::move(source), std::move(input.write_end));
    auto output_bytes = start_draining(std::move(output.read_end), output_sink, job.get());
    auto error_bytes = start_draining(std::move(error.read_end), error_sink, job.get());
    const DWORD exit_code = ipc::wait_for_exit(child.get(), INFINITE); // Ctrl+C ends A and the job
    // ANCHOR_END: three_threads

    // A process that the program has started may have inherited the pipes, and may go on.
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(drain_limit.ms);
    const bool ended = has_ended(output_bytes, end) && has_ended(error_bytes, end) &&
                       (in.empty() || has_ended(fed, end));
    if (!ended) {
        TerminateJobObject(job.get(), 1); // the last handles of the pipes are closed now
    }
    ipc::print_line("A: {} bytes of output, {} bytes of errors", output_bytes.get(),
                    error_bytes.get());
    // Does not wait: A's own standard input may never end.
    if (has_ended(fed, std::chrono::steady_clock::now()) &&
        fed.get() == feed_result::program_closed_input) {
        ipc::print_line("A: the program did not read all of its input");
    }
    if (!ended) {
        throw std::runtime_error(
            "the program has ended, but a process that it started has kept its "
            "standard handles beyond the limit, and was terminated");
    }
    ipc::print_line("A: exit code {}", ipc::exit_code_text(exit_code));
    return static_cast<int>(exit_code);
} catch (...) {
    return ipc::report_exception("A");
}
