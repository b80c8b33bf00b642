// Demo 12, process B: a pipe server to try the relay with.
//
// B serves one client. It sends back what it receives, in upper case if asked, until the client leaves
// or sends an empty message, which means "nothing follows". With --half-close it sends an empty message
// itself, and reads on: the client may still send. An empty message exists in a message-type pipe only.
//
// Run: processB [--message] [--upper] [--half-close BYTES] [--limit SECONDS] [--name SUFFIX] [PIPE]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--message] [--upper] [--half-close BYTES] [--limit SECONDS] [--name SUFFIX] [PIPE]\n"
    "  --message           a message-type pipe (default: a byte-type pipe)\n"
    "  --upper             send the letters a to z back in upper case\n"
    "  --half-close BYTES  after this number of bytes send an empty message, then only read\n"
    "  --limit SECONDS     for the client's next bytes, or to read its reply; 0: no limit (default "
    "60)\n"
    "  --name SUFFIX       add .SUFFIX to the pipe's name\n"
    "  PIPE                default: \\\\.\\pipe\\ipc_demos.12.relay";
constexpr auto default_name = L"\\\\.\\pipe\\ipc_demos.12.relay";
constexpr DWORD buffer_bytes = 64 * 1024;

struct server_options {
    bool message_type = false;
    bool upper_case = false;
    std::uint64_t half_close = std::numeric_limits<std::uint64_t>::max(); // never
    ipc::time_limit limit{60'000};
};

ipc::unique_handle create_pipe(const std::wstring& name, bool message_type) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(),                                       // begins with \\.\pipe\.
        PIPE_ACCESS_DUPLEX |                                // the relay needs both directions
            FILE_FLAG_OVERLAPPED |                          // so that a wait can have a limit
            FILE_FLAG_FIRST_PIPE_INSTANCE,                  // fail if another server has the name
        (message_type ? PIPE_TYPE_MESSAGE : PIPE_TYPE_BYTE) // only messages can be empty
            | (message_type ? PIPE_READMODE_MESSAGE : PIPE_READMODE_BYTE) |
            PIPE_WAIT |                 // blocking mode
            PIPE_REJECT_REMOTE_CLIENTS, // only clients of this machine
        1,                              // number of instances: one client
        buffer_bytes,                   // output buffer
        buffer_bytes,                   // input buffer
        0,                              // default time-out of WaitNamedPipe: 50 ms
        security.get()                  // who can connect: the current user
        ));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

struct stopped {}; // thrown when Ctrl+C was pressed

// Returns false if the client has left.
bool check(const char* call, DWORD error) {
    if (error == ERROR_OPERATION_ABORTED || ipc::ctrl_c_pressed()) {
        throw stopped();
    }
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error(std::string("the client is too slow for ") + call);
    }
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA && error != ERROR_PIPE_CONNECTED &&
        !ipc::is_disconnected(error)) {
        ipc::throw_error(call, error);
    }
    return !ipc::is_disconnected(error);
}

void make_upper_case(char* bytes, DWORD size) {
    for (DWORD i = 0; i < size; ++i) {
        if (bytes[i] >= 'a' && bytes[i] <= 'z') {
            bytes[i] = static_cast<char>(bytes[i] - 'a' + 'A');
        }
    }
}

// Sends back what the client sends. Returns the number of bytes received.
std::uint64_t serve_client(HANDLE pipe, const server_options& options) {
    std::vector<char> buffer(buffer_bytes);
    ipc::overlapped_call call(pipe);
    const auto send = [&](DWORD size) {
        const BOOL done = WriteFile(pipe, buffer.data(), size, nullptr, call.get());
        check("WriteFile", call.wait(done, options.limit.ms, ipc::ctrl_c_event()).error);
    };
    std::uint64_t received = 0;
    bool half_closed = false;
    for (;;) {
        if (!half_closed && received >= options.half_close) {
            half_closed = true;
            send(0);
            ipc::print_line("B: sent an empty message, and reads on");
        }
        const BOOL done = ReadFile(pipe, buffer.data(), buffer_bytes, nullptr, call.get());
        const auto [error, size] = call.wait(done, options.limit.ms, ipc::ctrl_c_event());
        if (!check("ReadFile", error)) {
            ipc::print_line("B: the client has left");
            return received;
        }
        if (size == 0) { // TRUE and 0 bytes: an empty message
            ipc::print_line("B: the client has sent an empty message: nothing follows");
            return received;
        }
        received += size;
        if (!half_closed) {
            make_upper_case(buffer.data(), options.upper_case ? size : 0);
            send(size);
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server_options options;
    std::wstring suffix;
    std::vector<std::wstring> rest;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--message", &options.message_type},
                          {L"--upper", &options.upper_case},
                          {L"--half-close", &options.half_close},
                          {L"--limit", &options.limit},
                          {L"--name", &suffix}},
                         &rest);
    if (rest.size() > 1) {
        throw ipc::usage_error("not expected: " + ipc::to_utf8(rest[1]) +
                               "; usage: processB [OPTIONS] [PIPE]");
    }
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    const std::wstring name = ipc::object_name(rest.empty() ? default_name : rest[0], suffix);
    const ipc::unique_handle pipe = create_pipe(name, options.message_type);
    ipc::print_line("B: waiting for a client");
    {
        ipc::overlapped_call call(pipe.get());
        const BOOL done = ConnectNamedPipe(pipe.get(), call.get());
        // INFINITE: a server waits until a client comes or Ctrl+C is pressed.
        check("ConnectNamedPipe", call.wait(done, INFINITE, ipc::ctrl_c_event()).error);
    }
    const std::uint64_t received = serve_client(pipe.get(), options);
    ipc::print_line("B: {} bytes received", received);
    return 0; // the relay still reads what the pipe holds, and then gets the end
} catch (const stopped&) {
    ipc::print_line("B: stopped");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
