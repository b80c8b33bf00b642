#pragma once

// What only TCP needs. The server's address is a port of 127.0.0.1. A client finds it through the socket file, which
// holds the port, a line break and the nonce. Only the user can read it. TCP itself knows no users.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "sockets.hpp"

#include <windows.h>

#include <bcrypt.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

constexpr auto socket_file_name = L"ipc_demos.18.requests"; // in the folder for temporary files
constexpr std::size_t nonce_bytes = 16;

struct server_address {
    u_short port = 0;
    std::string nonce;
};

inline unique_socket create_tcp_socket() {
    unique_socket created(WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT));
    if (!created) {
        throw_socket_error("WSASocketW");
    }
    return created;
}

inline sockaddr_in loopback_address(u_short port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);                   // in network byte order, as the address
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); // 127.0.0.1: never from another computer
    return address;
}

inline std::string create_nonce() {
    std::string nonce(nonce_bytes, '\0');
    const NTSTATUS status =
        BCryptGenRandom(nullptr, reinterpret_cast<unsigned char*>(nonce.data()),
                        static_cast<ULONG>(nonce.size()), BCRYPT_USE_SYSTEM_PREFERRED_RNG);
    if (status < 0) { // it is not a Win32 error, and so it has another text
        throw std::runtime_error("BCryptGenRandom failed: " +
                                 ipc::exit_code_text(static_cast<DWORD>(status)));
    }
    return nonce;
}

inline std::wstring socket_file_path(const std::wstring& suffix) {
    return (std::filesystem::temp_directory_path() / ipc::object_name(socket_file_name, suffix))
        .wstring();
}

inline ipc::unique_handle create_new_file(const std::wstring& path) {
    ipc::user_only_security security;
    // ANCHOR: socket_file
    return ipc::unique_handle(CreateFileW(
        path.c_str(),                 // in the user's folder for temporary files
        GENERIC_WRITE | DELETE,       // this handle also deletes it
        FILE_SHARE_READ,              // clients read; nobody writes or deletes it
        security.get(),               // only this user can open it
        CREATE_NEW,                   // never a file that was there before
        FILE_FLAG_DELETE_ON_CLOSE |   // it disappears with this process, also after a crash
            FILE_ATTRIBUTE_TEMPORARY, // it need not reach the disk
        nullptr));                    // no template
    // ANCHOR_END: socket_file
}

// Returns the handle that keeps the file. A file that is left from a power failure is replaced.
inline ipc::unique_handle create_socket_file(const std::wstring& path,
                                             const server_address& address) {
    constexpr int most_tries = 100;
    ipc::unique_handle file = create_new_file(path);
    for (int tries = 1; !file && tries < most_tries; ++tries) {
        const DWORD reason = GetLastError(); // ERROR_ACCESS_DENIED: it is being deleted
        if (reason != ERROR_FILE_EXISTS && reason != ERROR_ACCESS_DENIED) {
            break;
        }
        if (!DeleteFileW(path.c_str()) && GetLastError() == ERROR_SHARING_VIOLATION) {
            throw std::runtime_error("the name " + ipc::to_utf8(path) +
                                     " is taken by another server");
        }
        Sleep(10); // no object tells when the last client has closed a file that is being deleted
        file = create_new_file(path);
    }
    if (!file) {
        ipc::throw_last_error("CreateFileW (socket file)");
    }
    const std::string content = std::to_string(address.port) + "\n" + address.nonce;
    DWORD written = 0;
    if (!WriteFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &written,
                   nullptr)) {
        ipc::throw_last_error("WriteFile (socket file)");
    }
    return file;
}

inline server_address parse_socket_file(std::string_view content) {
    server_address address;
    const char* const content_end = content.data() + content.size();
    const auto [port_end, error] = std::from_chars(content.data(), content_end, address.port);
    const std::string_view rest(port_end, static_cast<std::size_t>(content_end - port_end));
    if (error != std::errc() || address.port == 0 || rest.size() != 1 + nonce_bytes ||
        rest.front() != '\n') {
        throw std::runtime_error("the socket file does not hold a port, a line break and a nonce");
    }
    address.nonce = rest.substr(1);
    return address;
}

// Waits until a server has written its socket file. end_ms is a time of GetTickCount64.
inline server_address find_server(const std::wstring& path, ULONGLONG end_ms) {
    for (;;) {
        // FILE_SHARE_WRITE and FILE_SHARE_DELETE allow what the server's handle can do. Without
        // them, and so in most libraries, the call fails with ERROR_SHARING_VIOLATION (32).
        const ipc::unique_handle file(CreateFileW(
            path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
        const DWORD error = file ? ERROR_FILE_NOT_FOUND /* it may be empty */ : GetLastError();
        std::array<char, 64> content{}; // more than a correct file has
        DWORD size = 0;
        if (file && !ReadFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &size,
                              nullptr)) {
            ipc::throw_last_error("ReadFile (socket file)");
        }
        if (size != 0) { // 0: the server is about to write it
            return parse_socket_file({content.data(), size});
        }
        if (GetTickCount64() >= end_ms && error == ERROR_FILE_NOT_FOUND) {
            throw std::runtime_error("no server has made the socket file " + ipc::to_utf8(path) +
                                     ": start processA first");
        }
        if (GetTickCount64() >= end_ms) { // it is being deleted, or a virus scanner looks at it
            ipc::throw_error("CreateFileW (socket file)", error);
        }
        Sleep(10); // no object tells when a server has written it
    }
}
