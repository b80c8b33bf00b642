// Demo 15, process B: a client of the service.
//
// B waits until the service control manager says that the service is running, and opens the service's
// pipe. Before it sends anything, it checks that the pipe's server is the process of the service: any
// program can create a pipe of that name while the service does not run. Then B sends its arguments
// as requests, one after the other.
//
// Run: processB [--console] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--console] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --console        for processA --console: do not ask the service manager\n"
    "  --limit SECONDS  how long each wait for the service may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the names of the service and of its pipe, as with processA";

// Waits until somebody has installed the service and it runs. Returns a handle to ask for its status.
service_handle wait_for_service(const std::wstring& name, DWORD limit_ms) {
    const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
    if (!manager) {
        ipc::throw_last_error("OpenSCManagerW");
    }
    service_handle service;
    const bool is_running = poll_until(limit_ms, [&] {
        service.reset(); // an open handle would keep a service that somebody deletes
        service.reset(OpenServiceW(manager.get(), name.c_str(), SERVICE_QUERY_STATUS));
        if (!service && GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST) {
            ipc::throw_last_error("OpenServiceW");
        }
        return service && query_status(service).dwCurrentState == SERVICE_RUNNING;
    });
    if (!is_running) {
        throw std::runtime_error(service ? "the service is not running: run processA --start"
                                         : "the service is not installed: run processA --install");
    }
    return service;
}

// ANCHOR: check
// A client that skips this gives its data to whoever made the pipe first.
void check_server(HANDLE pipe, const service_handle& service) {
    ULONG server_id = 0;
    if (!GetNamedPipeServerProcessId(pipe, &server_id)) {
        ipc::throw_last_error("GetNamedPipeServerProcessId");
    }
    // After the connect, not before it. A service that has stopped has the id 0.
    if (server_id == 0 || query_status(service).dwProcessId != server_id) {
        throw std::runtime_error("another program than the service has the pipe: nothing was sent");
    }
}
// ANCHOR_END: check

[[noreturn]] void throw_failure(const char* call, DWORD error) {
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("the service did not answer in time");
    }
    if (error == ERROR_MORE_DATA) {
        throw std::runtime_error("the reply is longer than the protocol allows");
    }
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("the service closed the connection");
    }
    ipc::throw_error(call, error);
}

// Sends one request and returns the reply, which is in the buffer.
std::string_view ask(HANDLE pipe, std::span<char> request, std::span<char> buffer, DWORD limit_ms) {
    if (request.size() > protocol::max_message_bytes) {
        throw std::runtime_error("a request is longer than the protocol allows");
    }
    ipc::overlapped_call call(pipe);
    const BOOL done =
        TransactNamedPipe(pipe, request.data(), static_cast<DWORD>(request.size()), buffer.data(),
                          static_cast<DWORD>(buffer.size()), nullptr, call.get());
    const ipc::call_result reply = call.wait(done, limit_ms);
    if (reply.error != ERROR_SUCCESS) {
        throw_failure("TransactNamedPipe", reply.error);
    }
    return {buffer.data(), reply.bytes};
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool console = false;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--console", &console}, {L"--limit", &limit}, {L"--name", &suffix}},
                         &requests);
    if (requests.empty()) {
        requests = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    const std::wstring name = protocol::service_name(suffix);
    const service_handle service = console ? nullptr : wait_for_service(name, limit.ms);
    const ipc::unique_handle pipe = ipc::connect_to_pipe(
        protocol::pipe_name(name), protocol::client_access, FILE_FLAG_OVERLAPPED, limit.ms);
    if (service) {
        check_server(pipe.get(), service);
        ipc::print_line("B: the service is running, and its process has the pipe");
    }
    DWORD mode = PIPE_READMODE_MESSAGE; // a client's handle starts in byte read mode
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        throw_failure("SetNamedPipeHandleState", GetLastError());
    }
    std::vector<char> buffer(protocol::max_message_bytes);
    ipc::byte_sink screen(L"", "B: ");
    for (const std::wstring& request : requests) {
        std::string text = ipc::to_utf8(request); // TransactNamedPipe wants it writable
        screen.write(ask(pipe.get(), text, buffer, limit.ms));
        screen.write("\n");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
