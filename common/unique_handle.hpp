#pragma once

#include <windows.h>

namespace ipc {

// Owns one kernel handle and closes it once, with CloseHandle. Do not use it for a borrowed handle
// (GetStdHandle, GetCurrentProcess), nor for one that another function closes (FindClose,
// UnmapViewOfFile).
//
// Win32 has two values for "no handle": nullptr (CreateEventW, OpenProcess, ...) and
// INVALID_HANDLE_VALUE (CreateFileW, CreateNamedPipeW). Both mean empty here.
class unique_handle {
public:
    unique_handle() = default;
    explicit unique_handle(HANDLE handle) noexcept : handle_(handle) {}
    unique_handle(unique_handle&& other) noexcept : handle_(other.release()) {}
    unique_handle(const unique_handle&) = delete;
    unique_handle& operator=(const unique_handle&) = delete;
    unique_handle& operator=(unique_handle&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~unique_handle() { reset(); }

    explicit operator bool() const noexcept {
        return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE;
    }

    HANDLE get() const noexcept { return handle_; }

    // For calls that return a handle through a pointer. Closes the old handle first.
    HANDLE* put() noexcept {
        reset();
        return &handle_;
    }

    // Returns the handle without closing it. The caller owns it from now on.
    HANDLE release() noexcept {
        HANDLE handle = handle_;
        handle_ = nullptr;
        return handle;
    }

    // Closes the old handle and owns the new one. GetLastError stays as it is: an owner that goes
    // out of scope after a failed call does not hide the call's error code.
    void reset(HANDLE handle = nullptr) noexcept {
        if (*this) {
            const DWORD error = GetLastError();
            CloseHandle(handle_);
            SetLastError(error);
        }
        handle_ = handle;
    }

private:
    HANDLE handle_ = nullptr;
};

} // namespace ipc
