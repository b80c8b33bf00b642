// SOLUTION: a thread that impersonates goes on doing so until RevertToSelf. A clean-up at the end of the scope runs on
// every way out, also on those that somebody adds later, and when an exception leaves the scope.
// STARTER
//~ // Exercise 14.2: after some requests, A's thread still has its client's token. Mend it.
// END
//
// A serves one client: it reads files with the client's rights, and ends when the client leaves.
//
// Run: processA [--name SUFFIX], then the pair's processB [--name SUFFIX] FILE [FILE ...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1,    // instance
        4096, // buffer for replies
        4096, // buffer for requests
        0,    // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

// Opens a file for the client's reading, with the rights that the thread has at this moment. The pair's A also checks
// the path; this is left out here.
ipc::unique_handle open_file(const std::wstring& path) {
    return ipc::unique_handle(CreateFileW(
        path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
        OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
}

// Ends the impersonation. A thread that cannot is never used again.
void revert() {
    if (!RevertToSelf()) {
        TerminateProcess(GetCurrentProcess(), 1);
    }
}

// Opens the file as the client. Returns the error.
DWORD open_for_client(HANDLE pipe, const std::wstring& path, ipc::unique_handle& file) {
    if (!ImpersonateNamedPipeClient(pipe)) {
        return GetLastError();
    }
    // SOLUTION: from here on, every way out reverts.
    const ipc::scope_exit as_server_again(revert);
    file = open_file(path);
    if (!file) {
        return GetLastError();
    }
    if (GetFileType(file.get()) != FILE_TYPE_DISK) {
        return ERROR_NOT_SUPPORTED; // a device or a pipe
    }
    // STARTER
    //~ file = open_file(path);
    //~ if (!file) {
    //~     return GetLastError();
    //~ }
    //~ if (GetFileType(file.get()) != FILE_TYPE_DISK) {
    //~     return ERROR_NOT_SUPPORTED; // a device or a pipe
    //~ }
    //~ revert();
    // END
    return ERROR_SUCCESS;
}

// Returns the reply to the request: a header and the content of the file.
std::vector<char> make_reply(HANDLE pipe, const std::wstring& path) {
    std::vector<char> reply(sizeof(protocol::reply_header) + protocol::max_content_bytes);
    ipc::unique_handle file;
    protocol::reply_header header{open_for_client(pipe, path, file)};
    DWORD bytes = 0;
    if (header.error == ERROR_SUCCESS && !ReadFile(file.get(), reply.data() + sizeof header,
                                                   protocol::max_content_bytes, &bytes, nullptr)) {
        header.error = GetLastError();
    }
    std::memcpy(reply.data(), &header, sizeof header);
    reply.resize(sizeof header + bytes);
    return reply;
}

void serve_client(HANDLE pipe) {
    std::wstring path(protocol::max_request_bytes / sizeof(wchar_t), L'\0');
    DWORD bytes = 0;
    while (ReadFile(pipe, path.data(), protocol::max_request_bytes, &bytes, nullptr)) {
        const std::vector<char> reply = make_reply(pipe, path.substr(0, bytes / sizeof(wchar_t)));
        if (!WriteFile(pipe, reply.data(), static_cast<DWORD>(reply.size()), &bytes, nullptr)) {
            return;
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const ipc::unique_handle pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    ipc::print_line("A: waiting for a client");
    // Its result does not matter: without a client, the first ReadFile fails.
    ConnectNamedPipe(pipe.get(), nullptr);
    serve_client(pipe.get());
    ipc::print_line("A: the client has left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
