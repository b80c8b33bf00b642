// Demo 08, process A: one thread serves a thousand clients with completion routines.
//
// A names a function with every read and write. The system calls it on A's own thread, when the
// operation is complete and the thread waits alertably. The function begins the next operation. No
// lock, no event for each client. Each B is a client: it gets its requests back in upper case.
//
// Run: processA [--clients N] [--idle SECONDS] [--name SUFFIX], and any number of processB

#include "common/scope_exit.hpp"
#include "common/stop.hpp"
#include "server.hpp"

namespace {

void CALLBACK on_read(DWORD error, DWORD bytes, OVERLAPPED* operation);
void CALLBACK on_written(DWORD error, DWORD bytes, OVERLAPPED* operation);

// Nothing is pending on the connection.
void end_client(connection& one, DWORD error) {
    server& all = one.all;
    ipc::print_client_end(error, one.answered);
    ++all.served;
    all.clients.erase(one.self);
    listen(all); // if there were as many clients as may be, there is room for one more now
}

// Takes what ReadFileEx or WriteFileEx returned. Done at once or later, the routine is called, in
// an alertable wait. Only after a failure it is not; ERROR_MORE_DATA is a success with a warning.
void begun(connection& one, BOOL done) {
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
        return end_client(one, error);
    }
    ++one.all.routines_to_come;
    renew(one);
}

// Reads a message, or what is still to come of it.
void begin_read(connection& one) {
    const DWORD room = static_cast<DWORD>(one.message.size()) - one.used;
    begun(one, ReadFileEx(one.pipe.get(), &one.message[one.used], room, &one, on_read));
}

void begin_reply(connection& one) {
    protocol::make_reply({one.message.data(), one.used});
    begun(one, WriteFileEx(one.pipe.get(), one.message.data(), one.used, &one, on_written));
}

// What every routine does first and last. No exception may leave it: the system called it.
template <typename Step> void resume(OVERLAPPED* operation, Step step) {
    auto& one = *static_cast<connection*>(operation);
    server& all = one.all;
    --all.routines_to_come;
    try {
        if (!all.stopping) {
            step(one);
        }
    } catch (...) {
        all.failure = std::current_exception();
    }
}

void CALLBACK on_read(DWORD error, DWORD bytes, OVERLAPPED* operation) {
    resume(operation, [=](connection& one) {
        one.used += bytes;
        if (error == ERROR_SUCCESS) {
            begin_reply(one);
        } else if (error == ERROR_MORE_DATA && one.used < protocol::max_message_bytes) {
            one.message.resize(one.message.size() * 2); // it was full: the rest goes behind
            begin_read(one);
        } else {
            end_client(one, error);
        }
    });
}

void CALLBACK on_written(DWORD error, DWORD /* bytes */, OVERLAPPED* operation) {
    resume(operation, [=](connection& one) {
        if (error != ERROR_SUCCESS) {
            return end_client(one, error);
        }
        ++one.answered;
        clear_message(one);
        begin_read(one);
    });
}

void on_connected(connection& one) {
    server& all = one.all;
    one.connected.reset();
    one.hEvent = nullptr; // ReadFileEx and WriteFileEx leave it to the program
    all.clients.splice(all.clients.end(), all.listening, one.self);
    listen(all);     // the next client finds an instance before this one is served
    begin_read(one); // if the client has left again, this will tell
}

// ANCHOR: serve
void serve(server& all) {
    const std::uint64_t clients = all.options.clients;
    while (!all.failure && (clients == 0 || all.served < clients)) {
        std::vector<HANDLE> events = {ipc::ctrl_c_event()};
        for (const connection& one : all.listening) {
            events.push_back(one.connected.get());
        }
        const DWORD i = WaitForMultipleObjectsEx(static_cast<DWORD>(events.size()), events.data(),
                                                 FALSE /* any */, cancel_overdue(all), TRUE);
        if (i == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (i < events.size()) {
            on_connected(*std::next(all.listening.begin(), i - 1));
            SleepEx(0, TRUE); // an event that is set must not keep waiting routines from their turn
        } else if (i == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjectsEx");
        } // else WAIT_IO_COMPLETION, routines have been called, or WAIT_TIMEOUT
    }
}
// ANCHOR_END: serve

// ANCHOR: stop
// To close the handles is not enough: the routines are called even then, and need their OVERLAPPED.
void stop(server& all) {
    all.stopping = true;
    for (connection& one : all.clients) {
        CancelIoEx(one.pipe.get(), &one);
    }
    while (all.routines_to_come > 0) {
        SleepEx(INFINITE, TRUE); // ended by the routines of what was cancelled
    }
    all.clients.clear(); // clients that are still there learn it
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
    if (all.failure) {
        std::rethrow_exception(all.failure);
    }
    ipc::print_line("A: the end; clients served: {}", all.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
