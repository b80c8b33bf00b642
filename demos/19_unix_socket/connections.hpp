#pragma once

// The server behind the listening socket: a few threads serve all clients at a completion port. No line of it
// knows the address family. Pair 18 explains it.

#include "common/error.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "sockets.hpp"

#include <winsock2.h>

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

constexpr int worker_count = 4;
constexpr std::size_t most_clients = 1024;   // more wait in the queue of the listening socket
constexpr int send_buffer_bytes = 64 * 1024; // of the kernel, for a reply that is not read
constexpr DWORD accept_again_ms = 1000;      // after accept has failed

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock.
struct connection {
    unique_socket socket;
    WSAOVERLAPPED overlapped{};
    bool sending = false;
    std::atomic<ULONGLONG> start_ms = 0; // of the wait for a whole request, or of its reply
    protocol::message_reader reader;
    std::size_t sent = 0; // of the reply
    std::uint64_t answered = 0;
    std::list<connection>::iterator position; // in the server's list
};

struct server_state {
    ipc::server_options options;
    unique_socket listener;
    ipc::unique_handle wake_event; // a client has come, or one has left
    ipc::unique_handle port;
    std::vector<std::jthread> workers;

    std::mutex mutex; // for the members below
    std::list<connection> connections;
    std::uint64_t served = 0; // clients that have left
};

// Returns ERROR_IO_PENDING if a packet will come. It comes also if the call has already succeeded, and
// another worker may use the client even now. With any other result, no packet comes.
inline DWORD judge_call(int result) {
    const int error = result == 0 ? WSA_IO_PENDING : WSAGetLastError();
    return static_cast<DWORD>(error);
}

inline DWORD start_receive(connection& client) {
    const std::span<char> space = client.reader.free_space();
    WSABUF buffer{static_cast<ULONG>(space.size()), space.data()};
    DWORD flags = 0;
    client.sending = false;
    // ANCHOR: receive
    const int result = WSARecv(client.socket.get(), &buffer, 1, // one buffer
                               nullptr, &flags, &client.overlapped, nullptr /* no routine */);
    // ANCHOR_END: receive
    return judge_call(result);
}

inline DWORD start_send(connection& client) {
    const std::span<char> rest = client.reader.with_length().subspan(client.sent);
    WSABUF buffer{static_cast<ULONG>(rest.size()), rest.data()};
    client.sending = true;
    const int result = WSASend(client.socket.get(), &buffer, 1, nullptr, 0 /* no flags */,
                               &client.overlapped, nullptr);
    return judge_call(result);
}

// ANCHOR: message
// Starts the next operation of a client. Returns what start_receive and start_send return, or why the
// client is to be disconnected.
inline DWORD handle_bytes(connection& client) {
    protocol::message_reader& reader = client.reader;
    if (reader.is_longer_than(protocol::max_message_bytes)) {
        return ERROR_MORE_DATA; // before anything is allocated for it
    }
    if (!reader.is_complete()) {
        return start_receive(client); // the limit goes on: it is for the whole message
    }
    protocol::make_reply(reader.message());
    client.start_ms = GetTickCount64();
    client.sent = 0;
    return start_send(client);
}
// ANCHOR_END: message

inline DWORD handle_completion(connection& client, DWORD bytes) {
    if (!client.sending) {
        if (bytes == 0) { // the client sends nothing more, and all its requests are answered
            return client.reader.is_empty() ? ERROR_GRACEFUL_DISCONNECT : ERROR_HANDLE_EOF;
        }
        client.reader.add(bytes);
        return handle_bytes(client);
    }
    client.sent += bytes;
    if (client.sent < client.reader.with_length().size()) {
        return start_send(client);
    }
    ++client.answered;
    client.reader.remove_message();
    client.start_ms = GetTickCount64();
    return handle_bytes(client); // the next request may be there already
}

inline void print_end(DWORD error, std::uint64_t answered) {
    if (error == ERROR_HANDLE_EOF) {
        ipc::print_line("A: a client left in the middle of a message; requests answered: {}",
                        answered);
    } else if (error == WSAECONNRESET || error == WSAECONNABORTED) {
        ipc::print_line("A: a client reset its connection ({}); requests answered: {}",
                        error == WSAECONNRESET ? "WSAECONNRESET, 10054" : "WSAECONNABORTED, 10053",
                        answered);
    } else {
        ipc::print_client_end(error == ERROR_GRACEFUL_DISCONNECT ? ERROR_BROKEN_PIPE : error,
                              answered);
    }
}

// No operation is pending on the socket.
inline void remove_client(server_state& server, connection& client) {
    const std::lock_guard lock(server.mutex);
    ++server.served;
    server.connections.erase(client.position); // closes the socket
    SetEvent(server.wake_event.get());
}

// ANCHOR: work
inline void work(server_state& server) {
    for (;;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        const BOOL success =
            GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                      INFINITE); // ended by the packet that stop() posts
        if (overlapped == nullptr) {
            return; // that packet
        }
        auto& client = *reinterpret_cast<connection*>(key);
        DWORD error = ERROR_SUCCESS;
        DWORD flags = 0;
        if (!success &&
            !WSAGetOverlappedResult(client.socket.get(), overlapped, &bytes, FALSE, &flags)) {
            error = static_cast<DWORD>(WSAGetLastError()); // GetLastError has no codes of Winsock
        }
        // ANCHOR_END: work
        try {
            if (error == ERROR_SUCCESS) {
                error = handle_completion(client, bytes);
            }
            if (error == ERROR_IO_PENDING) {
                continue; // from here on, the client may belong to another worker
            }
            print_end(error, client.answered);
        } catch (...) {
            ipc::report_exception("A"); // costs this client its connection, and no other one
        }
        remove_client(server, client);
    }
}

// With the mutex locked.
inline void add_client(server_state& server, unique_socket accepted) {
    u_long blocking =
        FALSE; // an accepted socket has the listening socket's event and mode: undo both
    if (WSAEventSelect(accepted.get(), nullptr, 0) != 0 ||
        ioctlsocket(accepted.get(), FIONBIO, &blocking) != 0) {
        throw_socket_error("WSAEventSelect or ioctlsocket");
    }
    std::list<connection> created(1);
    connection& client = created.front();
    client.socket = std::move(accepted);
    client.start_ms = GetTickCount64();
    client.position = created.begin();
    const auto handle = reinterpret_cast<HANDLE>(client.socket.get());
    if (CreateIoCompletionPort(handle, server.port.get(), reinterpret_cast<ULONG_PTR>(&client),
                               0) == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    const DWORD error = start_receive(client);
    if (error != ERROR_IO_PENDING) {
        print_end(error, 0); // and its destructor closes the socket
        return;
    }
    server.connections.splice(server.connections.end(), created);
}

// Returns false if accept should be tried again after a while.
inline bool accept_clients(server_state& server) try {
    const std::lock_guard lock(server.mutex);
    // Each time, and not once: under Wine, an accept that finds no client can leave the event switched off.
    if (WSAEventSelect(server.listener.get(), server.wake_event.get(), FD_ACCEPT) != 0) {
        throw_socket_error("WSAEventSelect"); // it also makes accept return at once
    }
    while (server.connections.size() < most_clients) {
        unique_socket accepted(accept(server.listener.get(), nullptr, nullptr));
        if (accepted) {
            add_client(server, std::move(accepted));
        } else if (WSAGetLastError() == WSAEWOULDBLOCK) {
            break; // no client waits; wake_event is set when one comes
        } else if (WSAGetLastError() != WSAECONNRESET) { // that one has left already
            throw_socket_error("accept");
        }
    }
    return true;
} catch (...) {
    ipc::report_exception("A: a client fewer");
    return false;
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD cancel_overdue(server_state& server) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    if (limit_ms == INFINITE) { // --limit 0
        return INFINITE;        // wake_event or Ctrl+C ends the wait
    }
    const std::lock_guard lock(server.mutex); // or a worker could delete a connection meanwhile
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG wait_ms = limit_ms;
    for (connection& client : server.connections) {
        const ULONGLONG end_ms = client.start_ms + limit_ms;
        if (end_ms <= now_ms) {
            CancelIoEx(reinterpret_cast<HANDLE>(client.socket.get()), &client.overlapped);
        } else {
            wait_ms = std::min(wait_ms, end_ms - now_ms);
        }
    }
    return static_cast<DWORD>(wait_ms);
}

inline bool has_finished(server_state& server) {
    const std::lock_guard lock(server.mutex);
    return server.options.clients != 0 && server.served >= server.options.clients;
}

inline void run(server_state& server) {
    const HANDLE events[] = {ipc::ctrl_c_event(), server.wake_event.get()};
    while (!has_finished(server)) {
        const bool accepting = accept_clients(server);
        const DWORD wait_ms = cancel_overdue(server);
        const DWORD waited =
            WaitForMultipleObjects(accepting ? 2 : 1, events, FALSE /* any */,
                                   accepting ? wait_ms : std::min(wait_ms, accept_again_ms));
        if (waited == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
        if (waited == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
    }
}

inline void start(server_state& server) {
    server.wake_event.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!server.wake_event) {
        ipc::throw_last_error("CreateEventW");
    }
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!server.port) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    for (int i = 0; i < worker_count; ++i) {
        server.workers.emplace_back([&server] { work(server); });
    }
}

// The kernel still writes into the buffers of pending operations. When the workers have ended, each
// connection has exactly one packet to come.
inline void stop(server_state& server) {
    for (std::size_t i = 0; i < server.workers.size(); ++i) {
        PostQueuedCompletionStatus(server.port.get(), 0, 0, nullptr);
    }
    server.workers.clear(); // joins them
    for (connection& client : server.connections) {
        CancelIoEx(reinterpret_cast<HANDLE>(client.socket.get()), &client.overlapped);
    }
    for (std::size_t i = 0; i < server.connections.size(); ++i) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                  INFINITE); // ended by the end of a cancelled operation
    }
    server.connections.clear(); // closes the sockets; replies that were sent still arrive
}
