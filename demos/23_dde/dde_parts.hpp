#pragma once

// What both programs need around the DDEML calls: error texts, string handles, the text of a data handle, a
// limit for calls that have none, and the message loop.

#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <charconv>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

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

// Returns a string handle: the number of a text. The caller frees it with DdeFreeStringHandle.
inline HSZ create_string(DWORD instance, const std::wstring& text) {
    const HSZ handle = DdeCreateStringHandleW(instance, text.c_str(), CP_WINUNICODE);
    if (handle == nullptr) { // the text has more than 255 characters, for example
        throw_dde_error("DdeCreateStringHandleW", DdeGetLastError(instance));
    }
    return handle;
}

// Returns whether both are the same text. Service, topic and item names ignore upper and lower case.
inline bool is_same(HSZ left, HSZ right) {
    return DdeCmpStringHandles(left, right) == 0;
}

// Returns the text, or nothing if there is no terminating zero within the limit. The data come from another
// program, and the size is that of a memory block: it can be larger than what was sent.
inline std::optional<std::wstring> read_text(HDDEDATA data) {
    wchar_t text[protocol::max_text_length] = {};
    const DWORD bytes = DdeGetData(data, reinterpret_cast<BYTE*>(text), sizeof text, 0);
    const std::wstring_view received(text, bytes / sizeof(wchar_t));
    const std::size_t end = received.find(L'\0');
    if (end == std::wstring_view::npos) {
        return std::nullopt; // nothing, or no terminating zero, or too long
    }
    return std::wstring(received.substr(0, end));
}

// Returns the temperature that the data name, or nothing if they do not name one.
inline std::optional<int> read_temperature(HDDEDATA data) {
    const std::string text = ipc::to_utf8(read_text(data).value_or(L""));
    int value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end) {
        return std::nullopt;
    }
    return value;
}

constexpr DWORD exit_limit_ms = 5'000; // for the end of all conversations

// Ends this program with the line if it still lives at the end of the limit. DdeConnect and DdeUninitialize
// wait for windows of other programs, and nothing cancels them. So another thread watches the time.
class end_program_after {
public:
    end_program_after(DWORD limit_ms, const char* line) {
        if (!done_) {
            ipc::throw_last_error("CreateEventW");
        }
        watcher_ = std::jthread([done = done_.get(), limit_ms, line] {
            if (WaitForSingleObject(done, limit_ms) == WAIT_TIMEOUT) {
                try {
                    ipc::print_error_line("{}", line);
                } catch (...) { // nobody reads it; the program ends all the same
                }
                TerminateProcess(GetCurrentProcess(), 1);
            }
        });
    }
    ~end_program_after() { SetEvent(done_.get()); } // then waits for the thread's end
    end_program_after(const end_program_after&) = delete;
    end_program_after& operator=(const end_program_after&) = delete;

private:
    ipc::unique_handle done_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    std::jthread watcher_; // destroyed first
};

// Handles this thread's messages: DDEML calls the callback. Returns WAIT_OBJECT_0 when the handle
// is signaled (nullptr: no handle), WAIT_OBJECT_0 + 1 when done() is true, or WAIT_TIMEOUT.
inline DWORD run_messages(HANDLE handle, DWORD limit_ms, const std::function<bool()>& done) {
    const DWORD count = handle == nullptr ? 0 : 1;
    const ipc::deadline end(limit_ms);
    // ANCHOR: run_messages
    while (!done()) {
        if (end.is_over()) {
            return WAIT_TIMEOUT; // although there may be messages: a flood of them has no end
        }
        const DWORD result = MsgWaitForMultipleObjectsEx(count, &handle, end.left_ms(), QS_ALLINPUT,
                                                         MWMO_INPUTAVAILABLE);
        if (result == WAIT_FAILED) {
            ipc::throw_last_error("MsgWaitForMultipleObjectsEx");
        }
        if (result != WAIT_OBJECT_0 + count) {
            return result; // the handle, although there may be messages; or WAIT_TIMEOUT
        }
        MSG message;
        if (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) { // also handles what was sent
            DispatchMessageW(&message);
        }
    }
    // ANCHOR_END: run_messages
    return WAIT_OBJECT_0 + 1;
}
