#pragma once

// A connection, a request, its reply, and the end of the connection: CallNamedPipe. It has no limit
// for the answer; call_limit lends it one.

#include "common/error.hpp"
#include "common/unique_handle.hpp"
#include "connection.hpp"

constexpr DWORD free_wait_ms = 1'000; // for a free instance, before the next attempt

// ANCHOR: call_limit
// Cancels what its thread waits for in the kernel, from limit_ms on and as long as this object is
// there: the call then fails with ERROR_OPERATION_ABORTED. Keep it for the call alone.
class call_limit {
public:
    explicit call_limit(DWORD limit_ms);
    call_limit(const call_limit&) = delete;
    call_limit& operator=(const call_limit&) = delete;
    ~call_limit() { // no cancel comes after it, or it would hit another call
        SetThreadpoolTimer(timer_, nullptr, 0, 0);
        WaitForThreadpoolTimerCallbacks(timer_, TRUE /* drop those that have not begun */);
        CloseThreadpoolTimer(timer_);
    }

private:
    static void CALLBACK cancel(PTP_CALLBACK_INSTANCE, void* thread, PTP_TIMER) {
        CancelSynchronousIo(thread); // fails between two operations of the thread; the next may not
    }
    // ANCHOR_END: call_limit

    ipc::unique_handle thread_;
    PTP_TIMER timer_ = nullptr;
};

inline call_limit::call_limit(DWORD limit_ms) {
    constexpr DWORD again_ms = 10;
    // GetCurrentThread means "whoever asks": for the timer's thread that would be itself.
    if (!DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(),
                         thread_.put(), THREAD_TERMINATE /* what the cancel needs */, FALSE, 0)) {
        ipc::throw_last_error("DuplicateHandle");
    }
    timer_ = CreateThreadpoolTimer(cancel, thread_.get(), nullptr);
    if (timer_ == nullptr) {
        ipc::throw_last_error("CreateThreadpoolTimer");
    }
    ULARGE_INTEGER due; // negative: from now on, in steps of 100 ns
    due.QuadPart = static_cast<ULONGLONG>(-10'000LL * limit_ms);
    FILETIME first{due.LowPart, due.HighPart};
    SetThreadpoolTimer(timer_, &first, again_ms, 0);
}

// wait_ms is for a free instance only. For the answer, who calls this needs a call_limit.
// cppcheck-suppress passedByValue; the call wants a pointer to what is not const
inline outcome call(const std::wstring& name, std::string request, DWORD room, DWORD wait_ms) {
    outcome got{ERROR_SUCCESS, std::string(room, '\0')};
    DWORD bytes = 0;
    const BOOL done =
        CallNamedPipeW(name.c_str(), request.data(), static_cast<DWORD>(request.size()),
                       got.reply.data(), room, &bytes, wait_ms);
    got.error = done ? ERROR_SUCCESS : GetLastError();
    got.reply.resize(got.error == ERROR_MORE_DATA ? room : bytes);
    return got;
}

// ANCHOR: no_free_instance
// What CallNamedPipe says when its wait was in vain is not documented: the error of the wait, or
// that of the second attempt to connect, which has failed like the first.
inline bool no_free_instance(DWORD error) {
    return error == ERROR_PIPE_BUSY || error == ERROR_SEM_TIMEOUT;
}
// ANCHOR_END: no_free_instance

// CallNamedPipe waits once and then tries once. If somebody else is quicker, its caller has to call
// it again. Needs a call_limit, too.
inline outcome call_when_free(const std::wstring& name, const std::string& request, DWORD room) {
    const ULONGLONG end_ms = GetTickCount64() + connect_limit_ms;
    for (;;) {
        outcome got = call(name, request, room, free_wait_ms);
        if (!no_free_instance(got.error)) {
            return got;
        }
        if (GetTickCount64() >= end_ms) {
            throw std::runtime_error("the server has no free instance: " + ipc::to_utf8(name));
        }
    }
}

inline outcome call_within_limit(const std::wstring& name, const std::string& request, DWORD room) {
    const call_limit limit(connect_limit_ms + answer_limit_ms);
    return call_when_free(name, request, room);
}
