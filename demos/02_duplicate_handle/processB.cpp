// Demo 02, process B: gets handles from a process that did not start it.
//
// B connects to A's control pipe and receives two numbers: handles that A has put into B's table.
// B checks what they are, writes its data into the pipe, sets the event, and closes the write end.
// A has only lent the event: it takes the handle back, and B sees that the number is not valid now.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX], and processA beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --in FILE        what to write into the pipe (default: three lines)\n"
    "  --limit SECONDS  how long to wait for A, each time (default: 20; 0: no limit)\n"
    "  --name SUFFIX    add .SUFFIX to the name of the control pipe";
constexpr std::string_view three_lines = "this came through a pipe that B never opened\n"
                                         "Grüße, 你好: bytes, here UTF-8\n"
                                         "the last line\n";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD buffer_bytes = 64 * 1024;

message receive_message(HANDLE control, DWORD limit_ms) {
    message received;
    ipc::overlapped_call call(control);
    const BOOL done = ReadFile(control, &received, sizeof received, nullptr, call.get());
    const ipc::call_result read = call.wait(done, limit_ms);
    if (ipc::is_disconnected(read.error)) {
        throw std::runtime_error("A ended in the middle of the conversation");
    }
    if (read.error == WAIT_TIMEOUT) {
        throw std::runtime_error("A sent nothing for too long");
    }
    if (read.error != ERROR_SUCCESS || read.bytes != sizeof received) { // also ERROR_MORE_DATA
        throw std::runtime_error("A sent something that is not a message");
    }
    return received;
}

// A number that came through a pipe can be any of B's handles, so these checks change no object.
void check_handles(HANDLE write_end, HANDLE event) {
    if (GetFileType(write_end) != FILE_TYPE_PIPE) {
        throw std::runtime_error("A sent a number that is not a pipe in B");
    }
    // Even a wait of 0 ms needs the right SYNCHRONIZE. A grants EVENT_MODIFY_STATE only.
    const DWORD waited = WaitForSingleObject(event, 0);
    if (waited != WAIT_FAILED || GetLastError() != ERROR_ACCESS_DENIED) {
        throw std::runtime_error("A sent a number that is not an event which B may only set");
    }
    ipc::print_line("B: got two numbers: one is a pipe, waiting for the other is refused with "
                    "ERROR_ACCESS_DENIED (5)");
}

std::uint64_t write_data(HANDLE write_end, ipc::byte_source& input) {
    std::vector<char> buffer(buffer_bytes);
    std::uint64_t total = 0;
    while (const DWORD count = input.read(buffer)) {
        DWORD written = 0; // all of it: WriteFile returns when A has made room, or has ended
        if (!WriteFile(write_end, buffer.data(), count, &written, nullptr)) {
            const DWORD error = GetLastError();
            if (ipc::is_disconnected(error)) {
                throw std::runtime_error("A ended before it had read everything");
            }
            ipc::throw_error("WriteFile", error);
        }
        total += count;
    }
    return total;
}

void use_handles(HANDLE control, DWORD limit_ms, ipc::byte_source& input) {
    const message numbers = receive_message(control, limit_ms);
    const HANDLE event = to_handle(numbers.event); // lent: A takes it back
    check_handles(to_handle(numbers.write_end), event);
    ipc::unique_handle write_end(to_handle(numbers.write_end)); // given: B closes it
    const std::uint64_t total = write_data(write_end.get(), input);
    if (!SetEvent(event)) {
        ipc::throw_last_error("SetEvent");
    }
    write_end.reset(); // after SetEvent: A checks the event when the pipe has ended
    ipc::print_line("B: wrote {} bytes, set the event, closed the write end", total);

    const message taken_back = receive_message(control, limit_ms);
    DWORD flags = 0; // GetHandleInformation changes nothing, whatever the number names by now
    if (taken_back.event != 0 || GetHandleInformation(event, &flags) ||
        GetLastError() != ERROR_INVALID_HANDLE) {
        throw std::runtime_error("A did not take the event back");
    }
    ipc::print_line("B: A took the event back, its number is ERROR_INVALID_HANDLE (6) now");
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--limit", &limit}, {L"--name", &suffix}});
    ipc::byte_source input(in, three_lines);
    const auto control =
        ipc::connect_to_pipe(ipc::object_name(control_pipe_name, suffix),
                             GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit.ms);
    DWORD mode = PIPE_READMODE_MESSAGE; // a client starts in byte mode
    if (!SetNamedPipeHandleState(control.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    ipc::print_line("B: found A");
    use_handles(control.get(), limit.ms, input);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
