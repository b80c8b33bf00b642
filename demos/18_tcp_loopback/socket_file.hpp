#pragma once

// The socket file, through which a client finds the server: it holds the port, a line break and the nonce.
// Only the user can read it. TCP itself knows no users.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <bcrypt.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

struct server_address {
    unsigned short port = 0;
    std::array<char, protocol::nonce_bytes> nonce{};
};

inline std::array<char, protocol::nonce_bytes> create_nonce() {
    std::array<char, protocol::nonce_bytes> nonce{};
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
    std::array<wchar_t, MAX_PATH + 1> folder{}; // for temporary files; it ends with a backslash
    const DWORD length = GetTempPathW(static_cast<DWORD>(folder.size()), folder.data());
    if (length == 0) {
        ipc::throw_last_error("GetTempPathW");
    }
    if (length > MAX_PATH) {
        throw std::runtime_error("the path of the folder for temporary files is too long");
    }
    return folder.data() + ipc::object_name(protocol::socket_file_name, suffix);
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
    for (int tries = 1; !file; ++tries) {
        DWORD error = GetLastError();
        const char* call = "CreateFileW (socket file)";
        if (error == ERROR_FILE_EXISTS && !DeleteFileW(path.c_str())) {
            error = GetLastError();
            call = "DeleteFileW (socket file)";
        }
        if (error == ERROR_SHARING_VIOLATION) {
            throw std::runtime_error("the name " + ipc::to_utf8(path) +
                                     " is taken by another server");
        }
        const bool may_change = error == ERROR_FILE_EXISTS ||    // it is deleted now
                                error == ERROR_FILE_NOT_FOUND || // its server has just ended
                                error == ERROR_ACCESS_DENIED;    // it is being deleted
        if (!may_change || tries == most_tries) {
            ipc::throw_error(call, error);
        }
        Sleep(10); // no object tells when the last client has closed a file that is being deleted
        file = create_new_file(path);
    }
    std::string content = std::to_string(address.port) + "\n";
    content.append(address.nonce.data(), address.nonce.size());
    DWORD written = 0;
    if (!WriteFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &written,
                   nullptr)) {
        ipc::throw_last_error("WriteFile (socket file)");
    }
    return file;
}

inline server_address parse_socket_file(std::string_view content) {
    server_address address;
    const std::size_t line_end = content.find('\n');
    unsigned port = 0;
    const auto [end, error] =
        std::from_chars(content.data(), content.data() + content.size(), port);
    if (line_end == std::string_view::npos || error != std::errc() || port == 0 ||
        port > USHRT_MAX || end != content.data() + line_end ||
        content.size() != line_end + 1 + address.nonce.size()) {
        throw std::runtime_error("the socket file does not hold a port, a line break and a nonce");
    }
    address.port = static_cast<unsigned short>(port);
    std::ranges::copy(content.substr(line_end + 1), address.nonce.begin());
    return address;
}

// Waits until a server has written its socket file. end_ms is a time of GetTickCount64.
inline server_address find_server(const std::wstring& path, ULONGLONG end_ms) {
    constexpr DWORD look_again_ms = 10;
    for (;;) {
        // FILE_SHARE_WRITE and FILE_SHARE_DELETE allow what the server's handle can do. Without
        // them, and so in most libraries, the call fails with ERROR_SHARING_VIOLATION (32).
        const ipc::unique_handle file(CreateFileW(
            path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
        const DWORD error = file ? ERROR_SUCCESS : GetLastError();
        const bool too_late = GetTickCount64() >= end_ms;
        std::array<char, 64> content{}; // more than a correct file has
        DWORD size = 0;
        if (file && !ReadFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &size,
                              nullptr)) {
            ipc::throw_last_error("ReadFile (socket file)");
        }
        if (size != 0 || (file && too_late)) { // 0: the server is about to write it
            return parse_socket_file({content.data(), size});
        }
        if (error == ERROR_FILE_NOT_FOUND && too_late) {
            throw std::runtime_error("no server has made the socket file " + ipc::to_utf8(path) +
                                     ": start processA first");
        }
        const bool may_change = file || error == ERROR_FILE_NOT_FOUND ||
                                error == ERROR_ACCESS_DENIED ||   // it is being deleted
                                error == ERROR_SHARING_VIOLATION; // a virus scanner looks at it
        if (!may_change || too_late) {
            ipc::throw_error("CreateFileW (socket file)", error);
        }
        Sleep(look_again_ms); // no object tells when a server has written it
    }
}
