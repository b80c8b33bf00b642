#pragma once

// The steps of the technique that both programs need: a window, a wait that serves it, the open
// clipboard, and one format into it and out of it. At the end: what was there before.

#include "common/error.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace clipboard {

// A program needs the clipboard for some milliseconds. One that keeps it longer than this hangs, and
// so does an owner that does not answer.
constexpr DWORD open_limit_ms = 2'000;

// The end of a time limit that several waits share. There may be none (--limit 0).
class deadline {
public:
    explicit deadline(DWORD limit_ms) : limit_ms_(limit_ms) {}
    DWORD left_ms() const {
        const ULONGLONG gone_ms = GetTickCount64() - start_ms_;
        if (limit_ms_ == INFINITE) { // --limit 0: Ctrl+C ends the waits
            return limit_ms_;
        }
        return gone_ms < limit_ms_ ? static_cast<DWORD>(limit_ms_ - gone_ms) : 0;
    }

private:
    DWORD limit_ms_;
    ULONGLONG start_ms_ = GetTickCount64();
};

struct window_destroyer {
    using pointer = HWND;
    void operator()(HWND window) const noexcept { DestroyWindow(window); }
};
using unique_window = std::unique_ptr<HWND, window_destroyer>;

// Creates a window that is never shown: it only gets messages. Its procedure finds the state with
// state_of.
inline unique_window create_window(const wchar_t* class_name, const std::wstring& title,
                                   WNDPROC procedure, void* state) {
    WNDCLASSEXW window_class{};
    window_class.cbSize = sizeof window_class;
    window_class.lpfnWndProc = procedure;
    window_class.hInstance = GetModuleHandleW(nullptr);
    window_class.lpszClassName = class_name;
    if (RegisterClassExW(&window_class) == 0 && GetLastError() != ERROR_CLASS_ALREADY_EXISTS) {
        ipc::throw_last_error("RegisterClassExW");
    }
    unique_window window(CreateWindowExW(0, class_name, title.c_str(), 0, 0, 0, 0, 0,
                                         HWND_MESSAGE, // a message-only window
                                         nullptr, window_class.hInstance, nullptr));
    if (!window) {
        ipc::throw_last_error("CreateWindowExW");
    }
    SetWindowLongPtrW(window.get(), GWLP_USERDATA, reinterpret_cast<LONG_PTR>(state));
    return window;
}

template <typename State> State* state_of(HWND window) {
    return reinterpret_cast<State*>(GetWindowLongPtrW(window, GWLP_USERDATA));
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
    return result;
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

// Returns the name of the program that has this window.
inline std::string program_of(HWND window) {
    DWORD id = 0;
    GetWindowThreadProcessId(window, &id); // a null or destroyed window leaves 0
    const ipc::unique_handle process(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    std::wstring path(32'768, L'\0');
    auto length = static_cast<DWORD>(path.size());
    if (!process || !QueryFullProcessImageNameW(process.get(), 0, path.data(), &length)) {
        return id == 0 ? "a program without a window" : "process " + std::to_string(id);
    }
    path.resize(length);
    return ipc::to_utf8(std::filesystem::path(path).filename().wstring());
}

// The clipboard is open as long as this object lives, and every other window has to wait: read or
// write, and close. Use a window of this program, for reading, too: two programs that open the
// clipboard without a window both succeed, and the first one that closes it closes it for both.
class session {
public:
    explicit session(HWND window) {
        // ANCHOR: open
        const deadline end(open_limit_ms);
        while (!OpenClipboard(window)) {
            const DWORD error = GetLastError();
            if (error != ERROR_ACCESS_DENIED) { // else another program has it open
                ipc::throw_error("OpenClipboard", error);
            }
            if (end.left_ms() == 0) {
                throw std::runtime_error("the clipboard is in use by " +
                                         program_of(GetOpenClipboardWindow()));
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
    // Windows owns the memory now, and frees it when the clipboard changes.
    [[maybe_unused]] const void* given_away = memory.release();
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

// Throws if the owner does not answer: it may have promised the format, and asking for it would
// wait until the owner renders it. Windows gives up after 30 seconds.
inline void require_answering_owner() {
    const HWND owner = GetClipboardOwner();
    DWORD_PTR unused = 0;
    if (owner != nullptr &&
        SendMessageTimeoutW(owner, WM_NULL, 0, 0, SMTO_ABORTIFHUNG, open_limit_ms, &unused) == 0) {
        const DWORD error = GetLastError();
        // It has closed its window, or runs as administrator, and then nobody can ask.
        if (error != ERROR_INVALID_WINDOW_HANDLE && error != ERROR_ACCESS_DENIED) {
            throw std::runtime_error("the owner of the clipboard does not answer: " +
                                     program_of(owner));
        }
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

// Reads the start of a format. Throws if there is less.
template <typename Content> Content content_of(const std::vector<std::byte>& bytes) {
    static_assert(std::is_trivially_copyable_v<Content>);
    Content content{};
    if (bytes.size() < sizeof content) {
        throw std::runtime_error("a format is missing, or has a wrong length");
    }
    std::memcpy(&content, bytes.data(), sizeof content);
    return content;
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
class former_content {
public:
    // Copies what can be copied. The clipboard is open. A format that its owner has promised is
    // rendered for that.
    void save() {
        UINT format = 0;
        while ((format = next_format(format)) != 0) {
            std::vector<std::byte> content;
            if (is_memory(format)) {
                content = get(format, max_bytes);
            }
            if (content.empty()) {
                lost_.push_back(format);
            } else {
                saved_.emplace_back(format, std::move(content));
            }
        }
        // Windows makes these two from the picture that was saved.
        if (has(CF_DIB) || has(CF_DIBV5)) {
            std::erase(lost_, static_cast<UINT>(CF_BITMAP));
            std::erase(lost_, static_cast<UINT>(CF_PALETTE));
        }
    }

    // Puts the copies back. The clipboard is open, and empty.
    void restore() const {
        for (const auto& [format, content] : saved_) {
            put(format, content);
        }
    }

    // Returns "CF_BITMAP, CF_ENHMETAFILE", or an empty text if everything could be copied.
    std::string lost() const {
        std::string names;
        for (const UINT format : lost_) {
            names += (names.empty() ? "" : ", ") + name_of(format);
        }
        return names;
    }

private:
    static constexpr std::size_t max_bytes = 256 * 1024 * 1024; // of one format

    static UINT next_format(UINT format) {
        SetLastError(ERROR_SUCCESS); // 0 is the end, and it is a failure
        const UINT next = EnumClipboardFormats(format);
        if (next == 0 && GetLastError() != ERROR_SUCCESS) {
            ipc::throw_last_error("EnumClipboardFormats");
        }
        return next;
    }

    // Whether the format is memory of GlobalAlloc. The others are handles of the graphics system,
    // or belong to the owner alone.
    static bool is_memory(UINT format) {
        switch (format) {
        case CF_BITMAP:
        case CF_METAFILEPICT:
        case CF_PALETTE:
        case CF_ENHMETAFILE: return false;
        default: return format <= CF_DIBV5 || format >= first_registered;
        }
    }

    static std::string name_of(UINT format) {
        switch (format) {
        case CF_BITMAP: return "CF_BITMAP";
        case CF_METAFILEPICT: return "CF_METAFILEPICT";
        case CF_PALETTE: return "CF_PALETTE";
        case CF_ENHMETAFILE: return "CF_ENHMETAFILE";
        case CF_OWNERDISPLAY: return "CF_OWNERDISPLAY";
        default: break;
        }
        wchar_t name[256] = L"";
        return GetClipboardFormatNameW(format, name, 256) > 0 ? ipc::to_utf8(name)
                                                              : "format " + std::to_string(format);
    }

    bool has(UINT format) const {
        return std::ranges::any_of(saved_, [&](const auto& one) { return one.first == format; });
    }

    static constexpr UINT first_registered = 0xC000;

    std::vector<std::pair<UINT, std::vector<std::byte>>> saved_;
    std::vector<UINT> lost_;
};

} // namespace clipboard
