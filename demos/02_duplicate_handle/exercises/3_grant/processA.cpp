// Exercise 02.3: give B a write end and lend it an event. Write the three pieces marked TODO.
//
// Run: processA [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
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

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD limit_ms = 20'000; // for B, each time

ipc::unique_handle create_control_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle control(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
        PIPE_TYPE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS,
        1, // instance: one client
        0, // from A to B: WriteFile waits until B has read the message
        0, // from B to A
        0, // default time-out: 50 ms
        security.get()));
    if (!control) {
        ipc::throw_create_pipe_error(name);
    }
    return control;
}

void wait_for_client(HANDLE control) {
    ipc::overlapped_call call(control);
    const BOOL done = ConnectNamedPipe(control, call.get());
    const DWORD error = call.wait(done, limit_ms).error;
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Opens the process that has connected to the pipe.
ipc::unique_handle open_client_process(HANDLE control) {
    ULONG id = 0;
    if (!GetNamedPipeClientProcessId(control, &id)) {
        ipc::throw_last_error("GetNamedPipeClientProcessId");
    }
    ipc::unique_handle process(OpenProcess(PROCESS_DUP_HANDLE, FALSE, id));
    if (!process) {
        ipc::throw_last_error("OpenProcess");
    }
    return process;
}

// Puts a handle to the source's object into B's table and returns its number there. B can do with the object
// what `access` says, and nothing else.
HANDLE put_into_b([[maybe_unused]] HANDLE b, [[maybe_unused]] HANDLE source,
                  [[maybe_unused]] DWORD access) {
    // TODO: call DuplicateHandle, and throw if it fails.
    return nullptr;
}

// Closes the handle with this number in B's table. It runs in a destructor, so it does not throw.
void take_back([[maybe_unused]] HANDLE b, [[maybe_unused]] HANDLE number) {
    // TODO: DuplicateHandle can close its source.
}

// A handle in B's table. The destructor takes it back, unless A has given it away before.
class handle_in_b {
public:
    handle_in_b(HANDLE b, HANDLE source, DWORD access)
        : b_(b), number_(put_into_b(b, source, access)) {}
    ~handle_in_b() { take_back_now(); }
    handle_in_b(const handle_in_b&) = delete;
    handle_in_b& operator=(const handle_in_b&) = delete;

    std::uint64_t number() const { return to_number(number_); }
    void give_away() { number_ = nullptr; }
    void take_back_now() {
        if (number_ != nullptr) {
            take_back(b_, number_);
            number_ = nullptr;
        }
    }

private:
    HANDLE b_;
    HANDLE number_;
};

// Returns when B has read the message, and throws if B does not read it.
void send_message(HANDLE control, const message& sent) {
    ipc::overlapped_call call(control);
    const BOOL done = WriteFile(control, &sent, sizeof sent, nullptr, call.get());
    const DWORD error = call.wait(done, limit_ms).error;
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("B left before it got the handles");
    }
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("WriteFile", error);
    }
}

// Reads until the last write end is closed, by B or at B's end, and returns the number of bytes.
std::uint64_t read_to_end(HANDLE read_end) {
    char buffer[4096];
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

void lend_handles(HANDLE control, HANDLE b) {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    if (!CreatePipe(read_end.put(), write_end.put(), nullptr, 0)) {
        ipc::throw_last_error("CreatePipe");
    }
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    handle_in_b b_write_end(b, write_end.get(), FILE_WRITE_DATA | SYNCHRONIZE); // B closes it
    handle_in_b b_event(b, event.get(), EVENT_MODIFY_STATE);                    // A takes it back
    ipc::print_line("A: sending two handles");
    // TODO: at which point does the write end belong to B? Call give_away() there.
    send_message(control, {b_write_end.number(), b_event.number()});
    write_end.reset(); // or the pipe would not end while A has a write end

    const std::uint64_t total = read_to_end(read_end.get());
    const DWORD waited = WaitForSingleObject(event.get(), 0);
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForSingleObject");
    }
    if (waited == WAIT_TIMEOUT) { // B sets the event when it has written everything
        throw std::runtime_error("B ended before it had written everything");
    }
    ipc::print_line("A: {} bytes, and B has set the event", total);
    b_event.take_back_now();
    send_message(control, {});
    ipc::print_line("A: took the event back");
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const auto control = create_control_pipe(ipc::object_name(control_pipe_name, suffix));
    ipc::print_line("A: waiting for B");
    wait_for_client(control.get());
    const auto b = open_client_process(control.get());
    lend_handles(control.get(), b.get());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
