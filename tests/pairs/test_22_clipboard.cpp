#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/22_clipboard/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/harness/own_clipboard.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::bytes_of;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::clipboard_format;
using ipc::test::open_clipboard;
using ipc::test::plain_window;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::read_format;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"22_clipboard", L"processA.exe");
const std::wstring process_b = program_path(L"22_clipboard", L"processB.exe");

using arguments = std::vector<std::wstring>;

constexpr auto a_is_ready = "A: listens to the clipboard\n";
constexpr auto b_has_put = "B: takes the clipboard, and gives back what it can copy\n"
                           "B: the clipboard has a text, an order, and two promises\n";
constexpr auto restored = "B: the former content is back";
constexpr auto not_ours = "B: another program has changed the clipboard; it stays as it is";
constexpr auto receipt = "A: the receipt, which B left: 9.50 euros";

// A clipboard for this test case and the programs that it starts.
class pair_of {
public:
    pair_of() : clipboard_(clipboard_or_skip()) {}
    std::unique_ptr<program> start(const std::wstring& path, const arguments& more = {}) const {
        arguments command = {path, L"--name", name};
        command.insert(command.end(), more.begin(), more.end());
        return std::make_unique<program>(command, clipboard_->here());
    }
    std::unique_ptr<program> start_a(const arguments& more = {}) const {
        std::unique_ptr<program> a = start(process_a, more);
        REQUIRE(a->wait_for_output(a_is_ready));
        return a;
    }
    std::unique_ptr<program> start_b(const arguments& more = {}) const {
        return start(process_b, more);
    }

    // Returns a pair with another name at the same clipboard.
    pair_of another() const {
        pair_of other = *this;
        other.name = ipc::test::unique_suffix();
        return other;
    }

    std::wstring name = ipc::test::unique_suffix();

private:
    static std::unique_ptr<ipc::test::own_clipboard> clipboard_or_skip() {
        std::string why_not;
        auto clipboard = ipc::test::try_own_clipboard(why_not);
        if (clipboard == nullptr) {
            SKIP(why_not);
        }
        return clipboard;
    }

    std::shared_ptr<ipc::test::own_clipboard> clipboard_;
};

UINT registered(const wchar_t* name) {
    return RegisterClipboardFormatW(name);
}

std::vector<std::byte> text_bytes(const std::wstring& text) {
    return bytes_of(std::wstring(text + L'\0'));
}

// Replaces the content. It has no owner afterwards, as if its program had ended.
void replace(const std::vector<clipboard_format>& formats) {
    const plain_window window;
    ipc::test::replace_content(window.get(), formats);
}

// An order for an A with this suffix, in B's formats, with any header.
std::vector<std::byte> order_bytes(const std::wstring& suffix, std::uint32_t version,
                                   std::uint32_t suffix_bytes, std::uint32_t coffees = 3,
                                   std::uint32_t cakes = 4) {
    const protocol::order header{version, coffees, cakes, suffix_bytes};
    std::vector<std::byte> bytes(sizeof header + suffix.size() * sizeof(wchar_t));
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, suffix.data(), bytes.size() - sizeof header);
    return bytes;
}
clipboard_format order_for(const std::wstring& suffix) {
    const auto bytes = static_cast<std::uint32_t>(suffix.size() * sizeof(wchar_t));
    return {registered(protocol::order_format), order_bytes(suffix, protocol::version, bytes)};
}
clipboard_format amount(const wchar_t* format) {
    return {registered(format), text_bytes(L"0.05 euros")};
}

// A window that promises an order, and counts how often somebody asks for it.
class promising_window {
public:
    promising_window() {
        WNDCLASSW window_class{};
        window_class.lpfnWndProc = procedure;
        window_class.lpszClassName = L"ipc_demos.22.test";
        RegisterClassW(&window_class); // fails the second time
        window_ = std::make_unique<plain_window>(L"", window_class.lpszClassName);
        SetWindowLongPtrW(window_->get(), GWLP_USERDATA, reinterpret_cast<LONG_PTR>(this));
    }
    // Replaces the content by a promise of this order, and returns when somebody has asked for it. No order: nothing
    // is rendered.
    void promise(const std::vector<std::byte>& order) {
        order_ = order;
        asked_ = 0;
        {
            const open_clipboard open(window_->get());
            EmptyClipboard();
            SetClipboardData(registered(protocol::order_format), nullptr);
        }
        const ULONGLONG start_ms = GetTickCount64();
        // cppcheck-suppress knownConditionTrueFalse // serve() calls the procedure, which counts
        while (asked_ == 0 && GetTickCount64() - start_ms < ipc::test::default_limit_ms) {
            serve(1);
        }
        REQUIRE(asked_ == 1);
    }
    static void serve(DWORD limit_ms) {
        const HANDLE none = nullptr;
        MsgWaitForMultipleObjectsEx(0, &none, limit_ms, QS_ALLINPUT, MWMO_INPUTAVAILABLE);
        MSG message{};
        while (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) {
            DispatchMessageW(&message);
        }
    }
    int asked() const { return asked_; }

private:
    static LRESULT CALLBACK procedure(HWND window, UINT message, WPARAM wparam, LPARAM lparam) {
        auto* self = reinterpret_cast<promising_window*>(GetWindowLongPtrW(window, GWLP_USERDATA));
        if (message == WM_RENDERFORMAT) {
            ++self->asked_;
            if (!self->order_.empty()) {
                ipc::test::put_format(static_cast<UINT>(wparam), self->order_);
            }
            return 0;
        }
        return DefWindowProcW(window, message, wparam, lparam);
    }

    std::vector<std::byte> order_;
    int asked_ = 0;
    std::unique_ptr<plain_window> window_;
};

// Plays B for A: a window that owns the clipboard, and answers as long as wait_for serves it.
class fake_b {
public:
    explicit fake_b(const std::vector<clipboard_format>& formats) {
        ipc::test::replace_content(window_.get(), formats);
    }
    // Answers what has been sent to the window.
    static void serve() {
        MSG message{};
        while (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) {
            DispatchMessageW(&message);
        }
    }
    // Serves the window until the program has ended.
    static void wait_for(const program& ended) {
        const ULONGLONG start_ms = GetTickCount64();
        while (!ended.wait(10) && GetTickCount64() - start_ms < ipc::test::default_limit_ms) {
            serve();
        }
    }
    HWND window() const { return window_.get(); }

private:
    plain_window window_;
};

std::size_t formats_now() {
    return static_cast<std::size_t>(CountClipboardFormats());
}

// Whether the content of a format starts with these bytes: its memory may be larger.
bool has_content(UINT format, const std::vector<std::byte>& expected) {
    const std::vector<std::byte> there = read_format(format);
    return there.size() >= expected.size() &&
           std::equal(expected.begin(), expected.end(), there.begin());
}

const std::vector<std::byte> user_text = text_bytes(L"what the user has copied");

void put_user_text() {
    replace({{CF_UNICODETEXT, user_text}});
}

void check_user_text() {
    CHECK(has_content(CF_UNICODETEXT, user_text));
    CHECK_FALSE(IsClipboardFormatAvailable(registered(protocol::order_format)));
}

} // namespace

TEST_CASE(
    "A reads all formats, also those that B renders later, and B gives the former content back") {
    const pair_of pair;
    put_user_text();
    const auto a = pair.start_a();
    const auto b = pair.start_b();
    check_succeeded(*a, std::string(a_is_ready) +
                            "A: a text: 2 coffees and 1 cake, please\n"
                            "A: an order: coffees: 2, cakes: 1\n"
                            "A: the invoice, which B renders now: 9.50 euros\n" +
                            receipt);
    check_succeeded(*b, std::string(b_has_put) +
                            "B: renders the invoice\n"
                            "B: closes its window, and so renders what is left\n"
                            "B: renders the receipt\n" +
                            restored);
    check_user_text();
}

TEST_CASE("B may be started before A") {
    const pair_of pair;
    const auto b = pair.start_b();
    CHECK_FALSE(b->wait(150));
    const auto a = pair.start_a();
    check_succeeded(*a, receipt);
    check_succeeded(*b, restored);
}

TEST_CASE("B puts the order first, a text, and the format that keeps it out of the history") {
    const pair_of pair;
    const auto a = pair.start_a();
    const ipc::test::suspended stopped(*a);
    const auto b = pair.start_b();
    REQUIRE(b->wait_for_output(b_has_put));
    {
        const open_clipboard open;
        CHECK(EnumClipboardFormats(0) == registered(protocol::order_format));
    }
    CHECK(IsClipboardFormatAvailable(registered(protocol::no_history_format)));
    CHECK(IsClipboardFormatAvailable(registered(protocol::receipt_format)));
    CHECK(has_content(CF_UNICODETEXT, text_bytes(L"2 coffees and 1 cake, please")));
    CHECK(has_content(CF_TEXT, bytes_of(std::string("2 coffees and 1 cake, please\0", 29))));
    const auto bytes = static_cast<std::uint32_t>(pair.name.size() * sizeof(wchar_t));
    CHECK(has_content(registered(protocol::order_format),
                      order_bytes(pair.name, protocol::version, bytes, 2, 1)));
    CHECK(b->output().find("renders") == std::string::npos);
}

TEST_CASE("B gives back what was there, byte for byte: nothing, and many formats with 16 MiB") {
    const pair_of pair;
    std::vector<clipboard_format> many;
    for (int i = 0; i < 30; ++i) {
        const std::wstring format = L"ipc_demos.22.test." + std::to_wstring(i);
        many.emplace_back(
            registered(format.c_str()),
            std::vector<std::byte>(static_cast<std::size_t>(i + 1) * 997, std::byte(i)));
    }
    many.emplace_back(CF_UNICODETEXT, text_bytes(L"Gr\u00FC\u00DFe"));
    many.emplace_back(CF_LOCALE, bytes_of(std::vector<std::uint32_t>{0x407}));
    many.emplace_back(registered(L"ipc_demos.22.test"),
                      std::vector<std::byte>(16 * 1024 * 1024, std::byte(7)));
    const std::vector<std::vector<clipboard_format>> contents = {{}, many};
    for (const auto& content : contents) {
        INFO("formats: " << content.size());
        replace(content);
        const std::size_t count = formats_now();
        const auto a = pair.start_a();
        const auto b = pair.start_b();
        check_succeeded(*b, restored);
        check_succeeded(*a, receipt);
        CHECK(formats_now() == count);
        for (const auto& [format, bytes] : content) {
            CHECK(has_content(format, bytes));
        }
    }
}

TEST_CASE("B names what it cannot give back, and gives the rest back") {
    const pair_of pair;
    const fake_b user({{CF_UNICODETEXT, user_text}});
    {
        const open_clipboard open(user.window());
        SetClipboardData(CF_OWNERDISPLAY, nullptr);
        SetClipboardData(registered(L"ipc_demos.22.test"), nullptr); // promised, never rendered
        SetClipboardData(CF_PRIVATEFIRST, nullptr);
    }
    const auto a = pair.start_a();
    const auto b = pair.start_b();
    fake_b::wait_for(*b);
    const std::string promised = std::to_string(registered(L"ipc_demos.22.test"));
    check_succeeded(
        *b, "B: the former content is back, except for what cannot be copied: format 128, format " +
                promised + ", format 512");
    check_succeeded(*a, receipt);
    check_user_text();
}

TEST_CASE("A and B say so if the other one does not come, and B changes nothing") {
    const pair_of pair;
    put_user_text();
    const DWORD number = GetClipboardSequenceNumber();
    const auto a = pair.another().start_a({L"--limit", L"1"});
    const auto b = pair.start_b({L"--limit", L"1"});
    check_failed(*a, "A: nobody has put an order there: start processB");
    check_failed(*b, "B: nobody listens to the clipboard: start processA");
    CHECK(b->output().empty());
    CHECK(GetClipboardSequenceNumber() == number);
}

TEST_CASE(
    "While another program keeps the clipboard open, A and B give up, and the content stays") {
    const pair_of pair;
    const pair_of other = pair.another();
    const auto other_a = other.start_a();
    replace({order_for(pair.name), {CF_UNICODETEXT, user_text}});
    const open_clipboard open;
    const auto a = pair.start_a({L"--limit", L"0"}); // opening has a limit of its own
    const auto b = other.start_b({L"--limit", L"0"});
    check_failed(*a, "A: OpenClipboard failed: ERROR_ACCESS_DENIED (5)");
    check_failed(*b, "B: OpenClipboard failed: ERROR_ACCESS_DENIED (5)");
    CHECK(IsClipboardFormatAvailable(registered(protocol::order_format)));
}

TEST_CASE("A and B go on when the clipboard is closed again") {
    const pair_of pair;
    put_user_text();
    std::unique_ptr<program> a;
    std::unique_ptr<program> b;
    {
        const open_clipboard open;
        a = pair.start_a();
        b = pair.start_b();
        CHECK_FALSE(b->wait(150));
    }
    check_succeeded(*a, receipt);
    check_succeeded(*b, restored);
    check_user_text();
}

TEST_CASE("A leaves other content alone, and takes the right order afterwards") {
    const pair_of pair;
    const auto a = pair.start_a();
    const auto bytes = static_cast<std::uint32_t>(pair.name.size() * sizeof(wchar_t));
    const std::vector<std::vector<std::byte>> wrong = {
        std::vector<std::byte>(1),
        std::vector<std::byte>(sizeof(protocol::order) - 1),
        order_bytes(pair.name, protocol::version + 1, bytes),
        order_bytes(pair.name, 0, bytes),
        order_bytes(pair.name, protocol::version, 0xFFFFFFFF),
        order_bytes(pair.name, protocol::version, 0x80000000),
        order_bytes(pair.name, protocol::version, bytes - 1),
        order_bytes(L"", protocol::version, bytes),
        order_bytes(pair.name.substr(1), protocol::version, bytes),
        order_bytes(pair.name + L"x", protocol::version, bytes + 2),
        order_bytes(std::wstring(pair.name.size(), L'x'), protocol::version, bytes),
        order_bytes(L"", protocol::version, 0),
        std::vector<std::byte>(protocol::max_bytes + 1),
    };
    promising_window stranger;
    for (const auto& content : wrong) {
        stranger.promise(content);
    }
    put_user_text();
    CHECK_FALSE(a->wait(50));
    CHECK(a->output() == a_is_ready);
    const auto b = pair.start_b();
    check_succeeded(*a, receipt);
    check_succeeded(*b, restored);
}

TEST_CASE("A believes no text: without a zero, with control characters, too long, missing") {
    const pair_of pair;
    const std::string refused = "A: a text is missing, or too long";
    const std::vector<std::pair<std::vector<std::byte>, std::string>> texts = {
        {bytes_of(std::wstring(L"no zero")),
         "A: a text: no zer"}, // Windows may replace the last character
        {text_bytes(L"a\x1B[31mred\r\nA: forged\u009B"), "A: a text: a?[31mred??A: forged?\n"},
        {text_bytes(std::wstring(1'000, L'x')), "A: a text: " + std::string(200, 'x') + "\n"},
        {{}, refused},
        {std::vector<std::byte>(protocol::max_bytes + 2, std::byte('x')), refused},
        {text_bytes(L"half a pair: \xD83D"), "A: a text: half a pair: \xEF\xBF\xBD\n"},
    };
    for (const auto& [bytes, shown] : texts) {
        std::vector<clipboard_format> formats = {order_for(pair.name),
                                                 amount(protocol::invoice_format),
                                                 amount(protocol::receipt_format)};
        if (!bytes.empty()) {
            formats.emplace_back(CF_UNICODETEXT, bytes);
        }
        replace(formats);
        const auto a = pair.start(process_a);
        if (shown == refused) {
            check_failed(*a, refused);
        } else {
            check_succeeded(*a, "A: the receipt, which B left: 0.05 euros");
            CHECK_THAT(a->output(), StartsWith(a_is_ready + shown));
        }
    }
}

TEST_CASE("A fails if the invoice is promised and not rendered") {
    const pair_of pair;
    const fake_b b({order_for(pair.name), {CF_UNICODETEXT, user_text}});
    {
        const open_clipboard open(b.window());
        SetClipboardData(registered(protocol::invoice_format), nullptr);
    }
    const auto a = pair.start(process_a);
    fake_b::wait_for(*a);
    check_failed(*a, "A: a text is missing, or too long");
}

TEST_CASE(
    "A finds the receipt though another program has asked for it before B has closed its window") {
    const pair_of pair;
    std::unique_ptr<program> a;
    {
        const fake_b b({order_for(pair.name),
                        {CF_UNICODETEXT, user_text},
                        amount(protocol::invoice_format),
                        amount(protocol::receipt_format)});
        a = pair.start(process_a, {L"--limit", L"0"});
        while (!a->wait_for_output("A: the invoice", 10) && !a->wait(0)) {
            fake_b::serve();
        }
        CHECK_FALSE(a->wait(50));
    } // nothing is left to render: no message tells A
    check_succeeded(*a, "A: the receipt, which B left: 0.05 euros");
}

TEST_CASE("A pair works when another program asks for the promised formats first") {
    const pair_of pair;
    for (const wchar_t* format : {protocol::invoice_format, protocol::receipt_format}) {
        put_user_text();
        const auto a = pair.start_a();
        const auto b = pair.start_b();
        {
            const ipc::test::suspended stopped(*a);
            REQUIRE(b->wait_for_output(b_has_put));
            CHECK(has_content(registered(format), text_bytes(L"9.50 euros")));
            REQUIRE(b->wait_for_output("B: renders the receipt\n"));
        }
        check_succeeded(*a, receipt);
        check_succeeded(*b, restored);
        check_user_text();
    }
}

TEST_CASE("A looks at a content once, whatever messages it gets") {
    const pair_of pair;
    const auto a = pair.start_a();
    const HWND listener =
        FindWindowExW(HWND_MESSAGE, nullptr, protocol::listener_class,
                      ipc::object_name(protocol::listener_class, pair.name).c_str());
    promising_window stranger;
    stranger.promise({}); // not rendered: a second look would ask again
    for (int i = 0; i < 50; ++i) {
        PostMessageW(listener, WM_CLIPBOARDUPDATE, 0, 0);
    }
    const ULONGLONG start_ms = GetTickCount64();
    while (GetTickCount64() - start_ms < 150) {
        promising_window::serve(10);
    }
    CHECK(stranger.asked() == 1);
    CHECK(a->output() == a_is_ready);
}

TEST_CASE("A and B say so if the owner of the clipboard hangs, and B touches nothing") {
    const pair_of pair;
    const pair_of other = pair.another();
    WNDCLASSW window_class{};
    window_class.lpfnWndProc = DefWindowProcW;
    window_class.lpszClassName = protocol::listener_class;
    REQUIRE(RegisterClassW(&window_class) != 0);
    const plain_window listener(ipc::object_name(protocol::listener_class, other.name).c_str(),
                                protocol::listener_class);
    const fake_b hangs({order_for(pair.name), {CF_UNICODETEXT, user_text}}); // serves no window
    const auto a = pair.start(process_a);
    const auto b = other.start_b();
    check_failed(*a, "A: the owner of the clipboard does not answer");
    check_failed(*b, "B: the owner of the clipboard does not answer");
    CHECK(has_content(CF_UNICODETEXT, user_text));
    CHECK(GetClipboardOwner() == hangs.window());
}

TEST_CASE("A says so if the owner of the order has ended and has not rendered the invoice") {
    const pair_of pair;
    replace({order_for(pair.name), {CF_UNICODETEXT, user_text}});
    const auto a = pair.start(process_a);
    check_failed(*a, "A: B has ended and has not rendered the invoice");
}

TEST_CASE("A promise dies with the process that gave it; what is on the clipboard stays") {
    const pair_of pair;
    const auto a = pair.start_a();
    {
        const ipc::test::suspended stopped(*a);
        const auto b = pair.start_b();
        REQUIRE(b->wait_for_output(b_has_put));
        b->kill();
        REQUIRE(b->wait());
    }
    check_failed(*a, "A: B has ended and has not rendered the invoice");
    CHECK(has_content(CF_UNICODETEXT, text_bytes(L"2 coffees and 1 cake, please")));
    CHECK(read_format(registered(protocol::receipt_format)).empty());
}

TEST_CASE("B leaves the clipboard alone when another program has replaced the order") {
    const pair_of pair;
    const auto a = pair.start_a({L"--limit", L"5"});
    std::unique_ptr<program> b;
    {
        const ipc::test::suspended stopped(*a);
        b = pair.start_b();
        REQUIRE(b->wait_for_output(b_has_put));
        put_user_text();
        REQUIRE(b->wait());
    }
    check_failed(*b, "B: another program has replaced the order");
    CHECK(b->output() == std::string(b_has_put) + not_ours + "\n");
    check_user_text();
    CHECK(a->output() == a_is_ready); // it goes on listening
    const auto next = pair.start_b();
    check_succeeded(*a, receipt);
    check_succeeded(*next, restored);
    check_user_text();
}

TEST_CASE("B ends at once when A dies, and gives the former content back, or says that it cannot") {
    const pair_of pair;
    for (const bool can_open : {true, false}) {
        put_user_text();
        const auto a = pair.start_a();
        std::unique_ptr<program> b;
        std::unique_ptr<open_clipboard> open;
        {
            const ipc::test::suspended stopped(*a);
            b = pair.start_b({L"--limit", L"0"});
            REQUIRE(b->wait_for_output(b_has_put));
            if (!can_open) {
                open = std::make_unique<open_clipboard>();
            }
            a->kill();
        }
        if (!can_open) {
            REQUIRE(b->wait_for_output("B: the former content is not given back: "
                                       "OpenClipboard failed: ERROR_ACCESS_DENIED (5)"));
            open.reset(); // B closes its window, and renders what it has promised
        }
        REQUIRE(b->wait());
        REQUIRE(b->wait_for_end_of_output());
        CHECK(b->exit_code() == 1);
        CHECK_THAT(b->error_output(), StartsWith("B: A ended with exit code 99\n"));
        if (can_open) {
            CHECK(b->output() == std::string(b_has_put) + restored + "\n");
            check_user_text();
        }
    }
}

TEST_CASE("B gives the former content back when its limit is over or Ctrl+C is pressed") {
    const pair_of pair;
    put_user_text();
    const auto a = pair.start_a();
    const ipc::test::suspended stopped(*a);
    {
        const auto b = pair.start_b({L"--limit", L"1"});
        check_failed(*b, "B: A has not taken the order in time");
        CHECK(b->output() == std::string(b_has_put) + restored + "\n");
        check_user_text();
    }
    const auto b = pair.start_b({L"--limit", L"0"});
    REQUIRE(b->wait_for_output(b_has_put));
    b->press_ctrl_c();
    check_failed(*b, "B: stopped by Ctrl+C");
    CHECK(b->output() == std::string(b_has_put) + restored + "\n");
    check_user_text();
}

TEST_CASE("Ctrl+C ends A, and B when it waits for A or for its turn") {
    const pair_of pair;
    const auto b = pair.start_b({L"--limit", L"0"});
    const auto a = pair.start(process_a, {L"--limit", L"0", L"--name", L"another"});
    REQUIRE(a->wait_for_output(a_is_ready));
    CHECK_FALSE(b->wait(200));
    a->press_ctrl_c();
    b->press_ctrl_c();
    check_failed(*a, "A: stopped by Ctrl+C");
    check_failed(*b, "B: stopped by Ctrl+C");
}

TEST_CASE("A B that has its turn makes the next one wait, and a killed B does not") {
    const pair_of pair;
    const pair_of other = pair.another();
    put_user_text();
    const auto a = pair.start_a();
    const auto other_a = other.start_a();
    const ipc::test::suspended stopped(*a);
    const auto first = pair.start_b({L"--limit", L"0"});
    REQUIRE(first->wait_for_output(b_has_put));
    const auto late = other.start_b({L"--limit", L"1"});
    check_failed(*late, "B: another processB has kept the clipboard too long");
    const auto next = other.start_b();
    first->kill();
    check_succeeded(*next, restored);
    check_succeeded(*other_a, receipt);
}

TEST_CASE("No window message of a stranger ends A or B or makes B render twice") {
    const pair_of pair;
    put_user_text();
    const auto a = pair.start_a();
    const HWND listener =
        FindWindowExW(HWND_MESSAGE, nullptr, protocol::listener_class,
                      ipc::object_name(protocol::listener_class, pair.name).c_str());
    REQUIRE(listener != nullptr);
    std::unique_ptr<program> b;
    {
        const ipc::test::suspended stopped(*a);
        b = pair.start_b();
        REQUIRE(b->wait_for_output(b_has_put));
        const HWND owner = GetClipboardOwner();
        REQUIRE(owner != nullptr);
        for (const UINT message :
             std::vector<UINT>{WM_CLOSE, WM_CLIPBOARDUPDATE, WM_QUIT, WM_TIMER, WM_NULL}) {
            PostMessageW(listener, message, 0, 0);
            PostMessageW(owner, message, 0, 0);
        }
        for (int i = 0; i < 1'000; ++i) {
            PostMessageW(listener, WM_CLIPBOARDUPDATE, 0, 0);
        }
        // Nobody has asked for these. The invoice is promised, but the clipboard is closed.
        SendMessageW(owner, WM_RENDERFORMAT, registered(protocol::order_format), 0);
        SendMessageW(owner, WM_RENDERFORMAT, CF_UNICODETEXT, 0);
        SendMessageW(owner, WM_RENDERFORMAT, 0xFFFF, 0);
        CHECK(b->error_output().empty());
        SendMessageW(owner, WM_RENDERFORMAT, registered(protocol::invoice_format), 0);
        SetWindowLongPtrW(owner, GWLP_USERDATA, 0x1234);
        CHECK_FALSE(b->wait(0));
    }
    SetWindowLongPtrW(listener, GWLP_USERDATA, 0x1234);
    check_succeeded(*a, receipt);
    REQUIRE(b->wait());
    REQUIRE(b->wait_for_end_of_output());
    CHECK(b->exit_code() == 0); // it can have reported that the clipboard was closed
    CHECK_THAT(b->output(), Catch::Matchers::EndsWith(std::string(restored) + "\n"));
    check_user_text();
}

TEST_CASE("A ends at its limit also under a flood of messages") {
    const pair_of pair;
    const auto a = pair.start_a({L"--limit", L"1"});
    const HWND listener =
        FindWindowExW(HWND_MESSAGE, nullptr, protocol::listener_class,
                      ipc::object_name(protocol::listener_class, pair.name).c_str());
    REQUIRE(listener != nullptr);
    const ULONGLONG start_ms = GetTickCount64();
    while (!a->wait(0) && GetTickCount64() - start_ms < 20'000) {
        for (int i = 0; i < 100; ++i) {
            PostMessageW(listener, WM_NULL, 0, 0);
        }
    }
    CHECK(GetTickCount64() - start_ms < 20'000); // A has ended during the flood
    check_failed(*a, "A: nobody has put an order there: start processB");
}

TEST_CASE("After 50 orders for another A this A has as many handles as before") {
    const pair_of pair;
    const auto a = pair.start_a();
    promising_window stranger;
    const auto change = [&](int times) {
        for (int i = 0; i < times; ++i) {
            stranger.promise(order_for(pair.name + L"x").second);
        }
    };
    change(10);
    const DWORD before = ipc::test::handle_count(a->process());
    change(50);
    const DWORD after = ipc::test::handle_count(a->process());
    CHECK(after <= before + 5);
    CHECK(a->output() == a_is_ready);
}

TEST_CASE("Three pairs at once take turns") {
    const pair_of first;
    const std::vector<pair_of> pairs = {first, first.another(), first.another()};
    put_user_text();
    std::vector<std::unique_ptr<program>> all;
    for (const auto& pair : pairs) {
        all.push_back(pair.start_a());
    }
    for (const auto& pair : pairs) {
        all.push_back(pair.start_b());
    }
    for (std::size_t i = 0; i < 3; ++i) {
        check_succeeded(*all[i], receipt);
        check_succeeded(*all[i + 3], restored);
    }
    check_user_text();
}

TEST_CASE("Whichever is killed at any of 20 moments, the other one ends by itself, and the next "
          "pair works") {
    std::mt19937 random(220);
    const pair_of pair;
    for (int i = 0; i < 20; ++i) {
        INFO("round " << i);
        put_user_text();
        const auto a = pair.start(process_a, {L"--limit", L"0"});
        const auto b = pair.start_b({L"--limit", L"0"});
        const bool a_dies = i % 2 == 0;
        const bool early = i % 5 == 0; // else while the two have to do with each other
        const program& victim = a_dies ? *a : *b;
        program& survivor = a_dies ? *b : *a;
        if (early) {
            victim.wait(random() % 50);
        } else {
            REQUIRE(b->wait_for_output(b_has_put));
            victim.wait(random() % 15);
        }
        victim.kill();
        REQUIRE(victim.wait());
        if (!survivor.wait(100)) { // it may wait for the other one, as nothing has happened yet
            survivor.press_ctrl_c();
        }
        REQUIRE(survivor.wait());
        REQUIRE(survivor.wait_for_end_of_output());
        // One that has just started may not handle Ctrl+C yet.
        const bool ended_by_ctrl_c = early && survivor.exit_code() == STATUS_CONTROL_C_EXIT;
        CHECK((survivor.exit_code() <= 1 || ended_by_ctrl_c));
        if (a_dies) {
            check_user_text();
        }
    }
    put_user_text();
    const auto a = pair.start_a();
    const auto b = pair.start_b();
    check_succeeded(*a, receipt);
    check_succeeded(*b, restored);
    check_user_text();
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<arguments> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--name"}, {process_a, L"unexpected"},
        {process_a, L"--limit", L"x"},    {process_b, L"--name"}, {process_b, L"--limit", L"-1"},
        {process_b, L"unexpected"},
    };
    for (const arguments& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
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
