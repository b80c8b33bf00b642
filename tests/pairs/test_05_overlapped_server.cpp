#include "tests/pairs/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"05_overlapped_server",
    .pipe = LR"(\\.\pipe\ipc_demos.05.requests)",
    .held = 62,
    .clients_at_once = {1, 16, 62, 255},
    .all_instances_made = true,
};

namespace {

const std::wstring process_b = ipc::test::program_path(L"05_overlapped_server", L"processB.exe");

// The server's end of a pipe, for one client. The test uses it as no honest server would.
struct hostile_server {
    std::wstring suffix = ipc::test::unique_suffix();
    ipc::unique_handle pipe{
        CreateNamedPipeW((ipc::test::tested.pipe + L"." + suffix).c_str(), PIPE_ACCESS_DUPLEX,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096, 4096, 0, nullptr)};

    // Starts B with one request, and returns when the request has arrived.
    std::unique_ptr<ipc::test::program> start_client(const std::wstring& limit = L"60") {
        auto b = std::make_unique<ipc::test::program>(
            std::vector<std::wstring>{process_b, L"--limit", limit, L"--name", suffix, L"request"});
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

TEST_CASE("B gives up after its limit when all instances are taken") {
    running_server server;
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < ipc::test::tested.held; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
    }
    ipc::test::program b(server.client({L"--limit", L"1", L"hello"}));
    check_failed(b,
                 "B: the server at " + ipc::to_utf8(server.pipe) + " is busy with other clients\n");
}

TEST_CASE("B gives up after its limit when there is no server, and says how to start it") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({process_b, L"--limit", L"1", L"--name", suffix});
    check_failed(b, "B: no server at " + ipc::to_utf8(ipc::test::tested.pipe + L"." + suffix) +
                        ": start processA first\n");
}

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({process_b, L"--name", suffix});
    CHECK_FALSE(b.wait(200));
    running_server server({}, suffix);
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK(b.exit_code() == 0);
    CHECK(b.output() == "B: HELLO\nB: ASCII LETTERS ONLY: GR\xC3\xBC\xC3\x9F"
                        "E\nB: GOODBYE\n");
}

TEST_CASE("B gives up after its limit when the server does not reply") {
    hostile_server server;
    check_failed(*server.start_client(L"1"), "B: the server did not answer in time\n");
}

TEST_CASE("With --limit 0 B waits until the server replies") {
    hostile_server server;
    const auto b = server.start_client(L"0");
    CHECK_FALSE(b->wait(300));
    DWORD bytes = 0;
    WriteFile(server.pipe.get(), "REPLY", 5, &bytes, nullptr);
    REQUIRE(b->wait());
    CHECK(b->exit_code() == 0);
    CHECK(b->wait_for_output("B: REPLY\n"));
}

TEST_CASE("B refuses a reply over 1 MiB") {
    hostile_server server;
    const auto b = server.start_client();
    const std::string reply(2 * ipc::test::mebibyte, 'x');
    DWORD bytes = 0;
    WriteFile(server.pipe.get(), reply.data(), static_cast<DWORD>(reply.size()), &bytes, nullptr);
    check_failed(*b, "B: the reply is longer than the protocol allows\n");
}

TEST_CASE("B ends with one line when the server disconnects it or closes its end") {
    for (const bool disconnect : {false, true}) {
        hostile_server server;
        const auto b = server.start_client();
        disconnect ? DisconnectNamedPipe(server.pipe.get()) : (server.pipe.reset(), TRUE);
        check_failed(*b, "B: the server closed the connection\n");
    }
}

TEST_CASE("B refuses a request over 1 MiB") {
    running_server server;
    const ipc::test::temporary_folder folder;
    ipc::test::write_lines(folder.file(L"in"), 1, ipc::test::mebibyte + 1);
    ipc::test::program b(server.client({L"--in", folder.file(L"in")}));
    check_failed(b, "B: a request is longer than the protocol allows\n");
}

TEST_CASE("B sends the lines of a file, empty ones too") {
    running_server server;
    const ipc::test::temporary_folder folder;
    const std::vector<std::pair<std::string, std::string>> files = {
        {"", ""},
        {"\n", "B: \n"},
        {"a\n\nb", "B: A\nB: \nB: B\n"},
        {"a\r\nb\r\n", "B: A\nB: B\n"},
        {std::string("\0x\n", 3), "B: ?X\n"}}; // a control character is shown as ?
    for (const auto& [in, out] : files) {
        std::ofstream(std::filesystem::path(folder.file(L"in")), std::ios::binary) << in;
        const ipc::test::result b = ipc::test::run(server.client({L"--in", folder.file(L"in")}));
        CHECK(b.exit_code == 0);
        CHECK(b.output == out);
    }
    CHECK(ipc::test::run(server.client({L"two words", L"", L"--in"})).output ==
          "B: TWO WORDS\nB: \nB: --IN\n");
}

TEST_CASE("B sends a file of 20 MB with little memory, and shows every reply") {
    running_server server;
    const ipc::test::temporary_folder folder;
    const std::string line(4000, 'x');
    {
        std::ofstream in(std::filesystem::path(folder.file(L"in")), std::ios::binary);
        for (int i = 0; i < 5'000; ++i) {
            in << line << '\n';
        }
    }
    ipc::test::program b(server.client({L"--in", folder.file(L"in")}));
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK(b.exit_code() == 0);
    CHECK(ipc::test::count(b.output(), "B: " + ipc::test::upper_case(line) + "\n") == 5'000);
    CHECK(b.peak_memory_bytes() < 8 * ipc::test::mebibyte);
}

TEST_CASE("B says which file it cannot open") {
    ipc::test::program b({process_b, L"--in", L"C:\\no\\file"});
    check_failed(b, "B: cannot open C:\\no\\file\n");
}

TEST_CASE("B refuses wrong usage with exit code 2 and one line, and explains itself") {
    for (const std::vector<std::wstring>& command :
         {std::vector<std::wstring>{process_b, L"--no-such-option"},
          std::vector<std::wstring>{process_b, L"--in"},
          std::vector<std::wstring>{process_b, L"--limit", L"soon"},
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
