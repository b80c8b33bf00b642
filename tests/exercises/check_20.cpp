// The checks of the exercise of pair 20.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/20_mailslot/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <windows.h>

#include <cstddef>
#include <cstring>
#include <string>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

// The learner's A, with a mailslot of its own.
struct reader {
    explicit reader(trial& attempt) : a(attempt.start_learner({L"--name", suffix})) {
        attempt.expect_output(a, "A: the mailslot exists");
    }

    std::wstring suffix = ipc::test::unique_suffix();
    program& a;
};

std::string message_of(const std::string& text) {
    const protocol::header header{protocol::magic, 1, 1};
    std::string message(sizeof header, '\0');
    std::memcpy(message.data(), &header, sizeof header);
    return message + text;
}

// Writes a text of this length, and a short one after it, which tells when A has had its turn. Expects that A shows
// the whole text.
void expect_text(trial& attempt, reader& by, std::size_t length, char letter) {
    const std::wstring name = ipc::object_name(protocol::mailslot_name(L"."), by.suffix);
    pipe_end slot(attempt, ipc::unique_handle(CreateFileW(
                               name.c_str(), GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                               nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr)));
    attempt.expect(slot.handle() != nullptr && slot.handle() != INVALID_HANDLE_VALUE,
                   "a writer can open A's mailslot", "CreateFileW fails");
    const std::string text(length, letter);
    const std::string size = std::to_string(length + sizeof(protocol::header)) + " bytes";
    attempt.expect(slot.write(message_of(text)) == ERROR_SUCCESS,
                   "A's mailslot takes a message of " + size, "WriteFile fails");
    const std::string next = std::string("after ") + letter;
    slot.write(message_of(next)); // fails if A has ended meanwhile
    by.a.wait_for_output("A: " + next, attempt.limit_ms());
    attempt.expect(by.a.output().find("A: " + text + "\n") != std::string::npos ||
                       by.a.output().find("A: " + text + "\r\n") != std::string::npos,
                   "A shows the whole text of a message of " + size, "it does not");
}

void show_texts_of_b(trial& attempt) {
    reader by(attempt);
    program& b = attempt.start_partner({L"--name", by.suffix, L"one", L"two words"});
    attempt.expect_exit_code(b, 0);
    attempt.expect_output(by.a, "A: one");
    attempt.expect_output(by.a, "A: two words");
}

void show_long_text(trial& attempt) {
    reader by(attempt);
    expect_text(attempt, by, 3'000, 'x');
}

void show_any_length(trial& attempt) {
    reader by(attempt);
    // Wine 8 reports no more than 65,536 bytes as the size of the next message.
    expect_text(attempt, by, 60'000, 'a');
    expect_text(attempt, by, 1, 'b');
    expect_text(attempt, by, 50'000, 'c');
    expect_text(attempt, by, 511, 'd');
}

void end_at_ctrl_c(trial& attempt) {
    reader by(attempt);
    expect_text(attempt, by, 10, 'x');
    by.a.press_ctrl_c();
    attempt.expect_exit_code(by.a, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A shows the texts that B writes", show_texts_of_b},
      {"A shows a long text, and the whole of it", show_long_text},
      {"texts of any other length are shown whole, too", show_any_length},
      {"A ends at Ctrl+C", end_at_ctrl_c}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
