#pragma once

// The server behind the listening socket: a few threads serve all clients at a completion port. It is pair 18's,
// without what only TCP needs, and pair 18 explains it. Only sizeof(sockaddr_un) shows which kind of socket this is,
// and only stop() has more to do.

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
#include <climits>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

constexpr int worker_count = 4;
constexpr std::size_t most_clients = 1024;     // more wait in the queue of listen
constexpr std::size_t listening_count = 8;     // sockets that wait for a client at the same time
constexpr std::size_t piece_bytes = 64 * 1024; // of a reply, for one send
constexpr ULONGLONG look_again_ms = 10;        // when an operation could not be cancelled
constexpr ULONGLONG accept_again_ms = 5'000;   // when no socket could be created
constexpr DWORD stop_limit_ms = 5'000;         // for the packets of cancelled operations

enum class operation { accept, receive, send };

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock.
struct connection
    : WSAOVERLAPPED { // so a packet, which has the OVERLAPPED, leads to its connection
    connection() : WSAOVERLAPPED{} {}

    unique_socket socket;
    std::array<char, 2 * (sizeof(sockaddr_un) + 16)> addresses{}; // AcceptEx puts them there
    operation current = operation::accept;
    // When its request has to be complete, or its reply read: a time of GetTickCount64.
    std::atomic<ULONGLONG> end_ms = 0;
    protocol::message_reader reader;
    std::size_t sent = 0; // of the reply
    std::uint64_t answered = 0;
    bool connected = false; // the server's mutex guards it; before, the socket waits for a client
    std::list<connection>::iterator position; // in the server's list
};

struct server_state {
    ipc::server_options options;
    unique_socket listener;
    ipc::unique_handle finished_event; // enough clients were served
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
    if (!done && WSAGetLastError() == WSAECONNRESET) {
        return; // that client has left again: accept_more tries the next one
    }
    if (!done && WSAGetLastError() != ERROR_IO_PENDING) {
        throw_socket_error("AcceptEx");
    }
    server.connections.splice(server.connections.end(), created);
    ++server.listening;
}

// With the mutex locked. If a socket cannot be created, the server goes on with fewer and tries again soon.
inline void accept_more(server_state& server) try {
    while (server.listening < listening_count && server.connections.size() < most_clients) {
        start_accept(server);
    }
} catch (...) {
    ipc::report_exception("A: one socket fewer waits for clients");
}

// The limit is for a whole request or reply: it does not start again with each byte.
inline void start_limit(const server_state& server, connection& client) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    client.end_ms = limit_ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit_ms;
}

// A client has connected.
inline void accept_client(server_state& server, connection& client) {
    {
        const std::lock_guard lock(server.mutex);
        --server.listening;
        client.connected = true;
        start_limit(server, client);
        accept_more(server); // before this client is served, so that the next one can connect
    }
    // If the client has left already, this call fails, and the first receive reports why.
    // Without it, shutdown does not know that the socket is connected.
    set_option(client.socket.get(), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, server.listener.get());
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

// Sends a piece: how many bytes of one call Windows takes into kernel memory is not documented.
inline DWORD start_send(connection& client) {
    const std::span<char> rest = client.reader.with_length().subspan(client.sent);
    WSABUF buffer{static_cast<ULONG>(std::min(rest.size(), piece_bytes)), rest.data()};
    client.current = operation::send;
    const int result =
        WSASend(client.socket.get(), &buffer, 1, nullptr, 0 /* no flags */, &client, nullptr);
    return judge_call(result);
}

// Starts the next operation of a client. Returns what start_receive and start_send return, or why the
// client is to be disconnected.
inline DWORD answer_request(const server_state& server, connection& client) {
    if (client.reader.is_longer_than(protocol::max_message_bytes)) {
        return ERROR_MORE_DATA; // before anything is allocated for it
    }
    if (!client.reader.is_complete()) {
        return start_receive(client); // the limit goes on: it is for the whole message
    }
    protocol::make_reply(client.reader.message());
    start_limit(server, client);
    client.sent = 0;
    return start_send(client);
}

inline DWORD handle_completion(server_state& server, connection& client, DWORD bytes) {
    if (client.current == operation::accept) {
        accept_client(server, client);
        return answer_request(server, client);
    }
    if (client.current == operation::receive) {
        if (bytes == 0) { // the client sends nothing more, and all its requests are answered
            return client.reader.is_empty() ? ERROR_GRACEFUL_DISCONNECT : ERROR_HANDLE_EOF;
        }
        client.reader.add(bytes);
        return answer_request(server, client);
    }
    client.sent += bytes;
    if (client.sent < client.reader.with_length().size()) {
        return start_send(client);
    }
    ++client.answered;
    client.reader.remove_message();
    start_limit(server, client);
    return answer_request(server, client); // the next request may be there already
}

inline void print_end(DWORD error, std::uint64_t answered) {
    if (error == ERROR_HANDLE_EOF) {
        ipc::print_line("A: a client left in the middle of a message; requests answered: {}",
                        answered);
    } else if (const std::string_view name = reset_name(error); !name.empty()) {
        ipc::print_line("A: a client reset its connection ({}); requests answered: {}", name,
                        answered);
    } else {
        ipc::print_client_end(error == ERROR_GRACEFUL_DISCONNECT ? ERROR_BROKEN_PIPE : error,
                              answered);
    }
}

// No operation is pending on the socket.
inline void remove_client(server_state& server, connection& client) {
    const std::lock_guard lock(server.mutex);
    server.served += client.connected ? 1 : 0;
    server.listening -= client.connected ? 0 : 1; // AcceptEx has failed
    server.connections.erase(client.position);    // closes the socket
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

// The call of a connection that waits for a client is one of the listening socket. Returns FALSE if no
// operation is pending.
inline BOOL cancel(const server_state& server, connection& client) {
    const SOCKET socket = client.connected ? client.socket.get() : server.listener.get();
    return CancelIoEx(reinterpret_cast<HANDLE>(socket), &client); // its packet comes with an error
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD check_clients(server_state& server) {
    const std::lock_guard lock(server.mutex); // or a worker could delete a connection meanwhile
    accept_more(server);                      // if it has failed
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG wait_ms = std::min<ULONGLONG>(server.options.idle_limit.ms, accept_again_ms);
    for (connection& client : server.connections) {
        const ULONGLONG end_ms = client.end_ms;
        if (client.connected && end_ms > now_ms) {
            wait_ms = std::min(wait_ms, end_ms - now_ms);
        } else if (client.connected && !cancel(server, client)) {
            wait_ms = std::min(wait_ms, look_again_ms); // a worker starts its next operation now
        }
    }
    return static_cast<DWORD>(wait_ms);
}

inline void wait_for_end(server_state& server) {
    const HANDLE events[] = {server.finished_event.get(), ipc::ctrl_c_event()};
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForMultipleObjects(2, events, FALSE /* any */, check_clients(server));
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
// connection has exactly one packet to come. With AF_UNIX, cancelled operations were seen that never end. Closing the
// sockets ends more of them; the wait has a limit, and after it nothing can be freed any more.
inline void stop(server_state& server) {
    for (std::size_t i = 0; i < server.workers.size(); ++i) {
        PostQueuedCompletionStatus(server.port.get(), 0, 0, nullptr);
    }
    server.workers.clear(); // joins them
    for (connection& client : server.connections) {
        cancel(server, client);
    }
    server.listener = unique_socket();
    for (connection& client : server.connections) {
        client.socket = unique_socket();
    }
    const ULONGLONG end_ms = GetTickCount64() + stop_limit_ms;
    for (std::size_t i = 0; i < server.connections.size(); ++i) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        const ULONGLONG now_ms = GetTickCount64();
        GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                  static_cast<DWORD>(end_ms > now_ms ? end_ms - now_ms : 0));
        if (overlapped == nullptr) {
            ipc::print_error_line("A: the system does not end the operations of a closed socket");
            ExitProcess(1);
        }
    }
}
