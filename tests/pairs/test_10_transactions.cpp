#include "tests/pairs/server_suite.hpp"

#include "common/overlapped.hpp"
#include "common/scope_exit.hpp"

// The server holds one client at a time, so the cases tagged [several] do not run with it. Cases in
// this file replace them as far as one client can.
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
    std::vector<std::wstring> command = {process_b, L"--name", suffix};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

std::wstring suffix_of(const running_server& server) {
    return server.pipe.substr(ipc::test::tested.pipe.size() + 1);
}

const std::vector<std::wstring> short_limit = {L"--limit", L"1"};

// Waits for the end of B, which has failed and said so in one line.
void check_failed(ipc::test::program& b, const std::string& line) {
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    INFO(b.output());
    CHECK(b.exit_code() == 1);
    CHECK_THAT(b.error_output(), StartsWith(line));
    CHECK(ipc::test::lines_of(b.error_output()).size() == 1);
}

// A server that is not process A. It answers the first requests correctly, the next one wrongly, and
// the others correctly again. B asks four times on one connection, then three times on others.
class hostile_server {
public:
    using reply_function =
        std::function<void(ipc::unique_handle& pipe, const std::string& request)>;

    hostile_server(int honest_answers, reply_function wrong) {
        REQUIRE(pipe_);
        thread_ = std::jthread(
            [this, honest_answers, wrong = std::move(wrong)] { serve(honest_answers, wrong); });
    }
    hostile_server(const hostile_server&) = delete;
    hostile_server& operator=(const hostile_server&) = delete;
    ~hostile_server() {
        stop_ = true;
        while (!ended_) { // again, if the thread was not yet in ConnectNamedPipe
            raw_client().try_connect(name_);
            Sleep(1);
        }
    }

    ipc::unique_handle create_instance() const {
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

    void serve(int honest_answers, const reply_function& wrong) {
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
        ended_ = true;
    }

    const std::wstring name_ = ipc::test::tested.pipe + L"." + suffix;
    ipc::unique_handle pipe_ = create_instance(); // the pipe allows a second one
    std::atomic<bool> stop_ = false;
    std::atomic<bool> ended_ = false;
    std::jthread thread_;
};

constexpr int transactions = 4; // of B; CallNamedPipe makes its other requests
constexpr int all_requests = 7;

hostile_server::reply_function reply_with(const std::string& reply) {
    return [reply](ipc::unique_handle& pipe, const std::string&) {
        DWORD written = 0;
        WriteFile(pipe.get(), reply.data(), static_cast<DWORD>(reply.size()), &written, nullptr);
    };
}

void no_answer(ipc::unique_handle&, const std::string&) {}

} // namespace

// The server

TEST_CASE("A silent client is dropped after the limit, and the waiting one is served") {
    running_server server({L"--limit", L"1"});
    raw_client silent(server.pipe);
    REQUIRE(silent);
    CHECK(ipc::test::is_served(server.pipe));
    CHECK(silent.is_dropped());
    CHECK(server.a.wait_for_output(
        "A: a client was dropped, idle for too long; requests answered: 0\n"
        "A: a client left; requests answered: 1\n"));
}

TEST_CASE("A waiting client is served when the one before it has left") {
    running_server server({L"--limit", L"60"});
    raw_client first(server.pipe);
    CHECK(first.ask("here") == "HERE");
    raw_client second;
    CHECK_FALSE(second.try_connect(server.pipe));
    CHECK(second.error() == ERROR_PIPE_BUSY);
    ipc::test::program b(b_command(suffix_of(server)));
    CHECK_FALSE(b.wait(200));
    CHECK(b.output().empty());
    CHECK(first.ask("still here") == "STILL HERE");
    first.close();
    REQUIRE(b.wait());
    CHECK(b.exit_code() == 0);
}

TEST_CASE("A client that sends more than 1 MiB is dropped, and the next one is served") {
    running_server server;
    for (const std::size_t bytes : std::vector<std::size_t>{1048577, 16777216}) {
        raw_client client(server.pipe);
        CHECK(client.ask("first") == "FIRST");
        CHECK_FALSE(client.ask(std::string(bytes, 'x')).has_value());
        CHECK(client.error() != ERROR_OPERATION_ABORTED); // not this test's limit
        CHECK(ipc::test::is_served(server.pipe));
    }
    const std::string line =
        "A: a client was dropped, its message is too long; requests answered: 1\n";
    CHECK(server.printed(line, 2) == 2);
    server.stop();
    CHECK(server.a.peak_memory_bytes() < 10 * ipc::test::mebibyte);
}

TEST_CASE("An idle client that has sent 1 MiB does not keep the memory") {
    running_server server;
    raw_client client(server.pipe);
    CHECK(client.ask("short") == "SHORT");
    const std::uint64_t before = ipc::test::memory_bytes(server.a.process());
    CHECK(client.ask(std::string(ipc::test::mebibyte, 'x')).has_value());
    CHECK(client.ask("short") == "SHORT"); // by now the server has freed the long message
    CHECK(ipc::test::memory_bytes(server.a.process()) < before + ipc::test::mebibyte / 2);
}

TEST_CASE("A client that leaves while its reply is being written does no harm") {
    running_server server;
    for (int i = 0; i < 20; ++i) {
        raw_client client(server.pipe);
        REQUIRE(client.send(std::string(ipc::test::mebibyte, 'x')));
        DWORD available = 0; // a part of the reply; the rest waits for a reader
        while (PeekNamedPipe(client.handle(), nullptr, 0, nullptr, &available, nullptr) &&
               available == 0) {
            SwitchToThread();
        }
        CHECK(available > 0);
        client.close(); // what the system does for a killed process
        CHECK(ipc::test::is_served(server.pipe));
    }
    CHECK(server.printed("A: a client left; requests answered: 0\n", 20) == 20);
    server.stop();
}

TEST_CASE("Ctrl+C ends the server at any moment, and closes the connection") {
    for (const std::string step : {"idle", "asking", "not reading"}) {
        INFO(step);
        running_server server({L"--limit", L"60"});
        raw_client client(server.pipe);
        CHECK(client.ask("x") == "X");
        std::jthread asker;
        if (step == "asking") {
            asker = std::jthread([&] {
                while (client.ask("x")) {}
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

TEST_CASE("Ctrl+C ends the server between requests that never let it wait") {
    running_server server({L"--limit", L"60"});
    raw_client client(server.pipe);
    // While the server waits for the client to read a long reply, the client sends 3,000 requests.
    const std::string request(ipc::test::mebibyte, 'x');
    REQUIRE(client.send(request));
    constexpr int sent = 3000;
    for (int i = 0; i < sent; ++i) {
        REQUIRE(client.send("x"));
    }
    std::string reply(request.size(), '\0');
    ipc::overlapped_call call(client.handle());
    const BOOL done = ReadFile(client.handle(), reply.data(), static_cast<DWORD>(reply.size()),
                               nullptr, call.get());
    REQUIRE(call.wait(done, ipc::test::default_limit_ms).bytes == reply.size());
    server.stop();
    int answered = 0;
    while (client.receive()) {
        ++answered;
    }
    CHECK(answered < sent);
}

// The client

TEST_CASE("Several Bs at once wait for each other and print the same lines") {
    running_server server;
    const ipc::test::result alone = ipc::test::run(b_command(suffix_of(server)));
    CHECK(alone.exit_code == 0);
    CHECK(ipc::test::lines_of(alone.output).size() == 11);
    std::vector<std::unique_ptr<ipc::test::program>> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<ipc::test::program>(b_command(suffix_of(server))));
    }
    for (const auto& b : clients) {
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

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b(b_command(suffix));
    CHECK_FALSE(b.wait(200));
    running_server server({}, suffix);
    REQUIRE(b.wait());
    CHECK(b.exit_code() == 0);
}

TEST_CASE("B says how to start the server if there is none") {
    ipc::test::program b(b_command(ipc::test::unique_suffix(), short_limit));
    check_failed(b, R"(B: no server at \\.\pipe\ipc_demos.10.requests.test)");
    CHECK_THAT(b.error_output(), ContainsSubstring(": start processA first"));
}

TEST_CASE("B gives up when the only instance stays busy") {
    running_server server({L"--limit", L"60"});
    raw_client client(server.pipe);
    REQUIRE(client);
    ipc::test::program b(b_command(suffix_of(server), short_limit));
    check_failed(b, R"(B: the server at \\.\pipe\ipc_demos.10.requests.test)");
    CHECK_THAT(b.error_output(), ContainsSubstring(" is busy with other clients"));
    CHECK(client.ask("still here") == "STILL HERE");
}

TEST_CASE("B gives up when the only instance does not become free again for CallNamedPipe") {
    ipc::test::countdown finished(1);
    hostile_server server(transactions - 1, [&](ipc::unique_handle& pipe, const std::string& text) {
        reply_with(ipc::test::upper_case(text))(pipe, text);
        finished.wait(); // and does not serve the next client
    });
    const ipc::scope_exit let_server_end([&] { finished.count_down(); });
    ipc::test::program b(b_command(server.suffix, short_limit));
    check_failed(b, "B: the server at ");
    CHECK_THAT(b.error_output(), ContainsSubstring(" is busy with other clients"));
    CHECK(b.wait_for_output("a wait of 100 ms: no free instance\n"));
}

TEST_CASE("B gives up on a server that does not reply, with either call") {
    hostile_server silent_at_first(0, no_answer);
    hostile_server silent_to_transact(transactions - 1, no_answer);
    hostile_server silent_to_call(transactions, no_answer);
    hostile_server silent_at_last(all_requests - 1, no_answer);
    std::vector<std::unique_ptr<ipc::test::program>> clients;
    for (const hostile_server* server :
         {&silent_at_first, &silent_to_transact, &silent_to_call, &silent_at_last}) {
        clients.push_back(
            std::make_unique<ipc::test::program>(b_command(server->suffix, short_limit)));
    }
    for (const auto& b : clients) {
        check_failed(*b, "B: the server did not reply in time\n");
    }
}

TEST_CASE("With --limit 0 B waits for a slow reply, with either call") {
    for (const int slow_request : {0, transactions}) {
        hostile_server server(slow_request, [](ipc::unique_handle& pipe, const std::string& text) {
            Sleep(1200); // longer than the limit of the other cases
            reply_with(ipc::test::upper_case(text))(pipe, text);
        });
        CHECK(ipc::test::run(b_command(server.suffix, {L"--limit", L"0"})).exit_code == 0);
    }
}

TEST_CASE("CallNamedPipe is given up too if it finds an instance that nobody serves") {
    hostile_server server(all_requests, no_answer);
    ipc::test::program b(b_command(server.suffix, short_limit));
    REQUIRE(b.wait_for_output("in message read mode: THREE\n"));
    const ipc::unique_handle second = server.create_instance(); // while B waits for 100 ms
    REQUIRE(second);
    check_failed(b, "B: the server did not reply in time\n");
}

TEST_CASE("B ends with one line when the server disconnects or closes the pipe, at any request") {
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
        const bool long_reply = honest_answers == 2 || honest_answers == 6; // B expects that
        const std::string reply = (long_reply ? "A LONG REPLY" : "") + std::string(20'000, 'x');
        hostile_server server(honest_answers, reply_with(reply));
        ipc::test::program b(b_command(server.suffix));
        if (honest_answers == 6) { // B cannot know how much CallNamedPipe has discarded
            REQUIRE(b.wait());
            CHECK(b.exit_code() == 0);
        } else {
            check_failed(b, honest_answers == 2 ? "B: ReadFile failed: ERROR_MORE_DATA (234)"
                            : honest_answers < transactions
                                ? "B: TransactNamedPipe failed: ERROR_MORE_DATA (234)"
                                : "B: CallNamedPipeW failed: ERROR_MORE_DATA (234)");
        }
    }
}

TEST_CASE("B refuses a wrong reply and an empty one, at any request") {
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
    check_failed(b, "B: "); // the next transaction finds it unread, or reads it as its reply
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

// After the first of these lines B runs for more than 100 ms, after the second for less.
constexpr const char* moments[] = {"B: TransactNamedPipe: ONE\n",
                                   "B: CallNamedPipeW with a wait of 100 ms: no free instance\n"};

TEST_CASE("The server serves the next client when B is killed, at any moment") {
    running_server server;
    std::mt19937 random(10);
    for (int i = 0; i < 20; ++i) {
        ipc::test::program b(b_command(suffix_of(server)));
        REQUIRE(b.wait_for_output(moments[i % 2]));
        b.wait(random() % 5);
        b.kill();
        REQUIRE(b.wait());
        CHECK((b.exit_code() == 99 || i % 2 == 1)); // a fast B may have ended
        CHECK(ipc::test::is_served(server.pipe));
    }
    server.stop();
    CHECK(ipc::test::count(server.a.output(), "dropped") == 0);
}

TEST_CASE("B ends with one line when the server is killed, at any moment") {
    std::mt19937 random(11);
    for (int i = 0; i < 20; ++i) {
        running_server server;
        ipc::test::program b(b_command(suffix_of(server)));
        REQUIRE(b.wait_for_output(moments[i % 2]));
        b.wait(random() % 5);
        server.a.kill();
        REQUIRE(b.wait());
        b.wait_for_end_of_output();
        INFO(b.error_output());
        const bool ended_before = i % 2 == 1 && b.exit_code() == 0;
        CHECK((ended_before || b.exit_code() == 1));
        CHECK((ended_before || b.error_output() == "B: the server closed the connection\n" ||
               b.error_output() == "B: the server is gone\n"));
    }
}

TEST_CASE("B refuses wrong usage with exit code 2 and one line, and explains itself") {
    for (const std::vector<std::wstring>& command :
         {std::vector<std::wstring>{process_b, L"--no-such-option"},
          std::vector<std::wstring>{process_b, L"--limit"},
          std::vector<std::wstring>{process_b, L"--limit", L"x"},
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
