// Measures the streams: pair 16's ring, and beside it pair 06's two events, a byte pipe, TCP on loopback and
// memcpy. Writes figures, charts and which goals of the ring are met.
//
// Run: cmake -DONLY=16 -P tests/bench.cmake, which says how; or bench_ring --out FOLDER
//
// Each round measures all points, with a new pair of processes. Before and after each point it measures a bare
// ping, because the distance of the two processors can change: only points of the same distance are compared.

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "tests/benchmark/chart.hpp"
#include "tests/benchmark/ring_load.hpp"
#include "tests/benchmark/ring_report.hpp"

#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage =
    "bench_ring --out FOLDER [--ms N] [--rounds N] [--machine TEXT]\n"
    "  --out FOLDER    where to write the figures and charts\n"
    "  --ms N          measure each point for about so many milliseconds (default: 500)\n"
    "  --rounds N      measure each point so many times (default: 5)\n"
    "  --machine TEXT  describes the machine, for ring_machine.txt\n"
    "  --receive NAME  what the benchmark starts itself as";

struct settings {
    std::wstring out;
    std::uint64_t ms = 500;
    std::uint64_t rounds = 5;
    std::wstring machine;
    std::wstring receive; // not empty: this program is the second process
};

settings parse(int argc, wchar_t** argv) {
    settings all;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--out", &all.out},
                          {L"--ms", &all.ms},
                          {L"--rounds", &all.rounds},
                          {L"--machine", &all.machine},
                          {L"--receive", &all.receive}});
    if (all.out.empty() && all.receive.empty()) {
        throw ipc::usage_error("--out is missing; usage: bench_ring --out FOLDER");
    }
    if (all.ms < 1 || all.ms > 60'000 || all.rounds < 1 || all.rounds > 99) {
        throw ipc::usage_error("--ms needs 1 to 60000, and --rounds 1 to 99");
    }
    return all;
}

std::string progress_text(const ipc::test::ring_figures& figures) {
    using ipc::test::number_text;
    std::string text = number_text(figures.per_second) + " per second";
    if (figures.median_ns > 0) {
        text += ", median " + number_text(figures.median_ns) + " ns, 99 % " +
                number_text(figures.p99_ns) + " ns";
    }
    return text + "; bare ping " + number_text(figures.bare_before_ns) + " and " +
           number_text(figures.bare_after_ns) + " ns";
}

// Measures everything. Returns how many measurements failed.
unsigned run(ipc::test::ring_results& all, const settings& wanted) {
    unsigned failed = 0;
    for (std::uint64_t round = 1; round <= wanted.rounds; ++round) {
        all.rounds.emplace_back();
        ipc::test::ring_load load;
        for (const ipc::test::ring_point& point : ipc::test::ring_points()) {
            std::string outcome;
            try {
                const ipc::test::ring_figures figures =
                    load.measure(point, static_cast<DWORD>(wanted.ms));
                all.rounds.back()[point] = figures;
                outcome = progress_text(figures);
            } catch (const std::exception& problem) {
                ++failed;
                outcome = std::string("FAILED: ") + problem.what();
            }
            ipc::print_line("[{}/{}] {}: {}", round, wanted.rounds, name_of(point), outcome);
            if (failed != 0) {
                return failed; // the two processes are not in step any more
            }
        }
    }
    return failed;
}

void write_files(const ipc::test::ring_results& all, const settings& wanted) {
    std::vector<ipc::test::output_file> files = ring_charts(all);
    files.push_back({"ring.csv", ring_csv(all)});
    files.push_back({"ring_goals.txt", ring_goals(all)});
    files.push_back({"ring_table.md", ring_table(all)});
    std::string machine;
    if (!wanted.machine.empty()) {
        machine = "machine:  " + ipc::to_utf8(wanted.machine) + "\n";
    }
    machine += ipc::fill("measured: {} rounds, about {} ms of each point\n",
                         {std::to_string(wanted.rounds), std::to_string(wanted.ms)});
    files.push_back({"ring_machine.txt", machine});
    const std::filesystem::path folder(wanted.out);
    std::filesystem::create_directories(folder);
    for (const ipc::test::output_file& one : files) {
        std::ofstream file(folder / one.name, std::ios::binary); // LF on Windows, too
        if (!(file << one.content << std::flush)) {
            throw std::runtime_error("cannot write " + one.name + " in " +
                                     ipc::to_utf8(wanted.out));
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const settings wanted = parse(argc, argv);
    if (!wanted.receive.empty()) {
        ipc::test::receive(wanted.receive);
        return 0;
    }
    ipc::test::ring_results all;
    const unsigned failed = run(all, wanted);
    write_files(all, wanted);
    ipc::print_line("\n{}", ring_goals(all));
    if (failed != 0) {
        throw std::runtime_error("a measurement failed");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("bench_ring");
}
