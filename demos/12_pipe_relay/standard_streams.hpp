#pragma once

// Standard input and output, whatever the caller gave: a file, a console, a pipe of Windows, or under
// Wine a pipe of Linux, which differs. Nothing here is about the pipe server.

#include "common/error.hpp"
#include "common/pipe.hpp"

#include <windows.h>

#include <span>
#include <stdexcept>
#include <string_view>

inline bool is_console(HANDLE handle) {
    DWORD mode = 0;
    return GetConsoleMode(handle, &mode) != FALSE;
}

// Waits for some bytes. Returns how many were read, and 0 at the end.
inline DWORD read_some(HANDLE input, std::span<char> buffer) {
    constexpr DWORD poll_ms = 10;
    constexpr DWORD ctrl_c_ms = 200; // more than the handler of Ctrl+C needs
    for (;;) {
        DWORD size = 0;
        if (!ReadFile(input, buffer.data(), static_cast<DWORD>(buffer.size()), &size, nullptr)) {
            const DWORD error = GetLastError();
            if (error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED) {
                return 0; // the end of a pipe
            }
            if (error == ERROR_NO_DATA) { // the caller's pipe does not wait (PIPE_NOWAIT)
                Sleep(poll_ms); // no object tells when there is data
                continue;
            }
            if (error != ERROR_MORE_DATA) { // a part of a long message
                ipc::throw_error("ReadFile (standard input)", error);
            }
        }
        if (size == 0 && is_console(input)) {
            Sleep(ctrl_c_ms); // Ctrl+Z, or Ctrl+C, whose handler ends this process meanwhile
        }
        if (size != 0 || GetFileType(input) != FILE_TYPE_PIPE) {
            return size; // a file or a console ends with 0 bytes
        }
        // 0 bytes from a pipe: an empty message. From a pipe of Linux they are the end, and
        // PeekNamedPipe fails.
        if (!PeekNamedPipe(input, nullptr, 0, nullptr, nullptr, nullptr)) {
            return 0;
        }
    }
}

inline void write_output(std::string_view bytes) {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    while (!bytes.empty()) { // a pipe of Linux can take a part
        DWORD written = 0;
        if (!WriteFile(output, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
            const DWORD error = GetLastError();
            if (ipc::is_disconnected(error)) {
                throw std::runtime_error("nobody reads standard output any more");
            }
            ipc::throw_error("WriteFile (standard output)", error);
        }
        if (written == 0) {
            Sleep(1); // a full pipe that does not wait (PIPE_NOWAIT)
        }
        bytes.remove_prefix(written);
    }
}

// Gives the reader of standard output its end. The handle is borrowed, but nothing else tells the
// reader that no output follows while this program goes on.
inline void close_output(HANDLE input) {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    if (output != GetStdHandle(STD_ERROR_HANDLE) && output != input) {
        SetStdHandle(STD_OUTPUT_HANDLE, nullptr);
        CloseHandle(output);
    }
}

// Leaves the console, whose window closes unless another program uses it.
inline void leave_console(HANDLE input) {
    if (is_console(input) || is_console(GetStdHandle(STD_OUTPUT_HANDLE))) {
        throw ipc::usage_error("-bg needs an input and an output that are not a console; usage: "
                               "processA [OPTIONS] PIPE");
    }
    if (is_console(GetStdHandle(STD_ERROR_HANDLE))) {
        SetStdHandle(STD_ERROR_HANDLE, nullptr); // another object could get the same number
    }
    FreeConsole();
}
