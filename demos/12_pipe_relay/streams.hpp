#pragma once

// What the relay connects with besides a pipe server: standard input and output, and in place of the
// pipe a socket of GnuPG (-a). It is no part of the lesson.

#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>
#include <winsock2.h>

#include <array>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

// Standard input and output are whatever the caller gave: a file, a console, a pipe of Windows, or
// under Wine a pipe of Linux, which differs.

inline bool is_console(HANDLE handle) {
    DWORD mode = 0;
    return GetConsoleMode(handle, &mode) != FALSE;
}

// Waits for some bytes. Returns how many were read, and 0 at the end.
inline DWORD read_some(HANDLE input, std::span<char> buffer) {
    constexpr DWORD poll_ms = 10;
    constexpr DWORD ctrl_c_ms = 200; // more than the handler of Ctrl+C needs
    for (;;) {
        DWORD size = 0;
        if (!ReadFile(input, buffer.data(), static_cast<DWORD>(buffer.size()), &size, nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED) {
                return 0; // the end of a pipe
            }
            if (error == ERROR_NO_DATA) { // the caller's pipe does not wait (PIPE_NOWAIT)
                Sleep(poll_ms);           // no object tells when there is data
                continue;
            }
            if (error != ERROR_MORE_DATA) { // a part of a long message
                ipc::throw_error("ReadFile (standard input)", error);
            }
        }
        if (size == 0 && is_console(input)) {
            // Ctrl+Z, or Ctrl+C, whose handler ends this process meanwhile. If the parent made this
            // process ignore Ctrl+C, that is the end of the input, too.
            Sleep(ctrl_c_ms); // gives that handler its time
        }
        if (size != 0 || GetFileType(input) != FILE_TYPE_PIPE) {
            return size; // a file or a console ends with 0 bytes
        }
        // 0 bytes from a pipe: an empty message. From a pipe of Linux they are the end, and
        // PeekNamedPipe fails.
        if (!PeekNamedPipe(input, nullptr, 0, nullptr, nullptr, nullptr)) {
            return 0;
        }
    }
}

inline void write_output(std::string_view bytes) {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    while (!bytes.empty()) { // a pipe of Linux can take a part
        DWORD written = 0;
        if (!WriteFile(output, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
            const DWORD error = GetLastError();
            if (ipc::is_disconnected(error)) {
                throw std::runtime_error("nobody reads standard output any more");
            }
            ipc::throw_error("WriteFile (standard output)", error);
        }
        if (written == 0) {
            Sleep(1); // a full pipe that does not wait (PIPE_NOWAIT)
        }
        bytes.remove_prefix(written);
    }
}

// Gives the reader of standard output its end. The handle is borrowed, but nothing else tells the
// reader that no output follows while this program goes on.
inline void close_output() {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    if (output != GetStdHandle(STD_ERROR_HANDLE) && output != GetStdHandle(STD_INPUT_HANDLE)) {
        SetStdHandle(STD_OUTPUT_HANDLE, nullptr);
        CloseHandle(output);
    }
}

// Leaves the console, whose window closes unless another program uses it.
inline void leave_console(HANDLE input) {
    if (is_console(input) || is_console(GetStdHandle(STD_OUTPUT_HANDLE))) {
        throw ipc::usage_error("-bg needs an input and an output that are not a console; usage: "
                               "processA [OPTIONS] PIPE");
    }
    if (is_console(GetStdHandle(STD_ERROR_HANDLE))) {
        SetStdHandle(STD_ERROR_HANDLE, nullptr); // another object could get the same number
    }
    FreeConsole();
}

// GnuPG on Windows listens on a TCP port of this computer. A "socket file" holds the port in decimal,
// a line feed and 16 bytes, the nonce. Who can read the file may connect: the client sends the nonce
// first, and the server closes the connection if it is wrong.

constexpr auto refused_nonce =
    "the server has closed the connection without an answer: it does not "
    "accept the nonce of the socket file";

struct assuan_address {
    unsigned short port = 0;
    std::string nonce;
};

// Throws std::runtime_error if the content is not that of a socket file.
inline assuan_address parse_socket_file(std::string_view content) {
    constexpr std::size_t nonce_bytes = 16;
    constexpr unsigned long highest_port = 65535;
    if (content.starts_with("!<socket >")) {
        throw std::runtime_error("it is a socket file of Cygwin, which -a does not know");
    }
    const std::size_t line_end = content.find('\n');
    const std::string digits(content.substr(0, line_end));
    if (line_end == std::string_view::npos || digits.empty() || digits.size() > 5 ||
        digits.find_first_not_of("0123456789") != std::string::npos) {
        throw std::runtime_error("the socket file does not begin with a port and a line feed");
    }
    const unsigned long port = std::stoul(digits);
    if (port == 0 || port > highest_port) {
        throw std::runtime_error("the socket file holds no port from 1 to 65535: " + digits);
    }
    if (content.size() - line_end - 1 != nonce_bytes) {
        throw std::runtime_error("the socket file does not hold a nonce of 16 bytes");
    }
    return {static_cast<unsigned short>(port), std::string(content.substr(line_end + 1))};
}

inline assuan_address read_socket_file(const std::wstring& path) {
    const ipc::unique_handle file(CreateFileW(path.c_str(), GENERIC_READ,
                                              FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!file) {
        ipc::throw_last_error("CreateFileW");
    }
    std::array<char, 64> content{}; // longer than any that is correct
    DWORD size = 0;
    if (!ReadFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &size, nullptr)) {
        ipc::throw_last_error("ReadFile");
    }
    if (size == 0) { // its server creates it first, and then writes it
        ipc::throw_error("ReadFile (the socket file is empty)", ERROR_HANDLE_EOF);
    }
    return parse_socket_file({content.data(), size});
}

[[noreturn]] inline void throw_socket_error(const char* call) {
    ipc::throw_error(call, static_cast<DWORD>(WSAGetLastError()));
}

// Waits a moment for the server to refuse the nonce, so that it gets nothing else. A server that
// accepts it says something at once, or waits for the client's first request.
inline void check_for_refusal(SOCKET server) {
    constexpr long refusal_us = 300'000;
    fd_set readable{};
    readable.fd_count = 1;
    readable.fd_array[0] = server;
    timeval limit{0, refusal_us};
    const int ready = select(0 /* ignored */, &readable, nullptr, nullptr, &limit);
    if (ready == SOCKET_ERROR) {
        throw_socket_error("select");
    }
    char first = 0;
    if (ready == 1 && recv(server, &first, 1, MSG_PEEK) <= 0) {
        throw std::runtime_error(refused_nonce);
    }
}

// Returns a socket that ReadFile and WriteFile accept as they accept a pipe. Throws win32_error with
// ERROR_FILE_NOT_FOUND or WSAECONNREFUSED if the server is not there.
inline HANDLE connect_to_assuan_server(const std::wstring& path) {
    const assuan_address address = read_socket_file(path);
    WSADATA data{};
    if (const int error = WSAStartup(MAKEWORD(2, 2), &data)) {
        ipc::throw_error("WSAStartup", static_cast<DWORD>(error));
    }
    const SOCKET server = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (server == INVALID_SOCKET) {
        throw_socket_error("WSASocketW");
    }
    sockaddr_in target{};
    target.sin_family = AF_INET;
    target.sin_port = htons(address.port);
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK); // 127.0.0.1
    if (connect(server, reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
        const int error = WSAGetLastError();
        closesocket(server); // -p tries again
        ipc::throw_error("connect", static_cast<DWORD>(error));
    }
    const int length = static_cast<int>(address.nonce.size());
    if (send(server, address.nonce.data(), length, 0) != length) {
        throw_socket_error("send");
    }
    check_for_refusal(server);
    return reinterpret_cast<HANDLE>(server);
}

// Tells the server that nothing follows. It can still answer.
inline void end_sending(HANDLE server) {
    shutdown(reinterpret_cast<SOCKET>(server), SD_SEND);
}

// Lets the server read everything that was sent. Windows resets a connection that is still open when
// the process ends, or has bytes that nobody has read, and the server loses what it has not read.
inline void close_in_order(HANDLE server) {
    constexpr DWORD limit_ms = 1'000; // for the server to close its end
    end_sending(server);
    std::array<char, 4096> unread{};
    ipc::overlapped_call call(server);
    const ipc::deadline end(limit_ms);
    while (!end.is_over()) {
        const BOOL done =
            ReadFile(server, unread.data(), static_cast<DWORD>(unread.size()), nullptr, call.get());
        const auto [error, bytes] = call.wait(done, limit_ms);
        if (error != ERROR_SUCCESS || bytes == 0) {
            break;
        }
    }
    closesocket(reinterpret_cast<SOCKET>(server));
}

// Whether this error of a read or write on a socket means that the connection is gone.
inline bool is_closed_socket(DWORD error) {
    return error == ERROR_NETNAME_DELETED || error == ERROR_CONNECTION_ABORTED ||
           error == WSAECONNRESET || error == WSAECONNABORTED;
}
