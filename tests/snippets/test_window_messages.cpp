// Attacks docs/snippets/send_copydata.cpp.

#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring send_copydata = program_path(L"snippets", L"send_copydata.exe");
constexpr auto window_class = L"ipc_demos.snippet.receiver";
const bool has_desktop = (ipc::test::start_desktop(), true);
constexpr DWORD limit_ms = ipc::test::default_limit_ms;

// A window on a thread of its own, which answers WM_COPYDATA as the test says.
class receiver {
public:
    using answer_function = std::function<LRESULT(HWND, const COPYDATASTRUCT&)>;

    explicit receiver(answer_function answer, HWND parent = HWND_MESSAGE)
        : answer_(std::move(answer)), parent_(parent) {
        thread_ = std::jthread([this] { receive(); });
        REQUIRE(WaitForSingleObject(ready_.get(), limit_ms) == WAIT_OBJECT_0);
        REQUIRE(window_ != nullptr);
    }
    ~receiver() { PostThreadMessageW(thread_id_, WM_QUIT, 0, 0); } // then the thread is joined
    receiver(const receiver&) = delete;
    receiver& operator=(const receiver&) = delete;

    std::vector<std::wstring> command(const std::wstring& text,
                                      const wchar_t* ms = L"60000") const {
        return {send_copydata, window_class, name_, L"4711", text, ms};
    }

private:
    static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM wparam, LPARAM lparam) {
        auto* self = reinterpret_cast<receiver*>(GetWindowLongPtrW(window, GWLP_USERDATA));
        if (message == WM_COPYDATA && self != nullptr) {
            return self->answer_(window, *reinterpret_cast<const COPYDATASTRUCT*>(lparam));
        }
        return DefWindowProcW(window, message, wparam, lparam);
    }

    void receive() {
        WNDCLASSEXW registered{};
        registered.cbSize = sizeof registered;
        registered.lpfnWndProc = on_message;
        registered.hInstance = GetModuleHandleW(nullptr);
        registered.lpszClassName = window_class;
        RegisterClassExW(&registered); // fails if another window of this test has registered it
        window_ = CreateWindowExW(0, window_class, name_.c_str(), WS_POPUP, 0, 0, 0, 0, parent_,
                                  nullptr, registered.hInstance, nullptr);
        SetWindowLongPtrW(window_, GWLP_USERDATA, reinterpret_cast<LONG_PTR>(this));
        thread_id_ = GetCurrentThreadId();
        SetEvent(ready_.get());
        if (window_ == nullptr) { // the constructor throws, and waits for this thread
            return;
        }
        MSG next{};
        while (GetMessageW(&next, nullptr, 0, 0) > 0) {
            DispatchMessageW(&next);
        }
        DestroyWindow(window_);
    }

    answer_function answer_;
    HWND parent_;
    std::wstring name_ = ipc::test::unique_suffix();
    ipc::unique_handle ready_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    std::atomic<HWND> window_ = nullptr;
    std::atomic<DWORD> thread_id_ = 0;
    std::jthread thread_;
};

void check_answer(const ipc::test::result& sent, const std::string& answer) {
    CHECK(sent.exit_code == 0);
    CHECK(ipc::test::lines_of(sent.output) == std::vector<std::string>{"the answer: " + answer});
    CHECK(sent.error_output.empty());
}

void check_code(const ipc::test::result& sent, DWORD code) {
    CHECK(sent.exit_code == 1);
    CHECK(sent.output.empty());
    CHECK_THAT(sent.error_output, ContainsSubstring("SendMessageTimeoutW"));
    CHECK_THAT(sent.error_output, ContainsSubstring("(" + std::to_string(code) + ")"));
}

} // namespace

TEST_CASE("send_copydata sends every unit of a text and its zero, and returns the answer") {
    for (const HWND parent :
         {HWND_MESSAGE, static_cast<HWND>(nullptr)}) { // message-only, and top-level
        for (const std::wstring& text :
             {std::wstring(L"text"), std::wstring(), std::wstring(L"Gr\u00FC\u00DFe \u4F60\u597D"),
              std::wstring(20'000, L'x')}) {
            std::wstring got;
            ULONG_PTR identifier = 0;
            const receiver window(
                [&](HWND, const COPYDATASTRUCT& data) {
                    identifier = data.dwData;
                    got.assign(static_cast<const wchar_t*>(data.lpData),
                               data.cbData / sizeof(wchar_t));
                    return LRESULT{42};
                },
                parent);
            check_answer(run(window.command(text)), "42");
            CHECK(got == text + L'\0');
            CHECK(identifier == 4711);
        }
    }
}

TEST_CASE("send_copydata returns the answer 0 of a window that does not take the text") {
    const receiver window([](HWND, const COPYDATASTRUCT&) { return LRESULT{0}; });
    check_answer(run(window.command(L"text")), "0");
}

TEST_CASE("send_copydata does not wait longer than its limit, and 0 is not without limit") {
    const ipc::unique_handle end(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    const receiver window([&](HWND, const COPYDATASTRUCT&) {
        WaitForSingleObject(end.get(), limit_ms);
        return LRESULT{1};
    });
    check_code(run(window.command(L"text", L"500")), ERROR_TIMEOUT);
    check_code(run(window.command(L"text", L"0")), ERROR_TIMEOUT);
    SetEvent(end.get());
}

TEST_CASE(
    "send_copydata waits for a slow answer, also with more milliseconds than a limit can have") {
    const receiver window([&](HWND, const COPYDATASTRUCT&) {
        Sleep(100); // the answer is slow
        return LRESULT{1};
    });
    for (const wchar_t* ms : {L"60000", L"2147483648", L"4294967295"}) {
        check_answer(run(window.command(L"text", ms)), "1");
    }
}

TEST_CASE("send_copydata says so if the window goes away before it answers") {
    const receiver window([](HWND own, const COPYDATASTRUCT&) {
        DestroyWindow(own);
        return LRESULT{1};
    });
    const ipc::test::result sent = run(window.command(L"text"));
    if (sent.exit_code == 0) { // Wine passes the answer on all the same
        check_answer(sent, "1");
    } else {
        check_code(sent, ERROR_INVALID_WINDOW_HANDLE);
    }
    CHECK(ipc::test::lines_of(run(window.command(L"text")).output) ==
          std::vector<std::string>{"no such window"});
}

TEST_CASE("send_copydata says so if there is no such window, and after wrong usage") {
    const ipc::test::result nobody =
        run({send_copydata, window_class, ipc::test::unique_suffix(), L"1", L"text", L"1000"});
    CHECK(nobody.exit_code == 1);
    CHECK(ipc::test::lines_of(nobody.output) == std::vector<std::string>{"no such window"});
    CHECK(run({send_copydata}).exit_code == 2);
    CHECK(run({send_copydata, L"x", L"x", L"x", L"text", L"1"}).exit_code == 2);
    CHECK(run({send_copydata, L"x", L"x", L"1", L"text", L"1s"}).exit_code == 2);
    CHECK(run({send_copydata, L"x", L"x", L"-1", L"text", L"1"}).exit_code == 2);
    CHECK(run({send_copydata, L"x", L"x", L"1", L"text"}).exit_code == 2);
}
