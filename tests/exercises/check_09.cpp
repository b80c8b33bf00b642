// The checks of the exercises of pair 09.

#include "common/security.hpp"
#include "demos/09_completion_port/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/request_client.hpp"

#include <string>

namespace {

using ipc::exercise::pause;
using ipc::exercise::request_client;
using ipc::exercise::trial;
using ipc::test::program;

// Both exercises: processA [--clients N] [--name SUFFIX] ends when N clients have left.
program& start_server(trial& attempt, const std::wstring& suffix, const wchar_t* clients) {
    program& a = attempt.start_learner({L"--clients", clients, L"--name", suffix});
    attempt.expect_output(a, "A: waiting for clients");
    return a;
}

std::wstring pipe_of(const std::wstring& suffix) {
    return ipc::object_name(protocol::pipe_name, suffix);
}

void answer_program_b(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"1");
    program& b =
        attempt.start_partner({L"--limit", L"0", L"--name", suffix, L"one", L"two", L"three"});
    expect_replies(attempt, a, b, {"B: ONE", "B: TWO", "B: THREE"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 3");
}

void answer_several(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"3");
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
    first.ask(std::string(protocol::max_message_bytes, 'x'));
    second.ask("");
    first.leave();
    second.leave();
    third.leave();
    attempt.expect_exit_code(a, 0);
}

// A client that connects and leaves while A is paused has left before A starts the next operation.
void survive_visitor(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"1");
    {
        const pause paused(a);
        request_client visitor(attempt, a, pipe_of(suffix));
        visitor.leave();
    }
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 0");
}

void survive_impatient_client(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"2");
    {
        const pause paused(a);
        request_client impatient(attempt, a, pipe_of(suffix));
        impatient.send("one");
        impatient.leave();
    }
    request_client other(attempt, a, pipe_of(suffix));
    other.ask("two");
    other.leave();
    attempt.expect_exit_code(a, 0);
}

// Exercise 09.2
void answer_long_requests(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"2");
    request_client client(attempt, a, pipe_of(suffix));
    client.ask(std::string(4096, 'x')); // fills the first buffer
    client.ask(std::string(4097, 'y'));
    client.ask(std::string(protocol::max_message_bytes, 'z'));
    request_client bad(attempt, a, pipe_of(suffix));
    bad.try_send(std::string(protocol::max_message_bytes + 1, 'x'));
    client.ask("one");
    client.leave();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: a client left; requests answered: 4");
    attempt.expect_line(a,
                        "A: a client was dropped, its message is too long; requests answered: 0");
}

// More clients leave than there are workers. Each of them ends an operation with an error.
void survive_leaving_clients(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix, L"5");
    for (int i = 0; i < 4; ++i) {
        program& b = attempt.start_partner({L"--limit", L"0", L"--name", suffix, L"one"});
        attempt.expect_exit_code(b, 0);
    }
    request_client last(attempt, a, pipe_of(suffix));
    last.ask("one");
    last.leave();
    attempt.expect_exit_code(a, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A ends when a client has connected and left at once", survive_visitor},
      {"a client that leaves without its reply is gone, another one gets its own",
       survive_impatient_client},
      {"B reads the replies to its requests", answer_program_b},
      {"three clients at a time read their own replies", answer_several}}},
    {2,
     {{"B reads the replies to its requests, and the workers end", answer_program_b},
      {"three clients at a time read their own replies", answer_several},
      {"a request that needs several reads is answered whole", answer_long_requests},
      {"the workers go on when clients have left", survive_leaving_clients}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
