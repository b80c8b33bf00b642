// SOLUTION: DUPLICATE_SAME_ACCESS makes DuplicateHandle ignore the access argument, and B gets everything that A may
// do. Without this option B gets the access that A names.
// STARTER
//~ // Exercise 02.2: B refuses the event, because B may do too much with it. Mend A.
// END
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
        1,    // instance: one client
        4096, // from A to B
        4096, // from B to A
        0,    // default time-out: 50 ms
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

// Gives B a handle to the source's object, with this access, and returns its number in B.
HANDLE put_into_b(HANDLE b, HANDLE source, DWORD access) {
    HANDLE number = nullptr;
    // SOLUTION: no option, or the access would not count.
    const DWORD options = 0;
    // STARTER
    //~ const DWORD options = DUPLICATE_SAME_ACCESS;
    // END
    if (!DuplicateHandle(GetCurrentProcess(), source, b, &number, access, FALSE, options)) {
        ipc::throw_last_error("DuplicateHandle");
    }
    return number;
}

// Closes B's handle, which B has only borrowed.
void take_back(HANDLE b, HANDLE number) {
    ipc::unique_handle handle_in_a;
    if (!DuplicateHandle(b, number, GetCurrentProcess(), handle_in_a.put(), 0, FALSE,
                         DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE)) {
        ipc::throw_last_error("DuplicateHandle");
    }
}

void send_message(HANDLE control, const message& sent) {
    ipc::overlapped_call call(control);
    const BOOL done = WriteFile(control, &sent, sizeof sent, nullptr, call.get());
    const DWORD error = call.wait(done, limit_ms).error;
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
    const ipc::unique_handle event(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    const HANDLE b_write_end = put_into_b(b, write_end.get(), FILE_WRITE_DATA | SYNCHRONIZE);
    const HANDLE b_event = put_into_b(b, event.get(), EVENT_MODIFY_STATE);
    send_message(control, {to_number(b_write_end), to_number(b_event)});
    ipc::print_line("A: sent two handles");
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
    take_back(b, b_event);
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
