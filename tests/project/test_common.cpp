#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/message_buffer.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_predicate.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Message;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::Predicate;
using Catch::Matchers::StartsWith;

namespace {

auto has_code(DWORD code) {
    return Predicate<ipc::win32_error>(
        [code](const ipc::win32_error& error) { return error.code() == code; },
        "has the code " + std::to_string(code));
}

HANDLE new_event() {
    return CreateEventW(nullptr, TRUE, FALSE, nullptr);
}

bool is_open(HANDLE handle) {
    DWORD flags = 0;
    return GetHandleInformation(handle, &flags) != 0;
}

// Returns a TOKEN_USER with the SID of this process's user.
std::vector<std::byte> token_user() {
    ipc::unique_handle token;
    REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put()));
    std::vector<std::byte> memory(sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE);
    auto size = static_cast<DWORD>(memory.size());
    REQUIRE(GetTokenInformation(token.get(), TokenUser, memory.data(), size, &size));
    return memory;
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

TEST_CASE("unique_handle::reset keeps GetLastError") {
    const auto not_open = reinterpret_cast<HANDLE>(std::uintptr_t{0x7FFFFFFC});
    SetLastError(ERROR_SUCCESS);
    CHECK_FALSE(CloseHandle(not_open)); // fails, and so changes GetLastError
    REQUIRE(GetLastError() == ERROR_INVALID_HANDLE);

    SetLastError(ERROR_PIPE_BUSY);
    {
        ipc::unique_handle owner(not_open);
        owner.reset();
        CHECK(GetLastError() == ERROR_PIPE_BUSY);
        owner.reset(not_open);
    }
    CHECK(GetLastError() == ERROR_PIPE_BUSY); // the destructor too
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

TEST_CASE("deadline counts down to 0 and stays there, and INFINITE stays INFINITE") {
    const ipc::deadline none(INFINITE);
    const ipc::deadline later(600'000);
    const ipc::deadline soon(30);
    while (later.left_ms() > 600'000 - 60) {
        CHECK(later.left_ms() <= 600'000);
        Sleep(1);
    }
    CHECK(later.left_ms() > 0);
    CHECK(!later.is_over());
    CHECK(soon.left_ms() == 0);
    CHECK(soon.is_over());
    CHECK(none.left_ms() == INFINITE);
    CHECK(!none.is_over());
    CHECK(ipc::deadline(0).is_over());
}

TEST_CASE("throw_last_error names the call and the error") {
    const auto fail = [] {
        SetLastError(ERROR_PIPE_BUSY);
        ipc::throw_last_error("CreateFileW");
    };
    CHECK_THROWS_MATCHES(fail(), ipc::win32_error, has_code(ERROR_PIPE_BUSY));
    CHECK_THROWS_MATCHES(fail(), ipc::win32_error,
                         MessageMatches(StartsWith("CreateFileW failed: ERROR_PIPE_BUSY (231): ")));
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
    CHECK_THROWS_MATCHES(ipc::wait_for_exit(hanging.process(), 1), ipc::win32_error,
                         has_code(WAIT_TIMEOUT));
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
        CHECK_THROWS_MATCHES(parse(arguments, options), ipc::usage_error,
                             MessageMatches(ContainsSubstring("; usage: program [--x]") &&
                                            !ContainsSubstring("more")));
    }
}

TEST_CASE("parse_arguments reads --limit in seconds, and 0 means without limit") {
    ipc::time_limit limit{5};
    const std::vector<ipc::option> options = {{L"--limit", &limit}};
    parse({}, options);
    CHECK(limit.ms == 5);
    parse({L"--limit", L"1"}, options);
    CHECK(limit.ms == 1'000);
    parse({L"--limit", L"0"}, options);
    CHECK(limit.ms == INFINITE);
    parse({L"--limit", L"1000000"}, options);
    CHECK(limit.ms == 1'000'000'000);

    limit.ms = 7;
    for (const wchar_t* wrong :
         {L"1000001", L"4294968", L"18446744073709551616", L"-1", L"1.5", L"ten", L"1s", L""}) {
        INFO(ipc::to_utf8(wrong));
        CHECK_THROWS_AS(parse({L"--limit", wrong}, options), ipc::usage_error);
        CHECK(limit.ms == 7);
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
    SECURITY_DESCRIPTOR_CONTROL control = 0;
    DWORD revision = 0;
    REQUIRE(GetSecurityDescriptorControl(attributes->lpSecurityDescriptor, &control, &revision));
    CHECK((control & SE_DACL_PROTECTED) != 0); // no entry is inherited

    BOOL has_dacl = FALSE;
    BOOL is_default = FALSE;
    PACL dacl = nullptr;
    REQUIRE(
        GetSecurityDescriptorDacl(attributes->lpSecurityDescriptor, &has_dacl, &dacl, &is_default));
    REQUIRE(has_dacl);
    REQUIRE(dacl != nullptr);     // nullptr would let everyone in
    REQUIRE(dacl->AceCount == 1); // one entry, so everyone else is refused
    void* entry = nullptr;
    REQUIRE(GetAce(dacl, 0, &entry));
    auto* allowed = static_cast<ACCESS_ALLOWED_ACE*>(entry);
    CHECK(allowed->Header.AceType == ACCESS_ALLOWED_ACE_TYPE);
    CHECK(allowed->Mask == GENERIC_ALL);
    const std::vector<std::byte> user = token_user();
    CHECK(EqualSid(&allowed->SidStart, reinterpret_cast<const TOKEN_USER*>(user.data())->User.Sid));

    const ipc::unique_handle event(CreateEventW(attributes, TRUE, FALSE, nullptr));
    CHECK(event);
}

TEST_CASE("object_name appends the suffix, if there is one") {
    CHECK(ipc::object_name(L"Local\\ipc_demos.06.x", L"") == L"Local\\ipc_demos.06.x");
    CHECK(ipc::object_name(L"Local\\ipc_demos.06.x", L"me") == L"Local\\ipc_demos.06.x.me");
}

TEST_CASE("ctrl_c_event is set by Ctrl+C, which does not end the program") {
    const std::vector<std::wstring> wait_for_ctrl_c = {
        ipc::test::program_path(L"tests", L"helper.exe"), L"wait-for-ctrl-c"};
    ipc::test::start_options options;
    SECTION("in a program that was started normally") {}
    SECTION("in a program that was told to ignore Ctrl+C by CREATE_NEW_PROCESS_GROUP") {
        options.creation_flags = CREATE_NEW_PROCESS_GROUP;
    }
    bool parent_ignores = false;
    SECTION("in a program whose parent ignores Ctrl+C") {
        REQUIRE(SetConsoleCtrlHandler(nullptr, TRUE)); // the child inherits this
        parent_ignores = true;
    }
    ipc::test::program waiting(wait_for_ctrl_c, options);
    if (parent_ignores) {
        SetConsoleCtrlHandler(nullptr, FALSE);
    }
    REQUIRE(waiting.wait_for_output("waiting"));
    CHECK_FALSE(waiting.wait(0));
    waiting.press_ctrl_c();
    REQUIRE(waiting.wait(10'000));
    CHECK(waiting.exit_code() == 3);
}

TEST_CASE("ctrl_c_pressed tells a busy loop of Ctrl+C") {
    ipc::test::program polling(
        {ipc::test::program_path(L"tests", L"helper.exe"), L"poll-for-ctrl-c"});
    REQUIRE(polling.wait_for_output("polling"));
    CHECK_FALSE(polling.wait(50));
    polling.press_ctrl_c();
    REQUIRE(polling.wait(10'000));
    CHECK(polling.exit_code() == 3);
}

TEST_CASE("ctrl_c_event keeps GetLastError, the first time too") {
    SetLastError(ERROR_IO_PENDING);
    ipc::ctrl_c_event();
    CHECK(GetLastError() == ERROR_IO_PENDING);
}

TEST_CASE("byte_source reads a text or a file, and fills the buffer until the end") {
    const ipc::test::temporary_folder folder;
    const std::string content = std::string("0123456789\0", 11) + "\n";
    const std::wstring path = folder.file(L"in");
    {
        ipc::byte_sink sink(path, "");
        sink.write(content);
    }
    for (const bool from_file : {false, true}) {
        INFO((from_file ? "file" : "text"));
        ipc::byte_source source(from_file ? path : L"", content);
        CHECK(source.length() == 12);
        std::array<char, 5> buffer{};
        CHECK(source.read(buffer) == 5);
        CHECK(std::string_view(buffer.data(), 5) == "01234");
        CHECK(source.read(buffer) == 5);
        CHECK(source.read(buffer) == 2);
        CHECK(std::string_view(buffer.data(), 2) == std::string_view("\0\n", 2));
        CHECK(source.read(buffer) == 0);
        CHECK(source.read(buffer) == 0);
    }
    CHECK_THROWS_MATCHES(ipc::byte_source(folder.file(L"missing"), "text"), ipc::win32_error,
                         has_code(ERROR_FILE_NOT_FOUND));
}

TEST_CASE("byte_source lets others read its file, and nobody write to it") {
    const ipc::test::temporary_folder folder;
    const std::wstring path = folder.file(L"in");
    ipc::byte_sink(path, "").write("content");
    const ipc::byte_source source(path, "");
    CHECK(ipc::test::read_file(path) == "content");
    CHECK_THROWS_MATCHES(ipc::byte_sink(path, ""), ipc::win32_error,
                         has_code(ERROR_SHARING_VIOLATION));
}

TEST_CASE("byte_sink writes every byte to a file as it is, and empties the file first") {
    const ipc::test::temporary_folder folder;
    const std::wstring path = folder.file(L"out");
    ipc::byte_sink(path, "").write("longer than the next content");
    {
        ipc::byte_sink sink(path, "A: | ");
        sink.write(std::string_view("\0a\r\n", 4));
        sink.write("");
        sink.write("no line break");
        sink.finish();
    }
    CHECK(ipc::test::read_file(path) == std::string("\0a\r\n", 4) + "no line break");
    CHECK_THROWS_AS(ipc::byte_sink(folder.file(L"no\\such\\folder"), ""), ipc::win32_error);
}

TEST_CASE("byte_sink shows lines with its prefix on the screen") {
    const ipc::test::temporary_folder folder;
    const std::wstring path = folder.file(L"screen");
    const HANDLE console = GetStdHandle(STD_OUTPUT_HANDLE);
    {
        const ipc::unique_handle screen(
            CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_ALWAYS, 0, nullptr));
        REQUIRE(screen);
        SetStdHandle(STD_OUTPUT_HANDLE, screen.get());
        const ipc::scope_exit restore([&] { SetStdHandle(STD_OUTPUT_HANDLE, console); });
        ipc::byte_sink sink(L"", "A: | ");
        sink.write("one\ntw");
        sink.write("o\nthree");
        sink.finish();
    }
    CHECK(ipc::test::read_file(path) == "A: | one\nA: | two\nA: | three\n");
}

// ---- message_buffer

namespace {

// Does what a read does: fills the free space with as much of the message as fits. Returns whether
// the message has a rest (ERROR_MORE_DATA).
bool receive(ipc::message_buffer& buffer, std::string_view& rest) {
    const std::size_t bytes = rest.copy(buffer.free_space(), buffer.free_bytes());
    buffer.add(static_cast<DWORD>(bytes));
    rest.remove_prefix(bytes);
    return !rest.empty();
}

// Returns whether the whole message fits into the buffer.
bool receive_message(ipc::message_buffer& buffer, std::string_view message) {
    while (receive(buffer, message)) {
        if (!buffer.grow()) {
            return false;
        }
    }
    return true;
}

std::string text_of(ipc::message_buffer& buffer) {
    const std::span<char> message = buffer.message();
    return {message.begin(), message.end()};
}

std::string letters(std::size_t count) {
    std::string text(count, ' ');
    for (std::size_t i = 0; i < count; ++i) {
        text[i] = static_cast<char>('a' + i % 26);
    }
    return text;
}

} // namespace

TEST_CASE("message_buffer holds messages of every length up to its limit, and none above") {
    constexpr DWORD max_bytes = 100'000;
    ipc::message_buffer buffer(max_bytes);
    for (const std::size_t length : std::vector<std::size_t>{
             0, 1, 4'095, 4'096, 4'097, 8'192, 8'193, 65'536, 65'537, 99'999, max_bytes}) {
        INFO(length);
        const std::string message = letters(length);
        CHECK(receive_message(buffer, message));
        CHECK(text_of(buffer) == message);
        buffer.clear();
        CHECK(buffer.message().empty());
    }
    CHECK_FALSE(receive_message(buffer, letters(max_bytes + 1)));
    buffer.clear();
    CHECK(receive_message(buffer, "next"));
    CHECK(text_of(buffer) == "next");
}

TEST_CASE("message_buffer honours a limit that is no multiple of its steps, or below the first") {
    for (const DWORD max_bytes : std::vector<DWORD>{1, 100, 4'096, 5'000, 16'384}) {
        INFO(max_bytes);
        ipc::message_buffer buffer(max_bytes);
        CHECK(receive_message(buffer, letters(max_bytes)));
        CHECK(text_of(buffer) == letters(max_bytes));
        buffer.clear();
        CHECK_FALSE(receive_message(buffer, letters(max_bytes + 1)));
    }
}

TEST_CASE("message_buffer keeps up to 64 KiB for the next message, and frees more") {
    ipc::message_buffer buffer(1'000'000);
    CHECK(buffer.free_bytes() == 4'096);
    CHECK(receive_message(buffer, letters(60'000)));
    buffer.clear();
    CHECK(buffer.free_bytes() == 65'536); // the next message of this length needs one read
    CHECK(receive_message(buffer, letters(65'537)));
    buffer.clear();
    CHECK(buffer.free_bytes() == 4'096);
}

// ---- overlapped_call

namespace {

// Replaces a function that this program imports, until the end of the scope. So a test can do
// something at the very moment when common/ makes a call.
class replaced_import {
public:
    replaced_import(const char* name, const void* replacement) : entry_(find(name)) {
        REQUIRE(entry_ != nullptr);
        original_ = write(reinterpret_cast<ULONG_PTR>(replacement));
    }
    ~replaced_import() { write(original_); }
    replaced_import(const replaced_import&) = delete;
    replaced_import& operator=(const replaced_import&) = delete;

private:
    static ULONG_PTR* find(const char* name) {
        auto* base = reinterpret_cast<std::byte*>(GetModuleHandleW(nullptr));
        const auto* dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(base);
        const auto* nt = reinterpret_cast<const IMAGE_NT_HEADERS*>(base + dos->e_lfanew);
        const IMAGE_DATA_DIRECTORY& imports =
            nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
        const auto* dll =
            reinterpret_cast<const IMAGE_IMPORT_DESCRIPTOR*>(base + imports.VirtualAddress);
        for (; dll->Name != 0; ++dll) {
            const auto* names =
                reinterpret_cast<const IMAGE_THUNK_DATA*>(base + dll->OriginalFirstThunk);
            auto* addresses = reinterpret_cast<ULONG_PTR*>(base + dll->FirstThunk);
            for (; names->u1.AddressOfData != 0; ++names, ++addresses) {
                if (IMAGE_SNAP_BY_ORDINAL(names->u1.Ordinal)) {
                    continue;
                }
                const auto* import =
                    reinterpret_cast<const IMAGE_IMPORT_BY_NAME*>(base + names->u1.AddressOfData);
                if (std::strcmp(reinterpret_cast<const char*>(import->Name), name) == 0) {
                    return addresses;
                }
            }
        }
        return nullptr;
    }

    // Returns the previous address.
    ULONG_PTR write(ULONG_PTR address) {
        DWORD protection = 0;
        VirtualProtect(entry_, sizeof *entry_, PAGE_READWRITE, &protection);
        const ULONG_PTR previous = *entry_;
        *entry_ = address;
        VirtualProtect(entry_, sizeof *entry_, protection, &protection);
        return previous;
    }

    ULONG_PTR* entry_;
    ULONG_PTR original_ = 0;
};

using cancel_function = BOOL(WINAPI*)(HANDLE, OVERLAPPED*);

// What a test does instead of CancelIoEx.
std::function<BOOL(HANDLE, OVERLAPPED*)>& cancel_instead() {
    static std::function<BOOL(HANDLE, OVERLAPPED*)> function;
    return function;
}

BOOL WINAPI replaced_cancel(HANDLE file, OVERLAPPED* overlapped) {
    return cancel_instead()(file, overlapped);
}

BOOL real_cancel(HANDLE file, OVERLAPPED* overlapped) {
    static const auto cancel = reinterpret_cast<cancel_function>(
        reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "CancelIoEx")));
    return cancel(file, overlapped);
}

constexpr DWORD long_ms = 30'000; // is never over in a test that passes

std::wstring new_pipe_name() {
    return L"\\\\.\\pipe\\ipc_demos.common." + ipc::test::unique_suffix();
}

ipc::unique_handle create_server_end(const std::wstring& name, DWORD flags = 0,
                                     DWORD instances = 1) {
    return ipc::unique_handle(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX | flags,
                                               PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE |
                                                   PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                                               instances, 4'096, 4'096, 0, nullptr));
}

// A connected pipe: the server's end is overlapped, the client's end blocks.
struct test_pipe {
    test_pipe() {
        REQUIRE(server);
        client = ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, 0, 0);
    }

    void send(std::string_view message) const {
        DWORD written = 0;
        REQUIRE(WriteFile(client.get(), message.data(), static_cast<DWORD>(message.size()),
                          &written, nullptr));
    }

    // Reads a message at the server's end with a call of its own.
    std::string receive() const {
        std::array<char, 64> bytes{};
        ipc::overlapped_call call(server.get());
        const BOOL done = ReadFile(server.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                   nullptr, call.get());
        const ipc::call_result read = call.wait(done, long_ms);
        CHECK(read.error == ERROR_SUCCESS);
        return {bytes.data(), read.bytes};
    }

    std::wstring name = new_pipe_name();
    ipc::unique_handle server = create_server_end(name, FILE_FLAG_OVERLAPPED);
    ipc::unique_handle client;
};

// A read at the server's end of a pipe. It can be declared after the pipe only, so its buffer and
// its OVERLAPPED go before the pipe does.
struct test_read {
    explicit test_read(const test_pipe& pipe) : server(pipe.server.get()), call(server) {}

    BOOL start(DWORD bytes = 64) {
        return ReadFile(server, buffer.data(), bytes, nullptr, call.get());
    }

    std::string_view text(const ipc::call_result& read) const {
        return {buffer.data(), read.bytes};
    }

    bool is_untouched() const { return std::ranges::count(buffer, '.') == std::ssize(buffer); }

    HANDLE server;
    std::string buffer = std::string(64, '.');
    ipc::overlapped_call call;
};

// Runs a function on another thread a little later, when the test waits already.
std::jthread later(std::function<void()> function) {
    return std::jthread([function = std::move(function)] {
        Sleep(40);
        function();
    });
}

HANDLE no_handle() {
    return reinterpret_cast<HANDLE>(std::uintptr_t{0x7FFFFFFC});
}

} // namespace

TEST_CASE("A bounded wait returns the result of a call that is done at once") {
    const test_pipe pipe;
    pipe.send("hello");
    test_read read(pipe);
    const BOOL done = read.start();
    CHECK(done);
    const ipc::call_result result = read.call.wait(done, 0);
    CHECK(result.error == ERROR_SUCCESS);
    CHECK(read.text(result) == "hello");
}

TEST_CASE("A bounded wait waits for a call that is pending") {
    const test_pipe pipe;
    const ipc::unique_handle stop(new_event());
    test_read read(pipe);
    const HANDLE stop_events[] = {nullptr, stop.get()};
    for (const DWORD limit_ms : {long_ms, DWORD{INFINITE}}) {
        for (const HANDLE stop_event : stop_events) {
            const std::jthread sender = later([&] { pipe.send("hello"); });
            const BOOL done = read.start();
            const ipc::call_result result = read.call.wait(done, limit_ms, stop_event);
            CHECK_FALSE(done);
            CHECK(result.error == ERROR_SUCCESS);
            CHECK(read.text(result) == "hello");
        }
    }
}

TEST_CASE("A bounded wait returns the error of a call that fails at once, or later") {
    test_pipe pipe;
    test_read read(pipe);
    {
        const std::jthread closer = later([&] { pipe.client.reset(); });
        const BOOL done = read.start();
        const ipc::call_result result = read.call.wait(done, INFINITE);
        CHECK(result.error == ERROR_BROKEN_PIPE);
        CHECK(result.bytes == 0);
    }
    const BOOL done = read.start();
    const ipc::call_result result = read.call.wait(done, INFINITE);
    CHECK(result.error == ERROR_BROKEN_PIPE);
    CHECK(result.bytes == 0);
}

TEST_CASE("A bounded wait returns the bytes that come with ERROR_MORE_DATA, at once or later") {
    const test_pipe pipe;
    test_read read(pipe);
    {
        pipe.send("0123456789");
        const BOOL done = read.start(4);
        const ipc::call_result result = read.call.wait(done, INFINITE);
        CHECK(result.error == ERROR_MORE_DATA);
        CHECK(read.text(result) == "0123");
        CHECK(pipe.receive() == "456789");
    }
    const std::jthread sender = later([&] { pipe.send("abcdefghij"); });
    const BOOL done = read.start(4);
    const ipc::call_result result = read.call.wait(done, INFINITE);
    CHECK(result.error == ERROR_MORE_DATA);
    CHECK(read.text(result) == "abcd");
    CHECK(pipe.receive() == "efghij");
}

TEST_CASE(
    "A bounded wait cancels the call after the limit, and nothing arrives in the buffer later") {
    const test_pipe pipe;
    test_read read(pipe);
    for (const DWORD limit_ms : {DWORD{0}, DWORD{60}}) {
        const ULONGLONG start_ms = GetTickCount64();
        const BOOL done = read.start();
        const ipc::call_result result = read.call.wait(done, limit_ms);
        CHECK(result.error == WAIT_TIMEOUT);
        CHECK(result.bytes == 0);
        CHECK(GetTickCount64() - start_ms + 20 >= limit_ms); // the clock has ticks of 16 ms
        pipe.send("late");
        CHECK(pipe.receive() == "late");
        CHECK(read.is_untouched());
    }
}

TEST_CASE("A bounded wait cancels the call when the stop event is set") {
    const test_pipe pipe;
    const ipc::unique_handle stop(new_event());
    test_read read(pipe);
    {
        const std::jthread stopper = later([&] { SetEvent(stop.get()); });
        const BOOL done = read.start();
        CHECK(read.call.wait(done, INFINITE, stop.get()).error == ERROR_OPERATION_ABORTED);
    }
    const BOOL pending = read.start(); // the event is set already
    CHECK(read.call.wait(pending, INFINITE, stop.get()).error == ERROR_OPERATION_ABORTED);
    pipe.send("late");
    CHECK(pipe.receive() == "late");
    CHECK(read.is_untouched());

    pipe.send("here already"); // a call that has ended is not cancelled
    const BOOL done = read.start();
    const ipc::call_result result = read.call.wait(done, INFINITE, stop.get());
    CHECK(result.error == ERROR_SUCCESS);
    CHECK(read.text(result) == "here already");
}

TEST_CASE("A bounded wait that loses the race of its cancel returns the bytes") {
    const test_pipe pipe;
    const ipc::unique_handle stop(new_event());
    SetEvent(stop.get());
    bool cancel_for_real = true;
    SECTION("because the call ended before the cancel") {}
    SECTION("because the cancel came too late to have an effect") {
        cancel_for_real = false;
    }
    cancel_instead() = [&](HANDLE file, OVERLAPPED* overlapped) {
        pipe.send("just in time");
        return cancel_for_real ? real_cancel(file, overlapped) : TRUE;
    };
    const replaced_import cancel("CancelIoEx", reinterpret_cast<const void*>(&replaced_cancel));

    const HANDLE stop_events[] = {nullptr, stop.get(), no_handle()};
    for (const HANDLE stop_event : stop_events) {
        test_read read(pipe);
        const BOOL done = read.start();
        const ipc::call_result result = read.call.wait(done, 0, stop_event);
        CHECK_FALSE(done);
        CHECK(result.error == ERROR_SUCCESS);
        CHECK(read.text(result) == "just in time");
    }
    test_read read(pipe);
    const BOOL done = read.start(4);
    const ipc::call_result result = read.call.wait(done, 0);
    CHECK(result.error == ERROR_MORE_DATA);
    CHECK(read.text(result) == "just");
    CHECK(pipe.receive() == " in time");
}

TEST_CASE("A bounded wait does not return before a slow cancel has ended the call") {
    const test_pipe pipe;
    std::atomic<bool> cancelled = false;
    std::jthread canceller;
    cancel_instead() = [&](HANDLE file, OVERLAPPED* overlapped) {
        canceller = later([&cancelled, file, overlapped] {
            cancelled = true;
            real_cancel(file, overlapped);
        });
        return TRUE;
    };
    const replaced_import cancel("CancelIoEx", reinterpret_cast<const void*>(&replaced_cancel));
    {
        test_read read(pipe);
        const BOOL done = read.start();
        CHECK(read.call.wait(done, 0).error == WAIT_TIMEOUT);
        CHECK(cancelled);
    }
    cancelled = false;
    {
        test_read read(pipe);
        read.start(); // and the destructor does it
    }
    CHECK(cancelled);
}

TEST_CASE("A bounded wait that fails throws, and the call is no longer pending") {
    const test_pipe pipe;
    test_read read(pipe);
    const BOOL done = read.start();
    CHECK_THROWS_MATCHES(read.call.wait(done, INFINITE, no_handle()), ipc::win32_error,
                         has_code(ERROR_INVALID_HANDLE));
    pipe.send("late");
    CHECK(pipe.receive() == "late");
    CHECK(read.is_untouched());
}

TEST_CASE("An overlapped call that nobody waited for is cancelled when it is destroyed") {
    test_pipe pipe;
    std::string buffer(64, '.');
    {
        ipc::overlapped_call call(pipe.server.get());
        CHECK_FALSE(ReadFile(pipe.server.get(), buffer.data(), 64, nullptr, call.get()));
    }
    pipe.send("late");
    CHECK(pipe.receive() == "late");
    CHECK(std::ranges::count(buffer, '.') == 64);

    // A call that was never made, one that has ended, and one that failed at once: no wait.
    ipc::overlapped_call(pipe.server.get()).get();
    pipe.send("here");
    {
        ipc::overlapped_call call(pipe.server.get());
        CHECK(ReadFile(pipe.server.get(), buffer.data(), 64, nullptr, call.get()));
    }
    pipe.client.reset();
    {
        ipc::overlapped_call call(pipe.server.get());
        CHECK_FALSE(ReadFile(pipe.server.get(), buffer.data(), 64, nullptr, call.get()));
        CHECK(GetLastError() == ERROR_BROKEN_PIPE);
    }
}

TEST_CASE("Bounded waits that time out at random moments lose no message") {
    constexpr int messages = 1'000;
    const test_pipe pipe;
    const std::jthread sender([&] {
        for (int i = 0; i < messages; ++i) {
            DWORD written = 0;
            WriteFile(pipe.client.get(), &i, sizeof i, &written, nullptr);
        }
    });
    const ULONGLONG end_ms = GetTickCount64() + long_ms;
    int next = 0;
    int wrong = 0;
    ipc::overlapped_call call(pipe.server.get());
    while (next < messages && GetTickCount64() < end_ms) {
        int number = -1;
        const BOOL done = ReadFile(pipe.server.get(), &number, sizeof number, nullptr, call.get());
        const ipc::call_result read = call.wait(done, 0);
        if (read.error == WAIT_TIMEOUT) {
            wrong += number != -1;
            continue;
        }
        wrong += read.error != ERROR_SUCCESS || read.bytes != sizeof number || number != next;
        ++next;
    }
    CHECK(next == messages);
    CHECK(wrong == 0);
}

TEST_CASE("A bounded wait serves ConnectNamedPipe and TransactNamedPipe too") {
    const std::wstring name = new_pipe_name();
    const ipc::unique_handle server = create_server_end(name, FILE_FLAG_OVERLAPPED);
    REQUIRE(server);
    ipc::unique_handle client;
    {
        ipc::overlapped_call call(server.get());
        const BOOL timed_out = ConnectNamedPipe(server.get(), call.get());
        CHECK(call.wait(timed_out, 0).error == WAIT_TIMEOUT);
        const std::jthread connector = later([&] {
            client = ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED,
                                          long_ms);
        });
        const BOOL done = ConnectNamedPipe(server.get(), call.get());
        CHECK(call.wait(done, long_ms).error == ERROR_SUCCESS);
    }
    {
        ipc::overlapped_call call(server.get());
        const BOOL done = ConnectNamedPipe(server.get(), call.get());
        CHECK(call.wait(done, INFINITE).error == ERROR_PIPE_CONNECTED);
    }
    DWORD mode = PIPE_READMODE_MESSAGE;
    REQUIRE(SetNamedPipeHandleState(client.get(), &mode, nullptr, nullptr));
    std::string request = "request";
    std::array<char, 8> reply{};
    const std::jthread answering([&] {
        for (int i = 0; i < 3; ++i) {
            std::array<char, 64> bytes{};
            ipc::overlapped_call call(server.get());
            const BOOL got = ReadFile(server.get(), bytes.data(), 64, nullptr, call.get());
            if (call.wait(got, long_ms).error != ERROR_SUCCESS || i == 2) {
                return; // the third request gets no reply
            }
            const std::string_view text = i == 0 ? "reply" : "a long reply";
            Sleep(40); // until the client waits
            const BOOL sent = WriteFile(server.get(), text.data(), static_cast<DWORD>(text.size()),
                                        nullptr, call.get());
            call.wait(sent, long_ms);
        }
    });
    ipc::overlapped_call call(client.get());
    const auto transact = [&](DWORD limit_ms) {
        const BOOL done =
            TransactNamedPipe(client.get(), request.data(), static_cast<DWORD>(request.size()),
                              reply.data(), 8, nullptr, call.get());
        return call.wait(done, limit_ms);
    };
    ipc::call_result result = transact(long_ms);
    CHECK(result.error == ERROR_SUCCESS);
    CHECK(std::string_view(reply.data(), result.bytes) == "reply");
    result = transact(long_ms);
    CHECK(result.error == ERROR_MORE_DATA);
    CHECK(std::string_view(reply.data(), result.bytes) == "a long r");
    std::array<char, 8> rest{};
    const BOOL done = ReadFile(client.get(), rest.data(), 8, nullptr, call.get());
    CHECK(call.wait(done, long_ms).bytes == 4);
    CHECK(transact(60).error == WAIT_TIMEOUT);
}

// ---- connect_to_pipe and its companions

namespace {

constexpr DWORD read_write = GENERIC_READ | GENERIC_WRITE;

std::function<BOOL()>& wait_instead() {
    static std::function<BOOL()> function;
    return function;
}

BOOL WINAPI replaced_wait(const wchar_t*, DWORD) {
    return wait_instead()();
}

} // namespace

TEST_CASE("connect_to_pipe waits for a server that starts later") {
    const std::wstring name = new_pipe_name();
    for (const DWORD limit_ms : {long_ms, DWORD{INFINITE}}) {
        ipc::unique_handle server;
        const std::jthread starter = later([&] { server = create_server_end(name); });
        CHECK(ipc::connect_to_pipe(name, read_write, 0, limit_ms));
    }
}

TEST_CASE("connect_to_pipe waits for a busy server") {
    const test_pipe pipe; // its only instance has a client
    const std::jthread server = later([&] {
        DisconnectNamedPipe(pipe.server.get());
        ipc::overlapped_call call(pipe.server.get());
        const BOOL done = ConnectNamedPipe(pipe.server.get(), call.get());
        call.wait(done, long_ms);
    });
    CHECK(ipc::connect_to_pipe(pipe.name, read_write, 0, long_ms));
}

TEST_CASE("connect_to_pipe tries again when the server goes between the wait and the open") {
    test_pipe pipe;
    std::jthread restarter;
    int waits = 0;
    wait_instead() = [&]() -> BOOL {
        ++waits;
        pipe.client.reset();
        pipe.server.reset();
        restarter = later([&] { pipe.server = create_server_end(pipe.name); });
        return TRUE; // there was a free instance, and now there is no pipe of this name
    };
    const replaced_import wait("WaitNamedPipeW", reinterpret_cast<const void*>(&replaced_wait));
    CHECK(ipc::connect_to_pipe(pipe.name, read_write, 0, long_ms));
    CHECK(waits == 1);
}

TEST_CASE("connect_to_pipe tries again when another client is faster, and when the wait fails") {
    test_pipe pipe;
    int waits = 0;
    wait_instead() = [&]() -> BOOL {
        ++waits;
        if (waits == 10) {
            pipe.client.reset();
            pipe.server.reset();
            pipe.server = create_server_end(pipe.name);
        }
        SetLastError(ERROR_ACCESS_DENIED);
        return waits % 2 == 0;
    };
    const replaced_import wait("WaitNamedPipeW", reinterpret_cast<const void*>(&replaced_wait));
    const ULONGLONG start_ms = GetTickCount64();
    CHECK(ipc::connect_to_pipe(pipe.name, read_write, 0, long_ms));
    CHECK(waits == 10);
    CHECK(GetTickCount64() - start_ms >= 60); // a wait that fails at once does not keep a CPU busy
}

TEST_CASE("connect_to_pipe says after the limit whether there is no server, or a busy one") {
    const test_pipe pipe;
    const std::wstring missing = new_pipe_name();
    for (const DWORD limit_ms : {DWORD{0}, DWORD{60}}) {
        ULONGLONG start_ms = GetTickCount64();
        CHECK_THROWS_MATCHES(
            ipc::connect_to_pipe(missing, read_write, 0, limit_ms), std::runtime_error,
            Message("no server at " + ipc::to_utf8(missing) + ": start processA first"));
        CHECK(GetTickCount64() - start_ms + 20 >= limit_ms);
        CHECK(GetTickCount64() - start_ms < 5'000);
        start_ms = GetTickCount64();
        CHECK_THROWS_MATCHES(
            ipc::connect_to_pipe(pipe.name, read_write, 0, limit_ms), std::runtime_error,
            Message("the server at " + ipc::to_utf8(pipe.name) + " is busy with other clients"));
        CHECK(GetTickCount64() - start_ms + 20 >= limit_ms);
        CHECK(GetTickCount64() - start_ms < 5'000);
    }
}

TEST_CASE("connect_to_pipe throws at once for any other failure") {
    const std::wstring name = new_pipe_name();
    const ipc::unique_handle server(
        CreateNamedPipeW(name.c_str(), PIPE_ACCESS_INBOUND, PIPE_TYPE_BYTE, 1, 0, 0, 0, nullptr));
    REQUIRE(server);
    CHECK_THROWS_MATCHES(ipc::connect_to_pipe(name, GENERIC_READ, 0, INFINITE), ipc::win32_error,
                         has_code(ERROR_ACCESS_DENIED));
    CHECK(ipc::connect_to_pipe(name, GENERIC_WRITE, 0, 0));
}

TEST_CASE("throw_create_pipe_error says that the name is taken, or names the error") {
    const auto fail = [](DWORD code) {
        SetLastError(code);
        ipc::throw_create_pipe_error(L"\\\\.\\pipe\\x");
    };
    const std::string taken = R"(the name \\.\pipe\x is taken by another server)";
    CHECK_THROWS_MATCHES(fail(ERROR_ACCESS_DENIED), std::runtime_error, Message(taken));
    CHECK_THROWS_MATCHES(fail(ERROR_PIPE_BUSY), std::runtime_error, Message(taken));
    CHECK_THROWS_MATCHES(fail(ERROR_INVALID_NAME), ipc::win32_error, has_code(ERROR_INVALID_NAME));
    CHECK_THROWS_MATCHES(fail(ERROR_INVALID_NAME), ipc::win32_error,
                         MessageMatches(StartsWith("CreateNamedPipeW failed: ")));

    const test_pipe pipe; // the real thing: it allows one instance
    const ipc::unique_handle second = create_server_end(pipe.name);
    const DWORD error = GetLastError();
    REQUIRE_FALSE(second);
    CHECK_THROWS_MATCHES(fail(error), std::runtime_error, Message(taken));
}

TEST_CASE("is_disconnected knows the errors of a pipe whose other end is gone") {
    test_pipe pipe;
    char letter = 'x';
    DWORD bytes = 0;
    SECTION("the client has closed its end") {
        pipe.client.reset();
        test_read read(pipe);
        const BOOL got = read.start();
        CHECK(ipc::is_disconnected(read.call.wait(got, long_ms).error));
        const BOOL sent = WriteFile(pipe.server.get(), &letter, 1, nullptr, read.call.get());
        CHECK(ipc::is_disconnected(read.call.wait(sent, long_ms).error));
    }
    SECTION("the server has closed its end") {
        pipe.server.reset();
        CHECK_FALSE(ReadFile(pipe.client.get(), &letter, 1, &bytes, nullptr));
        CHECK(ipc::is_disconnected(GetLastError()));
        CHECK_FALSE(WriteFile(pipe.client.get(), &letter, 1, &bytes, nullptr));
        CHECK(ipc::is_disconnected(GetLastError()));
    }
    SECTION("the server has disconnected the client") {
        DisconnectNamedPipe(pipe.server.get());
        CHECK_FALSE(ReadFile(pipe.client.get(), &letter, 1, &bytes, nullptr));
        CHECK(ipc::is_disconnected(GetLastError()));
    }
    for (const DWORD other : {DWORD{ERROR_SUCCESS}, DWORD{ERROR_MORE_DATA}, DWORD{WAIT_TIMEOUT},
                              DWORD{ERROR_OPERATION_ABORTED}, DWORD{ERROR_PIPE_BUSY}}) {
        CHECK_FALSE(ipc::is_disconnected(other));
    }
}
