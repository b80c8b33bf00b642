// Demo 07, process A: a thread for each client, and blocking calls.
//
// Each thread waits for one client in ConnectNamedPipe, and serves it in a loop of ReadFile and
// WriteFile. The main thread keeps some threads waiting for the next clients. It cancels the calls
// that exceed the limit, and at the end all calls. Each B is a client: it gets its requests in upper
// case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/message_buffer.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "session.hpp"

#include <algorithm>
#include <list>
#include <span>

namespace {

constexpr std::ptrdiff_t listening_count = 4; // sessions that wait for a client at the same time
// Each client can make the server hold a message of 1 MiB. A reply that a client does not read takes
// as much again of the kernel's memory, which no figure of the server's process includes.
constexpr std::size_t most_clients = 1024;

// The main thread cancels the session's next call when the limit is over.
void start_limit(session& client) {
    const bool has_limit = client.limit_ms != INFINITE; // --limit 0
    client.end_ms = has_limit ? GetTickCount64() + client.limit_ms : no_limit_ms;
}

// Reads one message, in as many pieces as it takes. Returns the error of the last read.
DWORD read_message(session& client, ipc::message_buffer& buffer) {
    for (;;) {
        start_limit(client);
        DWORD bytes = 0;
        const BOOL done =
            ReadFile(client.pipe.get(), buffer.free_space(), buffer.free_bytes(), &bytes, nullptr);
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        buffer.add(bytes);
        if (error != ERROR_MORE_DATA || !buffer.grow()) {
            return error;
        }
    }
}

// Returns the error that ended the connection.
// ANCHOR: serve
DWORD serve_client(session& client) {
    ipc::message_buffer buffer(protocol::max_message_bytes);
    while (!client.stopping) {
        const DWORD error = read_message(client, buffer);
        if (error != ERROR_SUCCESS) {
            return error;
        }
        const std::span<char> message = buffer.message();
        protocol::make_reply(message);
        start_limit(client);
        DWORD written = 0;
        if (!WriteFile(client.pipe.get(), message.data(), static_cast<DWORD>(message.size()),
                       &written, nullptr)) {
            return GetLastError();
        }
        ++client.answered;
        buffer.clear();
    }
    return ERROR_OPERATION_ABORTED;
}
// ANCHOR_END: serve

void wait_for_client(session& client) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    // ERROR_PIPE_CONNECTED: a client came before the call. ERROR_NO_DATA: it has even left again,
    // and the first read will fail. Neither is a failure of the server.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        !client.stopping) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
    client.connected = true;
    SetEvent(client.changed); // the main thread starts a session for the next client
}

} // namespace

// The thread prints nothing: CancelSynchronousIo would cancel a write to the screen, too.
unsigned __stdcall serve_session(void* argument) {
    session& client = *static_cast<session*>(argument);
    try {
        wait_for_client(client);
        client.error = serve_client(client);
    } catch (...) {
        client.failure = std::current_exception();
    }
    client.ended = true;
    SetEvent(client.changed);
    return 0;
}

namespace {

struct server {
    ipc::server_options options;
    ipc::unique_handle changed; // an event: a session has a client, or has ended
    std::list<session> sessions;
    std::uint64_t served = 0;
};

// Starts sessions until enough of them wait for a client.
void start_sessions(server& server) {
    const std::wstring name = ipc::object_name(protocol::pipe_name, server.options.suffix);
    auto listening = std::ranges::count_if(
        server.sessions, [](const session& session) { return !session.connected; });
    for (; listening < listening_count && server.sessions.size() < most_clients; ++listening) {
        const DWORD first_flag = server.sessions.empty() ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0;
        server.sessions.emplace_front(name, first_flag, server.changed.get(),
                                      server.options.idle_limit.ms);
    }
}

void remove_ended(server& server) {
    for (auto client = server.sessions.begin(); client != server.sessions.end();) {
        if (!client->ended) {
            ++client;
            continue;
        }
        if (client->failure) {
            std::rethrow_exception(client->failure);
        }
        ipc::print_client_end(client->error, client->answered);
        ++server.served;
        client = server.sessions.erase(client); // closes the instance
        start_sessions(server); // or the name would disappear if all clients left at once
    }
}

// Cancels each call that is overdue. Returns how long the next wait may last.
DWORD cancel_overdue(server& server) {
    ULONGLONG wait_ms = server.options.idle_limit.ms; // the limit of a call that starts now
    const ULONGLONG now_ms = GetTickCount64();
    for (session& client : server.sessions) {
        const ULONGLONG end_ms = client.end_ms;
        if (end_ms > now_ms) {
            wait_ms = std::min(wait_ms, end_ms - now_ms);
        } else {
            CancelSynchronousIo(client.thread.get());
            wait_ms = cancel_again_ms; // the thread may not have entered its call yet
        }
    }
    return static_cast<DWORD>(wait_ms);
}

void serve_clients(server& server) {
    // The wait returns the lowest index that is ready: clients cannot delay Ctrl+C.
    const HANDLE events[] = {ipc::ctrl_c_event(), server.changed.get()};
    while (server.options.clients == 0 || server.served < server.options.clients) {
        const DWORD wait_ms = cancel_overdue(server);
        const DWORD ready = WaitForMultipleObjects(2, events, FALSE /* any */, wait_ms);
        if (ready == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (ready == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
        remove_ended(server);
        start_sessions(server);
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server server;
    server.options = ipc::parse_server_options(argc, argv);
    server.changed.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!server.changed) {
        ipc::throw_last_error("CreateEventW");
    }
    ipc::ctrl_c_event(); // from here on Ctrl+C sets this event and does not end the program
    start_sessions(server);
    ipc::print_line("A: {} threads wait for clients", listening_count);
    serve_clients(server);
    server.sessions.clear(); // cancels the calls of all threads, and waits for the threads
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
