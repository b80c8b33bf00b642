#pragma once

// What a server needs to open a file for its client: the guard, the level check, and the open.

#include "common/error.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <string>

// Lets the thread act as the pipe's client until the end of the scope, however the scope is left.
// Do only what has to happen as the client in between, and nothing that may load a DLL: Windows may
// look for files of the DLL through the client's drive letters.
// ANCHOR: guard
class impersonation {
public:
    explicit impersonation(HANDLE pipe) {
        if (!ImpersonateNamedPipeClient(pipe)) {
            ipc::throw_last_error("ImpersonateNamedPipeClient"); // still the server: do not go on
        }
    }
    ~impersonation() {
        if (!RevertToSelf()) { // the thread would go on as the client, with every later request
            TerminateProcess(GetCurrentProcess(), 1);
        }
    }
    impersonation(const impersonation&) = delete;
    impersonation& operator=(const impersonation&) = delete;
};
// ANCHOR_END: guard

// Asks how far the impersonating thread can act as the client. Returns the error.
inline DWORD get_level(SECURITY_IMPERSONATION_LEVEL& level) {
    ipc::unique_handle token;
    if (!OpenThreadToken(GetCurrentThread(), TOKEN_QUERY,
                         TRUE, // with the server's rights: the client's may not be enough
                         token.put())) {
        return GetLastError(); // ERROR_CANT_OPEN_ANONYMOUS: an anonymous client
    }
    DWORD bytes = 0;
    if (!GetTokenInformation(token.get(), TokenImpersonationLevel, &level, sizeof level, &bytes)) {
        return GetLastError();
    }
    return ERROR_SUCCESS;
}

// A path from the root of a drive. This excludes devices (\\.\), other computers (\\server\), and
// paths that depend on the server's current folder or drive.
inline bool is_full_path(const std::wstring& path) {
    const wchar_t letter = path.empty() ? L' ' : path[0];
    return ((letter >= L'A' && letter <= L'Z') || (letter >= L'a' && letter <= L'z')) &&
           path.size() > 3 && path.compare(1, 2, L":\\") == 0 &&
           path.find(L'\0') == std::wstring::npos;
}

struct client_file {
    DWORD error = ERROR_BAD_PATHNAME;       // why there is no file, or ERROR_SUCCESS
    const char* level = "not impersonated"; // what the server was as its client, for the screen
    ipc::unique_handle file;
};

// Opens the file with the client's rights. Returns the error, which is read before the guard reverts.
inline DWORD open_impersonating(HANDLE pipe, const std::wstring& path, client_file& opened) {
    constexpr const char* level_texts[] = {"level anonymous", "level identification",
                                           "level impersonation", "level delegation"};
    // ANCHOR: open
    const impersonation client(pipe); // throws if it fails; ends when this function returns
    SECURITY_IMPERSONATION_LEVEL level = SecurityAnonymous;
    const DWORD error = get_level(level);
    opened.level = error == ERROR_SUCCESS ? level_texts[level] : "no token";
    if (error != ERROR_SUCCESS) {
        return error;
    }
    if (level < SecurityImpersonation) {
        return ERROR_BAD_IMPERSONATION_LEVEL;
    }
    // SECURITY_ANONYMOUS: should the path lead to a pipe, its server cannot act as the client.
    opened.file.reset(CreateFileW(
        path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
        OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
    return opened.file ? ERROR_SUCCESS : GetLastError();
    // ANCHOR_END: open
}

// Opens the file for reading as the pipe's client, and never with the server's own rights.
inline client_file open_as_client(HANDLE pipe, const std::wstring& path) {
    client_file opened;
    if (!is_full_path(path)) {
        return opened;
    }
    try {
        opened.error = open_impersonating(pipe, path, opened);
    } catch (const ipc::win32_error& failure) {
        opened.error = failure.code(); // no impersonation: nothing may be opened
    }
    if (opened.error == ERROR_SUCCESS && GetFileType(opened.file.get()) != FILE_TYPE_DISK) {
        opened.error = ERROR_NOT_SUPPORTED; // a device or a pipe: opened, but never read
    }
    return opened;
}
