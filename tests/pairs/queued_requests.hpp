#pragma once

// A test case for servers whose threads serve any client, included after server_suite.hpp: requests
// that clients have sent ahead must not keep a new client waiting.

#include "tests/pairs/server_suite.hpp"

#include <tlhelp32.h>

#include <array>

namespace ipc::test {

// Suspends all threads of a process for as long as this object lives.
class suspended_process {
public:
    explicit suspended_process(DWORD process_id) {
        const unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
        THREADENTRY32 entry{};
        entry.dwSize = sizeof entry;
        for (BOOL more = Thread32First(snapshot.get(), &entry); more;
             more = Thread32Next(snapshot.get(), &entry)) {
            if (entry.th32OwnerProcessID == process_id) {
                threads_.emplace_back(OpenThread(THREAD_SUSPEND_RESUME, FALSE, entry.th32ThreadID));
                SuspendThread(threads_.back().get());
            }
        }
    }
    ~suspended_process() {
        for (const unique_handle& thread : threads_) {
            ResumeThread(thread.get());
        }
    }
    suspended_process(const suspended_process&) = delete;
    suspended_process& operator=(const suspended_process&) = delete;

    bool empty() const { return threads_.empty(); }

private:
    std::vector<unique_handle> threads_;
};

} // namespace ipc::test

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
        const ipc::test::suspended_process suspended(server.a.id());
        REQUIRE_FALSE(suspended.empty());
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
