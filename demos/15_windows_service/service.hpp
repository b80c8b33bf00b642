#pragma once

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "pipe_server.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <sddl.h>

#include <exception>
#include <string>

// The service itself: what runs in the process that the service control manager (SCM) starts. In the
// order of the calls: run_service gives this process to the SCM, service_main does the work,
// handle_control gets the controls, and report says the state.

struct service_state {
    SERVICE_STATUS_HANDLE handle = nullptr;
    SERVICE_STATUS status{};
    ipc::unique_handle stop; // an event
};

// ANCHOR: handler
// Windows calls it on the thread of StartServiceCtrlDispatcherW, and the SCM waits until it returns. So
// it only sets an event. The thread of service_main reports all states: no report can overtake
// another one.
inline DWORD WINAPI handle_control(DWORD control, DWORD, void*, void* context) {
    switch (control) {
    case SERVICE_CONTROL_STOP:
    case SERVICE_CONTROL_SHUTDOWN:
        SetEvent(static_cast<service_state*>(context)->stop.get());
        return NO_ERROR;
    case SERVICE_CONTROL_INTERROGATE: return NO_ERROR; // the SCM has the last report
    default: return ERROR_CALL_NOT_IMPLEMENTED;
    }
}
// ANCHOR_END: handler

// ANCHOR: report
// While a state is pending, each report counts the checkpoint up. If the checkpoint stays the same for
// longer than the wait hint, services.msc and other tools say that the service hangs.
inline void report(service_state& service, DWORD state, DWORD failure = 0) {
    constexpr DWORD hint_ms = 2'000;
    const bool is_pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    SERVICE_STATUS& status = service.status;
    status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    status.dwCurrentState = state;
    status.dwControlsAccepted =
        state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0;
    status.dwWin32ExitCode = failure == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    status.dwServiceSpecificExitCode = failure;
    status.dwCheckPoint = is_pending ? status.dwCheckPoint + 1 : 0;
    status.dwWaitHint = is_pending ? hint_ms : 0;
    if (!SetServiceStatus(service.handle, &status)) {
        ExitProcess(GetLastError()); // without reports, the SCM can only see the process end
    }
}
// ANCHOR_END: report

// The Event Viewer shows it under Windows Logs, Application. A service has no screen.
inline void write_log(const std::wstring& service, WORD type, const std::string& text) {
    const HANDLE log = RegisterEventSourceW(nullptr, service.c_str());
    if (log != nullptr) { // a service without a log still serves
        const std::wstring wide = ipc::to_utf16(text);
        const wchar_t* strings[] = {wide.c_str()};
        ReportEventW(log, type, 0, 1 /* event id */, nullptr, 1, 0, strings, nullptr);
        DeregisterEventSource(log);
    }
}

// Returns the SID of this service, which no other service has. If the token of this process does not
// hold it, as under Wine, no descriptor can use it: then returns LocalService.
inline std::wstring own_sid(const std::wstring& service) {
    const std::wstring account = L"NT SERVICE\\" + service;
    BYTE sid[SECURITY_MAX_SID_SIZE];
    wchar_t domain[256];
    DWORD sid_bytes = sizeof sid;
    DWORD domain_length = 256;
    SID_NAME_USE use{};
    BOOL is_in_token = FALSE;
    if (!LookupAccountNameW(nullptr, account.c_str(), sid, &sid_bytes, domain, &domain_length,
                            &use) ||
        !CheckTokenMembership(nullptr, sid, &is_in_token) || !is_in_token) {
        write_log(service, EVENTLOG_WARNING_TYPE,
                  "The token has no SID of this service: the pipe belongs to all of LocalService.");
        return L"LS";
    }
    wchar_t* text = nullptr;
    if (!ConvertSidToStringSidW(sid, &text)) {
        ipc::throw_last_error("ConvertSidToStringSidW");
    }
    const ipc::scope_exit free_text([&] { LocalFree(text); });
    return text;
}

// Who may use the service's pipe. The caller calls LocalFree.
inline PSECURITY_DESCRIPTOR create_descriptor(const std::wstring& service) {
    // ANCHOR: descriptor
    // 0x12019b is protocol::client_access: read and write. SDDL has no name for it. It has no
    // FILE_CREATE_PIPE_INSTANCE, with which a client could pose as a server.
    const std::wstring sid = own_sid(service);
    const std::wstring sddl = L"O:" + sid +         // the owner, who may change the rest
                              L"D:P"                // a DACL that inherits nothing
                              L"(A;;0x12019b;;;IU)" // allow: users who are logged on here
                              L"(A;;0x12019b;;;BA)" // allow: administrators, also over SSH
                              L"(A;;GA;;;" +        // allow everything: this service alone
                              sid +
                              L")";
    // ANCHOR_END: descriptor
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl.c_str(), SDDL_REVISION_1,
                                                              &descriptor, nullptr)) {
        ipc::throw_last_error("ConvertStringSecurityDescriptorToSecurityDescriptorW");
    }
    return descriptor;
}

// ANCHOR: serve
inline void serve_until_stop(service_state& service, const std::wstring& name) {
    constexpr DWORD idle_limit_ms = 10'000; // for a client's next request, or to read its reply
    SECURITY_ATTRIBUTES security{sizeof security, create_descriptor(name), FALSE};
    const ipc::scope_exit free([&] { LocalFree(security.lpSecurityDescriptor); });
    pipe_server server(protocol::pipe_name(name), &security, service.stop.get(), idle_limit_ms);
    report(service, SERVICE_RUNNING); // not earlier: now clients can connect
    // INFINITE: the event ends it. The handler sets it, and so does a server thread that fails.
    WaitForSingleObject(service.stop.get(), INFINITE);
    report(service, SERVICE_STOP_PENDING);
    server.finish([&] { report(service, SERVICE_STOP_PENDING); });
}
// ANCHOR_END: serve

// Windows calls it on a thread of its own. arguments: the service's name, then those of StartServiceW.
inline void WINAPI service_main(DWORD, wchar_t** arguments) {
    constexpr DWORD see_the_log = 1; // the service's own exit code
    static service_state service;    // static: the handler may run until the process ends
    const std::wstring name = arguments[0];
    service.handle = RegisterServiceCtrlHandlerExW(name.c_str(), handle_control, &service);
    report(service, SERVICE_START_PENDING); // ends the process if there is no handle
    DWORD failure = 0;
    try {
        service.stop.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
        if (!service.stop) {
            ipc::throw_last_error("CreateEventW");
        }
        write_log(name, EVENTLOG_INFORMATION_TYPE, "starting");
        serve_until_stop(service, name);
        write_log(name, EVENTLOG_INFORMATION_TYPE, "stopped");
    } catch (const std::exception& error) {
        write_log(name, EVENTLOG_ERROR_TYPE, error.what());
        failure = see_the_log;
    }
    // The last report, after all clean-up: the SCM may end the process at once.
    report(service, SERVICE_STOPPED, failure);
}

// ANCHOR: dispatch
inline void run_service() {
    wchar_t name[] = L""; // a service with a process of its own needs no name here
    const SERVICE_TABLE_ENTRYW table[] = {{name, service_main}, {nullptr, nullptr}};
    if (!StartServiceCtrlDispatcherW(table)) { // returns when the service has stopped
        const DWORD error = GetLastError();
        if (error == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
            throw ipc::usage_error("only the service manager can start the service "
                                   "(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT, 1063); usage: "
                                   "processA --run, or processA --help");
        }
        ipc::throw_error("StartServiceCtrlDispatcherW", error);
    }
}
// ANCHOR_END: dispatch
