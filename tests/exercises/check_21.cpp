// The checks of the exercises of pair 21.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/21_data_copy/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <string>
#include <thread>
#include <utility>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

constexpr auto a_is_ready = "A: waiting for texts";
constexpr auto taken_line = "B: the receiver has taken the text";

// The check in the role of A: a window with this procedure, on a thread of its own.
class window {
public:
    window(const trial& attempt, std::wstring name, WNDPROC procedure)
        : name_(std::move(name)), procedure_(procedure) {
        thread_ = std::jthread([this] { run(); });
        WaitForSingleObject(ready_.get(), attempt.limit_ms());
        attempt.expect(protocol::find_receiver(name_) != nullptr, "the receiver's window exists",
                       "it cannot be created");
    }
    ~window() { SetEvent(end_.get()); } // then the thread is joined
    window(const window&) = delete;
    window& operator=(const window&) = delete;

private:
    void run() {
        WNDCLASSEXW window_class{};
        window_class.cbSize = sizeof window_class;
        window_class.lpfnWndProc = procedure_ == nullptr ? DefWindowProcW : procedure_;
        window_class.hInstance = GetModuleHandleW(nullptr);
        window_class.lpszClassName = protocol::window_class;
        RegisterClassExW(&window_class);
        const HWND created =
            CreateWindowExW(0, protocol::window_class, name_.c_str(), 0, 0, 0, 0, 0, HWND_MESSAGE,
                            nullptr, window_class.hInstance, nullptr);
        SetEvent(ready_.get());
        if (created == nullptr) { // the constructor says so, and waits for this thread
            return;
        }
        const HANDLE end = end_.get();
        if (procedure_ == nullptr) { // hangs: it looks for no message
            WaitForSingleObject(end, INFINITE);
        }
        while (MsgWaitForMultipleObjects(1, &end, FALSE, INFINITE, QS_ALLINPUT) != WAIT_OBJECT_0) {
            MSG message{};
            while (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) {
                DispatchMessageW(&message);
            }
        }
        DestroyWindow(created);
        UnregisterClassW(protocol::window_class, window_class.hInstance);
    }

    std::wstring name_;
    WNDPROC procedure_;
    ipc::unique_handle ready_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    ipc::unique_handle end_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    std::jthread thread_;
};

// ---- exercise 21.1: processB [--limit SECONDS] [--name SUFFIX] sends a text

void deliver(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, taken_line);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(a, "A: | Hello from B");
}

void end_without_answer(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const window hung(attempt, ipc::object_name(protocol::window_name, suffix), nullptr);
    program& b = attempt.start_learner({L"--limit", L"1", L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_no_line(b, taken_line);
}

LRESULT CALLBACK answer_no(HWND window, UINT message, WPARAM wparam, LPARAM lparam) {
    return message == WM_COPYDATA ? protocol::refused
                                  : DefWindowProcW(window, message, wparam, lparam);
}

void report_refusal(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const window refusing(attempt, ipc::object_name(protocol::window_name, suffix), answer_no);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_no_line(b, taken_line);
}

void end_with_receiver(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--limit", L"0", L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    const ipc::test::suspended stopped(a);
    program& b = attempt.start_learner({L"--limit", L"600", L"--name", suffix});
    attempt.expect_output(b, "B: sending");
    a.kill();
    attempt.expect_exit_code(b, 1);
    attempt.expect_no_line(b, taken_line);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A gets the text, and B says so", deliver},
      {"B ends with exit code 1 if the receiver hangs, after a limit of 1 second",
       end_without_answer},
      {"B ends with exit code 1 if the receiver refuses the text", report_refusal},
      {"B ends with exit code 1 if the receiver dies before it answers", end_with_receiver}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    ipc::test::start_desktop();
    return ipc::exercise::check_main(argc, argv, exercises);
}
