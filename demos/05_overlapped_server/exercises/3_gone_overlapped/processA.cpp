// Exercise 05.3: A does not answer a client that has been silent for a while. Mend it.
//
// A serves one client and ends. While the client is silent, A says so after every MS milliseconds.
// Run: processA [--wait MS] [--name SUFFIX], then processB [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <string>

namespace {

constexpr auto usage = "processA [--wait MS] [--name SUFFIX]";
constexpr DWORD pipe_buffer_bytes = 4 * 1024;

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1,                 // instance
        pipe_buffer_bytes, // for replies that the client has not read
        pipe_buffer_bytes, // for requests that the server has not read
        0,                 // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(HANDLE pipe) {
    ipc::overlapped_call call(pipe);
    const BOOL done = ConnectNamedPipe(pipe, call.get());
    const DWORD error = call.wait(done, INFINITE).error; // until a client comes, or Ctrl+C
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Returns ERROR_SUCCESS and a request, or WAIT_TIMEOUT if none has come within wait_ms
// milliseconds, or the error that has ended the connection.
DWORD read_request(HANDLE pipe, DWORD wait_ms, std::string& request) {
    char buffer[4096];
    OVERLAPPED overlapped{};
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    overlapped.hEvent = event.get();
    const BOOL done = ReadFile(pipe, buffer, sizeof buffer, nullptr, &overlapped);
    const DWORD start_error = done ? ERROR_SUCCESS : GetLastError();
    if (start_error != ERROR_SUCCESS && start_error != ERROR_IO_PENDING) {
        return start_error;
    }
    if (WaitForSingleObject(event.get(), wait_ms) == WAIT_TIMEOUT) {
        ipc::print_line("A: no request yet");
        return WAIT_TIMEOUT;
    }
    DWORD bytes = 0;
    if (!GetOverlappedResult(pipe, &overlapped, &bytes, TRUE)) {
        return GetLastError();
    }
    request.assign(buffer, bytes);
    return ERROR_SUCCESS;
}

// Returns the number of requests that were answered.
std::uint64_t serve_client(HANDLE pipe, DWORD wait_ms) {
    std::uint64_t answered = 0;
    std::string request;
    for (;;) {
        DWORD error = ERROR_SUCCESS;
        do {
            error = read_request(pipe, wait_ms, request);
        } while (error == WAIT_TIMEOUT);
        if (error != ERROR_SUCCESS) {
            return answered;
        }
        protocol::make_reply(request);
        ipc::overlapped_call call(pipe);
        const BOOL done = WriteFile(pipe, request.data(), static_cast<DWORD>(request.size()),
                                    nullptr, call.get());
        if (call.wait(done, INFINITE).error != ERROR_SUCCESS) { // until the client reads or leaves
            return answered;
        }
        ++answered;
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t wait_ms = 1'000;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--wait", &wait_ms}, {L"--name", &suffix}});
    const ipc::unique_handle pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    ipc::print_line("A: waits for a client");
    wait_for_client(pipe.get());
    const std::uint64_t answered = serve_client(pipe.get(), static_cast<DWORD>(wait_ms));
    ipc::print_line("A: the client left; requests answered: {}", answered);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
