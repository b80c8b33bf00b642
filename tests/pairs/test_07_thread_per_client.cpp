#include "tests/pairs/server_suite.hpp"

#include <tlhelp32.h>

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"07_thread_per_client",
    .pipe = LR"(\\.\pipe\ipc_demos.07.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255},
    .idle_client_bytes = 2 * ipc::test::mebibyte, // a thread; with Wine it takes half of this
};

namespace {

DWORD thread_count(DWORD process_id) {
    const ipc::unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
    THREADENTRY32 entry{};
    entry.dwSize = sizeof entry;
    DWORD count = 0;
    for (BOOL more = Thread32First(snapshot.get(), &entry); more;
         more = Thread32Next(snapshot.get(), &entry)) {
        count += entry.th32OwnerProcessID == process_id ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_CASE("Every client has a thread, which ends with it") {
    running_server server;
    REQUIRE(ipc::test::is_served(server.pipe));
    REQUIRE(server.printed("A: a client left", 1) == 1);
    // Windows' loader has threads of its own, which end about 30 s after the start. So the numbers
    // are compared with a margin.
    constexpr DWORD margin = 8;
    const DWORD threads = thread_count(server.a.id());
    for (std::size_t round = 0; round < 3; ++round) {
        std::vector<std::unique_ptr<raw_client>> clients;
        for (int i = 0; i < 50; ++i) {
            clients.push_back(std::make_unique<raw_client>(server.pipe));
            REQUIRE(clients.back()->ask("here") == "HERE");
        }
        const DWORD with_clients = thread_count(server.a.id());
        CHECK(with_clients >= threads + 50 - margin);
        CHECK(with_clients <= threads + 50 + margin);
        clients.clear();
        REQUIRE(server.printed("A: a client left", 51 + 50 * round) == 51 + 50 * round);
        CHECK(thread_count(server.a.id()) <= threads + margin);
    }
}
