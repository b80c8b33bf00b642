// Demo 15, process A: a Windows service that answers on a named pipe, and the commands that manage it.
//
// The service control manager (SCM) starts this program without arguments, as LocalService: then it
// is the service, which service.hpp holds. With an argument it is a command that runs in the user's
// session. --run installs the service, starts it, starts B as its client, stops it and removes it.
//
// Run: processA --install | --start | --stop | --uninstall | --console | --run
//              [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/process.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "pipe_server.hpp"
#include "protocol.hpp"
#include "service.hpp"

#include <windows.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
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
    "  --limit SECONDS  how long a start or a stop may take, and a client of --console be silent\n"
    "                   (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the names of the service and of its pipe";

// Windows refuses a step that needs more rights than the user or the service has. --run then leaves the
// service out.
struct refused : std::runtime_error {
    refused(const char* what_is_needed, DWORD error)
        : runtime_error(std::string(what_is_needed) + ": " + ipc::error_text(error)) {}
};

struct command_options {
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    std::wstring name() const { return protocol::service_name(suffix); }
};

service_handle open_service(const command_options& options, DWORD access) {
    const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
    if (!manager) {
        ipc::throw_last_error("OpenSCManagerW");
    }
    service_handle service(OpenServiceW(manager.get(), options.name().c_str(), access));
    if (!service) {
        ipc::throw_last_error("OpenServiceW");
    }
    return service;
}

void create_service(const command_options& options) {
    const std::wstring name = options.name();
    // Quoted: Windows takes C:\Program Files\a.exe without quotes for C:\Program.exe, if that exists.
    const std::wstring image = ipc::command_line({ipc::beside_this_program(L"processA.exe")});
    const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CREATE_SERVICE));
    if (!manager) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED) {
            throw refused("only an administrator can install a service", error);
        }
        ipc::throw_error("OpenSCManagerW", error);
    }
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
}

void print_installed() {
    ipc::print_line("A: installed; the service's account is NT AUTHORITY\\LocalService");
}

void install_service(const command_options& options) {
    create_service(options);
    print_installed();
}

void start_service(const command_options& options) {
    const service_handle service = open_service(options, SERVICE_START | SERVICE_QUERY_STATUS);
    if (!StartServiceW(service.get(), 0, nullptr)) {
        const DWORD error = GetLastError();
        // The handle has the right to start the service, so these are about the program's file. The
        // service does not see the user's network drives.
        if (error == ERROR_ACCESS_DENIED || error == ERROR_FILE_NOT_FOUND ||
            error == ERROR_PATH_NOT_FOUND) {
            throw refused("LocalService must be able to read this folder", error);
        }
        ipc::throw_error("StartServiceW", error);
    }
    DWORD state = SERVICE_START_PENDING;
    poll_until(options.limit.ms, [&] {
        state = query_status(service).dwCurrentState;
        return state != SERVICE_START_PENDING;
    });
    if (state != SERVICE_RUNNING) {
        throw std::runtime_error(state == SERVICE_START_PENDING
                                     ? "the service did not start in time"
                                     : "the service failed at its start: see the event log");
    }
    ipc::print_line("A: the service is running");
}

// A service that starts or stops takes no control: wait until it runs or has stopped. handle has the
// access SERVICE_STOP and SERVICE_QUERY_STATUS.
void stop_and_wait(const service_handle& service, DWORD limit_ms) {
    const bool has_stopped = poll_until(limit_ms, [&] {
        const DWORD state = query_status(service).dwCurrentState;
        SERVICE_STATUS status{};
        if (state == SERVICE_RUNNING &&
            !ControlService(service.get(), SERVICE_CONTROL_STOP, &status)) {
            const DWORD error = GetLastError(); // the state can have changed after the query
            if (error != ERROR_SERVICE_CANNOT_ACCEPT_CTRL && error != ERROR_SERVICE_NOT_ACTIVE) {
                ipc::throw_error("ControlService", error);
            }
        }
        return state == SERVICE_STOPPED;
    });
    if (!has_stopped) {
        throw std::runtime_error("the service did not stop in time");
    }
}

void stop_service(const command_options& options) {
    stop_and_wait(open_service(options, SERVICE_STOP | SERVICE_QUERY_STATUS), options.limit.ms);
    ipc::print_line("A: the service has stopped");
}

void uninstall_service(const command_options& options) {
    const service_handle service =
        open_service(options, DELETE | SERVICE_STOP | SERVICE_QUERY_STATUS);
    // First this: Windows removes the service when it has stopped and all handles of it are closed,
    // even if the stop fails now.
    if (!DeleteService(service.get())) {
        const DWORD error = GetLastError();
        if (error != ERROR_SERVICE_MARKED_FOR_DELETE) { // by an earlier uninstall
            ipc::throw_error("DeleteService", error);
        }
    }
    stop_and_wait(service, options.limit.ms);
    ipc::print_line("A: the service is removed");
}

// Starts B as a client and waits for its end.
void run_client(const command_options& options, const std::vector<std::wstring>& more) {
    // INFINITE comes from --limit 0.
    const DWORD seconds = options.limit.ms == INFINITE ? 0 : options.limit.ms / 1'000;
    std::vector<std::wstring> arguments = {ipc::beside_this_program(L"processB.exe"), L"--name",
                                           options.suffix, L"--limit", std::to_wstring(seconds)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::wstring command = ipc::command_line(arguments);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    // TRUE: B inherits A's standard handles.
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
    create_service(options); // outside: a service that was there before is not removed
    try {
        print_installed();
        start_service(options);
        run_client(options, {});
        stop_service(options);
    } catch (...) {
        try { // whatever has failed, no service stays behind
            command_options patient = options;
            patient.limit.ms =
                std::max<DWORD>(options.limit.ms, 60'000); // it may still be starting
            uninstall_service(patient);
        } catch (...) {
            ipc::report_exception("A"); // the first failure follows
        }
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
    } catch (const refused& reason) {
        serve_at_console(options, [&] { run_client(options, {L"--console"}); });
        ipc::print_line("A: left out: the service; {}", reason.what()); // all the rest went well
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
