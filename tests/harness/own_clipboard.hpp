#pragma once

// A clipboard for tests, so that they neither change the user's nor meet the programs that watch it: each window
// station has one, and a test can have a station. Tests with this header have the CTest property RESOURCE_LOCK
// clipboard: an ordinary user gets one station, and all tests share it.

#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ipc::test {

// As long as this object lives, its thread is on a desktop of the station, and start() starts programs there.
// Throws std::runtime_error if the system gives no station.
// https://learn.microsoft.com/windows/win32/winstation/window-stations
class own_clipboard {
public:
    own_clipboard() {
        // Two build folders have the same station.
        const DWORD turn = turn_ ? WaitForSingleObject(turn_.get(), default_limit_ms) : WAIT_FAILED;
        if (turn != WAIT_OBJECT_0 && turn != WAIT_ABANDONED_0) {
            throw std::runtime_error("other tests keep the clipboard: " + std::to_string(turn));
        }
        try {
            enter();
        } catch (...) {
            leave();
            throw;
        }
    }
    ~own_clipboard() {
        empty();
        leave();
    }
    own_clipboard(const own_clipboard&) = delete;
    own_clipboard& operator=(const own_clipboard&) = delete;

    // The options for a program that has to use this clipboard.
    start_options here(start_options options = {}) const {
        std::array<wchar_t, 256> name{};
        DWORD needed = 0;
        if (!GetUserObjectInformationW(station_, UOI_NAME, name.data(), sizeof name, &needed)) {
            throw std::runtime_error("a station without a name");
        }
        options.desktop = std::wstring(name.data()) + L"\\ipc_demos";
        return options;
    }

private:
    [[noreturn]] static void fail(const char* call) {
        throw std::runtime_error(std::string(call) + ": " + std::to_string(GetLastError()));
    }
    void enter() {
        // Without a name: only administrators may choose one. Windows names it after the log-on session.
        station_ = CreateWindowStationW(nullptr, 0, MAXIMUM_ALLOWED, nullptr);
        if (station_ == nullptr) {
            fail("CreateWindowStationW");
        }
        if (!SetProcessWindowStation(station_)) {
            fail("SetProcessWindowStation");
        }
        // CreateDesktopW makes it in the station of this process.
        desktop_ = CreateDesktopW(L"ipc_demos", nullptr, nullptr, 0, GENERIC_ALL, nullptr);
        if (desktop_ == nullptr || !SetThreadDesktop(desktop_)) {
            fail("CreateDesktopW, SetThreadDesktop");
        }
        // A station that exists already may not give its clipboard to this process.
        for (int tries = 0; !empty(); ++tries) {
            if (tries == 200) {
                fail("OpenClipboard");
            }
            Sleep(10);
        }
    }
    static bool empty() {
        if (!OpenClipboard(nullptr)) {
            return false;
        }
        EmptyClipboard();
        CloseClipboard();
        return true;
    }
    void leave() noexcept {
        SetProcessWindowStation(former_station_);
        SetThreadDesktop(former_desktop_);
        if (desktop_ != nullptr) {
            CloseDesktop(desktop_);
        }
        if (station_ != nullptr) {
            CloseWindowStation(station_);
        }
        ReleaseMutex(turn_.get());
    }

    unique_handle turn_{CreateMutexW(nullptr, FALSE, L"Local\\ipc_demos.tests.clipboard")};
    HWINSTA former_station_ = GetProcessWindowStation();
    HDESK former_desktop_ = GetThreadDesktop(GetCurrentThreadId());
    HWINSTA station_ = nullptr;
    HDESK desktop_ = nullptr;
};

// Returns nothing if the system gives no station, and says why in the text.
inline std::unique_ptr<own_clipboard> try_own_clipboard(std::string& why_not) {
    try {
        return std::make_unique<own_clipboard>();
    } catch (const std::runtime_error& error) {
        why_not = std::string("this user gets no clipboard for tests: ") + error.what();
        return nullptr;
    }
}

// A message-only window of the test, which does nothing.
class plain_window {
public:
    explicit plain_window(const wchar_t* title = L"", const wchar_t* class_name = L"STATIC")
        : window_(CreateWindowExW(0, class_name, title, 0, 0, 0, 0, 0, HWND_MESSAGE, nullptr,
                                  nullptr, nullptr)) {
        if (window_ == nullptr) {
            throw std::runtime_error("no window: " + std::to_string(GetLastError()));
        }
    }
    ~plain_window() { DestroyWindow(window_); }
    plain_window(const plain_window&) = delete;
    plain_window& operator=(const plain_window&) = delete;
    HWND get() const { return window_; }

private:
    HWND window_;
};

// The open clipboard. The constructor waits until no other window has it open.
class open_clipboard {
public:
    open_clipboard() : own_window_(std::make_unique<plain_window>()) { open(own_window_->get()); }
    explicit open_clipboard(HWND window) { open(window); }
    ~open_clipboard() { CloseClipboard(); }
    open_clipboard(const open_clipboard&) = delete;
    open_clipboard& operator=(const open_clipboard&) = delete;

private:
    static void open(HWND window) {
        for (DWORD tries = 0; !OpenClipboard(window); ++tries) {
            if (tries == default_limit_ms / 10) {
                throw std::runtime_error("OpenClipboard: " + std::to_string(GetLastError()));
            }
            Sleep(10);
        }
    }

    std::unique_ptr<plain_window> own_window_;
};

using clipboard_format = std::pair<UINT, std::vector<std::byte>>;

template <typename Content> std::vector<std::byte> bytes_of(const Content& content) {
    const auto bytes = std::as_bytes(std::span(content));
    return {bytes.begin(), bytes.end()};
}

// Puts one more format on the open clipboard.
inline bool put_format(UINT format, const std::vector<std::byte>& content) {
    const HGLOBAL memory = GlobalAlloc(GMEM_MOVEABLE, content.size());
    void* bytes = GlobalLock(memory);
    std::memcpy(bytes, content.data(), content.size());
    GlobalUnlock(memory);
    return SetClipboardData(format, memory) != nullptr;
}

// Replaces the content of the clipboard, for a window of this thread.
inline void replace_content(HWND window, const std::vector<clipboard_format>& formats) {
    const open_clipboard open(window);
    EmptyClipboard();
    for (const auto& [format, content] : formats) {
        if (!put_format(format, content)) {
            throw std::runtime_error("SetClipboardData: " + std::to_string(GetLastError()));
        }
    }
}

// Returns a format of the clipboard, or nothing.
inline std::vector<std::byte> read_format(UINT format) {
    const open_clipboard open;
    const HANDLE memory = GetClipboardData(format);
    const auto* bytes =
        memory == nullptr ? nullptr : static_cast<const std::byte*>(GlobalLock(memory));
    if (bytes == nullptr) {
        return {};
    }
    std::vector<std::byte> content(bytes, bytes + GlobalSize(memory));
    GlobalUnlock(memory);
    return content;
}

} // namespace ipc::test
