#include "demos/19_unix_socket/unix_socket.hpp"
#include "tests/benchmark/load.hpp"
#include "tests/benchmark/report.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

// These cases test what the benchmark relies on: a server that does not answer, or answers wrongly, is
// never taken for a fast one, and the report agrees with the figures.

namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using ipc::test::measure;
using ipc::test::measurement;
using ipc::test::program_path;
using ipc::test::report;
using ipc::test::server_command;

server_command bad_server(const std::wstring& right_replies, const std::wstring& then) {
    const std::wstring pipe = L"\\\\.\\pipe\\ipc_demos.bench." + ipc::test::unique_suffix();
    return {{program_path(L"tests", L"helper.exe"), L"bad-server", pipe, right_replies, then},
            pipe};
}

measurement of_rate(double requests_per_second, double us = 0) {
    measurement figures;
    figures.requests_per_second = requests_per_second;
    figures.median_us = us;
    figures.p99_us = 2 * us;
    return figures;
}

measurement with_memory(measurement figures, std::int64_t bytes, unsigned threads) {
    figures.memory_bytes = bytes;
    figures.threads = threads;
    return figures;
}

// A floor and two servers. A point that is not listed was not measured.
report small_report() {
    report all;
    all.servers = {{"floor", "1", ""},
                   {"05_overlapped_server", "62", "it is small"},
                   {"09_completion_port", "many", "it is large"}};
    all.points = {
        {0, 1, 64, {of_rate(9000, 9), of_rate(10, 1), of_rate(2000, 100)}},
        {1, 1, 64, {of_rate(7, 12), of_rate(8, 1.15), of_rate(800, 115)}},
        {2, 1, 64, {of_rate(4, 13), of_rate(5, 1.16), of_rate(500, 116)}},
        {1, 16, 64, {with_memory(of_rate(2000, 500), 16 * 1024, 1)}},
        {2, 16, 64, {with_memory(of_rate(4000, 250), 160 * 1024, 3)}},
        {2, 255, 64, {with_memory(of_rate(3960, 1000), 255 * 8 * 1024, 4)}},
        {2, 255, 65536, {}}, // failed in each round
    };
    return all;
}

} // namespace

TEST_CASE("The load gives figures of a server that answers") {
    const std::wstring suffix = ipc::test::unique_suffix();
    std::vector<server_command> servers = {
        {{program_path(L"05_overlapped_server", L"processA.exe"), L"--name", suffix},
         L"\\\\.\\pipe\\ipc_demos.05.requests." + suffix},
        {{program_path(L"18_tcp_loopback", L"processA.exe"), L"--name", suffix},
         (std::filesystem::temp_directory_path() / (L"ipc_demos.18.requests." + suffix)).wstring(),
         ipc::test::carrier::tcp}};
    const winsock started_winsock;
    if (has_unix_sockets()) { // not under Wine
        servers.push_back({{program_path(L"19_unix_socket", L"processA.exe"), L"--name", suffix},
                           socket_path(suffix),
                           ipc::test::carrier::unix_socket});
    }
#ifdef IPC_HAS_RPC
    servers.push_back({{program_path(L"25_rpc", L"processA.exe"), L"--name", suffix},
                       L"ipc_demos.25.requests." + suffix,
                       ipc::test::carrier::rpc});
#endif
    for (const server_command& server : servers) {
        for (const DWORD bytes : {64UL, 65536UL}) {
            const measurement figures =
                measure(server, {.clients = 20, .message_bytes = bytes, .duration_ms = 500});
            CHECK(figures.requests_per_second > 0);
            CHECK(figures.median_us > 0);
            CHECK(figures.p99_us >= figures.median_us);
            CHECK(figures.threads >= 1);
            // The runtime of RPC may have a thread for each client.
            CHECK(figures.threads < (server.over == ipc::test::carrier::rpc ? 60 : 20));
        }
    }
}

TEST_CASE("A server with a thread for the process counts that thread, and its memory") {
    const measurement figures = measure(bad_server(L"999999999", L"hang"), {.duration_ms = 500});
    CHECK(figures.requests_per_second > 0);
    CHECK(figures.threads == 1);
    CHECK(figures.memory_bytes < 1024 * 1024);
    CHECK(figures.not_served == 0);
}

TEST_CASE("A wrong reply is found, the first one and any later one") {
    for (const wchar_t* right_replies : {L"0", L"1", L"10"}) {
        for (const wchar_t* then : {L"wrong", L"short"}) {
            CHECK_THROWS_MATCHES(measure(bad_server(right_replies, then), {.duration_ms = 5000}),
                                 std::runtime_error,
                                 MessageMatches(ContainsSubstring("a client got a wrong reply")));
        }
    }
}

TEST_CASE("A server that leaves in the middle of the load fails the measurement") {
    for (const wchar_t* right_replies : {L"0", L"1", L"100"}) {
        CHECK_THROWS_MATCHES(measure(bad_server(right_replies, L"leave"), {.duration_ms = 60'000}),
                             std::runtime_error,
                             MessageMatches(ContainsSubstring("ERROR_BROKEN_PIPE (109)")));
    }
}

TEST_CASE("A server that stops answering is ended when the limit is over") {
    for (const wchar_t* right_replies : {L"0", L"1"}) {
        CHECK_THROWS_MATCHES(measure(bad_server(right_replies, L"hang"),
                                     {.duration_ms = 100, .answer_limit_ms = 1000}),
                             std::runtime_error,
                             MessageMatches(ContainsSubstring("did not answer in time")));
    }
}

TEST_CASE("A server that ends before it is ready fails the measurement, and its message is shown") {
    CHECK_THROWS_MATCHES(
        measure({{program_path(L"tests", L"helper.exe"), L"throw-usage-error"}, L"none"}, {}),
        std::runtime_error, MessageMatches(ContainsSubstring("did not start: helper: wrong")));
}

TEST_CASE("The figures of a point are those of the round with the median rate") {
    const report all = small_report();
    REQUIRE(all.find(0, 1, 64) != nullptr);
    CHECK(all.find(0, 1, 64)->requests_per_second == 2000);
    CHECK(all.find(0, 1, 64)->median_us == 100);
    CHECK(all.find(0, 16, 64) == nullptr);
    CHECK(all.find(2, 255, 65536) == nullptr);
}

TEST_CASE("The table of figures has a line for each point that was measured") {
    const std::vector<std::string> lines = ipc::test::lines_of(csv_text(small_report()));
    REQUIRE(lines.size() == 7);
    CHECK_THAT(lines[0], ContainsSubstring("server,clients,message_bytes,requests_per_second"));
    CHECK(lines[1] == "floor,1,64,2000.0,10.0,9000.0,100.0,200.0,0,0,0");
    CHECK(lines[5] == "09_completion_port,16,64,4000.0,4000.0,4000.0,250.0,500.0,0,163840,3");
    for (const std::string& line : lines) {
        CHECK(std::ranges::count(line, ',') == std::ranges::count(lines[0], ','));
    }
}

TEST_CASE("A goal is met at its limit, missed beyond it, or not measured") {
    const std::vector<std::string> lines = ipc::test::lines_of(goals_text(small_report()));
    REQUIRE(lines.size() == 10);
    CHECK(lines[1] == "  64 B    05_overlapped_server     1.150       met");
    CHECK(lines[2] == "  64 B    09_completion_port       1.160       missed");
    CHECK(lines[3] == "  64 KiB  05_overlapped_server     not measured");
    CHECK(lines[6] == "  64 B    09_completion_port       0.990       missed");
    CHECK(lines[7] == "  64 KiB  09_completion_port       not measured");
    CHECK(lines[9] == "          09_completion_port       8 KiB       missed"); // under, not at
}

TEST_CASE("Only the servers of pipes are compared with the floor, which is a pipe") {
    report all = small_report();
    all.servers[1].name = "18_tcp_loopback";
    all.servers[2].name = "25_rpc";
    CHECK_THAT(goals_text(all), !ContainsSubstring("18_tcp") && !ContainsSubstring("25_rpc"));
    all.servers[2].name = "19_unix_socket";
    CHECK_THAT(goals_text(all), !ContainsSubstring("19_unix"));
}

TEST_CASE("One table says which server to choose, one compares each server with the floor") {
    const std::vector<std::string> lines = ipc::test::lines_of(table_text(small_report()));
    REQUIRE(lines.size() == 9);
    CHECK(lines[0] == "| server | choose it when | most clients |");
    CHECK(lines[2] ==
          "| [05_overlapped_server](../demos/05_overlapped_server/README.md) | it is small | 62 |");
    CHECK(lines[4].empty()); // or Markdown would take both for one table
    CHECK(lines[5] == "| server | threads | memory per client | 1 client | 16 clients | "
                      "255 clients |");
    CHECK(lines[7] == "| 05 | 1 (at 16) | 1 KiB | 0.00 | 1.00 | - |");
    CHECK(lines[8] == "| 09 | 4 | 8 KiB | 0.00 | 2.00 | 1.98 |");
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (!lines[i].empty()) {
            CHECK(std::ranges::count(lines[i], '|') ==
                  std::ranges::count(lines[i < 4 ? 0 : 5], '|'));
        }
    }
}

TEST_CASE("The charts show the servers, and an empty report is no reason to fail") {
    for (const auto& [name, content] : charts(small_report())) {
        INFO(name);
        CHECK(name.ends_with(".svg"));
        CHECK_THAT(content, ContainsSubstring("09_completion_port"));
        CHECK_THAT(content, ContainsSubstring(">255<"));
    }
    const report nothing;
    CHECK(charts(nothing).size() == charts(small_report()).size());
    CHECK(ipc::test::lines_of(csv_text(nothing)).size() == 1);
    CHECK(ipc::test::lines_of(table_text(nothing)).size() == 5);
    CHECK(!goals_text(nothing).empty());
}

TEST_CASE("The benchmark refuses wrong usage with one line") {
    const std::wstring bench = program_path(L"tests", L"bench.exe");
    const auto exit_code = [&](const std::vector<std::wstring>& options) {
        std::vector<std::wstring> command = options;
        command.insert(command.begin(), bench);
        const ipc::test::result result = ipc::test::run(command);
        CHECK(ipc::test::lines_of(result.error_output).size() == 1);
        return result.exit_code;
    };
    CHECK(exit_code({}) == 2);
    CHECK(exit_code({L"--out", L"x", L"--seconds", L"0"}) == 2);
    CHECK(exit_code({L"--out", L"x", L"--rounds", L"100"}) == 2);
    CHECK(exit_code({L"--out", L"x", L"--only", L"77"}) == 1);
}
