#pragma once

// What servers and clients need of Winsock, whatever the kind of their sockets. Pairs 18 and 19 have
// the same file.

#include "common/error.hpp"

#include <winsock2.h>

#include <string_view>
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
        // The call returns its error. WSAGetLastError does not have it.
        if (const int error = WSAStartup(MAKEWORD(2, 2), &data)) {
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
    explicit unique_socket(SOCKET handle = INVALID_SOCKET) noexcept : socket_(handle) {}
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

// Returns false if it has failed, and the error is in WSAGetLastError.
inline bool set_option(SOCKET socket, int level, int name, const auto& value) {
    return setsockopt(socket, level, name, reinterpret_cast<const char*>(&value), sizeof value) ==
           0;
}

// Returns an empty text if the error is not a reset by the other end.
inline std::string_view reset_name(DWORD error) {
    return error == WSAECONNRESET     ? "WSAECONNRESET, 10054"
           : error == WSAECONNABORTED ? "WSAECONNABORTED, 10053"
                                      : "";
}
