#pragma once

// The server behind the listening socket: a few threads serve all clients at a completion port. It is pair 18's,
// without what only TCP needs, and pair 18 explains it. Only the size of an address tells the family.

#include "common/error.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "sockets.hpp"

#include <mswsock.h>
#include <winsock2.h>

#include <windows.h>

#include <algorithm>
#include <array>
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
constexpr std::size_t most_clients = 1024; // more wait in the queue of the listening socket
constexpr std::size_t listening_count = 8; // sockets that wait for a client at the same time

enum class operation { accept, receive, send };

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock.
struct connection
    : WSAOVERLAPPED { // so a packet, which has the OVERLAPPED, leads to its connection
    connection() : WSAOVERLAPPED{} {}

    unique_socket socket;
    std::array<char, 2 * (sizeof(sockaddr_un) + 16)> addresses{}; // AcceptEx puts them there
    operation current = operation::accept;
    // Of the wait for a whole request, or of its reply; 0: the socket waits for a client.
    std::atomic<ULONGLONG> start_ms = 0;
    protocol::message_reader reader;
    std::size_t sent = 0; // of the reply
    std::uint64_t answered = 0;
    std::list<connection>::iterator position; // in the server's list
};

struct server_state {
    ipc::server_options options;
    unique_socket listener;
    ipc::unique_handle finished_event; // enough clients were served, or no socket is left
    ipc::unique_handle port;
    std::vector<std::jthread> workers;

    std::mutex mutex; // for the members below
    std::list<connection> connections;
    std::size_t listening = 0; // connections that wait for a client
    std::uint64_t served = 0;  // clients that have left
};

// The key is not used: a packet of the listening socket has that socket's key, and not the client's.
inline void associate(server_state& server, const unique_socket& socket) {
    const auto handle = reinterpret_cast<HANDLE>(socket.get());
    if (CreateIoCompletionPort(handle, server.port.get(), 0, 0) == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
}

// With the mutex locked.
inline void start_accept(server_state& server) {
    std::list<connection> created(1);
    connection& client = created.front();
    client.socket = create_unix_socket();
    client.position = created.begin();
    associate(server, client.socket);
    DWORD bytes = 0;
    constexpr DWORD address_bytes = sizeof(sockaddr_un) + 16; // as AcceptEx asks for
    const BOOL done = AcceptEx(server.listener.get(), client.socket.get(), client.addresses.data(),
                               0, // the call ends with the connection, and does not wait for data
                               address_bytes, address_bytes, &bytes, &client);
    if (!done && WSAGetLastError() != ERROR_IO_PENDING) {
        throw_socket_error("AcceptEx");
    }
    server.connections.splice(server.connections.end(), created);
    ++server.listening;
}

// With the mutex locked. If a socket cannot be created, the server goes on with fewer, and tries again
// when a client connects or leaves.
inline void accept_more(server_state& server) try {
    while (server.listening < listening_count && server.connections.size() < most_clients) {
        start_accept(server);
    }
} catch (...) {
    ipc::report_exception("A: one socket fewer waits for clients");
    if (server.connections.empty()) {
        SetEvent(server.finished_event.get());
    }
}

// A client has connected: gives its socket the options of an accepted one.
inline DWORD accept_client(server_state& server, connection& client) {
    {
        const std::lock_guard lock(server.mutex);
        --server.listening;
        client.start_ms = GetTickCount64();
        accept_more(server); // before this client is served, so that the next one can connect
    }
    const SOCKET socket = client.socket.get();
    const SOCKET listener = server.listener.get();
    if (setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                   reinterpret_cast<const char*>(&listener), sizeof listener) != 0) {
        return static_cast<DWORD>(WSAGetLastError()); // it may have left already
    }
    return ERROR_SUCCESS;
}

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
    client.current = operation::receive;
    const int result = WSARecv(client.socket.get(), &buffer, 1, // one buffer
                               nullptr, &flags, &client, nullptr /* no routine */);
    return judge_call(result);
}

inline DWORD start_send(connection& client) {
    const std::span<char> rest = client.reader.with_length().subspan(client.sent);
    WSABUF buffer{static_cast<ULONG>(rest.size()), rest.data()};
    client.current = operation::send;
    const int result =
        WSASend(client.socket.get(), &buffer, 1, nullptr, 0 /* no flags */, &client, nullptr);
    return judge_call(result);
}

// Starts the next operation of a client. Returns what start_receive and start_send return, or why the
// client is to be disconnected.
inline DWORD handle_request(connection& client) {
    if (client.reader.is_longer_than(protocol::max_message_bytes)) {
        return ERROR_MORE_DATA; // before anything is allocated for it
    }
    if (!client.reader.is_complete()) {
        return start_receive(client); // the limit goes on: it is for the whole message
    }
    protocol::make_reply(client.reader.message());
    client.start_ms = GetTickCount64();
    client.sent = 0;
    return start_send(client);
}

inline DWORD handle_completion(server_state& server, connection& client, DWORD bytes) {
    if (client.current == operation::accept) {
        const DWORD error = accept_client(server, client);
        return error == ERROR_SUCCESS ? handle_request(client) : error;
    }
    if (client.current == operation::receive) {
        if (bytes == 0) { // the client sends nothing more, and all its requests are answered
            return client.reader.is_empty() ? ERROR_GRACEFUL_DISCONNECT : ERROR_HANDLE_EOF;
        }
        client.reader.add(bytes);
        return handle_request(client);
    }
    client.sent += bytes;
    if (client.sent < client.reader.with_length().size()) {
        return start_send(client);
    }
    ++client.answered;
    client.reader.remove_message();
    client.start_ms = GetTickCount64();
    return handle_request(client); // the next request may be there already
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
    if (client.start_ms == 0) {
        --server.listening; // AcceptEx has failed
    } else {
        ++server.served;
    }
    server.connections.erase(client.position); // closes the socket
    accept_more(server);
    if (server.options.clients != 0 && server.served >= server.options.clients) {
        SetEvent(server.finished_event.get());
    }
}

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
        auto& client = *static_cast<connection*>(overlapped);
        DWORD error = ERROR_SUCCESS;
        DWORD flags = 0;
        if (!success &&
            !WSAGetOverlappedResult(client.socket.get(), overlapped, &bytes, FALSE, &flags)) {
            error = static_cast<DWORD>(WSAGetLastError()); // GetLastError has no codes of Winsock
        }
        try {
            if (error == ERROR_SUCCESS) {
                error = handle_completion(server, client, bytes);
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

// The call of a connection that waits for a client is one of the listening socket.
inline void cancel(const server_state& server, connection& client) {
    const SOCKET socket = client.start_ms == 0 ? server.listener.get() : client.socket.get();
    CancelIoEx(reinterpret_cast<HANDLE>(socket), &client); // its packet comes with an error
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD cancel_overdue(server_state& server) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    if (limit_ms == INFINITE) { // --limit 0
        return INFINITE;        // finished_event or Ctrl+C ends the wait
    }
    const std::lock_guard lock(server.mutex); // or a worker could delete a connection meanwhile
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG wait_ms = limit_ms;
    for (connection& client : server.connections) {
        const ULONGLONG start_ms = client.start_ms;
        const ULONGLONG end_ms = start_ms + limit_ms;
        if (start_ms != 0 && end_ms <= now_ms) {
            cancel(server, client);
        } else if (start_ms != 0) {
            wait_ms = std::min(wait_ms, end_ms - now_ms);
        }
    }
    return static_cast<DWORD>(wait_ms);
}

inline void wait_for_end(server_state& server) {
    const HANDLE events[] = {server.finished_event.get(), ipc::ctrl_c_event()};
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForMultipleObjects(2, events, FALSE /* any */, cancel_overdue(server));
    }
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
}

inline void start(server_state& server) {
    server.finished_event.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!server.finished_event) {
        ipc::throw_last_error("CreateEventW");
    }
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!server.port) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    associate(server, server.listener);
    const std::lock_guard lock(server.mutex);
    start_accept(server);
    accept_more(server);
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
        cancel(server, client);
    }
    for (std::size_t i = 0; i < server.connections.size(); ++i) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                  INFINITE); // ended by the end of a cancelled operation
    }
}
