#include "tests/pairs/queued_requests.hpp"
#include "tests/pairs/server_suite.hpp"

#include "common/error.hpp"

// The routine and what it needs; the program's own wmain is not called here.
#define wmain wmain_of_process_a // NOLINT(readability-identifier-naming): the name in the file
#include "demos/08_completion_routines/processA.cpp" // NOLINT(bugprone-suspicious-include)
#undef wmain

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"08_completion_routines",
    .pipe = LR"(\\.\pipe\ipc_demos.08.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
};

namespace {

// For a message longer than the buffer, Windows passes the error code 0 to the routine, and Wine
// passes ERROR_MORE_DATA. This calls the pair's routine as Windows does.
// https://learn.microsoft.com/windows/win32/api/minwinbase/nc-minwinbase-lpoverlapped_completion_routine
void CALLBACK note_result_as_windows(DWORD /* error */, DWORD bytes, OVERLAPPED* overlapped) {
    note_result(ERROR_SUCCESS, bytes, overlapped);
}

// Returns when the routine has been called.
void read_part(pipe_instance& client) {
    server_state& server = client.server;
    server.pending.splice(server.pending.end(), server.complete, client.position);
    const BOOL started = ReadFileEx(client.pipe.get(), client.buffer.free_space(),
                                    client.buffer.free_bytes(), &client, note_result_as_windows);
    REQUIRE((started || GetLastError() == ERROR_MORE_DATA));
    REQUIRE(SleepEx(10'000, TRUE) == WAIT_IO_COMPLETION);
    REQUIRE(server.pending.empty());
}

TEST_CASE("The routine finds that a message goes on, although Windows passes it the error code 0") {
    const std::wstring name = L"\\\\.\\pipe\\ipc_demos.08.routine." + ipc::test::unique_suffix();
    server_state server;
    pipe_instance& client = server.complete.emplace_back(server);
    client.position = server.complete.begin();
    client.pipe.reset(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 65536, 65536,
                                       0, nullptr));
    REQUIRE(client.pipe);
    raw_client sender(name);
    REQUIRE(sender.send(std::string(5000, 'x')));
    read_part(client);
    CHECK(client.result.error == ERROR_MORE_DATA);
    CHECK(client.result.bytes == 4096);
    read_part(client);
    CHECK(client.result.error == ERROR_SUCCESS);
    CHECK(client.result.bytes == 904);
    sender.close();
    const BOOL started = ReadFileEx(client.pipe.get(), client.buffer.free_space(), 1, &client,
                                    note_result_as_windows);
    const DWORD error = started ? ERROR_SUCCESS : GetLastError();
    CHECK(error == ERROR_BROKEN_PIPE); // fails at once: no routine is called
}

TEST_CASE("Without a further instance the server goes on, and makes one when a client leaves") {
    if (!ipc::test::is_wine()) {
        SKIP("Windows obeys FILE_FLAG_FIRST_PIPE_INSTANCE: no test can limit a server's instances");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring name = ipc::test::tested.pipe + L"." + suffix;
    ipc::unique_handle limiter(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE,
                                                3 /* instances */, 4096, 4096, 0, nullptr));
    REQUIRE(limiter);
    running_server server({}, suffix);
    limiter.reset();
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(std::make_unique<raw_client>(name));
        CHECK(clients.back()->ask("here") == "HERE");
    }
    raw_client next;
    CHECK_FALSE(next.try_connect(name));
    CHECK(next.error() == ERROR_PIPE_BUSY);
    clients.pop_back();
    CHECK(ipc::test::is_served(name));
    for (const auto& client : clients) {
        CHECK(client->ask("still here") == "STILL HERE");
    }
    server.a.press_ctrl_c();
    REQUIRE(server.a.wait());
    CHECK(server.a.exit_code() == 0);
    // Once, and once more if is_served() took the new instance before the server tried to make the next one.
    CHECK_FALSE(server.a.error_output().empty());
    for (const std::string& line : ipc::test::lines_of(server.a.error_output())) {
        CHECK_THAT(line, StartsWith("A: one pipe instance fewer: "));
    }
}

} // namespace
