// Demo 18, process A: a TCP server for programs of the same user on the same computer.
//
// A listens on a port of 127.0.0.1 that the system chooses, and writes the port and a nonce (a random
// secret) into a file that only its user can read. A few threads serve all clients at a completion port,
// as in pair 09. Each B is a client: it sends the nonce, then requests, and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

#include <mswsock.h>

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

namespace {

constexpr int worker_count = 4;
constexpr std::size_t most_clients = 1024;   // more wait in the queue of listen
constexpr int send_buffer_bytes = 64 * 1024; // of the kernel, for a reply that is not read
constexpr DWORD nonce_limit_ms = 5'000;      // for the nonce, whatever --limit allows a client
// SOMAXCONN_HINT(1024), which MinGW-w64 does not know; SOMAXCONN stands for about 200 on Windows.
constexpr int queue_length = -1024;
constexpr std::size_t listening_count = 8; // sockets that wait for a client at the same time
constexpr ULONGLONG look_again_ms = 10;    // when an operation could not be cancelled
constexpr DWORD nonce_error = ERROR_LOGON_FAILURE; // the client does not know the nonce

enum class operation { accept, receive, send };

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock.
struct connection
    : WSAOVERLAPPED { // so a packet, which has the OVERLAPPED, leads to its connection
    connection() : WSAOVERLAPPED{} {}

    unique_socket socket;
    std::array<char, 2 * (sizeof(sockaddr_in) + 16)> addresses{}; // AcceptEx puts them there
    operation current = operation::accept;
    bool trusted = false; // it has sent the nonce
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
    server_address address;
    unique_socket listener;
    ipc::unique_handle finished_event; // enough clients were served
    ipc::unique_handle socket_file;
    ipc::unique_handle port;
    std::vector<std::jthread> workers;

    std::mutex mutex; // for the members below
    std::list<connection> connections;
    std::size_t listening = 0; // connections that wait for a client
    std::uint64_t served = 0;  // clients that have sent the nonce, and have left
};

// The key is not used: a packet of the listening socket has that socket's key, and not the client's.
void associate(server_state& server, const unique_socket& socket) {
    const auto handle = reinterpret_cast<HANDLE>(socket.get());
    if (CreateIoCompletionPort(handle, server.port.get(), 0, 0) == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
}

void listen_on_loopback(server_state& server) {
    server.listener = create_tcp_socket();
    // ANCHOR: listen
    // Nobody else may bind this port. Never SO_REUSEADDR in its place: on Windows that allows it.
    if (!set_option(server.listener.get(), SOL_SOCKET, SO_EXCLUSIVEADDRUSE, TRUE)) {
        throw_socket_error("setsockopt");
    }
    sockaddr_in address = loopback_address(0); // port 0: the system chooses one that is free
    int size = sizeof address;
    if (bind(server.listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
        throw_socket_error("bind");
    }
    if (listen(server.listener.get(), queue_length) != 0) {
        throw_socket_error("listen");
    }
    if (getsockname(server.listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw_socket_error("getsockname");
    }
    server.address.port = ntohs(address.sin_port); // which one it is
    // ANCHOR_END: listen
    associate(server, server.listener);
}

// With the mutex locked.
void start_accept(server_state& server) {
    std::list<connection> created(1);
    connection& client = created.front();
    client.socket = create_tcp_socket();
    client.position = created.begin();
    associate(server, client.socket);
    DWORD bytes = 0;
    constexpr DWORD address_bytes = sizeof(sockaddr_in) + 16; // as AcceptEx asks for
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
void accept_more(server_state& server) try {
    while (server.listening < listening_count && server.connections.size() < most_clients) {
        start_accept(server);
    }
} catch (...) {
    ipc::report_exception("A: one socket fewer waits for clients");
}

// The limit is for a whole request or reply: it does not start again with each byte.
void start_limit(const server_state& server, connection& client) {
    const DWORD idle_ms = server.options.idle_limit.ms;
    const DWORD limit_ms = client.trusted ? idle_ms : std::min(idle_ms, nonce_limit_ms);
    client.end_ms = limit_ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit_ms;
}

// A client has connected.
void accept_client(server_state& server, connection& client) {
    {
        const std::lock_guard lock(server.mutex);
        --server.listening;
        client.connected = true;
        start_limit(server, client);
        accept_more(server); // before this client is served, so that the next one can connect
    }
    // If the client has left already, these calls fail, and the first receive reports why.
    // Without the first one, shutdown and getpeername do not know that the socket is connected.
    const SOCKET socket = client.socket.get();
    set_option(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, server.listener.get());
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, TRUE);
    set_option(socket, SOL_SOCKET, SO_SNDBUF, send_buffer_bytes);
}

// Returns ERROR_IO_PENDING if a packet will come. It comes also if the call has already succeeded, and
// another worker may use the client even now. With any other result, no packet comes.
DWORD judge_call(int result) {
    const int error = result == 0 ? WSA_IO_PENDING : WSAGetLastError();
    return static_cast<DWORD>(error);
}

DWORD start_receive(connection& client) {
    const std::span<char> space = client.reader.free_space();
    WSABUF buffer{static_cast<ULONG>(space.size()), space.data()};
    DWORD flags = 0;
    client.current = operation::receive;
    const int result = WSARecv(client.socket.get(), &buffer, 1, // one buffer
                               nullptr, &flags, &client, nullptr /* no routine */);
    return judge_call(result);
}

// Sends a piece: Windows takes all bytes of one call into kernel memory, however small SO_SNDBUF is.
DWORD start_send(connection& client) {
    const std::span<char> rest = client.reader.with_length().subspan(client.sent);
    WSABUF buffer{std::min(static_cast<ULONG>(rest.size()), ULONG{send_buffer_bytes}), rest.data()};
    client.current = operation::send;
    const int result =
        WSASend(client.socket.get(), &buffer, 1, nullptr, 0 /* no flags */, &client, nullptr);
    return judge_call(result);
}

// Takes the same time for each wrong nonce, so that nobody finds it byte by byte.
bool is_nonce(const server_state& server, std::span<const char> message) {
    int difference = message.size() == server.address.nonce.size() ? 0 : 1;
    for (std::size_t i = 0; i < message.size() && i < server.address.nonce.size(); ++i) {
        difference |= message[i] ^ server.address.nonce[i];
    }
    return difference == 0;
}

// ANCHOR: message
// Starts the next operation of a client. Returns what start_receive and start_send return, or why the
// client is to be disconnected.
DWORD answer_request(const server_state& server, connection& client) {
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
// ANCHOR_END: message

// The same for a client that has not yet sent the whole nonce.
DWORD read_nonce(const server_state& server, connection& client) {
    if (client.reader.is_longer_than(protocol::nonce_bytes)) {
        return nonce_error;
    }
    if (!client.reader.is_complete()) {
        return start_receive(client);
    }
    if (!is_nonce(server, client.reader.message())) {
        return nonce_error;
    }
    client.trusted = true;
    client.reader.remove_message();
    start_limit(server, client);
    return answer_request(server, client); // a request may have come with the nonce
}

DWORD handle_completion(server_state& server, connection& client, DWORD bytes) {
    if (client.current == operation::accept) {
        accept_client(server, client);
        return read_nonce(server, client);
    }
    if (client.current == operation::receive) {
        if (bytes == 0) { // the client sends nothing more, and all its requests are answered
            return client.reader.is_empty() ? ERROR_GRACEFUL_DISCONNECT : ERROR_HANDLE_EOF;
        }
        client.reader.add(bytes);
        return client.trusted ? answer_request(server, client) : read_nonce(server, client);
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

void print_end(DWORD error, std::uint64_t answered) {
    if (error == ERROR_HANDLE_EOF) {
        ipc::print_line("A: a client left in the middle of a message; requests answered: {}",
                        answered);
    } else if (error == nonce_error) {
        ipc::print_line("A: a client was dropped, it does not know the nonce");
    } else if (const std::string_view name = reset_name(error); !name.empty()) {
        ipc::print_line("A: a client reset its connection ({}); requests answered: {}", name,
                        answered);
    } else {
        ipc::print_client_end(error == ERROR_GRACEFUL_DISCONNECT ? ERROR_BROKEN_PIPE : error,
                              answered);
    }
}

// No operation is pending on the socket.
void remove_client(server_state& server, connection& client) {
    const std::lock_guard lock(server.mutex);
    server.served += client.trusted ? 1 : 0;
    server.listening -= client.connected ? 0 : 1; // AcceptEx has failed
    server.connections.erase(client.position);    // closes the socket
    accept_more(server);
    if (server.options.clients != 0 && server.served >= server.options.clients) {
        SetEvent(server.finished_event.get());
    }
}

void work(server_state& server) {
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
            print_end(error,
                      client.answered); // before the client can notice that the socket is closed
        } catch (...) {
            ipc::report_exception("A"); // costs this client its connection, and no other one
        }
        remove_client(server, client);
    }
}

// The call of a connection that waits for a client is one of the listening socket. Returns FALSE if no
// operation is pending.
BOOL cancel(const server_state& server, connection& client) {
    const SOCKET socket = client.connected ? client.socket.get() : server.listener.get();
    return CancelIoEx(reinterpret_cast<HANDLE>(socket), &client); // its packet comes with an error
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
DWORD check_clients(server_state& server) {
    const std::lock_guard lock(server.mutex); // or a worker could delete a connection meanwhile
    accept_more(server);                      // if it has failed
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG wait_ms = std::min(server.options.idle_limit.ms, nonce_limit_ms);
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

void wait_for_end(server_state& server) {
    const HANDLE events[] = {server.finished_event.get(), ipc::ctrl_c_event()};
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForMultipleObjects(2, events, FALSE /* any */, check_clients(server));
    }
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
}

void start(server_state& server) {
    server.finished_event.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!server.finished_event) {
        ipc::throw_last_error("CreateEventW");
    }
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!server.port) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    listen_on_loopback(server);
    server.address.nonce = create_nonce();
    server.socket_file =
        create_socket_file(socket_file_path(server.options.suffix), server.address);
    const std::lock_guard lock(server.mutex);
    start_accept(server);
    accept_more(server);
    for (int i = 0; i < worker_count; ++i) {
        server.workers.emplace_back([&server] { work(server); });
    }
}

// The kernel still writes into the buffers of pending operations. When the workers have ended, each
// connection has exactly one packet to come.
void stop(server_state& server) {
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

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const winsock library;
    server_state server;
    server.options = ipc::parse_server_options(argc, argv);
    {
        const ipc::scope_exit end([&] { stop(server); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
        start(server);
        ipc::print_line("A: {} threads wait for clients on 127.0.0.1", worker_count);
        wait_for_end(server);
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
