#pragma once

// A connection that B keeps, and a request and its reply on it: TransactNamedPipe.

#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>

constexpr ULONGLONG connect_limit_ms = 10'000;
constexpr DWORD retry_ms = 20;
constexpr DWORD answer_limit_ms = 20'000;

struct connection {
    ipc::unique_handle pipe;
    ipc::unique_handle event; // set when the operation is complete; one at a time
};

// How a request has ended.
struct outcome {
    DWORD error = ERROR_SUCCESS;
    std::string reply; // what of it has arrived
};

inline ipc::unique_handle open_pipe(const std::wstring& name) {
    return ipc::unique_handle(CreateFileW(
        name.c_str(), GENERIC_READ | GENERIC_WRITE, 0 /* not shared */, nullptr, OPEN_EXISTING,
        FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
}

inline void set_read_mode(HANDLE pipe, DWORD mode) {
    if (!SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
}

inline connection connect(const std::wstring& name) {
    const ULONGLONG end_ms = GetTickCount64() + connect_limit_ms;
    ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    for (;;) {
        ipc::unique_handle pipe = open_pipe(name);
        const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
        const ULONGLONG now_ms = GetTickCount64();
        if (error == ERROR_SUCCESS) {
            set_read_mode(pipe.get(), PIPE_READMODE_MESSAGE); // a client begins in byte read mode
            return {std::move(pipe), std::move(event)};
        }
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", error);
        } else if (now_ms >= end_ms) {
            const char* why = error == ERROR_PIPE_BUSY ? "the server has no free instance: "
                                                       : "no server, start processA first: ";
            throw std::runtime_error(why + ipc::to_utf8(name));
        } else if (error == ERROR_FILE_NOT_FOUND) {
            Sleep(retry_ms); // there is nothing to wait for that tells of a new pipe name
        } else {             // whether the instance was free in time, CreateFileW will tell
            WaitNamedPipeW(name.c_str(), static_cast<DWORD>(end_ms - now_ms));
        }
    }
}

// Waits for what TransactNamedPipe or ReadFile has begun; cuts the reply to what has arrived. It is
// the event that tells the end: after TransactNamedPipe, Wine's GetOverlappedResult does not wait.
inline DWORD finish(const connection& to, OVERLAPPED& operation, BOOL done, std::string& reply) {
    DWORD error = done ? ERROR_SUCCESS : GetLastError();
    DWORD bytes = 0;
    if (error == ERROR_IO_PENDING) {
        const DWORD wait = WaitForSingleObject(to.event.get(), answer_limit_ms);
        error = wait == WAIT_FAILED ? GetLastError() : ERROR_SUCCESS;
        if (wait != WAIT_OBJECT_0) {
            CancelIoEx(to.pipe.get(), &operation); // only asks: it may be too late for that
            // INFINITE: the cancel sees to the end, and until then the kernel has the buffer.
            WaitForSingleObject(to.event.get(), INFINITE);
        }
        if (wait == WAIT_FAILED) {
            ipc::throw_error("WaitForSingleObject", error);
        }
    }
    if (error == ERROR_SUCCESS || error == ERROR_MORE_DATA) {
        done = GetOverlappedResult(to.pipe.get(), &operation, &bytes, FALSE);
        error = done ? ERROR_SUCCESS : GetLastError(); // ERROR_OPERATION_ABORTED: too late
    }
    reply.resize(bytes);
    return error;
}

// cppcheck-suppress passedByValue; the call wants a pointer to what is not const
inline outcome transact(const connection& to, std::string request, DWORD room) {
    outcome got{ERROR_SUCCESS, std::string(room, '\0')};
    OVERLAPPED operation{};
    operation.hEvent = to.event.get();
    const BOOL done =
        TransactNamedPipe(to.pipe.get(), request.data(), static_cast<DWORD>(request.size()),
                          got.reply.data(), room, nullptr /* finish asks */, &operation);
    got.error = finish(to, operation, done, got.reply);
    return got;
}

inline outcome read_rest(const connection& to, DWORD room) {
    outcome got{ERROR_SUCCESS, std::string(room, '\0')};
    OVERLAPPED operation{};
    operation.hEvent = to.event.get();
    const BOOL done = ReadFile(to.pipe.get(), got.reply.data(), room, nullptr, &operation);
    got.error = finish(to, operation, done, got.reply);
    return got;
}
