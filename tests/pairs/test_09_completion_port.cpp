#include "tests/pairs/queued_requests.hpp"
#include "tests/pairs/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"09_completion_port",
    .pipe = LR"(\\.\pipe\ipc_demos.09.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
};

namespace {

TEST_CASE("With fewer instances the server goes on, and makes one when a client leaves") {
    if (!ipc::test::is_wine()) {
        SKIP("Windows obeys FILE_FLAG_FIRST_PIPE_INSTANCE: no test can limit a server's instances");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring name = ipc::test::tested.pipe + L"." + suffix;
    ipc::unique_handle limiter(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE,
                                                3 /* instances */, 4096, 4096, 0, nullptr));
    REQUIRE(limiter);
    ipc::test::program a(running_server::command({}, suffix)); // makes two of the eight it wants
    REQUIRE(a.wait_for_output("A: 4 threads wait"));
    limiter.reset();
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(std::make_unique<raw_client>(name));
        CHECK(clients.back()->ask("here") == "HERE");
    }
    raw_client next;
    CHECK_FALSE(next.try_connect(name));
    CHECK(next.error() == ERROR_PIPE_BUSY);
    CHECK_THAT(a.error_output(), StartsWith("A: one pipe instance fewer: "));
    clients.pop_back();
    CHECK(ipc::test::is_served(name));
    for (const auto& client : clients) {
        CHECK(client->ask("still here") == "STILL HERE");
    }
    a.press_ctrl_c();
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), ContainsSubstring("A: the end; clients served: "));
}

} // namespace
