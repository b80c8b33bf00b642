#pragma once

// Reading a standard input, whatever it is: a file, a console or a pipe.

#include "common/error.hpp"

#include <windows.h>

#include <span>

// Reads some bytes, waiting for the first, and returns how many: 0 at the end.
inline DWORD read_some(HANDLE input, std::span<char> buffer) {
    for (;;) {
        DWORD received = 0;
        if (!ReadFile(input, buffer.data(), static_cast<DWORD>(buffer.size()), &received,
                      nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_MORE_DATA) {
                return received; // the beginning of a long message: the next read goes on
            }
            if (error == ERROR_BROKEN_PIPE) {
                return 0; // a pipe ends with this error
            }
            ipc::throw_error("ReadFile", error);
        }
        if (received != 0 || GetFileType(input) != FILE_TYPE_PIPE) {
            return received; // a file or a console ends with 0 bytes
        }
        // 0 bytes from a pipe: somebody has written 0 bytes. Where the standard input is a pipe of
        // Linux (Wine), it is the end, and PeekNamedPipe fails because it does not know such pipes.
        if (!PeekNamedPipe(input, nullptr, 0, nullptr, nullptr, nullptr)) {
            return 0;
        }
    }
}
