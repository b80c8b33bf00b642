#include "tests/pairs/socket_suite.hpp"

#include "tests/harness/checks.hpp"

#include <array>
#include <filesystem>

namespace {

std::wstring socket_file_without_suffix() {
    return (std::filesystem::temp_directory_path() / L"ipc_demos.18.requests").wstring();
}

} // namespace

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"18_tcp_loopback",
    .pipe = socket_file_without_suffix(),
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
    .all_instances_made = true,
    .reset_limit = L"3",
};

namespace {

const ipc::test::winsock_library library;

struct server_address {
    u_short port = 0;
    std::string nonce;
};

// Returns port 0 if there is no such file.
server_address read_address(const std::wstring& socket_file) {
    std::array<char, 64> content{};
    DWORD size = 0;
    const ipc::unique_handle file(CreateFileW(
        socket_file.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
        nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!file || !ReadFile(file.get(), content.data(), 64, &size, nullptr) || size == 0) {
        return {};
    }
    const std::string text(content.data(), size);
    const std::size_t line_end = text.find('\n');
    return {static_cast<u_short>(std::stoi(text)), text.substr(line_end + 1)};
}

// Connects and sends nothing.
SOCKET connect_to_port(u_short port) {
    const SOCKET socket = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const BOOL no_delay = TRUE;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&no_delay),
               sizeof no_delay);
    if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int error = WSAGetLastError();
        closesocket(socket);
        WSASetLastError(error);
        return INVALID_SOCKET;
    }
    return socket;
}

} // namespace

SOCKET ipc::test::connect_socket(const std::wstring& socket_file) {
    const server_address address = read_address(socket_file);
    if (address.port == 0) {
        WSASetLastError(WSAECONNREFUSED);
        return INVALID_SOCKET;
    }
    const SOCKET socket = connect_to_port(address.port);
    const std::string first = with_length(address.nonce);
    if (socket != INVALID_SOCKET) {
        ::send(socket, first.data(), static_cast<int>(first.size()), 0);
    }
    return socket;
}
