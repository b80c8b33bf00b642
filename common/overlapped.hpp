#pragma once

#include "common/unique_handle.hpp"

#include <windows.h>

namespace ipc {

// How an overlapped call ended. WAIT_TIMEOUT: the limit was over, and the call was cancelled.
// ERROR_OPERATION_ABORTED: the stop event was set, and the call was cancelled. Any other code is
// the call's own. After a cancelled write, the other end may have read any part of the bytes.
struct call_result {
    DWORD error = ERROR_SUCCESS;
    DWORD bytes = 0; // the number read or written; correct for ERROR_MORE_DATA too
};

// Owns the OVERLAPPED and the event of one call at a time, and waits for the call's end within a
// limit:
//
//     ipc::overlapped_call call(pipe);
//     const BOOL done = ReadFile(pipe, buffer, size, nullptr, call.get());
//     const ipc::call_result read = call.wait(done, limit_ms);
//
// Until a call has ended, the kernel may write into its OVERLAPPED and into its buffer. Neither
// wait() nor the destructor returns or throws before that. So declare the file and the buffer
// before the overlapped_call, and they are destroyed after it. The caller owns the file, opens it
// with FILE_FLAG_OVERLAPPED, and keeps it open.
// https://learn.microsoft.com/windows/win32/fileio/synchronous-and-asynchronous-i-o
class overlapped_call {
public:
    explicit overlapped_call(HANDLE file); // throws win32_error
    ~overlapped_call();                    // cancels a call that is still pending
    overlapped_call(const overlapped_call&) = delete;
    overlapped_call& operator=(const overlapped_call&) = delete;

    // The argument for the next call, after the wait() for the previous one. This object owns it.
    OVERLAPPED* get();

    // Waits for the end of the call that returned done. It reads GetLastError, so it must be the
    // next statement after the call. After limit_ms milliseconds (INFINITE: no limit), or when the
    // event stop is set, it cancels the call. A call that ends at the same moment can still
    // succeed; the result then says so and has the bytes. Throws win32_error if the wait itself
    // fails and the call was cancelled for that.
    call_result wait(BOOL done, DWORD limit_ms, HANDLE stop = nullptr);

private:
    HANDLE file_;
    unique_handle event_;
    OVERLAPPED overlapped_{};
    bool may_be_pending_ = false;
};

} // namespace ipc
