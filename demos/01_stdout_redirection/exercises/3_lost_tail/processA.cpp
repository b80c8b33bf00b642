// Exercise 01.3: A loses the last lines of the program. Mend it.
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
#include <string_view>
#include <vector>

namespace {

constexpr auto usage = "processA PROGRAM [ARGS...]";
constexpr DWORD exit_limit_ms = 60'000;
constexpr DWORD pipe_bytes = 64 * 1024;
constexpr DWORD pause_ms = 100;

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

// Shows what comes, ten times a second while the program runs, and returns the number of bytes.
std::uint64_t show_output(HANDLE read_end, HANDLE child) {
    ipc::line_splitter lines([](std::string_view line) { ipc::print_line("A: | {}", line); });
    char buffer[512];
    std::uint64_t total = 0;
    while (WaitForSingleObject(child, pause_ms) == WAIT_TIMEOUT) {
        DWORD waiting = 0;
        if (PeekNamedPipe(read_end, nullptr, 0, nullptr, &waiting, nullptr) && waiting > 0) {
            DWORD received = 0;
            if (!ReadFile(read_end, buffer, sizeof buffer, &received, nullptr)) {
                ipc::throw_last_error("ReadFile");
            }
            lines.write({buffer, received});
            total += received;
        }
    }
    lines.finish();
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
    if (!CreatePipe(read_end.put(), write_end.put(), nullptr, pipe_bytes)) {
        ipc::throw_last_error("CreatePipe");
    }
    if (!SetHandleInformation(write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
    const ipc::unique_handle child = start_program(ipc::command_line(program), write_end.get());
    write_end.reset(); // or the pipe would not end while A has a write end
    const std::uint64_t total = show_output(read_end.get(), child.get());
    ipc::print_line("A: {} bytes", total);
    ipc::print_line("A: exit code {}",
                    ipc::exit_code_text(ipc::wait_for_exit(child.get(), exit_limit_ms)));
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
