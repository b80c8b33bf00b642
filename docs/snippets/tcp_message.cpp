// Receives exactly one message from a stream socket, with a limit for its length and for the time.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 tcp_message.cpp ws2_32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static tcp_message.cpp -o tcp_message.exe -lws2_32
// Run: tcp_message PORT MS (a program on this computer sends one message)

#include <winsock2.h>

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace {

// ANCHOR: receive_message
[[noreturn]] void throw_socket_error(const char* call) {
    throw std::system_error(WSAGetLastError(), std::system_category(), call);
}

// Fills the space, however many receives that takes. Returns false if the stream ends before its first
// byte. A message that ends too early throws WSAECONNABORTED, a time that is over WSAETIMEDOUT.
bool receive_exactly(SOCKET stream, std::span<char> space, ULONGLONG end_ms) {
    for (std::size_t have = 0; have < space.size();) {
        const ULONGLONG now_ms = GetTickCount64();
        WSAPOLLFD poll{stream, POLLRDNORM, 0};
        const int ready =
            WSAPoll(&poll, 1, now_ms < end_ms ? static_cast<int>(end_ms - now_ms) : 0);
        if (ready < 0) {
            throw_socket_error("WSAPoll");
        }
        if (ready == 0) {
            WSASetLastError(WSAETIMEDOUT);
            throw_socket_error("WSAPoll");
        }
        const int more =
            recv(stream, space.data() + have, static_cast<int>(space.size() - have), 0);
        if (more < 0) {
            throw_socket_error("recv");
        }
        if (more == 0 && have == 0) {
            return false;
        }
        if (more == 0) {
            WSASetLastError(WSAECONNABORTED);
            throw_socket_error("recv");
        }
        have += static_cast<std::size_t>(more);
    }
    return true;
}

// Returns the next message, or nothing if the other end has closed the stream between two messages. A
// message is its length, 4 bytes in network byte order, and then its bytes. max_bytes is checked before
// anything is allocated (WSAEMSGSIZE). The time is that of the whole message, in milliseconds up to
// INT_MAX, so a sender that dribbles does not extend it. After an exception, close the socket: nobody
// knows where the next message begins.
std::optional<std::string> receive_message(SOCKET stream, std::uint32_t max_bytes, DWORD limit_ms) {
    const ULONGLONG end_ms = GetTickCount64() + limit_ms;
    std::uint32_t network_order = 0;
    const auto length_space =
        std::span(reinterpret_cast<char*>(&network_order), sizeof network_order);
    if (!receive_exactly(stream, length_space, end_ms)) {
        return std::nullopt;
    }
    const std::uint32_t length = ntohl(network_order);
    if (length > max_bytes) {
        WSASetLastError(WSAEMSGSIZE);
        throw_socket_error("receive_message");
    }
    std::string message(length, '\0');
    if (length != 0 && !receive_exactly(stream, message, end_ms)) {
        WSASetLastError(WSAECONNABORTED);
        throw_socket_error("recv");
    }
    return message;
}
// ANCHOR_END: receive_message

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    if (argc != 3) {
        std::fputs("usage: tcp_message PORT MS\n", stderr);
        return 2;
    }
    WSADATA data{};
    if (const int error = WSAStartup(MAKEWORD(2, 2), &data)) {
        throw std::system_error(error, std::system_category(), "WSAStartup");
    }
    const SOCKET stream = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    if (stream == INVALID_SOCKET) {
        throw_socket_error("socket");
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<u_short>(std::wcstoul(argv[1], nullptr, 10)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(stream, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        throw_socket_error("connect");
    }
    const auto limit_ms = static_cast<DWORD>(std::wcstoul(argv[2], nullptr, 10));
    const std::optional<std::string> message = receive_message(stream, 1024 * 1024, limit_ms);
    const std::string line = message ? std::to_string(message->size()) + " bytes" : "the end";
    std::puts(line.c_str());
    closesocket(stream);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d\n", error.code().value());
    return 1;
}
