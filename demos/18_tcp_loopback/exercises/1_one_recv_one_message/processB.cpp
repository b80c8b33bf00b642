// Exercise 18.1: B prints the reply to one request, and with two requests it loses one. Mend it.
//
// B sends all its requests at once, and prints each reply as soon as it is complete.
//
// Run: the pair's processA, and then processB [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "socket_file.hpp"
#include "sockets.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage = "processB [--name SUFFIX] REQUEST...";
constexpr DWORD start_limit_ms = 10'000; // for the server

unique_socket connect_to_server(u_short port) {
    unique_socket server = create_tcp_socket();
    const sockaddr_in target = loopback_address(port);
    if (connect(server.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
        throw_socket_error("connect");
    }
    return server;
}

void send_all(const unique_socket& server, std::string_view bytes) {
    while (!bytes.empty()) {
        const int sent = send(server.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
        if (sent == SOCKET_ERROR) {
            throw_socket_error("send");
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

// Returns the length of a message from its first four bytes.
std::size_t read_length(std::string_view bytes) {
    std::uint32_t length = 0;
    for (const char byte : bytes.substr(0, protocol::length_bytes)) {
        length = length << 8 | static_cast<unsigned char>(byte);
    }
    return length;
}

std::string receive_reply(const unique_socket& server) {
    std::array<char, 4096> buffer{};
    const int bytes = recv(server.get(), buffer.data(), static_cast<int>(buffer.size()), 0);
    if (bytes == SOCKET_ERROR) {
        throw_socket_error("recv");
    }
    if (bytes == 0) {
        throw std::runtime_error("the server closed the connection");
    }
    const std::string_view message(buffer.data(), static_cast<std::size_t>(bytes));
    if (message.size() < protocol::length_bytes ||
        message.size() - protocol::length_bytes < read_length(message)) {
        throw std::runtime_error("the reply is not complete");
    }
    return std::string(message.substr(protocol::length_bytes, read_length(message)));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}}, &requests);
    const winsock library;
    const server_address address =
        find_server(socket_file_path(suffix), GetTickCount64() + start_limit_ms);
    const unique_socket server = connect_to_server(address.port);
    std::string bytes = protocol::with_length({address.nonce.data(), address.nonce.size()});
    for (const std::wstring& request : requests) {
        bytes += protocol::with_length(ipc::to_utf8(request));
    }
    send_all(server, bytes); // a command line is short: the buffers of the sockets hold it
    for (std::size_t i = 0; i < requests.size(); ++i) {
        ipc::print_line("B: {}", receive_reply(server));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
