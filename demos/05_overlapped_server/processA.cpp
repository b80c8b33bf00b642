// Demo 05, process A: one thread serves many clients with overlapped I/O.
//
// A creates all instances of a message pipe and starts an operation on each of them: connect, then
// read, reply, read, reply, ... One call waits for the events of all instances and for Ctrl+C.
// Each B is a client: it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/overlapped.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "pipe_instance.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

namespace {

using instance_list = std::vector<std::unique_ptr<pipe_instance>>;

// ANCHOR: note_start
// Call it right after the call that started an operation and returned done. If that call fails at
// once, only this function sets the event. So the wait returns for each operation.
void note_start(pipe_instance& instance, operation started, BOOL done) {
    instance.start_error = done ? ERROR_SUCCESS : GetLastError();
    if (instance.start_error != ERROR_SUCCESS && instance.start_error != ERROR_IO_PENDING) {
        SetEvent(instance.event.get());
    }
    instance.current = started;
    instance.start_ms = GetTickCount64();
}
// ANCHOR_END: note_start

void start_connect(pipe_instance& instance) {
    const BOOL done = ConnectNamedPipe(instance.pipe.get(), &instance.overlapped);
    note_start(instance, operation::connect, done);
    // ERROR_PIPE_CONNECTED: a client came before the call. ERROR_NO_DATA: it has even left again,
    // and the first read will fail. Neither is a failure of the server.
    const DWORD error = instance.start_error;
    if (error != ERROR_SUCCESS && error != ERROR_IO_PENDING && error != ERROR_PIPE_CONNECTED &&
        error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void start_read(pipe_instance& client) {
    const BOOL done = ReadFile(client.pipe.get(), client.buffer.free_space(),
                               client.buffer.free_bytes(), nullptr, &client.overlapped);
    note_start(client, operation::read, done);
}

void start_reply(pipe_instance& client) {
    const std::span<char> message = client.buffer.message();
    protocol::make_reply(message);
    const auto bytes = static_cast<DWORD>(message.size());
    const BOOL done =
        WriteFile(client.pipe.get(), message.data(), bytes, nullptr, &client.overlapped);
    note_start(client, operation::reply, done);
}

// Ends the connection, and the instance waits for the next client. Call it only if no operation of
// the instance is pending.
void disconnect_client(pipe_instance& client, DWORD error) {
    ipc::print_client_end(error, client.answered);
    if (!DisconnectNamedPipe(client.pipe.get())) {
        ipc::throw_last_error("DisconnectNamedPipe");
    }
    client.buffer.clear();
    client.answered = 0;
    start_connect(client);
}

// Returns the error and the bytes of the operation, which is complete.
ipc::call_result collect_result(pipe_instance& client) {
    ipc::call_result result{client.start_error, 0};
    if (result.error == ERROR_SUCCESS || result.error == ERROR_IO_PENDING ||
        result.error == ERROR_MORE_DATA) { // any other error is already the result
        const BOOL good =
            GetOverlappedResult(client.pipe.get(), &client.overlapped, &result.bytes, FALSE);
        result.error = good ? ERROR_SUCCESS : GetLastError();
    }
    return result;
}

// Call it when the event of the instance is set. Starts the next operation. Returns whether the
// client has gone.
bool handle_completion(pipe_instance& client) {
    const ipc::call_result result = collect_result(client);
    if (client.current == operation::read) {
        client.buffer.add(result.bytes);
    }
    if (client.current == operation::connect ||
        (result.error == ERROR_MORE_DATA && client.buffer.grow())) {
        start_read(client); // a request, or the rest of it
    } else if (result.error != ERROR_SUCCESS) {
        disconnect_client(client, result.error);
        return true;
    } else if (client.current == operation::read) {
        start_reply(client);
    } else {
        ++client.answered;
        client.buffer.clear();
        start_read(client); // the next request
    }
    return false;
}

// Cancels each read and reply that has exceeded the limit. Returns how long the next wait may last:
// until the next one exceeds it.
DWORD cancel_overdue(const instance_list& instances, DWORD limit_ms) {
    DWORD wait_ms = INFINITE; // if no client is connected, the next one or Ctrl+C ends the wait
    for (const auto& client : instances) {
        const ULONGLONG elapsed_ms = GetTickCount64() - client->start_ms;
        if (client->current == operation::connect || limit_ms == INFINITE) { // --limit 0
            continue;
        }
        if (elapsed_ms < limit_ms) {
            wait_ms = std::min(wait_ms, limit_ms - static_cast<DWORD>(elapsed_ms));
        } else {
            CancelIoEx(client->pipe.get(), &client->overlapped); // this sets its event
        }
    }
    return wait_ms;
}

// Returns the number of clients that were served.
std::uint64_t serve_clients(instance_list& instances, const ipc::server_options& options) {
    std::uint64_t served = 0;
    std::vector<HANDLE> events = {ipc::ctrl_c_event()};
    for (const auto& instance : instances) {
        events.push_back(instance->event.get());
    }
    while (options.clients == 0 || served < options.clients) {
        // ANCHOR: wait
        const DWORD wait_ms = cancel_overdue(instances, options.idle_limit.ms);
        const DWORD ready = WaitForMultipleObjects(static_cast<DWORD>(events.size()), events.data(),
                                                   FALSE, // one of them is enough
                                                   wait_ms);
        // ANCHOR_END: wait
        if (ready == WAIT_OBJECT_0) {
            break; // Ctrl+C
        }
        if (ready < events.size()) {
            served += handle_completion(*instances[ready - 1]);
            // The wait returns the lowest index that is ready. The client served last moves to the
            // end, or busy clients would starve the others.
            std::rotate(events.begin() + ready, events.begin() + ready + 1, events.end());
            std::rotate(instances.begin() + ready - 1, instances.begin() + ready, instances.end());
        } else if (ready != WAIT_TIMEOUT) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
    }
    return served;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on Ctrl+C sets this event and does not end the program
    const std::wstring name = ipc::object_name(protocol::pipe_name, options.suffix);
    instance_list instances;
    DWORD first_flag = FILE_FLAG_FIRST_PIPE_INSTANCE; // fails if another server has the name
    while (instances.size() < instance_count) {
        instances.push_back(std::make_unique<pipe_instance>(name, first_flag));
        start_connect(*instances.back());
        first_flag = 0;
    }
    ipc::print_line("A: {} instances wait for clients", instance_count);
    const std::uint64_t served = serve_clients(instances, options);
    instances.clear(); // cancels what is pending, and closes all instances
    ipc::print_line("A: the end; clients served: {}", served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
