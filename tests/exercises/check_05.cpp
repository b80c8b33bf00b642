// The checks of the exercises of pair 05.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/05_overlapped_server/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

// The arguments with the name of a pipe that no other check uses, and the pipe's full name.
struct pipe_for_check {
    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
};

// Sends the request and expects its reply.
void expect_reply(const trial& attempt, pipe_end& client, program& a, const std::string& request,
                  const std::string& reply, std::string_view which) {
    const bool sent = client.write(request) == ERROR_SUCCESS;
    const auto received = sent ? client.read_message() : std::nullopt;
    std::string seen;
    if (!received) {
        seen = "no reply came; " + attempt.state_of(a);
    } else if (*received != reply) {
        seen = "another reply, of " + std::to_string(received->size()) + " bytes";
    }
    attempt.expect(seen.empty(), "A answers " + std::string(which), seen);
}

// B's requests get their replies, and B finds no fault.
void expect_good_b(trial& attempt, program& a, const pipe_for_check& pipe) {
    program& b = attempt.start_partner({L"--name", pipe.suffix, L"one", L"two", L"three"});
    const bool ended = b.wait(attempt.limit_ms());
    attempt.expect(ended, "B connects, gets its replies and ends",
                   ended ? "" : "B waits in vain; " + attempt.state_of(a));
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: ONE");
    attempt.expect_line(b, "B: TWO");
    attempt.expect_line(b, "B: THREE");
}

// Exercise 05.1: processA [--clients N] [--name SUFFIX] serves one client after the other.

// The text that A prints waits, like a console in which the user selects text.
class stopped_screen {
public:
    stopped_screen() : state_(std::make_shared<state>()) {}
    ~stopped_screen() { go_on(); }
    stopped_screen(const stopped_screen&) = delete;
    stopped_screen& operator=(const stopped_screen&) = delete;

    // A's first line stops its output. What A prints then fills a pipe, and A waits.
    ipc::test::start_options options() const {
        ipc::test::start_options options;
        options.on_line = [state = state_](std::string_view) {
            SetEvent(state->stopped.get());
            WaitForSingleObject(state->released.get(), INFINITE); // the destructor sets it
        };
        return options;
    }

    bool wait_until_stopped(DWORD limit_ms) const {
        return WaitForSingleObject(state_->stopped.get(), limit_ms) == WAIT_OBJECT_0;
    }

    void go_on() const { SetEvent(state_->released.get()); }

private:
    struct state {
        ipc::unique_handle stopped{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
        ipc::unique_handle released{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    };
    std::shared_ptr<state> state_;
};

void serve_one_b_after_the_other(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--clients", L"2", L"--name", pipe.suffix});
    expect_good_b(attempt, a, pipe);
    expect_good_b(attempt, a, pipe);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: | THREE");
}

// Expects that the client finds the pipe, free or busy, and then a free instance within the limit.
void expect_pipe(const trial& attempt, pipe_end& client, const program& a,
                 const stopped_screen& screen) {
    constexpr ULONGLONG screen_limit_ms = 1'000;
    const ULONGLONG start_ms = GetTickCount64();
    DWORD error = client.try_to_connect();
    while (error == ERROR_PIPE_BUSY && GetTickCount64() - start_ms < attempt.limit_ms()) {
        if (GetTickCount64() - start_ms > screen_limit_ms) {
            screen.go_on(); // a server that keeps its only instance cannot be faster
        }
        a.wait(1); // a pause, unless A ends
        error = client.try_to_connect();
    }
    std::string seen;
    if (error != ERROR_SUCCESS) {
        constexpr DWORD end_ms = 500; // a process closes its pipes before a wait can see its end
        seen = "the client's CreateFileW failed: " + ipc::exercise::error_name(error) +
               (a.wait(end_ms) ? "; A has ended" : ", and A was running");
    }
    attempt.expect(seen.empty(), "a client can connect", seen);
}

// A has dropped its client and has something to print, but the screen has stopped. The client's
// text is longer than any buffer between A and the screen.
void keep_the_name_while_printing(trial& attempt) {
    const pipe_for_check pipe;
    const stopped_screen screen;
    program& a = attempt.start_learner({L"--name", pipe.suffix}, screen.options());
    attempt.expect(screen.wait_until_stopped(attempt.limit_ms()), "A prints its first line",
                   "A printed nothing");
    pipe_end first(attempt, pipe.name);
    first.expect_connection(a);
    const std::string request(200'000, 'x');
    expect_reply(attempt, first, a, request, std::string(request.size(), 'X'), "the first client");
    first.write(std::string(protocol::max_message_bytes + 1, 'x')); // A drops the client for this
    const bool dropped = !first.read_message();
    attempt.expect(dropped, "A drops a client whose message is too long", "A answered it");

    pipe_end second(attempt, pipe.name);
    expect_pipe(attempt, second, a, screen);
    screen.go_on();
    expect_reply(attempt, second, a, "hello", "HELLO", "the second client");
}

void keep_the_name_between_clients(trial& attempt) {
    constexpr int clients = 200;
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    for (int i = 0; i < clients; ++i) {
        expect_reply(attempt, client, a, "hello", "HELLO", "each of 200 clients");
        client.close();
        const ULONGLONG start_ms = GetTickCount64();
        DWORD error = client.try_to_connect();
        while (error == ERROR_PIPE_BUSY && GetTickCount64() - start_ms < attempt.limit_ms()) {
            error = client.try_to_connect(); // without a pause, to meet each moment
        }
        attempt.expect(error == ERROR_SUCCESS, "each of 200 clients can connect",
                       "a client's CreateFileW failed: " + ipc::exercise::error_name(error));
    }
}

// Exercise 05.2: processA [--name SUFFIX] serves one client and reads ahead.

// The first line that A has printed with this beginning, or an empty text.
std::string line_with(program& a, std::string_view beginning) {
    for (const std::string& line : ipc::exercise::printed_lines(a)) {
        if (line.starts_with(beginning)) {
            return line;
        }
    }
    return "";
}

// The client has read only a part of a long reply when its next request arrives.
void report_what_was_written(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    const std::string request(100'000, 'x');
    const bool sent = client.write(request) == ERROR_SUCCESS;
    const auto part = client.read_message(1'000); // so A's WriteFile has begun and cannot end
    attempt.expect(sent && part, "A answers a request of 100000 bytes",
                   part ? "" : "no reply came; " + attempt.state_of(a));
    client.write("next");             // A's ReadFile ends while its WriteFile is pending
    constexpr DWORD early_ms = 1'000; // a right A prints nothing now, a wrong one prints at once
    a.wait_for_output("A: wrote ", early_ms);
    client.read_message(); // the rest of the reply; if it does not come, A's line says why
    attempt.expect_output(a, "A: wrote ");
    a.wait_for_output("bytes", attempt.limit_ms());
    const std::string line = line_with(a, "A: wrote ");
    attempt.expect(line == "A: wrote 100000 of 100000 bytes",
                   "A prints \"A: wrote 100000 of 100000 bytes\" when the client has read them",
                   "A printed \"" + line + "\"");
    const auto reply = client.read_message();
    attempt.expect(reply == "NEXT", "the next reply is NEXT",
                   reply ? "another reply, of " + std::to_string(reply->size()) + " bytes"
                         : "no reply came; " + attempt.state_of(a));
}

void answer_b(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    expect_good_b(attempt, a, pipe);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: wrote 5 of 5 bytes");
    attempt.expect_line(a, "A: the client left");
}

void read_while_writing(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    const bool first = client.write(std::string(100'000, 'x')) == ERROR_SUCCESS;
    const bool second = first && client.write(std::string(200'000, 'y')) == ERROR_SUCCESS;
    attempt.expect(second, "A reads the second request although nobody reads the first reply",
                   second ? "" : "A did not read it; " + attempt.state_of(a));
    const auto first_reply = client.read_message();
    const auto second_reply = client.read_message();
    attempt.expect(first_reply == std::string(100'000, 'X') &&
                       second_reply == std::string(200'000, 'Y'),
                   "both replies arrive whole", "a reply is missing or wrong");
}

void end_with_the_client(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    client.write(std::string(100'000, 'x'));
    client.read_message(1'000);
    client.close();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: the client left");
}

// Exercise 05.3: processA [--wait MS] [--name SUFFIX] serves one client, which may be silent.

void answer_b_at_once(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--wait", L"600000", L"--name", pipe.suffix});
    expect_good_b(attempt, a, pipe);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: the client left; requests answered: 3");
}

void answer_after_silence(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--wait", L"50", L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    attempt.expect_output(a, "A: no request yet");
    expect_reply(attempt, client, a, "hello", "HELLO", "a client that was silent for a while");
    expect_reply(attempt, client, a, "again", "AGAIN", "its next request");
}

// With --wait 0 each wait ends at once, so that requests arrive at every moment of a time-out.
void lose_no_request(trial& attempt) {
    constexpr int requests = 200;
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--wait", L"0", L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    attempt.expect_output(a, "A: no request yet");
    for (int i = 0; i < requests; ++i) {
        const std::string number = std::to_string(i);
        expect_reply(attempt, client, a, number, number,
                     "each of 200 requests that come while a wait ends");
    }
}

void end_with_a_silent_client(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--wait", L"50", L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    attempt.expect_output(a, "A: no request yet");
    client.close();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: the client left; requests answered: 0");
}

// Exercise 05.4: processA [--name SUFFIX] serves two clients at a time.

void serve_b(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    expect_good_b(attempt, a, pipe);
}

void serve_two(trial& attempt) {
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end slow(attempt, pipe.name);
    slow.expect_connection(a);
    expect_reply(attempt, slow, a, "first", "FIRST", "the first client");
    expect_good_b(attempt, a, pipe); // while the first client is silent
    expect_reply(attempt, slow, a, "last", "LAST", "the first client after that");
}

// The requests wait in the pipe, so that the server's calls are complete at once.
void serve_waiting_requests(trial& attempt) {
    constexpr int requests = 100;
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    pipe_end client(attempt, pipe.name);
    client.expect_connection(a);
    for (int i = 0; i < requests; ++i) {
        client.write(std::to_string(i));
    }
    for (int i = 0; i < requests; ++i) {
        const auto reply = client.read_message();
        attempt.expect(reply == std::to_string(i),
                       "100 requests that wait in the pipe get one reply each, in their order",
                       reply ? "reply " + std::to_string(i + 1) + " is wrong"
                             : "no reply came; " + attempt.state_of(a));
    }
}

// Such clients make calls of the server fail at once: a connect, a read, a reply.
void survive_short_visits(trial& attempt) {
    constexpr int visits = 150;
    const pipe_for_check pipe;
    program& a = attempt.start_learner({L"--name", pipe.suffix});
    for (int i = 0; i < visits; ++i) {
        pipe_end client(attempt, pipe.name);
        client.expect_connection(a);
        if (i % 3 != 0) {
            client.write("hello");
        }
        if (i % 3 == 2) {
            client.read_message();
        }
    }
    expect_good_b(attempt, a, pipe);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"one B after the other gets its replies", serve_one_b_after_the_other},
      {"a client finds the pipe while A prints something", keep_the_name_while_printing},
      {"200 clients, one right after the other, find the pipe", keep_the_name_between_clients}}},
    {2,
     {{"A says that a reply is written when it is", report_what_was_written},
      {"B gets its replies", answer_b},
      {"A reads the next request while nobody reads the reply", read_while_writing},
      {"A ends when the client leaves in the middle of a reply", end_with_the_client}}},
    {3,
     {{"B gets its replies", answer_b_at_once},
      {"A answers a client that was silent for a while", answer_after_silence},
      {"no request is lost that comes just when a wait ends", lose_no_request},
      {"A ends when a silent client leaves", end_with_a_silent_client}}},
    {4,
     {{"B gets its replies", serve_b},
      {"B gets its replies while another client is silent", serve_two},
      {"requests that wait in the pipe get one reply each", serve_waiting_requests},
      {"clients that leave at once do no harm", survive_short_visits}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
