// The checks of the exercises of pair 10.

#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/10_transactions/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

constexpr auto a_is_ready = "A: one instance waits for clients";

// The check in the role of A: a server with one client, which answers as it likes.
class server {
public:
    server(const trial& attempt, const std::wstring& suffix)
        : attempt_(attempt), pipe_(create_pipe(ipc::object_name(protocol::pipe_name, suffix))) {
        attempt_.expect(static_cast<bool>(pipe_), "the pair's pipe can be created",
                        "another server has its name");
    }

    // Expects a client's request and returns it.
    std::string request(program& client) {
        const BOOL connected = ConnectNamedPipe(pipe_.get(), call_.get());
        call_.wait(connected, attempt_.limit_ms(), client.process());
        std::string request = read(client).second;
        attempt_.expect(!request.empty(), "B sends its request",
                        request.empty() ? "no request came; " + attempt_.state_of(client) : "");
        return request;
    }

    // Returns the error and the bytes of the next message, or WAIT_TIMEOUT.
    std::pair<DWORD, std::string> read(const program& client) {
        std::string message(4096, '\0');
        const BOOL done = ReadFile(pipe_.get(), message.data(), static_cast<DWORD>(message.size()),
                                   nullptr, call_.get());
        // A client that has ended breaks the pipe, but its children may still hold it open.
        const auto [error, bytes] = call_.wait(done, attempt_.limit_ms(), client.process());
        message.resize(bytes);
        return {error, message};
    }

    // A client that stops in the middle of the reply is judged by what it prints.
    void reply(const program& client, const std::string& message) {
        const BOOL done = WriteFile(pipe_.get(), message.data(), static_cast<DWORD>(message.size()),
                                    nullptr, call_.get());
        call_.wait(done, attempt_.limit_ms(), client.process());
    }

    void close() { pipe_.reset(); }

private:
    static ipc::unique_handle create_pipe(const std::wstring& name) {
        ipc::user_only_security security;
        return ipc::unique_handle(CreateNamedPipeW(
            name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
            4096, 4096, 0, security.get()));
    }

    const trial& attempt_;
    ipc::unique_handle pipe_;
    ipc::overlapped_call call_{pipe_.get()}; // one call at a time
};

// A text of this many bytes in which a piece that is missing or doubled shows.
std::string long_text(std::size_t bytes) {
    std::string text;
    for (std::size_t number = 1; text.size() < bytes; ++number) {
        text += std::to_string(number) + " ";
    }
    text.resize(bytes);
    return text;
}

// Expects that B's line number `line` is this reply, without showing a long text to the learner.
void expect_reply(const trial& attempt, program& b, std::size_t line, const std::string& reply) {
    const std::vector<std::string> lines = ipc::exercise::printed_lines(b);
    const std::string expected = "the whole reply of " + std::to_string(reply.size()) + " bytes";
    attempt.expect(line < lines.size(), "B prints " + expected,
                   "B printed " + std::to_string(lines.size()) + " lines");
    const std::string& seen = lines[line];
    const std::size_t bytes = seen.size() < 3 ? 0 : seen.size() - 3; // without "B: "
    attempt.expect(seen == "B: " + reply, "B prints " + expected,
                   bytes == reply.size()
                       ? "another text of this length"
                       : "a line with " + std::to_string(bytes) + " bytes of text");
}

// ---- exercise 10.1: processB [--name SUFFIX] REQUEST [REQUEST ...] prints the replies

void print_replies(trial& attempt, const std::vector<std::wstring>& requests,
                   const std::vector<std::string>& lines) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix, L"--clients", L"1"});
    attempt.expect_output(a, a_is_ready);
    std::vector<std::wstring> arguments = {L"--name", suffix};
    arguments.insert(arguments.end(), requests.begin(), requests.end());
    program& b = attempt.start_learner(arguments);
    attempt.expect_exit_code(b, 0);
    for (const std::string& line : lines) {
        attempt.expect_line(b, line);
    }
    const std::size_t count = ipc::exercise::printed_lines(b).size();
    attempt.expect(count == lines.size(), "B prints one line for each reply",
                   std::to_string(count) + " lines for " + std::to_string(lines.size()) +
                       " replies");
    attempt.expect_exit_code(a, 0);
}

void print_long_reply(trial& attempt) {
    print_replies(
        attempt,
        {L"first", L"this request is longer than the buffer of B, and its reply is as long",
         L"last"},
        {"B: FIRST", "B: THIS REQUEST IS LONGER THAN THE BUFFER OF B, AND ITS REPLY IS AS LONG",
         "B: LAST"});
}

void print_full_buffer(trial& attempt) {
    print_replies(
        attempt, {L"the reply to this request fills the buffer of 64 bytes exactly..", L"last"},
        {"B: THE REPLY TO THIS REQUEST FILLS THE BUFFER OF 64 BYTES EXACTLY..", "B: LAST"});
}

void print_very_long_reply(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(attempt, suffix);
    program& b = attempt.start_learner({L"--name", suffix, L"first", L"last"});
    const std::string reply = long_text(100'000);
    a.request(b);
    a.reply(b, reply);
    const std::string second = a.read(b).second;
    attempt.expect(second.empty() || second == "last",
                   "after the reply, B sends its second request, \"last\"",
                   "B sent \"" + second + "\"");
    a.reply(b, "the second reply");
    attempt.expect_exit_code(b, 0);
    expect_reply(attempt, b, 0, reply);
    attempt.expect_line(b, "B: the second reply");
}

// ---- exercise 10.2: processB [--name SUFFIX] [--limit SECONDS] REQUEST prints the reply

void print_reply(trial& attempt) {
    print_replies(attempt, {L"hello"}, {"B: HELLO"});
}

void ask_once(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(attempt, suffix);
    program& b = attempt.start_learner({L"--name", suffix, L"hello"});
    const std::string reply = long_text(100'000);
    const std::string request = a.request(b);
    attempt.expect(request == "hello", "B sends the message \"hello\"",
                   "B sent \"" + request + "\"");
    a.reply(b, reply);
    const auto [error, more] = a.read(b);
    attempt.expect(more.empty(), "B sends its request once", "B sent \"" + more + "\", too");
    attempt.expect_exit_code(b, 0);
    expect_reply(attempt, b, 0, reply);
}

void end_at_the_limit(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(attempt, suffix);
    program& b = attempt.start_learner({L"--name", suffix, L"--limit", L"1", L"hello"});
    a.request(b);
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: the server did not reply in time");
}

// For both: the server has the request, and goes away.
void say_that_the_server_left(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(attempt, suffix);
    program& b = attempt.start_learner({L"--name", suffix, L"hello"});
    a.request(b);
    a.close();
    attempt.expect_exit_code(b, 1);
    attempt.expect(!b.error_output().empty(), "B says on standard error why it failed",
                   "B printed nothing there");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"a long reply arrives whole, and so does the next one", print_long_reply},
      {"a reply that fills the buffer exactly is complete", print_full_buffer},
      {"a reply of 100000 bytes arrives whole", print_very_long_reply},
      {"B says so if the server leaves without a reply", say_that_the_server_left}}},
    {2,
     {{"B prints the reply", print_reply},
      {"B sends one request and gets a reply of 100000 bytes", ask_once},
      {"B ends at its limit if the server does not reply", end_at_the_limit},
      {"B says so if the server leaves without a reply", say_that_the_server_left}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
