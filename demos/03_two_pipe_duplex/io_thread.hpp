#pragma once

// A thread that does blocking I/O and can be stopped all the same, and the wait for several.

#include "common/error.hpp"
#include "common/stop.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <process.h>

#include <atomic>
#include <exception>
#include <functional>
#include <vector>

constexpr DWORD cancel_again_ms = 10;

// CancelSynchronousIo needs the thread's HANDLE, and std::thread does not promise to have one.
class io_thread {
public:
    // What the thread does. Between two calls it looks whether it is to stop.
    using work = std::function<void(const std::atomic<bool>& stop)>;

    explicit io_thread(work to_do) : work_(std::move(to_do)) {
        // Not CreateThread, because the C++ runtime is used on the new thread.
        handle_.reset(reinterpret_cast<HANDLE>(_beginthreadex(nullptr, 0, run, this, 0, nullptr)));
        if (!handle_) {
            ipc::throw_last_error("_beginthreadex");
        }
    }
    io_thread(const io_thread&) = delete;
    io_thread& operator=(const io_thread&) = delete;

    // ANCHOR: cancel
    ~io_thread() {
        stop_ = true;
        do { // not once: the thread may be between two calls now, and block in the next one
            CancelSynchronousIo(handle_.get());
        } while (WaitForSingleObject(handle_.get(), cancel_again_ms) == WAIT_TIMEOUT);
    }
    // ANCHOR_END: cancel

    HANDLE handle() const { return handle_.get(); }

    // For a thread that has ended: throws what its work has thrown, if anything.
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
    ipc::unique_handle handle_; // last: the thread uses all the others
};

enum class ending { done, ctrl_c, time_out };

// Waits until all the threads have ended. The first failure of one is thrown at once, and leaves
// the others to their destructors, as Ctrl+C and the time limit do.
inline ending wait_for(std::vector<const io_thread*> threads, DWORD limit_ms) {
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
            return ending::time_out;
        }
        if (waited == WAIT_OBJECT_0) {
            return ending::ctrl_c;
        }
        const auto ended = threads.begin() + (waited - WAIT_OBJECT_0 - 1);
        (*ended)->rethrow();
        threads.erase(ended);
    }
    return ending::done;
}
