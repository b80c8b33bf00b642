#include "tests/benchmark/ring_report.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace {

using Catch::Matchers::ContainsSubstring;
using ipc::test::ring_figures;
using ipc::test::ring_results;
using ipc::test::ring_task;
using ipc::test::transport;

ring_figures of_rate(double per_second, double bare_ns = 100) {
    return {per_second, 0, 0, bare_ns, bare_ns};
}

ring_figures of_time(double median_ns, double p99_ns) {
    return {1e9 / median_ns, median_ns, p99_ns, 100, 100};
}

// Three rounds. In the second one the processors were far apart.
ring_results three_rounds() {
    ring_results all;
    for (const double bare_ns : {100.0, 400.0, 150.0}) {
        const double slow = bare_ns / 100;
        all.rounds.push_back({
            {{transport::plain_memcpy, ring_task::large_records}, of_rate(1000, bare_ns)},
            {{transport::ring_memcpy, ring_task::large_records}, of_rate(400 / slow, bare_ns)},
            {{transport::byte_pipe, ring_task::small_records}, of_rate(10, bare_ns)},
            {{transport::ring_batches, ring_task::small_records}, of_rate(99'999, bare_ns)},
        });
    }
    all.rounds[2][{transport::ring_memcpy, ring_task::large_records}] = of_rate(500);
    all.rounds[2][{transport::ring_at_once, ring_task::ping}] = of_time(220, 331);
    all.rounds[2][{transport::message_ping, ring_task::ping}] = of_time(200, 300);
    return all;
}

} // namespace

TEST_CASE("A point counts only if the processors were as far apart as for most points") {
    const ring_results all = three_rounds();
    CHECK(counts(all, of_rate(1, 100)));
    CHECK(counts(all, of_rate(1, 150)));
    CHECK_FALSE(counts(all, of_rate(1, 151)));
    CHECK_FALSE(counts(all, {1, 0, 0, 100, 200}));
    CHECK_FALSE(counts(all, {1, 0, 0, 200, 100}));
    CHECK_FALSE(counts(all, of_rate(1, 99)));
    ring_results apart = all;
    apart.rounds.push_back(all.rounds[1]);
    apart.rounds.push_back(all.rounds[1]);
    CHECK(counts(apart, of_rate(1, 400)));
    CHECK(counts(apart, of_rate(1, 600)));
    CHECK_FALSE(counts(apart, of_rate(1, 100)));
}

TEST_CASE("A goal of the ring is met at its limit, missed beyond it, or not measured") {
    const std::vector<std::string> lines = ipc::test::lines_of(ring_goals(three_rounds()));
    REQUIRE(lines.size() == 7);
    CHECK_THAT(lines[0], ContainsSubstring("at least 0.40") && ContainsSubstring("0.50") &&
                             ContainsSubstring("met") && ContainsSubstring("(2 of 3 rounds)"));
    CHECK_THAT(lines[1], ContainsSubstring("not measured"));
    CHECK_THAT(lines[3], ContainsSubstring("missed"));
    CHECK_THAT(lines[4], ContainsSubstring("at most 1.10") && ContainsSubstring("met"));
    CHECK_THAT(lines[5], ContainsSubstring("1.50") && ContainsSubstring("missed"));
    for (const std::string& line : ipc::test::lines_of(ring_goals(ring_results{}))) {
        CHECK_THAT(line, ContainsSubstring("not measured"));
    }
}

TEST_CASE("The figures of the ring have a line for each point and round") {
    const std::vector<std::string> lines = ipc::test::lines_of(ring_csv(three_rounds()));
    CHECK(lines.size() == 1 + 4 + 4 + 6);
    for (const std::string& line : lines) {
        CHECK(std::ranges::count(line, ',') >= std::ranges::count(lines[0], ','));
    }
    CHECK_THAT(lines[1], ContainsSubstring("\"memcpy, no transport\",1000.0,0.0,0.0,100.0"));
    CHECK(lines[1].ends_with("yes"));
    CHECK(lines[5].ends_with("no"));
}

TEST_CASE(
    "The ring's charts and its table show every transport, and nothing measured is no failure") {
    for (const ring_results& all : {three_rounds(), ring_results{}}) {
        const auto charts = ring_charts(all);
        CHECK(charts.size() == 3);
        for (const auto& [name, content] : charts) {
            INFO(name);
            CHECK(name.ends_with(".svg"));
            for (const char* stream : {"ring", "two events (06)", "byte pipe", "TCP (18)"}) {
                CHECK_THAT(content, ContainsSubstring(stream));
            }
        }
        const std::string table = ring_table(all);
        CHECK(ipc::test::lines_of(table).size() == 2 + ipc::test::ring_points().size());
        for (const char* task : {"64 KiB records", "64 B records", "64 B round trips"}) {
            CHECK_THAT(table, ContainsSubstring(std::string("| ") + task + " | TCP (18) |"));
        }
    }
}

TEST_CASE("The ring's benchmark measures every point, and writes its files") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out");
    const ipc::test::result ended =
        ipc::test::run({ipc::test::program_path(L"tests", L"bench_ring.exe"), L"--out", out,
                        L"--ms", L"1", L"--rounds", L"1"},
                       {}, 100'000);
    INFO(ended.output + ended.error_output);
    CHECK(ended.exit_code == 0);
    CHECK(ended.left_running.empty());
    CHECK(ipc::test::lines_of(ipc::test::read_file(out + L"\\ring.csv")).size() ==
          1 + ipc::test::ring_points().size());
    CHECK(!ipc::test::read_file(out + L"\\ring_goals.txt").empty());
    const std::string figures = ipc::test::read_file(out + L"\\ring.csv");
    for (const char* task : {"64 KiB records", "64 B records", "64 B round trips"}) {
        const std::string point = std::string("1,") + task + ",\"TCP (18)\",";
        CHECK_THAT(figures, ContainsSubstring(point) && !ContainsSubstring(point + "0.0,"));
    }
}

TEST_CASE("The ring's benchmark refuses wrong usage with one line") {
    const std::wstring bench = ipc::test::program_path(L"tests", L"bench_ring.exe");
    for (const std::vector<std::wstring>& options : std::vector<std::vector<std::wstring>>{
             {}, {L"--out", L"x", L"--ms", L"0"}, {L"--out", L"x", L"--rounds", L"100"}}) {
        std::vector<std::wstring> command = options;
        command.insert(command.begin(), bench);
        const ipc::test::result result = ipc::test::run(command);
        CHECK(ipc::test::lines_of(result.error_output).size() == 1);
        CHECK(result.exit_code == 2);
    }
}
