#pragma once

// What both processes of demo 21 agree on.

#include <windows.h>

#include <string>

namespace protocol {

// Class and name of the receiver's window. B finds the window by both.
constexpr auto window_class = L"ipc_demos.21.receiver";
constexpr auto window_name = L"ipc_demos.21.receiver";

// A number of our own for COPYDATASTRUCT::dwData: other programs send WM_COPYDATA, too.
constexpr ULONG_PTR text_identifier = 0x4950'4321;

// A message is a text in UTF-8 and a terminating zero, which counts. Each message costs its receiver
// this memory before the receiver can refuse it, so large data belong in a file mapping object.
constexpr DWORD max_message_bytes = 1024 * 1024;

// What the receiver answers. A window that knows nothing of this protocol answers 0.
constexpr LRESULT refused = 0;
constexpr LRESULT taken = 1;
constexpr LRESULT busy = 2; // the receiver has not taken the text: send it again a little later

// Returns the next receiver of this name, or nullptr. FindWindowW would not find a message-only window.
inline HWND find_receiver(const std::wstring& name, HWND after = nullptr) {
    return FindWindowExW(HWND_MESSAGE, after, window_class, name.c_str());
}

} // namespace protocol
