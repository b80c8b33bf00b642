#pragma once

// The connections of the server and their limits.

#include "common/server_options.hpp"
#include "connection.hpp"

constexpr std::size_t listening_count = 8; // instances that wait for a client at the same time
constexpr std::size_t most_clients = 1024; // each may make the server hold a message of 1 MiB

struct server {
    ipc::server_options options;
    std::list<connection> listening;
    std::list<connection> pending;  // an operation is; the one that began first stands first
    std::list<connection> complete; // the operation is, and the next one has to begin
    std::uint64_t served = 0;
};

// Makes instances until enough of them wait for a client.
inline void listen(server& all) {
    while (all.listening.size() < listening_count &&
           all.listening.size() + all.pending.size() + all.complete.size() < most_clients) {
        const std::wstring name = ipc::object_name(protocol::pipe_name, all.options.suffix);
        const bool first = all.listening.empty() && all.pending.empty() && all.complete.empty();
        connection& one = all.listening.emplace_back(all, name, first);
        one.self = std::prev(all.listening.end());
        begin_connect(one);
    }
}

// An operation has begun.
inline void move_to_pending(std::list<connection>& from, connection& one) {
    one.since_ms = GetTickCount64();
    one.all.pending.splice(one.all.pending.end(), from, one.self);
}

// Cancels what takes too long; returns how long the others have left.
inline DWORD cancel_overdue(server& all) {
    const ULONGLONG limit_ms = all.options.idle_limit.ms;
    const ULONGLONG now_ms = GetTickCount64();
    while (!all.pending.empty() && all.pending.front().since_ms + limit_ms <= now_ms) {
        connection& one = all.pending.front();
        CancelIoEx(one.pipe.get(), &one); // its routine is called, if it is not waiting already
        move_to_pending(all.pending, one);
    }
    return all.pending.empty()
               ? INFINITE // the next client or Ctrl+C ends the wait
               : static_cast<DWORD>(all.pending.front().since_ms + limit_ms - now_ms);
}
