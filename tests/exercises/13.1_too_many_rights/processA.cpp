// SOLUTION: GENERIC_WRITE has the bit 0x4. For a file it is FILE_APPEND_DATA, and for a pipe FILE_CREATE_PIPE_INSTANCE:
// a client that has it can create an instance of A's pipe and answer A's clients. So the entry names the rights one by
// one. And the entry that denies comes before the one that allows, because the first entry that names a right decides.
// STARTER
//~ // Exercise 13.1: other users should only write, and guests should do nothing. Mend A's descriptor.
// END
//
// A answers one request of one client.
//
// Run: processA [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "descriptor_text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <sddl.h>

#include <string>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD pipe_bytes = 16 * 1024;

ipc::unique_handle create_pipe(const std::wstring& name) {
    const std::wstring user = user_of_process(GetCurrentProcess());
    // This user is the owner and can do everything. WD is Everyone, and BG are the guests.
    // SOLUTION: 0x100082 is FILE_WRITE_DATA, and SYNCHRONIZE and FILE_READ_ATTRIBUTES for CreateFileW.
    const std::wstring sddl =
        L"O:" + user + L"D:P(A;;FA;;;" + user + L")" + L"(D;;FA;;;BG)(A;;0x100082;;;WD)";
    // STARTER
    //~ const std::wstring sddl =
    //~     L"O:" + user + L"D:P(A;;FA;;;" + user + L")" + L"(A;;GRGW;;;WD)(D;;FA;;;BG)";
    // END
    SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE};
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.c_str(), SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr)) {
        ipc::throw_last_error("ConvertStringSecurityDescriptorToSecurityDescriptorW");
    }
    const ipc::scope_exit free_descriptor([&] { LocalFree(security.lpSecurityDescriptor); });
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, pipe_bytes, pipe_bytes, 0, &security));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

// Returns whether the client has got an answer.
bool serve_client(HANDLE pipe) {
    char message[protocol::max_message_bytes];
    DWORD bytes = 0;
    ConnectNamedPipe(pipe, nullptr); // if it fails, so does the read
    return ReadFile(pipe, message, sizeof message, &bytes, nullptr) &&
           WriteFile(pipe, message, bytes, &bytes, nullptr);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const ipc::unique_handle pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    ipc::print_line("A: waiting for a client");
    while (!serve_client(pipe.get())) {
        DisconnectNamedPipe(pipe.get());
    }
    ipc::print_line("A: answered a request");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
