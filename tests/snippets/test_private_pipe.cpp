// Attacks docs/snippets/private_pipe.cpp.

#include "common/overlapped.hpp"
#include "common/scope_exit.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <string>
#include <utility>

using Catch::Matchers::ContainsSubstring;
using ipc::test::program;
using ipc::test::run;

namespace {

const std::wstring private_pipe = ipc::test::program_path(L"snippets", L"private_pipe.exe");

std::wstring new_pipe_name() {
    return LR"(\\.\pipe\ipc_demos.snippets.)" + ipc::test::unique_suffix();
}

// A server of the test, with a descriptor of its choice. It waits for a client, and expects no byte of it.
ipc::unique_handle create_pipe(const std::wstring& name, const wchar_t* sddl,
                               DWORD most_instances = 1) {
    SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE};
    const ipc::scope_exit free_sd([&] { LocalFree(security.lpSecurityDescriptor); });
    REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorW(
        sddl, SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr));
    return ipc::unique_handle(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, most_instances, 4096, 4096, 0, &security));
}

ipc::call_result read(HANDLE pipe) {
    char bytes[64];
    ipc::overlapped_call call(pipe);
    const BOOL done = ReadFile(pipe, bytes, sizeof bytes, nullptr, call.get());
    return call.wait(done, ipc::test::default_limit_ms);
}

} // namespace

TEST_CASE("private_pipe explains wrong usage") {
    CHECK(run({private_pipe}).exit_code == 2);
    CHECK(run({private_pipe, L"ask", L"name"}).exit_code == 2);
}

TEST_CASE("private_pipe brings a message from a client to a server of the same user") {
    const std::wstring name = new_pipe_name();
    program server({private_pipe, L"serve", name});
    REQUIRE(server.wait_for_output("waiting"));
    const auto client = run({private_pipe, L"send", name});
    CHECK(client.exit_code == 0);
    CHECK_THAT(client.output, ContainsSubstring("sent"));
    REQUIRE(server.wait());
    REQUIRE(server.wait_for_end_of_output());
    CHECK(server.exit_code() == 0);
    CHECK_THAT(server.output(), ContainsSubstring("6 bytes: secret"));
}

TEST_CASE("private_pipe lets the pipe's user do everything, and names nobody else") {
    const std::wstring name = new_pipe_name();
    const program server({private_pipe, L"serve", name});
    ipc::unique_handle client;
    while (!client && !server.wait(10)) {
        client.reset(
            CreateFileW(name.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr));
    }
    PSID owner = nullptr;
    ACL* dacl = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetSecurityInfo(client.get(), SE_KERNEL_OBJECT,
                            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, nullptr,
                            &dacl, nullptr, &descriptor) == ERROR_SUCCESS);
    const ipc::scope_exit free_sd([&] { LocalFree(descriptor); });
    REQUIRE(dacl != nullptr);
    REQUIRE(dacl->AceCount == 1);
    void* found = nullptr;
    REQUIRE(GetAce(dacl, 0, &found));
    auto* const entry = static_cast<ACCESS_ALLOWED_ACE*>(found);
    CHECK(entry->Header.AceType == ACCESS_ALLOWED_ACE_TYPE);
    CHECK(entry->Mask == FILE_ALL_ACCESS);
    CHECK(EqualSid(owner, &entry->SidStart));
}

TEST_CASE("private_pipe sends nothing to a pipe of another account") {
    const std::wstring name = new_pipe_name();
    ipc::unique_handle pipe = create_pipe(name, L"O:SYD:P(A;;FA;;;WD)");
    if (!pipe) { // Windows: an elevated program can give it to a group that may own
        pipe = create_pipe(name, L"O:BAD:P(A;;FA;;;WD)");
    }
    if (!pipe) {
        SKIP("only an elevated program can give its pipe to another account (ERROR_INVALID_OWNER)");
    }
    const auto client = run({private_pipe, L"send", name});
    CHECK(client.exit_code == 1);
    CHECK_THAT(client.error_output, ContainsSubstring("error 1307: the pipe's owner"));
    CHECK(client.output.empty());
    CHECK(read(pipe.get()).error == ERROR_BROKEN_PIPE);
}

TEST_CASE("private_pipe sends nothing to a server whose process it may not open") {
    const std::wstring name = new_pipe_name();
    program server({private_pipe, L"serve", name});
    REQUIRE(server.wait_for_output("waiting"));
    ACL nobody{};
    REQUIRE(InitializeAcl(&nobody, sizeof nobody, ACL_REVISION));
    REQUIRE(SetSecurityInfo(server.process(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                            nullptr, &nobody, nullptr) == ERROR_SUCCESS);
    const ipc::unique_handle opened(
        OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, server.id()));
    if (opened) {
        SKIP("this user has enabled SeDebugPrivilege, which opens every process");
    }
    const auto client = run({private_pipe, L"send", name});
    CHECK(client.exit_code == 1);
    CHECK_THAT(client.error_output, ContainsSubstring("error 5: OpenProcess"));
    REQUIRE(server.wait());
    REQUIRE(server.wait_for_end_of_output());
    CHECK_THAT(server.output(), !ContainsSubstring("secret"));
}

TEST_CASE("private_pipe does not serve a pipe that another program has created") {
    const std::wstring name = new_pipe_name();
    // Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE, but not the highest number of instances. Windows
    // checks this number before the flag, so the flag shows only if there is room.
    const bool wine = ipc::test::is_wine();
    const ipc::unique_handle taken =
        create_pipe(name, L"D:P(A;;FA;;;WD)", wine ? 1 : PIPE_UNLIMITED_INSTANCES);
    REQUIRE(taken);
    const auto server = run({private_pipe, L"serve", name});
    CHECK(server.exit_code == 1);
    CHECK(server.output.empty());
    CHECK_THAT(server.error_output, ContainsSubstring(wine ? "error 231: CreateNamedPipeW"
                                                           : "error 5: CreateNamedPipeW"));
}

TEST_CASE("private_pipe reports a missing server") {
    const auto client = run({private_pipe, L"send", new_pipe_name()});
    CHECK(client.exit_code == 1);
    CHECK_THAT(client.error_output, ContainsSubstring("error 2: CreateFileW"));
}
