// SOLUTION: the port gets a packet of an operation that is pending or has succeeded at once. A call that failed at
// once began no operation, so no packet comes. A looks at the result of every call, and ends the client itself.
// STARTER
//~ // Exercise 09.1: A waits for ever, although its clients have left. Mend it.
// END
//
// Run: processA [--clients N] [--name SUFFIX], and N processB (default: 1)

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--clients N] [--name SUFFIX]";
constexpr std::uint64_t most_clients = 16;

enum class operation { connect, read, reply };

// One instance of the pipe and its client, which has one operation at a time.
struct client_state {
    ipc::unique_handle pipe; // empty when the client has left
    OVERLAPPED overlapped{};
    operation current = operation::connect;
    std::vector<char> buffer = std::vector<char>(protocol::max_message_bytes);
    std::uint64_t answered = 0;
};

// Creates an instance of the pipe at the port.
void create_instance(client_state& client, const std::wstring& name, DWORD first_flag,
                     HANDLE port) {
    ipc::user_only_security security;
    client.pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first_flag,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, security.get()));
    if (!client.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    const auto key = reinterpret_cast<ULONG_PTR>(&client); // comes back with each packet
    if (CreateIoCompletionPort(client.pipe.get(), port, key, 0) == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
}

void start_connect(client_state& client, HANDLE port) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), &client.overlapped);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) { // a client came before the call
        const auto key = reinterpret_cast<ULONG_PTR>(&client);
        if (!PostQueuedCompletionStatus(port, 0, key, &client.overlapped)) {
            ipc::throw_last_error("PostQueuedCompletionStatus");
        }
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void end_client(client_state& client, DWORD error) {
    client.pipe.reset();
    ipc::print_client_end(error, client.answered);
}

// SOLUTION: ERROR_MORE_DATA is a warning and not a failure: the operation has read the first part of a message.
void expect_packet(client_state& client, BOOL done) {
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA) {
        end_client(client, error);
    }
}

// STARTER
// END
void start_read(client_state& client) {
    client.current = operation::read;
    // SOLUTION: fails at once if the client has left.
    const BOOL done = ReadFile(client.pipe.get(), client.buffer.data(), protocol::max_message_bytes,
                               nullptr, &client.overlapped);
    expect_packet(client, done);
    // STARTER
    //~ ReadFile(client.pipe.get(), client.buffer.data(), protocol::max_message_bytes, nullptr,
    //~          &client.overlapped); // its packet brings the result
    // END
}

void start_reply(client_state& client, DWORD bytes) {
    protocol::make_reply({client.buffer.data(), bytes});
    client.current = operation::reply;
    // SOLUTION: fails at once if the client has sent its request and left.
    const BOOL done =
        WriteFile(client.pipe.get(), client.buffer.data(), bytes, nullptr, &client.overlapped);
    expect_packet(client, done);
    // STARTER
    //~ WriteFile(client.pipe.get(), client.buffer.data(), bytes, nullptr,
    //~           &client.overlapped); // its packet brings the result
    // END
}

// Starts the next operation of the client to which the packet belongs.
void handle_packet(client_state& client, DWORD error, DWORD bytes) {
    if (error != ERROR_SUCCESS) {
        end_client(client, error);
    } else if (client.current == operation::read) {
        start_reply(client, bytes);
    } else {
        client.answered += client.current == operation::reply ? 1 : 0;
        start_read(client);
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 1;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--clients", &count}, {L"--name", &suffix}});
    const ipc::unique_handle port(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!port) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    std::vector<client_state> clients(std::clamp<std::uint64_t>(count, 1, most_clients));
    DWORD first_flag = FILE_FLAG_FIRST_PIPE_INSTANCE;
    for (client_state& client : clients) {
        create_instance(client, ipc::object_name(protocol::pipe_name, suffix), first_flag,
                        port.get());
        start_connect(client, port.get());
        first_flag = 0;
    }
    ipc::print_line("A: waiting for clients");
    const auto has_left = [](const client_state& client) { return !client.pipe; };
    while (!std::ranges::all_of(clients, has_left)) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        const BOOL success = GetQueuedCompletionStatus(port.get(), &bytes, &key, &overlapped,
                                                       INFINITE); // ended by a client
        const DWORD error = success ? ERROR_SUCCESS : GetLastError();
        if (overlapped == nullptr) {
            ipc::throw_error("GetQueuedCompletionStatus", error);
        }
        handle_packet(*reinterpret_cast<client_state*>(key), error, bytes);
    }
    ipc::print_line("A: every client has left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
