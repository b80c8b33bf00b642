#pragma once

// The client of server_cases.hpp for servers with a named pipe.

#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ipc::test {

// A client whose calls are steps of the test: it can also do what no honest client does. Each call has
// a limit, after which error() is ERROR_OPERATION_ABORTED. No call throws.
class raw_client {
public:
    raw_client() = default;
    explicit raw_client(const std::wstring& pipe, DWORD limit_ms = default_limit_ms) {
        const ULONGLONG end = GetTickCount64() + limit_ms;
        while (!try_connect(pipe) && error_ == ERROR_PIPE_BUSY && GetTickCount64() < end) {
            WaitNamedPipeW(pipe.c_str(), 1000);
        }
    }

    // Does not wait for a free instance.
    bool try_connect(const std::wstring& pipe) {
        handle_.reset(CreateFileW(
            pipe.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        error_ = handle_ ? ERROR_SUCCESS : GetLastError();
        DWORD mode = PIPE_READMODE_MESSAGE;
        return handle_ && SetNamedPipeHandleState(handle_.get(), &mode, nullptr, nullptr);
    }

    explicit operator bool() const { return static_cast<bool>(handle_); }
    HANDLE handle() const { return handle_.get(); }
    DWORD error() const { return error_; }                        // of the last call
    bool is_busy() const { return error_ == ERROR_PIPE_BUSY; }    // try_connect found no free place
    bool is_ended() const { return error_ == ERROR_BROKEN_PIPE; } // the server has closed its end
    void close() { handle_.reset(); }

    // Whether a client that finds no free place is connected, and waits in a queue of the system.
    static constexpr bool is_queued = false;

    static void wait_for_place(const std::wstring& pipe) { WaitNamedPipeW(pipe.c_str(), 1000); }

    // What the server prints when a client's connection has ended, without the requests answered.
    static std::vector<std::string> end_lines() { return {"A: a client left; "}; }

    // What processB prints when its server is gone.
    static std::vector<std::string> server_gone_lines() {
        return {"B: the server closed the connection\n"};
    }

    // Waits until a part of a reply has come. Returns how many bytes of it can be read now.
    std::size_t wait_for_reply() const {
        DWORD available = 0;
        while (PeekNamedPipe(handle_.get(), nullptr, 0, nullptr, &available, nullptr) &&
               available == 0) {
            SwitchToThread();
        }
        return available;
    }

    bool send(std::string_view bytes, DWORD limit_ms = default_limit_ms) {
        OVERLAPPED operation = new_operation();
        const BOOL done = WriteFile(handle_.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, &operation);
        return wait_for(operation, done, limit_ms).has_value();
    }

    std::optional<std::string> receive(DWORD limit_ms = default_limit_ms) {
        OVERLAPPED operation = new_operation();
        buffer_.resize(std::max(buffer_.size(), room_));
        const BOOL done = ReadFile(handle_.get(), buffer_.data(),
                                   static_cast<DWORD>(buffer_.size()), nullptr, &operation);
        const std::optional<DWORD> bytes = wait_for(operation, done, limit_ms);
        return bytes ? std::optional(buffer_.substr(0, *bytes)) : std::nullopt;
    }

    // Returns the reply to the request, if one comes.
    std::optional<std::string> ask(std::string_view request) {
        room_ = std::max<std::size_t>(request.size(), 64);
        return send(request) ? receive() : std::nullopt;
    }

    // Returns whether the server has ended this connection within the limit.
    bool is_dropped(DWORD limit_ms = default_limit_ms) {
        const bool got = receive(limit_ms).has_value();
        return !got && (error_ == ERROR_BROKEN_PIPE || error_ == ERROR_PIPE_NOT_CONNECTED);
    }

private:
    OVERLAPPED new_operation() const {
        OVERLAPPED operation{};
        operation.hEvent = event_.get();
        return operation;
    }

    std::optional<DWORD> wait_for(OVERLAPPED& operation, BOOL done, DWORD limit_ms) {
        error_ = done ? ERROR_SUCCESS : GetLastError();
        DWORD bytes = 0;
        if (error_ == ERROR_SUCCESS || error_ == ERROR_IO_PENDING) {
            if (WaitForSingleObject(event_.get(), limit_ms) != WAIT_OBJECT_0) {
                CancelIoEx(handle_.get(), &operation);
            }
            done = GetOverlappedResult(handle_.get(), &operation, &bytes, TRUE);
            error_ = done ? ERROR_SUCCESS : GetLastError();
        }
        return error_ == ERROR_SUCCESS ? std::optional(bytes) : std::nullopt;
    }

    unique_handle handle_;
    unique_handle event_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    DWORD error_ = ERROR_SUCCESS;
    std::string buffer_;
    std::size_t room_ = 64;
};

} // namespace ipc::test
