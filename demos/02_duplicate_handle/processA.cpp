// Demo 02, process A: puts handles into a process that is already running.
//
// B connects to A's control pipe. A opens B's process and duplicates two handles into it: the write
// end of a second pipe, and an event. A sends B their numbers, shows what arrives through the pipe
// (or writes it to FILE), and at the end takes the event's handle back.
//
// Run: processA [--out FILE] [--limit SECONDS] [--name SUFFIX], and processB beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--out FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --out FILE       where to write what B sends (default: the screen)\n"
    "  --limit SECONDS  how long to wait for B, each time (default: 20; 0: no limit)\n"
    "  --name SUFFIX    add .SUFFIX to the names of the pipes";
constexpr auto data_pipe_name = LR"(\\.\pipe\ipc_demos.02.data)"; // only A opens it by its name
constexpr ipc::time_limit default_limit{20'000};
constexpr auto b_ended_early = "B ended before it had written everything";
constexpr DWORD buffer_bytes = 64 * 1024;

// Throws if a call failed, with its own text if B has ended or the limit is over.
void check_call(const char* call, DWORD error) {
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error(b_ended_early);
    }
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("B did nothing for too long");
    }
    if (error != ERROR_SUCCESS) {
        ipc::throw_error(call, error);
    }
}

ipc::unique_handle create_pipe(const std::wstring& name, DWORD direction, DWORD type) {
    ipc::user_only_security security;
    const DWORD open_mode = direction | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED;
    ipc::unique_handle pipe(CreateNamedPipeW(name.c_str(), open_mode,
                                             type | PIPE_REJECT_REMOTE_CLIENTS,
                                             1,            // instance: one client
                                             buffer_bytes, // from A to B
                                             buffer_bytes, // from B to A
                                             0,            // default time-out: 50 ms
                                             security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(HANDLE control, DWORD limit_ms) {
    ipc::overlapped_call call(control);
    const BOOL done = ConnectNamedPipe(control, call.get());
    const DWORD error = call.wait(done, limit_ms, ipc::ctrl_c_event()).error;
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("no B came: start processB beside this program");
    }
    // B was faster than this call, or has even ended again, which the next read will tell.
    if (error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        check_call("ConnectNamedPipe", error);
    }
}

// Windows may give the id of an ended process to a new one. A read that has to wait makes it unlikely
// that B has ended. B sends nothing; what a dead client sent can still be read, even an empty
// message, which PeekNamedPipe would not show.
void check_client_is_silent(HANDLE control) {
    char byte = 0;
    ipc::overlapped_call call(control);
    const BOOL done = ReadFile(control, &byte, 1, nullptr, call.get());
    const DWORD read_error = call.wait(done, 0 /* ms */).error;
    if (read_error == ERROR_SUCCESS) {
        throw std::runtime_error("refused: B sends data through the control pipe");
    }
    if (read_error != WAIT_TIMEOUT) {
        check_call("ReadFile", read_error);
    }
}

ipc::unique_handle open_client_process(HANDLE control) {
    // ANCHOR: open
    ULONG id = 0;
    if (!GetNamedPipeClientProcessId(control, &id)) {
        ipc::throw_last_error("GetNamedPipeClientProcessId");
    }
    ipc::unique_handle process(OpenProcess(PROCESS_DUP_HANDLE, FALSE, id));
    // ANCHOR_END: open
    const DWORD open_error = process ? ERROR_SUCCESS : GetLastError();
    check_client_is_silent(control); // first: the id could be that of another process by now
    check_call("OpenProcess", open_error);
    return process;
}

// A handle in B's table. The destructor takes it back, unless A has given it away.
class handle_in_b {
public:
    handle_in_b(HANDLE b, HANDLE source, DWORD access) : b_(b) {
        // ANCHOR: duplicate
        const BOOL done = DuplicateHandle(GetCurrentProcess(), // whose table has the source: A's
                                          source,
                                          b,        // whose table gets the new handle: B's
                                          &number_, // the new handle, a number in that table
                                          access,   // what B may do with the object
                                          FALSE,    // B's child processes do not inherit it
                                          0);       // DUPLICATE_SAME_ACCESS would ignore access
        // ANCHOR_END: duplicate
        if (!done) {
            ipc::throw_last_error("DuplicateHandle");
        }
    }
    handle_in_b(const handle_in_b&) = delete;
    handle_in_b& operator=(const handle_in_b&) = delete;
    ~handle_in_b() { take_back(); }

    std::uint64_t number() const { return to_number(number_); }
    void give_away() { number_ = nullptr; }

    BOOL take_back() {
        const HANDLE number = std::exchange(number_, nullptr);
        if (number == nullptr) {
            return FALSE;
        }
        // ANCHOR: take_back
        ipc::unique_handle handle_in_a;
        return DuplicateHandle(b_, number, GetCurrentProcess(), handle_in_a.put(), 0, FALSE,
                               DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE);
        // ANCHOR_END: take_back
    }

private:
    HANDLE b_;
    HANDLE number_ = nullptr;
};

void send_message(HANDLE control, DWORD limit_ms, const message& sent) {
    ipc::overlapped_call call(control);
    const BOOL done = WriteFile(control, &sent, sizeof sent, nullptr, call.get());
    check_call("WriteFile", call.wait(done, limit_ms, ipc::ctrl_c_event()).error);
}

// Reads until the last write end of the pipe is closed.
std::uint64_t read_to_end(HANDLE read_end, DWORD limit_ms, ipc::byte_sink& output) {
    std::vector<char> buffer(buffer_bytes);
    std::uint64_t total = 0;
    ipc::overlapped_call call(read_end);
    while (!ipc::ctrl_c_pressed()) {
        const BOOL done = ReadFile(read_end, buffer.data(), buffer_bytes, nullptr, call.get());
        const ipc::call_result read = call.wait(done, limit_ms, ipc::ctrl_c_event());
        if (read.error == ERROR_BROKEN_PIPE) {
            output.finish();
            return total;
        }
        check_call("ReadFile", read.error);
        output.write({buffer.data(), read.bytes});
        total += read.bytes;
    }
    ipc::throw_error("ReadFile", ERROR_OPERATION_ABORTED);
}

void lend_handles(HANDLE control, HANDLE b, const std::wstring& data_name, DWORD limit_ms,
                  ipc::byte_sink& output) {
    // Not CreatePipe: its read end is not overlapped, so neither the limit nor Ctrl+C could end a
    // read.
    const auto read_end = create_pipe(data_name, PIPE_ACCESS_INBOUND, PIPE_TYPE_BYTE);
    auto write_end = ipc::connect_to_pipe(data_name, GENERIC_WRITE, 0, 0);
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    // ANCHOR: give
    handle_in_b b_write_end(b, write_end.get(), FILE_WRITE_DATA | SYNCHRONIZE);
    handle_in_b b_event(b, event.get(), EVENT_MODIFY_STATE); // to set it, not to wait for it
    send_message(control, limit_ms, {b_write_end.number(), b_event.number()});
    b_write_end.give_away(); // B closes it
    write_end.reset();       // A's own: the pipe ends when its last write end is closed
    // ANCHOR_END: give
    ipc::print_line("A: put a pipe's write end and an event into B's handle table");

    const std::uint64_t total = read_to_end(read_end.get(), limit_ms, output);
    // The pipe ends too if B has died. B sets the event only after it has written everything.
    if (WaitForSingleObject(event.get(), 0) != WAIT_OBJECT_0) {
        throw std::runtime_error(b_ended_early);
    }
    ipc::print_line("A: the pipe ended after {} bytes, and B has set the event: this is all",
                    total);
    if (!b_event.take_back()) {
        throw std::runtime_error("B ended or closed the event before A took it back");
    }
    ipc::print_line("A: took B's handle to the event back");
    send_message(control, limit_ms, {});
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring out;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--out", &out}, {L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets it
    const auto control = create_pipe(ipc::object_name(control_pipe_name, suffix),
                                     PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE);
    ipc::byte_sink output(out, "A: | ");
    ipc::print_line("A: waiting for B");
    wait_for_client(control.get(), limit.ms);
    const auto b = open_client_process(control.get());
    ipc::print_line("A: B is connected; opened its process with PROCESS_DUP_HANDLE only");
    lend_handles(control.get(), b.get(), ipc::object_name(data_pipe_name, suffix), limit.ms,
                 output);
    return 0;
} catch (const ipc::win32_error& error) {
    if (error.code() != ERROR_OPERATION_ABORTED) {
        return ipc::report_exception("A");
    }
    ipc::print_line("A: stopped by Ctrl+C"); // nothing else cancels A's calls
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
