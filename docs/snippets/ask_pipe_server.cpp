// Asks a pipe server once: connects, sends one request and reads one reply, all within one limit.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 ask_pipe_server.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static ask_pipe_server.cpp -o ask_pipe_server.exe

#include <windows.h>

#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <memory>
#include <string>

namespace {

// ANCHOR: handle
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;
// ANCHOR_END: handle

// ANCHOR: ask_pipe_server
// Sends one message to the server of a message-type pipe and stores the reply, one message of up to
// max_reply_bytes bytes, which are allocated at once. limit_ms milliseconds (at most 49 days) are
// for everything: until the pipe exists, an instance is free, and the reply is there. Any number of
// threads can call this. Returns 0 or a Win32 error code; then the reply has no meaning.
//   ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY         no server, or no free instance, in time
//   WAIT_TIMEOUT                                  no reply in time; the server may still do the work
//   ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED   the server closed the connection
//   ERROR_MORE_DATA                               the reply is longer
//   ERROR_INVALID_PARAMETER                       the pipe is of byte type
DWORD ask_pipe_server(const wchar_t* name, const std::string& request, std::string& reply,
                      DWORD max_reply_bytes, DWORD limit_ms) {
    // GENERIC_WRITE would also ask for the right to create instances, which few clients have.
    const DWORD access = GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;
    // SECURITY_IDENTIFICATION: the server sees who the client is, but cannot act as the client.
    const DWORD flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    const ULONGLONG end_ms = GetTickCount64() + limit_ms;
    const auto left_ms = [end_ms]() -> DWORD {
        const ULONGLONG now_ms = GetTickCount64();
        return now_ms < end_ms ? static_cast<DWORD>(end_ms - now_ms) : 0;
    };
    reply.assign(max_reply_bytes, '\0');
    unique_handle pipe(CreateFileW(name, access, 0, nullptr, OPEN_EXISTING, flags, nullptr));
    while (pipe.get() == INVALID_HANDLE_VALUE) {
        const DWORD error = GetLastError();
        const DWORD wait_ms = left_ms();
        if (wait_ms == 0 || (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY)) {
            return error;
        }
        // After this wait another client may be faster, so CreateFileW decides again.
        if (error != ERROR_PIPE_BUSY || !WaitNamedPipeW(name, wait_ms)) {
            Sleep(wait_ms < 20 ? wait_ms : 20); // nothing can report a new pipe name
        }
        pipe.reset(CreateFileW(name, access, 0, nullptr, OPEN_EXISTING, flags, nullptr));
    }
    DWORD mode = PIPE_READMODE_MESSAGE; // a client starts in byte read mode
    const unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event || !SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        return GetLastError();
    }
    OVERLAPPED overlapped{};
    overlapped.hEvent = event.get();
    std::string sent = request; // the call takes a pointer to bytes that are not const
    const BOOL done = TransactNamedPipe(pipe.get(), sent.data(), static_cast<DWORD>(sent.size()),
                                        reply.data(), max_reply_bytes, nullptr, &overlapped);
    const DWORD start_error = done ? ERROR_SUCCESS : GetLastError();
    if (start_error != ERROR_SUCCESS && start_error != ERROR_IO_PENDING) {
        return start_error;
    }
    // Until the event is set, the kernel uses overlapped, sent and reply.
    if (WaitForSingleObject(event.get(), left_ms()) != WAIT_OBJECT_0) {
        CancelIoEx(pipe.get(), &overlapped);        // asks only: the reply may come all the same
        WaitForSingleObject(event.get(), INFINITE); // ended by the end of the call
    }
    DWORD bytes = 0;
    const BOOL replied = GetOverlappedResult(pipe.get(), &overlapped, &bytes, FALSE);
    const DWORD error = replied ? ERROR_SUCCESS : GetLastError();
    reply.resize(bytes);
    return error == ERROR_OPERATION_ABORTED ? WAIT_TIMEOUT : error;
}
// ANCHOR_END: ask_pipe_server

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    if (argc != 5) {
        std::fputs("usage: ask_pipe_server PIPE REQUEST MAX_REPLY_BYTES LIMIT_MS\n", stderr);
        return 2;
    }
    const std::u8string request = std::filesystem::path(argv[2]).u8string(); // UTF-8
    std::string reply;
    const DWORD error =
        ask_pipe_server(argv[1], std::string(request.begin(), request.end()), reply,
                        std::wcstoul(argv[3], nullptr, 10), std::wcstoul(argv[4], nullptr, 10));
    if (error != ERROR_SUCCESS) {
        std::fprintf(stderr, "error %lu\n", error);
        return 1;
    }
    std::printf("%zu bytes: ", reply.size());
    std::fwrite(reply.data(), 1, reply.size(), stdout);
    std::puts("");
    return 0;
}
