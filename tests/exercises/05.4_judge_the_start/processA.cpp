// SOLUTION: an overlapped call is complete at once, is pending, or fails at once. The system sets the event in the
// first two cases only. So A sets it in the third, and the wait in serve_clients returns for each call.
// STARTER
//~ // Exercise 05.4: write start_read and note_start, and A serves two clients at a time.
// END
//
// Run: processA [--name SUFFIX], then processB [--name SUFFIX] REQUEST..., and Ctrl+C

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <span>
#include <string>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD instance_count = 2;
constexpr DWORD pipe_buffer_bytes = 4 * 1024;

enum class operation { connect, read, reply };

// An instance of the pipe, with the one operation that A has started on it.
struct instance {
    ipc::unique_handle pipe;
    ipc::unique_handle event;
    OVERLAPPED overlapped{};
    operation current = operation::connect;
    DWORD start_error = ERROR_SUCCESS; // of the call that started the operation
    char buffer[4096] = {};
};

void create_instance(instance& client, const std::wstring& name) {
    client.event.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!client.event) {
        ipc::throw_last_error("CreateEventW");
    }
    client.overlapped.hEvent = client.event.get();
    ipc::user_only_security security;
    client.pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        instance_count,
        pipe_buffer_bytes, // for replies that the client has not read
        pipe_buffer_bytes, // for requests that the server has not read
        0,                 // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!client.pipe) {
        ipc::throw_create_pipe_error(name);
    }
}

// Call it right after the call that started the operation and returned done. When the operation
// has ended, in whatever way, the event has to be set.
void note_start(instance& client, operation started, [[maybe_unused]] BOOL done) {
    client.current = started;
    // SOLUTION: GetLastError has a meaning only if the call has returned FALSE.
    client.start_error = done ? ERROR_SUCCESS : GetLastError();
    if (client.start_error != ERROR_SUCCESS && client.start_error != ERROR_IO_PENDING) {
        SetEvent(client.event.get());
    }
    // STARTER
    //~ // TODO: store in client.start_error how the call has started: ERROR_SUCCESS, or the error.
    //~ // TODO: there are three cases. In one of them the system does not set the event.
    // END
}

void start_connect(instance& client) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), &client.overlapped);
    note_start(client, operation::connect, done);
}

void start_read(instance& client) {
    // SOLUTION: no pointer to a number of bytes: collect_result asks for it at the end.
    const BOOL done = ReadFile(client.pipe.get(), client.buffer, sizeof client.buffer, nullptr,
                               &client.overlapped);
    note_start(client, operation::read, done);
    // STARTER
    //~ // TODO: start to read a message into client.buffer, and call note_start.
    //~ static_cast<void>(client);
    // END
}

void start_reply(instance& client, DWORD bytes) {
    protocol::make_reply(std::span(client.buffer, bytes));
    const BOOL done =
        WriteFile(client.pipe.get(), client.buffer, bytes, nullptr, &client.overlapped);
    note_start(client, operation::reply, done);
}

// Returns the error and the bytes of the operation, which has ended.
ipc::call_result collect_result(instance& client) {
    ipc::call_result result{client.start_error, 0};
    if (result.error == ERROR_SUCCESS || result.error == ERROR_IO_PENDING) {
        const BOOL good = GetOverlappedResult(client.pipe.get(), &client.overlapped, &result.bytes,
                                              FALSE /* it has ended */);
        result.error = good ? ERROR_SUCCESS : GetLastError();
    }
    return result;
}

// Call it when the event of the instance was set. Starts the next operation.
void handle_completion(instance& client) {
    const ipc::call_result result = collect_result(client);
    if (client.current != operation::connect && result.error != ERROR_SUCCESS) {
        ipc::print_line("A: a client left");
        DisconnectNamedPipe(client.pipe.get());
        start_connect(client);
    } else if (client.current == operation::read) {
        start_reply(client, result.bytes);
    } else { // after a reply, or a connect; a client that has left already makes the read fail
        start_read(client);
    }
}

[[noreturn]] void serve_clients(std::span<instance, instance_count> instances) {
    const HANDLE events[] = {instances[0].event.get(), instances[1].event.get()};
    for (;;) {
        const DWORD ready = WaitForMultipleObjects(instance_count, events, FALSE /* any */,
                                                   INFINITE); // until a client asks, or Ctrl+C
        if (ready == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
        handle_completion(instances[ready]);
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    // static: the kernel uses the instances until Ctrl+C ends the program.
    static instance instances[instance_count];
    for (instance& next : instances) {
        create_instance(next, ipc::object_name(protocol::pipe_name, suffix));
        start_connect(next);
    }
    ipc::print_line("A: {} instances wait for clients", instance_count);
    serve_clients(instances);
} catch (...) {
    return ipc::report_exception("A");
}
