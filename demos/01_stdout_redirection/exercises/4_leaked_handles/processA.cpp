// Exercise 01.4: A waits for one program until the other has ended, too. Mend it.
//
// Run: processA PROGRAM [ARGS...] and PROGRAM [ARGS...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr auto usage = "processA PROGRAM [ARGS...] and PROGRAM [ARGS...]";
constexpr DWORD exit_limit_ms = 60'000;

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0)) {
        ipc::throw_last_error("CreatePipe");
    }
    if (!SetHandleInformation(pipe.write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
    return pipe;
}

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

// Reads until every write end is closed, waits for the program's exit and reports both.
void collect(const char* which, HANDLE read_end, HANDLE child) {
    char buffer[4096];
    std::uint64_t total = 0;
    DWORD received = 0;
    while (ReadFile(read_end, buffer, sizeof buffer, &received, nullptr)) {
        total += received;
    }
    if (GetLastError() != ERROR_BROKEN_PIPE) {
        ipc::throw_last_error("ReadFile");
    }
    const DWORD exit_code = ipc::wait_for_exit(child, exit_limit_ms);
    ipc::print_line("A: {} program: {} bytes, exit code {}", which, total,
                    ipc::exit_code_text(exit_code));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::vector<std::wstring> words;
    ipc::parse_arguments(argc, argv, usage, {}, &words);
    const auto separator = std::find(words.begin(), words.end(), L"and");
    if (separator == words.begin() || words.end() - separator < 2) {
        throw ipc::usage_error(usage);
    }
    pipe_ends first = create_pipe();
    pipe_ends second = create_pipe();
    const ipc::unique_handle first_child =
        start_program(ipc::command_line({words.begin(), separator}), first.write_end.get());
    const ipc::unique_handle second_child =
        start_program(ipc::command_line({separator + 1, words.end()}), second.write_end.get());
    first.write_end.reset(); // or ReadFile would wait forever for A's own write ends
    second.write_end.reset();
    ipc::print_line("A: both programs run");

    // A thread for each, because either can be the first that prints or ends.
    std::exception_ptr error;
    std::jthread other([&] {
        try {
            collect("second", second.read_end.get(), second_child.get());
        } catch (...) {
            error = std::current_exception();
        }
    });
    collect("first", first.read_end.get(), first_child.get());
    other.join();
    if (error) {
        std::rethrow_exception(error);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
