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

#include <process.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--in FILE] [--out FILE] [--err FILE] [--limit SECONDS] [PROGRAM [ARGS...]]\n"
    "  --in FILE        the program's standard input (default: A's own standard input)\n"
    "  --out FILE       write the program's standard output to FILE, unchanged\n"
    "  --err FILE       the same for its standard error\n"
    "  --limit SECONDS  for an output that is silent but open after the program has ended; 0: no "
    "limit (default 10)\n"
    "  PROGRAM          what to run (default: processB.exe beside this program)";
constexpr ipc::time_limit default_silence_limit{10'000};
constexpr DWORD buffer_bytes = 64 * 1024;

// One output of the program.
struct output_stream {
    output_stream(const std::wstring& path, std::string prefix) : sink(path, std::move(prefix)) {}

    ipc::unique_handle read_end;
    ipc::byte_sink sink;
    std::uint64_t bytes = 0;                 // read so far
    std::atomic<ULONGLONG> silent_since = 0; // when the read that waits has begun; 0: none waits
};

// The program, and A's ends of its three pipes. The main thread and the threads of the pipes share it.
struct child_program {
    child_program(const std::wstring& out, const std::wstring& err)
        : output(out, "A: | "), error(err, "A: ! ") {}

    ipc::unique_handle process;
    ipc::unique_handle input; // a write end
    bool took_all_input = false;
    output_stream output;
    output_stream error;
};

// Opens --in FILE, or takes A's own standard input. It stays open until A ends.
HANDLE open_input(const std::wstring& path) {
    if (path.empty()) {
        return GetStdHandle(STD_INPUT_HANDLE);
    }
    const HANDLE file = CreateFileW(path.c_str(),
                                    GENERIC_READ,    // desired access
                                    FILE_SHARE_READ, // others may read it, but not change it
                                    nullptr,         // not inheritable
                                    OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, // read ahead
                                    nullptr);                                 // no template
    if (file == INVALID_HANDLE_VALUE) {
        ipc::throw_last_error("CreateFileW");
    }
    return file;
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
    // ANCHOR: attributes
    // Neither array is copied: both must live until CreateProcessW has returned.
    HANDLE inherited[] = {input, output, error};
    HANDLE jobs[] = {job};
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
    // ANCHOR_END: attributes
    PROCESS_INFORMATION child{};
    if (!CreateProcessW(nullptr,          // the program is the first word of the command line
                        command.data(),   // writable: CreateProcessW may change it
                        nullptr, nullptr, // default security of the process and of its thread
                        TRUE,             // inherit handles: those of the list
                        EXTENDED_STARTUPINFO_PRESENT, nullptr,
                        nullptr, // environment and current folder of A
                        &startup.StartupInfo, &child)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(child.hThread);
    return ipc::unique_handle(child.hProcess);
}

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

// Starts the program in the job, with a pipe as each of its standard handles.
void start_child(child_program& child, const std::wstring& command, HANDLE job) {
    pipe_ends input = create_pipe();
    pipe_ends output = create_pipe();
    pipe_ends error = create_pipe();
    make_inheritable(input.read_end);
    make_inheritable(output.write_end);
    make_inheritable(error.write_end);
    child.process = start_program(command, input.read_end.get(), output.write_end.get(),
                                  error.write_end.get(), job);
    input.read_end.reset();   // or a write would not fail when the program has closed its input
    output.write_end.reset(); // or the reads would wait forever for A's own write ends
    error.write_end.reset();
    child.input = std::move(input.write_end);
    child.output.read_end = std::move(output.read_end);
    child.error.read_end = std::move(error.read_end);
}

// Writes all of the input to the program and closes the pipe. It is no failure if the program does not
// want all of it: many programs read only the beginning, or nothing.
void feed_program(HANDLE input, child_program& child) {
    std::vector<char> buffer(buffer_bytes);
    // ANCHOR: feed_program
    while (const DWORD size = read_some(input, buffer)) {
        DWORD written = 0; // equals size: a blocking byte pipe takes all bytes or fails
        if (!WriteFile(child.input.get(), buffer.data(), size, &written, nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_NO_DATA || error == ERROR_BROKEN_PIPE) {
                return; // the program has closed its input, or has ended
            }
            ipc::throw_error("WriteFile", error);
        }
    }
    child.took_all_input = true;
    child.input.reset(); // the program sees the end of its input
    // ANCHOR_END: feed_program
}

// Passes everything that the program writes to the sink.
void drain_program(output_stream& output) {
    std::vector<char> buffer(buffer_bytes);
    for (;;) {
        output.silent_since = GetTickCount64();
        DWORD received = 0;
        if (!ReadFile(output.read_end.get(), buffer.data(), buffer_bytes, &received, nullptr)) {
            if (GetLastError() == ERROR_BROKEN_PIPE) {
                break; // every write end is closed
            }
            ipc::throw_last_error("ReadFile");
        }
        output.silent_since = 0; // the sink can be slow: A's own output has its own reader
        output.sink.write(std::string_view(buffer.data(), received));
        output.bytes += received;
    }
    output.silent_since = 0;
    output.sink.finish();
}

using thread_work = std::function<void()>;

// If the work fails, A ends at once, and the job ends the program: it must not take half of the input for
// all of it.
unsigned __stdcall run_work(void* work) {
    try {
        const std::unique_ptr<thread_work> owner(static_cast<thread_work*>(work));
        (*owner)();
        return 0;
    } catch (...) {
        std::_Exit(ipc::report_exception("A"));
    }
}

// Runs the work on a thread. Not std::jthread, whose destructor waits: the thread can be in a read that no
// call ends. The end of A ends it.
ipc::unique_handle start_thread(thread_work work) {
    auto owner = std::make_unique<thread_work>(std::move(work));
    const uintptr_t thread = _beginthreadex(nullptr, 0 /* default stack */, run_work, owner.get(),
                                            0 /* runs at once */, nullptr);
    if (thread == 0) {
        ipc::throw_last_error("_beginthreadex");
    }
    static_cast<void>(owner.release()); // run_work has it
    return ipc::unique_handle(reinterpret_cast<HANDLE>(thread));
}

// Returns whether the thread has ended within the limit.
bool has_ended(const ipc::unique_handle& thread, DWORD limit_ms) {
    const DWORD waited = WaitForSingleObject(thread.get(), limit_ms);
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForSingleObject");
    }
    return waited == WAIT_OBJECT_0;
}

// Waits for the end of the output. Returns false if the output has been silent for the limit.
bool has_ended(const ipc::unique_handle& thread, const output_stream& output, DWORD limit_ms) {
    while (!has_ended(thread, limit_ms)) {
        const ULONGLONG silent_since = output.silent_since;
        if (silent_since != 0 && GetTickCount64() - silent_since >= limit_ms) {
            return false;
        }
    }
    return true;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    std::wstring err;
    ipc::time_limit limit = default_silence_limit;
    std::vector<std::wstring> program;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--out", &out}, {L"--err", &err}, {L"--limit", &limit}},
                         &program);
    if (program.empty()) {
        program = {ipc::beside_this_program(L"processB.exe").wstring()};
    }
    const HANDLE input = open_input(in);
    const auto child = std::make_shared<child_program>(out, err);
    ipc::print_line("A: running {}", std::filesystem::path(program[0]).filename().wstring());
    const ipc::unique_handle job = create_job();
    start_child(*child, ipc::command_line(program), job.get());

    // ANCHOR: three_threads
    const auto feeder = start_thread([=] { feed_program(input, *child); });
    const auto output_drainer = start_thread([=] { drain_program(child->output); });
    const auto error_drainer = start_thread([=] { drain_program(child->error); });
    // INFINITE: a program may work for hours. Ctrl+C ends A, and the job ends the program.
    const DWORD exit_code = ipc::wait_for_exit(child->process.get(), INFINITE);
    // ANCHOR_END: three_threads

    // A process that the program has started may have inherited the pipes, and may go on.
    const auto pipes_have_ended = [&] {
        return has_ended(output_drainer, child->output, limit.ms) &&
               has_ended(error_drainer, child->error, limit.ms) &&
               (in.empty() || has_ended(feeder, limit.ms)); // A's own standard input may never end
    };
    if (!pipes_have_ended()) {
        // Closes the pipes, unless a process outside the job has them, too.
        TerminateJobObject(job.get(), 1 /* exit code */);
        throw std::runtime_error(
            pipes_have_ended() ? "a process that the program started kept its standard handles "
                                 "beyond the limit, and was terminated"
                               : "a process outside the job keeps the program's standard handles");
    }
    ipc::print_line("A: {} bytes of output, {} bytes of errors", child->output.bytes,
                    child->error.bytes);
    if (!in.empty() && !child->took_all_input) { // else the feeding thread may still run
        ipc::print_line("A: the program did not read all of its input");
    }
    ipc::print_line("A: exit code {}", ipc::exit_code_text(exit_code));
    return static_cast<int>(exit_code);
} catch (...) {
    return ipc::report_exception("A");
}
