// Demo 01, process A: captures what another program writes to its standard output and error.
//
// A creates an anonymous pipe, starts B (or PROGRAM) with the pipe's write end as standard output
// and standard error, and reads until every write end is closed. B can be any program: it only
// writes to its standard output and knows nothing of the pipe.
//
// Run: processA [--classic] [--out FILE] [PROGRAM [ARGS...]]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

namespace {

constexpr auto usage = "processA [--classic] [--out FILE] [PROGRAM [ARGS...]]\n"
                       "  --classic   redirect with SetStdHandle instead of a handle list\n"
                       "  --out FILE  write the captured bytes to FILE, unchanged\n"
                       "  PROGRAM     what to run (default: processB.exe beside this program)";
constexpr DWORD buffer_bytes = 64 * 1024;
constexpr DWORD exit_limit_ms = 10'000; // to end, for a program that has closed its output

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0 /* default size */)) {
        ipc::throw_last_error("CreatePipe");
    }
    // The write end only: a child that held a read end as well would never see it break.
    if (!SetHandleInformation(pipe.write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
    return pipe;
}

ipc::unique_handle create_process(std::wstring command, DWORD flags, STARTUPINFOW* startup) {
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE /* inherit handles */,
                        flags, nullptr, nullptr, startup, &started)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(started.hThread);
    return ipc::unique_handle(started.hProcess);
}

ipc::unique_handle start_with_handle_list(const std::wstring& command, HANDLE write_end) {
    SIZE_T bytes = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &bytes); // fails by design: tells the size
    std::vector<std::byte> storage(bytes);
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    if (!InitializeProcThreadAttributeList(attributes, 1, 0, &bytes)) {
        ipc::throw_last_error("InitializeProcThreadAttributeList");
    }
    const ipc::scope_exit delete_list([&] { DeleteProcThreadAttributeList(attributes); });
    // ANCHOR: handle_list
    HANDLE inherited[] = {write_end}; // not copied: must live until CreateProcessW has returned
    if (!UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited,
                                   sizeof inherited, nullptr, nullptr)) {
        ipc::throw_last_error("UpdateProcThreadAttribute");
    }
    STARTUPINFOEXW startup{};
    startup.StartupInfo.cb = sizeof startup;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdOutput = write_end; // hStdInput stays null: no standard input
    startup.StartupInfo.hStdError = write_end;
    startup.lpAttributeList = attributes;
    return create_process(command, EXTENDED_STARTUPINFO_PRESENT, &startup.StartupInfo);
    // ANCHOR_END: handle_list
}

ipc::unique_handle start_classic(const std::wstring& command, HANDLE write_end) {
    const HANDLE saved_output = GetStdHandle(STD_OUTPUT_HANDLE);
    const HANDLE saved_error = GetStdHandle(STD_ERROR_HANDLE);
    const ipc::scope_exit restore([&] {
        SetStdHandle(STD_OUTPUT_HANDLE, saved_output);
        SetStdHandle(STD_ERROR_HANDLE, saved_error);
    });
    if (!SetStdHandle(STD_OUTPUT_HANDLE, write_end) || !SetStdHandle(STD_ERROR_HANDLE, write_end)) {
        ipc::throw_last_error("SetStdHandle");
    }
    STARTUPINFOW startup{}; // says nothing of standard handles: the child gets A's present ones
    startup.cb = sizeof startup;
    return create_process(command, 0, &startup); // with every inheritable handle of A
}

// Returns the number of bytes. There is no time limit, as a silent child may be a busy one: the
// wait ends with the last process that holds a write end.
template <typename Take> std::uint64_t read_to_end(HANDLE read_end, const Take& take) {
    std::vector<char> buffer(buffer_bytes);
    std::uint64_t total = 0;
    // ANCHOR: read_to_end
    for (;;) {
        DWORD received = 0;
        if (!ReadFile(read_end, buffer.data(), buffer_bytes, &received, nullptr)) {
            if (GetLastError() == ERROR_BROKEN_PIPE) {
                return total; // every write end is closed: this is the end, not an error
            }
            ipc::throw_last_error("ReadFile");
        }
        take(std::string_view(buffer.data(), received)); // any number of bytes, 0 included
        total += received;
    }
    // ANCHOR_END: read_to_end
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool classic = false;
    std::wstring out;
    std::vector<std::wstring> program;
    ipc::parse_arguments(argc, argv, usage, {{L"--classic", &classic}, {L"--out", &out}}, &program);
    if (program.empty()) {
        program = {ipc::beside_this_program(L"processB.exe").wstring()};
    }
    const ipc::unique_handle file = out.empty() ? ipc::unique_handle() : ipc::create_output(out);
    auto [read_end, write_end] = create_pipe();
    ipc::print_line("A: running {}", std::filesystem::path(program[0]).filename().wstring());
    const auto start = classic ? start_classic : start_with_handle_list;
    const ipc::unique_handle child = start(ipc::command_line(program), write_end.get());
    write_end.reset(); // or ReadFile would wait forever for A's own write end

    ipc::line_splitter lines([](std::string_view line) { ipc::print_line("A: | {}", line); });
    const std::uint64_t total = read_to_end(read_end.get(), [&](std::string_view bytes) {
        file ? ipc::write_file(file.get(), bytes) : lines.write(bytes);
    });
    lines.finish();
    ipc::print_line("A: the pipe ended after {} bytes", total);
    const DWORD exit_code = ipc::wait_for_exit(child.get(), exit_limit_ms);
    ipc::print_line("A: exit code {}", ipc::exit_code_text(exit_code));
    const bool crashed = exit_code >= 0xC0000000 && exit_code <= 0xCFFFFFFF; // an NTSTATUS error
    return crashed ? 1 : 0;
} catch (...) {
    return ipc::report_exception("A");
}
