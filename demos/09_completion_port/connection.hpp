#pragma once

// One instance of the server's pipe, and the one operation at a time that is under way on it. What
// is done when it is complete stands in processA.cpp.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <vector>

constexpr DWORD first_bytes = 4 * 1024; // the buffer of a new connection, and of its pipe
constexpr DWORD kept_bytes = 64 * 1024; // a larger one is given back after the reply
constexpr ULONGLONG no_limit_ms = ~0ULL;

enum class step { connecting, reading, writing };

// Belongs to nobody but the kernel while its operation is pending, and then to the one thread that
// takes its packet: so its members need no lock.
struct connection {
    ipc::unique_handle pipe;
    OVERLAPPED operation{}; // hEvent stays empty: the packet tells
    step doing = step::connecting;
    DWORD failed = ERROR_SUCCESS;               // why the call did not even begin the operation
    std::atomic<ULONGLONG> end_ms{no_limit_ms}; // when it has taken too long; others look at it
    std::vector<char> message = std::vector<char>(first_bytes);
    DWORD used = 0; // bytes of the message that have arrived
    std::uint64_t answered = 0;

    connection(const std::wstring& name, bool first);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection() {
        DisconnectNamedPipe(pipe.get());
    } // a client's handle would keep the name taken
};

inline connection::connection(const std::wstring& name, bool first) {
    ipc::user_only_security security;
    pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, first_bytes, first_bytes, 0 /* default time-out */,
        security.get()));
    if (!pipe) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name is taken, by another server? " + ipc::to_utf8(name));
        }
        ipc::throw_error("CreateNamedPipeW", error);
    }
}

struct completion_port {
    ipc::unique_handle handle;
    std::atomic<int> packets_to_come = 1; // one too many until the server stops
    ipc::unique_handle all_taken;         // an event: there is none to come
};

inline void packet_taken(completion_port& port) {
    if (--port.packets_to_come == 0) {
        SetEvent(port.all_taken.get());
    }
}

inline void begin(connection& one, completion_port& port, step doing, ULONGLONG limit_ms) {
    one.doing = doing;
    one.failed = ERROR_SUCCESS;
    one.end_ms = limit_ms == no_limit_ms ? no_limit_ms : GetTickCount64() + limit_ms;
    ++port.packets_to_come;
}

// ANCHOR: begun
// Takes what an overlapped call returned. Done at once or pending: the port gets a packet, also with
// ERROR_MORE_DATA, a success with a warning. Failed at once, ERROR_PIPE_CONNECTED included: it gets
// none, so this sends one. Do not touch the connection after this: another thread may have it now.
inline void begun(connection& one, completion_port& port, BOOL done) {
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_SUCCESS || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA) {
        return;
    }
    one.failed = error;
    if (!PostQueuedCompletionStatus(port.handle.get(), 0, reinterpret_cast<ULONG_PTR>(&one),
                                    &one.operation)) {
        packet_taken(port);
        ipc::throw_last_error("PostQueuedCompletionStatus");
    }
}
// ANCHOR_END: begun

inline void begin_connect(connection& one, completion_port& port) {
    begin(one, port, step::connecting, no_limit_ms);
    begun(one, port, ConnectNamedPipe(one.pipe.get(), &one.operation));
}

// Reads a message, or what is still to come of it.
inline void begin_read(connection& one, completion_port& port, ULONGLONG limit_ms) {
    const DWORD room = static_cast<DWORD>(one.message.size()) - one.used;
    begin(one, port, step::reading, limit_ms);
    begun(one, port,
          ReadFile(one.pipe.get(), &one.message[one.used], room, nullptr, &one.operation));
}

inline void begin_reply(connection& one, completion_port& port, ULONGLONG limit_ms) {
    protocol::make_reply({one.message.data(), one.used});
    begin(one, port, step::writing, limit_ms);
    begun(one, port,
          WriteFile(one.pipe.get(), one.message.data(), one.used, nullptr, &one.operation));
}

// Forgets the message, and gives back what a long one took: an idle client holds no megabyte. A
// client of large messages keeps a buffer into which they fit at once.
inline void clear_message(connection& one) {
    one.used = 0;
    if (one.message.size() > kept_bytes) {
        one.message = std::vector<char>(first_bytes);
    }
}
