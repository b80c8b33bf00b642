// Demo 08, process A: one thread serves a thousand clients with completion routines.
//
// A passes a function, the completion routine, to every read and write. The system calls it on A's
// own thread, when the operation is complete and the thread waits alertably. The routine notes the
// result, and A starts the next operation. A needs no lock and no event for each client. Each B is
// a client: it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "pipe_instance.hpp"

#include <iterator>
#include <span>
#include <string>

namespace {

constexpr DWORD pipe_buffer_bytes = 4 * 1024;

// Waits for the next client. ConnectNamedPipe has no form with a completion routine, so it sets an
// event.
void start_connect(pipe_instance& instance) {
    instance.hEvent = instance.server.connected_event.get();
    const BOOL done = ConnectNamedPipe(instance.pipe.get(), &instance);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
        SetEvent(instance.hEvent); // a client came before the call, and may have left again
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void create_instance(server_state& server) {
    const std::wstring name = ipc::object_name(protocol::pipe_name, server.options.suffix);
    const DWORD first_flag = server.client_count() == 0 ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0;
    std::list<pipe_instance> created;
    pipe_instance& instance = created.emplace_back(server);
    ipc::user_only_security security; // for the current user only
    instance.pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED // read and write; no call on this handle blocks
            | first_flag,                         // FILE_FLAG_FIRST_PIPE_INSTANCE, or 0
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE // a WriteFile is a message, a ReadFile reads one
            | PIPE_WAIT                           // blocking mode
            | PIPE_REJECT_REMOTE_CLIENTS,         // for programs on this machine only
        PIPE_UNLIMITED_INSTANCES,                 // this program has a limit of its own
        pipe_buffer_bytes,                        // for replies that the client has not read
        pipe_buffer_bytes,                        // for requests that the server has not read
        0,                                        // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!instance.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    start_connect(instance);
    instance.position = created.begin();
    server.listening.splice(server.listening.begin(), created);
}

// If the instance cannot be created, the server goes on without it, and tries again when a client
// leaves.
void listen(server_state& server) {
    try {
        if (server.listening.empty() && server.client_count() < most_clients) {
            create_instance(server);
        }
    } catch (...) {
        if (server.client_count() == 0) {
            throw;
        }
        ipc::report_exception("A: one pipe instance fewer");
    }
}

// Call it only if no operation of the client is pending.
void end_client(pipe_instance& client, DWORD error) {
    server_state& server = client.server;
    ipc::print_client_end(error, client.answered);
    ++server.served;
    server.complete.erase(client.position);
    listen(server); // with most_clients there was no listening instance
}

// ANCHOR: routine
// Notes the result and starts nothing. An operation that it started could be complete at once, and
// then the same wait would call its routine too: busy clients could keep that wait from returning.
//
// The system passes an error code as well, but for a message longer than the buffer that code is 0
// on Windows. GetOverlappedResult fails with ERROR_MORE_DATA, as it should.
void CALLBACK note_result(DWORD /* error */, DWORD /* bytes */, OVERLAPPED* overlapped) {
    auto& client = *static_cast<pipe_instance*>(overlapped);
    const BOOL success =
        GetOverlappedResult(client.pipe.get(), overlapped, &client.result.bytes, FALSE);
    client.result.error = success ? ERROR_SUCCESS : GetLastError();
    server_state& server = client.server;
    server.complete.splice(server.complete.end(), server.pending, client.position);
}
// ANCHOR_END: routine

// Call it right after ReadFileEx or WriteFileEx. Unless that call failed, its routine will run.
// ERROR_MORE_DATA is no failure: Wine returns it for the first part of a message, Windows does not.
void expect_routine(pipe_instance& client, BOOL started) {
    const DWORD error = started ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
        return end_client(client, error);
    }
    client.start_ms = GetTickCount64();
    server_state& server = client.server;
    server.pending.splice(server.pending.end(), server.complete, client.position);
}

void start_read(pipe_instance& client) {
    client.current = operation::read;
    // ANCHOR: read
    const BOOL started =
        ReadFileEx(client.pipe.get(), client.buffer.free_space(), client.buffer.free_bytes(),
                   &client,      // its OVERLAPPED
                   note_result); // the completion routine
    // ANCHOR_END: read
    expect_routine(client, started);
}

void start_reply(pipe_instance& client) {
    const std::span<char> message = client.buffer.message();
    protocol::make_reply(message);
    client.current = operation::reply;
    const BOOL started = WriteFileEx(client.pipe.get(), message.data(),
                                     static_cast<DWORD>(message.size()), &client, note_result);
    expect_routine(client, started);
}

// Call it when the client's operation is complete. Starts the next one.
void handle_completion(pipe_instance& client) {
    const auto [error, bytes] = client.result;
    if (client.current == operation::read) {
        client.buffer.add(bytes);
    }
    if (error == ERROR_MORE_DATA && client.buffer.grow()) {
        start_read(client); // the rest of the message
    } else if (error != ERROR_SUCCESS) {
        end_client(client, error);
    } else if (client.current == operation::read) {
        start_reply(client);
    } else {
        ++client.answered;
        client.buffer.clear();
        start_read(client); // the next request
    }
}

void accept_client(server_state& server) {
    pipe_instance& client = server.listening.front();
    server.complete.splice(server.complete.end(), server.listening);
    listen(server);     // first, so that the next client can connect
    start_read(client); // fails if the client has left again
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
DWORD cancel_overdue(server_state& server) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    if (limit_ms == INFINITE) { // --limit 0
        return INFINITE;        // a routine, the next client or Ctrl+C ends the wait
    }
    const ULONGLONG now_ms = GetTickCount64();
    for (pipe_instance& client : server.pending) {
        const ULONGLONG pending_ms = now_ms - client.start_ms;
        if (pending_ms < limit_ms) {
            return static_cast<DWORD>(limit_ms - pending_ms);
        }
        CancelIoEx(client.pipe.get(), &client); // its routine is called, with an error
    }
    return INFINITE; // as above
}

void serve(server_state& server) {
    const HANDLE events[] = {ipc::ctrl_c_event(), server.connected_event.get()};
    const std::uint64_t last = server.options.clients; // 0: there is no last one
    while (last == 0 || server.served < last) {
        const DWORD wait_ms = cancel_overdue(server);
        // ANCHOR: wait
        const DWORD waited = WaitForMultipleObjectsEx(2, events,
                                                      FALSE, // one of them is enough
                                                      wait_ms,
                                                      TRUE); // alertable: routines may run
        // ANCHOR_END: wait
        if (waited == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjectsEx");
        } else if (waited == WAIT_OBJECT_0) {
            return; // Ctrl+C
        } else if (waited == WAIT_OBJECT_0 + 1) {
            accept_client(server);
            SleepEx(0, TRUE /* alertable */); // a wait that an event ends may run no routine
        }
        while (!server.complete.empty() && (last == 0 || server.served < last)) {
            handle_completion(server.complete.front());
        }
    }
}

// It is not enough to close the handles: the system calls the routines even then, and they use the
// OVERLAPPED.
void stop(server_state& server) {
    for (pipe_instance& instance : server.listening) {
        DWORD bytes = 0;
        if (CancelIoEx(instance.pipe.get(), &instance)) { // fails if a client has connected
            GetOverlappedResult(instance.pipe.get(), &instance, &bytes, TRUE /* wait */);
        }
    }
    for (pipe_instance& client : server.pending) {
        CancelIoEx(client.pipe.get(), &client);
    }
    while (!server.pending.empty()) {
        SleepEx(INFINITE, TRUE /* alertable */); // ended by a routine of a cancelled operation
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server_state server;
    server.options = ipc::parse_server_options(argc, argv);
    server.connected_event.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!server.connected_event) {
        ipc::throw_last_error("CreateEventW");
    }
    {
        const ipc::scope_exit end([&] { stop(server); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
        listen(server);
        ipc::print_line("A: one thread waits for clients, alertably");
        serve(server);
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
