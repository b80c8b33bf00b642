// The checks of the exercises of pair 11.

#include "tests/exercises/check.hpp"

#include <algorithm>
#include <cstdint>
#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// Exercise 11.1: processA IN OUT PROGRAM sends IN through PROGRAM to OUT.
void send_file(trial& attempt, std::uint64_t bytes) {
    const std::wstring in = attempt.file(L"in.bin");
    const std::wstring out = attempt.file(L"out.bin");
    ipc::test::write_random_file(in, bytes);
    program& a = attempt.start_learner({in, out, attempt.partner()});
    attempt.expect_exit_code(a, 0);
    std::string expected = ipc::test::read_file(in);
    std::transform(expected.begin(), expected.end(), expected.begin(), [](char letter) {
        return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
    });
    const std::string received = ipc::test::read_file(out);
    attempt.expect(received.size() == expected.size(),
                   "OUT has " + std::to_string(expected.size()) + " bytes",
                   "OUT has " + std::to_string(received.size()) + " bytes");
    attempt.expect(received == expected, "OUT is IN in upper case", "other bytes");
    attempt.expect_line(a, "A: exit code 0");
}

void send_small_file(trial& attempt) {
    send_file(attempt, 100);
}

void send_large_file(trial& attempt) {
    send_file(attempt, 3'000'000);
}

void feed_program_that_does_not_read(trial& attempt) {
    const std::wstring in = attempt.file(L"in.bin");
    ipc::test::write_random_file(in, 3'000'000);
    program& a =
        attempt.start_learner({in, attempt.file(L"out.bin"),
                               ipc::test::program_path(L"tests", L"helper.exe"), L"silent"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: exit code 0");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"100 bytes come back in upper case", send_small_file},
      {"3 MB come back in upper case", send_large_file},
      {"A ends when the program ends without reading", feed_program_that_does_not_read}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
