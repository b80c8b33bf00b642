// Demo 14, process A: a server that reads files for its clients, with their rights.
//
// For each request A impersonates the client, opens the file, and reverts at once. What the client
// may not open, A refuses: it never opens a file with its own rights. A serves one client at a time.
//
// Run: processA [--clients N] [--early] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/message_buffer.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "impersonation.hpp"
#include "protocol.hpp"

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--clients N] [--early] [--limit SECONDS] [--name SUFFIX]\n"
    "  --clients N      end after N clients (default: Ctrl+C ends it)\n"
    "  --early          show whether the server can impersonate before the first read\n"
    "  --limit SECONDS  drop a client that is silent for so long (default: 10; 0: never)\n"
    "  --name SUFFIX    appended to the pipe's name, to run several servers";
constexpr DWORD pipe_bytes = 4 * 1024; // a hint to the system; a message may be longer
constexpr DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
constexpr const char* level_names[] = {"anonymous", "identification", "impersonation",
                                       "delegation"};

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0; // for the client to send a request, and to read its reply
    ipc::message_buffer request{protocol::max_request_bytes};
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

// What the server has got as its client.
struct opened_file {
    DWORD error = ERROR_SUCCESS; // why there is no file
    SECURITY_IMPERSONATION_LEVEL level = SecurityAnonymous;
    ipc::unique_handle token; // the client's
    ipc::unique_handle file;
};

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(
        CreateNamedPipeW(name.c_str(),              // begins with \\.\pipe\.
                         PIPE_ACCESS_DUPLEX |       // both ends read and write
                             FILE_FLAG_OVERLAPPED | // so that a wait for a call can have a limit
                             FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if another server has the name
                         PIPE_TYPE_MESSAGE |                // a request is one message
                             PIPE_READMODE_MESSAGE | // each ReadFile reads one message at the most
                             PIPE_WAIT |             // blocking mode
                             PIPE_REJECT_REMOTE_CLIENTS, // only clients of this machine
                         1,             // number of instances: one client at a time
                         pipe_bytes,    // output buffer
                         pipe_bytes,    // input buffer
                         0,             // default time-out of WaitNamedPipe: 50 ms
                         security.get() // who can connect: the current user
                         ));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(connection& client) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), client.call.get());
    // INFINITE: a server waits until a client comes or Ctrl+C is pressed.
    const DWORD error = client.call.wait(done, INFINITE, ipc::ctrl_c_event()).error;
    // ERROR_PIPE_CONNECTED: the client connected before the call. ERROR_NO_DATA: it has even left
    // again, and the next read will fail. ERROR_OPERATION_ABORTED: Ctrl+C was pressed.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA &&
        error != ERROR_OPERATION_ABORTED) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void show_early_impersonation(HANDLE pipe) {
    std::string outcome = "done";
    try {
        const impersonation client(pipe);
    } catch (const ipc::win32_error& error) {
        outcome = protocol::error_name(error.code());
    }
    ipc::print_line("A: impersonation before the first read: {}", outcome);
}

// Reads one message. A message longer than the buffer takes several reads, and each but the last
// ends with ERROR_MORE_DATA.
DWORD read_request(connection& client) {
    client.request.clear();
    for (;;) {
        const BOOL done = ReadFile(client.pipe.get(), client.request.free_space(),
                                   client.request.free_bytes(), nullptr, client.call.get());
        const ipc::call_result read = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event());
        client.request.add(read.bytes);
        if (read.error != ERROR_MORE_DATA || !client.request.grow()) {
            return read.error;
        }
    }
}

// A path from the root of a drive. This excludes devices (\\.\), other computers (\\server\), and
// paths that depend on the server's current folder.
bool is_full_path(const std::wstring& path) {
    return path.size() > 3 && path.compare(1, 2, L":\\") == 0 &&
           path.find(L'\0') == std::wstring::npos;
}

opened_file open_as_client(HANDLE pipe, const std::wstring& path) {
    opened_file opened;
    // ANCHOR: open_as_client
    const impersonation client(pipe); // throws if it fails; ends when this function returns
    DWORD size = sizeof opened.level;
    if (!OpenThreadToken(GetCurrentThread(), TOKEN_QUERY,
                         TRUE, // with the server's rights: the client's may not be enough
                         opened.token.put()) ||
        !GetTokenInformation(opened.token.get(), TokenImpersonationLevel, &opened.level, size,
                             &size)) {
        opened.error = GetLastError(); // ERROR_CANT_OPEN_ANONYMOUS: an anonymous client
    } else if (opened.level < SecurityImpersonation) {
        opened.error = ERROR_BAD_IMPERSONATION_LEVEL; // as CreateFileW would say
    } else {
        // SECURITY_ANONYMOUS: should the path lead to a pipe, its server cannot act as the client.
        opened.file.reset(CreateFileW(path.c_str(), GENERIC_READ, share_all, nullptr, OPEN_EXISTING,
                                      SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
        opened.error = opened.file ? ERROR_SUCCESS : GetLastError();
    }
    // ANCHOR_END: open_as_client
    return opened;
}

// Reads the whole file as the server: Windows has checked the client's rights when it opened the
// file. Returns the error.
DWORD read_file(HANDLE file, std::vector<char>& content) {
    if (GetFileType(file) != FILE_TYPE_DISK) { // a drive letter may lead to a device or a pipe
        return ERROR_NOT_SUPPORTED;
    }
    content.resize(protocol::max_content_bytes + 1); // 1 more shows that the file is longer
    DWORD bytes = 0;
    if (!ReadFile(file, content.data(), static_cast<DWORD>(content.size()), &bytes, nullptr)) {
        return GetLastError();
    }
    content.resize(bytes);
    return bytes > protocol::max_content_bytes ? ERROR_FILE_TOO_LARGE : ERROR_SUCCESS;
}

// Returns the reply to the request.
std::vector<char> answer_request(connection& client, std::uint64_t number) {
    const std::span<char> message = client.request.message();
    std::wstring path(message.size() / sizeof(wchar_t), L'\0');
    std::memcpy(path.data(), message.data(), path.size() * sizeof(wchar_t));
    opened_file opened;
    opened.error = ERROR_BAD_PATHNAME;
    if (message.size() % sizeof(wchar_t) == 0 && is_full_path(path)) {
        try {
            opened = open_as_client(client.pipe.get(), path);
        } catch (const ipc::win32_error& error) {
            opened.error = error.code(); // no impersonation: nothing may be opened
        }
    }
    std::vector<char> content;
    if (opened.error == ERROR_SUCCESS) {
        opened.error = read_file(opened.file.get(), content);
    }
    const bool read = opened.error == ERROR_SUCCESS;
    if (!read) {
        content.clear();
    }
    ipc::print_line("A: request {}: {}; {}", number,
                    opened.token
                        ? user_text(opened.token.get()) + ", level " + level_names[opened.level]
                        : "no token",
                    read ? std::to_string(content.size()) + " bytes"
                         : "refused, " + protocol::error_name(opened.error));
    const protocol::reply_header header{opened.error};
    const auto* const bytes = reinterpret_cast<const char*>(&header);
    content.insert(content.begin(), bytes, bytes + sizeof header);
    return content;
}

// Returns the error that ended the connection, ERROR_OPERATION_ABORTED if it was Ctrl+C.
DWORD serve_client(connection& client, std::uint64_t& answered) {
    while (!ipc::ctrl_c_pressed()) { // a busy client may never let a call wait for the event
        DWORD error = read_request(client);
        if (error == ERROR_SUCCESS) {
            const std::vector<char> reply = answer_request(client, answered + 1);
            const BOOL done =
                WriteFile(client.pipe.get(), reply.data(), static_cast<DWORD>(reply.size()),
                          nullptr, client.call.get());
            error = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event()).error;
        }
        if (error != ERROR_SUCCESS) {
            return error;
        }
        ++answered;
    }
    return ERROR_OPERATION_ABORTED;
}

std::uint64_t serve_clients(connection& client, std::uint64_t clients, bool early) {
    std::uint64_t served = 0;
    for (;;) {
        wait_for_client(client);
        if (early && !ipc::ctrl_c_pressed()) {
            show_early_impersonation(client.pipe.get());
        }
        std::uint64_t answered = 0;
        const DWORD error = serve_client(client, answered);
        if (error == ERROR_OPERATION_ABORTED) {
            return served;
        }
        ipc::print_client_end(error, answered);
        ++served;
        if (served == clients) {
            return served;
        }
        // Makes the instance free for the next client. The server's end only closes the handle, because
        // DisconnectNamedPipe discards a reply that the client has not read.
        if (!DisconnectNamedPipe(client.pipe.get())) {
            ipc::throw_last_error("DisconnectNamedPipe");
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::server_options options;
    bool early = false;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--clients", &options.clients},
                          {L"--early", &early},
                          {L"--limit", &options.idle_limit},
                          {L"--name", &options.suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C ends the server cleanly
    connection client{create_pipe(ipc::object_name(protocol::pipe_name, options.suffix)),
                      options.idle_limit.ms};
    ipc::print_line("A: waiting for clients");
    const std::uint64_t served = serve_clients(client, options.clients, early);
    ipc::print_line("A: the end; clients served: {}", served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
