#include "tests/pairs/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"05_overlapped_server",
    .pipe = LR"(\\.\pipe\ipc_demos.05.requests)",
    .held = 62,
    .clients_at_once = {1, 16, 62, 255},
    .all_instances_made = true,
};

namespace {

const std::wstring process_b = ipc::test::client_program();

// A server of the test's own, for one client, that does what no honest server would.
struct hostile_server {
    std::wstring suffix = ipc::test::unique_suffix();
    ipc::unique_handle pipe{
        CreateNamedPipeW((ipc::test::tested.pipe + L"." + suffix).c_str(), PIPE_ACCESS_DUPLEX,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096, 4096, 0, nullptr)};

    // B with one request; its handle comes back when the request has arrived.
    std::unique_ptr<ipc::test::program> start_client() {
        auto b = std::make_unique<ipc::test::program>(
            std::vector<std::wstring>{process_b, L"--name", suffix, L"request"});
        ConnectNamedPipe(pipe.get(), nullptr);
        char request[100];
        DWORD bytes = 0;
        REQUIRE(ReadFile(pipe.get(), request, sizeof request, &bytes, nullptr));
        CHECK(std::string_view(request, bytes) == "request");
        return b;
    }
};

void check_failed(ipc::test::program& b, const std::string& line) {
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK(b.exit_code() == 1);
    CHECK(b.output().empty());
    CHECK_THAT(b.error_output(), StartsWith(line));
    CHECK(ipc::test::lines_of(b.error_output()).size() == 1);
}

} // namespace

TEST_CASE("B gives up when all instances stay busy") {
    running_server server({L"--limit", L"60"});
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < 62; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
    }
    ipc::test::program b(server.client({L"hello"}));
    check_failed(b, "B: the server has no free instance: ");
}

TEST_CASE("B gives up when there is no server, and says how to start it") {
    ipc::test::program b({process_b, L"--name", ipc::test::unique_suffix()});
    check_failed(b, R"(B: no server, start processA first: \\.\pipe\ipc_demos.05.requests.test)");
}

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({process_b, L"--name", suffix});
    CHECK_FALSE(b.wait(500));
    running_server server({}, suffix);
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK(b.exit_code() == 0);
    CHECK(b.output() == "B: HELLO\nB: ASCII LETTERS ONLY: GR\xC3\xBC\xC3\x9F"
                        "E\nB: GOODBYE\n");
}

TEST_CASE("B gives up on a server that does not reply") {
    hostile_server server;
    check_failed(*server.start_client(), "B: the server did not answer in time");
}

TEST_CASE("B refuses a reply over 1 MiB") {
    hostile_server server;
    const auto b = server.start_client();
    const std::string reply(2 * ipc::test::mebibyte, 'x');
    DWORD bytes = 0;
    WriteFile(server.pipe.get(), reply.data(), static_cast<DWORD>(reply.size()), &bytes, nullptr);
    check_failed(*b, "B: ReadFile failed: ERROR_MORE_DATA (234)");
}

TEST_CASE("B ends with one line when the server disconnects it or closes its end") {
    for (const bool disconnect : {false, true}) {
        hostile_server server;
        const auto b = server.start_client();
        disconnect ? DisconnectNamedPipe(server.pipe.get()) : (server.pipe.reset(), TRUE);
        check_failed(*b, "B: the server closed the connection\n");
    }
}

TEST_CASE("B sends the lines of a file as they are, empty ones too") {
    running_server server;
    const ipc::test::temporary_folder folder;
    const std::vector<std::pair<std::string, std::string>> files = {
        {"", ""},
        {"\n", "\n"},
        {"a\n\nb", "A\n\nB\n"},
        {"a\r\nb\r\n", "A\r\nB\r\n"},
        {std::string("\0x\n", 3), std::string("\0X\n", 3)}};
    for (const auto& [in, out] : files) {
        std::ofstream(std::filesystem::path(folder.file(L"in")), std::ios::binary) << in;
        CHECK(ipc::test::run(
                  server.client({L"--in", folder.file(L"in"), L"--out", folder.file(L"out")}))
                  .exit_code == 0);
        CHECK(ipc::test::read_file(folder.file(L"out")) == out);
    }
    CHECK(ipc::test::run(server.client({L"two words", L"", L"--in"})).output ==
          "B: TWO WORDS\nB: \nB: --IN\n");
    const ipc::test::result shown = ipc::test::run(server.client({L"a\x1B[31m"}));
    CHECK(shown.output == "B: A?[31M\n");
}

TEST_CASE("B says which file it cannot read or write") {
    running_server server;
    const ipc::test::result in = ipc::test::run(server.client({L"--in", L"C:\\no\\file"}));
    CHECK(in.exit_code == 1);
    CHECK_THAT(in.error_output, ContainsSubstring("C:\\no\\file"));
    const ipc::test::result out = ipc::test::run(server.client({L"--out", L"C:\\no\\file", L"x"}));
    CHECK(out.exit_code == 1);
    CHECK(out.error_output == "B: cannot create C:\\no\\file\n");
}

TEST_CASE("B refuses wrong usage with exit code 2 and one line, and explains itself") {
    for (const std::vector<std::wstring>& command :
         {std::vector<std::wstring>{process_b, L"--no-such-option"},
          std::vector<std::wstring>{process_b, L"--in"},
          std::vector<std::wstring>{process_b, L"--in", L"file", L"request"}}) {
        const ipc::test::result refused = ipc::test::run(command);
        CHECK(refused.exit_code == 2);
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: processB"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
    const ipc::test::result help = ipc::test::run({process_b, L"--help"});
    CHECK(help.exit_code == 0);
    CHECK_THAT(help.output, StartsWith("usage: processB"));
}
