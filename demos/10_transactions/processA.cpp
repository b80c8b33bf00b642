// Demo 10, process A: a server with one pipe instance, which serves one client at a time.
//
// A reads a request and writes the reply, until the client leaves; the next client waits meanwhile.
// A does nothing special for transactions: B's one call is a message to read and a reply to write.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/message_buffer.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

namespace {

constexpr DWORD pipe_bytes = 4 * 1024; // a hint to the system; a message may be longer

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0; // for the client to send a request, and to read its reply
    ipc::message_buffer message{protocol::max_message_bytes};
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(
        CreateNamedPipeW(name.c_str(),              // begins with \\.\pipe\.
                         PIPE_ACCESS_DUPLEX |       // both ends read and write
                             FILE_FLAG_OVERLAPPED | // so that a wait for a call can have a limit
                             FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if another server has the name
                         PIPE_TYPE_MESSAGE |                // transactions need messages
                             PIPE_READMODE_MESSAGE | // each ReadFile reads one message at the most
                             PIPE_WAIT |             // blocking mode
                             PIPE_REJECT_REMOTE_CLIENTS, // only clients of this machine
                         1,             // number of instances: one client at a time
                         pipe_bytes,    // output buffer
                         pipe_bytes,    // input buffer
                         0,             // default time-out of CallNamedPipe: 50 ms
                         security.get() // who can connect: the current user
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
    // again, and the next read will fail. ERROR_OPERATION_ABORTED: Ctrl+C was pressed.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        error != ERROR_OPERATION_ABORTED) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Reads one message. A message longer than the buffer takes several reads, and each but the last
// ends with ERROR_MORE_DATA.
DWORD read_request(connection& client) {
    client.message.clear();
    for (;;) {
        const BOOL done = ReadFile(client.pipe.get(), client.message.free_space(),
                                   client.message.free_bytes(), nullptr, client.call.get());
        const ipc::call_result read = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event());
        client.message.add(read.bytes);
        if (read.error != ERROR_MORE_DATA || !client.message.grow()) {
            return read.error;
        }
    }
}

DWORD write_reply(connection& client) {
    const std::span<char> message = client.message.message();
    protocol::make_reply(message);
    const BOOL done = WriteFile(client.pipe.get(), message.data(),
                                static_cast<DWORD>(message.size()), nullptr, client.call.get());
    return client.call.wait(done, client.limit_ms, ipc::ctrl_c_event()).error;
}

// Returns the error that ended the connection, ERROR_OPERATION_ABORTED if it was Ctrl+C.
DWORD serve_client(connection& client, std::uint64_t& answered) {
    while (!ipc::ctrl_c_pressed()) { // a busy client may never let a call wait for the event
        DWORD error = read_request(client);
        if (error == ERROR_SUCCESS) {
            error = write_reply(client);
        }
        if (error != ERROR_SUCCESS) {
            return error;
        }
        ++answered;
    }
    return ERROR_OPERATION_ABORTED;
}

std::uint64_t serve_clients(connection& client, std::uint64_t clients) {
    std::uint64_t served = 0;
    for (;;) {
        wait_for_client(client);
        std::uint64_t answered = 0;
        const DWORD error = serve_client(client, answered);
        if (error == ERROR_OPERATION_ABORTED) {
            return served;
        }
        ipc::print_client_end(error, answered);
        ++served;
        if (served == clients) {
            return served;
        }
        // Makes the instance free for the next client. The server's end only closes the handle, because
        // DisconnectNamedPipe discards a reply that the client has not read.
        if (!DisconnectNamedPipe(client.pipe.get())) {
            ipc::throw_last_error("DisconnectNamedPipe");
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on, Ctrl+C ends the server cleanly
    connection client{create_pipe(ipc::object_name(protocol::pipe_name, options.suffix)),
                      options.idle_limit.ms};
    ipc::print_line("A: one instance waits for clients");
    const std::uint64_t served = serve_clients(client, options.clients);
    ipc::print_line("A: the end; clients served: {}", served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
