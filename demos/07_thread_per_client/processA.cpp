// Demo 07, process A: a thread for each client, and blocking calls.
//
// Each thread waits for a client in ConnectNamedPipe, sees to it that another one waits for the
// next, and serves its client in a loop of ReadFile and WriteFile. The main thread ends calls that
// take too long, and all of them at Ctrl+C. Each B is a client: it gets its requests in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/scope_exit.hpp"
#include "common/stop.hpp"
#include "server.hpp"

#include <vector>

namespace {

// The next call may block for so long; then the main thread cancels it.
void limit_call(session& one) {
    one.end_ms = GetTickCount64() + one.all.options.idle_limit.ms;
}

// Appends to what is used of the message. Returns the error of the read.
DWORD read_message(session& one, std::vector<char>& message, DWORD& used) {
    for (;;) {
        DWORD bytes = 0;
        limit_call(one);
        const BOOL done = ReadFile(one.pipe.get(), &message[used],
                                   static_cast<DWORD>(message.size()) - used, &bytes, nullptr);
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        used += bytes;
        if (error != ERROR_MORE_DATA || used >= protocol::max_message_bytes) {
            return error;
        }
        message.resize(message.size() * 2); // it was full: the rest goes behind
    }
}

// Returns the error that ended the connection.
DWORD serve_client(session& one) {
    std::vector<char> message(first_bytes);
    while (!one.all.stopping) {
        DWORD used = 0;
        const DWORD error = read_message(one, message, used);
        if (error != ERROR_SUCCESS) {
            return error;
        }
        protocol::make_reply({message.data(), used});
        limit_call(one);
        if (!WriteFile(one.pipe.get(), message.data(), used, &used, nullptr)) {
            return GetLastError();
        }
        ++one.answered;
        if (message.size() > kept_bytes) {
            message = std::vector<char>(first_bytes); // an idle client holds no megabyte
        }
    }
    return ERROR_OPERATION_ABORTED;
}

// ANCHOR: wait_for_client
// Whether one came. ERROR_PIPE_CONNECTED is no error: it came before the call. With ERROR_NO_DATA
// it has even left again, as the read will tell.
bool wait_for_client(session& one) {
    const BOOL done = ConnectNamedPipe(one.pipe.get(), nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        !one.all.stopping) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
    const std::lock_guard lock(one.all.mutex);
    --one.all.listening;
    listen(one.all); // the next client finds an instance before this one is served
    return !one.all.stopping;
}
// ANCHOR_END: wait_for_client

} // namespace

// Prints nothing: CancelSynchronousIo would cancel that, too.
unsigned __stdcall run(void* argument) {
    auto& one = *static_cast<session*>(argument);
    try {
        if (wait_for_client(one)) {
            one.error = serve_client(one);
        }
    } catch (...) {
        one.failure = std::current_exception();
    }
    DisconnectNamedPipe(one.pipe.get()); // the client learns it now, and the name is free
    one.ended = true;
    SetEvent(one.all.changed.get());
    return 0;
}

namespace {

void serve(server& all) {
    // The lowest index wins: clients that come and go must not keep Ctrl+C from being seen.
    const HANDLE events[] = {ipc::ctrl_c_event(), all.changed.get()};
    while (all.options.clients == 0 || all.served < all.options.clients) {
        const DWORD waited =
            WaitForMultipleObjects(2, events, FALSE /* any */, cancel_overdue(all));
        if (waited == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (waited == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
        remove_ended(all);
    }
}

// ANCHOR: stop
void stop(server& all) {
    {
        const std::lock_guard lock(all.mutex);
        all.stopping = true; // no more sessions from here on
    }
    for (session& one : all.sessions) {
        CancelSynchronousIo(one.thread.get());
    }
    for (session& one : all.sessions) {
        while (WaitForSingleObject(one.thread.get(), cancel_again_ms) == WAIT_TIMEOUT) {
            CancelSynchronousIo(one.thread.get()); // it was between two calls before
        }
    }
}
// ANCHOR_END: stop

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server all{};
    all.options = ipc::parse_server_options(argc, argv);
    all.changed.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!all.changed) {
        ipc::throw_last_error("CreateEventW");
    }
    {
        const ipc::scope_exit end([&] { stop(all); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server in order
        remove_ended(all);   // there are none, and sessions to begin
        ipc::print_line("A: {} threads wait for clients", listening_count);
        serve(all);
    }
    ipc::print_line("A: the end; clients served: {}", all.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
