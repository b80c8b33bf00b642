// Ends a program in an orderly way at Ctrl+C, at Ctrl+Break and when its console is closed.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 end_at_ctrl_c.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static end_at_ctrl_c.cpp -o end_at_ctrl_c.exe
// Run: end_at_ctrl_c LIMIT_MS, and press Ctrl+C before the limit is over

#include <windows.h>

#include <cstdio>
#include <cwchar>
#include <system_error>

namespace {

// ANCHOR: end_at_ctrl_c
// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

BOOL WINAPI on_control(DWORD control);

// Returns a manual-reset event. From the first call on, Ctrl+C, Ctrl+Break and the closing of the
// console set the event and no longer end the program: its wmain must wait for the event, clean up
// and return. There is no time limit after Ctrl+C. After the console was closed, Windows ends the
// program within about 5 seconds, even if it has not finished. The event stays open and set to the
// end of the program. Every thread may call this function. Throws std::system_error if a call
// fails. At log-off and shut-down, Windows promises a notice to services only.
HANDLE end_event() {
    static const HANDLE event = [] {
        const HANDLE created = CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr);
        check(created != nullptr, "CreateEventW");
        // A parent can pass on "ignore Ctrl+C", which the arguments nullptr, FALSE undo.
        check(SetConsoleCtrlHandler(nullptr, FALSE), "SetConsoleCtrlHandler");
        check(SetConsoleCtrlHandler(on_control, TRUE), "SetConsoleCtrlHandler");
        return created;
    }();
    return event;
}

// Windows calls this function on a thread of its own. So it sets the event and does nothing else.
BOOL WINAPI on_control(DWORD control) {
    if (control == CTRL_LOGOFF_EVENT) {
        return TRUE; // a service gets it when any user logs off: no reason to end
    }
    SetEvent(end_event());
    if (control != CTRL_C_EVENT && control != CTRL_BREAK_EVENT) {
        // After a return, Windows would end the program at once, in the middle of its clean-up.
        // This wait ends with the program: when wmain returns, or when Windows loses its patience.
        Sleep(INFINITE);
    }
    return TRUE; // or Windows would end the program
}
// ANCHOR_END: end_at_ctrl_c

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* rest = nullptr;
    const DWORD limit_ms = argc == 2 ? std::wcstoul(argv[1], &rest, 10) : 0;
    if (limit_ms == 0 || *rest != L'\0') {
        std::fputs("usage: end_at_ctrl_c LIMIT_MS\n", stderr);
        return 2;
    }
    const HANDLE end = end_event();
    std::puts("working");
    std::fflush(stdout);
    const DWORD waited = WaitForSingleObject(end, limit_ms); // a real program waits for work, too
    check(waited != WAIT_FAILED, "WaitForSingleObject");
    std::puts("cleaning up");
    std::puts(waited == WAIT_OBJECT_0 ? "ended by request" : "ended by the limit");
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
