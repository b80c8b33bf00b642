#pragma once

#include <windows.h>

namespace ipc {

// The end of a time limit that several waits share, so that no wait starts the limit anew:
//
//     const ipc::deadline end(limit_ms);
//     while (!is_done()) {
//         WaitForSingleObject(object, end.left_ms());
//         if (end.is_over()) { ... }
//     }
class deadline {
public:
    // limit_ms: milliseconds from now on, or INFINITE for no limit.
    explicit deadline(DWORD limit_ms) : limit_ms_(limit_ms) {}

    // How long the next wait may last: INFINITE if there is no limit, 0 at its end.
    DWORD left_ms() const {
        const ULONGLONG passed_ms = GetTickCount64() - start_ms_;
        if (limit_ms_ == INFINITE) {
            return limit_ms_;
        }
        return passed_ms < limit_ms_ ? static_cast<DWORD>(limit_ms_ - passed_ms) : 0;
    }
    bool is_over() const { return left_ms() == 0; }

private:
    DWORD limit_ms_;
    ULONGLONG start_ms_ = GetTickCount64();
};

} // namespace ipc
