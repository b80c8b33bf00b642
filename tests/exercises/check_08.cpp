// The checks of the exercises of pair 08.

#include "common/security.hpp"
#include "demos/08_completion_routines/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/request_client.hpp"

#include <memory>
#include <string>

namespace {

using ipc::exercise::request_client;
using ipc::exercise::trial;
using ipc::test::program;

std::wstring pipe_of(const std::wstring& suffix) {
    return ipc::object_name(protocol::pipe_name, suffix);
}

// Exercise 08.1: processA [--name SUFFIX] serves one client.
void answer_program_b(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for a client");
    program& b =
        attempt.start_partner({L"--limit", L"0", L"--name", suffix, L"one", L"two", L"three"});
    attempt.expect_output(a, "A: a client has connected");
    expect_replies(attempt, a, b, {"B: ONE", "B: TWO", "B: THREE"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 3");
}

void answer_large_request(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for a client");
    request_client client(attempt, a, pipe_of(suffix));
    client.ask(std::string(protocol::max_message_bytes, 'x'));
    client.ask(""); // an empty message is a request, too
    client.leave();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 2");
}

void end_with_client(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for a client");
    request_client client(attempt, a, pipe_of(suffix));
    client.ask("one");
    client.send("two");
    client.leave();
    attempt.expect_exit_code(a, 0);
}

// Exercise 08.2: processA [--clients N] [--name SUFFIX].
void answer_several(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--clients", L"3", L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    request_client first(attempt, a, pipe_of(suffix));
    request_client second(attempt, a, pipe_of(suffix));
    request_client third(attempt, a, pipe_of(suffix));
    for (const char* round : {" a", " b", " c"}) {
        first.send(std::string("one") + round);
        second.send(std::string("two") + round);
        third.ask(std::string("three") + round);
        second.expect_reply(std::string("two") + round);
        first.expect_reply(std::string("one") + round);
    }
    first.leave();
    third.ask("still here");
    second.leave();
    third.leave();
    attempt.expect_exit_code(a, 0);
}

void answer_one_program_b(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    program& b =
        attempt.start_partner({L"--limit", L"0", L"--name", suffix, L"one", L"two", L"three"});
    expect_replies(attempt, a, b, {"B: ONE", "B: TWO", "B: THREE"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 3");
}

void answer_long_requests(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    request_client client(attempt, a, pipe_of(suffix));
    client.ask(std::string(4096, 'x')); // fills the first buffer
    client.ask(std::string(4097, 'y'));
    client.ask(std::string(protocol::max_message_bytes, 'z'));
    client.ask("");
    client.leave();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 4");
}

void drop_client_with_too_long_request(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--clients", L"2", L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    request_client bad(attempt, a, pipe_of(suffix));
    request_client good(attempt, a, pipe_of(suffix));
    bad.try_send(std::string(protocol::max_message_bytes + 1, 'x'));
    good.ask("one");
    good.leave();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a,
                        "A: a client was dropped, its message is too long; requests answered: 0");
}

// Thousands of requests of one client wait when A goes on, and more come: each operation that A starts for it is
// complete at once. A has to find the second client all the same.
void accept_while_a_client_is_busy(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--clients", L"2", L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    request_client busy(attempt, a, pipe_of(suffix));
    busy.ask("one");
    {
        auto paused = std::make_unique<ipc::exercise::pause>(a);
        const ipc::exercise::request_flood flood(busy);
        request_client other(attempt, a, pipe_of(suffix));
        paused.reset();
        other.ask("two");
    }
    busy.leave();
    attempt.expect_exit_code(a, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"B reads the replies to its requests", answer_program_b},
      {"a request of 1 MiB and an empty one are answered", answer_large_request},
      {"A ends when its client leaves without the reply", end_with_client}}},
    {2,
     {{"B reads the replies to its requests", answer_one_program_b},
      {"three clients at a time read their own replies", answer_several},
      {"a request that needs several reads is answered whole", answer_long_requests},
      {"a request that is too long ends its own connection only",
       drop_client_with_too_long_request},
      {"a client can connect while another one is always busy", accept_while_a_client_is_busy}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
