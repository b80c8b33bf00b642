// Reads from a pipe, or writes to it, within a limit. A read that is too late loses no byte.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 read_write_with_limit.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static read_write_with_limit.cpp -o read_write_with_limit.exe

#include <windows.h>

#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <memory>
#include <string>

namespace {

// ANCHOR: read_write_with_limit
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

struct io_result {
    DWORD error; // ERROR_SUCCESS, WAIT_TIMEOUT after the limit, or the code of the call
    DWORD bytes; // how many were read or written; correct for ERROR_MORE_DATA, too
};

// For a pipe that was opened with FILE_FLAG_OVERLAPPED. limit_ms is in milliseconds (0: only what is
// possible at once; INFINITE: no limit). When the functions return, the call has ended, and nothing
// uses the buffer any more. A read may return fewer bytes than fit. ERROR_BROKEN_PIPE: the end. After
// WAIT_TIMEOUT a read has taken nothing, but the other end may have a part of what was written: close
// the handle. Any number of threads can call the functions, for the same handle too.
io_result finish_call(HANDLE file, OVERLAPPED& overlapped, DWORD start_error, DWORD limit_ms) {
    if (start_error != ERROR_SUCCESS && start_error != ERROR_IO_PENDING &&
        start_error != ERROR_MORE_DATA) {
        return {start_error, 0}; // failed at once: nothing sets the event
    }
    const DWORD waited = WaitForSingleObject(overlapped.hEvent, limit_ms);
    if (waited != WAIT_OBJECT_0) {
        CancelIoEx(file, &overlapped); // asks only: the call may succeed all the same
    }
    // TRUE: waits for the end. Until then overlapped and the buffer belong to the kernel.
    io_result result{ERROR_SUCCESS, 0};
    if (!GetOverlappedResult(file, &overlapped, &result.bytes, TRUE)) {
        result.error = GetLastError();
    }
    const bool timed_out = waited == WAIT_TIMEOUT && result.error == ERROR_OPERATION_ABORTED;
    return timed_out ? io_result{WAIT_TIMEOUT, 0} : result;
}

io_result read_with_limit(HANDLE file, void* buffer, DWORD bytes, DWORD limit_ms) {
    const unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        return {GetLastError(), 0};
    }
    OVERLAPPED overlapped{};
    overlapped.hEvent = event.get();
    const BOOL done = ReadFile(file, buffer, bytes, nullptr, &overlapped);
    return finish_call(file, overlapped, done ? ERROR_SUCCESS : GetLastError(), limit_ms);
}

io_result write_with_limit(HANDLE file, const void* buffer, DWORD bytes, DWORD limit_ms) {
    const unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        return {GetLastError(), 0};
    }
    OVERLAPPED overlapped{};
    overlapped.hEvent = event.get();
    const BOOL done = WriteFile(file, buffer, bytes, nullptr, &overlapped);
    return finish_call(file, overlapped, done ? ERROR_SUCCESS : GetLastError(), limit_ms);
}
// ANCHOR_END: read_write_with_limit

} // namespace

// Writes TEXT, then prints what arrives until the end, or until TRIES reads were too late.
int wmain(int argc, wchar_t* argv[]) {
    if (argc != 5) {
        std::fputs("usage: read_write_with_limit PIPE LIMIT_MS TRIES TEXT\n", stderr);
        return 2;
    }
    const DWORD limit_ms = std::wcstoul(argv[2], nullptr, 10);
    const unique_handle pipe(CreateFileW(
        argv[1], GENERIC_READ | FILE_WRITE_DATA, 0, nullptr, OPEN_EXISTING,
        FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
    io_result result{pipe.get() == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS, 0};
    const std::u8string text = std::filesystem::path(argv[4]).u8string(); // UTF-8
    if (result.error == ERROR_SUCCESS) {
        result =
            write_with_limit(pipe.get(), text.data(), static_cast<DWORD>(text.size()), limit_ms);
        std::fprintf(stderr, "write: error %lu, %lu bytes\n", result.error, result.bytes);
    }
    unsigned long tries = std::wcstoul(argv[3], nullptr, 10);
    while (result.error == ERROR_SUCCESS || (result.error == WAIT_TIMEOUT && --tries > 0)) {
        char buffer[4096];
        result = read_with_limit(pipe.get(), buffer, sizeof buffer, limit_ms);
        std::fwrite(buffer, 1, result.bytes, stdout);
    }
    std::fprintf(stderr, "end: error %lu\n", result.error);
    return result.error == ERROR_BROKEN_PIPE ? 0 : 1;
}
