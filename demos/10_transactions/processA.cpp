// Demo 10, process A: a server of one pipe instance, as small as it can be.
//
// A serves one client at a time: it reads a request, writes the reply, reads the next one, until
// the client is gone. Who comes meanwhile has to wait. Nothing here knows of transactions: what B
// does in one call arrives as a message, and is answered with a message.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "instance.hpp"
#include "protocol.hpp"

namespace {

bool stop_requested() {
    return WaitForSingleObject(ipc::ctrl_c_event(), 0) == WAIT_OBJECT_0;
}

void wait_for_client(instance& one) {
    DWORD bytes = 0;
    const BOOL done = ConnectNamedPipe(one.pipe.get(), &one.operation);
    const DWORD error = finish(one, done, INFINITE /* the next client or Ctrl+C */, bytes);
    // ERROR_PIPE_CONNECTED is no error: a client came before the call. With ERROR_NO_DATA it has
    // even left again, as the read will tell. ERROR_OPERATION_ABORTED is Ctrl+C.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        error != ERROR_OPERATION_ABORTED) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// A message longer than the buffer arrives in pieces, each but the last with ERROR_MORE_DATA.
DWORD read_request(instance& one) {
    one.used = 0;
    if (one.message.size() > idle_bytes) {
        one.message = std::vector<char>(idle_bytes); // an idle client holds no megabyte
    }
    for (;;) {
        const DWORD room = static_cast<DWORD>(one.message.size()) - one.used;
        char* const rest = &one.message[one.used];
        DWORD bytes = 0;
        const BOOL done = ReadFile(one.pipe.get(), rest, room, nullptr, &one.operation);
        const DWORD error = finish(one, done, one.idle_limit_ms, bytes);
        one.used += bytes;
        if (error != ERROR_MORE_DATA || one.used == protocol::max_message_bytes) {
            return error;
        }
        one.message.resize(one.message.size() * 2);
    }
}

DWORD write_reply(instance& one) {
    protocol::make_reply({one.message.data(), one.used});
    DWORD bytes = 0;
    const BOOL done =
        WriteFile(one.pipe.get(), one.message.data(), one.used, nullptr, &one.operation);
    return finish(one, done, one.idle_limit_ms, bytes);
}

// Returns the error that ended the connection. It is always the client who leaves: to disconnect
// after a reply would throw away what it has not read yet.
DWORD serve_client(instance& one, std::uint64_t& answered) {
    while (!stop_requested()) {
        DWORD error = read_request(one);
        if (error == ERROR_SUCCESS) {
            error = write_reply(one);
        }
        if (error != ERROR_SUCCESS) {
            return error;
        }
        ++answered;
    }
    return ERROR_OPERATION_ABORTED;
}

std::uint64_t serve(instance& one, std::uint64_t clients) {
    std::uint64_t served = 0;
    while (clients == 0 || served < clients) {
        wait_for_client(one);
        std::uint64_t answered = 0;
        const DWORD error = serve_client(one, answered);
        if (error == ERROR_OPERATION_ABORTED && stop_requested()) {
            break;
        }
        ipc::print_client_end(error, answered);
        if (!DisconnectNamedPipe(one.pipe.get())) { // only now the next client can come
            ipc::throw_last_error("DisconnectNamedPipe");
        }
        ++served;
    }
    return served;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on, Ctrl+C ends the server in order
    instance one(ipc::object_name(protocol::pipe_name, options.suffix));
    one.idle_limit_ms = static_cast<DWORD>(options.idle_limit.ms);
    ipc::print_line("A: one instance waits for clients");
    const std::uint64_t served = serve(one, options.clients);
    ipc::print_line("A: the end; clients served: {}", served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
