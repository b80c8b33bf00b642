// Exercise 13.2: let B make sure who the server is, before it sends its secret.
//
// B sends a secret to the server, and shows that the answer came.
//
// Run: the pair's processA, and then processB [--server SID] [--name SUFFIX]

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

#include <aclapi.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage = "processB [--server SID] [--name SUFFIX]";
constexpr DWORD connect_limit_ms = 10'000;
constexpr std::string_view secret = "my secret";

// Throws unless the server's process runs as the expected account and the pipe belongs to this account. What cannot be
// found out counts as wrong.
void check_server([[maybe_unused]] HANDLE pipe, [[maybe_unused]] const std::wstring& expected) {
    // TODO: ask the pipe for the process id of its server, and open this process
    // TODO: compare the user of the process (user_of_process) with the expected account
    // TODO: compare the owner of the pipe (GetSecurityInfo, sid_text) with the expected account
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring expected = user_of_process(GetCurrentProcess());
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--server", &expected}, {L"--name", &suffix}});
    const ipc::unique_handle pipe =
        ipc::connect_to_pipe(ipc::object_name(protocol::pipe_name, suffix),
                             GENERIC_READ | FILE_WRITE_DATA, 0, connect_limit_ms);
    check_server(pipe.get(), expected);
    DWORD bytes = 0;
    if (!WriteFile(pipe.get(), secret.data(), static_cast<DWORD>(secret.size()), &bytes, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
    char answer[protocol::max_message_bytes];
    if (!ReadFile(pipe.get(), answer, sizeof answer, &bytes, nullptr)) {
        ipc::throw_last_error("ReadFile");
    }
    ipc::print_line("B: the server has answered");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
