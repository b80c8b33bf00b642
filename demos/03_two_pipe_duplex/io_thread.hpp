#pragma once

// A thread that makes blocking calls and can still be stopped, and the wait for such threads.

#include "common/error.hpp"
#include "common/stop.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <process.h>

#include <atomic>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

// CancelSynchronousIo needs the HANDLE of the thread, and std::thread does not promise to have one.
class io_thread {
public:
    // The work checks stop between two calls.
    using work = std::function<void(const std::atomic<bool>& stop)>;

    explicit io_thread(work to_do) : work_(std::move(to_do)) {
        // Not CreateThread: the new thread uses the C++ runtime.
        handle_.reset(reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, run, this, 0, nullptr)));
        if (!handle_) {
            ipc::throw_last_error("_beginthreadex");
        }
    }
    io_thread(const io_thread&) = delete;
    io_thread& operator=(const io_thread&) = delete;

    // ANCHOR: cancel
    ~io_thread() {
        constexpr DWORD cancel_again_ms = 10;
        stop_ = true;
        do { // repeat: a thread that is between two calls may block in the next one
            CancelSynchronousIo(handle_.get());
        } while (WaitForSingleObject(handle_.get(), cancel_again_ms) == WAIT_TIMEOUT);
    }
    // ANCHOR_END: cancel

    HANDLE handle() const { return handle_.get(); }

    // Throws what the work of an ended thread has thrown, if anything.
    void rethrow() const {
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

private:
    static unsigned __stdcall run(void* self) {
        auto* const thread = static_cast<io_thread*>(self);
        try {
            thread->work_(thread->stop_);
        } catch (...) {
            thread->failure_ = std::current_exception();
        }
        return 0;
    }

    work work_;
    std::atomic<bool> stop_ = false;
    std::exception_ptr failure_;
    ipc::unique_handle handle_;
};

enum class wait_result { threads_ended, ctrl_c, limit_over };

// Waits until all threads have ended, or until Ctrl+C or the limit. If a thread has thrown, throws
// the same exception; the destructors of the other threads then stop them.
inline wait_result wait_for_threads(std::vector<const io_thread*> threads, DWORD limit_ms) {
    while (!threads.empty()) {
        std::vector<HANDLE> handles = {ipc::ctrl_c_event()};
        for (const io_thread* thread : threads) {
            handles.push_back(thread->handle());
        }
        const DWORD waited = WaitForMultipleObjects(static_cast<DWORD>(handles.size()),
                                                    handles.data(), FALSE /* any */, limit_ms);
        if (waited == WAIT_FAILED) {
            ipc::throw_last_error("WaitForMultipleObjects");
        }
        if (waited == WAIT_TIMEOUT) {
            return wait_result::limit_over;
        }
        if (waited == WAIT_OBJECT_0) {
            return wait_result::ctrl_c;
        }
        const auto ended = threads.begin() + (waited - WAIT_OBJECT_0 - 1);
        (*ended)->rethrow();
        threads.erase(ended);
    }
    return wait_result::threads_ended;
}
