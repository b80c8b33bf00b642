#pragma once

// Whether a program acts as somebody else, and a client with fewer rights than its server: for the tests and the
// exercises of pair 14.

#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ipc::test {

// Returns how many threads of the process have the token of a client. Throws std::runtime_error if no thread can be
// asked.
inline int impersonating_threads(DWORD process) {
    const std::vector<unique_handle> threads = threads_of(process, THREAD_QUERY_INFORMATION);
    if (threads.empty()) {
        throw std::runtime_error("no thread could be asked");
    }
    return static_cast<int>(std::ranges::count_if(threads, [](const unique_handle& thread) {
        unique_handle token;
        return OpenThreadToken(thread.get(), TOKEN_QUERY, TRUE, token.put()) ||
               GetLastError() != ERROR_NO_TOKEN;
    }));
}

// As long as this object lives, its thread acts as its user without the rights that Everyone has: Windows uses that
// group only to deny. Throws std::runtime_error.
// https://learn.microsoft.com/windows/win32/secauthz/restricted-tokens
class everyone_denied {
public:
    everyone_denied() {
        alignas(SID) std::array<std::byte, SECURITY_MAX_SID_SIZE> everyone{};
        auto size = static_cast<DWORD>(everyone.size());
        SID_AND_ATTRIBUTES disabled{everyone.data(), 0};
        unique_handle own;
        unique_handle restricted;
        unique_handle token;
        if (!CreateWellKnownSid(WinWorldSid, nullptr, everyone.data(), &size) ||
            !OpenProcessToken(GetCurrentProcess(), TOKEN_DUPLICATE | TOKEN_QUERY, own.put()) ||
            !CreateRestrictedToken(own.get(), 0, 1, &disabled, 0, nullptr, 0, nullptr,
                                   restricted.put()) ||
            !DuplicateTokenEx(restricted.get(), TOKEN_QUERY | TOKEN_IMPERSONATE, nullptr,
                              SecurityImpersonation, TokenImpersonation, token.put()) ||
            !SetThreadToken(nullptr /* this thread */, token.get())) {
            throw std::runtime_error("no token without Everyone: " +
                                     std::to_string(GetLastError()));
        }
    }
    ~everyone_denied() { RevertToSelf(); }
    everyone_denied(const everyone_denied&) = delete;
    everyone_denied& operator=(const everyone_denied&) = delete;
};

// As long as this object lives, the file can be read and deleted by Everyone, and by nobody for another reason; then
// the user has all rights again. Throws std::runtime_error.
class file_for_everyone {
public:
    explicit file_for_everyone(std::wstring path) : path_(std::move(path)) {
        if (!set_access(L"D:P(A;;GRSD;;;WD)")) {
            throw std::runtime_error("no DACL for the file: " + std::to_string(GetLastError()));
        }
    }
    ~file_for_everyone() { set_access(L"D:(A;;GA;;;WD)"); }
    file_for_everyone(const file_for_everyone&) = delete;
    file_for_everyone& operator=(const file_for_everyone&) = delete;

private:
    bool set_access(const wchar_t* sddl) const {
        PSECURITY_DESCRIPTOR descriptor = nullptr;
        if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1,
                                                                  &descriptor, nullptr)) {
            return false;
        }
        const BOOL done = SetFileSecurityW(path_.c_str(), DACL_SECURITY_INFORMATION, descriptor);
        const DWORD error = GetLastError();
        LocalFree(descriptor);
        SetLastError(error);
        return done != FALSE;
    }

    std::wstring path_;
};

} // namespace ipc::test
