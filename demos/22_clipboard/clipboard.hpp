#pragma once

// The steps of the technique that both programs need: a window, a wait that serves it, the open
// clipboard, and one format into it and out of it. At the end: what was there before.

#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/stop.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace clipboard {

// A program needs the clipboard for some milliseconds. One that keeps it longer than this hangs, and
// so does an owner that does not answer.
constexpr DWORD open_limit_ms = 2'000;

// What the window procedures of this program work with. Not a pointer in GWLP_USERDATA: other programs
// of the user can change that (pair 21).
inline void*& window_state() {
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the system calls the procedures
    static void* state = nullptr;
    return state;
}

struct window_destroyer {
    using pointer = HWND;
    void operator()(HWND window) const noexcept {
        DestroyWindow(window);
        window_state() = nullptr;
    }
};
using unique_window = std::unique_ptr<HWND, window_destroyer>;

// Creates a window that is never shown: it only gets messages. Its procedure finds the state with
// state_of.
inline unique_window create_window(const wchar_t* class_name, const std::wstring& title,
                                   WNDPROC procedure, void* state) {
    WNDCLASSW window_class{};
    window_class.lpfnWndProc = procedure;
    window_class.hInstance = GetModuleHandleW(nullptr);
    window_class.lpszClassName = class_name;
    if (RegisterClassW(&window_class) == 0 && GetLastError() != ERROR_CLASS_ALREADY_EXISTS) {
        ipc::throw_last_error("RegisterClassW");
    }
    window_state() = state;
    // HWND_MESSAGE: a message-only window.
    unique_window window(CreateWindowExW(0, class_name, title.c_str(), 0, 0, 0, 0, 0, HWND_MESSAGE,
                                         nullptr, window_class.hInstance, nullptr));
    if (!window) {
        ipc::throw_last_error("CreateWindowExW");
    }
    return window;
}

template <typename State> State* state_of(HWND /*window*/) {
    return static_cast<State*>(window_state());
}

// Waits until an object is signaled or a message has come. Dispatches one message at the most, so
// that a flood of messages keeps nobody from an object or a limit.
inline DWORD serve_window(std::span<const HANDLE> objects, DWORD limit_ms) {
    const DWORD result = MsgWaitForMultipleObjectsEx(
        static_cast<DWORD>(objects.size()), objects.data(), limit_ms,
        QS_ALLINPUT,          // any message, also one that another program has sent
        MWMO_INPUTAVAILABLE); // also one that has come before
    if (result == WAIT_FAILED) {
        ipc::throw_last_error("MsgWaitForMultipleObjectsEx");
    }
    MSG message{};
    if (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) { // this call delivers sent messages, too
        DispatchMessageW(&message);
    }
    const bool is_over = limit_ms == 0 && result == WAIT_OBJECT_0 + objects.size();
    return is_over ? static_cast<DWORD>(WAIT_TIMEOUT) : result; // messages hide the time-out
}

// The same, and throws after Ctrl+C.
inline DWORD wait(std::vector<HANDLE> objects, DWORD limit_ms) {
    objects.push_back(ipc::ctrl_c_event());
    const DWORD result = serve_window(objects, limit_ms);
    if (result == WAIT_OBJECT_0 + objects.size() - 1) {
        throw std::runtime_error("stopped by Ctrl+C");
    }
    return result;
}

// Waits for a state that no object and no message tells of. Throws at the end of the limit.
template <typename Check>
void wait_until(Check is_reached, const ipc::deadline& end, const char* failure) {
    while (!is_reached()) {
        if (end.is_over()) {
            throw std::runtime_error(failure);
        }
        wait({}, std::min<DWORD>(end.left_ms(), 10));
    }
}

// The clipboard is open as long as this object lives, and every other window has to wait: read or
// write, and close. Use a window of this program, for reading, too: OpenClipboard keeps out only
// other windows, and does not keep two programs without a window apart.
class session {
public:
    explicit session(HWND window) {
        // ANCHOR: open
        const ipc::deadline end(open_limit_ms);
        while (!OpenClipboard(window)) {
            const DWORD error = GetLastError(); // ERROR_ACCESS_DENIED: another program has it open
            if (end.is_over()) {
                ipc::throw_error("OpenClipboard", error);
            }
            serve_window({}, 10); // not Sleep: the other program may wait for our window
        }
        // ANCHOR_END: open
    }
    ~session() { CloseClipboard(); } // on every way out
    session(const session&) = delete;
    session& operator=(const session&) = delete;
};

struct memory_freer {
    void operator()(void* memory) const noexcept { GlobalFree(memory); }
};

// Puts a format on the clipboard. It has to be open and owned, or to wait for a promised format.
inline void put(UINT format, std::span<const std::byte> content) {
    // ANCHOR: put
    std::unique_ptr<void, memory_freer> memory(GlobalAlloc(GMEM_MOVEABLE, content.size()));
    void* bytes = memory ? GlobalLock(memory.get()) : nullptr;
    if (bytes == nullptr) {
        ipc::throw_last_error("GlobalAlloc");
    }
    std::memcpy(bytes, content.data(), content.size());
    GlobalUnlock(memory.get());
    if (SetClipboardData(format, memory.get()) == nullptr) {
        ipc::throw_last_error("SetClipboardData"); // the memory is still ours: freed here
    }
    // Windows owns the memory now, and frees it when the clipboard changes: do not free it here.
    static_cast<void>(memory.release());
    // ANCHOR_END: put
}

// Promises a format: the window procedure of the owner has to render it.
inline void promise(UINT format) {
    SetClipboardData(format, nullptr); // returns null, also if it succeeds
    const DWORD error = GetLastError();
    if (!IsClipboardFormatAvailable(format)) {
        ipc::throw_error("SetClipboardData", error);
    }
}

inline std::span<const std::byte> bytes_of(const std::wstring& text) { // with its zero character
    return std::as_bytes(std::span(text.c_str(), text.size() + 1));
}

// Throws if the owner does not answer: it may have promised a format, and asking for it would wait
// until the owner renders it. Windows gives up after 30 seconds. Call it before the clipboard is
// open: the answer can take its time.
inline void require_answering_owner() {
    const HWND owner = GetClipboardOwner();
    DWORD_PTR unused = 0;
    SetLastError(ERROR_SUCCESS); // an owner that hangs sets no error
    if (owner != nullptr &&
        SendMessageTimeoutW(owner, WM_NULL, 0, 0, SMTO_ABORTIFHUNG, open_limit_ms, &unused) == 0 &&
        GetLastError() != ERROR_ACCESS_DENIED && // it runs as administrator: nobody can ask it
        IsWindow(owner)) {                       // else it has closed its window meanwhile
        throw std::runtime_error("the owner of the clipboard does not answer");
    }
}

// Returns a copy of a format, or nothing if it is not there or is longer than the limit. Its
// memory belongs to the clipboard, and may be larger than what its owner has put into it.
inline std::vector<std::byte> get(UINT format, std::size_t max_bytes) {
    // ANCHOR: get
    const HANDLE memory = GetClipboardData(format); // the clipboard's: never free it
    const SIZE_T size = memory != nullptr ? GlobalSize(memory) : 0;
    if (size == 0 || size > max_bytes) {
        return {};
    }
    const void* bytes = GlobalLock(memory);
    if (bytes == nullptr) {
        return {};
    }
    std::vector<std::byte> content(size);
    std::memcpy(content.data(), bytes, size);
    GlobalUnlock(memory);
    return content; // valid after CloseClipboard: the memory is not
    // ANCHOR_END: get
}

inline UINT registered(const wchar_t* name) {
    const UINT format = RegisterClipboardFormatW(name);
    if (format == 0) {
        ipc::throw_last_error("RegisterClipboardFormatW");
    }
    return format;
}

// What was on the clipboard before B: a demo gives it back. It is not part of the technique; a
// program that the user told to copy something just replaces the content.
using content = std::vector<std::pair<UINT, std::vector<std::byte>>>; // formats with their bytes

// Whether the format is memory of GlobalAlloc. The others are handles of the graphics system, or
// belong to the owner alone.
inline bool is_memory(UINT format) {
    constexpr UINT first_registered = 0xC000;
    return format >= first_registered ||
           (format <= CF_DIBV5 && format != CF_BITMAP && format != CF_METAFILEPICT &&
            format != CF_PALETTE && format != CF_ENHMETAFILE);
}

// Copies the content of the open clipboard. What cannot be copied has no bytes: a format that is no
// memory or is over 256 MiB, and what its owner has promised and does not render within the limit.
inline content copy_content() {
    constexpr std::size_t max_bytes = 256 * 1024 * 1024;
    const ipc::deadline end(open_limit_ms);
    content copies;
    UINT format = 0;
    while ((format = EnumClipboardFormats(format)) != 0) {
        const bool wanted = is_memory(format) && !end.is_over();
        copies.emplace_back(format, wanted ? get(format, max_bytes) : std::vector<std::byte>());
    }
    return copies;
}

// Returns the formats that are not on the clipboard, as "format 2, format 14". Call it when the
// clipboard is closed: Windows makes some formats from others, such as CF_BITMAP from CF_DIB.
inline std::string missing_formats(const content& copies) {
    std::string names;
    for (const auto& [format, bytes] : copies) {
        if (!IsClipboardFormatAvailable(format)) {
            names += (names.empty() ? "format " : ", format ") + std::to_string(format);
        }
    }
    return names;
}

} // namespace clipboard
