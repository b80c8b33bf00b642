// Connects to a named pipe server within a limit, also while the server starts or is busy.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 connect_pipe.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static connect_pipe.cpp -o connect_pipe.exe

#include <windows.h>

#include <cstdio>
#include <cwchar>
#include <memory>
#include <string>
#include <system_error>

namespace {

// ANCHOR: connect_pipe
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// For a pipe in both directions. GENERIC_WRITE would also ask for the right to create instances of
// the pipe, which a careful server does not give to its clients.
constexpr DWORD pipe_read_write = GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;

// Opens a client's end of a named pipe, such as L"\\\\.\\pipe\\name". Waits up to limit_ms
// milliseconds (0: one try; INFINITE: no limit) until a server has created the pipe and has a free
// instance. access: pipe_read_write, GENERIC_READ or FILE_WRITE_DATA; flags: FILE_FLAG_OVERLAPPED or
// 0. The caller owns the handle, which reads in byte mode until SetNamedPipeHandleState changes that.
// The server can find out who the client is, but cannot act as the client.
// Throws std::system_error: ERROR_FILE_NOT_FOUND after the limit without a server, ERROR_PIPE_BUSY
// after the limit without a free instance, and any other error at once. Thread-safe.
unique_handle connect_to_pipe(const std::wstring& name, DWORD access, DWORD flags, DWORD limit_ms) {
    constexpr ULONGLONG longest_wait_ms = 1'000;
    constexpr DWORD pause_ms = 20;
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        unique_handle pipe(
            CreateFileW(name.c_str(), access, 0 /* not shared */, nullptr, OPEN_EXISTING,
                        flags | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        if (pipe.get() != INVALID_HANDLE_VALUE) {
            return pipe;
        }
        const DWORD error = GetLastError();
        const ULONGLONG waited_ms = GetTickCount64() - start_ms;
        const bool over = limit_ms != INFINITE && waited_ms >= limit_ms;
        if (over || (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY)) {
            throw std::system_error(static_cast<int>(error), std::system_category(), "CreateFileW");
        }
        // After WaitNamedPipeW another client may be faster, or the server may end, so the next
        // CreateFileW decides. The time is never 0, which would mean the server's default.
        const ULONGLONG left_ms = limit_ms == INFINITE ? longest_wait_ms : limit_ms - waited_ms;
        const auto wait_ms =
            static_cast<DWORD>(left_ms < longest_wait_ms ? left_ms : longest_wait_ms);
        if (error != ERROR_PIPE_BUSY || !WaitNamedPipeW(name.c_str(), wait_ms)) {
            Sleep(wait_ms < pause_ms ? wait_ms : pause_ms); // nothing can report a new pipe name
        }
    }
}
// ANCHOR_END: connect_pipe

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    if (argc != 3) {
        std::fputs("usage: connect_pipe PIPE LIMIT_MS\n", stderr);
        return 2;
    }
    const DWORD limit_ms = std::wcstoul(argv[2], nullptr, 10);
    const unique_handle pipe = connect_to_pipe(argv[1], pipe_read_write, 0, limit_ms);
    std::puts("connected");
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    return 1;
}
