#pragma once

#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/security.hpp"

#include <windows.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

// What the service and its clients agree on. A message holds one request or one reply: 0 to
// max_message_bytes bytes of any value. A client reads the reply before it sends the next request,
// and closes its handle to leave. The server disconnects a client that sends a longer message.
namespace protocol {

constexpr DWORD max_message_bytes = 1024 * 1024;

// What a client may do with the pipe: read, write and set its read mode. GENERIC_WRITE has one right
// more: FILE_APPEND_DATA, which has the same value as FILE_CREATE_PIPE_INSTANCE.
constexpr DWORD client_access =
    FILE_GENERIC_READ | (FILE_GENERIC_WRITE & ~static_cast<DWORD>(FILE_CREATE_PIPE_INSTANCE));

inline std::wstring service_name(const std::wstring& suffix) {
    return ipc::object_name(L"ipc_demos.15.requests", suffix);
}

// The service names its pipe after itself, because its ServiceMain gets no other name.
inline std::wstring pipe_name(const std::wstring& service) {
    return L"\\\\.\\pipe\\" + service;
}

// Turns the request into its reply: the same bytes, with ASCII letters in upper case.
inline void make_reply(std::span<char> message) {
    std::ranges::transform(message, message.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

} // namespace protocol

// Owns a handle of the service control manager, which CloseHandle cannot close.
struct service_closer {
    void operator()(SC_HANDLE handle) const { CloseServiceHandle(handle); }
};
using service_handle = std::unique_ptr<std::remove_pointer_t<SC_HANDLE>, service_closer>;

inline SERVICE_STATUS_PROCESS query_status(const service_handle& service) {
    SERVICE_STATUS_PROCESS status{};
    DWORD needed = 0;
    if (!QueryServiceStatusEx(service.get(), SC_STATUS_PROCESS_INFO,
                              reinterpret_cast<BYTE*>(&status), sizeof status, &needed)) {
        ipc::throw_last_error("QueryServiceStatusEx");
    }
    return status;
}

// Looks every 50 ms, until the condition is true or limit_ms milliseconds have passed. Returns whether
// the condition is true.
inline bool poll_until(DWORD limit_ms, const std::function<bool()>& condition) {
    constexpr DWORD poll_ms = 50;
    const ipc::deadline end(limit_ms);
    while (!condition()) {
        if (end.is_over()) {
            return false;
        }
        Sleep(poll_ms); // orders nothing: each look decides alone
    }
    return true;
}
