// The checks of the exercises of pair 22.

#include "common/text.hpp"
#include "demos/22_clipboard/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/harness/own_clipboard.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::open_clipboard;
using ipc::test::own_clipboard;
using ipc::test::plain_window;
using ipc::test::program;

// ---- exercise 22.1: processA [--limit SECONDS] [--name SUFFIX] reads one order and ends

constexpr auto listens = "A: listens to the clipboard";
constexpr auto order_of_test = "A: an order: coffees: 3, cakes: 4";

program& start_a(trial& attempt, const own_clipboard& here, const std::wstring& limit = L"20") {
    program& a = attempt.start_learner({L"--limit", limit}, here.here());
    attempt.expect_output(a, listens);
    return a;
}

void put(const std::vector<std::byte>& order) {
    const plain_window window;
    ipc::test::replace_content(window.get(),
                               {{RegisterClipboardFormatW(protocol::order_format), order}});
}

void put_order() {
    put(ipc::test::bytes_of(std::vector<std::uint32_t>{protocol::version, 3, 4, 0}));
}

// Whether this program can open the clipboard within a second.
bool can_open() {
    const plain_window window;
    for (int tries = 0; tries < 100; ++tries) {
        if (OpenClipboard(window.get())) {
            CloseClipboard();
            return true;
        }
        Sleep(10);
    }
    return false;
}

void read_order(trial& attempt) {
    const own_clipboard here;
    program& a = start_a(attempt, here);
    program& b = attempt.start_partner({}, here.here());
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: an order: coffees: 2, cakes: 1");
    attempt.expect_exit_code(b, 0);
}

void close_after_other_content(trial& attempt) {
    const own_clipboard here;
    program& a = start_a(attempt, here);
    put(std::vector<std::byte>(1));
    attempt.expect_output(a, "A: this is no order");
    attempt.expect(can_open(), "another program can open the clipboard", "A still has it open");
    put_order();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, order_of_test);
}

void try_again(trial& attempt) {
    const own_clipboard here;
    put_order();
    std::optional<open_clipboard> open(std::in_place);
    program& a = start_a(attempt, here);
    attempt.expect(!a.wait(500), "A tries again while another program has the clipboard open",
                   "A ended; " + ipc::exercise::last_words(a));
    open.reset();
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, order_of_test);
}

void give_up(trial& attempt) {
    const own_clipboard here;
    put_order();
    const open_clipboard open;
    program& a = start_a(attempt, here, L"1");
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: the clipboard is in use");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A reads an order of B", read_order},
      {"when A has seen other content, everybody can use the clipboard", close_after_other_content},
      {"A waits for a program that has the clipboard open", try_again},
      {"A gives up at the end of its time limit", give_up}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    std::string why_not;
    if (ipc::test::try_own_clipboard(why_not) == nullptr) {
        ipc::print_line("skipped: {}", why_not); // CMakeLists.txt tells CTest this line
        return 1;
    }
    return ipc::exercise::check_main(argc, argv, exercises);
}
