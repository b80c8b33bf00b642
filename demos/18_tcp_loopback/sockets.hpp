#pragma once

// What A and B both need of Winsock, and the socket file, through which a client finds the server.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <winsock2.h>

#include <array>
#include <stdexcept>
#include <string>
#include <utility>

// Functions of Winsock leave their error for WSAGetLastError.
[[noreturn]] inline void throw_socket_error(const char* call) {
    ipc::throw_error(call, static_cast<DWORD>(WSAGetLastError()));
}

// Winsock has to be started before its first call.
class winsock {
public:
    winsock() {
        WSADATA data{};
        if (const int error =
                WSAStartup(MAKEWORD(2, 2), &data)) { // WSAGetLastError does not know it
            ipc::throw_error("WSAStartup", static_cast<DWORD>(error));
        }
    }
    ~winsock() { WSACleanup(); }
    winsock(const winsock&) = delete;
    winsock& operator=(const winsock&) = delete;
};

// Owns a socket. CloseHandle would not do: Winsock keeps data of its own for each socket.
class unique_socket {
public:
    explicit unique_socket(SOCKET socket = INVALID_SOCKET) noexcept : socket_(socket) {}
    unique_socket(unique_socket&& other) noexcept
        : socket_(std::exchange(other.socket_, INVALID_SOCKET)) {}
    unique_socket(const unique_socket&) = delete;
    unique_socket& operator=(const unique_socket&) = delete;
    unique_socket& operator=(unique_socket&& other) noexcept {
        std::swap(socket_, other.socket_);
        return *this;
    }
    ~unique_socket() {
        if (*this) {
            closesocket(socket_);
        }
    }

    explicit operator bool() const noexcept { return socket_ != INVALID_SOCKET; }
    SOCKET get() const noexcept { return socket_; }

private:
    SOCKET socket_;
};

inline unique_socket create_tcp_socket() {
    unique_socket created(WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT));
    if (!created) {
        throw_socket_error("WSASocketW");
    }
    return created;
}

// Returns false if it has failed, and the error is in WSAGetLastError.
template <typename Value>
bool set_option(SOCKET socket, int level, int option, const Value& value) {
    return setsockopt(socket, level, option, reinterpret_cast<const char*>(&value), sizeof value) ==
           0;
}

inline sockaddr_in loopback_address(u_short port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);                   // in network byte order, as the address
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); // 127.0.0.1: never from another computer
    return address;
}

struct server_address {
    u_short port = 0;
    std::array<char, protocol::nonce_bytes> nonce{};
};

inline std::wstring socket_file_path(const std::wstring& suffix) {
    std::array<wchar_t, MAX_PATH + 1> folder{}; // of this user, and it ends with a backslash
    const DWORD length = GetTempPathW(static_cast<DWORD>(folder.size()), folder.data());
    if (length == 0) {
        ipc::throw_last_error("GetTempPathW");
    }
    if (length > MAX_PATH) {
        throw std::runtime_error("the path of the folder for temporary files is too long");
    }
    return folder.data() + ipc::object_name(protocol::socket_file_name, suffix);
}
