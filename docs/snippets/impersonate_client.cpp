// Opens a file that a pipe client names, with the client's rights.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 impersonate_client.cpp advapi32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static impersonate_client.cpp -o impersonate_client.exe
// Run: impersonate_client PIPE_NAME    a server for one client, which sends the path of a file in UTF-16

#include <windows.h>

#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

namespace {

struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

void check(bool succeeded, const char* call, DWORD error) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(error), std::system_category(), call);
    }
}

// ANCHOR: impersonate_client
// The thread acts as the client of the pipe until the end of the scope, on every way out. Make it after a
// successful read from the pipe, and keep the scope short: nothing in it should load a DLL, start a process or
// print. Throws std::system_error; the thread then still has the server's own rights, so do not go on.
class client_impersonation {
public:
    explicit client_impersonation(HANDLE pipe) {
        const bool done = ImpersonateNamedPipeClient(pipe) != 0;
        check(done, "ImpersonateNamedPipeClient", GetLastError());
    }
    ~client_impersonation() {
        if (!RevertToSelf()) { // the thread would go on as the client
            TerminateProcess(GetCurrentProcess(), 1);
        }
    }
    client_impersonation(const client_impersonation&) = delete;
    client_impersonation& operator=(const client_impersonation&) = delete;
};

// Opens a file for reading with the rights of the pipe's client, and with no other's. The path has to begin with
// a drive letter, such as C:\. Call it after a successful read from the pipe. Throws std::system_error:
//   ERROR_BAD_PATHNAME              the path is relative, or names another computer or a device
//   ERROR_BAD_IMPERSONATION_LEVEL   the client does not allow it; or this process has no SeImpersonatePrivilege,
//                                   and the client is another user or elevated
//   ERROR_NOT_SUPPORTED             the path leads to something that is not a file on a disk
//   any other code                  why the client cannot open the file
unique_handle open_as_client(HANDLE pipe, const std::wstring& path) {
    const wchar_t drive = path.empty() ? L' ' : path[0];
    const bool letter = (drive >= L'A' && drive <= L'Z') || (drive >= L'a' && drive <= L'z');
    const bool full = letter && path.size() > 3 && path.compare(1, 2, L":\\") == 0;
    check(full && path.find(L'\0') == std::wstring::npos, "open_as_client", ERROR_BAD_PATHNAME);
    unique_handle file;
    DWORD error = ERROR_SUCCESS;
    {
        const client_impersonation client(pipe);
        // SECURITY_ANONYMOUS: should the path lead to a pipe, its server cannot act as the client.
        file.reset(CreateFileW(path.c_str(), GENERIC_READ,
                               FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                               OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
        error = GetLastError(); // before RevertToSelf can change it
    }
    check(file.get() != INVALID_HANDLE_VALUE, "CreateFileW", error);
    check(GetFileType(file.get()) == FILE_TYPE_DISK, "GetFileType", ERROR_NOT_SUPPORTED);
    return file;
}
// ANCHOR_END: impersonate_client

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    if (argc != 2) {
        std::fputs("usage: impersonate_client PIPE_NAME\n", stderr);
        return 2;
    }
    const unique_handle pipe(
        CreateNamedPipeW(argv[1], PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS, 1,
                         0, 4096, 0, nullptr));
    check(pipe.get() != INVALID_HANDLE_VALUE, "CreateNamedPipeW", GetLastError());
    ConnectNamedPipe(pipe.get(), nullptr); // fails if the client is there already
    std::wstring path(1024, L'\0');
    DWORD bytes = 0;
    const bool read = ReadFile(pipe.get(), path.data(), 2048, &bytes, nullptr) != 0;
    check(read, "ReadFile", GetLastError());
    path.resize(bytes / sizeof(wchar_t));
    const unique_handle file = open_as_client(pipe.get(), path);
    char content[4096];
    const bool got = ReadFile(file.get(), content, sizeof content, &bytes, nullptr) != 0;
    check(got, "ReadFile", GetLastError());
    std::printf("%lu bytes\n", static_cast<unsigned long>(bytes));
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (error %d)\n", error.what(), error.code().value());
    return 1;
}
