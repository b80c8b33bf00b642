#pragma once

// What the worker threads share: the port, the connections and the limits.

#include "common/server_options.hpp"
#include "connection.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

constexpr std::size_t listening_count = 8; // instances that wait for a client at the same time
constexpr std::size_t most_clients = 1024; // each may make the server hold a message of 1 MiB
constexpr DWORD cancel_again_ms = 10;

struct server {
    ipc::server_options options;
    completion_port port;
    ipc::unique_handle finished; // an event: there were enough clients, or a worker has failed
    std::atomic<bool> stopping = false;
    std::vector<std::jthread> workers;

    std::mutex mutex; // for what follows
    std::unordered_map<connection*, std::unique_ptr<connection>> connections;
    std::size_t listening = 0;
    std::uint64_t served = 0;
    std::exception_ptr failure;

    ULONGLONG idle_limit_ms() const { return options.idle_limit.ms; }
};

// With the mutex held: makes instances until enough of them wait for a client.
inline void listen(server& all) {
    while (all.listening < listening_count && all.connections.size() < most_clients) {
        const std::wstring name = ipc::object_name(protocol::pipe_name, all.options.suffix);
        auto made = std::make_unique<connection>(name, all.connections.empty());
        connection& one = *made;
        // The key comes back with every packet of this pipe.
        if (!CreateIoCompletionPort(one.pipe.get(), all.port.handle.get(),
                                    reinterpret_cast<ULONG_PTR>(&one), 0)) {
            ipc::throw_last_error("CreateIoCompletionPort");
        }
        all.connections.emplace(&one, std::move(made));
        ++all.listening;
        begin_connect(one, all.port);
    }
}

// Cancels what takes too long; returns how long the others have left.
inline DWORD cancel_overdue(server& all) {
    const std::lock_guard lock(all.mutex); // so that no connection goes meanwhile
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG next_ms = now_ms + all.idle_limit_ms();
    for (const auto& [key, one] : all.connections) {
        ULONGLONG end_ms = one->end_ms;
        if (end_ms > now_ms) {
            next_ms = std::min(next_ms, end_ms);
        } else if (one->end_ms.compare_exchange_strong(end_ms, now_ms + cancel_again_ms)) {
            // Exchanged, so that a limit which a worker sets at this moment is not lost. Again soon,
            // because a worker may not have begun the operation yet.
            CancelIoEx(one->pipe.get(), &one->operation);
            next_ms = std::min<ULONGLONG>(next_ms, now_ms + cancel_again_ms);
        }
    }
    return static_cast<DWORD>(next_ms - now_ms);
}
