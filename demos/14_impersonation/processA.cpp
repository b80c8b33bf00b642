// Demo 14, process A: a server that reads files for its clients, with their rights.
//
// For each request A impersonates the client, opens the file, and reverts at once. What the client
// may not open, A refuses: it never opens a file with its own rights. A serves one client at a time.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "impersonation.hpp"
#include "protocol.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace {

constexpr DWORD pipe_bytes = 4 * 1024; // a hint to the system; a message may be longer

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0; // for the client to send a request, and to read its reply
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(
        CreateNamedPipeW(name.c_str(),
                         PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED |
                             FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if another server has the name
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT |
                             PIPE_REJECT_REMOTE_CLIENTS, // only clients of this machine
                         1,                              // instance: one client at a time
                         pipe_bytes,                     // output buffer
                         pipe_bytes,                     // input buffer
                         0,                              // default time-out of WaitNamedPipe: 50 ms
                         security.get()                  // who can connect: the current user
                         ));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(connection& client) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), client.call.get());
    // INFINITE: a server waits until a client comes or Ctrl+C is pressed.
    const DWORD error = client.call.wait(done, INFINITE, ipc::ctrl_c_event()).error;
    // ERROR_PIPE_CONNECTED: the client connected before the call. ERROR_NO_DATA: it has even left
    // again. ERROR_OPERATION_ABORTED: Ctrl+C was pressed.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        error != ERROR_OPERATION_ABORTED) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Reads the file as the server: Windows has checked the client's rights when it opened the file.
// Returns the error.
DWORD read_file(HANDLE file, std::vector<char>& content) {
    content.resize(protocol::max_content_bytes + 1); // 1 more shows that the file is longer
    DWORD bytes = 0;
    if (!ReadFile(file, content.data(), static_cast<DWORD>(content.size()), &bytes, nullptr)) {
        return GetLastError();
    }
    content.resize(bytes);
    return bytes > protocol::max_content_bytes ? ERROR_FILE_TOO_LARGE : ERROR_SUCCESS;
}

// Returns the reply: a header and the content of the file.
std::vector<char> make_reply(HANDLE pipe, const std::wstring& path, std::uint64_t number) {
    const client_file opened = open_as_client(pipe, path);
    std::vector<char> content;
    protocol::reply_header header{opened.error};
    if (header.error == ERROR_SUCCESS) {
        header.error = read_file(opened.file.get(), content);
    }
    if (header.error == ERROR_SUCCESS) {
        ipc::print_line("A: request {}: {}; {} bytes", number, opened.level, content.size());
    } else {
        ipc::print_line("A: request {}: {}; refused, {}", number, opened.level,
                        protocol::error_name(header.error));
        content.clear();
    }
    const auto* const bytes = reinterpret_cast<const char*>(&header);
    content.insert(content.begin(), bytes, bytes + sizeof header);
    return content;
}

// Returns the error that ended the connection, ERROR_OPERATION_ABORTED if it was Ctrl+C.
DWORD serve_client(connection& client, std::uint64_t& answered) {
    const HANDLE pipe = client.pipe.get();
    while (!ipc::ctrl_c_pressed()) { // a busy client may never let a call wait for the event
        std::wstring path(protocol::max_request_bytes / sizeof(wchar_t), L'\0');
        BOOL done =
            ReadFile(pipe, path.data(), protocol::max_request_bytes, nullptr, client.call.get());
        const ipc::call_result read = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event());
        if (read.error != ERROR_SUCCESS) { // ERROR_MORE_DATA: the message is too long
            return read.error;
        }
        const bool whole = read.bytes % sizeof(wchar_t) == 0;
        path.resize(whole ? read.bytes / sizeof(wchar_t) : 0); // no path ends in half a character
        const std::vector<char> reply = make_reply(pipe, path, answered + 1);
        done = WriteFile(pipe, reply.data(), static_cast<DWORD>(reply.size()), nullptr,
                         client.call.get());
        const DWORD error = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event()).error;
        if (error != ERROR_SUCCESS) {
            return error;
        }
        ++answered;
    }
    return ERROR_OPERATION_ABORTED;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on, Ctrl+C ends the server cleanly
    connection client{create_pipe(ipc::object_name(protocol::pipe_name, options.suffix)),
                      options.idle_limit.ms};
    ipc::print_line("A: waiting for clients");
    std::uint64_t served = 0;
    for (;;) {
        wait_for_client(client);
        std::uint64_t answered = 0;
        const DWORD error = serve_client(client, answered);
        if (error == ERROR_OPERATION_ABORTED) {
            break;
        }
        ipc::print_client_end(error, answered);
        if (++served == options.clients) {
            break; // closing the handle keeps the last reply, DisconnectNamedPipe discards it
        }
        if (!DisconnectNamedPipe(client.pipe.get())) { // makes the instance free for the next one
            ipc::throw_last_error("DisconnectNamedPipe");
        }
    }
    ipc::print_line("A: the end; clients served: {}", served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
