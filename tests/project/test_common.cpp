#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <sddl.h>

#include <algorithm>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

namespace {

HANDLE new_event() {
    return CreateEventW(nullptr, TRUE, FALSE, nullptr);
}

bool is_open(HANDLE handle) {
    DWORD flags = 0;
    return GetHandleInformation(handle, &flags) != 0;
}

void parse(std::vector<std::wstring> arguments, const std::vector<ipc::option>& options,
           std::vector<std::wstring>* rest = nullptr) {
    arguments.insert(arguments.begin(), L"program");
    std::vector<wchar_t*> argv;
    for (std::wstring& argument : arguments) {
        argv.push_back(argument.data());
    }
    ipc::parse_arguments(static_cast<int>(argv.size()), argv.data(), "program [--x]\nmore", options,
                         rest);
}

std::vector<std::string> split(std::initializer_list<std::string_view> pieces) {
    std::vector<std::string> lines;
    ipc::line_splitter splitter([&](std::string_view line) { lines.emplace_back(line); });
    for (const std::string_view piece : pieces) {
        splitter.write(piece);
    }
    splitter.finish();
    return lines;
}

} // namespace

TEST_CASE("unique_handle closes what it owns, once") {
    const HANDLE raw = new_event();
    {
        const ipc::unique_handle owner(raw);
        CHECK(owner.get() == raw);
        CHECK(is_open(raw));
    }
    CHECK_FALSE(is_open(raw));
}

TEST_CASE("unique_handle takes nullptr and INVALID_HANDLE_VALUE for empty") {
    CHECK_FALSE(ipc::unique_handle());
    CHECK_FALSE(ipc::unique_handle(nullptr));
    CHECK_FALSE(ipc::unique_handle(INVALID_HANDLE_VALUE));
    CHECK(ipc::unique_handle(new_event()));
}

TEST_CASE("unique_handle moves ownership") {
    const HANDLE raw = new_event();
    ipc::unique_handle first(raw);
    ipc::unique_handle second(std::move(first));
    CHECK_FALSE(first); // NOLINT(bugprone-use-after-move): this is what is tested
    CHECK(second.get() == raw);

    const HANDLE replaced = new_event();
    ipc::unique_handle third(replaced);
    third = std::move(second);
    CHECK_FALSE(is_open(replaced));
    CHECK(third.get() == raw);
    CHECK(is_open(raw));
}

TEST_CASE("unique_handle survives being moved into itself") {
    ipc::unique_handle owner(new_event());
    ipc::unique_handle& same = owner;
    owner = std::move(same);
    CHECK(is_open(owner.get()));
}

TEST_CASE("unique_handle::put and reset close the old handle") {
    const HANDLE first = new_event();
    ipc::unique_handle owner(first);
    const HANDLE second = new_event();
    *owner.put() = second;
    CHECK_FALSE(is_open(first));
    owner.reset();
    CHECK_FALSE(is_open(second));
    CHECK_FALSE(owner);
}

TEST_CASE("unique_handle::release gives the handle away") {
    ipc::unique_handle owner(new_event());
    const HANDLE raw = owner.release();
    CHECK_FALSE(owner);
    CHECK(is_open(raw));
    CloseHandle(raw);
}

TEST_CASE("scope_exit runs its clean-up at the end of the scope, also of a thrown one") {
    int runs = 0;
    {
        const ipc::scope_exit count([&] { ++runs; });
        CHECK(runs == 0);
    }
    CHECK(runs == 1);
    try {
        const ipc::scope_exit count([&] { ++runs; });
        throw std::runtime_error("out");
    } catch (const std::runtime_error&) {}
    CHECK(runs == 2);
}

TEST_CASE("throw_last_error names the call and the error") {
    SetLastError(ERROR_PIPE_BUSY);
    try {
        ipc::throw_last_error("CreateFileW");
        FAIL("did not throw");
    } catch (const ipc::win32_error& error) {
        CHECK(error.code() == ERROR_PIPE_BUSY);
        CHECK_THAT(error.what(), StartsWith("CreateFileW failed: ERROR_PIPE_BUSY (231): "));
    }
}

TEST_CASE("error_text has a number for an error without a name, and no line break") {
    CHECK_THAT(ipc::error_text(12345), StartsWith("error 12345"));
    CHECK_THAT(ipc::error_text(ERROR_BROKEN_PIPE), StartsWith("ERROR_BROKEN_PIPE (109): "));
    CHECK_THAT(ipc::error_text(ERROR_BROKEN_PIPE), !ContainsSubstring("\n"));
}

TEST_CASE("exit_code_text shows a crash in hex with its name") {
    CHECK(ipc::exit_code_text(0) == "0");
    CHECK(ipc::exit_code_text(42) == "42");
    CHECK(ipc::exit_code_text(0xC0000005) == "0xC0000005 (STATUS_ACCESS_VIOLATION)");
    CHECK(ipc::exit_code_text(0xC0000409) == "0xC0000409 (STATUS_STACK_BUFFER_OVERRUN)");
    CHECK(ipc::exit_code_text(0xFFFFFFFF) == "0xFFFFFFFF");
}

TEST_CASE("UTF-16 and UTF-8 convert both ways, and what is neither becomes U+FFFD") {
    CHECK(ipc::to_utf8(L"").empty());
    CHECK(ipc::to_utf8(L"Gr\u00FC\u00DFe \u4F60\u597D") == "Gr\xC3\xBC\xC3\x9F"
                                                           "e \xE4\xBD\xA0\xE5\xA5\xBD");
    CHECK(ipc::to_utf8(L"\xD83D\xDE00") == "\xF0\x9F\x98\x80");
    CHECK(ipc::to_utf16("\xF0\x9F\x98\x80") == L"\xD83D\xDE00");
    CHECK(ipc::to_utf16("").empty());
    CHECK(ipc::to_utf8(std::wstring(1, static_cast<wchar_t>(0xD800))) == "\xEF\xBF\xBD");
    CHECK(ipc::to_utf16("a\xFFz") == L"a\uFFFDz");
}

TEST_CASE("fill replaces each {} by the next value") {
    CHECK(ipc::fill("A: {} of {}", {"1", "2"}) == "A: 1 of 2");
    CHECK(ipc::fill("no holes", {"1"}) == "no holes");
    CHECK(ipc::fill("{}{}", {"{}", "x"}) == "{}x");
    CHECK(ipc::fill("{} {}", {"1"}) == "1 {}");
}

TEST_CASE("print_line takes numbers and both kinds of text") {
    const ipc::test::result printed =
        ipc::test::run({ipc::test::program_path(L"tests", L"helper.exe"), L"print"});
    CHECK(printed.output == "12 -3 narrow wide\n");
    CHECK(printed.error_output == "on standard error\n");
}

TEST_CASE("line_splitter finds lines across any pieces") {
    CHECK(split({"one\ntw", "o\r\n", "\n", "three"}) ==
          std::vector<std::string>{"one", "two", "", "three"});
    CHECK(split({}).empty());
    CHECK(split({"\n"}) == std::vector<std::string>{""});
}

TEST_CASE("line_splitter hides control characters and keeps UTF-8") {
    CHECK(split({"\x1b[2J\ttab\x07 \xC3\xBC\n"}) ==
          std::vector<std::string>{"?[2J\ttab? \xC3\xBC"});
}

TEST_CASE("line_splitter shows a line without end in pieces, between characters") {
    std::string text;
    while (text.size() < 10'000) {
        text += "\xE2\x82\xAC"; // 3 bytes, of which 4096 is no multiple
    }
    const std::vector<std::string> lines = split({text});
    REQUIRE(lines.size() == 3);
    std::string joined;
    for (const std::string& line : lines) {
        CHECK(line.size() % 3 == 0);
        joined += line;
    }
    CHECK(joined == text);
    CHECK(split({std::string(10'000, '\x80')}).size() == 3); // never a character's start
}

TEST_CASE("command_line is taken apart into the same arguments") {
    const std::vector<std::wstring> arguments = {
        L"C:\\Program Files\\x.exe",
        L"plain",
        L"",
        L"two words",
        L"\ttab",
        L"\"",
        L"\"quoted\"",
        L"a\\\"b",
        L"ends with \\",
        L"\\",
        L"\\\\",
        L"\\\"",
        L"a\\\\\"b c\\\\",
        L"\\\\share\\",
        L"%PATH%",
        L"^&|<>",
        L"*?",
        L"-x=\"1 2\"",
        L"\u00FC\u4F60",
        L"'single'",
        L"a\nb",
        L"two words\\\\",
    };
    const std::wstring line = ipc::command_line(arguments);
    const ipc::test::result echoed = [&] {
        std::vector<std::wstring> all = arguments;
        all[0] = L"echo-arguments";
        all.insert(all.begin(), ipc::test::program_path(L"tests", L"helper.exe"));
        return ipc::test::run(all);
    }();
    std::string expected;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        expected += ipc::to_utf8(arguments[i]) + '\n';
    }
    CHECK(echoed.output == expected);
    CHECK(line.starts_with(L"\"C:\\Program Files\\x.exe\" plain \"\" \"two words\""));
}

TEST_CASE("beside_this_program is in the folder of the running program") {
    const std::filesystem::path path = ipc::beside_this_program(L"helper.exe");
    CHECK(path.is_absolute());
    CHECK(std::filesystem::exists(path));
}

TEST_CASE("wait_for_exit returns the exit code, or throws WAIT_TIMEOUT") {
    const std::wstring helper = ipc::test::program_path(L"tests", L"helper.exe");
    ipc::test::program hanging({helper, L"hang"});
    try {
        ipc::wait_for_exit(hanging.process(), 1);
        FAIL("did not throw");
    } catch (const ipc::win32_error& error) {
        CHECK(error.code() == WAIT_TIMEOUT);
    }
    hanging.kill(7);
    CHECK(ipc::wait_for_exit(hanging.process(), ipc::test::default_limit_ms) == 7);
}

TEST_CASE("parse_arguments reads switches, texts and numbers, and leaves the rest") {
    bool flag = false;
    std::wstring text;
    std::uint64_t number = 0;
    std::vector<std::wstring> rest;
    const std::vector<ipc::option> options = {
        {L"--flag", &flag}, {L"--text", &text}, {L"--number", &number}};
    parse({L"--text", L"--flag", L"--number", L"18446744073709551615", L"name", L"--flag"}, options,
          &rest);
    CHECK_FALSE(flag);
    CHECK(text == L"--flag");
    CHECK(number == UINT64_MAX);
    CHECK(rest == std::vector<std::wstring>{L"name", L"--flag"});

    parse({L"--flag", L"--", L"--text"}, options, &rest);
    CHECK(flag);
    CHECK(rest == std::vector<std::wstring>{L"--text"});

    parse({}, options, &rest);
    CHECK(rest.empty());
}

TEST_CASE("parse_arguments refuses what it does not know, with the usage line") {
    std::wstring text;
    std::uint64_t number = 0;
    const std::vector<ipc::option> options = {{L"--text", &text}, {L"--number", &number}};
    const std::vector<std::vector<std::wstring>> wrong = {
        {L"--unknown"},        {L"--text"},         {L"--text", L""},
        {L"--number", L"-1"},  {L"--number", L"x"}, {L"--number", L"18446744073709551616"},
        {L"--number", L"1 2"}, {L"unexpected"},     {L"-"},
    };
    for (const std::vector<std::wstring>& arguments : wrong) {
        INFO(ipc::to_utf8(arguments.front()));
        try {
            parse(arguments, options);
            FAIL("did not throw");
        } catch (const ipc::usage_error& error) {
            CHECK_THAT(error.what(), ContainsSubstring("; usage: program [--x]"));
            CHECK_THAT(error.what(), !ContainsSubstring("more"));
        }
    }
}

TEST_CASE("report_exception prints one line and picks the exit code") {
    const std::wstring helper = ipc::test::program_path(L"tests", L"helper.exe");
    const ipc::test::result usage = ipc::test::run({helper, L"throw-usage-error"});
    CHECK(usage.exit_code == 2);
    CHECK(usage.error_output == "helper: wrong\n");
    const ipc::test::result failed = ipc::test::run({helper, L"throw-win32-error"});
    CHECK(failed.exit_code == 1);
    CHECK_THAT(failed.error_output, StartsWith("helper: TheCall failed: ERROR_NO_DATA (232): "));
    CHECK(ipc::test::lines_of(failed.error_output).size() == 1);
}

TEST_CASE("user_only_security lets the current user in and nobody else") {
    ipc::user_only_security security;
    SECURITY_ATTRIBUTES* attributes = security.get();
    REQUIRE(attributes->lpSecurityDescriptor != nullptr);
    CHECK_FALSE(attributes->bInheritHandle);
    wchar_t* text = nullptr;
    REQUIRE(ConvertSecurityDescriptorToStringSecurityDescriptorW(
        attributes->lpSecurityDescriptor, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text,
        nullptr));
    const std::string sddl = ipc::to_utf8(text);
    LocalFree(text);
    CHECK_THAT(sddl, StartsWith("D:P(A;;GA;;;S-1-"));
    CHECK(std::ranges::count(sddl, '(') == 1); // one entry, so everybody else is refused

    const ipc::unique_handle event(CreateEventW(attributes, TRUE, FALSE, nullptr));
    CHECK(event);
}

TEST_CASE("object_name appends the suffix, if there is one") {
    CHECK(ipc::object_name(L"Local\\ipc_demos.06.x", L"") == L"Local\\ipc_demos.06.x");
    CHECK(ipc::object_name(L"Local\\ipc_demos.06.x", L"me") == L"Local\\ipc_demos.06.x.me");
}

TEST_CASE("ctrl_c_event is set by Ctrl+C, which does not end the program") {
    ipc::test::program waiting(
        {ipc::test::program_path(L"tests", L"helper.exe"), L"wait-for-ctrl-c"});
    REQUIRE(waiting.wait_for_output("waiting"));
    CHECK_FALSE(waiting.wait(0));
    waiting.press_ctrl_c();
    REQUIRE(waiting.wait());
    CHECK(waiting.exit_code() == 3);
}

TEST_CASE("ctrl_c_event keeps GetLastError, the first time too") {
    SetLastError(ERROR_IO_PENDING);
    ipc::ctrl_c_event();
    CHECK(GetLastError() == ERROR_IO_PENDING);
}

TEST_CASE("open_input, create_output and write_file read and write files, or throw") {
    const ipc::test::temporary_folder folder;
    const std::wstring path = folder.file(L"file");
    {
        const ipc::unique_handle file = ipc::create_output(path);
        ipc::write_file(file.get(), "longer than the next");
    }
    {
        const ipc::unique_handle file = ipc::create_output(path);
        ipc::write_file(file.get(), std::string_view("\0a\n", 3));
        ipc::write_file(file.get(), "");
    }
    CHECK(ipc::test::read_file(path) == std::string("\0a\n", 3));

    const ipc::unique_handle file = ipc::open_input(path);
    CHECK_THROWS_AS(ipc::create_output(path), ipc::win32_error); // while somebody reads it
    CHECK_THROWS_AS(ipc::write_file(file.get(), "x"), ipc::win32_error);
    CHECK_THROWS_AS(ipc::open_input(folder.file(L"missing")), ipc::win32_error);
}
