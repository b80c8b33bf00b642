// Demo 13, process B: a client that tries what a pipe's descriptor allows, and checks its server.
//
// B opens the pipe to read, opens it to write, and creates an instance of it, and says for each with
// which code it was allowed or refused. Then B connects, finds out who serves the pipe, and sends
// its request only to the expected account. With --try squat B is the attacker: it creates the pipe
// before A.
//
// Run: processB [--try WHAT] [--server SID] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "descriptor_text.hpp"
#include "protocol.hpp"

#include <aclapi.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--try WHAT] [--server SID] [--limit SECONDS] [--name SUFFIX]\n"
    "  --try WHAT       only this: open the pipe to read, or to write, create an instance of A's\n"
    "                   pipe, or squat: create the pipe before A and wait for its clients\n"
    "  --server SID     the account that has to serve the pipe (default: this user)\n"
    "  --limit SECONDS  how long to wait for the server or the client (default: 10; 0: no limit)\n"
    "  --name SUFFIX    use another pipe, so that several pairs can run at once";
constexpr std::string_view request = "hello";
constexpr DWORD pipe_bytes = 16 * 1024; // a hint to the system

void print_result(const char* what, DWORD error) {
    ipc::print_line("B: {}: {}", what,
                    error == ERROR_SUCCESS ? "allowed" : "refused, " + code_name(error));
}

void try_open(const char* what, const std::wstring& name, DWORD access, DWORD limit_ms) {
    try {
        const ipc::unique_handle pipe = ipc::connect_to_pipe(name, access, 0, limit_ms);
        print_result(what, ERROR_SUCCESS);
    } catch (const ipc::win32_error& error) {
        print_result(what, error.code());
    }
}

ipc::unique_handle create_instance(const std::wstring& name, DWORD flags,
                                   SECURITY_ATTRIBUTES* security) {
    return ipc::unique_handle(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | flags,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, pipe_bytes, pipe_bytes, 0, security));
}

void try_instance(const std::wstring& name) {
    // Without A, B would create a pipe of its own here.
    if (!WaitNamedPipeW(name.c_str(), 1) && GetLastError() == ERROR_FILE_NOT_FOUND) {
        throw std::runtime_error("no server at " + ipc::to_utf8(name));
    }
    // This instance would have A's descriptor, and A's next client.
    const ipc::unique_handle pipe =
        create_instance(name, 0 /* not FILE_FLAG_FIRST_PIPE_INSTANCE */, nullptr);
    const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
    print_result("create an instance", error);
}

// The attacker: clients meet B, and B's descriptor lets everyone in. A could even add instances to
// this pipe, if A did not insist on the first one.
void squat(const std::wstring& name, DWORD limit_ms) {
    SECURITY_DESCRIPTOR open_to_all{};
    InitializeSecurityDescriptor(&open_to_all, SECURITY_DESCRIPTOR_REVISION);
    SetSecurityDescriptorDacl(&open_to_all, TRUE, nullptr /* no list: everything */, FALSE);
    SECURITY_ATTRIBUTES security{sizeof security, &open_to_all, FALSE};
    const ipc::unique_handle pipe = create_instance(name, FILE_FLAG_FIRST_PIPE_INSTANCE, &security);
    print_result("squat", pipe ? ERROR_SUCCESS : GetLastError());
    if (!pipe) {
        return;
    }
    char message[protocol::max_message_bytes];
    ipc::overlapped_call call(pipe.get());
    for (;;) { // Ctrl+C ends the attacker
        BOOL done = ConnectNamedPipe(pipe.get(), call.get());
        call.wait(done, INFINITE); // until a client comes
        done = ReadFile(pipe.get(), message, sizeof message, nullptr, call.get());
        const ipc::call_result read = call.wait(done, limit_ms);
        ipc::print_line("B: a client sent {} bytes to the squatter", read.bytes);
        DisconnectNamedPipe(pipe.get());
    }
}

// ANCHOR: server_user
std::wstring server_user(HANDLE pipe) {
    ULONG id = 0;
    if (!GetNamedPipeServerProcessId(pipe, &id)) {
        ipc::throw_last_error("GetNamedPipeServerProcessId");
    }
    // The process or its token may refuse: then nobody can tell who serves the pipe.
    const ipc::unique_handle process(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    if (!process) {
        ipc::throw_last_error("OpenProcess");
    }
    return user_of_process(process.get());
}
// ANCHOR_END: server_user

std::wstring pipe_owner(HANDLE pipe) {
    PSID owner = nullptr; // points into the descriptor
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    const DWORD error =
        GetSecurityInfo(pipe, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION, // needs READ_CONTROL
                        &owner, nullptr, nullptr, nullptr, &descriptor);
    const ipc::scope_exit free_descriptor([&] { LocalFree(descriptor); });
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("GetSecurityInfo", error);
    }
    return owner == nullptr ? L"nobody" : sid_text(owner);
}

// Throws unless the expected account serves the pipe. Call it before the first write.
void check_server(HANDLE pipe, const std::wstring& expected) try {
    const std::wstring user = server_user(pipe);
    const std::wstring owner = pipe_owner(pipe);
    ipc::print_line("B: the server's process runs as {}", account_name(user));
    ipc::print_line("B: the pipe's owner is {}", account_name(owner));
    if (user != expected || owner != expected) {
        throw std::runtime_error("sent nothing: expected " + account_name(expected) + " for both");
    }
} catch (const ipc::win32_error& error) {
    throw std::runtime_error(std::string("sent nothing: cannot tell who the server is: ") +
                             error.what());
}

void ask(const std::wstring& name, const std::wstring& expected, DWORD limit_ms) {
    // ANCHOR: connect
    // Not GENERIC_WRITE: that would ask for FILE_CREATE_PIPE_INSTANCE, too. The server can identify
    // B, but not act as B: connect_to_pipe passes SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION.
    const ipc::unique_handle pipe =
        ipc::connect_to_pipe(name, GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES,
                             FILE_FLAG_OVERLAPPED, limit_ms);
    check_server(pipe.get(), expected);
    // ANCHOR_END: connect
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    char answer[protocol::max_message_bytes];
    std::string sent(request); // the call takes a pointer to bytes that are not const
    ipc::overlapped_call call(pipe.get());
    const BOOL done = TransactNamedPipe(pipe.get(), sent.data(), static_cast<DWORD>(sent.size()),
                                        answer, sizeof answer, nullptr, call.get());
    const ipc::call_result read = call.wait(done, limit_ms);
    if (read.error != ERROR_SUCCESS) {
        ipc::throw_error("TransactNamedPipe", read.error);
    }
    const bool same = std::string_view(answer, read.bytes) == request;
    ipc::print_line("B: the server has answered{}", same ? "" : ", but not to this request");
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring what;
    std::wstring server = user_of_process(GetCurrentProcess());
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--try", &what}, {L"--server", &server}, {L"--limit", &limit}, {L"--name", &suffix}});
    const std::vector<std::wstring> known = {L"", L"read", L"write", L"instance", L"squat"};
    if (std::ranges::find(known, what) == known.end()) {
        throw ipc::usage_error("--try cannot take the value " + ipc::to_utf8(what));
    }
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    const bool everything = what.empty();
    if (everything || what == L"read") {
        try_open("open to read", name, GENERIC_READ, limit.ms);
    }
    if (everything || what == L"write") {
        try_open("open to write", name, FILE_WRITE_DATA, limit.ms);
    }
    if (everything || what == L"instance") {
        try_instance(name);
    }
    if (what == L"squat") {
        squat(name, limit.ms);
    }
    if (everything) {
        ask(name, server, limit.ms);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
