#include "common/pipe.hpp"
#include "common/deadline.hpp"

#include "common/error.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <stdexcept>

namespace ipc {

unique_handle connect_to_pipe(const std::wstring& name, DWORD access, DWORD flags, DWORD limit_ms) {
    constexpr DWORD poll_ms = 20;
    constexpr DWORD longest_wait_ms = 1'000;
    const deadline end(limit_ms);
    for (;;) {
        // ANCHOR: open
        // SECURITY_IDENTIFICATION: the server can see who the client is, but cannot act as it.
        unique_handle pipe(
            CreateFileW(name.c_str(), access, 0 /* not shared */, nullptr, OPEN_EXISTING,
                        flags | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        if (pipe) {
            return pipe;
        }
        const DWORD error = GetLastError();
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            throw_error("CreateFileW", error);
        }
        // ANCHOR_END: open
        const DWORD left_ms = end.left_ms();
        if (left_ms == 0) {
            throw std::runtime_error(
                error == ERROR_PIPE_BUSY
                    ? "the server at " + to_utf8(name) + " is busy with other clients"
                    : "no server at " + to_utf8(name) + ": start processA first");
        }
        // ANCHOR: wait
        // After WaitNamedPipeW another client may be faster, or the server may end, so the next
        // CreateFileW decides. The time is never 0, which would mean the server's default.
        const DWORD wait_ms = std::min(left_ms, longest_wait_ms);
        if (error != ERROR_PIPE_BUSY || !WaitNamedPipeW(name.c_str(), wait_ms)) {
            Sleep(std::min(poll_ms, wait_ms)); // Windows cannot notify a client of a new pipe name
        }
        // ANCHOR_END: wait
    }
}

void throw_create_pipe_error(const std::wstring& name) {
    const DWORD error = GetLastError();
    // ERROR_ACCESS_DENIED: FILE_FLAG_FIRST_PIPE_INSTANCE found an instance, or the first instance's
    // type or security descriptor forbids this one. ERROR_PIPE_BUSY: as many instances exist as the
    // first one allows.
    if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
        throw std::runtime_error("the name " + to_utf8(name) + " is taken by another server");
    }
    throw_error("CreateNamedPipeW", error);
}

bool is_disconnected(DWORD error) {
    return error == ERROR_BROKEN_PIPE // a read: no data is left; a write: the end closed meanwhile
           || error == ERROR_NO_DATA  // a write: the other end was closed before
           || error == ERROR_PIPE_NOT_CONNECTED; // the server has disconnected this client
}

} // namespace ipc
