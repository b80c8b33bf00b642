#pragma once

#include "common/error.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

// A time limit for blocking calls of this thread, such as CallNamedPipe. After limit_ms milliseconds
// (INFINITE: never) and as long as this object exists, a call that waits in the kernel fails with
// ERROR_OPERATION_ABORTED.
class call_limit {
public:
    explicit call_limit(DWORD limit_ms) {
        // GetCurrentThread() means "the calling thread". In the timer's callback that would be a
        // thread of the pool, so the callback needs a real handle.
        const HANDLE self = GetCurrentProcess();
        if (!DuplicateHandle(self, GetCurrentThread(), self, thread_.put(),
                             THREAD_TERMINATE /* CancelSynchronousIo needs it */, FALSE, 0)) {
            ipc::throw_last_error("DuplicateHandle");
        }
        // ANCHOR: call_limit
        timer_ = CreateThreadpoolTimer(cancel_call, thread_.get(), nullptr);
        if (timer_ == nullptr) {
            ipc::throw_last_error("CreateThreadpoolTimer");
        }
        if (limit_ms != INFINITE) { // INFINITE: without limit, the timer never starts
            ULARGE_INTEGER due;     // in units of 100 ns; negative: from now on
            due.QuadPart = static_cast<ULONGLONG>(-10'000LL * limit_ms);
            FILETIME first_time{due.LowPart, due.HighPart};
            SetThreadpoolTimer(timer_, &first_time, repeat_ms, 0);
        }
        // ANCHOR_END: call_limit
    }
    call_limit(const call_limit&) = delete;
    call_limit& operator=(const call_limit&) = delete;

    // Waits for a callback that is running: it could cancel a later call of the thread.
    ~call_limit() {
        SetThreadpoolTimer(timer_, nullptr, 0, 0);
        WaitForThreadpoolTimerCallbacks(timer_, TRUE /* drop callbacks that have not started */);
        CloseThreadpoolTimer(timer_);
    }

private:
    // CancelSynchronousIo fails if the thread is between two calls. So the timer repeats it.
    static void CALLBACK cancel_call(PTP_CALLBACK_INSTANCE, void* thread, PTP_TIMER) {
        CancelSynchronousIo(thread);
    }

    static constexpr DWORD repeat_ms = 10;

    ipc::unique_handle thread_;
    PTP_TIMER timer_ = nullptr;
};
