#include "common/overlapped.hpp"

#include "common/error.hpp"

namespace ipc {

overlapped_call::overlapped_call(HANDLE file)
    : file_(file), event_(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr)) {
    if (!event_) {
        throw_last_error("CreateEventW");
    }
}

overlapped_call::~overlapped_call() {
    if (!may_be_pending_) {
        return;
    }
    // The caller left without wait(), for example by an exception. ERROR_NOT_FOUND: the call has
    // ended, or failed at once, or was never made. Then the event may never be set.
    const BOOL cancelled = CancelIoEx(file_, &overlapped_);
    if (cancelled || GetLastError() != ERROR_NOT_FOUND) {
        WaitForSingleObject(event_.get(), INFINITE); // the end of the call sets the event
    }
}

OVERLAPPED* overlapped_call::get() {
    overlapped_ = {};
    overlapped_.hEvent = event_.get();
    may_be_pending_ = true;
    return &overlapped_;
}

call_result overlapped_call::wait(BOOL done, DWORD limit_ms, HANDLE stop) {
    const DWORD start_error = done ? ERROR_SUCCESS : GetLastError();
    if (start_error != ERROR_SUCCESS && start_error != ERROR_IO_PENDING &&
        start_error != ERROR_MORE_DATA) {
        may_be_pending_ = false; // failed at once: nothing sets the event
        return {start_error, 0};
    }
    DWORD waited = WAIT_OBJECT_0;
    DWORD wait_error = ERROR_SUCCESS;
    if (start_error == ERROR_IO_PENDING) {
        const HANDLE objects[] = {event_.get(), stop};
        waited =
            WaitForMultipleObjects(stop == nullptr ? 1 : 2, objects, FALSE /* any */, limit_ms);
        if (waited != WAIT_OBJECT_0) {
            wait_error = GetLastError(); // has a meaning after WAIT_FAILED only
            // CancelIoEx is a request: the call may succeed all the same, or have ended already.
            // INFINITE: the end of the call sets the event in each of these cases.
            CancelIoEx(file_, &overlapped_);
            WaitForSingleObject(event_.get(), INFINITE);
        }
    }
    may_be_pending_ = false;
    call_result result;
    if (!GetOverlappedResult(file_, &overlapped_, &result.bytes, FALSE /* it has ended */)) {
        result.error = GetLastError();
    }
    if (result.error == ERROR_OPERATION_ABORTED && waited == WAIT_FAILED) {
        throw_error("WaitForMultipleObjects", wait_error);
    }
    if (result.error == ERROR_OPERATION_ABORTED && waited == WAIT_TIMEOUT) {
        result.error = WAIT_TIMEOUT;
    }
    return result;
}

} // namespace ipc
