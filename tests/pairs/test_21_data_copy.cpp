#include "common/error.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/21_data_copy/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::lines_of;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"21_data_copy", L"processA.exe");
const std::wstring process_b = program_path(L"21_data_copy", L"processB.exe");

const bool has_desktop = (ipc::test::start_desktop(), true);

using arguments = std::vector<std::wstring>;

constexpr auto a_is_ready = "A: waiting for texts\n";
constexpr auto name_is_taken = "A: the window's name is taken: another receiver is running";
constexpr auto has_ended = "B: the receiver has ended, with or without the text";
constexpr auto no_answer = "B: the receiver did not answer in time; it may still get the text";
constexpr auto refused_by_a = "B: the receiver has refused the text";
constexpr auto busy_a = "B: the receiver is busy, and has not taken the text";
constexpr std::size_t longest_text = protocol::max_message_bytes - 1;

arguments with(const std::wstring& path, const std::wstring& name, const arguments& more) {
    arguments command = {path, L"--name", name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

std::wstring window_of(const std::wstring& name) {
    return ipc::object_name(protocol::window_name, name);
}

std::string summary(std::uint64_t taken, std::uint64_t refused) {
    return "A: texts taken: " + std::to_string(taken) +
           ", messages refused: " + std::to_string(refused);
}

std::size_t count_of(std::string_view text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos;
         at = text.find(part, at + part.size())) {
        ++count;
    }
    return count;
}

// How one SendMessageTimeoutW ended.
struct send_result {
    bool sent = false;
    LRESULT answer = -1;
    DWORD error = ERROR_SUCCESS;
};

send_result send(HWND window, const COPYDATASTRUCT& data, HWND sender = nullptr,
                 DWORD limit_ms = ipc::test::default_limit_ms) {
    COPYDATASTRUCT copy = data;
    DWORD_PTR answer = 0;
    SetLastError(ERROR_SUCCESS);
    const LRESULT sent = SendMessageTimeoutW(
        window, WM_COPYDATA, reinterpret_cast<WPARAM>(sender), reinterpret_cast<LPARAM>(&copy),
        SMTO_ABORTIFHUNG | SMTO_ERRORONEXIT, limit_ms, &answer);
    const DWORD error = GetLastError();
    return {sent != 0, sent != 0 ? static_cast<LRESULT>(answer) : -1, error};
}

// The text has to have its terminating zero, if it should have one.
COPYDATASTRUCT message(std::string& bytes, ULONG_PTR identifier = protocol::text_identifier) {
    return {identifier, static_cast<DWORD>(bytes.size()), bytes.data()};
}

LRESULT send_text(HWND window, std::string text, HWND sender = nullptr) {
    text += '\0';
    for (;;) {
        const LRESULT answer = send(window, message(text), sender).answer;
        if (answer != protocol::busy) {
            return answer;
        }
        Sleep(20); // as B does; a test of its own shows that A is not busy for ever
    }
}

// An A for this test.
struct receiver {
    explicit receiver(const arguments& more = {L"--count", L"0"},
                      const ipc::test::start_options& options = {})
        : a(with(process_a, name, more), options) {
        REQUIRE(a.wait_for_output(a_is_ready));
        window = protocol::find_receiver(window_of(name));
        REQUIRE(window != nullptr);
    }

    void run_b(const arguments& more = {L"hello"}) const {
        const ipc::test::result b = run(with(process_b, name, more));
        CHECK(b.exit_code == 0);
        CHECK(b.error_output.empty());
    }

    std::wstring name = ipc::test::unique_suffix();
    program a;
    HWND window = nullptr;
};

// This test in the role of A: a window with a thread of its own, which answers as the test says.
class fake_receiver {
public:
    using answer_function = std::function<LRESULT(HWND, const COPYDATASTRUCT&)>;

    explicit fake_receiver(answer_function answer) : answer_(std::move(answer)) {
        REQUIRE(ready_);
        thread_ = std::jthread([this] { receive(); });
        REQUIRE(WaitForSingleObject(ready_.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
        REQUIRE(window_ != nullptr);
    }
    ~fake_receiver() { PostThreadMessageW(thread_id_, WM_QUIT, 0, 0); }
    fake_receiver(const fake_receiver&) = delete;
    fake_receiver& operator=(const fake_receiver&) = delete;

    const std::wstring& name() const { return name_; }
    HWND window() const { return window_; }

private:
    static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM wparam, LPARAM lparam) {
        auto* self = reinterpret_cast<fake_receiver*>(GetWindowLongPtrW(window, GWLP_USERDATA));
        if (message == WM_COPYDATA && self != nullptr) {
            return self->answer_(window, *reinterpret_cast<const COPYDATASTRUCT*>(lparam));
        }
        return DefWindowProcW(window, message, wparam, lparam);
    }

    void receive() {
        WNDCLASSEXW window_class{};
        window_class.cbSize = sizeof window_class;
        window_class.lpfnWndProc = on_message;
        window_class.hInstance = GetModuleHandleW(nullptr);
        window_class.lpszClassName = protocol::window_class;
        RegisterClassExW(&window_class); // fails if an earlier test case has registered it
        window_ = CreateWindowExW(0, protocol::window_class, window_of(name_).c_str(), 0, 0, 0, 0,
                                  0, HWND_MESSAGE, nullptr, window_class.hInstance, nullptr);
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
    std::wstring name_ = ipc::test::unique_suffix();
    ipc::unique_handle ready_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    std::atomic<HWND> window_ = nullptr;
    std::atomic<DWORD> thread_id_ = 0;
    std::jthread thread_;
};

// Sends the same message again and again, on some threads, until the window is gone or the object ends. If the
// receiver is busy, they wait a little, as B does.
class flood {
public:
    flood(HWND window, std::string bytes, ULONG_PTR identifier, int threads = 4)
        : bytes_(std::move(bytes)) {
        for (int i = 0; i < threads; ++i) {
            threads_.emplace_back([this, window, identifier](const std::stop_token& stop) {
                while (!stop.stop_requested()) {
                    const send_result result = send(window, message(bytes_, identifier));
                    if (!result.sent) {
                        return;
                    }
                    ++answers_;
                    taken_ += result.answer == protocol::taken ? 1U : 0U;
                    if (result.answer == protocol::busy) {
                        Sleep(100);
                    }
                }
            });
        }
    }

    void join() {
        for (std::jthread& thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }
    std::uint64_t answers() const { return answers_; }
    std::uint64_t taken() const { return taken_; }
    bool wait_for_taken(std::uint64_t count) const {
        const ULONGLONG start_ms = GetTickCount64();
        while (taken_ < count) {
            if (GetTickCount64() - start_ms > ipc::test::default_limit_ms) {
                return false;
            }
            Sleep(1);
        }
        return true;
    }

private:
    std::string bytes_;
    std::atomic<std::uint64_t> answers_ = 0;
    std::atomic<std::uint64_t> taken_ = 0;
    std::vector<std::jthread> threads_;
};

// Runs a program with this user's token at the integrity level low.
// https://learn.microsoft.com/windows/win32/secauthz/mandatory-integrity-control
class low_integrity_process {
public:
    explicit low_integrity_process(const arguments& command) {
        ipc::unique_handle own;
        ipc::unique_handle token;
        REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_DUPLICATE, own.put()));
        REQUIRE(DuplicateTokenEx(own.get(), MAXIMUM_ALLOWED, nullptr, SecurityImpersonation,
                                 TokenPrimary, token.put()));
        PSID low = nullptr;
        REQUIRE(ConvertStringSidToSidW(L"S-1-16-4096", &low));
        const ipc::scope_exit free_sid([&] { LocalFree(low); });
        TOKEN_MANDATORY_LABEL label{{low, SE_GROUP_INTEGRITY}};
        const DWORD label_bytes = sizeof label + GetLengthSid(low);
        std::vector<std::byte> now(256);
        DWORD bytes = 0;
        is_low_ = SetTokenInformation(token.get(), TokenIntegrityLevel, &label, label_bytes) &&
                  GetTokenInformation(token.get(), TokenIntegrityLevel, now.data(),
                                      static_cast<DWORD>(now.size()), &bytes) &&
                  EqualSid(reinterpret_cast<TOKEN_MANDATORY_LABEL*>(now.data())->Label.Sid, low);
        SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
        ipc::unique_handle write_end;
        REQUIRE(CreatePipe(read_end_.put(), write_end.put(), &inheritable, 0));
        REQUIRE(SetHandleInformation(read_end_.get(), HANDLE_FLAG_INHERIT, 0));
        STARTUPINFOW startup{};
        startup.cb = sizeof startup;
        startup.dwFlags = STARTF_USESTDHANDLES;
        startup.hStdOutput = startup.hStdError = write_end.get();
        PROCESS_INFORMATION started{};
        std::wstring line = ipc::command_line(command);
        REQUIRE(CreateProcessAsUserW(token.get(), nullptr, line.data(), nullptr, nullptr, TRUE,
                                     CREATE_NO_WINDOW, nullptr, nullptr, &startup, &started));
        CloseHandle(started.hThread);
        process_.reset(started.hProcess);
    }
    ~low_integrity_process() { TerminateProcess(process_.get(), 1); }
    low_integrity_process(const low_integrity_process&) = delete;
    low_integrity_process& operator=(const low_integrity_process&) = delete;

    HANDLE process() const { return process_.get(); }
    bool is_low() const { return is_low_; }
    std::string output() const { // after the end: some lines, which the pipe holds
        std::string bytes(4096, '\0');
        DWORD read = 0;
        ReadFile(read_end_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &read, nullptr);
        bytes.resize(read);
        return bytes;
    }

private:
    bool is_low_ = false;
    ipc::unique_handle read_end_;
    ipc::unique_handle process_;
};

} // namespace

TEST_CASE("A takes the texts of B in their order, in UTF-8, and says whose window sent them") {
    receiver r({L"--count", L"4"});
    program b(with(process_b, r.name, {L"open", L"Gr\u00FC\u00DFe", L"", L"a b  c"}));
    const std::string whose = " bytes; the sender's window belongs to processB.exe\n";
    check_succeeded(r.a, a_is_ready + ("A: 4" + whose) + "A: | open\nA: 7" + whose +
                             "A: | Gr\xC3\xBC\xC3\x9F"
                             "e\nA: 0" +
                             whose + "A: 6" + whose + "A: | a b  c\n" + summary(4, 0));
    check_succeeded(b, "B: the receiver has taken 4 bytes\nB: the receiver has taken 7 bytes\n"
                       "B: the receiver has taken 0 bytes\nB: the receiver has taken 6 bytes");
}

TEST_CASE("A text of 1 MiB arrives byte for byte, and B does not send a longer one") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    for (const std::size_t size :
         {longest_text, longest_text - 1, std::size_t{1}, std::size_t{0}}) {
        ipc::test::write_random_file(in, size, size);
        receiver r({L"--out", out});
        r.run_b({L"--in", in});
        check_succeeded(r.a, summary(1, 0));
        CHECK(ipc::test::same_content(in, out));
    }
    receiver r;
    for (const std::size_t size : {longest_text + 1, longest_text * 2}) {
        ipc::test::write_random_file(in, size);
        program b(with(process_b, r.name, {L"--in", in}));
        check_failed(b, "B: the text is too long: a message has at most 1048576 bytes");
        CHECK(b.output().empty());
    }
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(0, 0));
}

TEST_CASE("200 texts from 20 senders arrive once each, those of one sender in their order") {
    receiver r({L"--count", L"200"});
    std::vector<std::unique_ptr<program>> senders;
    for (int i = 0; i < 20; ++i) {
        arguments texts;
        for (int text = 0; text < 10; ++text) {
            texts.push_back(L"sender " + std::to_wstring(i) + L" text " + std::to_wstring(text));
        }
        senders.push_back(std::make_unique<program>(with(process_b, r.name, texts)));
    }
    for (const auto& b : senders) {
        check_succeeded(*b, " bytes");
        CHECK(count_of(b->output(), "B: the receiver has taken ") == 10);
    }
    check_succeeded(r.a, summary(200, 0));
    std::map<std::string, int> next; // of each sender
    for (const std::string& line : lines_of(r.a.output())) {
        if (line.starts_with("A: | ")) {
            const std::size_t at = line.find(" text ");
            REQUIRE(at != std::string::npos);
            CHECK(line.substr(at) == " text " + std::to_string(next[line.substr(0, at)]++));
        }
    }
    CHECK(next.size() == 20);
    for (const auto& [sender, count] : next) {
        CHECK(count == 10);
    }
}

TEST_CASE("A refuses wrong identifiers, sizes and ends, counts them, and takes the next text") {
    receiver r;
    std::string good("text\0", 5);
    std::string unterminated = "text";
    std::string too_long(protocol::max_message_bytes + 1, 'x');
    too_long.back() = '\0';
    std::vector<COPYDATASTRUCT> wrong = {
        message(good, 0),
        message(good, protocol::text_identifier + 1),
        message(unterminated),
        message(too_long),
        {protocol::text_identifier, 0, good.data()},
        {protocol::text_identifier, 0, nullptr},
        {protocol::text_identifier, 100, nullptr},
        {protocol::text_identifier, 0xFFFF'FFFF, nullptr},
    };
#ifdef _WIN64
    wrong.push_back(message(good, protocol::text_identifier | (ULONG_PTR{1} << 32)));
#endif
    std::uint64_t refused = 0;
    for (const COPYDATASTRUCT& data : wrong) {
        const send_result result = send(r.window, data);
        CAPTURE(refused, result.error);
        CHECK((!result.sent ||
               result.answer == protocol::refused)); // the system may refuse to send it
        refused += result.sent ? 1U : 0U;
    }
    CHECK(refused >= 5);
    CHECK(send_text(r.window, std::string(longest_text, 'x')) == protocol::taken);
    CHECK(send_text(r.window, "text") == protocol::taken);
    r.run_b();
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(3, refused));
}

TEST_CASE("A refuses a message of many megabytes") {
    receiver r;
    std::string huge(16 * std::size_t{1024} * 1024, 'x');
    huge.back() = '\0';
    const send_result result = send(r.window, message(huge), nullptr, 3'000);
    if (ipc::test::is_wine() && !result.sent) {
        SKIP("Wine cannot deliver it: it puts a message on the receiver's stack");
    }
    CHECK((!result.sent || result.answer == protocol::refused));
    CHECK(send_text(r.window, "text") == protocol::taken);
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(1, result.sent ? 1 : 0));
}

TEST_CASE("A shows control characters and zeros in a text as ?, and keeps them in a file") {
    const ipc::test::temporary_folder folder;
    const std::string text("a\x1B[31mred\a\0end", 14);
    {
        receiver r({L"--count", L"1"});
        CHECK(send_text(r.window, text) == protocol::taken);
        check_succeeded(r.a, "A: | a?[31mred??end\n" + summary(1, 0));
    }
    receiver r({L"--count", L"1", L"--out", folder.file(L"out")});
    CHECK(send_text(r.window, text) == protocol::taken);
    check_succeeded(r.a, summary(1, 0));
    CHECK(ipc::test::read_file(folder.file(L"out")) == text);
}

TEST_CASE("The sending window is a claim: A reports whatever window the sender names") {
    receiver r({L"--count", L"4"});
    const fake_receiver other([](HWND, const COPYDATASTRUCT&) { return LRESULT{0}; });
    CHECK(send_text(r.window, "1") == protocol::taken);
    CHECK(send_text(r.window, "2", reinterpret_cast<HWND>(std::uintptr_t{0x7FFF'FFF0})) ==
          protocol::taken);
    CHECK(send_text(r.window, "3", r.window) == protocol::taken); // this test is not processA.exe
    CHECK(send_text(r.window, "4", other.window()) == protocol::taken);
    const std::string whose = "A: 1 bytes; the sender's window belongs to ";
    check_succeeded(r.a, whose + "nobody\nA: | 1\n" + whose + "nobody\nA: | 2\n" + whose +
                             "processA.exe\nA: | 3\n" + whose + "test_21_data_copy.exe\nA: | 4\n" +
                             summary(4, 0));
}

TEST_CASE("A text that is posted and not sent is refused by Windows") {
    receiver r;
    std::string text("text\0", 5);
    COPYDATASTRUCT data = message(text);
    SetLastError(ERROR_SUCCESS);
    CHECK_FALSE(PostMessageW(r.window, WM_COPYDATA, 0, reinterpret_cast<LPARAM>(&data)));
    CHECK(GetLastError() == ERROR_MESSAGE_SYNC_ONLY);
    r.run_b();
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(1, 0));
}

TEST_CASE("Other messages do A no harm, and WM_CLOSE and WM_QUIT end it") {
    for (const UINT last : {UINT{WM_CLOSE}, UINT{WM_QUIT}}) {
        receiver r;
        for (const UINT other : {UINT{WM_NULL}, UINT{WM_USER} + 1, UINT{WM_APP}, UINT{0xC000},
                                 UINT{WM_TIMER}, UINT{WM_PAINT}}) {
            CHECK(PostMessageW(r.window, other, 1, 1));
            DWORD_PTR answer = 0;
            CHECK(SendMessageTimeoutW(r.window, other, 0, 0, SMTO_NORMAL,
                                      ipc::test::default_limit_ms, &answer) != 0);
        }
        // What a window procedure finds there is no pointer of its own.
        SetWindowLongPtrW(r.window, GWLP_USERDATA, 0x1234);
        CHECK(GetWindowLongPtrW(r.window, GWLP_USERDATA) == 0x1234);
        r.run_b();
        CHECK(PostMessageW(r.window, last, 0, 0));
        check_succeeded(r.a, summary(1, 0));
    }
}

TEST_CASE("Without A, B says so after its limit, and a B that starts first waits for A") {
    program alone(with(process_b, ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(alone, "B: there is no receiver: start processA");
    const std::wstring name = ipc::test::unique_suffix();
    program b(with(process_b, name, {}));
    CHECK_FALSE(b.wait(300));
    program a(with(process_a, name, {}));
    check_succeeded(a, "A: | Hello from B\n" + summary(1, 0));
    check_succeeded(b, "B: the receiver has taken 12 bytes");
}

TEST_CASE("A second A says that the name is taken, and no B finds its window") {
    receiver r;
    for (int i = 0; i < 3; ++i) {
        program second(with(process_a, r.name, {}));
        while (!second.wait(0)) {
            REQUIRE(protocol::find_receiver(window_of(r.name)) == r.window);
        }
        check_failed(second, name_is_taken);
        CHECK(second.output().empty());
    }
    r.run_b();
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(1, 0));
}

TEST_CASE("Of several As that start at once, at most one receives") {
    const std::wstring name = ipc::test::unique_suffix();
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 6; ++i) {
        all.push_back(std::make_unique<program>(with(process_a, name, {L"--count", L"0"})));
    }
    std::size_t receiving = 0;
    for (const auto& a : all) { // one that receives goes on
        while (!a->wait(20) && !a->wait_for_output(a_is_ready, 20)) {}
        if (a->wait(0)) {
            check_failed(*a, name_is_taken);
        } else {
            ++receiving;
        }
    }
    CHECK(receiving <= 1);
}

TEST_CASE("B does not wait for a receiver that hangs longer than its limit, and A goes on later") {
    receiver r;
    {
        const ipc::test::suspended hung(r.a);
        program b(with(process_b, r.name, {L"--limit", L"1", L"one"}));
        check_failed(b, no_answer);
        CHECK(b.output().empty());
    }
    r.run_b({L"two"});
    REQUIRE(r.a.wait_for_output("A: | two\n"));
    CHECK(count_of(r.a.output(), "A: | one\n") <= 1); // it may have arrived after all
    r.a.press_ctrl_c();
    REQUIRE(r.a.wait());
    CHECK(r.a.exit_code() == 0);
}

TEST_CASE("B notices at once that the receiver dies in the call, however long its limit is") {
    for (const bool without_limit : {false, true}) {
        receiver r;
        const ULONGLONG start_ms = GetTickCount64();
        const ipc::test::suspended hung(r.a);
        program b(with(process_b, r.name, {L"--limit", without_limit ? L"0" : L"600"}));
        CHECK_FALSE(b.wait(300)); // it is in the call, or nearly
        r.a.kill();
        REQUIRE(b.wait());
        CHECK(GetTickCount64() - start_ms < ipc::test::default_limit_ms);
        check_failed(b, "B: the receiver "); // Windows does not document the code of this failure
        CHECK(b.output().empty());
    }
}

TEST_CASE("B says what became of its text, whatever the receiver answers") {
    const auto check_answer = [](const fake_receiver::answer_function& answer, const char* line) {
        const fake_receiver fake(answer);
        program b(with(process_b, fake.name(), {L"--limit", L"1", L"text"}));
        check_failed(b, line);
        CHECK(b.output().empty());
    };
    check_answer([](HWND, const COPYDATASTRUCT&) { return protocol::refused; }, refused_by_a);
    check_answer([](HWND, const COPYDATASTRUCT&) { return LRESULT{77}; }, refused_by_a);
    check_answer([](HWND, const COPYDATASTRUCT&) { return LRESULT{-1}; }, refused_by_a);
    check_answer(
        [](HWND window, const COPYDATASTRUCT&) {
            DestroyWindow(window);
            return protocol::refused;
        },
        has_ended);
    check_answer([](HWND, const COPYDATASTRUCT&) { return protocol::busy; }, busy_a);
    const ipc::unique_handle end(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    {
        const fake_receiver slow([&](HWND, const COPYDATASTRUCT&) {
            WaitForSingleObject(end.get(), ipc::test::default_limit_ms);
            return protocol::taken;
        });
        program b(with(process_b, slow.name(), {L"--limit", L"1", L"text"}));
        check_failed(b, no_answer);
        SetEvent(end.get());
    }
}

TEST_CASE("B sends a text again while the receiver is busy, and only then") {
    std::atomic<int> answers = 0;
    const fake_receiver fake([&](HWND, const COPYDATASTRUCT&) {
        ++answers;
        return answers % 3 == 0 ? protocol::taken : protocol::busy;
    });
    for (const wchar_t* limit : {L"20", L"0"}) {
        program b(with(process_b, fake.name(), {L"--limit", limit, L"one", L"four"}));
        check_succeeded(b, "B: the receiver has taken 3 bytes\nB: the receiver has taken 4 bytes");
    }
    CHECK(answers == 12);
}

TEST_CASE("B gives up at once if the receiver hangs already, however long its limit is") {
    const ipc::unique_handle end(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    const fake_receiver hung([&](HWND, const COPYDATASTRUCT&) {
        WaitForSingleObject(end.get(), ipc::test::default_limit_ms);
        return protocol::refused;
    });
    std::string text("text\0", 5);
    const std::jthread first([&] { send(hung.window(), message(text)); }); // it stays in this call
    const ULONGLONG start_ms = GetTickCount64();
    while (!IsHungAppWindow(hung.window()) && GetTickCount64() - start_ms < 15'000) {
        Sleep(20);
    }
    if (!IsHungAppWindow(hung.window())) {
        SetEvent(end.get());
        SKIP("this system does not say that a message-only window hangs");
    }
    program b(with(process_b, hung.name(), {L"--limit", L"600", L"text"}));
    CHECK(b.wait());
    SetEvent(end.get());
    check_failed(b, no_answer);
}

TEST_CASE(
    "B sends the identifier, every byte and the terminating zero, and names a window of its own") {
    std::atomic<int> right = 0;
    const fake_receiver fake([&](HWND, const COPYDATASTRUCT& data) {
        const std::string_view bytes(static_cast<const char*>(data.lpData), data.cbData);
        right += data.dwData == protocol::text_identifier && bytes == std::string_view("text\0", 5);
        return protocol::taken;
    });
    program b(with(process_b, fake.name(), {L"text", L"text"}));
    check_succeeded(b, "B: the receiver has taken 4 bytes");
    CHECK(right == 2);
}

TEST_CASE("Ctrl+C ends A while it waits, with and without a limit, and with texts in between") {
    for (const wchar_t* limit : {L"600", L"0"}) {
        receiver r({L"--count", L"0", L"--limit", limit});
        r.run_b();
        r.a.press_ctrl_c();
        check_succeeded(r.a, "A: | hello\n" + summary(1, 0));
    }
}

TEST_CASE("Ctrl+C ends A under a flood of texts, and A shows each text that it has taken") {
    const ipc::test::temporary_folder folder;
    receiver r({L"--count", L"0", L"--limit", L"0", L"--out", folder.file(L"out")});
    flood texts(r.window, std::string("x\0", 2), protocol::text_identifier);
    REQUIRE(texts.wait_for_taken(100));
    r.a.press_ctrl_c();
    REQUIRE(r.a.wait());
    texts.join();
    REQUIRE(r.a.wait_for_end_of_output());
    CHECK(r.a.exit_code() == 0);
    CHECK(texts.taken() > 0);
    CHECK(ipc::test::read_file(folder.file(L"out")).size() >= texts.taken());
    CHECK(count_of(r.a.output(), "A: 1 bytes; ") ==
          ipc::test::read_file(folder.file(L"out")).size());
}

TEST_CASE("A ends after its limit without a text, also under a flood of refused messages") {
    program alone(with(process_a, ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(alone, "A: no text came in time: start processB");
    for (const int texts : {0, 1}) { // of two
        receiver r({L"--count", L"2", L"--limit", L"3"});
        flood wrong(r.window, "unterminated", protocol::text_identifier);
        if (texts == 1) {
            CHECK(send_text(r.window, "one") == protocol::taken);
        }
        check_failed(r.a, "A: no text came in time: start processB");
        CHECK(count_of(r.a.output(), "A: | one\n") == static_cast<std::size_t>(texts));
        wrong.join();
        CHECK(wrong.answers() > 0);
        CHECK(wrong.taken() == 0);
    }
}

TEST_CASE("A takes no text more than it was asked for, under a flood of texts") {
    receiver r({L"--count", L"20"});
    flood texts(r.window, std::string("x\0", 2), protocol::text_identifier);
    check_succeeded(r.a, summary(20, 0));
    texts.join();
    CHECK(texts.taken() == 20);
    CHECK(count_of(r.a.output(), "A: | x\n") == 20);
}

TEST_CASE("Texts that A has not shown yet take a limited memory, and none of them is lost") {
    constexpr std::uint64_t mib = 1024 * 1024;
    const ipc::test::temporary_folder folder;
    receiver r({L"--count", L"0", L"--out", folder.file(L"out")});
    std::string text(mib, 'x');
    text.back() = '\0';
    flood texts(r.window, text, protocol::text_identifier, 8);
    REQUIRE(texts.wait_for_taken(100));
    r.a.press_ctrl_c();
    REQUIRE(r.a.wait());
    texts.join();
    CHECK(r.a.exit_code() == 0);
    CHECK(r.a.peak_memory_bytes() < 60 * mib);
    CHECK(ipc::test::read_file(folder.file(L"out")).size() >= texts.taken() * longest_text);
}

TEST_CASE("A that cannot write its texts says so and ends, and it has taken no more than 16") {
    for (const int senders : {1, 20}) {
        const std::wstring path = L"\\\\.\\pipe\\ipc_demos.21.out." + ipc::test::unique_suffix();
        ipc::unique_handle pipe(CreateNamedPipeW(path.c_str(), PIPE_ACCESS_INBOUND, PIPE_TYPE_BYTE,
                                                 1, 0, 65'536, 0, nullptr));
        REQUIRE(pipe);
        receiver r({L"--count", L"0", L"--out", path});
        pipe.reset(); // from here on, A's WriteFile fails
        std::atomic<int> taken = 0;
        std::atomic<int> started = 0;
        std::vector<std::jthread> threads;
        {
            const ipc::test::suspended paused(r.a);
            for (int i = 0; i < senders; ++i) {
                threads.emplace_back([&] {
                    std::string text(longest_text + 1, 'x');
                    text.back() = '\0';
                    ++started;
                    taken += send(r.window, message(text)).answer == protocol::taken;
                });
            }
            while (started < senders) {
                Sleep(1);
            }
            r.a.wait(300); // the texts are sent now; if not, A has fewer to take
        }
        check_failed(r.a, "A: WriteFile failed: ERROR_");
        threads.clear();
        CHECK(taken >= 1);
        CHECK(taken <= 16);
        CHECK(count_of(r.a.output(), "A: 1048575 bytes; ") == 1);
    }
}

TEST_CASE("A holds as many handles after 300 texts and refusals as before") {
    receiver r;
    std::string unterminated = "text";
    const auto send_some = [&](int count) {
        for (int i = 0; i < count; ++i) {
            CHECK(send_text(r.window, "text", r.window) == protocol::taken);
            CHECK(send(r.window, message(unterminated)).answer == protocol::refused);
        }
    };
    send_some(20);
    const DWORD before = ipc::test::handle_count(r.a.process());
    send_some(280);
    CHECK(ipc::test::handle_count(r.a.process()) <= before + 5);
    r.a.press_ctrl_c();
    check_succeeded(r.a, summary(300, 300));
}

TEST_CASE("A goes on after each of 20 senders that are killed at random moments") {
    std::mt19937 random(210);
    const ipc::test::temporary_folder folder;
    ipc::test::write_random_file(folder.file(L"in"), longest_text);
    receiver r({L"--count", L"0", L"--out", folder.file(L"out")});
    for (int i = 0; i < 20; ++i) {
        program b(
            with(process_b, r.name, {L"--in", folder.file(L"in"), L"two", L"three", L"four"}));
        b.wait(20 + random() % 40);
        b.kill();
        REQUIRE(b.wait());
    }
    r.run_b({L"the last one"});
    r.a.press_ctrl_c();
    REQUIRE(r.a.wait());
    REQUIRE(r.a.wait_for_end_of_output());
    CHECK(r.a.exit_code() == 0);
    CHECK(r.a.error_output().empty());
    CHECK_THAT(ipc::test::read_file(folder.file(L"out")), EndsWith("the last one"));
}

TEST_CASE("B ends by itself when A is killed at any of 20 moments, and the next A starts") {
    std::mt19937 random(211);
    std::wstring name;
    for (int round = 0; round < 2; ++round) {
        std::vector<std::unique_ptr<program>> all;
        for (int i = 0; i < 10; ++i) {
            name = ipc::test::unique_suffix();
            program& a = *all.emplace_back(
                std::make_unique<program>(with(process_a, name, {L"--count", L"0"})));
            REQUIRE(a.wait_for_output(a_is_ready));
            arguments texts = {L"--limit", L"1"};
            texts.resize(102, L"text");
            all.push_back(std::make_unique<program>(with(process_b, name, texts)));
            a.wait(random() % 60);
            a.kill();
        }
        for (std::size_t i = 1; i < all.size(); i += 2) {
            program& b = *all[i];
            REQUIRE(b.wait());
            REQUIRE(b.wait_for_end_of_output());
            if (b.exit_code() == 0) {
                CHECK(count_of(b.output(), "B: the receiver has taken 4 bytes\n") == 100);
            } else {
                CHECK(b.exit_code() == 1);
                CHECK(lines_of(b.error_output()).size() == 1);
                CHECK_THAT(b.error_output(), StartsWith("B: the"));
            }
        }
    }
    program a(with(process_a, name, {}));
    REQUIRE(a.wait_for_output(a_is_ready));
    program b(with(process_b, name, {}));
    check_succeeded(b, "B: the receiver has taken 12 bytes");
    check_succeeded(a, summary(1, 0));
}

TEST_CASE("A program of a lower integrity level reaches A only with --allow-lower") {
    for (const bool allowed : {true, false}) {
        receiver r(allowed ? arguments{L"--count", L"0", L"--allow-lower"}
                           : arguments{L"--count", L"0"});
        r.run_b();
        const low_integrity_process b(with(process_b, r.name, {L"--limit", L"20", L"text"}));
        REQUIRE(WaitForSingleObject(b.process(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
        DWORD exit_code = 0;
        REQUIRE(GetExitCodeProcess(b.process(), &exit_code));
        if (exit_code == 0xC000'0142) { // STATUS_DLL_INIT_FAILED
            SKIP("a program of the level low cannot use this desktop, such as that of a service");
        }
        const bool taken = allowed || !b.is_low();
        CHECK(exit_code == (taken ? 0 : 1));
        CHECK_THAT(b.output(), ContainsSubstring(
                                   taken ? "B: the receiver has taken 4 bytes"
                                         : "SendMessageTimeoutW failed: ERROR_ACCESS_DENIED (5)"));
        r.a.press_ctrl_c();
        check_succeeded(r.a, summary(taken ? 2 : 1, 0));
        if (!b.is_low()) {
            SKIP("this system does not lower the integrity level of a process (Wine)");
        }
    }
}

TEST_CASE("Five pairs at once under different names do not disturb each other") {
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 5; ++i) {
        const std::wstring name = ipc::test::unique_suffix();
        all.push_back(std::make_unique<program>(with(process_a, name, {})));
        all.push_back(std::make_unique<program>(with(process_b, name, {std::to_wstring(i)})));
    }
    for (std::size_t i = 0; i < all.size(); i += 2) {
        check_succeeded(*all[i], "A: | " + std::to_string(i / 2) + "\n" + summary(1, 0));
        check_succeeded(*all[i + 1], "B: the receiver has taken 1 bytes");
    }
}

TEST_CASE("A that cannot write its file, and B that cannot read its own, say so and end") {
    const ipc::test::temporary_folder folder;
    const std::wstring missing = folder.file(L"missing\\file");
    program a(with(process_a, ipc::test::unique_suffix(), {L"--out", missing}));
    check_failed(a, "A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3)");
    program b(with(process_b, ipc::test::unique_suffix(), {L"--in", missing}));
    check_failed(b, "B: CreateFileW failed: ERROR_PATH_NOT_FOUND (3)");
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<arguments> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--name"},
        {process_a, L"unexpected"},       {process_a, L"--count", L"x"},
        {process_a, L"--limit", L"-1"},   {process_b, L"--no-such-option"},
        {process_b, L"--name"},           {process_b, L"--limit", L"x"},
    };
    for (const arguments& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs show their usage with --help") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
