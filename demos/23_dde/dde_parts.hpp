#pragma once

// What both programs need around the DDEML calls: error texts, owners, the text of a data handle, and the
// message loop.

#include "common/error.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

// Returns "DMLERR_NOTPROCESSED (0x4009)". DDEML has its own codes: GetLastError and FormatMessageW do
// not know them.
inline std::string dde_error_text(UINT code) {
    constexpr const char* names[] = {"ADVACKTIMEOUT",       "BUSY",
                                     "DATAACKTIMEOUT",      "DLL_NOT_INITIALIZED",
                                     "DLL_USAGE",           "EXECACKTIMEOUT",
                                     "INVALIDPARAMETER",    "LOW_MEMORY",
                                     "MEMORY_ERROR",        "NOTPROCESSED",
                                     "NO_CONV_ESTABLISHED", "POKEACKTIMEOUT",
                                     "POSTMSG_FAILED",      "REENTRANCY",
                                     "SERVER_DIED",         "SYS_ERROR",
                                     "UNADVACKTIMEOUT",     "UNFOUND_QUEUE_ID"};
    char number[16];
    std::snprintf(number, sizeof number, "(0x%04X)", code);
    if (code < DMLERR_FIRST || code > DMLERR_LAST) {
        return std::string("error ") + number;
    }
    return std::string("DMLERR_") + names[code - DMLERR_FIRST] + " " + number;
}

[[noreturn]] inline void throw_dde_error(const std::string& call, UINT code) {
    throw std::runtime_error(call + " failed: " + dde_error_text(code));
}

// Owns a string handle. Handles that DDEML passes to the callback are not ours to free.
class string_handle {
public:
    string_handle(DWORD instance, const std::wstring& text)
        : instance_(instance),
          handle_(DdeCreateStringHandleW(instance, text.c_str(), CP_WINUNICODE)) {
        if (handle_ == nullptr) { // the text has more than 255 characters, for example
            throw_dde_error("DdeCreateStringHandleW", DdeGetLastError(instance));
        }
    }
    ~string_handle() { DdeFreeStringHandle(instance_, handle_); }
    string_handle(const string_handle&) = delete;
    string_handle& operator=(const string_handle&) = delete;

    HSZ get() const { return handle_; }

    // Whether both name the same text. Service, topic and item names ignore upper and lower case.
    bool matches(HSZ other) const { return DdeCmpStringHandles(handle_, other) == 0; }

private:
    DWORD instance_;
    HSZ handle_;
};

// Returns the text, or nothing if there is no terminating zero within the limit. The data come from
// another program, and the size is that of the memory block: it can be larger than what was sent.
inline std::optional<std::wstring> read_text(HDDEDATA data) {
    // ANCHOR: read_text
    DWORD bytes = 0;
    const BYTE* const begin = DdeAccessData(data, &bytes);
    if (begin == nullptr) {
        return std::nullopt; // an empty data handle
    }
    std::wstring text(std::min(bytes, protocol::max_data_bytes) / sizeof(wchar_t), L'\0');
    std::memcpy(text.data(), begin, text.size() * sizeof(wchar_t));
    DdeUnaccessData(data);
    const std::size_t end = text.find(L'\0');
    if (end == std::wstring::npos) {
        return std::nullopt; // no terminating zero, or too long
    }
    text.resize(end);
    return text;
    // ANCHOR_END: read_text
}

// Returns the temperature that the data name, or nothing if they do not name one.
inline std::optional<int> read_temperature(HDDEDATA data) {
    const std::string text = ipc::to_utf8(read_text(data).value_or(L""));
    int value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end || value < protocol::lowest_temperature ||
        value > protocol::highest_temperature) {
        return std::nullopt;
    }
    return value;
}

// Handles this thread's messages: inside of them, DDEML calls the callback. Returns WAIT_OBJECT_0 + i
// when handle number i is signaled, WAIT_OBJECT_0 + the number of handles when done() is true, or
// WAIT_TIMEOUT.
inline DWORD run_messages(const std::vector<HANDLE>& handles, DWORD limit_ms,
                          const std::function<bool()>& done) {
    const auto count = static_cast<DWORD>(handles.size());
    const ULONGLONG start_ms = GetTickCount64();
    const auto left_ms = [&]() -> DWORD {
        const ULONGLONG passed_ms = GetTickCount64() - start_ms;
        if (limit_ms == INFINITE) { // --limit 0: Ctrl+C ends the program
            return INFINITE;        // the same
        }
        return passed_ms < limit_ms ? limit_ms - static_cast<DWORD>(passed_ms) : 0;
    };
    // ANCHOR: run_messages
    while (!done()) {
        const DWORD wait_ms = left_ms();
        if (wait_ms == 0) {
            return WAIT_TIMEOUT; // although there may be messages: a flood of them has no end
        }
        const DWORD result = MsgWaitForMultipleObjectsEx(count, handles.data(), wait_ms,
                                                         QS_ALLINPUT, MWMO_INPUTAVAILABLE);
        if (result == WAIT_FAILED) {
            ipc::throw_last_error("MsgWaitForMultipleObjectsEx");
        }
        if (result != WAIT_OBJECT_0 + count) {
            return result; // a handle: it comes before the messages; or WAIT_TIMEOUT
        }
        MSG message;
        if (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) { // also handles what was sent
            DispatchMessageW(&message);
        }
    }
    return WAIT_OBJECT_0 + count;
    // ANCHOR_END: run_messages
}
