#pragma once

#include "common/error.hpp"
#include "common/message_buffer.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <cstdint>
#include <string>

// WaitForMultipleObjects takes 64 objects: the Ctrl+C event, these, and one for your exercises.
constexpr DWORD instance_count = MAXIMUM_WAIT_OBJECTS - 2;
constexpr DWORD pipe_buffer_bytes = 4 * 1024;

enum class operation { connect, read, reply };

// One instance of the server's pipe, and the one operation at a time that the server starts on it.
// The kernel writes into overlapped and buffer until that operation is complete. Therefore an
// instance is never moved or copied, and its destructor waits.
struct pipe_instance {
    ipc::unique_handle pipe;
    ipc::unique_handle event; // set when the operation is complete; the next one resets it
    OVERLAPPED overlapped{};
    operation current = operation::connect;
    DWORD start_error = ERROR_SUCCESS; // of the call that started the operation
    ULONGLONG start_ms = 0;
    ipc::message_buffer buffer{protocol::max_message_bytes};
    std::uint64_t answered = 0; // requests of the client that is connected

    pipe_instance(const std::wstring& name, DWORD first_flag);
    pipe_instance(const pipe_instance&) = delete;
    pipe_instance& operator=(const pipe_instance&) = delete;

    // Does not disconnect: a client can still read a reply that was written, and finds the end of
    // the pipe after it. DisconnectNamedPipe would throw away what the client has not read.
    // ANCHOR: clean_up
    ~pipe_instance() {
        if (start_error == ERROR_IO_PENDING) {
            CancelIoEx(pipe.get(), &overlapped); // a request: the operation may still succeed
            DWORD bytes = 0;
            GetOverlappedResult(pipe.get(), &overlapped, &bytes, TRUE /* wait for its end */);
        }
    }
    // ANCHOR_END: clean_up
};

inline pipe_instance::pipe_instance(const std::wstring& name, DWORD first_flag)
    : event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    overlapped.hEvent = event.get();
    // ANCHOR: create
    ipc::user_only_security security; // for the current user only
    pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED // read and write; no call on this handle blocks
            | first_flag,                         // FILE_FLAG_FIRST_PIPE_INSTANCE: see wmain
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE // a WriteFile is a message, a ReadFile reads one
            | PIPE_WAIT                           // blocking mode
            | PIPE_REJECT_REMOTE_CLIENTS,         // for programs on this machine only
        instance_count,                           // at the most
        pipe_buffer_bytes,                        // for replies that the client has not read
        pipe_buffer_bytes,                        // for requests that the server has not read
        0,                                        // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    // ANCHOR_END: create
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
}
