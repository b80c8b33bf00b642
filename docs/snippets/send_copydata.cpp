// Sends a text to a window of another program with WM_COPYDATA, within a time limit.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 send_copydata.cpp user32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static send_copydata.cpp -o send_copydata.exe
// Run: send_copydata CLASS NAME IDENTIFIER TEXT MS

#include <windows.h>

#include <algorithm>
#include <cstdio>
#include <cwchar>
#include <string>
#include <system_error>

namespace {

// ANCHOR: send_text
// Returns a window with this class and this title, or nullptr: first a top-level window, then
// a message-only one. Class names and titles are not unique, and any program can choose
// yours. Windows of other sessions and desktops, such as those of services, are not found.
HWND find_window(const std::wstring& class_name, const std::wstring& title) {
    const HWND found = FindWindowW(class_name.c_str(), title.c_str());
    return found != nullptr
               ? found
               : FindWindowExW(HWND_MESSAGE, nullptr, class_name.c_str(), title.c_str());
}

// Sends the text, with its terminating zero, and returns the answer of the window's program. What
// the answer and the identifier (dwData) mean is that program's choice; a window that does not know
// WM_COPYDATA answers 0. sender: a window of your own, or nullptr; some programs want one. The limit
// is 1 ms to 24 days. While the function waits, Windows delivers messages that other programs send
// to windows of this thread. Throws std::system_error with one of these codes:
//   ERROR_TIMEOUT                 no answer within the limit, or the program hangs; it may still
//                                 get the text, so sending again may double it
//   ERROR_INVALID_WINDOW_HANDLE   the window does not exist, or its program ended before it answered
//   ERROR_ACCESS_DENIED           the program runs at a higher integrity level (UIPI)
//   any other code                why SendMessageTimeoutW failed
LRESULT send_text(HWND window, ULONG_PTR identifier, std::wstring text, DWORD limit_ms,
                  HWND sender = nullptr) {
    if (text.size() >= MAXDWORD / sizeof(wchar_t)) {
        throw std::system_error(ERROR_INVALID_PARAMETER, std::system_category(), "send_text");
    }
    COPYDATASTRUCT data{};
    data.dwData = identifier;
    data.cbData = static_cast<DWORD>((text.size() + 1) * sizeof(wchar_t)); // bytes, with the zero
    data.lpData = text.data(); // Windows copies it for the receiver
    DWORD_PTR answer = 0;
    SetLastError(ERROR_SUCCESS); // a time-out need not set a code
    const LRESULT sent = SendMessageTimeoutW(
        window, WM_COPYDATA, reinterpret_cast<WPARAM>(sender), reinterpret_cast<LPARAM>(&data),
        SMTO_ABORTIFHUNG | SMTO_ERRORONEXIT,     // not only at the limit: if it hangs or ends
        std::clamp<DWORD>(limit_ms, 1, MAXLONG), // 0: no limit; more than MAXLONG: over at once
        &answer);
    DWORD error = GetLastError();
    if (sent == 0) {
        error = error == ERROR_SUCCESS ? ERROR_TIMEOUT : error;
        if (!IsWindow(window)) { // no document says which code a window that ends meanwhile gives
            error = ERROR_INVALID_WINDOW_HANDLE;
        }
        throw std::system_error(static_cast<int>(error), std::system_category(),
                                "SendMessageTimeoutW");
    }
    return static_cast<LRESULT>(answer);
}
// ANCHOR_END: send_text

bool read_number(const wchar_t* text, unsigned long& number) {
    wchar_t* end = nullptr;
    number = std::wcstoul(text, &end, 10);
    return *text >= L'0' && *text <= L'9' && *end == L'\0'; // wcstoul takes "-1", too
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    unsigned long identifier = 0;
    unsigned long ms = 0;
    if (argc != 6 || !read_number(argv[3], identifier) || !read_number(argv[5], ms)) {
        std::fputs("usage: send_copydata CLASS NAME IDENTIFIER TEXT MS\n", stderr);
        return 2;
    }
    const HWND window = find_window(argv[1], argv[2]);
    if (window == nullptr) {
        std::puts("no such window");
        return 1;
    }
    const LRESULT answer = send_text(window, identifier, argv[4], ms);
    std::printf("the answer: %ld\n", static_cast<long>(answer));
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
