#pragma once

// The cases of server_cases.hpp for a server with a named pipe, and those that only such a server needs.

#include "tests/pairs/pipe_client.hpp"

#include "tests/pairs/server_cases.hpp"

#include <aclapi.h>

namespace {

TEST_CASE("A server does not add instances to the pipe of another program") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const ipc::unique_handle squatter(
        CreateNamedPipeW((ipc::test::tested.pipe + L"." + suffix).c_str(), PIPE_ACCESS_DUPLEX,
                         PIPE_TYPE_MESSAGE, PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, nullptr));
    REQUIRE(squatter);
    const ipc::test::result refused = ipc::test::run(running_server::command({}, suffix));
    CHECK(refused.exit_code == 1);
    CHECK_THAT(refused.error_output, ContainsSubstring(" is taken by another server"));
}

TEST_CASE("The pipe is for the current user only") {
    running_server server;
    raw_client client(server.pipe);
    ACL* list = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetSecurityInfo(client.handle(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                            nullptr, &list, nullptr, &descriptor) == ERROR_SUCCESS);
    REQUIRE(list != nullptr);
    CHECK(list->AceCount == 1);
    LocalFree(descriptor);
}

} // namespace
