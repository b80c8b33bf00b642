#pragma once

// The server behind a listening socket: a few threads serve all clients at a completion port, as in pair 09.
// Pairs 18 and 19 have the same file. What is different is in processA.cpp: the socket, and who may be a client.
//
// After each packet, handle_completion starts the next operation of that client: accept, receive or send.
// start and stop, at the end of the file, show the life of the server.

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
#include <functional>
#include <list>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

constexpr int worker_count = 4;
constexpr std::size_t most_clients = 1024;                     // more wait in the queue of listen
constexpr std::size_t listening_count = 8;                     // sockets that wait for a client
constexpr DWORD address_bytes = sizeof(SOCKADDR_STORAGE) + 16; // of any kind, as AcceptEx asks for
constexpr ULONG piece_bytes = 64 * 1024;                       // of a reply, for one send
constexpr DWORD stranger_limit_ms = 5'000;                     // until the server trusts a client
constexpr ULONGLONG look_again_ms = 10; // for an operation that has exceeded the limit
constexpr DWORD stop_limit_ms = 5'000;  // for the packet of a cancelled operation

enum class operation { accept, receive, send };

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock. A packet has the OVERLAPPED, and so leads to its connection.
struct connection : WSAOVERLAPPED {
    connection() : WSAOVERLAPPED{} {}

    unique_socket socket;
    std::array<char, std::size_t{2} * address_bytes> addresses{}; // AcceptEx puts them there
    std::atomic<operation> current = operation::accept;
    bool trusted = false; // its requests are answered
    // When its request has to be complete, or its reply read: a time of GetTickCount64. ULLONG_MAX: no limit.
    std::atomic<ULONGLONG> end_ms = ULLONG_MAX;
    protocol::message_reader reader;
    std::size_t sent = 0; // of the reply
    std::uint64_t answered = 0;
    std::list<connection>::iterator position; // in the server's list
};

struct server_state {
    ipc::server_options options;
    unique_socket listener;
    std::function<unique_socket()> create_socket; // of the same kind as the listener
    // Reads what a client has to send before it is trusted. Returns what answer_request returns. Without this
    // function, the server trusts each client.
    std::function<DWORD(connection& client)> check_client;
    ipc::unique_handle port;
    std::vector<std::jthread> workers;

    std::mutex mutex; // for the members below
    std::list<connection> connections;
    std::size_t listening = 0; // connections that wait for a client
    std::uint64_t served = 0;  // trusted clients that have left
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
    client.socket = server.create_socket();
    client.position = created.begin();
    associate(server, client.socket);
    DWORD bytes = 0;
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
    const DWORD idle_ms = server.options.idle_limit.ms;
    const DWORD limit_ms = client.trusted ? idle_ms : std::min(idle_ms, stranger_limit_ms);
    client.end_ms = limit_ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit_ms;
}

// A client has connected.
inline void accept_client(server_state& server, connection& client) {
    {
        const std::lock_guard lock(server.mutex);
        --server.listening;
        client.current = operation::receive;
        client.trusted = !server.check_client;
        start_limit(server, client);
        accept_more(server); // before this client is served, so that the next one can connect
    }
    // If the client has left already, this call fails, and the first receive reports why. Without it,
    // shutdown and getpeername do not know that the socket is connected.
    set_option(client.socket.get(), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, server.listener.get());
}

// Returns ERROR_IO_PENDING if a packet will come. It comes also if the call has already succeeded, and
// another worker may use the client even now. With any other result, no packet comes.
inline DWORD judge_call(int result) {
    return result == 0 ? ERROR_IO_PENDING : static_cast<DWORD>(WSAGetLastError());
}

// One buffer and no flags; the end comes as a packet, not to a completion routine.
inline DWORD start_receive(connection& client) {
    const std::span<char> space = client.reader.free_space();
    WSABUF buffer{static_cast<ULONG>(space.size()), space.data()};
    DWORD flags = 0;
    client.current = operation::receive;
    const int result = WSARecv(client.socket.get(), &buffer, 1, nullptr, &flags, &client, nullptr);
    return judge_call(result);
}

// Sends a piece: over TCP, Windows takes all bytes of one call into kernel memory, however small SO_SNDBUF is.
inline DWORD start_send(connection& client) {
    const std::span<char> rest = client.reader.with_length().subspan(client.sent);
    WSABUF buffer{std::min(static_cast<ULONG>(rest.size()), piece_bytes), rest.data()};
    client.current = operation::send;
    const int result = WSASend(client.socket.get(), &buffer, 1, nullptr, 0, &client, nullptr);
    return judge_call(result);
}

// Starts the next operation of a trusted client. Returns what start_receive and start_send return, or why
// the client is to be disconnected.
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

// The first message was handled. The next one may have come with it.
inline DWORD read_next_message(const server_state& server, connection& client) {
    client.reader.remove_message();
    start_limit(server, client);
    return answer_request(server, client);
}

inline DWORD handle_completion(server_state& server, connection& client, DWORD bytes) {
    if (client.current == operation::send) {
        client.sent += bytes;
        if (client.sent < client.reader.with_length().size()) {
            return start_send(client);
        }
        ++client.answered;
        return read_next_message(server, client);
    }
    if (client.current == operation::accept) {
        accept_client(server, client);
    } else if (bytes == 0) { // the client sends nothing more, and all its requests are answered
        return client.reader.is_empty() ? ERROR_BROKEN_PIPE : ERROR_HANDLE_EOF;
    }
    client.reader.add(bytes); // 0 after AcceptEx
    return client.trusted ? answer_request(server, client) : server.check_client(client);
}

inline void print_end(DWORD error, std::uint64_t answered) {
    if (error == ERROR_HANDLE_EOF) {
        ipc::print_line("A: a client left in the middle of a message; requests answered: {}",
                        answered);
    } else if (error == ERROR_LOGON_FAILURE) {
        ipc::print_line("A: a client was dropped, it does not know the nonce");
    } else if (const std::string_view name = reset_name(error); !name.empty()) {
        ipc::print_line("A: a client reset its connection ({}); requests answered: {}", name,
                        answered);
    } else {
        ipc::print_client_end(error, answered);
    }
}

// No operation is pending on the socket.
inline void remove_client(server_state& server, connection& client) {
    const std::lock_guard lock(server.mutex);
    server.served += client.trusted ? 1 : 0;
    server.listening -= client.current == operation::accept ? 1 : 0; // AcceptEx has failed
    server.connections.erase(client.position);                       // closes the socket
    accept_more(server);
    if (server.options.clients != 0 && server.served >= server.options.clients) {
        SetEvent(ipc::ctrl_c_event()); // ends the server as Ctrl+C does
    }
}

// The operation of a connection that waits for a client is one of the listening socket.
inline SOCKET socket_of(const server_state& server, const connection& client) {
    return client.current == operation::accept ? server.listener.get() : client.socket.get();
}

// The packet of a cancelled operation comes with an error. Returns FALSE if there is nothing to cancel.
inline BOOL cancel(const server_state& server, connection& client) {
    return CancelIoEx(reinterpret_cast<HANDLE>(socket_of(server, client)), &client);
}

// Returns the connection whose operation is complete. Returns nullptr after a packet of stop(), or after the limit.
inline connection* wait_for_packet(server_state& server, DWORD limit_ms) {
    DWORD bytes = 0;
    ULONG_PTR key = 0;
    OVERLAPPED* overlapped = nullptr;
    GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped, limit_ms);
    return static_cast<connection*>(overlapped);
}

inline void work(server_state& server) {
    // INFINITE: a packet of stop() ends the wait.
    while (connection* const client = wait_for_packet(server, INFINITE)) {
        DWORD bytes = 0;
        DWORD flags = 0;
        DWORD error = ERROR_SUCCESS;
        if (!WSAGetOverlappedResult(socket_of(server, *client), client, &bytes, FALSE, &flags)) {
            error = static_cast<DWORD>(WSAGetLastError()); // GetLastError has no codes of Winsock
        }
        try {
            if (error == ERROR_SUCCESS) {
                error = handle_completion(server, *client, bytes);
            }
            if (error == ERROR_IO_PENDING) {
                continue; // from here on, the client may belong to another worker
            }
            // Before the client can see that the socket is closed.
            print_end(error, client->answered);
        } catch (...) {
            ipc::report_exception("A"); // costs this client its connection, and no other one
        }
        remove_client(server, *client);
    }
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD check_clients(server_state& server) {
    const std::lock_guard lock(server.mutex); // or a worker could delete a connection meanwhile
    accept_more(server);                      // if it has failed
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG wait_ms = std::min(server.options.idle_limit.ms, stranger_limit_ms);
    for (connection& client : server.connections) {
        const ULONGLONG end_ms = client.end_ms;
        if (end_ms > now_ms) {
            wait_ms = std::min(wait_ms, end_ms - now_ms);
        } else if (!cancel(server, client)) {
            wait_ms = std::min(wait_ms, look_again_ms); // a worker starts its next operation now
        }
    }
    return static_cast<DWORD>(wait_ms);
}

// Returns after Ctrl+C, or when enough clients were served.
inline void wait_for_end(server_state& server) {
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForSingleObject(ipc::ctrl_c_event(), check_clients(server));
    }
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForSingleObject");
    }
}

inline void start(server_state& server) {
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
// connection has exactly one packet to come. With AF_UNIX, others have seen operations that end neither when they
// are cancelled nor when their socket is closed (docs/platforms.md). So the wait has a limit, and after it nothing may be freed any more.
inline void stop(server_state& server) {
    for (std::size_t i = 0; i < server.workers.size(); ++i) {
        PostQueuedCompletionStatus(server.port.get(), 0, 0, nullptr);
    }
    server.workers.clear(); // joins them
    for (connection& client : server.connections) {
        cancel(server, client);
        client.socket = unique_socket();
    }
    server.listener = unique_socket();
    for (std::size_t i = 0; i < server.connections.size(); ++i) {
        if (wait_for_packet(server, stop_limit_ms) == nullptr) {
            ipc::print_error_line("A: the system does not end the operations of a closed socket");
            ExitProcess(1);
        }
    }
}
