// Attacks docs/snippets/clipboard_text.cpp.

#include "common/text.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/harness/own_clipboard.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::bytes_of;
using ipc::test::open_clipboard;
using ipc::test::plain_window;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::result;

namespace {

const std::wstring clipboard_text = program_path(L"snippets", L"clipboard_text.exe");

class station {
public:
    station() : clipboard_(clipboard_or_skip()) {}
    result put(const std::wstring& text, const wchar_t* ms = L"20000") const {
        return run({clipboard_text, ms, text});
    }
    result get(const wchar_t* ms = L"20000") const { return run({clipboard_text, ms}); }
    std::unique_ptr<program> start(const std::vector<std::wstring>& command) const {
        return std::make_unique<program>(command, clipboard_->here());
    }

private:
    result run(const std::vector<std::wstring>& command) const {
        return ipc::test::run(command, clipboard_->here());
    }
    static std::unique_ptr<ipc::test::own_clipboard> clipboard_or_skip() {
        std::string why_not;
        auto clipboard = ipc::test::try_own_clipboard(why_not);
        if (clipboard == nullptr) {
            SKIP(why_not);
        }
        return clipboard;
    }
    std::unique_ptr<ipc::test::own_clipboard> clipboard_;
};

void check_text(const result& seen, const std::string& expected) {
    CHECK(seen.exit_code == 0);
    CHECK(seen.output == expected);
    CHECK(seen.error_output.empty());
}

void check_failed(const result& seen, const std::string& start, const std::string& end = "\n") {
    CHECK(seen.exit_code == 1);
    CHECK(seen.output.empty());
    CHECK_THAT(seen.error_output, StartsWith(start));
    CHECK_THAT(ipc::test::lines_of(seen.error_output).front() + "\n", EndsWith(end));
}

void replace(UINT format, const std::vector<std::byte>& content) {
    const plain_window window;
    ipc::test::replace_content(window.get(), {{format, content}});
}

} // namespace

TEST_CASE("clipboard_text reads what it has put, after its end, again and again") {
    const station here;
    check_failed(here.get(), "there is no text on the clipboard");
    for (const std::wstring text :
         {L"text", L"", L"Gr\u00FC\u00DFe \u4F60\u597D \U0001F600", L"a\ttab"}) {
        check_text(here.put(text), "");
        check_text(here.get(), ipc::to_utf8(text));
        check_text(here.get(), ipc::to_utf8(text));
    }
    const std::wstring long_text(30'000, L'x');
    check_text(here.put(long_text), "");
    check_text(here.get(), std::string(30'000, 'x'));
}

TEST_CASE("clipboard_text reads text of other programs, whatever it is") {
    const station here;
    replace(CF_TEXT, bytes_of(std::string("narrow\0", 7)));
    check_text(here.get(), "narrow");
    replace(CF_UNICODETEXT, bytes_of(std::wstring(L"zero\0hidden\0", 12)));
    check_text(here.get(), "zero");
    replace(CF_UNICODETEXT, bytes_of(std::wstring(5'000'000, L'x') + L'\0'));
    check_text(here.get(), std::string(5'000'000, 'x'));
    replace(RegisterClipboardFormatW(L"ipc_demos.22.test"), std::vector<std::byte>(10));
    check_failed(here.get(), "there is no text on the clipboard");
    replace(CF_UNICODETEXT, bytes_of(std::wstring(L"no zero")));
    CHECK_THAT(here.get().output, StartsWith("no zer")); // Windows may replace the last character
}

TEST_CASE("clipboard_text tries again while the clipboard is open, up to its limit") {
    const station here;
    check_text(here.put(L"first"), "");
    const plain_window window;
    for (const bool has_window : {true, false}) {
        const open_clipboard open(has_window ? window.get() : nullptr);
        check_failed(here.put(L"second", L"100"), "OpenClipboard: ", "(5)\n");
        check_failed(here.get(L"100"), "OpenClipboard: ", "(5)\n");
        check_failed(here.get(L"0"), "OpenClipboard: ", "(5)\n");
    }
    check_text(here.get(), "first");
    std::unique_ptr<program> waits;
    {
        const open_clipboard open(window.get());
        waits = here.start({clipboard_text, L"60000", L"second"});
        CHECK_FALSE(waits->wait(300));
    }
    REQUIRE(waits->wait());
    CHECK(waits->exit_code() == 0);
    check_text(here.get(), "second");
}

TEST_CASE("clipboard_text waits for no program that hangs with the clipboard") {
    const station here;
    const plain_window hangs; // this test serves no window
    {
        const open_clipboard open(hangs.get());
        EmptyClipboard();
        SetClipboardData(CF_UNICODETEXT, nullptr); // promised
    }
    check_failed(here.get(L"200"), "OpenClipboard: ", "(1460)\n");
    check_failed(here.get(L"0"), "OpenClipboard: ", "(1460)\n"); // 0 is no wait without a limit
    check_failed(here.put(L"x", L"200"), "OpenClipboard: ", "(1460)\n");
    CHECK(GetClipboardOwner() == hangs.get());
    CHECK(GetOpenClipboardWindow() == nullptr);
}

TEST_CASE("clipboard_text finds no text when the program that promised it has ended") {
    const station here;
    {
        const plain_window window;
        const open_clipboard open(window.get());
        EmptyClipboard();
        SetClipboardData(CF_UNICODETEXT, nullptr);
    }
    check_failed(here.get(), "there is no text on the clipboard");
    check_text(here.put(L"again"), "");
    check_text(here.get(), "again");
}

TEST_CASE("Five clipboard_text at once all get their turn, to read and to write") {
    const station here;
    check_text(here.put(L"0"), "");
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 5; ++i) {
        all.push_back(here.start({clipboard_text, L"60000", std::to_wstring(i)}));
        all.push_back(here.start({clipboard_text, L"60000"}));
    }
    for (const auto& one : all) {
        REQUIRE(one->wait());
        INFO(one->error_output());
        CHECK(one->exit_code() == 0);
    }
    CHECK(here.get().output.size() == 1);
}

TEST_CASE("clipboard_text refuses wrong arguments") {
    for (const std::vector<std::wstring>& command : {std::vector<std::wstring>{clipboard_text},
                                                     {clipboard_text, L"x"},
                                                     {clipboard_text, L"1", L"a", L"b"}}) {
        CHECK(ipc::test::run(command).exit_code == 2);
    }
}
