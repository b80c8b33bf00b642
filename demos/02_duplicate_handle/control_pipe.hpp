#pragma once

// What carries the lesson of demo 02 and is not the lesson: the control pipe, with a limit on every
// wait, and a way to stop a blocking read. It is an ordinary named pipe of message type, so that a
// message that is too short or too long shows at once; the pairs that follow teach named pipes.

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <stdexcept>
#include <string>
#include <thread>

namespace duplicate_handle {

constexpr DWORD client_limit_ms = 20'000; // for B to come
constexpr DWORD server_limit_ms = 10'000; // for A to be there
constexpr DWORD reply_limit_ms = 10'000;  // for one message: the peer only takes its next step
constexpr DWORD retry_pause_ms = 50;

struct control_pipe {
    ipc::unique_handle handle; // opened with FILE_FLAG_OVERLAPPED
    std::string peer;          // "A" or "B"
    HANDLE stop = nullptr;     // an event that ends every wait; borrowed, may be null
};

struct outcome {
    DWORD error = ERROR_SUCCESS; // WAIT_TIMEOUT: the limit is over. ERROR_OPERATION_ABORTED: stop
    DWORD bytes = 0;
};

// Starts an overlapped operation of the control pipe and waits for its end.
template <typename Start>
outcome perform(const control_pipe& control, DWORD limit_ms, const Start& start) {
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    OVERLAPPED operation{};
    operation.hEvent = event.get();
    if (!start(&operation) && GetLastError() != ERROR_IO_PENDING) {
        return {GetLastError(), 0};
    }
    const HANDLE events[] = {event.get(), control.stop};
    const DWORD count = control.stop == nullptr ? 1 : 2;
    const DWORD waited = WaitForMultipleObjects(count, events, FALSE, limit_ms);
    const DWORD wait_error = waited == WAIT_FAILED ? GetLastError() : waited;
    if (waited != WAIT_OBJECT_0) {
        CancelIoEx(control.handle.get(), &operation); // a request: it may still succeed
    }
    outcome result;
    // Until this returns, the kernel may write into the operation and its buffer.
    if (!GetOverlappedResult(control.handle.get(), &operation, &result.bytes, TRUE)) {
        result.error = GetLastError();
        if (waited == WAIT_TIMEOUT || waited == WAIT_FAILED) {
            result.error = wait_error;
        }
    }
    return result;
}

// Turns a failure into one clear line.
inline void check(const control_pipe& control, const char* call, DWORD error) {
    switch (error) {
    case ERROR_SUCCESS: return;
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED:
        throw std::runtime_error(control.peer + " ended in the middle of the conversation");
    case WAIT_TIMEOUT: throw std::runtime_error(control.peer + " did not answer in time");
    default: ipc::throw_error(call, error);
    }
}

inline control_pipe create_control_pipe(const std::wstring& name, HANDLE stop) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS, 1 /* instance */,
        sizeof(message), sizeof(message), 0, security.get()));
    if (!pipe) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name " + ipc::to_utf8(name) + " is taken");
        }
        ipc::throw_error("CreateNamedPipeW", error);
    }
    return {std::move(pipe), "B", stop};
}

inline void wait_for_client(const control_pipe& control) {
    const DWORD error = perform(control, client_limit_ms, [&](OVERLAPPED* operation) {
                            return ConnectNamedPipe(control.handle.get(), operation);
                        }).error;
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("no B came: start processB beside this program");
    }
    check(control, "ConnectNamedPipe",
          error == ERROR_PIPE_CONNECTED ? ERROR_SUCCESS : error); // B was faster
}

inline control_pipe open_control_pipe(const std::wstring& name) {
    const ULONGLONG end = GetTickCount64() + server_limit_ms;
    for (;;) {
        ipc::unique_handle pipe(CreateFileW(
            name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
        if (error == ERROR_SUCCESS) {
            DWORD mode = PIPE_READMODE_MESSAGE; // a client starts in byte mode
            if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
                ipc::throw_last_error("SetNamedPipeHandleState");
            }
            return {std::move(pipe), "A"};
        }
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", error);
        }
        if (GetTickCount64() >= end) {
            throw std::runtime_error(error == ERROR_PIPE_BUSY
                                         ? ipc::to_utf8(name) + " is busy with another client"
                                         : "no server at " + ipc::to_utf8(name) +
                                               ": start processA first");
        }
        if (error == ERROR_PIPE_BUSY) {
            WaitNamedPipeW(name.c_str(), retry_pause_ms);
        } else {
            Sleep(retry_pause_ms); // nothing announces that a pipe has been created
        }
    }
}

inline void check_still_connected(const control_pipe& control) {
    if (!PeekNamedPipe(control.handle.get(), nullptr, 0, nullptr, nullptr, nullptr)) {
        check(control, "PeekNamedPipe", GetLastError());
    }
}

inline void send(const control_pipe& control, const message& sent) {
    const outcome result = perform(control, reply_limit_ms, [&](OVERLAPPED* operation) {
        return WriteFile(control.handle.get(), &sent, sizeof sent, nullptr, operation);
    });
    check(control, "WriteFile", result.error);
}

// The next message, which must be of this kind: whatever else the peer sends is refused.
inline message receive(const control_pipe& control, kind expected) {
    message received;
    const outcome result = perform(control, reply_limit_ms, [&](OVERLAPPED* operation) {
        return ReadFile(control.handle.get(), &received, sizeof received, nullptr, operation);
    });
    const message good;
    const bool too_long = result.error == ERROR_MORE_DATA;
    check(control, "ReadFile", too_long ? ERROR_SUCCESS : result.error);
    if (too_long || result.bytes != sizeof received || received.magic != good.magic) {
        throw std::runtime_error(control.peer + " sent something that is not a message");
    }
    if (received.version != good.version) {
        throw std::runtime_error(control.peer + " speaks another version of the protocol");
    }
    if (received.what != expected) {
        throw std::runtime_error(control.peer + " sent a message that is not its turn");
    }
    return received;
}

// Runs work on this thread. A read from an anonymous pipe cannot wait for a stop event as well, so a
// second thread cancels it, and the read fails with ERROR_OPERATION_ABORTED.
template <typename Work> auto cancelled_by(HANDLE stop, const Work& work) {
    ipc::unique_handle this_thread; // GetCurrentThread() would mean the watcher, over there
    if (!DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(),
                         this_thread.put(), THREAD_TERMINATE /* to cancel */, FALSE, 0)) {
        ipc::throw_last_error("DuplicateHandle");
    }
    const ipc::unique_handle finished(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!finished) {
        ipc::throw_last_error("CreateEventW");
    }
    const std::jthread watcher([&] {
        const HANDLE events[] = {finished.get(), stop};
        WaitForMultipleObjects(2, events, FALSE, INFINITE); // ended by finish, below
        while (WaitForSingleObject(finished.get(), retry_pause_ms) == WAIT_TIMEOUT) {
            CancelSynchronousIo(this_thread.get()); // misses between two reads: so again
        }
    });
    const ipc::scope_exit finish([&] { SetEvent(finished.get()); });
    return work();
}

} // namespace duplicate_handle
