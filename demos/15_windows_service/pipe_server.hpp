#pragma once

#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

// Serves a few clients at a time: each thread has one instance of the pipe and waits for one call at a
// time, together with an event that stops it. Pairs 05 and 07 to 09 show servers for more clients.
class pipe_server {
public:
    // Clients can connect when this returns. The event stop ends it: no thread reads a further request.
    // A failure in a thread sets this event, too.
    pipe_server(const std::wstring& name, SECURITY_ATTRIBUTES* security, HANDLE stop,
                DWORD idle_limit_ms)
        : stop_(stop), idle_limit_ms_(idle_limit_ms),
          give_up_(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)),
          ended_(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
        if (!give_up_ || !ended_) {
            ipc::throw_last_error("CreateEventW");
        }
        while (instances_.size() < instance_count) {
            instances_.push_back(create_instance(name, security, instances_.empty()));
        }
        try {
            for (const ipc::unique_handle& pipe : instances_) {
                threads_.emplace_back([this, &pipe] { run_thread(pipe.get()); });
            }
        } catch (...) {
            SetEvent(stop_); // no memory for a thread: those that run end, and are joined
            throw;
        }
    }

    ~pipe_server() { // waits for the threads: their destructors do so
        SetEvent(stop_);
        SetEvent(give_up_.get());
    }
    pipe_server(const pipe_server&) = delete;
    pipe_server& operator=(const pipe_server&) = delete;

    // Call it when the event stop is set. Waits until each client that has sent a whole request has its
    // reply, but no longer than a few seconds. Calls report_progress every half second. Throws what
    // ended a thread.
    void finish(const std::function<void()>& report_progress) {
        const ipc::deadline end(last_replies_ms);
        while (WaitForSingleObject(ended_.get(), progress_interval_ms) == WAIT_TIMEOUT) {
            report_progress();
            if (end.is_over()) {
                SetEvent(give_up_.get()); // a client does not read its reply
            }
        }
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

private:
    static constexpr DWORD instance_count = 4;
    static constexpr DWORD pipe_buffer_bytes = 4 * 1024;
    static constexpr DWORD last_replies_ms = 3'000; // at a shutdown, Windows waits 5 s by default
    static constexpr DWORD progress_interval_ms = 500;

    static ipc::unique_handle create_instance(const std::wstring& name,
                                              SECURITY_ATTRIBUTES* security, bool is_first) {
        ipc::unique_handle pipe(CreateNamedPipeW(
            name.c_str(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED              // no call on this handle blocks
                | (is_first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0u), // fails if the name is taken
            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT  // blocking mode
                | PIPE_REJECT_REMOTE_CLIENTS, // for programs on this machine only
            instance_count,                   // at the most
            pipe_buffer_bytes,                // for replies that the client has not read
            pipe_buffer_bytes,                // for requests that the server has not read
            0,                                // default time-out of WaitNamedPipeW: 50 ms
            security));
        if (!pipe) {
            ipc::throw_create_pipe_error(name);
        }
        return pipe;
    }

    void run_thread(HANDLE pipe) {
        try {
            serve_instance(pipe);
        } catch (...) {
            const std::lock_guard lock(mutex_);
            failure_ = std::current_exception(); // finish() throws it
            SetEvent(stop_);
        }
        if (--running_ == 0) {
            SetEvent(ended_.get());
        }
    }

    // Returns after the stop, without a disconnect: it would discard a reply that is not read yet.
    void serve_instance(HANDLE pipe) const {
        ipc::overlapped_call call(pipe);
        std::vector<char> buffer(protocol::max_message_bytes);
        for (;;) {
            const BOOL done = ConnectNamedPipe(pipe, call.get());
            // INFINITE: a client or the event stop ends the wait.
            DWORD error = call.wait(done, INFINITE, stop_).error;
            if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
                error = ERROR_SUCCESS; // a client came before the call; it may have left again
            } else if (error != ERROR_SUCCESS && error != ERROR_OPERATION_ABORTED) {
                ipc::throw_error("ConnectNamedPipe", error);
            }
            while (error == ERROR_SUCCESS) {
                error = answer_request(pipe, call, buffer);
            }
            if (error == ERROR_OPERATION_ABORTED) {
                return;
            }
            if (!DisconnectNamedPipe(pipe)) {
                ipc::throw_last_error("DisconnectNamedPipe");
            }
        }
    }

    // Returns the error that ended the connection: ERROR_OPERATION_ABORTED after the stop.
    DWORD answer_request(HANDLE pipe, ipc::overlapped_call& call, std::span<char> buffer) const {
        if (WaitForSingleObject(stop_, 0) == WAIT_OBJECT_0) {
            return ERROR_OPERATION_ABORTED; // or a client that asks without a pause delays the end
        }
        BOOL done =
            ReadFile(pipe, buffer.data(), static_cast<DWORD>(buffer.size()), nullptr, call.get());
        const ipc::call_result read = call.wait(done, idle_limit_ms_, stop_);
        if (read.error != ERROR_SUCCESS) {
            return read.error; // ERROR_MORE_DATA: the message is too long
        }
        protocol::make_reply(buffer.first(read.bytes));
        done = WriteFile(pipe, buffer.data(), read.bytes, nullptr, call.get());
        return call.wait(done, idle_limit_ms_, give_up_.get()).error;
    }

    HANDLE stop_;
    DWORD idle_limit_ms_;
    ipc::unique_handle give_up_; // an event: do not wait for clients any longer
    ipc::unique_handle ended_;   // an event: all threads have ended
    std::atomic<DWORD> running_ = instance_count;
    std::mutex mutex_;
    std::exception_ptr failure_;
    std::vector<ipc::unique_handle> instances_;
    std::vector<std::jthread> threads_; // destroyed first: the threads use the members above
};
