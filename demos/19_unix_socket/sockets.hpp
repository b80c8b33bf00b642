#pragma once

// What A and B both need of Winsock, and the file that is the server's address: its folder, its path, and a
// way to remove it after a crash.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

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
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>

constexpr int exit_left_out = 3; // exit code: the system has no AF_UNIX
constexpr auto no_unix_sockets =
    "left out: this system has no AF_UNIX sockets (WSAEAFNOSUPPORT, 10047); "
    "Windows 10 version 1803 and later have them";

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

// The only way to know: try it.
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
    return local + L"\\" + protocol::folder_name + L"\\" +
           ipc::object_name(protocol::socket_name, suffix) + L".sock";
}

// A security descriptor that files in the folder inherit. It counts for them, and not the folder's own rights:
// Windows does not check the folders on the way to a file. Who may write to the socket's file may connect.
// ANCHOR: create_folder
inline void create_folder(const std::filesystem::path& folder) {
    ipc::user_only_security security; // one entry: all rights for this user
    BOOL present = FALSE;
    BOOL defaulted = FALSE;
    ACL* dacl = nullptr;
    void* entry = nullptr;
    if (!GetSecurityDescriptorDacl(security.get()->lpSecurityDescriptor, &present, &dacl,
                                   &defaulted) ||
        !GetAce(dacl, 0, &entry)) {
        ipc::throw_last_error("GetSecurityDescriptorDacl or GetAce");
    }
    static_cast<ACE_HEADER*>(entry)->AceFlags = OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE;
    if (!CreateDirectoryW(folder.c_str(), security.get())) {
        const DWORD error = GetLastError();
        if (error != ERROR_ALREADY_EXISTS) { // an earlier run has created it
            ipc::throw_error("CreateDirectoryW", error);
        }
    }
}
// ANCHOR_END: create_folder

// Takes the path for one server. The lock ends with the handle, so with the process, however it ends.
// ANCHOR: lock_path
inline ipc::unique_handle lock_path(const std::wstring& path) {
    ipc::unique_handle lock(
        CreateFileW((path + L".lock").c_str(), // stays: removing it would be a race
                    GENERIC_WRITE,
                    FILE_SHARE_READ | FILE_SHARE_WRITE, // the lock decides
                    nullptr,                            // inherits from the folder
                    OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!lock) {
        ipc::throw_last_error("CreateFileW (the lock of the socket's path)");
    }
    OVERLAPPED first_byte{};
    if (!LockFileEx(lock.get(), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
                    &first_byte)) {
        const DWORD error = GetLastError();
        if (error == ERROR_LOCK_VIOLATION) {
            throw std::runtime_error("another server has this path: " + ipc::to_utf8(path));
        }
        ipc::throw_error("LockFileEx", error);
    }
    return lock;
}
// ANCHOR_END: lock_path

// Removes the file of a server that has crashed. Only for the owner of the lock: the file of a server that
// runs looks the same, and Windows lets it be deleted.
// ANCHOR: remove_stale_socket
inline void remove_stale_socket(const std::wstring& path) {
    WIN32_FIND_DATAW found{}; // CreateFileW could not open a socket: ERROR_CANT_ACCESS_FILE
    const HANDLE search = FindFirstFileW(path.c_str(), &found);
    if (search == INVALID_HANDLE_VALUE) {
        const DWORD error = GetLastError();
        if (error == ERROR_FILE_NOT_FOUND) {
            return; // the last server has ended in order
        }
        ipc::throw_error("FindFirstFileW", error);
    }
    FindClose(search);
    const bool is_socket = (found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 &&
                           found.dwReserved0 == IO_REPARSE_TAG_AF_UNIX;
    if (!is_socket) {
        throw std::runtime_error("not a socket, so it is not removed: " + ipc::to_utf8(path));
    }
    if (!DeleteFileW(path.c_str())) {
        ipc::throw_last_error("DeleteFileW");
    }
}
// ANCHOR_END: remove_stale_socket
