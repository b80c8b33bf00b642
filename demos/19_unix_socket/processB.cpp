// Demo 19, process B: a client on an AF_UNIX socket that sends requests and prints the replies.
//
// B connects to the file of process A and sends its requests: its arguments, or the lines of a file. What follows
// the connect is pair 18's client, in client.hpp.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "client.hpp"
#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "sockets.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    the same as A's\n"
    "Exit codes: 0 done, 1 a failure, 2 wrong usage, 3 this system has no AF_UNIX sockets";
constexpr ipc::time_limit default_limit{10'000};
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
    std::wstring in;
    std::wstring suffix;
    ipc::time_limit limit = default_limit;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--limit", &limit}, {L"--name", &suffix}}, &requests);
    if (!in.empty() && !requests.empty()) {
        throw ipc::usage_error("--in or REQUEST, not both; usage: processB --in FILE");
    }
    if (in.empty() && requests.empty()) {
        requests = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    std::ifstream file;
    if (!in.empty()) {
        file.open(std::filesystem::path(in), std::ios::binary);
        if (!file) {
            throw std::runtime_error("cannot open " + ipc::to_utf8(in));
        }
    }
    const winsock library;
    if (!has_unix_sockets()) {
        ipc::print_error_line("B: {}", no_unix_sockets);
        return exit_left_out;
    }
    const unique_socket server = connect_to_server(socket_path(suffix), end_of(limit));
    protocol::message_reader reader;
    ipc::byte_sink screen(L"", "B: ");
    const auto show_reply = [&](std::string_view request) {
        screen.write(ask(server, request, reader, end_of(limit)));
        screen.write("\n");
        reader.remove_message();
    };
    for (const std::wstring& request : requests) {
        show_reply(ipc::to_utf8(request));
    }
    for (std::string line; std::getline(file, line);) {
        show_reply(line);
    }
    if (file.bad()) {
        throw std::runtime_error("cannot read " + ipc::to_utf8(in));
    }
    leave(server, reader, end_of(limit));
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
