// Exercise 09.2: write the loop of the workers at a completion port.
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
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr auto usage = "processA [--clients N] [--name SUFFIX]";
constexpr std::uint64_t most_clients = 16;
constexpr int worker_count = 2;

enum class operation { connect, read, reply };

// One instance of the pipe and its client, which has one operation at a time.
struct client_state {
    ipc::unique_handle pipe;
    OVERLAPPED overlapped{};
    operation current = operation::connect;
    ipc::message_buffer buffer{protocol::max_message_bytes}; // grows for a long message
    std::uint64_t answered = 0;
};

struct server_state {
    ipc::unique_handle port;
    ipc::unique_handle finished_event; // every client has left, or a worker has failed
    std::vector<client_state> clients;
    std::atomic<std::size_t> left = 0;
    std::atomic<bool> failed = false;
};

// Creates an instance of the pipe at the port and waits for its client.
void listen(server_state& server, client_state& client, const std::wstring& name) {
    const DWORD first = &client == server.clients.data() ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0;
    ipc::user_only_security security;
    client.pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, security.get()));
    if (!client.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    const auto key = reinterpret_cast<ULONG_PTR>(&client); // comes back with each packet
    if (CreateIoCompletionPort(client.pipe.get(), server.port.get(), key, 0) == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    const BOOL done = ConnectNamedPipe(client.pipe.get(), &client.overlapped);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) { // a client came before the call
        PostQueuedCompletionStatus(server.port.get(), 0, key, &client.overlapped);
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void end_client(server_state& server, client_state& client, DWORD error) {
    client.pipe.reset();
    ipc::print_client_end(error, client.answered);
    if (++server.left == server.clients.size()) {
        SetEvent(server.finished_event.get());
    }
}

// Call it right after ReadFile or WriteFile. A call that failed at once has no packet.
void expect_packet(server_state& server, client_state& client, BOOL done) {
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA) {
        end_client(server, client, error);
    }
}

// Starts the client's next operation. From then on the client may belong to another worker.
[[maybe_unused]] // until work() calls it
void handle_completion(server_state& server, client_state& client, ipc::call_result result) {
    if (client.current == operation::read) {
        client.buffer.add(result.bytes);
    }
    const bool rest_follows = result.error == ERROR_MORE_DATA && client.buffer.grow();
    if (result.error != ERROR_SUCCESS && !rest_follows) {
        end_client(server, client, result.error);
    } else if (client.current == operation::read && !rest_follows) {
        const std::span<char> message = client.buffer.message();
        protocol::make_reply(message);
        client.current = operation::reply;
        const BOOL done =
            WriteFile(client.pipe.get(), message.data(), static_cast<DWORD>(message.size()),
                      nullptr, &client.overlapped);
        expect_packet(server, client, done);
    } else {
        if (!rest_follows) { // a new request
            client.answered += client.current == operation::reply ? 1 : 0;
            client.buffer.clear();
        }
        client.current = operation::read;
        const BOOL done = ReadFile(client.pipe.get(), client.buffer.free_space(),
                                   client.buffer.free_bytes(), nullptr, &client.overlapped);
        expect_packet(server, client, done);
    }
}

// Takes packets from the port and calls handle_completion for each, until a packet of stop_workers comes.
void work([[maybe_unused]] server_state& server) {
    // TODO: take a packet from server.port with GetQueuedCompletionStatus.
    // TODO: if it is a packet of stop_workers, return.
    // TODO: find the client and the result of its operation, and call handle_completion. Then the next packet.
}

// Posts one packet for each worker, without an OVERLAPPED.
void stop_workers(server_state& server) {
    for (int i = 0; i < worker_count; ++i) {
        PostQueuedCompletionStatus(server.port.get(), 0, 0, nullptr);
    }
}

void start_workers(server_state& server, std::vector<std::jthread>& workers) {
    for (int i = 0; i < worker_count; ++i) {
        workers.emplace_back([&server] {
            try {
                work(server);
            } catch (...) {
                ipc::report_exception("A");
                server.failed = true;
                SetEvent(server.finished_event.get());
            }
        });
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 1;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--clients", &count}, {L"--name", &suffix}});
    server_state server;
    server.clients = std::vector<client_state>(std::clamp<std::uint64_t>(count, 1, most_clients));
    server.finished_event.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0));
    if (!server.finished_event || !server.port) {
        ipc::throw_last_error("CreateEventW or CreateIoCompletionPort");
    }
    for (client_state& client : server.clients) {
        listen(server, client, ipc::object_name(protocol::pipe_name, suffix));
    }
    std::vector<std::jthread> workers;
    start_workers(server, workers);
    ipc::print_line("A: waiting for clients");
    WaitForSingleObject(server.finished_event.get(), INFINITE); // ended by the last client
    stop_workers(server);
    workers.clear(); // joins them
    if (server.failed) {
        return 1; // the worker has said why
    }
    ipc::print_line("A: every client has left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
