// SOLUTION: the wait of GetOverlappedResult is a wait for the event in the OVERLAPPED. If another operation sets the
// same event, the wait ends too early, and the function returns TRUE for an operation that is still pending.
// Therefore each operation that is in progress needs an event of its own.
// STARTER
//~ // Exercise 05.2: A reads the next request while it writes a reply. It reports a reply as written too early. Mend it.
// END
//
// A serves one client and ends. Run: processA [--name SUFFIX], then processB [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD pipe_buffer_bytes = 4 * 1024;

ipc::unique_handle create_event() {
    ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1,                 // instance
        pipe_buffer_bytes, // for replies that the client has not read
        pipe_buffer_bytes, // for requests that the server has not read
        0,                 // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(HANDLE pipe) {
    ipc::overlapped_call call(pipe);
    const BOOL done = ConnectNamedPipe(pipe, call.get());
    const DWORD error = call.wait(done, INFINITE).error; // until a client comes, or Ctrl+C
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

struct operation {
    OVERLAPPED overlapped{};
    DWORD start_error = ERROR_SUCCESS; // ERROR_IO_PENDING until its result has been collected
};

void start_read(HANDLE pipe, operation& read, std::vector<char>& into) {
    const BOOL done =
        ReadFile(pipe, into.data(), static_cast<DWORD>(into.size()), nullptr, &read.overlapped);
    read.start_error = done ? ERROR_SUCCESS : GetLastError();
}

void start_write(HANDLE pipe, operation& write, const std::vector<char>& from) {
    const BOOL done =
        WriteFile(pipe, from.data(), static_cast<DWORD>(from.size()), nullptr, &write.overlapped);
    write.start_error = done ? ERROR_SUCCESS : GetLastError();
}

// Waits for the end of the operation. Returns its error and its bytes.
ipc::call_result finish(HANDLE pipe, operation& started) {
    ipc::call_result result{started.start_error, 0};
    if (result.error == ERROR_SUCCESS || result.error == ERROR_IO_PENDING) {
        const BOOL good = GetOverlappedResult(pipe, &started.overlapped, &result.bytes, TRUE);
        result.error = good ? ERROR_SUCCESS : GetLastError();
    }
    started.start_error = result.error;
    return result;
}

void serve_client(HANDLE pipe) {
    operation read;
    operation write;
    // SOLUTION: two operations are in progress at the same time.
    const ipc::unique_handle read_event = create_event();
    const ipc::unique_handle write_event = create_event();
    read.overlapped.hEvent = read_event.get();
    write.overlapped.hEvent = write_event.get();
    // STARTER
    //~ const ipc::unique_handle event = create_event();
    //~ read.overlapped.hEvent = event.get();
    //~ write.overlapped.hEvent = event.get();
    // END
    std::vector<char> request(protocol::max_message_bytes);
    std::vector<char> reply;
    const ipc::scope_exit clean_up([&] { // both operations use memory of this function
        CancelIoEx(pipe, nullptr);
        finish(pipe, read);
        finish(pipe, write);
    });
    start_read(pipe, read, request);
    for (;;) {
        const ipc::call_result arrived = finish(pipe, read);
        if (arrived.error != ERROR_SUCCESS) {
            return; // the client has left
        }
        reply.assign(request.begin(), request.begin() + arrived.bytes);
        protocol::make_reply(reply);
        start_read(pipe, read, request); // a client may send more before it reads the reply
        start_write(pipe, write, reply);
        const ipc::call_result written = finish(pipe, write);
        if (written.error != ERROR_SUCCESS) {
            return;
        }
        ipc::print_line("A: wrote {} of {} bytes", written.bytes, reply.size());
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const ipc::unique_handle pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    ipc::print_line("A: waits for a client");
    wait_for_client(pipe.get());
    serve_client(pipe.get());
    ipc::print_line("A: the client left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
