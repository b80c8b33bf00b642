// Exercise 18.2: one client that says nothing keeps the server from all others. Mend it.
//
// A serves one client after the other. A client may take --limit for its next request, and again to read the reply.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of the pair's processB

#include "common/error.hpp"
#include "common/server_options.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace {

struct connection {
    unique_socket socket; // never blocks
    DWORD limit_ms = 0;   // INFINITE: none
    protocol::message_reader reader;
    std::uint64_t answered = 0;
};

// Call it after a call that failed. Returns ERROR_SUCCESS when it is worth trying again, or why the client is to be
// dropped.
DWORD wait_until_ready(const connection& client, SHORT events) {
    const int error = WSAGetLastError();
    if (error != WSAEWOULDBLOCK) {
        return static_cast<DWORD>(error);
    }
    WSAPOLLFD poll{client.socket.get(), events, 0};
    const int ready = WSAPoll(&poll, 1, -1);
    if (ready == SOCKET_ERROR) {
        return static_cast<DWORD>(WSAGetLastError());
    }
    return ready == 0 ? WAIT_TIMEOUT : ERROR_SUCCESS;
}

DWORD receive_message(connection& client) {
    while (!client.reader.is_complete()) {
        if (client.reader.is_longer_than(protocol::max_message_bytes)) {
            return ERROR_MORE_DATA;
        }
        const std::span<char> space = client.reader.free_space();
        const int bytes =
            recv(client.socket.get(), space.data(), static_cast<int>(space.size()), 0);
        if (bytes == 0) {
            return ERROR_BROKEN_PIPE; // the client has left
        }
        const DWORD error =
            bytes == SOCKET_ERROR ? wait_until_ready(client, POLLRDNORM) : ERROR_SUCCESS;
        if (error != ERROR_SUCCESS) {
            return error;
        }
        client.reader.add(bytes == SOCKET_ERROR ? 0 : static_cast<std::size_t>(bytes));
    }
    return ERROR_SUCCESS;
}

DWORD send_all(connection& client, std::span<const char> rest) {
    while (!rest.empty()) {
        const int bytes = send(client.socket.get(), rest.data(), static_cast<int>(rest.size()), 0);
        const DWORD error =
            bytes == SOCKET_ERROR ? wait_until_ready(client, POLLWRNORM) : ERROR_SUCCESS;
        if (error != ERROR_SUCCESS) {
            return error;
        }
        rest = rest.subspan(bytes == SOCKET_ERROR ? 0 : static_cast<std::size_t>(bytes));
    }
    return ERROR_SUCCESS;
}

// Takes the same time for each wrong nonce.
bool is_nonce(std::span<const char> message, const server_address& address) {
    int difference = message.size() == address.nonce.size() ? 0 : 1;
    for (std::size_t i = 0; i < message.size() && i < address.nonce.size(); ++i) {
        difference |= message[i] ^ address.nonce[i];
    }
    return difference == 0;
}

// Returns why the connection ends.
DWORD serve(connection& client, const server_address& address) {
    DWORD error = receive_message(client);
    if (error == ERROR_SUCCESS && !is_nonce(client.reader.message(), address)) {
        return ERROR_LOGON_FAILURE;
    }
    while (error == ERROR_SUCCESS) {
        client.reader.remove_message();
        error = receive_message(client);
        if (error == ERROR_SUCCESS) {
            protocol::make_reply(client.reader.message());
            error = send_all(client, client.reader.with_length());
            client.answered += error == ERROR_SUCCESS ? 1 : 0;
        }
    }
    return error;
}

unique_socket listen_on_loopback(u_short& port) {
    unique_socket listener = create_tcp_socket();
    sockaddr_in address = loopback_address(0);
    int size = sizeof address;
    if (!set_option(listener.get(), SOL_SOCKET, SO_EXCLUSIVEADDRUSE, TRUE) ||
        bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener.get(), SOMAXCONN) != 0 ||
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw_socket_error("setsockopt, bind, listen or getsockname");
    }
    port = ntohs(address.sin_port);
    return listener;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    const winsock library;
    server_address address;
    const unique_socket listener = listen_on_loopback(address.port);
    address.nonce = create_nonce();
    const ipc::unique_handle socket_file =
        create_socket_file(socket_file_path(options.suffix), address);
    ipc::print_line("A: waiting for clients");
    for (std::uint64_t served = 0; options.clients == 0 || served < options.clients; ++served) {
        connection client;
        client.limit_ms = options.idle_limit.ms;
        client.socket =
            unique_socket(accept(listener.get(), nullptr, nullptr)); // a client, or Ctrl+C
        u_long never_block = TRUE;
        if (!client.socket ||
            ioctlsocket(client.socket.get(), static_cast<long>(FIONBIO), &never_block) != 0) {
            throw_socket_error("accept or ioctlsocket");
        }
        const DWORD error = serve(client, address);
        ipc::print_client_end(error, client.answered);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
