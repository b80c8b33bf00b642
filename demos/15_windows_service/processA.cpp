// Demo 15, process A: a Windows service that answers on a named pipe, and the commands that manage it.
//
// The service control manager (SCM) starts this program as LocalService, in session 0. It calls
// service_main, which reports each state, serves clients, and ends when the handler gets a stop. With
// --run, A installs the service, starts it, starts B as its client, stops it and removes it.
//
// Run: processA --install | --start | --stop | --uninstall | --console | --run
//              [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/process.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "pipe_server.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA --install | --start | --stop | --uninstall | --console | --run [--limit SECONDS] "
    "[--name SUFFIX]\n"
    "  --install        install the service, for LocalService; needs an administrator\n"
    "  --start, --stop  start the service, stop it\n"
    "  --uninstall      stop the service if it runs, and remove it\n"
    "  --console        the same server as a program, until Ctrl+C\n"
    "  --run            install, start, ask with processB, stop, uninstall\n"
    "  --limit SECONDS  how long a start or a stop may take, and how long a client may be silent\n"
    "                   (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the names of the service and of its pipe";

// The service: everything from here to run_service runs in the process that the SCM starts.

struct service_state {
    SERVICE_STATUS_HANDLE handle = nullptr;
    SERVICE_STATUS status{};
    ipc::unique_handle stop; // an event
};

// ANCHOR: handler
// Windows calls it on the thread of StartServiceCtrlDispatcherW, and the SCM waits until it returns. So
// it only sets an event. The thread of service_main reports all states: no report can overtake
// another one.
DWORD WINAPI handle_control(DWORD control, DWORD, void*, void* context) {
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
// While a state is pending, each report counts the checkpoint up. A checkpoint that stays the same for
// longer than the hint means for the SCM and for every tool: the service hangs.
void report(service_state& service, DWORD state, DWORD exit_code = NO_ERROR) {
    constexpr DWORD hint_ms = 2'000;
    const bool is_pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    SERVICE_STATUS& status = service.status;
    status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    status.dwCurrentState = state;
    status.dwControlsAccepted =
        state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN : 0;
    status.dwWin32ExitCode = exit_code;
    status.dwCheckPoint = is_pending ? status.dwCheckPoint + 1 : 0;
    status.dwWaitHint = is_pending ? hint_ms : 0;
    if (!SetServiceStatus(service.handle, &status)) {
        ipc::throw_last_error("SetServiceStatus");
    }
}
// ANCHOR_END: report

// The Event Viewer shows it under Windows Logs, Application. A service has no screen.
void write_log(const wchar_t* service, WORD type, const std::string& text) {
    const HANDLE log = RegisterEventSourceW(nullptr, service);
    if (log != nullptr) { // a service without a log still serves
        const std::wstring wide = ipc::to_utf16(text);
        const wchar_t* strings[] = {wide.c_str()};
        ReportEventW(log, type, 0, 1 /* event id */, nullptr, 1, 0, strings, nullptr);
        DeregisterEventSource(log);
    }
}

// Returns the SID of this service: no other service has it, not even one that runs as LocalService too.
std::wstring service_sid(const std::wstring& service) {
    const std::wstring account = L"NT SERVICE\\" + service;
    BYTE sid[SECURITY_MAX_SID_SIZE];
    wchar_t domain[256];
    DWORD sid_bytes = sizeof sid;
    DWORD domain_length = 256;
    SID_NAME_USE use{};
    if (!LookupAccountNameW(nullptr, account.c_str(), sid, &sid_bytes, domain, &domain_length,
                            &use)) {
        if (GetLastError() == ERROR_NONE_MAPPED) {
            return L"LS"; // Wine has no SIDs of services: LocalService
        }
        ipc::throw_last_error("LookupAccountNameW");
    }
    wchar_t* text = nullptr;
    if (!ConvertSidToStringSidW(sid, &text)) {
        ipc::throw_last_error("ConvertSidToStringSidW");
    }
    const ipc::scope_exit free_text([&] { LocalFree(text); });
    return text;
}

// Who may use the service's pipe. The owner calls LocalFree.
PSECURITY_DESCRIPTOR create_descriptor(const std::wstring& service) {
    // ANCHOR: descriptor
    // 0x12019b is protocol::client_access: read and write. It has no FILE_CREATE_PIPE_INSTANCE, with
    // which a client could pose as a server.
    const std::wstring sddl = L"D:P"                // a DACL that inherits nothing
                              L"(D;;GA;;;NU)"       // deny: who comes from the network
                              L"(A;;0x12019b;;;IU)" // allow: users who are logged on here
                              L"(A;;0x12019b;;;BA)" // allow: administrators, also in a service
                              L"(A;;GA;;;" +        // allow everything: this service alone
                              service_sid(service) +
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
void serve_until_stop(service_state& service, const std::wstring& name, DWORD idle_limit_ms) {
    report(service, SERVICE_START_PENDING);
    SECURITY_ATTRIBUTES security{sizeof security, create_descriptor(name), FALSE};
    const ipc::scope_exit free([&] { LocalFree(security.lpSecurityDescriptor); });
    pipe_server server(protocol::pipe_name(name), &security, service.stop.get(), idle_limit_ms);
    report(service, SERVICE_RUNNING); // not earlier: now clients can connect
    // INFINITE: the handler sets the event, or a thread that has failed.
    WaitForSingleObject(service.stop.get(), INFINITE);
    report(service, SERVICE_STOP_PENDING);
    server.finish([&] { report(service, SERVICE_STOP_PENDING); });
}
// ANCHOR_END: serve

// Windows calls it on a thread of its own. arguments: the service's name, then those of StartServiceW.
void WINAPI service_main(DWORD count, wchar_t** arguments) {
    static service_state service; // static: the handler may run until the process ends
    service.handle = RegisterServiceCtrlHandlerExW(arguments[0], handle_control, &service);
    if (service.handle == nullptr) {
        return; // the SCM finds out that the process ends
    }
    DWORD exit_code = NO_ERROR;
    try {
        service.stop.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
        if (!service.stop) {
            ipc::throw_last_error("CreateEventW");
        }
        ipc::time_limit limit{10'000};
        ipc::parse_arguments(static_cast<int>(count), arguments, usage, {{L"--limit", &limit}});
        write_log(arguments[0], EVENTLOG_INFORMATION_TYPE, "starting");
        serve_until_stop(service, arguments[0], limit.ms);
        write_log(arguments[0], EVENTLOG_INFORMATION_TYPE, "stopped");
    } catch (const ipc::win32_error& error) {
        write_log(arguments[0], EVENTLOG_ERROR_TYPE, error.what());
        exit_code = error.code();
    } catch (const std::exception& error) {
        write_log(arguments[0], EVENTLOG_ERROR_TYPE, error.what());
        exit_code = ERROR_EXCEPTION_IN_SERVICE;
    }
    // The last report, after all clean-up: the SCM may end the process at once.
    report(service, SERVICE_STOPPED, exit_code);
}

// ANCHOR: dispatch
void run_service() {
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

// The commands: everything from here on runs in the user's session.

struct command_options {
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    std::wstring name() const { return protocol::service_name(suffix); }
    std::wstring seconds() const {
        return std::to_wstring(limit.ms == INFINITE ? 0 /* no limit */ : limit.ms / 1'000);
    }
};

service_handle open_manager(DWORD access) {
    service_handle manager(OpenSCManagerW(nullptr, nullptr, access));
    if (!manager) {
        ipc::throw_last_error("OpenSCManagerW");
    }
    return manager;
}

service_handle open_service(const command_options& options, DWORD access) {
    const service_handle manager = open_manager(SC_MANAGER_CONNECT);
    service_handle service(OpenServiceW(manager.get(), options.name().c_str(), access));
    if (!service) {
        ipc::throw_last_error("OpenServiceW");
    }
    return service;
}

void install_service(const command_options& options) {
    const std::wstring name = options.name();
    // Quoted: Windows takes C:\Program Files\a.exe without quotes for C:\Program.exe, if that exists.
    const std::wstring image = ipc::command_line({ipc::beside_this_program(L"processA.exe")});
    const service_handle manager = open_manager(SC_MANAGER_CREATE_SERVICE);
    // ANCHOR: install
    const service_handle service(CreateServiceW(
        manager.get(), name.c_str(),
        name.c_str(),                         // the name that services.msc shows
        SERVICE_CHANGE_CONFIG | DELETE,       // the access of this handle
        SERVICE_WIN32_OWN_PROCESS,            // shares its process with no other service
        SERVICE_DEMAND_START,                 // --start starts it; AUTO_START: at boot
        SERVICE_ERROR_NORMAL,                 // a failed start is logged
        image.c_str(),                        // the command line, with the path in quotes
        nullptr, nullptr, nullptr,            // no load order, no dependencies
        L"NT AUTHORITY\\LocalService", L"")); // few rights, no password; nullptr: LocalSystem
    // ANCHOR_END: install
    if (!service) {
        ipc::throw_last_error("CreateServiceW");
    }
    SERVICE_SID_INFO sid{SERVICE_SID_TYPE_UNRESTRICTED}; // its token gets the SID NT SERVICE\name
    if (!ChangeServiceConfig2W(service.get(), SERVICE_CONFIG_SERVICE_SID_INFO, &sid)) {
        const DWORD error = GetLastError();
        if (error != ERROR_INVALID_LEVEL) { // Wine has no SIDs of services
            DeleteService(service.get());
            ipc::throw_error("ChangeServiceConfig2W", error);
        }
    }
    ipc::print_line("A: installed; the service's account is NT AUTHORITY\\LocalService");
}

void start_service(const command_options& options) {
    service_handle service = open_service(options, SERVICE_START | SERVICE_QUERY_STATUS);
    const std::wstring seconds = options.seconds();
    const wchar_t* arguments[] = {L"--limit", seconds.c_str()}; // for service_main
    if (!StartServiceW(service.get(), 2, arguments)) {
        // The handle has the right to start the service, so error 5 is about the program's file.
        const DWORD error = GetLastError();
        ipc::throw_error(error == ERROR_ACCESS_DENIED
                             ? "StartServiceW (may LocalService read this folder?)"
                             : "StartServiceW",
                         error);
    }
    const SERVICE_STATUS_PROCESS status = wait_for_state(
        std::move(service), SERVICE_NOTIFY_RUNNING | SERVICE_NOTIFY_STOPPED, options.limit.ms);
    if (status.dwCurrentState != SERVICE_RUNNING) {
        const bool has_failed = status.dwCurrentState == SERVICE_STOPPED;
        ipc::throw_error("the start of the service",
                         has_failed ? status.dwWin32ExitCode : WAIT_TIMEOUT);
    }
    ipc::print_line("A: the service is running");
}

void stop_service(const command_options& options) {
    service_handle service = open_service(options, SERVICE_STOP | SERVICE_QUERY_STATUS);
    SERVICE_STATUS first{};
    if (!ControlService(service.get(), SERVICE_CONTROL_STOP, &first)) {
        ipc::throw_last_error("ControlService");
    }
    // ControlService returns when the handler has returned. The service can go on for a while.
    const SERVICE_STATUS_PROCESS status =
        wait_for_state(std::move(service), SERVICE_NOTIFY_STOPPED, options.limit.ms);
    if (status.dwCurrentState != SERVICE_STOPPED) {
        ipc::throw_error("the stop of the service", WAIT_TIMEOUT);
    }
    ipc::print_line("A: the service has stopped");
}

void uninstall_service(const command_options& options) {
    const service_handle service = open_service(options, DELETE | SERVICE_QUERY_STATUS);
    // First this: Windows removes the service when it has stopped and all handles of it are closed,
    // even if the stop fails now.
    if (!DeleteService(service.get())) {
        ipc::throw_last_error("DeleteService");
    }
    if (query_status(service).dwCurrentState != SERVICE_STOPPED) {
        stop_service(options);
    }
    ipc::print_line("A: the service is removed");
}

// Starts B as a client and waits for its end.
void run_client(const command_options& options, const std::vector<std::wstring>& more) {
    std::vector<std::wstring> arguments = {ipc::beside_this_program(L"processB.exe"), L"--name",
                                           options.suffix, L"--limit", options.seconds()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::wstring command = ipc::command_line(arguments);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    // TRUE: B inherits the standard output. It is the only inheritable handle here.
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                        &startup, &started)) {
        ipc::throw_last_error("CreateProcessW");
    }
    const ipc::unique_handle process(started.hProcess);
    const ipc::unique_handle thread(started.hThread);
    const HANDLE objects[] = {process.get(), ipc::ctrl_c_event()};
    // INFINITE: each wait of B has a limit, and Ctrl+C ends this wait.
    if (WaitForMultipleObjects(2, objects, FALSE /* any */, INFINITE) != WAIT_OBJECT_0) {
        TerminateProcess(process.get(), 1);
        throw std::runtime_error("ended by Ctrl+C");
    }
    if (ipc::wait_for_exit(process.get(), 0) != 0) {
        throw std::runtime_error("processB failed");
    }
}

// ANCHOR: run
void run_with_service(const command_options& options) {
    install_service(options);
    try {
        start_service(options);
        run_client(options, {});
        stop_service(options);
    } catch (...) {
        uninstall_service(options); // whatever has failed, no service stays behind
        throw;
    }
    uninstall_service(options);
}
// ANCHOR_END: run

// The same server in this process, without the service manager. It ends when work returns.
void serve_at_console(const command_options& options, const std::function<void()>& work) {
    ipc::user_only_security security; // no service: the pipe is for this user alone
    pipe_server server(protocol::pipe_name(options.name()), security.get(), ipc::ctrl_c_event(),
                       options.limit.ms);
    ipc::print_line("A: the server is running");
    work();
    SetEvent(ipc::ctrl_c_event());
    server.finish([] {});
    ipc::print_line("A: the server has stopped");
}

void run_console(const command_options& options) {
    // INFINITE: Ctrl+C ends the wait.
    serve_at_console(options, [] { WaitForSingleObject(ipc::ctrl_c_event(), INFINITE); });
}

void run_all(const command_options& given) {
    command_options options = given;
    if (options.suffix.empty()) { // a name of its own, beside a service that is installed
        options.suffix = L"run" + std::to_wstring(GetCurrentProcessId());
    }
    ipc::ctrl_c_event(); // from here on Ctrl+C does not end the program
    try {
        run_with_service(options);
    } catch (const ipc::win32_error& error) {
        if (error.code() != ERROR_ACCESS_DENIED) {
            throw;
        }
        ipc::print_line("A: left out: the service, which needs an administrator and a folder that "
                        "LocalService may read; {}",
                        error.what());
        serve_at_console(options, [&] { run_client(options, {L"--console"}); });
    }
}

struct command {
    std::wstring_view option;
    void (*run)(const command_options&);
    bool is_given = false;
};

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    command commands[] = {{L"--install", install_service}, {L"--start", start_service},
                          {L"--stop", stop_service},       {L"--uninstall", uninstall_service},
                          {L"--console", run_console},     {L"--run", run_all}};
    command_options options;
    std::vector<ipc::option> known = {{L"--limit", &options.limit}, {L"--name", &options.suffix}};
    for (command& next : commands) {
        known.push_back({next.option, &next.is_given});
    }
    ipc::parse_arguments(argc, argv, usage, known);
    const auto given = std::ranges::count(commands, true, &command::is_given);
    if (given > 1) {
        throw ipc::usage_error("one command at a time; usage: processA --install, or --help");
    }
    if (given == 0) {
        run_service(); // started by the SCM
        return 0;
    }
    std::ranges::find(commands, true, &command::is_given)->run(options);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
