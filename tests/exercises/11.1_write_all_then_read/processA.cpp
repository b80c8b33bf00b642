// SOLUTION: a pipe holds a few KiB. B stops reading when its output pipe is full, so A has to empty that pipe while
// it still writes: two directions need two threads (or overlapped calls).
// STARTER
//~ // Exercise 11.1: A sends a file through a filter. It hangs if the file is large: mend it.
// END
//
// Run: processA IN OUT PROGRAM [ARGS...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr auto usage = "processA IN OUT PROGRAM [ARGS...]";
constexpr DWORD exit_limit_ms = 10'000;

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0)) {
        ipc::throw_last_error("CreatePipe");
    }
    return pipe;
}

void make_inheritable(const ipc::unique_handle& end) {
    if (!SetHandleInformation(end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        ipc::throw_last_error("SetHandleInformation");
    }
}

ipc::unique_handle start_program(std::wstring command, HANDLE input, HANDLE output) {
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = input;
    startup.hStdOutput = startup.hStdError = output;
    PROCESS_INFORMATION child{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE /* inherit handles */, 0,
                        nullptr, nullptr, &startup, &child)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(child.hThread);
    return ipc::unique_handle(child.hProcess);
}

// Writes the file to the program and closes the pipe. It is no failure if the program does not want
// all of it.
void feed_program(ipc::byte_source& source, ipc::unique_handle write_end) {
    char buffer[4096];
    for (DWORD size = source.read(buffer); size != 0; size = source.read(buffer)) {
        DWORD written = 0;
        if (!WriteFile(write_end.get(), buffer, size, &written, nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_NO_DATA || error == ERROR_BROKEN_PIPE) {
                return;
            }
            ipc::throw_error("WriteFile", error);
        }
    }
}

// Reads until every write end is closed.
void drain_program(HANDLE read_end, ipc::byte_sink& sink) {
    char buffer[4096];
    DWORD received = 0;
    while (ReadFile(read_end, buffer, sizeof buffer, &received, nullptr)) {
        sink.write(std::string_view(buffer, received));
    }
    if (GetLastError() != ERROR_BROKEN_PIPE) {
        ipc::throw_last_error("ReadFile");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::vector<std::wstring> program;
    ipc::parse_arguments(argc, argv, usage, {}, &program);
    if (program.size() < 3) {
        throw ipc::usage_error(usage);
    }
    ipc::byte_source source(program[0], "");
    ipc::byte_sink sink(program[1], "");
    program.erase(program.begin(), program.begin() + 2);
    pipe_ends input = create_pipe();
    pipe_ends output = create_pipe();
    make_inheritable(input.read_end);
    make_inheritable(output.write_end);
    const ipc::unique_handle child =
        start_program(ipc::command_line(program), input.read_end.get(), output.write_end.get());
    input.read_end.reset();
    output.write_end.reset();
    ipc::print_line("A: feeding the program");
    // SOLUTION: one thread writes while the other reads. The jthread joins at the end of the block.
    {
        const std::jthread feeder([&] { feed_program(source, std::move(input.write_end)); });
        drain_program(output.read_end.get(), sink);
    }
    // STARTER
    //~ feed_program(source, std::move(input.write_end));
    //~ drain_program(output.read_end.get(), sink);
    // END
    ipc::print_line("A: exit code {}",
                    ipc::exit_code_text(ipc::wait_for_exit(child.get(), exit_limit_ms)));
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
