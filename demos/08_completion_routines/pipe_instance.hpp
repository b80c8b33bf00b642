#pragma once

// The instances of the server's pipe, and the lists in which the server keeps them.

#include "common/message_buffer.hpp"
#include "common/overlapped.hpp"
#include "common/server_options.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <cstddef>
#include <cstdint>
#include <list>

// Each client can make this program hold a message of 1 MiB. A reply that its client does not read
// takes as much of the kernel's memory, which no figure of this process shows.
constexpr std::size_t most_clients = 1024;

struct server_state;
enum class operation { read, reply };

// A completion routine gets the address of the OVERLAPPED, and no other pointer of the program. A
// pipe_instance derives from OVERLAPPED, so that a static_cast finds the one from the other.
struct pipe_instance : OVERLAPPED {
    explicit pipe_instance(server_state& owner) : OVERLAPPED{}, server(owner) {}

    server_state& server;
    std::list<pipe_instance>::iterator position; // in one of the server's lists
    ipc::unique_handle pipe;
    operation current = operation::read;
    ipc::call_result result; // of the operation that is complete
    ULONGLONG start_ms = 0;  // of the operation
    ipc::message_buffer buffer{protocol::max_message_bytes};
    std::uint64_t answered = 0;
};

struct server_state {
    ipc::server_options options;
    ipc::unique_handle connected_event; // a client has connected to the listening instance
    std::list<pipe_instance> listening; // one instance, or none if there are most_clients
    std::list<pipe_instance> pending;   // an operation is pending; the oldest one is first
    std::list<pipe_instance> complete;  // the operation is complete, the next one not yet started
    std::uint64_t served = 0;

    std::size_t client_count() const { return pending.size() + complete.size(); }
};
