#pragma once

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"

#include <windows.h>

#include <algorithm>
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

// Windows calls it on the waiting thread, whose SleepEx then returns.
inline void CALLBACK note_change(void* notice) {
    *static_cast<bool*>(static_cast<SERVICE_NOTIFYW*>(notice)->pContext) = false;
}

// Waits up to limit_ms milliseconds until the service is in one of the states, a mask such as
// SERVICE_NOTIFY_RUNNING | SERVICE_NOTIFY_STOPPED. Returns the last status, which after the limit has
// another state. Closes the handle.
inline SERVICE_STATUS_PROCESS wait_for_state(service_handle service, DWORD states, DWORD limit_ms) {
    constexpr ULONGLONG look_again_ms = 500; // also if no notification comes
    const ULONGLONG start_ms = GetTickCount64();
    bool is_pending = false;
    bool was_reached = false;
    SERVICE_NOTIFYW notice{};
    // Closing the handle cancels the notification. One that is queued already comes now, and not in
    // a later wait, when notice is gone.
    const ipc::scope_exit cancel([&] {
        service.reset();
        SleepEx(0, TRUE); // does not wait
    });
    for (;;) {
        const SERVICE_STATUS_PROCESS status = query_status(service);
        const ULONGLONG waited_ms = GetTickCount64() - start_ms;
        const bool is_reached = (states & (1u << (status.dwCurrentState - SERVICE_STOPPED))) != 0;
        // While the notification of this state is on its way, there is nothing to cancel: wait for it.
        if ((is_reached && (!is_pending || was_reached)) || waited_ms >= limit_ms) {
            return status;
        }
        was_reached = is_reached;
        if (notice.dwVersion == 0) { // the first look; if this fails, look_again_ms is left
            notice.dwVersion = SERVICE_NOTIFY_STATUS_CHANGE;
            notice.pfnNotifyCallback = note_change;
            notice.pContext = &is_pending;
            is_pending =
                NotifyServiceStatusChangeW(service.get(), states, &notice) == ERROR_SUCCESS;
        }
        // TRUE, alertable: otherwise Windows would not call note_change.
        SleepEx(static_cast<DWORD>(std::min(limit_ms - waited_ms, look_again_ms)), TRUE);
    }
}
