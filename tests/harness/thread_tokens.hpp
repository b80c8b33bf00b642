#pragma once

// Whether a program acts as somebody else: for the tests and the exercises of pair 14.

#include "common/unique_handle.hpp"

#include <windows.h>

#include <tlhelp32.h>

#include <stdexcept>

namespace ipc::test {

// Returns how many threads of the process have the token of a client. Throws std::runtime_error if no thread can be
// asked.
inline int impersonating_threads(DWORD process) {
    const unique_handle threads(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
    THREADENTRY32 entry{};
    entry.dwSize = sizeof entry;
    int asked = 0;
    int impersonating = 0;
    for (BOOL more = Thread32First(threads.get(), &entry); more;
         more = Thread32Next(threads.get(), &entry)) {
        if (entry.th32OwnerProcessID != process) {
            continue;
        }
        const unique_handle thread(OpenThread(THREAD_QUERY_INFORMATION, FALSE, entry.th32ThreadID));
        if (!thread) {
            continue; // it has ended
        }
        ++asked;
        unique_handle token;
        const BOOL opened = OpenThreadToken(thread.get(), TOKEN_QUERY, TRUE, token.put());
        impersonating += opened || GetLastError() != ERROR_NO_TOKEN ? 1 : 0;
    }
    if (asked == 0) {
        throw std::runtime_error("no thread could be asked");
    }
    return impersonating;
}

} // namespace ipc::test
