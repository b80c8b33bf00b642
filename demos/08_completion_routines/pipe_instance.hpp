#pragma once

// The instances of the server's pipe, and the completion routine of their reads and writes.

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

// ANCHOR: routine
// Notes the result and starts nothing. An operation that it started could be complete at once, and
// then the same wait would call its routine too: busy clients could keep that wait from returning.
//
// The system passes an error code as well, but for a message longer than the buffer that code is 0
// on Windows. GetOverlappedResult fails with ERROR_MORE_DATA, as it should.
inline void CALLBACK note_result(DWORD /* error */, DWORD /* bytes */, OVERLAPPED* overlapped) {
    auto& client = *static_cast<pipe_instance*>(overlapped);
    const BOOL success =
        GetOverlappedResult(client.pipe.get(), overlapped, &client.result.bytes, FALSE);
    client.result.error = success ? ERROR_SUCCESS : GetLastError();
    server_state& server = client.server;
    server.complete.splice(server.complete.end(), server.pending, client.position);
}
// ANCHOR_END: routine

// Cancels the operations that have exceeded the limit. Returns how long the next wait may last.
inline DWORD cancel_overdue(server_state& server) {
    const DWORD limit_ms = server.options.idle_limit.ms;
    if (limit_ms == INFINITE) { // --limit 0
        return INFINITE;        // a routine, the next client or Ctrl+C ends the wait
    }
    const ULONGLONG now_ms = GetTickCount64();
    for (pipe_instance& client : server.pending) {
        const ULONGLONG pending_ms = now_ms - client.start_ms;
        if (pending_ms < limit_ms) {
            return static_cast<DWORD>(limit_ms - pending_ms);
        }
        CancelIoEx(client.pipe.get(), &client); // its routine is called, with an error
    }
    return INFINITE; // as above
}
