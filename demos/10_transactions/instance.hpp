#pragma once

// The server's pipe, and the end of every operation on it. What is read and written stands in
// processA.cpp.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <stdexcept>
#include <string>
#include <vector>

constexpr DWORD idle_bytes = 4 * 1024; // the buffer of an idle server, and of its pipe

// The only instance of the pipe. One operation at a time.
struct instance {
    ipc::unique_handle pipe;
    ipc::unique_handle event; // set when the operation is complete
    OVERLAPPED operation{};
    DWORD idle_limit_ms = 0;
    std::vector<char> message = std::vector<char>(idle_bytes);
    DWORD used = 0; // bytes of the message that have arrived

    explicit instance(const std::wstring& name);
    instance(const instance&) = delete;
    instance& operator=(const instance&) = delete;
    ~instance() { DisconnectNamedPipe(pipe.get()); } // or an open handle would keep the name taken
};

inline instance::instance(const std::wstring& name)
    : event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    operation.hEvent = event.get();
    ipc::user_only_security security;
    pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1 /* instance */, idle_bytes, idle_bytes, 0 /* default time-out */, security.get()));
    if (!pipe) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name is taken, by another server? " + ipc::to_utf8(name));
        }
        ipc::throw_error("CreateNamedPipeW", error);
    }
}

// Waits for what an overlapped call has begun; the limit and Ctrl+C end it. Returns its error.
inline DWORD finish(instance& one, BOOL done, DWORD limit_ms, DWORD& bytes) {
    const DWORD began = done ? ERROR_SUCCESS : GetLastError();
    DWORD wait_error = ERROR_SUCCESS;
    if (began == ERROR_IO_PENDING) {
        const HANDLE events[] = {one.event.get(), ipc::ctrl_c_event()};
        const DWORD which = WaitForMultipleObjects(2, events, FALSE /* any */, limit_ms);
        wait_error = which == WAIT_FAILED ? GetLastError() : ERROR_SUCCESS;
        if (which != WAIT_OBJECT_0) {
            CancelIoEx(one.pipe.get(), &one.operation); // only asks: it may be too late for that
        }
    } else if (began != ERROR_SUCCESS && began != ERROR_MORE_DATA) {
        return began; // failed at once: nobody will set the event
    }
    // Waits until the kernel has let go of operation and buffer, which the cancel sees to.
    done = GetOverlappedResult(one.pipe.get(), &one.operation, &bytes, TRUE /* wait */);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (wait_error != ERROR_SUCCESS) {
        ipc::throw_error("WaitForMultipleObjects", wait_error);
    }
    return error;
}
