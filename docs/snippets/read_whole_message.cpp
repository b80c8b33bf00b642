// Reads one whole message from a message-type pipe: of any length up to a limit, and within a time.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 read_whole_message.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static read_whole_message.cpp -o read_whole_message.exe

#include <windows.h>

#include <cstddef>
#include <cstdio>
#include <cwchar>
#include <memory>
#include <string>

namespace {

// ANCHOR: read_whole_message
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// Stores one message of up to max_bytes bytes (at least 1). The memory grows with the message, not
// with max_bytes. The pipe was opened with FILE_FLAG_OVERLAPPED and is in PIPE_READMODE_MESSAGE: a
// server creates it so, a client calls SetNamedPipeHandleState. Waits up to limit_ms milliseconds
// for the message (INFINITE: no limit). One thread at a time can read from a pipe. Returns 0 or an
// error code; an exception (std::bad_alloc) or an error leaves no call pending.
//   ERROR_SUCCESS                   a message; an empty one is a message, too, and not the end
//   ERROR_BROKEN_PIPE               the end: the other end is closed, and everything has been read
//   WAIT_TIMEOUT                    no message within the limit; the pipe can be read again
//   ERROR_MORE_DATA                 a longer message; its rest is still in the pipe: close the pipe
//   ERROR_PIPE_NOT_CONNECTED, ...   the server has disconnected this client, or another error
DWORD read_whole_message(HANDLE pipe, std::string& message, std::size_t max_bytes, DWORD limit_ms) {
    const unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        return GetLastError();
    }
    std::size_t used = 0;
    DWORD error = ERROR_MORE_DATA;
    while (error == ERROR_MORE_DATA && used < max_bytes) {
        const std::size_t room = used < 4096 ? 4096 : used; // doubles each time
        const auto size = static_cast<DWORD>(room < max_bytes - used ? room : max_bytes - used);
        message.resize(used + size);
        OVERLAPPED overlapped{};
        overlapped.hEvent = event.get();
        const BOOL done = ReadFile(pipe, message.data() + used, size, nullptr, &overlapped);
        error = done ? ERROR_SUCCESS : GetLastError();
        if (error != ERROR_SUCCESS && error != ERROR_IO_PENDING && error != ERROR_MORE_DATA) {
            break; // failed at once: nothing sets the event
        }
        // Until the call has ended, the kernel uses overlapped and message.
        const DWORD waited = WaitForSingleObject(event.get(), limit_ms);
        if (waited != WAIT_OBJECT_0) {
            CancelIoEx(pipe, &overlapped); // asks only: a message may arrive all the same
        }
        DWORD bytes = 0;
        const BOOL ended = GetOverlappedResult(pipe, &overlapped, &bytes, TRUE /* wait */);
        error = ended ? ERROR_SUCCESS : GetLastError();
        if (waited == WAIT_TIMEOUT && error == ERROR_OPERATION_ABORTED) {
            error = WAIT_TIMEOUT;
        }
        used += bytes;
    }
    message.resize(used);
    return error;
}
// ANCHOR_END: read_whole_message

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    if (argc != 4) {
        std::fputs("usage: read_whole_message PIPE MAX_BYTES LIMIT_MS\n", stderr);
        return 2;
    }
    const unique_handle pipe(CreateFileW(
        argv[1], GENERIC_READ | FILE_WRITE_ATTRIBUTES, 0, nullptr, OPEN_EXISTING,
        FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
    DWORD mode = PIPE_READMODE_MESSAGE; // a client starts in byte read mode
    DWORD error = ERROR_SUCCESS;
    if (pipe.get() == INVALID_HANDLE_VALUE ||
        !SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        error = GetLastError();
    }
    std::string message;
    while (error == ERROR_SUCCESS) {
        error = read_whole_message(pipe.get(), message, std::wcstoul(argv[2], nullptr, 10),
                                   std::wcstoul(argv[3], nullptr, 10));
        if (error == ERROR_SUCCESS) {
            std::printf("%zu bytes: ", message.size());
            std::fwrite(message.data(), 1, message.size(), stdout);
            std::puts("");
        }
    }
    std::printf("end: error %lu\n", error);
    return error == ERROR_BROKEN_PIPE ? 0 : 1;
}
