// Waits for the end of a process or for an event, whichever comes first, within a limit.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 wait_process_or_event.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static wait_process_or_event.cpp -o wait_process_or_event.exe
// Run: wait_process_or_event PROCESS_ID EVENT_NAME LIMIT_MS

#include <windows.h>

#include <cstdio>
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

// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// ANCHOR: wait_process_or_event
enum class wait_result { event_set, process_ended, limit_over };

// Waits until the event is set or the process has ended, for up to limit_ms milliseconds (INFINITE:
// no limit, 0: no wait). If both have happened, the result is event_set: so a process can set the
// event as its last act, and counts as done and not as dead. The wait resets an auto-reset event.
// Both handles need SYNCHRONIZE access, stay the caller's, and must stay open until the return.
// Several threads may wait at once. Throws std::system_error if the wait fails.
wait_result wait_process_or_event(HANDLE process, HANDLE event, DWORD limit_ms) {
    const HANDLE objects[] = {event, process}; // of several that are signalled, the first counts
    const DWORD waited = WaitForMultipleObjects(2, objects, FALSE /* any of them */, limit_ms);
    switch (waited) {
    case WAIT_OBJECT_0: return wait_result::event_set;
    case WAIT_OBJECT_0 + 1: return wait_result::process_ended;
    case WAIT_TIMEOUT: return wait_result::limit_over;
    default: break; // WAIT_FAILED. Only a mutex can be abandoned.
    }
    throw std::system_error(static_cast<int>(GetLastError()), std::system_category(),
                            "WaitForMultipleObjects");
}
// ANCHOR_END: wait_process_or_event

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* after_id = nullptr;
    wchar_t* after_limit = nullptr;
    const DWORD id = argc == 4 ? std::wcstoul(argv[1], &after_id, 10) : 0;
    const DWORD limit_ms = argc == 4 ? std::wcstoul(argv[3], &after_limit, 10) : 0;
    if (id == 0 || *after_id != L'\0' || after_limit == argv[3] || *after_limit != L'\0') {
        std::fputs("usage: wait_process_or_event PROCESS_ID EVENT_NAME LIMIT_MS\n", stderr);
        return 2;
    }
    // PROCESS_QUERY_LIMITED_INFORMATION is for GetExitCodeProcess. A parent need not open its child:
    // CreateProcessW returns a handle, and only a handle keeps the id from being used again.
    const unique_handle process(
        OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    check(process != nullptr, "OpenProcess");
    const unique_handle event(OpenEventW(SYNCHRONIZE, FALSE, argv[2]));
    check(event != nullptr, "OpenEventW");
    DWORD exit_code = 0;
    switch (wait_process_or_event(process.get(), event.get(), limit_ms)) {
    case wait_result::event_set: std::puts("the event was set"); return 0;
    case wait_result::limit_over: std::puts("neither happened within the limit"); return 1;
    case wait_result::process_ended: break;
    }
    check(GetExitCodeProcess(process.get(), &exit_code), "GetExitCodeProcess");
    std::printf("the process ended with exit code %lu\n", exit_code);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
