// The checks of the exercises of pair 01.

#include "tests/exercises/check.hpp"

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// Exercise 01.1: processA PROGRAM [ARGS...] counts the bytes that PROGRAM prints.
void count_short_output(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner()});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 143 bytes");
    attempt.expect_line(a, "A: exit code 42");
}

void count_long_output(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner(), L"--bytes", L"3000000"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 3000000 bytes");
}

void say_what_failed(trial& attempt) {
    program& a = attempt.start_learner({L"no_such_program.exe"});
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: CreateProcessW failed: ERROR_FILE_NOT_FOUND (2)");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A ends when B has ended, and has read everything", count_short_output},
      {"3 MB arrive whole", count_long_output},
      {"A says so if there is no such program", say_what_failed}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
