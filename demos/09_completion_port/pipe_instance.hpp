#pragma once

// The instances of the server's pipe, and what its threads share.

#include "common/message_buffer.hpp"
#include "common/server_options.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

// Each client can make this program hold a message of 1 MiB. A reply that its client does not read
// takes as much of the kernel's memory, which no figure of this process shows.
constexpr std::size_t most_clients = 1024;
constexpr ULONGLONG no_end_ms = ~0ULL;

enum class operation { connect, read, reply };

// Belongs to the kernel while its operation is pending, and then to the one worker that gets the
// packet. So its members need no lock.
struct pipe_instance {
    ipc::unique_handle pipe;
    OVERLAPPED overlapped{}; // hEvent stays null: a packet reports the end of the operation
    operation current = operation::connect;
    std::atomic<ULONGLONG> end_ms = no_end_ms; // of the idle limit; the main thread reads it
    ipc::message_buffer buffer{protocol::max_message_bytes};
    std::uint64_t answered = 0;
    std::list<pipe_instance>::iterator position; // in the server's list
};

struct server_state {
    ipc::server_options options;
    ipc::unique_handle port;
    ipc::unique_handle finished_event; // enough clients were served, or no instance is left
    std::vector<std::jthread> workers;

    std::mutex mutex; // for the members below
    std::list<pipe_instance> instances;
    std::size_t listening = 0; // instances that wait for a client
    std::uint64_t served = 0;
};

// Call it when an operation starts: the client gets the whole limit again.
inline void renew_limit(const server_state& server, pipe_instance& client) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    // INFINITE is --limit 0.
    client.end_ms = limit_ms == INFINITE ? no_end_ms : GetTickCount64() + limit_ms;
}

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD cancel_overdue(server_state& server) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    if (limit_ms == INFINITE) { // --limit 0
        return INFINITE;        // finished_event or Ctrl+C ends the wait
    }
    const std::lock_guard lock(server.mutex); // or a worker could delete an instance meanwhile
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG next_ms = now_ms + limit_ms;
    for (pipe_instance& client : server.instances) {
        const ULONGLONG end_ms = client.end_ms;
        if (end_ms <= now_ms) {
            CancelIoEx(client.pipe.get(), &client.overlapped); // its packet comes with an error
        } else {
            next_ms = std::min(next_ms, end_ms);
        }
    }
    return static_cast<DWORD>(next_ms - now_ms);
}
