// The checks of the exercises of pair 03.

#include "common/security.hpp"
#include "demos/03_two_pipe_duplex/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::exercise::wait_until_read;
using ipc::test::program;

// Returns a text that is nowhere the same.
std::string long_text(std::size_t bytes) {
    std::string text(bytes, '\0');
    std::uint32_t state = 1;
    for (char& c : text) {
        state = state * 1'664'525 + 1'013'904'223;
        c = static_cast<char>('a' + (state >> 16) % 26);
    }
    return text;
}

std::string upper_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    return text;
}

std::wstring write_file(trial& attempt, const std::string& text) {
    std::wstring path = attempt.file(L"in");
    std::ofstream(std::filesystem::path(path), std::ios::binary) << text;
    return path;
}

void expect_answer(trial& attempt, const std::string& text) {
    const std::string answer = ipc::test::read_file(attempt.file(L"out"));
    const std::string expected = upper_case(text);
    const bool is_part = answer == expected.substr(0, answer.size());
    attempt.expect(
        answer == expected,
        "A writes what B has returned to its --out file, from the first to the last byte",
        answer.empty() ? "the file is empty or missing"
        : is_part      ? "the file has only the first part of it"
                       : "the file has something else");
}

// B, as the checks play it: the client's ends of both pipes.
struct client {
    pipe_end from_a;
    pipe_end to_a;
};

pipe_end open_to_a(trial& attempt, program& a, const std::wstring& suffix) {
    pipe_end end(attempt, ipc::object_name(b_to_a_name, suffix), GENERIC_WRITE);
    end.expect_connection(a);
    return end;
}

pipe_end open_from_a(trial& attempt, program& a, const std::wstring& suffix) {
    pipe_end end(attempt, ipc::object_name(a_to_b_name, suffix), GENERIC_READ);
    end.expect_connection(a);
    return end;
}

client open_both(trial& attempt, program& a, const std::wstring& suffix) {
    pipe_end from_a = open_from_a(attempt, a, suffix);
    return {std::move(from_a), open_to_a(attempt, a, suffix)};
}

// Reads the length and this many bytes of A's text. Expects that A sends them.
void read_text(trial& attempt, program& a, pipe_end& from_a, const std::string& text,
               std::size_t bytes) {
    const stream_length length = text.size();
    std::string sent(sizeof length, '\0');
    std::memcpy(sent.data(), &length, sizeof length);
    sent += text.substr(0, bytes);
    const std::string received = from_a.read_stream(sent.size());
    if (received == sent) {
        return;
    }
    const bool is_part = received == sent.substr(0, received.size());
    attempt.expect(false, "A sends the length of the text and then the whole text",
                   (is_part ? "only the first part came; " : "something else came; ") +
                       attempt.state_of(a));
}

// Exercises 03.1 and 03.3: processA --in FILE --out FILE sends a text and writes what comes back.
program& start_a(trial& attempt, const std::string& text, const std::wstring& suffix) {
    return attempt.start_learner(
        {L"--in", write_file(attempt, text), L"--out", attempt.file(L"out"), L"--name", suffix});
}

void exchange_with_b(trial& attempt, std::size_t bytes) {
    const std::string text = long_text(bytes);
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, text, suffix);
    attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(a, 0);
    expect_answer(attempt, text);
}

void exchange_short_text(trial& attempt) {
    exchange_with_b(attempt, 100);
}

void exchange_12_mb(trial& attempt) {
    exchange_with_b(attempt, 12'000'000);
}

// With larger pipes, 12 MB would come back without a mend.
void keep_pipes_short(trial& attempt) {
    constexpr std::uint64_t most_bytes = 6'000'000;
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, long_text(100), suffix);
    const client b = open_both(attempt, a, suffix);
    std::uint64_t bytes = 0;
    for (const pipe_end* end : {&b.from_a, &b.to_a}) {
        DWORD to_server = 0;
        DWORD to_client = 0;
        GetNamedPipeInfo(end->handle(), nullptr, &to_server, &to_client, nullptr);
        bytes += std::max(to_server, to_client);
    }
    attempt.expect(bytes <= most_bytes,
                   "both pipes together hold at most 6 MB: a larger buffer only moves the problem",
                   "they hold " + std::to_string(bytes) + " bytes");
}

void exchange_1_mb(trial& attempt) {
    exchange_with_b(attempt, 1'000'000);
}

void answer_at_the_end(trial& attempt) {
    const std::string text = long_text(1'000'000);
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, text, suffix);
    client b = open_both(attempt, a, suffix);
    read_text(attempt, a, b.from_a, text, text.size());
    const DWORD error = b.to_a.write(upper_case(text));
    attempt.expect(error == ERROR_SUCCESS, "A reads the answer", "A does not read it");
    b.to_a.close();
    b.from_a.close();
    attempt.expect_exit_code(a, 0);
    expect_answer(attempt, text);
}

void answer_in_pieces(trial& attempt) {
    const std::string text = long_text(1'000);
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, text, suffix);
    client b = open_both(attempt, a, suffix);
    read_text(attempt, a, b.from_a, text, text.size());
    std::string rest = upper_case(text);
    for (std::size_t bytes = 1; !rest.empty(); bytes *= 2) { // 1, 2, 4 ... bytes
        const bool written = b.to_a.write(rest.substr(0, bytes)) == ERROR_SUCCESS;
        const bool read = written && wait_until_read(attempt, a, b.to_a);
        attempt.expect(read, "A reads on until it has everything",
                       bytes == 1 ? "A has not read the first piece"
                                  : "A has stopped reading after the first pieces");
        rest.erase(0, bytes);
    }
    b.to_a.close();
    b.from_a.close();
    attempt.expect_exit_code(a, 0);
    expect_answer(attempt, text);
}

void leave_in_the_middle(trial& attempt) {
    const std::string text = long_text(1'000'000);
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, text, suffix);
    client b = open_both(attempt, a, suffix);
    read_text(attempt, a, b.from_a, text, 1'000);
    b.to_a.write(upper_case(text.substr(0, 1'000)));
    b.to_a.close();
    b.from_a.close();
    attempt.expect_exit_code(a, 1);
}

// Exercise 03.2: processA sends this text through the first pipe, and then takes the answer from the second.
const std::string question = "who was here first?";
constexpr auto answer_line = "A: WHO WAS HERE FIRST?";

void open_both_early(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    program& b = attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, answer_line);
    attempt.expect_end(b);
}

void leave_early(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b = open_both(attempt, a, suffix);
    // A goes on when the last byte of the text is read, and then B has closed the second pipe.
    read_text(attempt, a, b.from_a, question, question.size() - 1);
    b.to_a.write(upper_case(question));
    b.to_a.close();
    b.from_a.read_stream(1);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, answer_line);
}

void open_second_pipe_first(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    pipe_end to_a = open_to_a(attempt, a, suffix);
    pipe_end from_a = open_from_a(attempt, a, suffix);
    read_text(attempt, a, from_a, question, question.size());
    to_a.write(upper_case(question));
    to_a.close();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, answer_line);
}

void leave_without_answer(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    client b = open_both(attempt, a, suffix);
    read_text(attempt, a, b.from_a, question, question.size() - 1);
    b.to_a.close();
    b.from_a.read_stream(1);
    b.from_a.close();
    attempt.expect_exit_code(a, 1);
}

// Exercise 03.4: processB --limit SECONDS waits for a server and for a free instance.
void start_before_the_server(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& b = attempt.start_learner({L"--limit", L"0", L"--name", suffix});
    attempt.expect_output(b, "B: waiting for the server");
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
}

// A server's end with one instance, as A creates it.
ipc::unique_handle create_instance(const std::wstring& name, DWORD direction) {
    return ipc::unique_handle(CreateNamedPipeW(
        name.c_str(), direction | FILE_FLAG_OVERLAPPED,
        PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, 4096, 4096, 0, nullptr));
}

void wait_for_free_instance(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring from_a = ipc::object_name(a_to_b_name, suffix);
    pipe_end server(attempt, create_instance(from_a, PIPE_ACCESS_OUTBOUND));
    ipc::unique_handle other(
        CreateFileW(from_a.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr));
    program& b = attempt.start_learner({L"--limit", L"0", L"--name", suffix});
    attempt.expect_output(b, "B: waiting for a free instance");
    // The other client leaves, and the whole server with it: for a moment there is no pipe.
    other.reset();
    server.close();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
}

void give_up(trial& attempt) {
    program& b = attempt.start_learner({L"--limit", L"1", L"--name", ipc::test::unique_suffix()});
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: waiting for the server");
}

void say_what_failed(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    // B asks for a pipe to read from, and this one is for the other direction.
    const auto server = create_instance(ipc::object_name(a_to_b_name, suffix), PIPE_ACCESS_INBOUND);
    program& b = attempt.start_learner({L"--limit", L"0", L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: CreateFileW failed: ERROR_ACCESS_DENIED (5)");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"a short text comes back", exchange_short_text},
      {"12 MB come back", exchange_12_mb},
      {"the pipes are still far shorter than the text", keep_pipes_short},
      {"B may read everything before it returns anything", answer_at_the_end},
      {"A ends with exit code 1 if B ends in the middle", leave_in_the_middle}}},
    {2,
     {{"A takes the answer although B has opened the pipe before A waited for it", open_both_early},
      {"A takes the answer of a B that has closed the pipe before A waited for it", leave_early},
      {"B may open the pipes in the other order", open_second_pipe_first},
      {"A ends with exit code 1 if B leaves without an answer", leave_without_answer}}},
    {3,
     {{"a short text comes back", exchange_short_text},
      {"1 MB comes back", exchange_1_mb},
      {"B may return the text in small pieces", answer_in_pieces},
      {"A ends with exit code 1 if B ends in the middle", leave_in_the_middle}}},
    {4,
     {{"B may start before A", start_before_the_server},
      {"B waits while another client has the only instance", wait_for_free_instance},
      {"B gives up after its limit", give_up},
      {"B does not wait if waiting cannot help", say_what_failed}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
