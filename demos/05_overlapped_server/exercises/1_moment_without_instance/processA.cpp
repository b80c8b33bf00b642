// Exercise 05.1: A serves one client after the other. Now and then a client finds no pipe. Mend it.
//
// Run: processA [--clients N] [--name SUFFIX], then processB [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--clients N] [--name SUFFIX]";
constexpr DWORD pipe_buffer_bytes = 4 * 1024;

ipc::unique_handle create_instance(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX,                       // read and write
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE // a WriteFile is a message, a ReadFile reads one
            | PIPE_WAIT                           // blocking mode
            | PIPE_REJECT_REMOTE_CLIENTS,         // for programs on this machine only
        PIPE_UNLIMITED_INSTANCES,
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
    const BOOL done = ConnectNamedPipe(pipe, nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    // ERROR_PIPE_CONNECTED: the client came before the call. ERROR_NO_DATA: it has even left again.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Answers requests until the client leaves, or sends a message that is too long. Returns the last
// reply.
std::string serve_client(HANDLE pipe) {
    std::vector<char> buffer(protocol::max_message_bytes);
    std::string last_reply;
    DWORD bytes = 0;
    while (ReadFile(pipe, buffer.data(), static_cast<DWORD>(buffer.size()), &bytes, nullptr)) {
        const std::span<char> message(buffer.data(), bytes);
        protocol::make_reply(message);
        last_reply.assign(message.begin(), message.end());
        if (!WriteFile(pipe, message.data(), bytes, &bytes, nullptr)) {
            break;
        }
    }
    return last_reply;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t clients = 0; // 0: no end
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--clients", &clients}, {L"--name", &suffix}});
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    ipc::byte_sink screen(L"", "A: | ");
    ipc::print_line("A: serves one client after the other");
    for (std::uint64_t served = 0; clients == 0 || served < clients; ++served) {
        ipc::unique_handle pipe = create_instance(name);
        wait_for_client(pipe.get());
        const std::string last_reply = serve_client(pipe.get());
        pipe.reset();
        ipc::print_line("A: a client left; its last reply:");
        screen.write(last_reply + "\n");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
