#pragma once

// What the server needs to act as its client: the guard, and the client's name for the screen.

#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstddef>
#include <string>
#include <vector>

// Lets the thread act as the pipe's client until the end of the scope, however the scope is left.
// Between the two, do only what has to happen as the client, and nothing that may load a DLL:
// Windows would look for the file through the client's drive letters.
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

// Returns the token's user, a TOKEN_USER structure. Throws win32_error.
inline std::vector<std::byte> user_of(HANDLE token) {
    std::vector<std::byte> user(sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE);
    auto size = static_cast<DWORD>(user.size());
    if (!GetTokenInformation(token, TokenUser, user.data(), size, &size)) {
        ipc::throw_last_error("GetTokenInformation");
    }
    return user;
}

// Returns "the server's own user", or the name of the token's user: "COMPUTER\name". Call it when
// the impersonation has ended. Throws win32_error.
inline std::string user_text(HANDLE token) {
    ipc::unique_handle own_token;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, own_token.put())) {
        ipc::throw_last_error("OpenProcessToken");
    }
    std::vector<std::byte> own_user = user_of(own_token.get());
    std::vector<std::byte> user = user_of(token);
    const PSID sid = reinterpret_cast<TOKEN_USER*>(user.data())->User.Sid;
    if (EqualSid(sid, reinterpret_cast<TOKEN_USER*>(own_user.data())->User.Sid)) {
        return "the server's own user";
    }
    wchar_t name[257] = {}; // a user name has up to 256 characters, a domain name up to 255
    wchar_t domain[256] = {};
    DWORD name_length = 257;
    DWORD domain_length = 256;
    SID_NAME_USE use{};
    if (!LookupAccountSidW(nullptr, sid, name, &name_length, domain, &domain_length, &use)) {
        return "a user without a name"; // a deleted account, or no domain controller answers
    }
    return ipc::to_utf8(std::wstring(domain) + L"\\" + name);
}
