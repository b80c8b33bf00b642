#include "tests/pairs/server_suite.hpp"

// The server holds one client at a time, so the cases tagged [several] are not run with it; what
// they say about one client stands here again.
const ipc::test::tested_server ipc::test::tested = {
    .folder = L"10_transactions",
    .pipe = LR"(\\.\pipe\ipc_demos.10.requests)",
    .held = 1,
    .clients_at_once = {1, 16},
    .all_instances_made = true,
};

namespace {

const std::wstring process_b = ipc::test::program_path(L"10_transactions", L"processB.exe");

std::vector<std::wstring> b_command(const std::wstring& suffix,
                                    const std::vector<std::wstring>& more = {}) {
    std::vector<std::wstring> all = {process_b, L"--name", suffix};
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

std::wstring suffix_of(const running_server& server) {
    return server.pipe.substr(ipc::test::tested.pipe.size() + 1);
}

void check_failed(ipc::test::program& b, const std::string& line) {
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    INFO(b.output());
    CHECK(b.exit_code() == 1);
    CHECK_THAT(b.error_output(), StartsWith(line));
    CHECK(ipc::test::lines_of(b.error_output()).size() == 1);
}

// A server of the test's own. It answers so many requests as it should, the next one as it should
// not, and is honest again. B asks four times on one connection, then three times on others.
class hostile_server {
public:
    using answer = std::function<void(ipc::unique_handle& pipe, const std::string& request)>;

    hostile_server(int honest_answers, answer wrong) {
        REQUIRE(pipe_);
        thread_ = std::jthread(
            [this, honest_answers, wrong = std::move(wrong)] { serve(honest_answers, wrong); });
    }
    hostile_server(const hostile_server&) = delete;
    hostile_server& operator=(const hostile_server&) = delete;
    ~hostile_server() {
        stop_ = true;
        raw_client().try_connect(name_); // ends its ConnectNamedPipe
    }

    ipc::unique_handle one_more() const {
        return ipc::unique_handle(CreateNamedPipeW(name_.c_str(), PIPE_ACCESS_DUPLEX,
                                                   PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 2,
                                                   4096, 4096, 0, nullptr));
    }

    const std::wstring suffix = ipc::test::unique_suffix();

private:
    static void write(HANDLE pipe, const std::string& bytes) {
        DWORD written = 0;
        WriteFile(pipe, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr);
    }

    void serve(int honest_answers, const answer& wrong) {
        while (pipe_ && !stop_) {
            ConnectNamedPipe(pipe_.get(), nullptr);
            char request[100];
            DWORD bytes = 0;
            while (pipe_ && ReadFile(pipe_.get(), request, sizeof request, &bytes, nullptr)) {
                const std::string text(request, bytes);
                if (honest_answers-- == 0) {
                    wrong(pipe_, text);
                } else {
                    write(pipe_.get(), ipc::test::upper_case(text));
                }
            }
            DisconnectNamedPipe(pipe_.get());
        }
    }

    const std::wstring name_ = ipc::test::tested.pipe + L"." + suffix;
    ipc::unique_handle pipe_ = one_more(); // the first of two; most cases need no second
    std::atomic<bool> stop_ = false;
    std::jthread thread_;
};

constexpr int by_transact = 4; // so many of B's requests are made by TransactNamedPipe
constexpr int all_requests = 7;

hostile_server::answer reply_with(const std::string& reply) {
    return [reply](ipc::unique_handle& pipe, const std::string&) {
        DWORD written = 0;
        WriteFile(pipe.get(), reply.data(), static_cast<DWORD>(reply.size()), &written, nullptr);
    };
}

void no_answer(ipc::unique_handle&, const std::string&) {}

// Until a client has the only instance.
void wait_until_taken(const std::wstring& pipe) {
    const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
    while (WaitNamedPipeW(pipe.c_str(), 1)) {
        REQUIRE(GetTickCount64() < end);
        SwitchToThread();
    }
}

} // namespace

// The server

TEST_CASE("A client that says nothing is dropped, and the one that waits comes next") {
    running_server server({L"--limit", L"1"});
    raw_client silent(server.pipe);
    REQUIRE(silent);
    CHECK(ipc::test::is_served(server.pipe));
    CHECK(silent.is_dropped());
    CHECK(server.a.wait_for_output(
        "A: a client was dropped, idle for too long; requests answered: 0\n"
        "A: a client left; requests answered: 1\n"));
}

TEST_CASE("A client that waits for its turn comes when the one before has left") {
    running_server server({L"--limit", L"60"});
    raw_client first(server.pipe);
    CHECK(first.ask("here") == "HERE");
    raw_client second;
    CHECK_FALSE(second.try_connect(server.pipe));
    CHECK(second.error() == ERROR_PIPE_BUSY);
    auto reply = ipc::test::ask_when_free(server.pipe, "my turn");
    CHECK(reply.wait_for(std::chrono::milliseconds(300)) == std::future_status::timeout);
    CHECK(first.ask("still here") == "STILL HERE");
    first.close();
    CHECK(reply.get() == "MY TURN");
}

TEST_CASE("Who sends more than 1 MiB is disconnected, and the next one is served") {
    running_server server;
    for (const std::size_t bytes : std::vector<std::size_t>{1048577, 2097152, 67108864}) {
        raw_client client(server.pipe);
        CHECK(client.ask("first") == "FIRST");
        CHECK_FALSE(client.ask(std::string(bytes, 'x')).has_value());
        CHECK(client.error() != ERROR_OPERATION_ABORTED); // the limit of this test
        CHECK(ipc::test::is_served(server.pipe));
    }
    const std::string line =
        "A: a client was dropped, its message is too long; requests answered: 1\n";
    CHECK(server.printed(line, 3) == 3);
    server.stop();
    CHECK(server.a.peak_memory_bytes() < 40 * ipc::test::mebibyte);
}

TEST_CASE("An idle client that has sent 1 MiB does not keep the memory") {
    running_server server;
    raw_client client(server.pipe);
    CHECK(client.ask("short") == "SHORT");
    const std::uint64_t before = ipc::test::memory_bytes(server.a.process());
    CHECK(client.ask(std::string(ipc::test::mebibyte, 'x')).has_value());
    CHECK(client.ask("short") == "SHORT"); // the long message has been let go of by now
    CHECK(ipc::test::memory_bytes(server.a.process()) < before + ipc::test::mebibyte / 2);
}

TEST_CASE("A client that is gone while its reply is being written does no harm") {
    running_server server;
    for (int i = 0; i < 50; ++i) {
        raw_client client(server.pipe);
        REQUIRE(client.send(std::string(ipc::test::mebibyte, 'x')));
        DWORD available = 0; // some of the reply is there, the rest waits for a reader
        while (PeekNamedPipe(client.handle(), nullptr, 0, nullptr, &available, nullptr) &&
               available == 0) {
            SwitchToThread();
        }
        CHECK(available > 0);
        client.close(); // what the system does for a killed process
        CHECK(ipc::test::is_served(server.pipe));
    }
    CHECK(server.printed("A: a client left; requests answered: 0\n", 50) == 50);
    server.stop();
}

TEST_CASE("Ctrl+C ends the server at any moment, and its client learns it") {
    for (const std::string step : {"idle", "asking", "sending ahead", "not reading"}) {
        INFO(step);
        running_server server({L"--limit", L"60"});
        raw_client client(server.pipe);
        CHECK(client.ask("x") == "X");
        std::jthread asker;
        if (step == "asking") {
            asker = std::jthread([&] {
                while (client.ask("x")) {}
            });
        } else if (step == "sending ahead") { // no read and no write of the server has to wait
            asker = std::jthread([&] {
                for (int i = 0; i < 100; ++i) {
                    client.send("x");
                }
                while (client.receive() && client.send("x")) {}
            });
        } else if (step == "not reading") {
            CHECK(client.send(std::string(ipc::test::mebibyte, 'x')));
        }
        server.stop();
        if (step == "idle") {
            CHECK(client.is_dropped());
        } else if (asker.joinable()) {
            asker.join();
            CHECK(client.error() != ERROR_OPERATION_ABORTED);
        }
        CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 0\n"));
    }
}

// The client

TEST_CASE("Several Bs at once wait for each other and print the same") {
    running_server server;
    const ipc::test::result alone = ipc::test::run(b_command(suffix_of(server)));
    CHECK(alone.exit_code == 0);
    CHECK(ipc::test::lines_of(alone.output).size() == 13);
    std::vector<std::unique_ptr<ipc::test::program>> all;
    for (int i = 0; i < 4; ++i) {
        all.push_back(std::make_unique<ipc::test::program>(b_command(suffix_of(server))));
    }
    for (const auto& b : all) {
        REQUIRE(b->wait());
        b->wait_for_end_of_output();
        CHECK(b->exit_code() == 0);
        CHECK(b->output() == alone.output);
        CHECK(b->error_output().empty());
    }
    CHECK(server.printed("A: a client left; requests answered: 4\n", 5) == 5);
    CHECK(server.printed("A: a client left; requests answered: 1\n", 15) == 15);
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 20\n"));
}

TEST_CASE("B measures both ways") {
    running_server server;
    const ipc::test::result b = ipc::test::run(b_command(suffix_of(server), {L"--time", L"50"}));
    CHECK(b.exit_code == 0);
    CHECK(b.error_output.empty());
    const std::vector<std::string> lines = ipc::test::lines_of(b.output);
    REQUIRE(lines.size() == 3);
    CHECK(lines[0] == "B: 50 requests of 64 bytes each way");
    CHECK_THAT(lines[1],
               StartsWith("B: TransactNamedPipe on a kept connection: ") && EndsWith(" us each"));
    CHECK_THAT(lines[2], StartsWith("B: CallNamedPipeW: ") && EndsWith(" times as much"));
    CHECK(server.printed("A: a client left; requests answered: 50\n", 1) == 1);
    CHECK(server.printed("A: a client left; requests answered: 1\n", 50) == 50);
    server.stop();
}

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b(b_command(suffix));
    CHECK_FALSE(b.wait(500));
    running_server server({}, suffix);
    REQUIRE(b.wait());
    CHECK(b.exit_code() == 0);
}

TEST_CASE("B gives up when there is no server, and says how to start it") {
    ipc::test::program b(b_command(ipc::test::unique_suffix()));
    check_failed(b, R"(B: no server, start processA first: \\.\pipe\ipc_demos.10.requests.test)");
}

TEST_CASE("B gives up when the only instance stays busy") {
    running_server server({L"--limit", L"60"});
    raw_client client(server.pipe);
    REQUIRE(client);
    ipc::test::program b(b_command(suffix_of(server)));
    check_failed(b, R"(B: the server has no free instance: \\.\pipe\ipc_demos.10.requests.test)");
    CHECK(client.ask("still here") == "STILL HERE");
}

TEST_CASE("B gives up when the only instance is not free again for CallNamedPipe") {
    std::latch finished(1);
    hostile_server server(by_transact - 1, [&](ipc::unique_handle& pipe, const std::string& text) {
        reply_with(ipc::test::upper_case(text))(pipe, text);
        finished.wait(); // and does not take the next client
    });
    {
        ipc::test::program b(b_command(server.suffix));
        check_failed(b, "B: the server has no free instance: ");
        CHECK(b.wait_for_output("a wait of 100 ms: no free instance\n"));
    }
    finished.count_down();
}

TEST_CASE("B gives up on a server that does not answer, with either call") {
    hostile_server silent_at_once(0, no_answer);
    hostile_server silent_for_read(by_transact - 1, no_answer);
    hostile_server silent_for_call(by_transact, no_answer);
    hostile_server silent_at_last(all_requests - 1, no_answer);
    std::vector<std::unique_ptr<ipc::test::program>> all;
    for (const hostile_server* server :
         {&silent_at_once, &silent_for_read, &silent_for_call, &silent_at_last}) {
        all.push_back(std::make_unique<ipc::test::program>(b_command(server->suffix)));
    }
    for (const auto& b : all) {
        check_failed(*b, "B: the server did not answer in time\n");
    }
}

TEST_CASE("B does not hang if an instance that nobody serves is there when there should be none") {
    hostile_server server(all_requests, no_answer);
    ipc::test::program b(b_command(server.suffix));
    REQUIRE(b.wait_for_output("NMPWAIT_NOWAIT: no free instance\n"));
    const ipc::unique_handle second = server.one_more(); // B waits 100 ms, or has just done it
    REQUIRE(second);
    check_failed(b, "B: the server did not answer in time\n");
}

TEST_CASE("B measuring gives up on a server that stops answering") {
    hostile_server server(150, no_answer);
    ipc::test::program b(b_command(server.suffix, {L"--time", L"100"}));
    check_failed(b, "B: the server did not answer in time\n");
}

TEST_CASE("B ends with one line when the server disconnects it or closes its end, at any request") {
    for (int honest_answers = 0; honest_answers < all_requests; ++honest_answers) {
        for (const bool disconnect : {false, true}) {
            INFO(honest_answers << (disconnect ? " disconnect" : " close"));
            hostile_server server(honest_answers, [&](ipc::unique_handle& pipe, const auto&) {
                disconnect ? DisconnectNamedPipe(pipe.get()) : (pipe.reset(), TRUE);
            });
            ipc::test::program b(b_command(server.suffix));
            check_failed(b, "B: the server closed the connection\n");
        }
    }
}

TEST_CASE("B refuses a reply that is longer than allowed, at any request") {
    for (int honest_answers = 0; honest_answers < all_requests; ++honest_answers) {
        INFO(honest_answers);
        const bool long_reply = honest_answers == 2 || honest_answers == 6; // too long anyway
        const std::string reply =
            (long_reply ? "A LONG REPLY" : "") + std::string(2 * ipc::test::mebibyte, 'x');
        hostile_server server(honest_answers, reply_with(reply));
        ipc::test::program b(b_command(server.suffix));
        if (honest_answers == 6) { // B cannot know how much CallNamedPipe has thrown away
            REQUIRE(b.wait());
            CHECK(b.exit_code() == 0);
        } else {
            check_failed(b, honest_answers == 2 ? "B: ReadFile failed: ERROR_MORE_DATA (234)"
                            : honest_answers < by_transact
                                ? "B: TransactNamedPipe failed: ERROR_MORE_DATA (234)"
                                : "B: CallNamedPipeW failed: ERROR_MORE_DATA (234)");
        }
    }
}

TEST_CASE("B refuses a reply to something else, and an empty one, at any request") {
    for (int honest_answers = 0; honest_answers < all_requests; ++honest_answers) {
        for (const std::string reply : {"", "OTHER"}) {
            INFO(honest_answers << ' ' << reply);
            hostile_server server(honest_answers, reply_with(reply));
            ipc::test::program b(b_command(server.suffix));
            check_failed(b, "B: the server does not behave like processA\n");
        }
    }
}

TEST_CASE("B refuses a reply that comes twice") {
    hostile_server server(0, [](ipc::unique_handle& pipe, const std::string& text) {
        reply_with(ipc::test::upper_case(text))(pipe, text);
        reply_with("MORE")(pipe, text);
    });
    ipc::test::program b(b_command(server.suffix));
    check_failed(b, "B: "); // the second transaction finds it unread, or it comes a bit later
}

TEST_CASE("Neither B nor CallNamedPipe works with a pipe of the byte type") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring name = ipc::test::tested.pipe + L"." + suffix;
    const auto byte_pipe = [&] {
        return ipc::unique_handle(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE,
                                                   1, 4096, 4096, 0, nullptr));
    };
    {
        const ipc::unique_handle pipe = byte_pipe();
        ipc::test::program b(b_command(suffix));
        check_failed(b, "B: SetNamedPipeHandleState failed: ERROR_INVALID_PARAMETER (87)");
    }
    const ipc::unique_handle pipe = byte_pipe();
    char request[] = "request";
    char reply[100];
    DWORD bytes = 0;
    const BOOL done = CallNamedPipeW(name.c_str(), request, sizeof request, reply, sizeof reply,
                                     &bytes, NMPWAIT_NOWAIT);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    CHECK(error == ERROR_INVALID_PARAMETER);
}

TEST_CASE("The server serves on when B is killed, at any moment, twenty times") {
    running_server server;
    std::mt19937 random(10);
    for (int i = 0; i < 20; ++i) {
        const std::size_t before = ipc::test::count(server.a.output(), "A: a client left; ");
        ipc::test::program b(b_command(suffix_of(server), {L"--time", L"2000"}));
        wait_until_taken(server.pipe);
        while (i % 2 == 1 && // the kept connection is over, and CallNamedPipe is at work
               ipc::test::count(server.a.output(), "A: a client left; ") <= before) {
            REQUIRE_FALSE(b.wait(1));
        }
        b.wait(random() % 30);
        b.kill();
        REQUIRE(b.wait());
        CHECK(b.exit_code() == 99);
        CHECK(ipc::test::is_served(server.pipe));
    }
    server.stop();
    CHECK(ipc::test::count(server.a.output(), "dropped") == 0);
}

TEST_CASE("B ends with one line when the server is killed, at any moment, twenty times") {
    std::mt19937 random(11);
    for (int i = 0; i < 20; ++i) {
        running_server server;
        REQUIRE(WaitNamedPipeW(server.pipe.c_str(), ipc::test::default_limit_ms));
        ipc::test::program b(b_command(suffix_of(server), {L"--time", L"2000"}));
        wait_until_taken(server.pipe);
        if (i % 2 == 1) { // the kept connection is over, and CallNamedPipe is at work
            REQUIRE(server.a.wait_for_output("A: a client left; "));
        }
        b.wait(random() % 30);
        server.a.kill();
        REQUIRE(b.wait());
        b.wait_for_end_of_output();
        INFO(b.error_output());
        CHECK(b.exit_code() == 1);
        CHECK((b.error_output() == "B: the server closed the connection\n" ||
               b.error_output() == "B: the server is gone\n"));
    }
}

TEST_CASE("B refuses wrong usage with exit code 2 and one line, and explains itself") {
    for (const std::vector<std::wstring>& command :
         {std::vector<std::wstring>{process_b, L"--no-such-option"},
          std::vector<std::wstring>{process_b, L"--time"},
          std::vector<std::wstring>{process_b, L"--time", L"x"},
          std::vector<std::wstring>{process_b, L"--time", L"10001"},
          std::vector<std::wstring>{process_b, L"unexpected"}}) {
        const ipc::test::result refused = ipc::test::run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: processB"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
    const ipc::test::result help = ipc::test::run({process_b, L"--help"});
    CHECK(help.exit_code == 0);
    CHECK_THAT(help.output, StartsWith("usage: processB"));
}
