#pragma once

// One instance of the server's pipe, and the one operation at a time that is under way on it. What
// is done when it is complete stands in processA.cpp.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <cstdint>
#include <list>
#include <stdexcept>
#include <vector>

constexpr DWORD first_bytes = 4 * 1024; // the buffer of a new connection, and of its pipe
constexpr DWORD kept_bytes = 64 * 1024; // a larger one is given back after the reply

struct server;

enum class step { reading, writing };

// ANCHOR: context
// A completion routine is given the address of the OVERLAPPED and nothing else. As the connection
// is an OVERLAPPED with more behind it, a static_cast leads from one to the other.
struct connection : OVERLAPPED {
    server& all;
    std::list<connection>::iterator self; // where it stands in its list
    ipc::unique_handle pipe;
    ipc::unique_handle connected; // an event, up to there; routines need none
    step doing = step::reading;
    DWORD result = ERROR_SUCCESS; // these two: what the routine was told
    DWORD transferred = 0;
    ULONGLONG since_ms = 0; // the operation is under way
    std::vector<char> message = std::vector<char>(first_bytes);
    DWORD used = 0; // bytes of the message that have arrived
    std::uint64_t answered = 0;
    // ANCHOR_END: context

    connection(server& owner, const std::wstring& name, bool first);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();
};

inline connection::connection(server& owner, const std::wstring& name, bool first)
    : OVERLAPPED{}, all(owner),
      connected(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
    if (!connected) {
        ipc::throw_last_error("CreateEventW");
    }
    hEvent = connected.get();
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

// Of a client nothing is pending any more; an instance that still waits for one is cancelled here.
inline connection::~connection() {
    DWORD bytes = 0;
    if (hEvent != nullptr && pipe && CancelIoEx(pipe.get(), this)) {
        GetOverlappedResult(pipe.get(), this, &bytes, TRUE /* until the kernel has let go */);
    }
    DisconnectNamedPipe(pipe.get()); // or a client's open handle would keep the name taken
}

// There is no ConnectNamedPipeEx: this call needs an event.
inline void begin_connect(connection& one) {
    if (ConnectNamedPipe(one.pipe.get(), &one)) {
        return;
    }
    const DWORD error = GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
        SetEvent(one.connected.get()); // a client came before the call, or has even left again
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Forgets the message, and gives back what a long one took: an idle client holds no megabyte. A
// client of large messages keeps a buffer into which they fit at once.
inline void clear_message(connection& one) {
    one.used = 0;
    if (one.message.size() > kept_bytes) {
        one.message = std::vector<char>(first_bytes);
    }
}
