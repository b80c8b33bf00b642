// Demo 19, process B: a client on an AF_UNIX socket that sends requests and prints the replies.
//
// B connects to the file of process A. Then client.hpp sends the requests: the arguments of B, or the lines of a
// file. Pair 18 has the same file.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "client.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "sockets.hpp"
#include "unix_socket.hpp"

#include <stdexcept>
#include <string>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    the same as A's\n"
    "Exit codes: 0 done, 1 a failure, 2 wrong usage, 3 this system has no AF_UNIX sockets";
constexpr DWORD look_again_ms = 10; // for a server

unique_socket connect_to_server(const std::wstring& path, ULONGLONG end_ms) {
    const sockaddr_un address = make_address(path);
    // ANCHOR: connect
    for (;;) {
        unique_socket server = create_unix_socket(); // after a failure, a new one
        // A blocking call: AF_UNIX on Windows connects at once or not at all, but no page promises it.
        // ConnectEx would want a bound socket.
        if (connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
            0) {
            never_block(server); // from here on, WSAPoll gives each step a limit
            return server;
        }
        const int error = WSAGetLastError();
        // No file, a file without a server, or a full queue: WSAECONNREFUSED. No folder: WSAENETDOWN.
        if (error != WSAECONNREFUSED && error != WSAENETDOWN) {
            ipc::throw_error("connect", static_cast<DWORD>(error));
        }
        if (rest_ms(end_ms) == 0) {
            throw std::runtime_error("no server at " + ipc::to_utf8(path) +
                                     ": start processA first");
        }
        Sleep(look_again_ms); // nothing tells when a server comes
    }
    // ANCHOR_END: connect
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const client_options options = parse_client_options(argc, argv, usage);
    const winsock library;
    if (!has_unix_sockets()) {
        ipc::print_error_line("B: {}", no_unix_sockets);
        return exit_left_out;
    }
    const std::wstring path = socket_path(options.suffix);
    const unique_socket server = connect_to_server(path, end_of(options.limit));
    send_requests(server, options);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
