// Demo 01, process A: captures what another program writes to its standard output and error.
//
// A creates an anonymous pipe, starts B (or PROGRAM) with the pipe's write end as standard output
// and standard error, and reads until every write end is closed. B can be any program: it only
// writes to its standard output and knows nothing of the pipe.
//
// Run: processA [--out FILE] [--limit SECONDS] [PROGRAM [ARGS...]]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage = "processA [--out FILE] [--limit SECONDS] [PROGRAM [ARGS...]]\n"
                       "  --out FILE       write the captured bytes to FILE, unchanged\n"
                       "  --limit SECONDS  for the program to end after its output has ended; 0: "
                       "no limit (default 10)\n"
                       "  PROGRAM          what to run (default: processB.exe beside this program)";
constexpr ipc::time_limit default_exit_limit{10'000};
constexpr DWORD buffer_bytes = 64 * 1024;

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    // No child can inherit the ends of a new pipe, and the handle list refuses such handles.
    // ANCHOR: create_pipe
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0 /* default size */)) {
        ipc::throw_last_error("CreatePipe");
    }
    if (!SetHandleInformation(pipe.write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
    // ANCHOR_END: create_pipe
    return pipe;
}

// Opens the NUL device as the child's standard input: a child that reads it gets the end at once
// and does not wait for the keyboard.
ipc::unique_handle open_empty_input() {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    ipc::unique_handle input(CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                         &inheritable, OPEN_EXISTING, 0, nullptr));
    if (!input) {
        ipc::throw_last_error("CreateFileW");
    }
    return input;
}

// Starts the program and returns its process. The child inherits the two handles and no other.
ipc::unique_handle start_program(std::wstring command, HANDLE input, HANDLE output) {
    SIZE_T bytes = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &bytes); // fails by design: returns the size
    std::vector<std::byte> storage(bytes);
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    if (!InitializeProcThreadAttributeList(attributes, 1 /* attribute */, 0, &bytes)) {
        ipc::throw_last_error("InitializeProcThreadAttributeList");
    }
    const ipc::scope_exit delete_list([&] { DeleteProcThreadAttributeList(attributes); });
    PROCESS_INFORMATION child{};
    STARTUPINFOEXW startup{};
    startup.StartupInfo.cb = sizeof startup;
    // ANCHOR: start_program
    HANDLE inherited[] = {input, output}; // not copied: must live until CreateProcessW has returned
    if (!UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited,
                                   sizeof inherited, nullptr, nullptr)) {
        ipc::throw_last_error("UpdateProcThreadAttribute");
    }
    startup.lpAttributeList = attributes;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = input;
    startup.StartupInfo.hStdOutput = startup.StartupInfo.hStdError = output;
    if (!CreateProcessW(nullptr,          // the program is the first word of the command line
                        command.data(),   // writable: CreateProcessW may change it
                        nullptr, nullptr, // default security of the process and of its thread
                        TRUE,             // inherit handles: those of the list
                        EXTENDED_STARTUPINFO_PRESENT, // a GUI program adds CREATE_NO_WINDOW
                        nullptr, nullptr,             // environment and current folder of A
                        &startup.StartupInfo, &child)) {
        ipc::throw_last_error("CreateProcessW");
    }
    // ANCHOR_END: start_program
    CloseHandle(child.hThread);
    return ipc::unique_handle(child.hProcess);
}

// Passes everything to the sink and returns the number of bytes. There is no time limit, because a
// silent child may be busy. The loop ends when the last write end is closed.
std::uint64_t read_to_end(HANDLE read_end, ipc::byte_sink& sink) {
    std::vector<char> buffer(buffer_bytes);
    std::uint64_t total = 0;
    // ANCHOR: read_to_end
    for (;;) {
        DWORD received = 0;
        if (!ReadFile(read_end, buffer.data(), buffer_bytes, &received, nullptr)) {
            if (GetLastError() == ERROR_BROKEN_PIPE) {
                break; // every write end is closed: this is the end, not a failure
            }
            ipc::throw_last_error("ReadFile");
        }
        sink.write(std::string_view(buffer.data(), received)); // any number of bytes, even 0
        total += received;
    }
    // ANCHOR_END: read_to_end
    sink.finish();
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring out;
    ipc::time_limit exit_limit = default_exit_limit;
    std::vector<std::wstring> program;
    ipc::parse_arguments(argc, argv, usage, {{L"--out", &out}, {L"--limit", &exit_limit}},
                         &program);
    if (program.empty()) {
        program = {ipc::beside_this_program(L"processB.exe").wstring()};
    }
    ipc::byte_sink sink(out, "A: | ");
    pipe_ends pipe = create_pipe();
    const ipc::unique_handle input = open_empty_input();
    ipc::print_line("A: running {}", std::filesystem::path(program[0]).filename().wstring());
    const ipc::unique_handle child =
        start_program(ipc::command_line(program), input.get(), pipe.write_end.get());
    pipe.write_end.reset(); // or ReadFile would wait forever for A's own write end

    const std::uint64_t total = read_to_end(pipe.read_end.get(), sink);
    ipc::print_line("A: the pipe ended after {} bytes", total);
    const DWORD exit_code = ipc::wait_for_exit(child.get(), exit_limit.ms);
    ipc::print_line("A: exit code {}", ipc::exit_code_text(exit_code));
    const bool crashed = exit_code >= 0xC0000000 && exit_code <= 0xCFFFFFFF; // an NTSTATUS error
    return crashed ? 1 : 0;
} catch (...) {
    return ipc::report_exception("A");
}
