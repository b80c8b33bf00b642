// Exercise 01.2: A hangs when the program prints a lot. Mend it.
//
// Run: processA PROGRAM [ARGS...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstdint>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA PROGRAM [ARGS...]";
constexpr DWORD exit_limit_ms = 60'000;

// Starts the program with the write end as its standard output and error, and returns its process.
ipc::unique_handle start_program(std::wstring command, HANDLE write_end) {
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdOutput = startup.hStdError = write_end;
    PROCESS_INFORMATION child{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE /* inherit handles */, 0,
                        nullptr, nullptr, &startup, &child)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(child.hThread);
    return ipc::unique_handle(child.hProcess);
}

// Reads until every write end is closed and returns the number of bytes.
std::uint64_t read_to_end(HANDLE read_end) {
    char buffer[16 * 1024];
    std::uint64_t total = 0;
    DWORD received = 0;
    while (ReadFile(read_end, buffer, sizeof buffer, &received, nullptr)) {
        total += received;
    }
    if (GetLastError() != ERROR_BROKEN_PIPE) {
        ipc::throw_last_error("ReadFile");
    }
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::vector<std::wstring> program;
    ipc::parse_arguments(argc, argv, usage, {}, &program);
    if (program.empty()) {
        throw ipc::usage_error(usage);
    }
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    if (!CreatePipe(read_end.put(), write_end.put(), nullptr, 0)) {
        ipc::throw_last_error("CreatePipe");
    }
    if (!SetHandleInformation(write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
    const ipc::unique_handle child = start_program(ipc::command_line(program), write_end.get());
    write_end.reset(); // or ReadFile would wait forever for A's own write end
    ipc::print_line("A: the program runs");
    const DWORD exit_code = ipc::wait_for_exit(child.get(), exit_limit_ms);
    const std::uint64_t total = read_to_end(read_end.get());
    ipc::print_line("A: {} bytes", total);
    ipc::print_line("A: exit code {}", ipc::exit_code_text(exit_code));
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
