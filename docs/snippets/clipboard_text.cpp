// Puts text on the clipboard and reads it, also where other programs disturb.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 clipboard_text.cpp user32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static clipboard_text.cpp -o clipboard_text.exe
// Run: clipboard_text MS TEXT    puts TEXT
//      clipboard_text MS         prints the text

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace {

// ANCHOR: open_clipboard
[[noreturn]] void throw_error(const char* call, DWORD error = GetLastError()) {
    throw std::system_error(static_cast<int>(error), std::system_category(), call);
}

// The open clipboard. Other programs have to wait as long as this object lives, so keep it short. It
// opens with a window of its own: with a null window, OpenClipboard may let two programs in at
// once, and nobody owns what is put.
class open_clipboard {
public:
    explicit open_clipboard(DWORD limit_ms)
        : window_(CreateWindowExW(0, L"STATIC", L"", 0, 0, 0, 0, 0, HWND_MESSAGE, nullptr, nullptr,
                                  nullptr)) {
        if (window_ == nullptr) {
            throw_error("CreateWindowExW");
        }
        const DWORD error = open(limit_ms);
        if (error != ERROR_SUCCESS) {
            DestroyWindow(window_);
            throw_error("OpenClipboard", error);
        }
    }
    ~open_clipboard() {
        CloseClipboard();
        DestroyWindow(window_);
    }
    open_clipboard(const open_clipboard&) = delete;
    open_clipboard& operator=(const open_clipboard&) = delete;

private:
    DWORD open(DWORD limit_ms) const {
        const ULONGLONG start_ms = GetTickCount64();
        ULONGLONG gone_ms = 0;
        SetLastError(ERROR_ACCESS_DENIED); // OpenClipboard need not set it
        while (!OpenClipboard(window_)) {  // another program has it open, for some milliseconds
            const DWORD error = GetLastError();
            if (error != ERROR_ACCESS_DENIED || gone_ms >= limit_ms) {
                return error;
            }
            Sleep(10);
            gone_ms = GetTickCount64() - start_ms;
        }
        // The next calls may ask the owner for its data, and wait until it answers. A limit of 0, or
        // above MAXLONG, would be none.
        const HWND owner = GetClipboardOwner();
        const ULONGLONG left_ms = limit_ms > gone_ms ? limit_ms - gone_ms : 0;
        DWORD_PTR unused = 0;
        SetLastError(ERROR_SUCCESS); // an owner that hangs sets no error
        if (owner != nullptr &&
            SendMessageTimeoutW(owner, WM_NULL, 0, 0, SMTO_ABORTIFHUNG,
                                static_cast<UINT>(std::clamp<ULONGLONG>(left_ms, 1, MAXLONG)),
                                &unused) == 0 &&
            GetLastError() != ERROR_ACCESS_DENIED && // it has more rights: nobody can ask it
            IsWindow(owner)) {                       // else it has closed its window meanwhile
            CloseClipboard();
            return ERROR_TIMEOUT;
        }
        return ERROR_SUCCESS;
    }

    HWND window_;
};

// ANCHOR_END: open_clipboard

// ANCHOR: clipboard_text
struct memory_freer {
    void operator()(void* memory) const noexcept { GlobalFree(memory); }
};
struct memory_unlocker {
    void operator()(void* memory) const noexcept { GlobalUnlock(memory); }
};

// Replaces the content of the clipboard by the text. A zero character in the text ends what others
// paste. Not for a thread whose own window has promised a format. Throws std::system_error:
//   ERROR_ACCESS_DENIED  another program has kept the clipboard open for limit_ms milliseconds
//   ERROR_TIMEOUT        the program that has put the present content there does not answer
void put_text(const std::wstring& text, DWORD limit_ms) {
    const std::size_t bytes = (text.size() + 1) * sizeof(wchar_t); // with the zero character
    std::unique_ptr<void, memory_freer> memory(GlobalAlloc(GMEM_MOVEABLE, bytes));
    void* target = memory ? GlobalLock(memory.get()) : nullptr;
    if (target == nullptr) {
        throw_error("GlobalAlloc");
    }
    std::memcpy(target, text.c_str(), bytes);
    GlobalUnlock(memory.get());

    const open_clipboard open(limit_ms);
    if (!EmptyClipboard()) {
        throw_error("EmptyClipboard");
    }
    if (SetClipboardData(CF_UNICODETEXT, memory.get()) == nullptr) {
        throw_error("SetClipboardData"); // the memory is still ours
    }
    static_cast<void>(memory.release()); // it belongs to Windows now
}

// Returns the text on the clipboard, or nothing if there is none. Any program can have put it
// there: it may be large, and may have control characters. Throws as put_text does.
std::optional<std::wstring> get_text(DWORD limit_ms) {
    const open_clipboard open(limit_ms);
    // A format of other text (CF_TEXT) is converted by Windows.
    const HANDLE memory = GetClipboardData(CF_UNICODETEXT); // the clipboard's: never free it
    const auto* text =
        memory != nullptr ? static_cast<const wchar_t*>(GlobalLock(memory)) : nullptr;
    if (text == nullptr) {
        return std::nullopt; // there is none, or its owner could not render it
    }
    const std::unique_ptr<void, memory_unlocker> unlock(memory);
    return std::wstring(text, wcsnlen(text, GlobalSize(memory) / sizeof(wchar_t)));
}
// ANCHOR_END: clipboard_text

std::string to_utf8(const std::wstring& text) {
    const int length = static_cast<int>(text.size());
    const int bytes =
        WideCharToMultiByte(CP_UTF8, 0, text.data(), length, nullptr, 0, nullptr, nullptr);
    std::string result(static_cast<std::size_t>(bytes), '\0');
    WideCharToMultiByte(CP_UTF8, 0, text.data(), length, result.data(), bytes, nullptr, nullptr);
    return result;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* after_ms = nullptr;
    const DWORD limit_ms = argc >= 2 ? std::wcstoul(argv[1], &after_ms, 10) : 0;
    if (argc < 2 || argc > 3 || after_ms == argv[1] || *after_ms != L'\0') {
        std::fputs("usage: clipboard_text MS [TEXT]\n", stderr);
        return 2;
    }
    if (argc == 3) {
        put_text(argv[2], limit_ms);
        return 0;
    }
    const std::optional<std::wstring> text = get_text(limit_ms);
    if (!text) {
        std::fputs("there is no text on the clipboard\n", stderr);
        return 1;
    }
    const std::string bytes = to_utf8(*text);
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
