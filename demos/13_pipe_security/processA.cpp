// Demo 13, process A: the server of a pipe whose security descriptor is chosen on the command line.
//
// A shows the descriptor that it asks for as SDDL, and the one that the pipe has in words. It answers
// one request of one client and ends. A does not serve if another program has created a pipe of this
// name before: clients could meet that program instead of A.
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

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--allow WHO] [--remote] [--limit SECONDS] [--name SUFFIX]\n"
    "  --allow WHO      who can connect, besides this user (default: user):\n"
    "    user             nobody\n"
    "    service          users who are logged on here (for the pipe of a service)\n"
    "    administrators   administrators\n"
    "    everyone         every account\n"
    "    none             whom the default descriptor lets in\n"
    "    SDDL             whom this descriptor lets in; write <user> for this user's SID\n"
    "  --remote         let clients on other computers connect, too\n"
    "  --limit SECONDS  how long a client may be silent (default: 10; 0: no limit)\n"
    "  --name SUFFIX    use another pipe, so that several pairs can run at once";
constexpr DWORD pipe_bytes = 16 * 1024; // a hint to the system

// Returns SDDL with <user> for the SID of this user, or "none" for the default descriptor.
std::wstring choose_sddl(const std::wstring& who) {
    const std::map<std::wstring, std::wstring> words = {
        {L"user", L""}, {L"service", L"IU"}, {L"administrators", L"BA"}, {L"everyone", L"WD"}};
    const auto word = words.find(who);
    if (word == words.end()) {
        return who == L"none" || who.starts_with(L"O:") ? who : L"O:<user>" + who;
    }
    const std::wstring& clients = word->second;
    // ANCHOR: choose_sddl
    std::wstring sddl = L"O:<user>"          // the owner; by default, a group if A is elevated
                        L"D:P"               // the DACL: it inherits nothing
                        L"(A;;FA;;;<user>)"; // allows everything to this user
    if (!clients.empty()) {
        // GENERIC_READ and GENERIC_WRITE are 0x12019f here. The bit 0x4 is FILE_APPEND_DATA for a
        // file, and FILE_CREATE_PIPE_INSTANCE for a pipe: a client that can create an instance of
        // this pipe can answer A's other clients.
        sddl += L"(A;;0x12019b;;;" + clients + L")";
    }
    sddl += L"S:(ML;;NW;;;ME)"; // the label: a process below medium integrity cannot write
    // ANCHOR_END: choose_sddl
    return sddl;
}

// Returns a descriptor that the caller frees with LocalFree, or nullptr for the default.
PSECURITY_DESCRIPTOR make_descriptor(const std::wstring& who, std::wstring sddl) {
    if (sddl == L"none") {
        return nullptr;
    }
    const std::wstring sid = user_of_process(GetCurrentProcess());
    const std::wstring_view user = L"<user>";
    for (auto at = sddl.find(user); at != std::wstring::npos; at = sddl.find(user)) {
        sddl.replace(at, user.size(), sid);
    }
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    // A text without a DACL would give the pipe the default DACL of A's token.
    if (sddl.find(L"D:") == std::wstring::npos ||
        !ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl.c_str(), SDDL_REVISION_1,
                                                              &descriptor, nullptr)) {
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
        ipc::throw_create_pipe_error(name); // another program has the name, or another failure
    }
    return pipe;
}

void print_descriptor(HANDLE pipe, const std::wstring& sddl) {
    ipc::print_line("A: asked for: {}", sddl == L"none" ? "the default" : ipc::to_utf8(sddl));
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
    ipc::print_line("A: the pipe has:");
    ipc::print_line("A: - owner: {}", owner == nullptr ? "none" : account_name(sid_text(owner)));
    if (dacl == nullptr || dacl->AceCount == 0) {
        ipc::print_line("A: - {}", dacl == nullptr ? "no DACL: everyone can do everything"
                                                   : "empty DACL: only the owner can change it");
    }
    for (ACL* const list : {dacl, sacl}) { // the SACL has the label
        for (const std::string& line : list_text(list)) {
            ipc::print_line("A: - {}", line);
        }
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
    const std::wstring sddl = choose_sddl(who);
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
