// The checks of the exercises of pair 24. A is a server in a console, which B finds in the running object table: nothing
// is entered in the registry.

#include "tests/exercises/check.hpp"

#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// Exercise 24.1: processB --name SUFFIX

program& start_server(trial& attempt, const std::wstring& suffix) {
    program& a = attempt.start_partner({L"--server", L"--name", suffix});
    attempt.expect_output(a, "A: the server is ready");
    return a;
}

void connect(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    start_server(attempt, suffix);
    attempt.expect_output(attempt.start_learner({L"--name", suffix}), "B: connected");
}

void get_steps(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    start_server(attempt, suffix);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_end(b);
    attempt.expect_exit_code(b, 0);
    for (const char* line : {"B: step 1", "B: step 2", "B: step 3", "B: the work is done"}) {
        attempt.expect_line(b, line);
    }
}

void release_server(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix);
    attempt.expect_exit_code(attempt.start_learner({L"--name", suffix}), 0);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: the last client has left");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"B finds the server", connect},
      {"B gets each step of the work, and ends", get_steps},
      {"A ends when B has left", release_server}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
