// Ends a thread that is blocked in a synchronous call, such as a read from a silent pipe.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 cancel_blocking_call.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static cancel_blocking_call.cpp -o cancel_blocking_call.exe
// Run: cancel_blocking_call TIMES, which starts and ends that many threads

#include <windows.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <memory>
#include <system_error>

namespace {

struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// ANCHOR: cancel_blocking_call
// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// Ends a thread that reads, writes, opens or connects with synchronous calls. The thread must check
// stop before each such call and after each ERROR_OPERATION_ABORTED, and end if stop is true.
// Returns true when the thread has ended. Returns false after limit_ms milliseconds (INFINITE: no
// limit): then the thread does something that cannot be cancelled, such as a computation or a wait
// for an event, and everything that it uses must stay alive. The caller keeps the handle, which
// needs THREAD_TERMINATE and SYNCHRONIZE access, as CreateThread's has. Every thread may call this
// function, but not for itself. Throws std::system_error if a call fails.
bool end_blocked_thread(HANDLE thread, std::atomic<bool>& stop, DWORD limit_ms) {
    constexpr DWORD retry_ms = 10;
    const ULONGLONG start_tick = GetTickCount64();
    stop = true; // first: a thread whose call has been cancelled must see it
    for (;;) {
        // This cancels only a call that the thread is in at this moment. The thread may have checked
        // stop just before it was set, and be about to start its call: then the code is
        // ERROR_NOT_FOUND, and only another try helps.
        check(CancelSynchronousIo(thread) || GetLastError() != ERROR_ACCESS_DENIED,
              "CancelSynchronousIo");
        const DWORD waited = WaitForSingleObject(thread, retry_ms);
        check(waited != WAIT_FAILED, "WaitForSingleObject");
        if (waited == WAIT_OBJECT_0) {
            return true;
        }
        if (limit_ms != INFINITE && GetTickCount64() - start_tick >= limit_ms) {
            return false;
        }
    }
}
// ANCHOR_END: cancel_blocking_call

struct reader {
    unique_handle read_end;
    std::atomic<bool> stop = false;
    unique_handle about_to_read; // an event, only for wmain: to end the thread at a bad moment
};

DWORD WINAPI read_pipe(void* context) { // no exception may leave this function
    auto* self = static_cast<reader*>(context);
    char buffer[512];
    DWORD bytes = 0;
    while (!self->stop) {
        SetEvent(self->about_to_read.get());
        if (!ReadFile(self->read_end.get(), buffer, sizeof buffer, &bytes, nullptr) &&
            GetLastError() != ERROR_OPERATION_ABORTED) {
            return 1; // the pipe has ended
        }
    }
    return 0;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* rest = nullptr;
    const unsigned long times = argc == 2 ? std::wcstoul(argv[1], &rest, 10) : 0;
    if (times == 0 || *rest != L'\0') {
        std::fputs("usage: cancel_blocking_call TIMES\n", stderr);
        return 2;
    }
    for (unsigned long i = 0; i < times; ++i) {
        HANDLE ends[2] = {};
        check(CreatePipe(&ends[0], &ends[1], nullptr, 0), "CreatePipe");
        const unique_handle write_end(ends[1]); // silent: the read does not end by itself
        reader state;
        state.read_end.reset(ends[0]);
        state.about_to_read.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
        check(state.about_to_read != nullptr, "CreateEventW");
        const unique_handle thread(CreateThread(nullptr, 0, read_pipe, &state, 0, nullptr));
        check(thread != nullptr, "CreateThread");
        check(WaitForSingleObject(state.about_to_read.get(), 5'000) == WAIT_OBJECT_0, "the thread");
        Sleep(i % 2); // the thread is just before its read or, after a pause, in it
        if (!end_blocked_thread(thread.get(), state.stop, 5'000)) {
            std::fprintf(stderr, "thread %lu did not end\n", i + 1);
            std::_Exit(1); // a return would destroy what the thread uses
        }
    }
    std::printf("%lu threads were ended\n", times);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
