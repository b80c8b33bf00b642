#pragma once

// The sessions of the server: how they begin, and what is done when they have ended.

#include "common/server_options.hpp"
#include "session.hpp"

#include <windows.h>

#include <process.h>

#include <algorithm>
#include <list>
#include <mutex>

constexpr std::size_t listening_count = 4;  // sessions that wait for a client at the same time
constexpr std::size_t most_clients = 1024;  // each may make the server hold a message of 1 MiB
constexpr unsigned stack_bytes = 256 << 10; // reserved; the default is 1 MiB for each thread
constexpr DWORD cancel_again_ms = 10;

struct server {
    ipc::server_options options;
    ipc::unique_handle changed; // an event: a thread has ended
    std::atomic<bool> stopping = false;
    std::uint64_t served = 0;

    std::mutex mutex; // for what follows
    std::list<session> sessions;
    std::size_t listening = 0;
};

unsigned __stdcall run(void* argument); // a session; in processA.cpp

// With the mutex held: makes sessions until enough of them wait for a client.
inline void listen(server& all) {
    while (!all.stopping && all.listening < listening_count && all.sessions.size() < most_clients) {
        const std::wstring name = ipc::object_name(protocol::pipe_name, all.options.suffix);
        session& one = all.sessions.emplace_back(all, name, all.sessions.empty());
        // Not CreateThread, because the C++ runtime is used on the thread; not std::thread, which
        // does not promise to have the HANDLE that CancelSynchronousIo needs.
        one.thread.reset(reinterpret_cast<HANDLE>(_beginthreadex(
            nullptr, stack_bytes, run, &one, STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr)));
        if (!one.thread) {
            const DWORD error = GetLastError();
            all.sessions.pop_back();
            ipc::throw_error("_beginthreadex", error);
        }
        ++all.listening;
    }
}

// Returns how long the calls of the others may still take.
inline DWORD cancel_overdue(server& all) {
    const std::lock_guard lock(all.mutex);
    const ULONGLONG now_ms = GetTickCount64();
    ULONGLONG next_ms = now_ms + all.options.idle_limit.ms;
    for (session& one : all.sessions) {
        ULONGLONG end_ms = one.end_ms;
        // Exchanged, so that a limit which the thread sets at this moment is not lost. Again soon,
        // because the thread may not have entered its call yet.
        if (end_ms <= now_ms &&
            one.end_ms.compare_exchange_strong(end_ms, now_ms + cancel_again_ms)) {
            CancelSynchronousIo(one.thread.get());
        }
        next_ms = std::min<ULONGLONG>(next_ms, one.end_ms);
    }
    return static_cast<DWORD>(next_ms > now_ms ? next_ms - now_ms : 0);
}

// Says what became of the clients that are gone, and lets others take their place.
inline void remove_ended(server& all) {
    const std::lock_guard lock(all.mutex);
    for (auto one = all.sessions.begin(); one != all.sessions.end();) {
        if (!one->ended) {
            ++one;
            continue;
        }
        WaitForSingleObject(one->thread.get(), INFINITE); // it is returning
        if (one->failure) {
            std::rethrow_exception(one->failure);
        }
        ipc::print_client_end(one->error, one->answered);
        ++all.served;
        one = all.sessions.erase(one);
    }
    listen(all);
}
