// SOLUTION: a service that runs need not be the one that has the pipe. GetNamedPipeServerProcessId tells whose pipe B
// has opened, and B asks before it sends anything.
// STARTER
//~ // Exercise 15.1: B sends its requests to any program that has the service's pipe. Mend it.
// END
//
// B gets the process id of the service, as QueryServiceStatusEx returns it, and asks the service.
// Run: processB --service ID [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage = "processB --service ID [--name SUFFIX] REQUEST...";
constexpr DWORD limit_ms = 10'000;

// The service manager can say RUNNING of a service whose process has just ended.
void check_running(DWORD service_id) {
    const ipc::unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, service_id));
    if (!process || WaitForSingleObject(process.get(), 0) != WAIT_TIMEOUT) {
        throw std::runtime_error("the service does not run: nothing was sent");
    }
}

// SOLUTION: the handle is open, so nobody can exchange the server behind it.
void check_server(HANDLE pipe, DWORD service_id) {
    ULONG server_id = 0;
    if (!GetNamedPipeServerProcessId(pipe, &server_id)) {
        ipc::throw_last_error("GetNamedPipeServerProcessId");
    }
    if (server_id != service_id) {
        throw std::runtime_error("another program has the pipe: nothing was sent");
    }
}

// STARTER
// END
void ask(HANDLE pipe, std::span<char> request) {
    std::vector<char> reply(protocol::max_message_bytes);
    ipc::overlapped_call call(pipe);
    const BOOL done =
        TransactNamedPipe(pipe, request.data(), static_cast<DWORD>(request.size()), reply.data(),
                          static_cast<DWORD>(reply.size()), nullptr, call.get());
    const ipc::call_result result = call.wait(done, limit_ms);
    if (result.error != ERROR_SUCCESS) {
        ipc::throw_error("TransactNamedPipe", result.error);
    }
    ipc::print_line("B: {}", std::string_view(reply.data(), result.bytes));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t service_id = 0;
    std::wstring suffix;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage, {{L"--service", &service_id}, {L"--name", &suffix}},
                         &requests);
    check_running(static_cast<DWORD>(service_id));
    const ipc::unique_handle pipe =
        ipc::connect_to_pipe(protocol::pipe_name(protocol::service_name(suffix)),
                             protocol::client_access, FILE_FLAG_OVERLAPPED, limit_ms);
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    // SOLUTION: before the first byte.
    check_server(pipe.get(), static_cast<DWORD>(service_id));
    // STARTER
    // END
    for (const std::wstring& request : requests) {
        std::string text = ipc::to_utf8(request); // TransactNamedPipe wants it writable
        ask(pipe.get(), text);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
