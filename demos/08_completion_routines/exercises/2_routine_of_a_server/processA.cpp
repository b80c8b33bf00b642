// Exercise 08.2: write the completion routine of a server for a few clients.
//
// Run: processA [--clients N] [--name SUFFIX], and N processB (default: 1)

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/message_buffer.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--clients N] [--name SUFFIX]";
constexpr std::uint64_t most_clients = 16;

enum class operation { connect, read, reply };
enum class phase { pending, complete, left };

// One instance of the pipe and its client.
struct client_state : OVERLAPPED {
    ipc::unique_handle pipe;
    ipc::unique_handle connected_event;
    operation current = operation::connect;
    phase now = phase::pending;                              // of this operation
    ipc::call_result result;                                 // once it is complete
    ipc::message_buffer buffer{protocol::max_message_bytes}; // grows for a long message
    std::uint64_t answered = 0;
};

// The system calls this when an operation is complete. handle_completion, below, does the rest: it needs the
// client's result, and runs when the client's phase is complete.
void CALLBACK note_result([[maybe_unused]] DWORD error, [[maybe_unused]] DWORD bytes,
                          [[maybe_unused]] OVERLAPPED* overlapped) {
    // TODO: find the client to which the OVERLAPPED belongs.
    // TODO: note how the operation ended: ERROR_SUCCESS, ERROR_MORE_DATA (the first part of a long message) ...
    // TODO: change the client's phase.
}

// Creates an instance of the pipe. ConnectNamedPipe has no form with a routine, so it sets an event.
void listen(client_state& client, const std::wstring& name, DWORD first_flag) {
    ipc::user_only_security security;
    client.pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first_flag,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, security.get()));
    if (!client.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    client.connected_event.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    client.hEvent = client.connected_event.get();
    const BOOL done = ConnectNamedPipe(client.pipe.get(), &client);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
        SetEvent(client.connected_event.get());
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void end_client(client_state& client, DWORD error) {
    client.now = phase::left;
    client.pipe.reset();
    ipc::print_client_end(error, client.answered);
}

// Call it right after ReadFileEx or WriteFileEx.
void expect_routine(client_state& client, operation current, BOOL started) {
    const DWORD error = started ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA /* Wine: the routine will run */) {
        return end_client(client, error);
    }
    client.current = current;
    client.now = phase::pending;
}

void start_read(client_state& client) {
    const BOOL started = ReadFileEx(client.pipe.get(), client.buffer.free_space(),
                                    client.buffer.free_bytes(), &client, note_result);
    expect_routine(client, operation::read, started);
}

void start_reply(client_state& client) {
    const std::span<char> message = client.buffer.message();
    protocol::make_reply(message);
    const BOOL started = WriteFileEx(client.pipe.get(), message.data(),
                                     static_cast<DWORD>(message.size()), &client, note_result);
    expect_routine(client, operation::reply, started);
}

// Starts the next operation of a client whose operation is complete.
void handle_completion(client_state& client) {
    const auto [error, bytes] = client.result;
    if (client.current == operation::read) {
        client.buffer.add(bytes);
    }
    if (error == ERROR_MORE_DATA && client.buffer.grow()) {
        start_read(client); // the rest of the message
    } else if (error != ERROR_SUCCESS) {
        end_client(client, error);
    } else if (client.current == operation::read) {
        start_reply(client);
    } else {
        client.answered += client.current == operation::reply ? 1 : 0;
        client.buffer.clear();
        start_read(client);
    }
}

// Waits until a client connects, which completes its operation, or until routines have run.
void wait_alertably(std::vector<client_state>& clients) {
    std::vector<HANDLE> events;
    for (const client_state& client : clients) {
        events.push_back(client.connected_event.get());
    }
    const auto count = static_cast<DWORD>(events.size());
    const DWORD waited = WaitForMultipleObjectsEx(count, events.data(), FALSE /* any */,
                                                  INFINITE, // ended by a client or a routine
                                                  TRUE);    // alertable
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjectsEx");
    }
    if (waited < WAIT_OBJECT_0 + count) {
        clients[waited - WAIT_OBJECT_0].now = phase::complete;
        SleepEx(0, TRUE /* alertable */); // a wait that an event ends may run no routine
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 1;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--clients", &count}, {L"--name", &suffix}});
    std::vector<client_state> clients(std::clamp<std::uint64_t>(count, 1, most_clients));
    DWORD first_flag = FILE_FLAG_FIRST_PIPE_INSTANCE;
    for (client_state& client : clients) {
        listen(client, ipc::object_name(protocol::pipe_name, suffix), first_flag);
        first_flag = 0;
    }
    ipc::print_line("A: waiting for clients");
    const auto has_left = [](const client_state& client) { return client.now == phase::left; };
    while (!std::ranges::all_of(clients, has_left)) {
        wait_alertably(clients);
        for (client_state& client : clients) {
            if (client.now == phase::complete) {
                handle_completion(client);
            }
        }
    }
    ipc::print_line("A: every client has left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
