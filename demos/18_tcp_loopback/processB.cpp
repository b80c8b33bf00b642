// Demo 18, process B: a client that sends requests and prints the replies.
//
// B reads the port and the nonce of process A from the socket file, connects, and sends the nonce. Then
// client.hpp sends the requests: the arguments of B, or the lines of a file. Pair 19 has the same file. A socket
// that never blocks and WSAPoll give each step a limit.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "client.hpp"
#include "common/error.hpp"
#include "protocol.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the socket file's name, as with processA";

unique_socket connect_to_server(const server_address& address, ULONGLONG end_ms) {
    unique_socket server = create_tcp_socket();
    // Or TCP may keep a part of a message back until the other end has acknowledged what came before.
    if (!set_option(server.get(), IPPROTO_TCP, TCP_NODELAY, TRUE)) {
        throw_socket_error("setsockopt");
    }
    // A blocking connect: on loopback the system refuses within about two seconds. WSAPoll reports a
    // connect that fails only since Windows 10 version 2004.
    const sockaddr_in target = loopback_address(address.port);
    if (connect(server.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
        throw_failure("connect");
    }
    never_block(server); // from here on, WSAPoll gives each step a limit
    send_all(server, protocol::with_length(address.nonce), end_ms);
    return server;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const client_options options = parse_client_options(argc, argv, usage);
    const winsock library;
    const ULONGLONG end_ms = end_of(options.limit);
    const server_address address = find_server(socket_file_path(options.suffix), end_ms);
    const unique_socket server = connect_to_server(address, end_ms);
    send_requests(server, options);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
