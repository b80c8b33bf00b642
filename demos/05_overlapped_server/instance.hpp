#pragma once

// One instance of the server's pipe and the operations that the server begins on it. What is done
// when an operation is complete stands in processA.cpp.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <cstdint>
#include <stdexcept>
#include <vector>

constexpr DWORD first_bytes = 4 * 1024; // the buffer of a new instance, and of its pipe
constexpr DWORD kept_bytes = 64 * 1024; // a larger one is given back after the reply

enum class step { connecting, reading, writing };

// Until the operation is complete the kernel writes into operation and message, so an instance
// never moves, and its destructor waits.
struct instance {
    ipc::unique_handle pipe;
    ipc::unique_handle event; // set when the operation is complete
    OVERLAPPED operation{};
    step doing = step::connecting;
    DWORD began = ERROR_SUCCESS; // what the call returned that began the operation
    ULONGLONG since_ms = 0;
    std::vector<char> message = std::vector<char>(first_bytes);
    DWORD used = 0; // bytes of the message that have arrived
    std::uint64_t answered = 0;

    instance(const std::wstring& name, bool first, DWORD most_instances);
    instance(const instance&) = delete;
    instance& operator=(const instance&) = delete;

    // ANCHOR: clean_up
    ~instance() {
        if (began == ERROR_IO_PENDING) {
            CancelIoEx(pipe.get(), &operation); // only asks: it may be too late for that
            DWORD bytes = 0;
            GetOverlappedResult(pipe.get(), &operation, &bytes, TRUE /* wait for the answer */);
        }
        DisconnectNamedPipe(pipe.get()); // or a client's open handle would keep the name taken
    }
    // ANCHOR_END: clean_up
};

inline instance::instance(const std::wstring& name, bool first, DWORD most_instances)
    : event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    operation.hEvent = event.get();
    ipc::user_only_security security;
    pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        most_instances, first_bytes, first_bytes, 0 /* default time-out */, security.get()));
    if (!pipe) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name is taken, by another server? " + ipc::to_utf8(name));
        }
        ipc::throw_error("CreateNamedPipeW", error);
    }
}

// ANCHOR: begin
// Takes what an overlapped call returned. Done at once: its event is set. Pending: it will be set.
// Failed at once: nobody else sets it. So all three end in the wait, and each client gets its turn.
inline void begin(instance& one, step doing, BOOL done) {
    one.began = done ? ERROR_SUCCESS : GetLastError();
    if (one.began != ERROR_SUCCESS && one.began != ERROR_IO_PENDING) {
        SetEvent(one.event.get());
    }
    one.doing = doing;
    one.since_ms = GetTickCount64();
}
// ANCHOR_END: begin

// ANCHOR: begin_connect
inline void begin_connect(instance& one) {
    begin(one, step::connecting, ConnectNamedPipe(one.pipe.get(), &one.operation));
    // ERROR_PIPE_CONNECTED is no error: a client came before the call. With ERROR_NO_DATA it has
    // even left again, as the read will tell.
    if (one.began != ERROR_SUCCESS && one.began != ERROR_IO_PENDING &&
        one.began != ERROR_PIPE_CONNECTED && one.began != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", one.began);
    }
}
// ANCHOR_END: begin_connect

// Reads a message, or what is still to come of it.
inline void begin_read(instance& one) {
    const DWORD room = static_cast<DWORD>(one.message.size()) - one.used;
    begin(one, step::reading,
          ReadFile(one.pipe.get(), &one.message[one.used], room, nullptr, &one.operation));
}

inline void begin_reply(instance& one) {
    protocol::make_reply({one.message.data(), one.used});
    begin(one, step::writing,
          WriteFile(one.pipe.get(), one.message.data(), one.used, nullptr, &one.operation));
}

// Forgets the message, and gives back what a long one took: an idle client holds no megabyte. A
// client of large messages keeps a buffer into which they fit at once.
inline void clear_message(instance& one) {
    one.used = 0;
    if (one.message.size() > kept_bytes) {
        one.message = std::vector<char>(first_bytes);
    }
}
