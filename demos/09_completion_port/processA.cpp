// Demo 09, process A: a few threads serve a thousand clients at one completion port.
//
// Every pipe instance is tied to the port. An operation that is complete leaves a packet there, and
// whichever worker thread is free takes it and begins the connection's next operation. No thread
// belongs to a client. Each B is a client: it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/scope_exit.hpp"
#include "common/stop.hpp"
#include "server.hpp"

namespace {

constexpr int worker_count = 4;

void on_connected(server& all, connection& one, DWORD error) {
    // With ERROR_PIPE_CONNECTED a client came before the call, with ERROR_NO_DATA it has even left
    // again, as the read will tell.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
    {
        const std::lock_guard lock(all.mutex);
        --all.listening;
        listen(all); // the next client finds an instance before this one is served
    }
    begin_read(one, all.port, all.idle_limit_ms());
}

void end_client(server& all, connection& one, DWORD error) {
    ipc::print_client_end(error, one.answered);
    const std::lock_guard lock(all.mutex);
    all.connections.erase(&one); // nothing is pending on it
    listen(all);                 // if there were as many clients as may be, there is room now
    if (++all.served == all.options.clients) {
        SetEvent(all.finished.get());
    }
}

// Looks what came of the operation and begins the next one. There the connection is another's.
void advance(server& all, connection& one, DWORD error, DWORD bytes) {
    if (one.doing == step::connecting) {
        on_connected(all, one, error);
    } else if (one.doing == step::writing && error == ERROR_SUCCESS) {
        ++one.answered;
        clear_message(one);
        begin_read(one, all.port, all.idle_limit_ms());
    } else if (one.doing == step::reading && error == ERROR_SUCCESS) {
        one.used += bytes;
        begin_reply(one, all.port, all.idle_limit_ms());
    } else if (error == ERROR_MORE_DATA && one.used + bytes < protocol::max_message_bytes) {
        one.used += bytes;
        one.message.resize(one.message.size() * 2); // it was full: the rest goes behind
        begin_read(one, all.port, all.idle_limit_ms());
    } else {
        end_client(all, one, error);
    }
}

// A failure ends the server, not just this worker.
void try_to_advance(server& all, connection& one, DWORD error, DWORD bytes) {
    try {
        advance(all, one, one.failed != ERROR_SUCCESS ? one.failed : error, bytes);
    } catch (...) {
        const std::lock_guard lock(all.mutex);
        all.failure = std::current_exception();
        SetEvent(all.finished.get());
    }
}

// ANCHOR: work
void work(server& all) {
    for (;;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* operation = nullptr;
        const BOOL good =
            GetQueuedCompletionStatus(all.port.handle.get(), &bytes, &key, &operation,
                                      INFINITE); // ended by the packet that stop() posts
        const DWORD error = good ? ERROR_SUCCESS : GetLastError();
        if (operation == nullptr) {
            return; // that packet
        }
        if (!all.stopping) {
            try_to_advance(all, *reinterpret_cast<connection*>(key), error, bytes);
        }
        packet_taken(all.port);
    }
}
// ANCHOR_END: work

void start(server& all) {
    all.finished.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    all.port.all_taken.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    // The last argument: so many threads run at once, 0 for one on each processor. A worker that
    // blocks, as in print_line, is not counted, and another one takes its place.
    all.port.handle.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!all.finished || !all.port.all_taken || !all.port.handle) {
        ipc::throw_last_error("CreateEventW or CreateIoCompletionPort");
    }
    for (int i = 0; i < worker_count; ++i) {
        all.workers.emplace_back([&all] { work(all); });
    }
    const std::lock_guard lock(all.mutex);
    listen(all);
}

void serve(server& all) {
    const HANDLE events[] = {all.finished.get(), ipc::ctrl_c_event()};
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForMultipleObjects(2, events, FALSE /* any */, cancel_overdue(all));
    }
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
}

// ANCHOR: stop
// To close the port would be shorter, and leave OVERLAPPEDs to the kernel that are freed here.
void stop(server& all) {
    all.stopping = true;
    packet_taken(all.port); // the one too many
    do {                    // not once: a worker may be about to begin an operation
        const std::lock_guard lock(all.mutex);
        for (const auto& [key, one] : all.connections) {
            CancelIoEx(one->pipe.get(), nullptr);
        }
    } while (WaitForSingleObject(all.port.all_taken.get(), cancel_again_ms) == WAIT_TIMEOUT);
    for (std::size_t i = 0; i < all.workers.size(); ++i) {
        PostQueuedCompletionStatus(all.port.handle.get(), 0, 0, nullptr);
    }
    all.workers.clear(); // joins them
}
// ANCHOR_END: stop

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server all{};
    all.options = ipc::parse_server_options(argc, argv);
    {
        const ipc::scope_exit end([&] { stop(all); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server in order
        start(all);
        ipc::print_line("A: {} threads wait for clients at one port", worker_count);
        serve(all);
    }
    all.connections.clear(); // clients that are still there learn it
    if (all.failure) {
        std::rethrow_exception(all.failure);
    }
    ipc::print_line("A: the end; clients served: {}", all.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
