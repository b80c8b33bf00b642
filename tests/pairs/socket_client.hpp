#pragma once

// The client of server_cases.hpp for servers with a stream socket, whose messages begin with their length:
// 4 bytes, the highest first. A pair's test program defines connect_socket.

#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <winsock2.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipc::test {

// Connects to the server with this socket file and sends what the server expects first. On failure returns
// INVALID_SOCKET, and the error is in WSAGetLastError. Does not wait for a server.
SOCKET connect_socket(const std::wstring& socket_file);

// For the whole test program.
struct winsock_library {
    winsock_library() {
        WSADATA data{};
        WSAStartup(MAKEWORD(2, 2), &data);
    }
};

inline std::string with_length(std::string_view message) {
    std::string bytes;
    for (const int shift : {24, 16, 8, 0}) {
        bytes += static_cast<char>(message.size() >> shift & 0xff);
    }
    return bytes.append(message);
}

// A client whose calls are steps of the test: it can also do what no honest client does. Each call has
// a limit, after which error() is ERROR_OPERATION_ABORTED. No call throws.
class raw_client {
public:
    raw_client() = default;
    explicit raw_client(const std::wstring& socket_file) { try_connect(socket_file); }
    raw_client(raw_client&& other) noexcept { *this = std::move(other); }
    raw_client& operator=(raw_client&& other) noexcept {
        std::swap(socket_, other.socket_);
        std::swap(event_, other.event_);
        std::swap(error_, other.error_);
        received_.swap(other.received_);
        return *this;
    }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;
    ~raw_client() { close(); }

    bool try_connect(const std::wstring& socket_file) {
        close();
        socket_ = connect_socket(socket_file);
        error_ = *this ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
        return static_cast<bool>(*this);
    }

    // Takes a socket that is already connected, or INVALID_SOCKET.
    void adopt(SOCKET connected) {
        close();
        socket_ = connected;
    }

    explicit operator bool() const { return socket_ != INVALID_SOCKET; }
    SOCKET socket() const { return socket_; }
    DWORD error() const { return error_; } // of the last call

    // The next client waits in a queue of the system while no place is free.
    static constexpr bool is_queued = true;
    // NOLINTNEXTLINE(readability-convert-member-functions-to-static): a call on the client, as for a pipe
    bool is_busy() const { return false; }
    static void wait_for_place(const std::wstring& /*socket_file*/) {}

    // The server has closed its end, and has not reset the connection.
    bool is_ended() const { return error_ == ERROR_GRACEFUL_DISCONNECT; }

    // What the server prints when a client's connection has ended, without the requests answered.
    static std::vector<std::string> end_lines() {
        return {"A: a client left; ", "A: a client left in the middle of a message; ",
                "A: a client reset its connection (WSAECONNRESET, 10054); ",
                "A: a client reset its connection (WSAECONNABORTED, 10053); ",
                "A: a client was dropped, idle for too long; "}; // under Wine: see is_reset()
    }

    // What processB prints when its server is gone. Wine 8 can keep the sockets of a killed program open for ever, if
    // calls were pending; then processB notices it at its limit.
    static std::vector<std::string> server_gone_lines() {
        std::vector<std::string> lines{
            "B: the server closed the connection\n",
            "B: the server reset the connection (WSAECONNRESET, 10054)\n",
            "B: the server reset the connection (WSAECONNABORTED, 10053)\n"};
        if (is_wine()) {
            lines.emplace_back("B: the server did not answer in time\n");
        }
        return lines;
    }

    void close() {
        if (*this) {
            closesocket(std::exchange(socket_, INVALID_SOCKET));
        }
        received_.clear();
    }

    // Makes the system reset the connection, in place of the orderly end.
    void reset() {
        const linger at_once{1, 0};
        setsockopt(socket_, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                   sizeof at_once);
        close();
    }

    // Tells the server that nothing follows.
    void end_sending() const { shutdown(socket_, SD_SEND); }

    bool send(std::string_view message, DWORD limit_ms = default_limit_ms) {
        return send_bytes(with_length(message), limit_ms);
    }

    bool send_bytes(std::string_view bytes, DWORD limit_ms = default_limit_ms) {
        const ULONGLONG end_ms = GetTickCount64() + limit_ms;
        while (!bytes.empty()) {
            // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): WSASend only reads
            WSABUF buffer{static_cast<ULONG>(bytes.size()), const_cast<char*>(bytes.data())};
            WSAOVERLAPPED operation = new_operation();
            const int started = WSASend(socket_, &buffer, 1, nullptr, 0, &operation, nullptr);
            const std::optional<DWORD> sent = wait_for(operation, started, end_ms);
            if (!sent) {
                return false;
            }
            bytes.remove_prefix(*sent);
        }
        return true;
    }

    std::optional<std::string> receive(DWORD limit_ms = default_limit_ms) {
        const ULONGLONG end_ms = GetTickCount64() + limit_ms;
        while (received_.size() < 4 || received_.size() - 4 < length()) {
            WSABUF buffer{static_cast<ULONG>(chunk_.size()), chunk_.data()};
            WSAOVERLAPPED operation = new_operation();
            DWORD flags = 0;
            const int started = WSARecv(socket_, &buffer, 1, nullptr, &flags, &operation, nullptr);
            const std::optional<DWORD> bytes = wait_for(operation, started, end_ms);
            if (!bytes) {
                return std::nullopt;
            }
            if (*bytes == 0) {
                error_ = ERROR_GRACEFUL_DISCONNECT;
                return std::nullopt;
            }
            received_.append(chunk_.data(), *bytes);
        }
        error_ = ERROR_SUCCESS;
        std::string message = received_.substr(4, length());
        received_.erase(0, 4 + message.size());
        return message;
    }

    // Returns the reply to the request, if one comes.
    std::optional<std::string> ask(std::string_view request) {
        return send(request) ? receive() : std::nullopt;
    }

    // Returns whether the server has ended this connection within the limit.
    bool is_dropped(DWORD limit_ms = default_limit_ms) {
        return !receive(limit_ms).has_value() &&
               (is_ended() || error_ == WSAECONNRESET || error_ == WSAECONNABORTED);
    }

    // Waits until a part of a reply has come. Returns how many bytes of it can be read now.
    std::size_t wait_for_reply() const {
        const ULONGLONG end_ms = GetTickCount64() + default_limit_ms;
        u_long available = 0;
        while (ioctlsocket(socket_, FIONREAD, &available) == 0 && available <= 4 &&
               GetTickCount64() < end_ms) {
            SwitchToThread();
        }
        return available <= 4 ? 0 : available - 4;
    }

private:
    std::size_t length() const {
        std::size_t value = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            value = value << 8 | static_cast<unsigned char>(received_[i]);
        }
        return value;
    }

    WSAOVERLAPPED new_operation() const {
        WSAOVERLAPPED operation{};
        operation.hEvent = event_.get();
        return operation;
    }

    // Under Wine 8 a call that is started while the connection is being reset can stay pending.
    bool is_reset() const {
        WSAPOLLFD poll{socket_, POLLRDNORM, 0};
        return WSAPoll(&poll, 1, 0) == 1 && (poll.revents & POLLERR) != 0;
    }

    std::optional<DWORD> wait_for(WSAOVERLAPPED& operation, int started, ULONGLONG end_ms) {
        error_ = started == 0 ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
        DWORD bytes = 0;
        if (error_ == ERROR_SUCCESS || error_ == ERROR_IO_PENDING) {
            bool in_time = false;
            do {
                in_time = WaitForSingleObject(event_.get(), look_again_ms) == WAIT_OBJECT_0;
            } while (!in_time && GetTickCount64() < end_ms && !is_reset());
            const bool reset = !in_time && is_reset();
            if (!in_time) {
                CancelIoEx(reinterpret_cast<HANDLE>(socket_), &operation);
            }
            DWORD flags = 0;
            const BOOL done = WSAGetOverlappedResult(socket_, &operation, &bytes, TRUE, &flags);
            error_ = done ? ERROR_SUCCESS : static_cast<DWORD>(WSAGetLastError());
            error_ = error_ == ERROR_OPERATION_ABORTED && reset ? WSAECONNRESET : error_;
        }
        return error_ == ERROR_SUCCESS ? std::optional(bytes) : std::nullopt;
    }

    static constexpr DWORD look_again_ms = 200;

    SOCKET socket_ = INVALID_SOCKET;
    unique_handle event_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    DWORD error_ = ERROR_SUCCESS;
    std::string received_;
    std::vector<char> chunk_ = std::vector<char>(64 * 1024);
};

} // namespace ipc::test
