// Demo 18, process B: a client that sends requests and prints the replies.
//
// B reads the port and the nonce of process A from the socket file, connects, and sends the nonce and
// its requests: its arguments, or the lines of a file. A socket that never blocks and WSAPoll give each
// step a limit. At the end B closes its half of the connection and waits until A has closed the other.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

#include <array>
#include <climits>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the socket file's name, as with processA";
constexpr ipc::time_limit default_limit{10'000};

// When a limit is over: a time of GetTickCount64. One end serves all calls of a step, so that a server that
// sends a byte now and then does not make the limit start again.
ULONGLONG end_of(ipc::time_limit limit) {
    return limit.ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit.ms;
}

[[noreturn]] void throw_failure(const char* call, int code) {
    const auto error = static_cast<DWORD>(code);
    if (const std::string name(reset_name(error)); !name.empty()) {
        throw std::runtime_error("the server reset the connection (" + name + ")");
    }
    ipc::throw_error(call, error);
}

// In milliseconds; -1: no limit, as WSAPoll takes it.
int rest_ms(ULONGLONG end_ms) {
    const ULONGLONG now_ms = GetTickCount64();
    return end_ms == ULLONG_MAX ? -1 : static_cast<int>(end_ms > now_ms ? end_ms - now_ms : 0);
}

// Returns when it is worth calling send or recv again.
void wait_until_ready(const unique_socket& server, SHORT events, ULONGLONG end_ms) {
    WSAPOLLFD poll{server.get(), events, 0};
    const int ready = WSAPoll(&poll, 1, rest_ms(end_ms));
    if (ready == SOCKET_ERROR) {
        throw_socket_error("WSAPoll");
    }
    if (ready == 0) {
        throw std::runtime_error("the server did not answer in time");
    }
}

void send_all(const unique_socket& server, std::string_view bytes, ULONGLONG end_ms) {
    while (!bytes.empty()) {
        const int sent = send(server.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
        if (sent != SOCKET_ERROR) {
            bytes.remove_prefix(static_cast<std::size_t>(sent)); // it may be a part
            continue;
        }
        if (WSAGetLastError() != WSAEWOULDBLOCK) {
            throw_failure("send", WSAGetLastError());
        }
        wait_until_ready(server, POLLWRNORM, end_ms);
    }
}

// Returns 0 when the server sends nothing more.
int receive_some(const unique_socket& server, std::span<char> space, ULONGLONG end_ms) {
    for (;;) {
        const int received = recv(server.get(), space.data(), static_cast<int>(space.size()), 0);
        if (received != SOCKET_ERROR) {
            return received;
        }
        if (WSAGetLastError() != WSAEWOULDBLOCK) {
            throw_failure("recv", WSAGetLastError());
        }
        wait_until_ready(server, POLLRDNORM, end_ms);
    }
}

// Sends one request and returns the reply, which is in the reader.
std::string_view ask(const unique_socket& server, std::string_view request,
                     protocol::message_reader& reader, ULONGLONG end_ms) {
    if (request.size() > protocol::max_message_bytes) {
        throw std::runtime_error("a request is longer than the protocol allows");
    }
    send_all(server, protocol::with_length(request), end_ms);
    while (!reader.is_complete()) {
        if (reader.is_longer_than(protocol::max_message_bytes)) {
            throw std::runtime_error("the reply is longer than the protocol allows");
        }
        const int received = receive_some(server, reader.free_space(), end_ms);
        if (received == 0) {
            throw std::runtime_error("the server closed the connection");
        }
        reader.add(static_cast<std::size_t>(received));
    }
    return {reader.message().data(), reader.message().size()};
}

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
        throw_failure("connect", WSAGetLastError());
    }
    u_long never_block = TRUE; // so that no later call lasts longer than the limit
    if (ioctlsocket(server.get(), static_cast<long>(FIONBIO), &never_block) != 0) {
        throw_socket_error("ioctlsocket");
    }
    send_all(server, protocol::with_length({address.nonce.data(), address.nonce.size()}), end_ms);
    return server;
}

// The server answers what it has received, sees the end, and closes its half, too. If B closed the
// socket while bytes for it are on their way, the connection would be reset.
void leave(const unique_socket& server, const protocol::message_reader& reader, ULONGLONG end_ms) {
    if (shutdown(server.get(), SD_SEND) != 0) {
        throw_failure("shutdown", WSAGetLastError());
    }
    std::array<char, 1> nothing{};
    if (!reader.is_empty() || receive_some(server, nothing, end_ms) != 0) {
        throw std::runtime_error("the server sent more than it was asked for");
    }
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
    const ULONGLONG end_ms = end_of(limit);
    const server_address address = find_server(socket_file_path(suffix), end_ms);
    const unique_socket server = connect_to_server(address, end_ms);
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
