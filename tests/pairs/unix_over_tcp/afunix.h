#pragma once

// Takes the place of the system's <afunix.h> in a second build of pair 19, so that its programs and their tests
// also run where socket(AF_UNIX) fails. The sources stay as they are: behind the same calls, a socket is one of TCP
// on 127.0.0.1, and a file with a mark and a port plays the reparse point. The errors are those of AF_UNIX on
// Windows as far as they are known: WSAEADDRINUSE and WSAENETDOWN of bind have sources, WSAECONNREFUSED and
// WSAENETDOWN of connect are expected, and WSAEACCES stands for all else. What only a real AF_UNIX socket shows (the
// file's tag and rights, how a connection ends), this build cannot test.

#include <winsock2.h>

#include <windows.h>

#include <charconv>
#include <functional> // before bind is a macro
#include <string>
#include <string_view>

struct sockaddr_un {
    ADDRESS_FAMILY sun_family;
    char sun_path[108];
};

namespace unix_over_tcp {

constexpr std::string_view mark = "socket of pair 19's tests ";

inline std::wstring path_of(const sockaddr* address) {
    const char* const path = reinterpret_cast<const sockaddr_un*>(address)->sun_path;
    std::wstring wide(sizeof(sockaddr_un::sun_path), L'\0');
    const int size =
        MultiByteToWideChar(CP_UTF8, 0, path, -1, wide.data(), static_cast<int>(wide.size()));
    wide.resize(size > 0 ? static_cast<std::size_t>(size) - 1 : 0);
    return wide;
}

inline int fail_with(int error) {
    WSASetLastError(error);
    return SOCKET_ERROR;
}

inline sockaddr_in loopback(u_short port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

inline SOCKET create_socket(int, int, int, WSAPROTOCOL_INFOW*, GROUP, DWORD flags) {
    return (WSASocketW)(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, flags);
}

// Returns the port in the file, or 0 if it is no socket of this build.
inline u_short port_in(const std::wstring& path) {
    const HANDLE file = CreateFileW(path.c_str(), GENERIC_READ,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                    OPEN_EXISTING, 0, nullptr);
    char content[64];
    DWORD size = 0;
    if (file == INVALID_HANDLE_VALUE) {
        return 0;
    }
    const BOOL done = ReadFile(file, content, sizeof content, &size, nullptr);
    CloseHandle(file);
    const std::string_view text(content, done ? size : 0);
    u_short port = 0;
    if (text.starts_with(mark)) {
        std::from_chars(text.data() + mark.size(), text.data() + text.size(), port);
    }
    return port;
}

inline int bind_path(SOCKET socket, const sockaddr* path, int) {
    const HANDLE file = CreateFileW(path_of(path).c_str(), GENERIC_WRITE, FILE_SHARE_READ, nullptr,
                                    CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        const DWORD error = GetLastError();
        return fail_with(error == ERROR_FILE_EXISTS      ? WSAEADDRINUSE
                         : error == ERROR_PATH_NOT_FOUND ? WSAENETDOWN
                                                         : WSAEACCES);
    }
    sockaddr_in address = loopback(0);
    int size = sizeof address;
    int result = (bind)(socket, reinterpret_cast<sockaddr*>(&address), size);
    if (result == 0) {
        result = getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    }
    const std::string content = std::string(mark) + std::to_string(ntohs(address.sin_port));
    DWORD written = 0;
    WriteFile(file, content.data(), static_cast<DWORD>(content.size()), &written, nullptr);
    CloseHandle(file);
    return result;
}

inline int connect_path(SOCKET socket, const sockaddr* path, int) {
    const std::wstring file = path_of(path);
    const u_short port = port_in(file);
    if (port == 0) {
        const std::wstring folder = file.substr(0, file.find_last_of(L'\\'));
        const bool has_folder = GetFileAttributesW(folder.c_str()) != INVALID_FILE_ATTRIBUTES;
        return fail_with(has_folder ? WSAECONNREFUSED : WSAENETDOWN);
    }
    const sockaddr_in address = loopback(port);
    return (connect)(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

inline HANDLE find_first_file(const wchar_t* path, WIN32_FIND_DATAW* found) {
    const HANDLE search = (FindFirstFileW)(path, found);
    if (search != INVALID_HANDLE_VALUE && port_in(path) != 0) {
        found->dwFileAttributes |= FILE_ATTRIBUTE_REPARSE_POINT;
        found->dwReserved0 = IO_REPARSE_TAG_AF_UNIX;
    }
    return search;
}

} // namespace unix_over_tcp

// Only a name with a parenthesis behind it is a macro: the functions above put their names in parentheses.
#define WSASocketW(...) unix_over_tcp::create_socket(__VA_ARGS__)
#define bind(...) unix_over_tcp::bind_path(__VA_ARGS__)
#define connect(...) unix_over_tcp::connect_path(__VA_ARGS__)
#define FindFirstFileW(...) unix_over_tcp::find_first_file(__VA_ARGS__)
