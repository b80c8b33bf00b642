// The checks of the exercise of pair 25.

#include "tests/exercises/check.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// The pair's A, with an endpoint of its own.
struct server {
    explicit server(trial& attempt) : a(attempt.start_partner({L"--name", suffix})) {
        attempt.expect_output(a, "A: the server waits for calls");
    }

    std::wstring suffix = ipc::test::unique_suffix();
    program& a;
};

std::wstring write_lines(trial& attempt, std::size_t lines, std::size_t bytes) {
    std::wstring path = attempt.file(L"lines.txt");
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    for (std::size_t i = 0; i < lines; ++i) {
        file << std::string(bytes, 'x') << '\n';
    }
    return path;
}

void serve_lines(trial& attempt) {
    server by(attempt);
    program& b =
        attempt.start_learner({L"--name", by.suffix, L"--in", write_lines(attempt, 3, 1000)});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: a reply of 1000 bytes");
    attempt.expect_output(by.a, "A: a client left; requests answered: 3");
}

void stay_small(trial& attempt) {
    constexpr std::uint64_t limit_bytes = 12 * 1024 * 1024;
    server by(attempt);
    program& b =
        attempt.start_learner({L"--name", by.suffix, L"--in", write_lines(attempt, 30, 500'000)});
    attempt.expect_exit_code(b, 0);
    attempt.expect_output(by.a, "A: a client left; requests answered: 30");
    attempt.expect(b.peak_memory_bytes() < limit_bytes,
                   "30 replies of 500,000 bytes, and B never has more than 12 MiB of memory",
                   "B had more");
}

void serve_empty_lines(trial& attempt) {
    server by(attempt);
    program& b =
        attempt.start_learner({L"--name", by.suffix, L"--in", write_lines(attempt, 200, 0)});
    attempt.expect_exit_code(b, 0);
    attempt.expect_output(by.a, "A: a client left; requests answered: 200");
}

void end_without_server(trial& attempt) {
    server by(attempt);
    program& b =
        attempt.start_learner({L"--name", by.suffix, L"--in", write_lines(attempt, 20'000, 1000)});
    attempt.expect_output(b, "B: a reply of 1000 bytes");
    by.a.kill();
    attempt.expect_exit_code(b, 1);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"B gets the reply to each line", serve_lines},
      {"B does not grow with its replies", stay_small},
      {"empty lines have replies, too", serve_empty_lines},
      {"when A is killed, B ends with exit code 1", end_without_server}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
