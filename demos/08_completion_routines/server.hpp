#pragma once

// The connections of the server and their limits.

#include "common/server_options.hpp"
#include "connection.hpp"

#include <exception>

constexpr std::size_t listening_count = 8; // instances that wait for a client at the same time
constexpr std::size_t most_clients = 1024; // each may make the server hold a message of 1 MiB

struct server {
    ipc::server_options options;
    std::list<connection> listening;
    std::list<connection> clients; // the one whose operation began first stands first
    int routines_to_come = 0;      // that will still be called
    bool stopping = false;
    std::uint64_t served = 0;
    std::exception_ptr failure; // of a completion routine
};

// Makes instances until enough of them wait for a client.
inline void listen(server& all) {
    while (all.listening.size() < listening_count &&
           all.listening.size() + all.clients.size() < most_clients) {
        const std::wstring name = ipc::object_name(protocol::pipe_name, all.options.suffix);
        const bool first = all.listening.empty() && all.clients.empty();
        connection& one = all.listening.emplace_back(all, name, first);
        one.self = std::prev(all.listening.end());
        begin_connect(one);
    }
}

// An operation begins now: the connection goes to the end of the queue.
inline void renew(connection& one) {
    one.since_ms = GetTickCount64();
    one.all.clients.splice(one.all.clients.end(), one.all.clients, one.self);
}

// Cancels what takes too long; returns how long the others have left.
inline DWORD cancel_overdue(server& all) {
    const ULONGLONG limit_ms = all.options.idle_seconds * 1000;
    const ULONGLONG now_ms = GetTickCount64();
    while (!all.clients.empty() && all.clients.front().since_ms + limit_ms <= now_ms) {
        connection& one = all.clients.front();
        CancelIoEx(one.pipe.get(), &one); // its routine is called, if it is not waiting already
        renew(one);
    }
    return all.clients.empty()
               ? INFINITE // the next client or Ctrl+C ends the wait
               : static_cast<DWORD>(all.clients.front().since_ms + limit_ms - now_ms);
}
