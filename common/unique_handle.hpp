#pragma once

#include <windows.h>

namespace ipc {

// Owns one kernel handle and closes it, once, with CloseHandle. Not for handles that are borrowed
// (GetStdHandle, GetCurrentProcess) or closed by another function (FindClose, UnmapViewOfFile).
//
// Win32 has two values for "no handle": nullptr (CreateEventW, OpenProcess, ...) and
// INVALID_HANDLE_VALUE (CreateFileW, CreateNamedPipeW). Both count as empty here.
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

    // For calls that return a handle through a pointer: closes the old one first.
    HANDLE* put() noexcept {
        reset();
        return &handle_;
    }

    // Gives the handle away: the caller closes it.
    HANDLE release() noexcept {
        HANDLE handle = handle_;
        handle_ = nullptr;
        return handle;
    }

    // Keeps GetLastError: an owner that is destroyed on the way out of a failed function does not
    // replace the code of the failure.
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
