// Demo 08, process A: one thread serves a thousand clients with completion routines.
//
// A names a function with every read and write. The system calls it on A's own thread, when the
// operation is complete and the thread waits alertably. The function notes the result, and A begins
// the next operation. No lock, no event for each client. Each B is a client: it gets its requests
// back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/scope_exit.hpp"
#include "common/stop.hpp"
#include "server.hpp"

namespace {

// Nothing is pending on the connection.
void end_client(connection& one, DWORD error) {
    server& all = one.all;
    ipc::print_client_end(error, one.answered);
    ++all.served;
    all.complete.erase(one.self);
    listen(all); // if there were as many clients as may be, there is room for one more now
}

// ANCHOR: routine
// Notes what came of the operation, and no more: if it began the next one, which may be complete at
// once, the wait that called it would call the next routine, and might never end.
void CALLBACK on_complete(DWORD error, DWORD bytes, OVERLAPPED* operation) {
    auto& one = *static_cast<connection*>(operation);
    one.result = error;
    one.transferred = bytes;
    one.all.complete.splice(one.all.complete.end(), one.all.pending, one.self);
}
// ANCHOR_END: routine

// Takes what ReadFileEx or WriteFileEx returned. Done at once or later, the routine is called, in
// an alertable wait. Only after a failure it is not; ERROR_MORE_DATA is a success with a warning.
void begun(connection& one, BOOL done) {
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_SUCCESS || error == ERROR_MORE_DATA) {
        move_to_pending(one.all.complete, one);
    } else {
        end_client(one, error);
    }
}

// Reads a message, or what is still to come of it.
void begin_read(connection& one) {
    const DWORD room = static_cast<DWORD>(one.message.size()) - one.used;
    one.doing = step::reading;
    begun(one, ReadFileEx(one.pipe.get(), &one.message[one.used], room, &one, on_complete));
}

void begin_reply(connection& one) {
    protocol::make_reply({one.message.data(), one.used});
    one.doing = step::writing;
    begun(one, WriteFileEx(one.pipe.get(), one.message.data(), one.used, &one, on_complete));
}

// The routine has been called: begins the next operation.
void advance(connection& one) {
    one.used += one.doing == step::reading ? one.transferred : 0;
    if (one.doing == step::reading && one.result == ERROR_SUCCESS) {
        begin_reply(one);
    } else if (one.result == ERROR_MORE_DATA && one.used < protocol::max_message_bytes) {
        one.message.resize(one.message.size() * 2); // it was full: the rest goes behind
        begin_read(one);
    } else if (one.result != ERROR_SUCCESS) {
        end_client(one, one.result);
    } else {
        ++one.answered;
        clear_message(one);
        begin_read(one);
    }
}

void on_connected(connection& one) {
    server& all = one.all;
    one.connected.reset();
    one.hEvent = nullptr; // ReadFileEx and WriteFileEx leave it to the program
    all.complete.splice(all.complete.end(), all.listening, one.self);
    listen(all);     // the next client finds an instance before this one is served
    begin_read(one); // if the client has left again, this will tell
}

// ANCHOR: wait
// Waits, and lets routines run. Returns the number of an event that is set, if there is one.
DWORD wait(server& all, const std::vector<HANDLE>& events) {
    const DWORD count = static_cast<DWORD>(events.size());
    const DWORD waited = WaitForMultipleObjectsEx(count, events.data(), FALSE /* any */,
                                                  cancel_overdue(all), TRUE /* alertable */);
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjectsEx");
    }
    // Which comes first, an event that is set or a routine that waits, is not documented. So that
    // neither has to wait for ever, both get their turn.
    if (waited == WAIT_IO_COMPLETION) {
        return WaitForMultipleObjects(count, events.data(), FALSE /* any */, 0);
    }
    SleepEx(0, TRUE /* alertable */);
    return waited;
}
// ANCHOR_END: wait

void serve(server& all) {
    const std::uint64_t clients = all.options.clients;
    while (clients == 0 || all.served < clients) {
        std::vector<HANDLE> events = {ipc::ctrl_c_event()};
        for (const connection& one : all.listening) {
            events.push_back(one.connected.get());
        }
        const DWORD i = wait(all, events);
        if (i == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (i < events.size()) {
            on_connected(*std::next(all.listening.begin(), i - 1));
        }
        while (!all.complete.empty() && (clients == 0 || all.served < clients)) {
            advance(all.complete.front());
        }
    }
}

// ANCHOR: stop
// To close the handles is not enough: the routines are called even then, and need their OVERLAPPED.
void stop(server& all) {
    for (connection& one : all.pending) {
        CancelIoEx(one.pipe.get(), &one);
    }
    while (!all.pending.empty()) { // the routine takes its connection out of there
        SleepEx(INFINITE, TRUE);   // ended by the routines of what was cancelled
    }
    all.complete.clear(); // clients that are still there learn it
    all.listening.clear();
}
// ANCHOR_END: stop

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server all{};
    all.options = ipc::parse_server_options(argc, argv);
    {
        const ipc::scope_exit end([&] { stop(all); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server in order
        listen(all);
        ipc::print_line("A: one thread waits for clients, alertably");
        serve(all);
    }
    ipc::print_line("A: the end; clients served: {}", all.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
