// A pipe server: one thread serves many clients at a completion port, until Ctrl+C ends it.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 pipe_server.cpp advapi32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static pipe_server.cpp -o pipe_server.exe

#include <windows.h>

#include <sddl.h>

#include <cstdio>
#include <cwchar>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace {

// ANCHOR: pipe_instance
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;
using answer_function = std::function<std::string(std::string_view request)>;
enum class operation { connect, read, write };

// Throws for a call that failed: with the code error, or with GetLastError() if that is 0.
void check(bool succeeded, const char* call, DWORD error = 0) {
    if (!succeeded) {
        const auto code = static_cast<int>(error != 0 ? error : GetLastError());
        throw std::system_error(code, std::system_category(), call);
    }
}

struct pipe_instance {
    unique_handle pipe;
    OVERLAPPED overlapped{}; // while its operation is pending, the kernel uses it and the buffers
    operation current = operation::connect;
    ULONGLONG start_ms = 0;
    char request[16 * 1024]{}; // a longer request costs the client its connection
    std::string reply;
};

struct server_state {
    unique_handle port;
    std::list<pipe_instance> instances;
    DWORD pending = 0; // operations whose packet has not come yet

    server_state() = default;
    server_state(const server_state&) = delete;
    server_state& operator=(const server_state&) = delete;
    ~server_state() {
        for (pipe_instance& instance : instances) {
            CancelIoEx(instance.pipe.get(), &instance.overlapped);
        }
        for (; pending > 0; --pending) {
            DWORD bytes = 0;
            ULONG_PTR key = 0;
            OVERLAPPED* overlapped = nullptr;
            GetQueuedCompletionStatus(port.get(), &bytes, &key, &overlapped, INFINITE);
        }
    }
};
// ANCHOR_END: pipe_instance

// ANCHOR: start_next
// Judges how the instance's operation ended, and starts the next one. No packet comes for a call
// that fails at once, so its result is judged here, too.
void start_next(server_state& server, pipe_instance& instance, DWORD error, DWORD bytes,
                const answer_function& answer) {
    const HANDLE pipe = instance.pipe.get();
    OVERLAPPED* const overlapped = &instance.overlapped;
    do {
        BOOL done = FALSE;
        instance.start_ms = GetTickCount64();
        if (error == ERROR_SUCCESS && instance.current == operation::read) {
            instance.reply = answer({instance.request, bytes});
            instance.current = operation::write;
            const auto size = static_cast<DWORD>(instance.reply.size());
            done = WriteFile(pipe, instance.reply.data(), size, nullptr, overlapped);
        } else if (error == ERROR_SUCCESS) {
            instance.current = operation::read;
            done = ReadFile(pipe, instance.request, sizeof instance.request, nullptr, overlapped);
        } else {
            if (instance.current != operation::connect) {
                DisconnectNamedPipe(pipe); // the client has left, was idle, or sent too much
            }
            instance.current = operation::connect;
            done = ConnectNamedPipe(pipe, overlapped);
        }
        error = done ? ERROR_SUCCESS : GetLastError();
        if (error == ERROR_SUCCESS || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA) {
            ++server.pending; // the port gets a packet
            return;
        }
        if (instance.current == operation::connect) {
            // A client came before the call. ERROR_NO_DATA: it has left again.
            check(error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA, "ConnectNamedPipe",
                  error);
            error = ERROR_SUCCESS;
        }
    } while (true);
}
// ANCHOR_END: start_next

// ANCHOR: pipe_server
// Serves up to max_clients clients (1 to 254) at a time. security decides who can connect, see
// allow_user_or_service.cpp; with nullptr every user can connect and read. answer gets a request, one
// message, and returns the reply; meanwhile all clients wait. A client that sends nothing, or does not
// read its reply, for idle_limit_ms milliseconds (at most 49 days) loses its connection. Returns when
// the event stop is set: within 0.2 s, or when the last reply has been sent, at the latest after the
// idle limit. Throws what answer throws, and std::system_error; ERROR_ACCESS_DENIED: another server
// has the name.
void serve_pipe(const wchar_t* name, SECURITY_ATTRIBUTES* security, DWORD max_clients,
                DWORD idle_limit_ms, HANDLE stop, const answer_function& answer) {
    server_state server;
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1 /* thread */));
    check(server.port != nullptr, "CreateIoCompletionPort");
    for (DWORD i = 0; i < max_clients; ++i) {
        pipe_instance& created = server.instances.emplace_back();
        created.pipe.reset(CreateNamedPipeW(name,
                                            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED |
                                                (i == 0 ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
                                            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT |
                                                PIPE_REJECT_REMOTE_CLIENTS,
                                            max_clients, 4096, 4096, 0, security));
        check(created.pipe.get() != INVALID_HANDLE_VALUE, "CreateNamedPipeW");
        const auto key = reinterpret_cast<ULONG_PTR>(&created);
        const HANDLE port = CreateIoCompletionPort(created.pipe.get(), server.port.get(), key, 0);
        check(port != nullptr, "CreateIoCompletionPort");
        start_next(server, created, ERROR_PIPE_NOT_CONNECTED, 0, answer);
    }
    for (bool stopping = false, replying = false; !stopping || replying;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        const BOOL done =
            GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped, 200 /* ms */);
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        check(overlapped != nullptr || error == WAIT_TIMEOUT, "GetQueuedCompletionStatus", error);
        if (overlapped != nullptr) {
            --server.pending;
            auto& instance = *reinterpret_cast<pipe_instance*>(key);
            if (stopping) {
                instance.current = operation::connect; // nothing more
            } else {
                start_next(server, instance, error, bytes, answer);
            }
        }
        stopping = stopping || WaitForSingleObject(stop, 0) == WAIT_OBJECT_0;
        replying = false;
        for (pipe_instance& each : server.instances) {
            replying = replying || each.current == operation::write;
            if (each.current != operation::connect &&
                GetTickCount64() - each.start_ms >= idle_limit_ms) {
                CancelIoEx(each.pipe.get(), &each.overlapped); // its packet brings an error
            }
        }
    }
}
// ANCHOR_END: pipe_server

HANDLE stop_event() {
    static const HANDLE event = CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr);
    return event; // never closed: a control handler can run until the process ends
}

BOOL WINAPI on_control(DWORD control) {
    return (control == CTRL_C_EVENT || control == CTRL_BREAK_EVENT) && SetEvent(stop_event());
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    if (argc != 4) {
        std::fputs("usage: pipe_server PIPE MAX_CLIENTS IDLE_LIMIT_MS\n", stderr);
        return 2;
    }
    SetConsoleCtrlHandler(nullptr, FALSE); // or an inherited "ignore Ctrl+C" would stay
    check(SetConsoleCtrlHandler(on_control, TRUE), "SetConsoleCtrlHandler");
    SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE};
    // OW: the owner, who is this user or, if the program runs elevated, every administrator.
    check(ConvertStringSecurityDescriptorToSecurityDescriptorW(
              L"D:P(A;;GA;;;OW)", SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr),
          "ConvertStringSecurityDescriptorToSecurityDescriptorW");
    serve_pipe(argv[1], &security, std::wcstoul(argv[2], nullptr, 10),
               std::wcstoul(argv[3], nullptr, 10), stop_event(), [](std::string_view request) {
                   return std::string(request.rbegin(), request.rend()); // backwards
               });
    LocalFree(security.lpSecurityDescriptor);
    std::puts("the end");
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    return 1;
}
