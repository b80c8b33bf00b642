#pragma once

// One end of the pipe whose calls do not wait forever. The calls themselves stand in processA.cpp
// and processB.cpp; here is only the waiting for them. Demo 05 is the lesson about overlapped I/O.

#include "common/error.hpp"
#include "common/unique_handle.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace message_mode {

constexpr DWORD peer_limit_ms = 10'000; // for the other process to read, or to write something

struct stopped {}; // thrown by finish when the stop event is set

// Thrown by check when nobody holds the other end any more.
class peer_gone : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct pipe_end {
    ipc::unique_handle pipe; // opened with FILE_FLAG_OVERLAPPED
    HANDLE stop = nullptr;   // borrowed; none in the client, which Ctrl+C simply ends
    ipc::unique_handle done{CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)};
    OVERLAPPED io{}; // one call at a time, so that one of these is enough
};

// Makes io ready for the next call.
inline OVERLAPPED* start(pipe_end& end) {
    if (!end.done) {
        throw std::runtime_error("the pipe's event could not be created");
    }
    end.io = {};
    end.io.hEvent = end.done.get();
    return &end.io;
}

// Waits for the call that was just made with start(end) and gave `succeeded`. Returns its error
// code and the number of bytes. Throws when it takes longer than limit_ms.
inline std::pair<DWORD, DWORD> finish(pipe_end& end, BOOL succeeded, const char* call,
                                      DWORD limit_ms = peer_limit_ms) {
    DWORD code = succeeded ? ERROR_SUCCESS : GetLastError();
    if (code != ERROR_SUCCESS && code != ERROR_MORE_DATA && code != ERROR_IO_PENDING) {
        return {code, 0}; // failed at once: there is nothing to wait for
    }
    DWORD bytes = 0;
    DWORD signalled = WAIT_OBJECT_0;
    DWORD wait_code = ERROR_SUCCESS;
    if (code == ERROR_IO_PENDING) {
        const HANDLE events[] = {end.done.get(), end.stop};
        signalled = WaitForMultipleObjects(end.stop ? 2 : 1, events, FALSE, limit_ms);
        if (signalled != WAIT_OBJECT_0) {
            wait_code = GetLastError();          // means something for WAIT_FAILED only
            CancelIoEx(end.pipe.get(), &end.io); // only asks; until the call has really ended,
            GetOverlappedResult(end.pipe.get(), &end.io, &bytes, TRUE); // the system uses io
        }
    }
    // Asked every time: a busy peer may never let a call wait.
    if (end.stop && WaitForSingleObject(end.stop, 0) == WAIT_OBJECT_0) {
        throw stopped();
    }
    if (signalled == WAIT_FAILED) {
        ipc::throw_error("WaitForMultipleObjects", wait_code);
    }
    if (signalled == WAIT_TIMEOUT) {
        throw std::runtime_error(std::string("the other process is too slow for ") + call);
    }
    code = GetOverlappedResult(end.pipe.get(), &end.io, &bytes, FALSE) ? ERROR_SUCCESS
                                                                       : GetLastError();
    return {code, bytes};
}

// Lets ERROR_SUCCESS and ERROR_MORE_DATA pass.
inline void check(DWORD code, const char* call) {
    if (code == ERROR_BROKEN_PIPE || code == ERROR_NO_DATA || code == ERROR_PIPE_NOT_CONNECTED) {
        throw peer_gone("the other process ended in the middle of the conversation");
    }
    if (code != ERROR_SUCCESS && code != ERROR_MORE_DATA) {
        ipc::throw_error(call, code);
    }
}

} // namespace message_mode
