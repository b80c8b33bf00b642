// A named pipe for the programs of one user. Its client makes sure that the server is one of them.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 private_pipe.cpp advapi32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static private_pipe.cpp -o private_pipe.exe

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

namespace {

// ANCHOR: create_private_pipe
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;
struct local_deleter {
    void operator()(void* memory) const noexcept { LocalFree(memory); }
};

// Throws for a call that failed: with the code error, or with GetLastError() if that is 0.
void check(bool succeeded, const char* call, DWORD error = 0) {
    if (!succeeded) {
        const auto code = static_cast<int>(error != 0 ? error : GetLastError());
        throw std::system_error(code, std::system_category(), call);
    }
}

// The user of a process, as SID text: "S-1-5-21-...". All functions throw std::system_error and are
// thread-safe.
std::wstring user_of(HANDLE process) {
    HANDLE opened = nullptr;
    check(OpenProcessToken(process, TOKEN_QUERY, &opened), "OpenProcessToken");
    const unique_handle token(opened);
    alignas(TOKEN_USER) std::byte user[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    DWORD size = sizeof user;
    check(GetTokenInformation(opened, TokenUser, user, size, &size), "GetTokenInformation");
    wchar_t* sid = nullptr;
    const PSID user_sid = reinterpret_cast<TOKEN_USER*>(user)->User.Sid;
    check(ConvertSidToStringSidW(user_sid, &sid), "ConvertSidToStringSidW");
    const std::unique_ptr<wchar_t, local_deleter> free_sid(sid);
    return sid;
}

// Creates the first instance of a message-type pipe with overlapped calls. Throws with
// ERROR_ACCESS_DENIED or ERROR_PIPE_BUSY if any program has created the pipe before: do not serve.
unique_handle create_private_pipe(const wchar_t* name) {
    const std::wstring user = user_of(GetCurrentProcess());
    // O: the owner, D: who may do what, P: inherits nothing, FA: everything that a pipe has
    const std::wstring sddl = L"O:" + user + L"D:P(A;;FA;;;" + user + L")";
    SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE /* not inheritable */};
    check(ConvertStringSecurityDescriptorToSecurityDescriptorW(
              sddl.c_str(), SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr),
          "ConvertStringSecurityDescriptorToSecurityDescriptorW");
    const std::unique_ptr<void, local_deleter> free_descriptor(security.lpSecurityDescriptor);
    unique_handle pipe(CreateNamedPipeW(
        name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, &security));
    check(pipe.get() != INVALID_HANDLE_VALUE, "CreateNamedPipeW");
    return pipe;
}
// ANCHOR_END: create_private_pipe

// ANCHOR: open_private_pipe
// Opens a client's end, once, and makes sure that the pipe and its server belong to the current user.
// Throws with ERROR_INVALID_OWNER (1307) if one of them does not, and with the code of the call if
// that cannot be told. Nothing has been sent then, and the server could not act as this client.
unique_handle open_private_pipe(const wchar_t* name, DWORD flags) {
    const std::wstring user = user_of(GetCurrentProcess());
    unique_handle pipe(CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
                                   flags | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                                   nullptr));
    check(pipe.get() != INVALID_HANDLE_VALUE, "CreateFileW");
    ULONG id = 0;
    check(GetNamedPipeServerProcessId(pipe.get(), &id), "GetNamedPipeServerProcessId");
    const unique_handle server(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    check(server != nullptr, "OpenProcess");
    check(user_of(server.get()) == user, "the server's process", ERROR_INVALID_OWNER);
    // The id may belong to another process by now, so this asks who created the pipe, too.
    PSID owner = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    const DWORD error = GetSecurityInfo(pipe.get(), SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION,
                                        &owner, nullptr, nullptr, nullptr, &descriptor);
    check(error == ERROR_SUCCESS, "GetSecurityInfo", error);
    const std::unique_ptr<void, local_deleter> free_descriptor(descriptor);
    wchar_t* sid = nullptr;
    check(owner != nullptr && ConvertSidToStringSidW(owner, &sid), "the pipe's owner",
          owner == nullptr ? ERROR_INVALID_OWNER : 0);
    const std::unique_ptr<wchar_t, local_deleter> free_sid(sid);
    check(user == sid, "the pipe's owner", ERROR_INVALID_OWNER);
    return pipe;
}
// ANCHOR_END: open_private_pipe

} // namespace

// Serves one client, which sends one message, or is this client.
int wmain(int argc, wchar_t* argv[]) try {
    const std::wstring mode = argc == 3 ? argv[1] : L"";
    if (mode != L"serve" && mode != L"send") {
        std::fputs("usage: private_pipe serve|send PIPE\n", stderr);
        return 2;
    }
    if (mode == L"send") {
        const unique_handle pipe = open_private_pipe(argv[2], 0);
        DWORD bytes = 0;
        check(WriteFile(pipe.get(), "secret", 6, &bytes, nullptr), "WriteFile");
        std::puts("sent");
        return 0;
    }
    const unique_handle pipe = create_private_pipe(argv[2]);
    const unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    check(event != nullptr, "CreateEventW");
    OVERLAPPED overlapped{};
    overlapped.hEvent = event.get();
    std::puts("waiting");
    std::fflush(stdout);
    const auto finish = [&](BOOL done, const char* call) {
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        DWORD bytes = 0;
        check(error == ERROR_SUCCESS || error == ERROR_IO_PENDING ||
                  error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA,
              call, error);
        if (error == ERROR_IO_PENDING || error == ERROR_SUCCESS) {
            check(GetOverlappedResult(pipe.get(), &overlapped, &bytes, TRUE), call);
        }
        return bytes;
    };
    finish(ConnectNamedPipe(pipe.get(), &overlapped), "ConnectNamedPipe");
    char message[64];
    const DWORD bytes =
        finish(ReadFile(pipe.get(), message, sizeof message, nullptr, &overlapped), "ReadFile");
    std::printf("%lu bytes: %.*s\n", bytes, static_cast<int>(bytes), message);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    return 1;
}
