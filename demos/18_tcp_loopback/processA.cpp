// Demo 18, process A: a TCP server for programs of the same user on the same computer.
//
// A listens on a port of 127.0.0.1 that the system chooses, and writes the port and a nonce (a random
// secret) into a file that only its user can read. Each B is a client: it sends the nonce, then requests,
// and gets them back in upper case. connections.hpp serves all clients at a completion port; pair 19 has
// the same file.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "connections.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace {

constexpr int send_buffer_bytes = 64 * 1024; // of the kernel, for a reply that is not read
// SOMAXCONN_HINT(1024), which MinGW-w64 does not know; SOMAXCONN stands for about 200 on Windows.
constexpr int queue_length = -1024;

unique_socket listen_on_loopback(u_short& port) {
    unique_socket listener = create_tcp_socket();
    // ANCHOR: listen
    // Nobody else may bind this port. Never SO_REUSEADDR in its place: on Windows that allows it.
    if (!set_option(listener.get(), SOL_SOCKET, SO_EXCLUSIVEADDRUSE, TRUE)) {
        throw_socket_error("setsockopt");
    }
    sockaddr_in address = loopback_address(0); // port 0: the system chooses one that is free
    int size = sizeof address;
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
        throw_socket_error("bind");
    }
    if (listen(listener.get(), queue_length) != 0) {
        throw_socket_error("listen");
    }
    if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw_socket_error("getsockname");
    }
    port = ntohs(address.sin_port); // which one it is
    // ANCHOR_END: listen
    return listener;
}

// Takes the same time for each wrong nonce, so that nobody finds it byte by byte.
bool is_nonce(std::string_view nonce, std::span<const char> message) {
    int difference = message.size() == nonce.size() ? 0 : 1;
    for (std::size_t i = 0; i < message.size() && i < nonce.size(); ++i) {
        difference |= message[i] ^ nonce[i];
    }
    return difference == 0;
}

// ANCHOR: nonce
// Reads the first message of a client. It has to be the nonce.
DWORD read_nonce(const server_state& server, std::string_view nonce, connection& client) {
    if (client.reader.is_longer_than(nonce_bytes)) {
        return ERROR_LOGON_FAILURE;
    }
    if (!client.reader.is_complete()) {
        return start_receive(client);
    }
    if (!is_nonce(nonce, client.reader.message())) {
        return ERROR_LOGON_FAILURE;
    }
    client.trusted = true;
    set_option(client.socket.get(), IPPROTO_TCP, TCP_NODELAY, TRUE);
    set_option(client.socket.get(), SOL_SOCKET, SO_SNDBUF, send_buffer_bytes);
    return read_next_message(server, client); // a request may have come with the nonce
}
// ANCHOR_END: nonce

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const winsock library;
    server_state server;
    server.options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
    server_address address;
    server.listener = listen_on_loopback(address.port);
    address.nonce = create_nonce();
    server.create_socket = create_tcp_socket;
    server.check_client = [&](connection& client) {
        return read_nonce(server, address.nonce, client);
    };
    const ipc::unique_handle socket_file =
        create_socket_file(socket_file_path(server.options.suffix), address);
    {
        const ipc::scope_exit end([&] { stop(server); });
        start(server);
        ipc::print_line("A: {} threads wait for clients on 127.0.0.1", worker_count);
        wait_for_end(server);
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
