#pragma once

// What only AF_UNIX needs: the kind of the socket, and the path that is the server's address.

#include "common/error.hpp"
#include "common/security.hpp" // object_name
#include "common/text.hpp"
#include "sockets.hpp"

#include <winsock2.h>

#include <windows.h>

#if __has_include(<afunix.h>)
#include <afunix.h>
#else // MinGW-w64 before version 11 has no such header
struct sockaddr_un {
    ADDRESS_FAMILY sun_family; // AF_UNIX
    char sun_path[108];        // UTF-8, with a terminating zero
};
#endif

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

constexpr auto folder_name = L"ipc_demos.19"; // in the user's folder for local data
constexpr auto socket_name = L"requests";
constexpr int exit_left_out = 3; // exit code: the system has no AF_UNIX
constexpr auto no_unix_sockets =
    "left out: this system has no AF_UNIX sockets (WSAEAFNOSUPPORT, 10047); "
    "Windows 10 version 1803 and later have them";

inline SOCKET open_unix_socket() {
    // ANCHOR: open_socket
    return WSASocketW(AF_UNIX,     // an address is a path
                      SOCK_STREAM, // Windows has no SOCK_DGRAM for this family
                      0,           // the family has one protocol
                      nullptr,     // of any provider
                      0,           // no group
                      WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    // ANCHOR_END: open_socket
}

// The only way to know is to try it.
inline bool has_unix_sockets() {
    const unique_socket tried(open_unix_socket());
    return tried || WSAGetLastError() != WSAEAFNOSUPPORT;
}

inline unique_socket create_unix_socket() {
    unique_socket created(open_unix_socket());
    if (!created) {
        throw_socket_error("WSASocketW");
    }
    return created;
}

// ANCHOR: make_address
inline sockaddr_un make_address(const std::wstring& path) {
    sockaddr_un address{}; // all zeros: the path ends with one
    constexpr std::size_t most = sizeof address.sun_path - 1;
    const std::string utf8 = ipc::to_utf8(path);
    if (utf8.empty() || utf8.size() > most) {
        throw std::runtime_error("the socket's path takes " + std::to_string(utf8.size()) +
                                 " bytes in UTF-8, and 1 to " + std::to_string(most) +
                                 " are possible: " + utf8);
    }
    address.sun_family = AF_UNIX;
    std::ranges::copy(utf8, address.sun_path);
    return address;
}
// ANCHOR_END: make_address

// Returns the socket's path, in a folder of the user. Windows gives the folder above it to the user, to
// administrators and to the system, so nobody else can create this one first.
inline std::wstring socket_path(const std::wstring& suffix) {
    std::wstring local(32'767, L'\0'); // as long as a variable can be
    const DWORD size =
        GetEnvironmentVariableW(L"LOCALAPPDATA", local.data(), static_cast<DWORD>(local.size()));
    if (size == 0) {
        ipc::throw_last_error("GetEnvironmentVariableW (LOCALAPPDATA)");
    }
    local.resize(size);
    return local + L"\\" + folder_name + L"\\" + ipc::object_name(socket_name, suffix) + L".sock";
}
