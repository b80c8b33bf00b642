// The checks of the exercises of pair 02, and a process B that plays by its own rules.

#include "tests/exercises/check.hpp"

#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/02_duplicate_handle/protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using ipc::exercise::last_line;
using ipc::exercise::trial;
using ipc::test::program;

// For the player. A check ends it earlier, at its own limit.
constexpr DWORD play_limit_ms = 60'000;

bool is_open(HANDLE number) {
    DWORD flags = 0;
    return GetHandleInformation(number, &flags) != FALSE;
}

// ---- The player: a B that A does not know. Run: check_02 play MODE SUFFIX

class control_pipe {
public:
    explicit control_pipe(const std::wstring& suffix)
        : pipe_(ipc::connect_to_pipe(ipc::object_name(control_pipe_name, suffix),
                                     GENERIC_READ | GENERIC_WRITE, 0, play_limit_ms)) {
        DWORD mode = PIPE_READMODE_MESSAGE;
        if (!SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr)) {
            ipc::throw_last_error("SetNamedPipeHandleState");
        }
        ULONG id = 0;
        if (!GetNamedPipeServerProcessId(pipe_.get(), &id)) {
            ipc::throw_last_error("GetNamedPipeServerProcessId");
        }
        a_.reset(OpenProcess(SYNCHRONIZE, FALSE, id));
        if (!a_) {
            ipc::throw_last_error("OpenProcess");
        }
    }

    message receive() {
        message received;
        DWORD bytes = 0;
        if (!ReadFile(pipe_.get(), &received, sizeof received, &bytes, nullptr) ||
            bytes != sizeof received) {
            throw std::runtime_error("A sent no message");
        }
        return received;
    }

    // Looks at the message without taking it.
    message peek() {
        message seen;
        for (DWORD waited_ms = 0; waited_ms < play_limit_ms; waited_ms += 5) {
            DWORD bytes = 0;
            if (!PeekNamedPipe(pipe_.get(), &seen, sizeof seen, &bytes, nullptr, nullptr)) {
                break;
            }
            if (bytes == sizeof seen) {
                return seen;
            }
            Sleep(5); // no object tells that a message has come
        }
        throw std::runtime_error("A sent no message");
    }

    void close() { pipe_.reset(); }

    void wait_for_end_of_a() const { WaitForSingleObject(a_.get(), play_limit_ms); }

private:
    ipc::unique_handle pipe_;
    ipc::unique_handle a_;
};

// Returns what B can do with the handles beyond writing and setting, or an empty text.
std::string find_too_much(HANDLE write_end, HANDLE event) {
    const auto can_read_security = [](HANDLE handle) {
        DWORD bytes = 0;
        return GetKernelObjectSecurity(handle, DACL_SECURITY_INFORMATION, nullptr, 0, &bytes) ||
               GetLastError() == ERROR_INSUFFICIENT_BUFFER;
    };
    if (GetFileType(write_end) != FILE_TYPE_PIPE) {
        return "the first number is not a pipe in B";
    }
    if (!SetEvent(event)) {
        return "the second number is not an event that B may set";
    }
    if (WaitForSingleObject(event, 0) != WAIT_FAILED) {
        return "B could wait for the event, and took the signal that was meant for A";
    }
    if (can_read_security(event)) {
        return "B could read the event's security descriptor (READ_CONTROL)";
    }
    if (can_read_security(write_end)) {
        return "B could read the pipe's security descriptor (READ_CONTROL)";
    }
    return "";
}

// Tries to do more than B should be able to, and then behaves.
int play_greedy(control_pipe& control) {
    const message numbers = control.receive();
    ipc::unique_handle write_end(to_handle(numbers.write_end));
    const std::string too_much = find_too_much(write_end.get(), to_handle(numbers.event));
    ipc::print_line("{}", too_much.empty() ? "B: could only write and set" : too_much);
    DWORD written = 0;
    WriteFile(write_end.get(), "12345", 5, &written, nullptr);
    write_end.reset();
    control.receive();
    return 0;
}

// Takes the handles and ends before it has set the event.
int play_die(control_pipe& control) {
    const message numbers = control.receive();
    DWORD written = 0;
    WriteFile(to_handle(numbers.write_end), "12345", 5, &written, nullptr);
    return 3;
}

// Leaves without reading the numbers, but does not end.
int play_leave(control_pipe& control) {
    const message numbers = control.peek();
    const HANDLE write_end = to_handle(numbers.write_end);
    const HANDLE event = to_handle(numbers.event);
    const bool came = is_open(write_end) && is_open(event);
    control.close();
    control.wait_for_end_of_a();
    ipc::print_line("{}", !came                ? "A did not put two handles into B"
                          : is_open(write_end) ? "the write end is still open in B"
                          : is_open(event)     ? "the event is still open in B"
                                               : "B: both handles are closed");
    return 0;
}

// Closes the write end without setting the event, and does not end. It makes handles of its own, and one of them
// probably gets the number of the closed one.
int play_give_up(control_pipe& control) {
    const message numbers = control.receive();
    const HANDLE event = to_handle(numbers.event);
    const bool came = is_open(to_handle(numbers.write_end)) && is_open(event);
    std::vector<ipc::unique_handle> own;
    CloseHandle(to_handle(numbers.write_end));
    for (int i = 0; i < 300; ++i) {
        own.emplace_back(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    }
    control.wait_for_end_of_a();
    bool event_is_open = is_open(event);
    bool own_are_open = true;
    for (const ipc::unique_handle& handle : own) {
        own_are_open = own_are_open && is_open(handle.get());
        event_is_open =
            event_is_open && handle.get() != event; // A was fast, and the number is in use again
    }
    ipc::print_line("{}",
                    !came           ? "A did not put two handles into B"
                    : event_is_open ? "the event is still open in B"
                    : !own_are_open
                        ? "A closed a handle of B's own, which had the number of the write end "
                          "that B had closed"
                        : "B: the event is closed, and nothing else");
    return 0;
}

int play(std::wstring_view mode, const std::wstring& suffix) try {
    control_pipe control(suffix);
    return mode == L"greedy"  ? play_greedy(control)
           : mode == L"die"   ? play_die(control)
           : mode == L"leave" ? play_leave(control)
                              : play_give_up(control);
} catch (...) {
    return ipc::report_exception("B");
}

// ---- The checks

program& start_a(trial& attempt, const std::wstring& suffix) {
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: waiting for B");
    return a;
}

// Expects that both end well. If B ended because A did, A has the reason.
void expect_good_end(const trial& attempt, program& a, program& b) {
    attempt.expect_end(b);
    if (last_line(b) == "B: A ended in the middle of the conversation") {
        attempt.expect_exit_code(a, 0);
    }
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
}

// Takes the low numbers of A's table, as a large program would. So no number of A's is valid in B by chance.
void fill_handle_table(const program& a) {
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    for (int i = 0; i < 500; ++i) {
        HANDLE number = nullptr;
        DuplicateHandle(GetCurrentProcess(), event.get(), a.process(), &number, 0, FALSE,
                        DUPLICATE_SAME_ACCESS);
    }
}

void send_three_lines(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, suffix);
    fill_handle_table(a);
    program& b = attempt.start_partner({L"--name", suffix});
    expect_good_end(attempt, a, b);
    attempt.expect_line(a, "A: 94 bytes, and B has set the event");
    attempt.expect_line(a, "A: took the event back");
}

void send_large_file(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring file = attempt.file(L"3 MB.bin");
    ipc::test::write_random_file(file, 3'000'000);
    program& a = start_a(attempt, suffix);
    program& b = attempt.start_partner({L"--name", suffix, L"--in", file});
    expect_good_end(attempt, a, b);
    attempt.expect_line(a, "A: 3000000 bytes, and B has set the event");
}

void end_with_b(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, suffix);
    program& b = attempt.start_player({L"die", suffix});
    attempt.expect_exit_code(b, 3);
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: B ended before it had written everything");
}

void refuse_greedy_b(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, suffix);
    program& b = attempt.start_player({L"greedy", suffix});
    attempt.expect_end(b);
    attempt.expect(last_line(b) == "B: could only write and set",
                   "B can write to the pipe and set the event, and nothing else", last_line(b));
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: 5 bytes, and B has set the event");
}

void take_both_back(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, suffix);
    program& b = attempt.start_player({L"leave", suffix});
    attempt.expect_end(b);
    attempt.expect(last_line(b) == "B: both handles are closed",
                   "A closes both handles in B, because B cannot know their numbers", last_line(b));
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: B left before it got the handles");
}

void take_event_back_only(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_a(attempt, suffix);
    program& b = attempt.start_player({L"give-up", suffix});
    attempt.expect_end(b);
    attempt.expect(last_line(b) == "B: the event is closed, and nothing else",
                   "A closes the event in B, which is lent, and nothing else", last_line(b));
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: B ended before it had written everything");
}

const ipc::exercise::check conversation = {
    "B's three lines arrive through the pipe that A gave to B", send_three_lines};
const ipc::exercise::check large = {"3 MB arrive whole", send_large_file};
const ipc::exercise::check dying = {"A ends and says so when B ends too early", end_with_b};
const ipc::exercise::check rights = {"a greedy B can do no more than it needs", refuse_greedy_b};

const ipc::exercise::checks_of_pair exercises = {
    {1, {conversation, large, dying}},
    {2, {conversation, rights, dying}},
    {3,
     {conversation,
      rights,
      {"A takes both handles back if B leaves without reading their numbers", take_both_back},
      {"A takes the event back if B gives up, and leaves the write end to B", take_event_back_only},
      large}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    if (argc == 4 && std::wstring_view(argv[1]) == L"play") {
        return play(argv[2], argv[3]);
    }
    return ipc::exercise::check_main(argc, argv, exercises);
}
