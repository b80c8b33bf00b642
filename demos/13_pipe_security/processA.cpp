// Demo 13, process A: the server of a pipe whose security descriptor is chosen on the command line.
//
// A shows the descriptor that it asks for, and the one that the pipe has, as SDDL and in words. It
// answers one request of one client and ends. A does not serve if another program has created a pipe
// of this name before: clients could meet that program instead of A.
//
// Run: processA [--allow WHO] [--remote] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "descriptor_text.hpp"
#include "protocol.hpp"

#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--allow WHO] [--remote] [--limit SECONDS] [--name SUFFIX]\n"
    "  --allow WHO      who else can connect, besides this user (default: user):\n"
    "                   user, service, administrators, everyone: nobody, users who are logged on\n"
    "                   here, administrators, every account; none: the default descriptor; or "
    "SDDL\n"
    "  --remote         let clients on other computers connect, too\n"
    "  --limit SECONDS  how long a client may be silent (default: 10; 0: no limit)\n"
    "  --name SUFFIX    use another pipe, so that several pairs can run at once";
constexpr DWORD pipe_bytes = 16 * 1024; // a hint to the system

// Returns the descriptor as SDDL, or an empty text for the default.
std::wstring choose_sddl(const std::wstring& who, bool remote) {
    const std::pair<const wchar_t*, const wchar_t*> words[] = {
        {L"user", nullptr}, {L"service", L"IU"}, {L"administrators", L"BA"}, {L"everyone", L"WD"}};
    const auto word = std::ranges::find(words, who, [](const auto& pair) { return pair.first; });
    const std::wstring user = user_of_process(GetCurrentProcess());
    if (word == std::end(words)) {
        const bool has_owner = who.substr(0, 2) == L"O:";
        return who == L"none" ? L"" : (has_owner ? L"" : L"O:" + user) + who;
    }
    // ANCHOR: choose_sddl
    std::wstring sddl = L"O:" + user; // the owner; the default for an administrator is a group
    sddl += L"D:P";                   // the DACL; it inherits nothing
    if (!remote) {
        sddl += L"(D;;FA;;;NU)"; // denies everything to a network log-on; denials come first
    }
    sddl += L"(A;;FA;;;" + user + L")"; // allows everything to this user
    if (const wchar_t* const clients = word->second) {
        // Read and write, but not GENERIC_WRITE (GW). That has the bit 0x4: FILE_APPEND_DATA for a
        // file, and FILE_CREATE_PIPE_INSTANCE for a pipe. A client that can create an instance of
        // this pipe can answer A's other clients.
        sddl += std::wstring(L"(A;;0x12019b;;;") + clients + L")";
    }
    sddl += L"S:(ML;;NW;;;ME)"; // the label: a process below medium integrity cannot write
    // ANCHOR_END: choose_sddl
    return sddl;
}

// Returns a descriptor that the caller frees with LocalFree, or nullptr for the default.
PSECURITY_DESCRIPTOR make_descriptor(const std::wstring& who, const std::wstring& sddl) {
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    // Without a DACL in the text, the pipe would get the default DACL.
    const bool has_dacl = sddl.find(L"D:") != std::wstring::npos;
    if (!sddl.empty() && (!has_dacl || !ConvertStringSecurityDescriptorToSecurityDescriptorW(
                                           sddl.c_str(), SDDL_REVISION_1, &descriptor, nullptr))) {
        throw ipc::usage_error("--allow cannot take the value " + ipc::to_utf8(who.substr(0, 80)) +
                               ": neither a word of --help nor SDDL with a DACL");
    }
    return descriptor;
}

ipc::unique_handle create_pipe(const std::wstring& name, PSECURITY_DESCRIPTOR descriptor,
                               bool remote) {
    // ANCHOR: create_pipe
    SECURITY_ATTRIBUTES security{sizeof security, descriptor, FALSE /* not inheritable */};
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED |
            FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if somebody has created this pipe before
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT |
            (remote ? PIPE_ACCEPT_REMOTE_CLIENTS : PIPE_REJECT_REMOTE_CLIENTS),
        PIPE_UNLIMITED_INSTANCES, // others can create more, if the descriptor allows it
        pipe_bytes, pipe_bytes, 0,
        descriptor == nullptr ? nullptr : &security // nullptr: the default descriptor
        ));
    // ANCHOR_END: create_pipe
    if (!pipe) {
        const DWORD error = GetLastError();
        if (error == ERROR_ACCESS_DENIED || error == ERROR_PIPE_BUSY) {
            throw std::runtime_error("another program has created " + ipc::to_utf8(name) +
                                     " before, so A does not serve: " + code_name(error));
        }
        ipc::throw_error("CreateNamedPipeW", error);
    }
    return pipe;
}

void print_descriptor(HANDLE pipe, const std::wstring& sddl) {
    ipc::print_line("A: asked for: {}", sddl.empty() ? "the default" : without_owner_sid(sddl));
    // ANCHOR: read_descriptor
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    PSID owner = nullptr; // these three point into the descriptor
    ACL* dacl = nullptr;
    ACL* sacl = nullptr;
    const DWORD error = GetSecurityInfo(pipe, SE_KERNEL_OBJECT,
                                        OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION |
                                            LABEL_SECURITY_INFORMATION, // needs no privilege
                                        &owner, nullptr, &dacl, &sacl, &descriptor);
    // ANCHOR_END: read_descriptor
    const ipc::scope_exit free_descriptor([&] { LocalFree(descriptor); });
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("GetSecurityInfo", error);
    }
    ipc::print_line("A: the pipe has: {}", without_owner_sid(sddl_text(descriptor)));
    ipc::print_line("A: - owner: {}", owner == nullptr ? "none" : account_name(sid_text(owner)));
    std::vector<std::string> lines = dacl_text(dacl);
    std::ranges::copy(list_text(sacl), std::back_inserter(lines)); // the label
    for (const std::string& line : lines) {
        ipc::print_line("A: - {}", line);
    }
}

struct stopped {}; // thrown when Ctrl+C was pressed

// Call it right after the call that returned done.
ipc::call_result wait(ipc::overlapped_call& call, BOOL done, DWORD limit_ms) {
    const ipc::call_result result = call.wait(done, limit_ms, ipc::ctrl_c_event());
    if (result.error == ERROR_OPERATION_ABORTED || ipc::ctrl_c_pressed()) {
        throw stopped();
    }
    return result;
}

// Serves one client. Returns whether it has got an answer.
bool serve_client(HANDLE pipe, DWORD limit_ms) {
    std::vector<char> message(protocol::max_message_bytes);
    ipc::overlapped_call call(pipe);
    BOOL done = ConnectNamedPipe(pipe, call.get());
    // INFINITE: a server waits until a client comes or Ctrl+C is pressed.
    DWORD error = wait(call, done, INFINITE).error;
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
    done = ReadFile(pipe, message.data(), protocol::max_message_bytes, nullptr, call.get());
    const ipc::call_result read = wait(call, done, limit_ms);
    error = read.error;
    if (error == ERROR_SUCCESS) {
        done = WriteFile(pipe, message.data(), read.bytes, nullptr, call.get());
        error = wait(call, done, limit_ms).error;
    }
    if (error != ERROR_SUCCESS) { // left, silent for too long, too much to read
        ipc::print_line("A: a client without an answer: {}", code_name(error));
    }
    return error == ERROR_SUCCESS;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring who = L"user";
    bool remote = false;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--allow", &who}, {L"--remote", &remote}, {L"--limit", &limit}, {L"--name", &suffix}});
    const std::wstring sddl = choose_sddl(who, remote);
    const PSECURITY_DESCRIPTOR descriptor = make_descriptor(who, sddl);
    const ipc::scope_exit free_descriptor([&] { LocalFree(descriptor); });
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    const ipc::unique_handle pipe =
        create_pipe(ipc::object_name(protocol::pipe_name, suffix), descriptor, remote);
    print_descriptor(pipe.get(), sddl);
    while (!serve_client(pipe.get(), limit.ms)) {
        DisconnectNamedPipe(pipe.get()); // the instance is free for the next client
    }
    ipc::print_line("A: answered a request"); // which the client reads after A's end, too
    return 0;
} catch (const stopped&) {
    ipc::print_line("A: stopped");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
