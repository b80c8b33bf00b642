#pragma once

#include "common/unique_handle.hpp"

#include <windows.h>

namespace ipc {

// How an overlapped call ended. WAIT_TIMEOUT: its time was over, and it was cancelled.
// ERROR_OPERATION_ABORTED: the stop event was set, and it was cancelled. Everything else is the
// call's own code; with ERROR_MORE_DATA the bytes are there too.
struct call_result {
    DWORD error = ERROR_SUCCESS;
    DWORD bytes = 0;
};

// The OVERLAPPED and the event of one call at a time, and a wait for its end that has a limit:
//
//     ipc::overlapped_call call(pipe);
//     const BOOL done = ReadFile(pipe, buffer, size, nullptr, call.get());
//     const ipc::call_result read = call.wait(done, limit_ms);
//
// Until a call has ended, the kernel may write into its OVERLAPPED and into its buffer. Neither
// wait() nor the destructor returns before that, whatever happens. So declare the buffer first.
// The file stays the caller's and must have been opened with FILE_FLAG_OVERLAPPED.
// https://learn.microsoft.com/windows/win32/sync/synchronous-and-asynchronous-i-o
class overlapped_call {
public:
    explicit overlapped_call(HANDLE file); // throws win32_error
    ~overlapped_call();
    overlapped_call(const overlapped_call&) = delete;
    overlapped_call& operator=(const overlapped_call&) = delete;

    // For the next call. The previous one has ended: wait() has returned.
    OVERLAPPED* get();

    // Waits for the call that was just made and returned done: nothing may come between the two, as
    // this asks for GetLastError. After limit_ms milliseconds (INFINITE: no limit), or when stop is
    // set, it cancels the call. A call that ends at the same moment may still succeed, and then the
    // result says so. Throws win32_error if the wait itself fails.
    call_result wait(BOOL done, DWORD limit_ms, HANDLE stop = nullptr);

private:
    void cancel();

    HANDLE file_;
    unique_handle event_;
    OVERLAPPED overlapped_{};
    bool may_be_pending_ = false;
};

} // namespace ipc
