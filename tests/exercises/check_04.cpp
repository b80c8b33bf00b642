// The checks of the exercises of pair 04.

#include "common/security.hpp"
#include "common/text.hpp"
#include "demos/04_message_mode/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

std::string number_message(std::uint64_t number) {
    std::string message(sizeof number, '\0');
    std::memcpy(message.data(), &number, sizeof number);
    return message;
}

// A client that the checks play. Expects everything that A has to do for it.
class client {
public:
    client(trial& attempt, program& a, const std::wstring& suffix, std::uint64_t announced)
        : attempt_(attempt), a_(a), pipe_(attempt, ipc::object_name(protocol::pipe_name, suffix)) {
        pipe_.expect_connection(a);
        pipe_.write(number_message(announced));
    }

    void send(std::string_view message) {
        const std::string expected =
            "A reads a message of " + std::to_string(message.size()) + " bytes";
        expect_success(pipe_.write(message), expected);
    }

    void expect_answer(std::uint64_t expected) {
        const std::string text = "the answer " + std::to_string(expected);
        std::string answer;
        expect_success(pipe_.read(answer, sizeof expected).error, text);
        attempt_.expect(answer.size() == sizeof expected, text,
                        "an answer that is no number of 8 bytes");
        std::uint64_t number = 0;
        std::memcpy(&number, answer.data(), sizeof number);
        attempt_.expect(number == expected, text, "the answer " + std::to_string(number));
    }

    void leave() { pipe_.close(); }

    // Returns whether the answer arrives, however late the client reads it.
    bool gets(std::uint64_t expected) {
        std::string answer;
        return pipe_.read(answer, sizeof expected).error == ERROR_SUCCESS &&
               answer == number_message(expected);
    }

private:
    void expect_success(DWORD error, const std::string& expected) {
        if (error == ERROR_SUCCESS) {
            return;
        }
        attempt_.expect(error != ERROR_MORE_DATA, expected, "an answer of more than 8 bytes");
        attempt_.expect(false, expected,
                        (error == WAIT_TIMEOUT ? "" : "A has closed the pipe; ") +
                            attempt_.state_of(a_));
    }

    trial& attempt_;
    program& a_;
    pipe_end pipe_;
};

// Expects that A has received a message of this length as its message of this number.
void expect_message(trial& attempt, program& a, int number, int bytes) {
    const std::string start = "A: message " + std::to_string(number) + ": ";
    const std::string expected = start + std::to_string(bytes) + " bytes";
    for (const std::string& line : ipc::exercise::printed_lines(a)) {
        if (line.substr(0, start.size()) == start) {
            attempt.expect(line == expected, "A prints \"" + expected + "\"", '"' + line + '"');
            return;
        }
    }
    attempt.expect_line(a, expected);
}

void receive_five_messages(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    program& b = attempt.start_partner({L"--name", suffix});
    attempt.expect_end(a);
    expect_message(attempt, a, 1, 5);
    expect_message(attempt, a, 2, 0);
    expect_message(attempt, a, 3, 4096);
    expect_message(attempt, a, 4, 10'000);
    expect_message(attempt, a, 5, 1'048'576);
    attempt.expect_exit_code(a, 0);
    attempt.expect_exit_code(b, 0);
}

// Exercises 04.1 and 04.4: processA --out FILE writes each message and a line break to FILE.
void receive_file(trial& attempt) {
    const std::wstring in = attempt.file(L"in");
    const std::wstring out = attempt.file(L"out");
    {
        std::ofstream file(std::filesystem::path(in), std::ios::binary);
        std::uint32_t state = 1;
        for (const int bytes : {1, 4095, 4096, 4097, 0, 8192, 16'384, 16'385, 3'000'000, 7}) {
            for (int i = 0; i < bytes; ++i) {
                state = state * 1'664'525 + 1'013'904'223;
                file.put(static_cast<char>('a' + (state >> 16) % 26));
            }
            file.put('\n');
        }
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--out", out, L"--name", suffix});
    program& b = attempt.start_partner({L"--in", in, L"--name", suffix});
    attempt.expect_exit_code(a, 0);
    attempt.expect_exit_code(b, 0);
    attempt.expect(ipc::test::same_content(in, out),
                   "A writes each message and a line break to its --out file",
                   "the file has something else than B has sent");
}

void leave_early(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b(attempt, a, suffix, 3);
    b.send("first");
    b.expect_answer(5);
    b.leave();
    attempt.expect_exit_code(a, 1);
}

// Exercise 04.2
void receive_empty_messages(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b(attempt, a, suffix, 4);
    for (const char* message : {"", "", "last", ""}) {
        b.send(message);
        b.expect_answer(std::strlen(message));
    }
    b.leave();
    attempt.expect_exit_code(a, 0);
    expect_message(attempt, a, 4, 0);
}

// Exercise 04.3: processA ends after it has answered the last message.
void read_late(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b(attempt, a, suffix, 1);
    b.send("first");
    // A may end now, or wait until the client has read. Only the first makes the client late for certain.
    a.wait(attempt.limit_ms());
    attempt.expect(b.gets(5), "a client that reads when A has ended gets the last answer",
                   "A has ended, and the answer is lost");
    b.leave();
    attempt.expect_exit_code(a, 0);
}

void leave_without_reading(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b(attempt, a, suffix, 1);
    b.send("first");
    b.leave();
    attempt.expect_end(a); // the exit code depends on who is faster
}

// Exercise 04.4: processA --max BYTES answers a longer message with 0.
void refuse_long_messages(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--max", L"100000", L"--name", suffix});
    client b(attempt, a, suffix, 5);
    const std::string text(100'001, 'x');
    b.send(text.substr(1));
    b.expect_answer(100'000);
    b.send(text);
    b.expect_answer(0);
    b.send("after");
    b.expect_answer(5);
    b.send(std::string(262'145, 'x'));
    b.expect_answer(0);
    b.send("the end");
    b.expect_answer(7);
    b.leave();
    attempt.expect_exit_code(a, 0);
}

void keep_memory_low(trial& attempt) {
    constexpr std::size_t message_bytes = 12'000'000;
    constexpr std::uint64_t allowed_bytes = 4'000'000;
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--max", L"1000", L"--name", suffix});
    client b(attempt, a, suffix, 2);
    b.send("short");
    b.expect_answer(5);
    const std::uint64_t before = a.peak_memory_bytes();
    b.send(std::string(message_bytes, 'x'));
    b.expect_answer(0);
    constexpr DWORD look_ms = 100; // the peak is known from a look every 10 ms
    a.wait(look_ms);
    const std::uint64_t after = a.peak_memory_bytes();
    attempt.expect(after <= before + allowed_bytes,
                   "A does not keep a message of 12 MB if its limit is 1,000 bytes",
                   "A has used several MB more memory for it");
    b.leave();
    attempt.expect_exit_code(a, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A receives B's five messages, of up to 1 MiB", receive_five_messages},
      {"messages of up to 3 MB arrive byte for byte", receive_file},
      {"A ends with exit code 1 if the client leaves early", leave_early}}},
    {2,
     {{"A receives B's five messages, of which the second is empty", receive_five_messages},
      {"several messages may be empty, the first and the last too", receive_empty_messages},
      {"A ends with exit code 1 if the client leaves early", leave_early}}},
    {3,
     {{"a client that reads late gets the last answer", read_late},
      {"A answers B's five messages", receive_five_messages},
      {"A ends if the client leaves without reading the answer", leave_without_reading}}},
    {4,
     {{"A receives B's five messages, of up to 1 MiB", receive_five_messages},
      {"messages of up to 3 MB arrive byte for byte", receive_file},
      {"a message over the limit is refused, and the next one arrives whole", refuse_long_messages},
      {"a message far over the limit takes no memory", keep_memory_low},
      {"A ends with exit code 1 if the client leaves early", leave_early}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
