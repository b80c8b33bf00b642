// The checks of the exercises of pair 07.

#include "common/security.hpp"
#include "demos/07_thread_per_client/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

// A pipe that no other check uses.
struct pipe_for_check {
    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
};

// Exercise 07.1: processA [--work MS] [--name SUFFIX] serves clients until Ctrl+C.

program& start_server(trial& attempt, const pipe_for_check& pipe, const std::wstring& work_ms) {
    program& a = attempt.start_learner({L"--work", work_ms, L"--name", pipe.suffix});
    attempt.expect_output(a, "A: serves clients until Ctrl+C");
    return a;
}

void connect_and_ask(const trial& attempt, pipe_end& client, program& a) {
    client.expect_connection(a);
    const bool sent = client.write("hello") == ERROR_SUCCESS;
    const auto reply = sent ? client.read_message() : std::nullopt;
    attempt.expect(reply == "HELLO", "A answers hello with HELLO",
                   reply ? "another reply" : "no reply came; " + attempt.state_of(a));
}

void expect_end_at_ctrl_c(const trial& attempt, program& a, std::string_view last) {
    a.press_ctrl_c();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, last);
}

void answer_several(trial& attempt) {
    const pipe_for_check pipe;
    program& a = start_server(attempt, pipe, L"0");
    for (int i = 0; i < 2; ++i) {
        program& b = attempt.start_partner({L"--name", pipe.suffix, L"one", L"two"});
        const bool ended = b.wait(attempt.limit_ms());
        attempt.expect(ended, "B connects, gets its replies and ends",
                       ended ? "" : "B waits in vain; " + attempt.state_of(a));
        attempt.expect_exit_code(b, 0);
        attempt.expect_line(b, "B: ONE");
        attempt.expect_line(b, "B: TWO");
    }
}

void end_without_a_client(trial& attempt) {
    const pipe_for_check pipe;
    program& a = start_server(attempt, pipe, L"0");
    expect_end_at_ctrl_c(attempt, a, "A: the end; requests answered: 0");
}

void end_with_a_silent_client(trial& attempt) {
    const pipe_for_check pipe;
    program& a = start_server(attempt, pipe, L"0");
    pipe_end client(attempt, pipe.name);
    connect_and_ask(attempt, client, a); // from now on it is silent
    expect_end_at_ctrl_c(attempt, a, "A: the end; requests answered: 1");
}

// A's thread works on a request, and blocks in no call, when Ctrl+C comes.
void end_during_work(trial& attempt) {
    const pipe_for_check pipe;
    program& a = start_server(attempt, pipe, L"500");
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    // Longer than the pipe's buffer for requests: when it has been sent, A has read it.
    const bool sent = client.write(std::string(20'000, 'x')) == ERROR_SUCCESS;
    attempt.expect(sent, "A reads a request of 20000 bytes",
                   sent ? "" : "A did not read it; " + attempt.state_of(a));
    a.press_ctrl_c();
    const auto reply = client.read_message();
    attempt.expect(reply == std::string(20'000, 'X'), "the request on which A works gets its reply",
                   reply ? "another reply" : "no reply came; " + attempt.state_of(a));
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: the end; requests answered: 1");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"one B after the other gets its replies", answer_several},
      {"A ends at Ctrl+C without a client", end_without_a_client},
      {"A ends at Ctrl+C with a silent client", end_with_a_silent_client},
      {"A ends at Ctrl+C while it works on a request", end_during_work}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
