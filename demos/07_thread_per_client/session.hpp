#pragma once

#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <process.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>

constexpr DWORD pipe_buffer_bytes = 4 * 1024;
constexpr unsigned stack_bytes = 256 * 1024; // the default is 1 MiB (MSVC) or 2 MiB (MinGW-w64)
constexpr DWORD cancel_again_ms = 10;
constexpr ULONGLONG no_limit_ms = ~0ULL;

unsigned __stdcall serve_session(void* argument); // what the thread does: see processA.cpp

// One instance of the server's pipe, with the thread that serves its client. The main thread creates
// and destroys it; the destructor waits for the thread.
struct session {
    HANDLE changed; // the main thread's event: set after connected or ended has changed
    DWORD limit_ms;
    ipc::unique_handle pipe;
    ipc::unique_handle thread;
    std::atomic<bool> connected = false;
    std::atomic<bool> stopping = false;
    std::atomic<bool> ended = false;
    std::atomic<ULONGLONG> end_ms = no_limit_ms; // when the thread's current call is overdue
    std::uint64_t answered = 0;
    DWORD error = ERROR_SUCCESS; // why the connection ended
    std::exception_ptr failure;

    session(const std::wstring& name, DWORD first_flag, HANDLE changed_event, DWORD limit);
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    // CancelSynchronousIo cancels the call in which the thread waits now. A thread that is between
    // two calls may block in the next one, so the loop goes on until the thread has ended. The pipe
    // is closed, not disconnected: the client can still read a reply that was written.
    // ANCHOR: stop
    ~session() {
        stopping = true;
        do {
            CancelSynchronousIo(thread.get());
        } while (WaitForSingleObject(thread.get(), cancel_again_ms) == WAIT_TIMEOUT);
    }
    // ANCHOR_END: stop
};

inline session::session(const std::wstring& name, DWORD first_flag, HANDLE changed_event,
                        DWORD limit)
    : changed(changed_event), limit_ms(limit) {
    // ANCHOR: create
    ipc::user_only_security security; // for the current user only
    pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | first_flag,          // FILE_FLAG_FIRST_PIPE_INSTANCE: for the first
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE // a WriteFile is a message, a ReadFile reads one
            | PIPE_WAIT                           // blocking mode
            | PIPE_REJECT_REMOTE_CLIENTS,         // for programs on this machine only
        PIPE_UNLIMITED_INSTANCES,                 // most_clients is the limit
        pipe_buffer_bytes,                        // for replies that the client has not read
        pipe_buffer_bytes,                        // for requests that the server has not read
        0,                                        // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    // ANCHOR_END: create
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    // Not CreateThread: the thread uses the C++ runtime. Not std::thread: the C++ standard does not
    // promise that its native handle is the HANDLE that CancelSynchronousIo needs.
    // ANCHOR: start_thread
    const uintptr_t started = _beginthreadex(nullptr, // default security: for the current user
                                             stack_bytes, serve_session, this /* its argument */,
                                             STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr);
    // ANCHOR_END: start_thread
    thread.reset(reinterpret_cast<HANDLE>(started));
    if (!thread) {
        ipc::throw_last_error("_beginthreadex");
    }
}
