#pragma once

// A test case for servers whose threads serve any client, included after server_suite.hpp: requests
// that clients have sent ahead must not keep a new client waiting.

#include "tests/pairs/server_suite.hpp"

#include <array>

namespace {

TEST_CASE("A new client does not wait until thousands of queued requests are answered") {
    constexpr std::size_t queued = 3000; // of one byte each: the pipe's buffer takes all of them
    running_server server;
    std::array<raw_client, 4> busy; // one for each thread of the server
    for (raw_client& client : busy) {
        client = raw_client(server.pipe);
        REQUIRE(client.ask("x") == "X");
    }
    raw_client newcomer;
    {
        const ipc::test::suspended while_they_ask(server.a);
        REQUIRE_FALSE(while_they_ask.empty());
        for (raw_client& client : busy) {
            for (std::size_t i = 0; i < queued; ++i) {
                REQUIRE(client.send("x"));
            }
        }
        REQUIRE(newcomer.try_connect(server.pipe));
        REQUIRE(newcomer.send("new"));
    }
    CHECK(newcomer.receive() == "NEW");
    std::size_t answered = 0;
    for (raw_client& client : busy) {
        DWORD bytes = 0; // of all replies that wait to be read
        REQUIRE(PeekNamedPipe(client.handle(), nullptr, 0, nullptr, &bytes, nullptr));
        answered += bytes;
    }
    CHECK(answered < queued);
}

} // namespace
