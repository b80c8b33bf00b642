// The checks of the exercises of pair 01, and programs that they let A run.

#include "tests/exercises/check.hpp"

#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// How long a check watches that A does not end too early.
constexpr DWORD watch_ms = 400;
constexpr DWORD play_limit_ms = 60'000;

// A named event that a program started by A waits for.
struct named_event {
    named_event() : event(CreateEventW(nullptr, TRUE, FALSE, name.c_str())) {}
    std::wstring name = L"Local\\ipc_demos.check_01." + ipc::test::unique_suffix();
    ipc::unique_handle event;
};

void write_output(std::string_view bytes) {
    DWORD written = 0;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), bytes.data(), static_cast<DWORD>(bytes.size()),
              &written, nullptr);
}

std::wstring helper() {
    return ipc::test::program_path(L"tests", L"helper.exe");
}

// Exercise 01.1: processA PROGRAM [ARGS...] counts the bytes that PROGRAM prints.
void count_short_output(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner()});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 143 bytes");
    attempt.expect_line(a, "A: exit code 42");
}

void count_bytes(trial& attempt, std::uint64_t bytes) {
    program& a = attempt.start_learner({attempt.partner(), L"--bytes", std::to_wstring(bytes)});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: " + std::to_string(bytes) + " bytes");
}

void count_long_output(trial& attempt) {
    count_bytes(attempt, 3'000'000);
}

void say_what_failed(trial& attempt) {
    program& a = attempt.start_learner({L"no_such_program.exe"});
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: CreateProcessW failed: ERROR_FILE_NOT_FOUND (2)");
}

// Exercise 01.2: the same program; it must read before it waits.

// Run: check_01 play until-read. Prints 8 bytes and ends when they have been read: a larger pipe does not help a
// reader that waits for the exit first.
int play_until_read() {
    write_output("waiting\n");
    FlushFileBuffers(GetStdHandle(STD_OUTPUT_HANDLE)); // returns when the pipe is empty
    return 6;
}

void read_while_program_runs(trial& attempt) {
    program& a = attempt.start_learner({trial::player(), L"play", L"until-read"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 8 bytes");
    attempt.expect_line(a, "A: exit code 6");
}

// Run: check_01 play close CLOSED GO_ON. Prints 8 bytes, closes its output, sets the first event, waits for the
// second one, and ends.
int play_close(const std::wstring& closed_name, const std::wstring& go_on_name) {
    const ipc::unique_handle closed(OpenEventW(EVENT_MODIFY_STATE, FALSE, closed_name.c_str()));
    const ipc::unique_handle go_on(OpenEventW(SYNCHRONIZE, FALSE, go_on_name.c_str()));
    write_output("closing\n");
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    const HANDLE error_output = GetStdHandle(STD_ERROR_HANDLE);
    CloseHandle(output);
    if (error_output != output) {
        CloseHandle(error_output);
    }
    SetEvent(closed.get());
    WaitForSingleObject(go_on.get(), play_limit_ms);
    return 5;
}

void wait_after_reading(trial& attempt) {
    const named_event closed;
    const named_event go_on;
    program& a =
        attempt.start_learner({trial::player(), L"play", L"close", closed.name, go_on.name});
    attempt.expect(WaitForSingleObject(closed.event.get(), attempt.limit_ms()) == WAIT_OBJECT_0,
                   "A's program can write 8 bytes", "it did not come so far");
    attempt.expect(!a.wait(watch_ms), "A waits for the program's exit, though the pipe has ended",
                   "A ended while the program was still running; " + ipc::exercise::last_words(a));
    SetEvent(go_on.event.get());
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 8 bytes");
    attempt.expect_line(a, "A: exit code 5");
}

// Exercise 01.3: processA PROGRAM [ARGS...] shows each line of PROGRAM behind "A: | ".

// Run: check_01 play last-words EVENT. Prints a line, waits for the event, prints 40 KB and ends at once. All that
// fits into the pipe, and it is too much to be read bit by bit before this program has ended.
int play_last_words(const std::wstring& name) {
    const ipc::unique_handle event(OpenEventW(SYNCHRONIZE, FALSE, name.c_str()));
    std::string last_words;
    for (int line = 1; line <= 400; ++line) {
        last_words += std::string(99, '.') + "\n";
    }
    last_words += "the last line\n";
    ipc::print_line("ready");
    WaitForSingleObject(event.get(), play_limit_ms);
    write_output(last_words);
    return 7;
}

void show_last_words(trial& attempt) {
    const named_event go_on;
    program& a = attempt.start_learner({trial::player(), L"play", L"last-words", go_on.name});
    attempt.expect_output(a, "A: | ready");
    SetEvent(go_on.event.get());
    attempt.expect_end(a);
    attempt.expect_line(a, "A: | the last line");
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: exit code 7");
}

void show_short_output(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner()});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: | B: my standard output is a pipe");
    attempt.expect_line(a, "A: | B: ending with exit code 42");
    attempt.expect_line(a, "A: 143 bytes");
    attempt.expect_line(a, "A: exit code 42");
}

void show_grandchild(trial& attempt) {
    const named_event go_on;
    program& a = attempt.start_learner({helper(), L"grandchild", go_on.name});
    attempt.expect_output(a, "A: | child done");
    attempt.expect(!a.wait(watch_ms),
                   "A reads on, because a program that its program has started can still write",
                   "A ended when its program ended");
    SetEvent(go_on.event.get());
    attempt.expect_end(a);
    attempt.expect_line(a, "A: | grandchild done");
    attempt.expect_line(a, "A: exit code 6");
}

void show_large_output(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner(), L"--bytes", L"300000"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 300000 bytes");
}

// Exercise 01.4: processA PROGRAM [ARGS...] and PROGRAM [ARGS...] runs two programs at once.
constexpr std::string_view first_line = "A: first program: 143 bytes, exit code 42";
constexpr std::string_view second_line = "A: second program: 143 bytes, exit code 42";

void run_two(trial& attempt) {
    program& a = attempt.start_learner({attempt.partner(), L"and", attempt.partner()});
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, first_line);
    attempt.expect_line(a, second_line);
}

void end_first(trial& attempt) {
    const named_event go_on;
    program& a = attempt.start_learner(
        {attempt.partner(), L"and", helper(), L"wait-then-write", go_on.name});
    attempt.expect_output(a, first_line);
    SetEvent(go_on.event.get());
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: second program: 16 bytes, exit code 0");
}

void end_second(trial& attempt) {
    const named_event go_on;
    program& a = attempt.start_learner(
        {helper(), L"wait-then-write", go_on.name, L"and", attempt.partner()});
    attempt.expect_output(a, second_line);
    SetEvent(go_on.event.get());
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: first program: 16 bytes, exit code 0");
}

// A inherits an event, as it would inherit any handle from a careless parent. The helper can set the event only if
// A passes the handle on.
void pass_nothing_else_on(trial& attempt) {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const ipc::unique_handle event(CreateEventW(&inheritable, TRUE, FALSE, nullptr));
    const std::wstring number = std::to_wstring(reinterpret_cast<std::uintptr_t>(event.get()));
    ipc::test::start_options options;
    options.inherited = {event.get()};
    program& a = attempt.start_learner(
        {helper(), L"set-event-handle", number, L"and", helper(), L"set-event-handle", number},
        options);
    attempt.expect_end(a);
    attempt.expect(WaitForSingleObject(event.get(), 0) == WAIT_TIMEOUT,
                   "an inheritable handle that A has got from its own parent is not passed on",
                   "a program used this handle: it inherits more than its write end");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A ends when B has ended, and has read everything", count_short_output},
      {"3 MB arrive whole", count_long_output},
      {"A says so if there is no such program", say_what_failed}}},
    {2,
     {{"a short output is counted, and the exit code comes", count_short_output},
      {"3 MB arrive whole", count_long_output},
      {"A reads while the program still runs, however large the pipe is", read_while_program_runs},
      {"A waits for a program that closes its output before it ends", wait_after_reading}}},
    {3,
     {{"A shows what the program prints right before its end", show_last_words},
      {"A shows each line of B", show_short_output},
      {"A shows what the program's own child prints later", show_grandchild},
      {"300 KB arrive whole", show_large_output}}},
    {4,
     {{"two programs run, and the output of both arrives", run_two},
      {"A reports the first program when it ends, though the second still runs", end_first},
      {"A reports the second program when it ends, though the first still runs", end_second},
      {"a program inherits nothing but its write end", pass_nothing_else_on}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    if (argc >= 3 && std::wstring_view(argv[1]) == L"play") {
        return argc == 3   ? play_until_read()
               : argc == 4 ? play_last_words(argv[3])
                           : play_close(argv[3], argv[4]);
    }
    return ipc::exercise::check_main(argc, argv, exercises);
}
