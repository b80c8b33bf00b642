// Demo 05, process A: one thread serves many clients with overlapped I/O.
//
// A creates all instances of a message pipe and begins an operation on each of them: connect, then
// read, write, read, write, ... One call waits for all of them and for Ctrl+C. Each B is a client:
// it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "instance.hpp"
#include "protocol.hpp"

#include <algorithm>
#include <memory>

namespace {

// WaitForMultipleObjects takes 64 objects: these, the stop event, and one for what you will add.
constexpr DWORD instance_count = MAXIMUM_WAIT_OBJECTS - 2;

struct server {
    std::uint64_t idle_limit_ms = 0;
    std::uint64_t served = 0;
    std::vector<std::unique_ptr<instance>> queue; // whose turn was last stands last
};

// Nothing is pending on the instance: lets it wait for the next client.
void end_client(server& all, instance& one, DWORD error) {
    ipc::print_client_end(error, one.answered);
    if (!DisconnectNamedPipe(one.pipe.get())) {
        ipc::throw_last_error("DisconnectNamedPipe");
    }
    clear_message(one);
    one.answered = 0;
    ++all.served;
    begin_connect(one);
}

void on_read(server& all, instance& one, DWORD error, DWORD bytes) {
    one.used += bytes;
    if (error == ERROR_SUCCESS) {
        begin_reply(one);
    } else if (error == ERROR_MORE_DATA && one.used < protocol::max_message_bytes) {
        one.message.resize(one.message.size() * 2); // it was full: the rest goes behind
        begin_read(one);
    } else {
        end_client(all, one, error);
    }
}

void on_written(server& all, instance& one, DWORD error) {
    if (error != ERROR_SUCCESS) {
        return end_client(all, one, error);
    }
    ++one.answered;
    clear_message(one);
    begin_read(one);
}

// ANCHOR: advance
// The event of this instance is set: looks what came of its operation and begins the next one.
void advance(server& all, instance& one) {
    DWORD bytes = 0;
    DWORD error = one.began; // of a call that failed at once there is nothing else to ask for
    if (error == ERROR_SUCCESS || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA) {
        const BOOL good = GetOverlappedResult(one.pipe.get(), &one.operation, &bytes, FALSE);
        error = good ? ERROR_SUCCESS : GetLastError();
    }
    switch (one.doing) {
    case step::connecting: return begin_read(one); // if the client has left again, this will tell
    case step::reading: return on_read(all, one, error, bytes);
    case step::writing: return on_written(all, one, error);
    }
}
// ANCHOR_END: advance

// Cancels what takes too long; returns how long the wait may last for the others.
DWORD cancel_overdue(const server& all) {
    const ULONGLONG now_ms = GetTickCount64();
    DWORD wait_ms = INFINITE; // with no client there: the next one or Ctrl+C ends the wait
    for (const auto& one : all.queue) {
        const ULONGLONG end_ms = one->since_ms + all.idle_limit_ms;
        if (one->doing != step::connecting && end_ms > now_ms) {
            wait_ms = std::min(wait_ms, static_cast<DWORD>(end_ms - now_ms));
        } else if (one->doing != step::connecting) {
            CancelIoEx(one->pipe.get(), &one->operation); // its event is set then, or was already
        }
    }
    return wait_ms;
}

void serve(server& all, std::uint64_t clients) {
    std::vector<HANDLE> events = {ipc::ctrl_c_event()};
    for (const auto& one : all.queue) {
        events.push_back(one->event.get());
    }
    // ANCHOR: wait
    while (clients == 0 || all.served < clients) {
        const DWORD i = WaitForMultipleObjects(static_cast<DWORD>(events.size()), events.data(),
                                               FALSE /* any */, cancel_overdue(all));
        if (i == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (i < events.size()) {
            advance(all, *all.queue[i - 1]);
            // The lowest index wins: without a new order, busy clients would starve the others.
            std::rotate(events.begin() + i, events.begin() + i + 1, events.end());
            std::rotate(all.queue.begin() + i - 1, all.queue.begin() + i, all.queue.end());
        } else if (i != WAIT_TIMEOUT) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
    }
    // ANCHOR_END: wait
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = ipc::parse_server_options(argc, argv);
    ipc::ctrl_c_event(); // from here on Ctrl+C ends the server in order
    server all{.idle_limit_ms = options.idle_limit.ms, .served = 0, .queue = {}};
    const std::wstring name = ipc::object_name(protocol::pipe_name, options.suffix);
    for (DWORD i = 0; i < instance_count; ++i) {
        all.queue.push_back(std::make_unique<instance>(name, i == 0, instance_count));
        begin_connect(*all.queue.back());
    }
    ipc::print_line("A: {} instances wait for clients", instance_count);
    serve(all, options.clients);
    all.queue.clear(); // cancels what is pending; clients that are still there learn it
    ipc::print_line("A: the end; clients served: {}", all.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
