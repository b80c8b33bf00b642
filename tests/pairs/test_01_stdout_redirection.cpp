#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"01_stdout_redirection", L"processA.exe");
const std::wstring process_b = program_path(L"01_stdout_redirection", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");

// Repeats the formula of B's pattern, so that the test finds a mistake in B's own.
bool is_pattern(const std::string& bytes, std::uint64_t offset) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::uint64_t n = offset + i;
        const std::uint64_t byte =
            (n & 0xFF) ^ (n >> 8 & 0xFF) ^ (n >> 16 & 0xFF) ^ (n >> 24 & 0xFF);
        if (static_cast<unsigned char>(bytes[i]) != byte) {
            return false;
        }
    }
    return true;
}

// An event that a helper waits for.
struct named_event {
    std::wstring name = L"Local\\ipc_demos.01." + ipc::test::unique_suffix();
    ipc::unique_handle handle{CreateEventW(nullptr, TRUE, FALSE, name.c_str())};
};

std::vector<std::wstring> a_with(std::vector<std::wstring> arguments) {
    arguments.insert(arguments.begin(), process_a);
    return arguments;
}

// The running processes of A's job that have this file name, opened for waiting and for terminating.
// The system may add others, such as conhost.exe.
std::vector<ipc::unique_handle> children_of(const ipc::test::program& a, std::wstring_view name) {
    std::vector<ipc::unique_handle> children;
    for (const DWORD id : a.job().process_ids()) {
        ipc::unique_handle process(OpenProcess(
            SYNCHRONIZE | PROCESS_TERMINATE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
        std::wstring path(32768, L'\0');
        auto length = static_cast<DWORD>(path.size());
        if (process && QueryFullProcessImageNameW(process.get(), 0, path.data(), &length)) {
            path.resize(length);
            if (path.ends_with(name)) {
                children.push_back(std::move(process));
            }
        }
    }
    return children;
}

} // namespace

TEST_CASE("A shows what B wrote, its size and its exit code") {
    ipc::test::program a(a_with({}));
    REQUIRE(a.wait());
    REQUIRE(a.wait_for_end_of_output());
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), ContainsSubstring("A: | B: my standard output is a pipe\n"));
    CHECK_THAT(a.output(), ContainsSubstring("A: | B: a line on standard error\n"));
    CHECK_THAT(a.output(), EndsWith("A: exit code 42\n"));
    CHECK(a.error_output().empty());
    CHECK(a.job().wait_until_empty(ipc::test::default_limit_ms)); // no process is left behind
}

TEST_CASE("B runs as well without A") {
    const ipc::test::result alone = run({process_b});
    CHECK(alone.exit_code == 42);
    CHECK(ipc::test::lines_of(alone.output).size() == 3);
    CHECK(ipc::test::lines_of(alone.error_output).size() == 1);
}

TEST_CASE("100 MB arrive unchanged, and A needs little memory") {
    constexpr std::uint64_t total = 100'000'000;
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"out.bin");
    ipc::test::program a(a_with({L"--out", file, process_b, L"--bytes", std::to_wstring(total)}));
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), ContainsSubstring("A: the pipe ended after 100000000 bytes\n"));
    CHECK(a.peak_memory_bytes() > 0);
    CHECK(a.peak_memory_bytes() < 20 << 20);

    std::ifstream written(std::filesystem::path(file), std::ios::binary);
    std::string piece(1 << 20, '\0');
    std::uint64_t read = 0;
    bool same = true;
    while (written.read(piece.data(), static_cast<std::streamsize>(piece.size())),
           written.gcount() > 0) {
        piece.resize(static_cast<std::size_t>(written.gcount()));
        same = same && is_pattern(piece, read);
        read += piece.size();
        piece.resize(1 << 20);
    }
    CHECK(same);
    CHECK(read == total);
}

TEST_CASE("A captures programs that know nothing of it") {
    const ipc::test::result ver = run(a_with({L"cmd", L"/c", L"ver"}));
    CHECK(ver.exit_code == 0);
    CHECK_THAT(ver.output, ContainsSubstring("A: | Microsoft Windows"));
    CHECK_THAT(ver.output, EndsWith("A: exit code 0\n"));
    const ipc::test::result dir = run(a_with({L"cmd", L"/c", L"dir", L"C:\\"}));
    CHECK(dir.exit_code == 0);
    CHECK_THAT(dir.output, ContainsSubstring("Program Files"));
}

TEST_CASE("Binary output arrives unchanged in the file") {
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"out.bin");
    CHECK(run(a_with({L"--out", file, helper, L"binary"})).exit_code == 0);
    const std::string bytes = ipc::test::read_file(file);
    REQUIRE(bytes.size() == 256 * 100);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        REQUIRE(static_cast<unsigned char>(bytes[i]) == i % 256);
    }
}

TEST_CASE("Control characters in the output do not reach the screen") {
    const ipc::test::result shown = run(a_with({helper, L"binary"}));
    CHECK(shown.exit_code == 0);
    CHECK_THAT(shown.output, !ContainsSubstring("\x1b") && !ContainsSubstring("\r"));
    CHECK_THAT(shown.output, ContainsSubstring("A: the pipe ended after 25600 bytes\n"));
}

TEST_CASE("A child that writes nothing gives 0 bytes, on the screen and in a file") {
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"out.bin");
    const ipc::test::result shown = run(a_with({helper, L"silent"}));
    CHECK(shown.output == "A: running helper.exe\nA: the pipe ended after 0 bytes\n"
                          "A: exit code 0\n");
    CHECK(run(a_with({L"--out", file, helper, L"silent"})).exit_code == 0);
    CHECK(std::filesystem::exists(file));
    CHECK(ipc::test::read_file(file).empty());
}

TEST_CASE("UTF-8 arrives as it was written") {
    const ipc::test::result shown =
        run(a_with({helper, L"echo-arguments", L"Gr\u00FC\u00DFe, \u4F60\u597D"}));
    CHECK_THAT(shown.output, ContainsSubstring("A: | Gr\xC3\xBC\xC3\x9F"
                                               "e, \xE4\xBD\xA0\xE5\xA5\xBD\n"));
}

TEST_CASE("Arguments reach the child exactly") {
    const std::vector<std::wstring> hard = {
        L"", L"two words", L"\"", L"a\\\"b", L"ends with \\", L"\\\\", L"--out", L"\u00FC", L"%A%"};
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"out.bin");
    std::vector<std::wstring> arguments = {L"--out", file, helper, L"echo-arguments"};
    arguments.insert(arguments.end(), hard.begin(), hard.end());
    CHECK(run(a_with(arguments)).exit_code == 0);
    std::string expected;
    for (const std::wstring& argument : hard) {
        expected += ipc::to_utf8(argument) + '\n';
    }
    CHECK(ipc::test::read_file(file) == expected);
}

TEST_CASE("A child that reads its standard input gets the end at once") {
    const ipc::test::result shown = run(a_with({helper, L"read-input"}));
    CHECK(shown.exit_code == 0);
    CHECK_THAT(shown.output, ContainsSubstring("A: | input: 0 bytes\n"));
}

TEST_CASE("A line of 1 MB without a line break is shown in pieces, all of it") {
    const ipc::test::result shown = run(a_with({helper, L"long-line", L"1000000"}));
    CHECK(shown.exit_code == 0);
    CHECK(std::ranges::count(shown.output, 'x') ==
          1'000'000 + 2); // and one in "helper.exe" and in "exit code"
}

TEST_CASE("A waits for a child that closes its output before it ends") {
    const named_event release;
    ipc::test::program a(a_with({helper, L"close-output", release.name}));
    REQUIRE(a.wait_for_output("A: the pipe ended after 8 bytes\n"));
    CHECK(children_of(a, L"helper.exe").size() == 1);
    CHECK_FALSE(a.wait(0));
    SetEvent(release.handle.get());
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), EndsWith("A: exit code 5\n"));
}

TEST_CASE("A waits no longer than --limit for a child that has closed its output") {
    const named_event never;
    const ipc::test::result ended =
        run(a_with({L"--limit", L"1", helper, L"close-output", never.name}), {},
            8'000); // less than the default of 10 s
    CHECK_FALSE(ended.timed_out);
    CHECK(ended.exit_code == 1);
    CHECK_THAT(ended.output, EndsWith("A: the pipe ended after 8 bytes\n"));
    CHECK_THAT(ended.error_output,
               StartsWith("A: the wait for the program's end failed: WAIT_TIMEOUT (258)"));
    CHECK(ipc::test::lines_of(ended.error_output).size() == 1);
}

TEST_CASE("A silent child that has not closed its output may take longer than --limit") {
    const named_event release;
    ipc::test::program a(a_with({L"--limit", L"1", helper, L"wait-then-write", release.name}));
    REQUIRE(a.wait_for_output("A: running helper.exe\n"));
    CHECK_FALSE(a.wait(1'200));
    SetEvent(release.handle.get());
    REQUIRE(a.wait());
    CHECK(a.exit_code() == 0);
}

TEST_CASE("A shows the exit code of a child that crashed, and fails") {
    const ipc::test::result crashed = run(a_with({helper, L"crash"}));
    CHECK(crashed.exit_code == 1);
    CHECK_THAT(crashed.output, ContainsSubstring("A: | about to crash\n"));
    CHECK_THAT(crashed.output, EndsWith("A: exit code 0xC0000005 (STATUS_ACCESS_VIOLATION)\n"));
}

TEST_CASE("A program that does not exist is an error on A's own standard error") {
    const ipc::test::result missing = run(a_with({L"no_such_program"}));
    CHECK(missing.exit_code == 1);
    CHECK_THAT(missing.error_output,
               StartsWith("A: CreateProcessW failed: ERROR_FILE_NOT_FOUND (2): "));
}

TEST_CASE("An output file that cannot be written is an error before anything runs") {
    const ipc::test::result refused =
        run(a_with({L"--out", L"C:\\no such folder\\x", helper, L"silent"}));
    CHECK(refused.exit_code == 1);
    CHECK_THAT(refused.error_output,
               StartsWith("A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3): "));
    CHECK(refused.output.empty());
}

TEST_CASE("A grandchild that keeps the write end keeps the pipe open") {
    const named_event release;
    ipc::test::program a(a_with({helper, L"grandchild", release.name}));
    REQUIRE(a.wait_for_output("A: | child done\n"));
    // The child has ended or is about to end; the grandchild waits for the event.
    CHECK_FALSE(a.wait(0));
    CHECK_THAT(a.output(), !ContainsSubstring("the pipe ended"));
    SetEvent(release.handle.get());
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK_THAT(a.output(), ContainsSubstring("A: | grandchild done\nA: the pipe ended after"));
    CHECK_THAT(a.output(), EndsWith("A: exit code 6\n"));
}

TEST_CASE("The child does not inherit other inheritable handles of A") {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const ipc::unique_handle event(CreateEventW(&inheritable, TRUE, FALSE, nullptr));
    const std::wstring value = std::to_wstring(reinterpret_cast<std::uintptr_t>(event.get()));
    ipc::test::start_options options;
    options.inherited = {event.get()}; // A has it too now, inheritable and with the same value

    run(a_with({helper, L"set-event-handle", value}), options);
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_TIMEOUT);

    // The helper can set the event if it inherits the handle.
    run({helper, L"set-event-handle", value}, options);
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0);
}

TEST_CASE("B ends with exit code 1 when A is killed, at any moment") {
    std::mt19937 random(20);
    for (int round = 0; round < 12; ++round) {
        ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
        REQUIRE(a.wait_for_output("A: | ")); // B is writing
        CHECK_FALSE(a.wait(random() % 30));  // until a random moment
        const std::vector<ipc::unique_handle> children = children_of(a, L"processB.exe");
        REQUIRE(children.size() == 1);
        a.kill();
        REQUIRE(a.job().wait_until_empty(ipc::test::default_limit_ms));
        DWORD exit_code = 0;
        REQUIRE(GetExitCodeProcess(children[0].get(), &exit_code));
        CHECK(exit_code == 1);
    }
}

TEST_CASE("A ends and shows the exit code when B is killed, at any moment") {
    std::mt19937 random(21);
    for (int round = 0; round < 12; ++round) {
        ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
        REQUIRE(a.wait_for_output("A: | ")); // B is writing
        CHECK_FALSE(a.wait(random() % 30));  // until a random moment
        const std::vector<ipc::unique_handle> children = children_of(a, L"processB.exe");
        REQUIRE(children.size() == 1);
        TerminateProcess(children[0].get(), 77);
        REQUIRE(a.wait());
        a.wait_for_end_of_output();
        CHECK(a.exit_code() == 0);
        CHECK_THAT(a.output(), EndsWith("A: exit code 77\n"));
    }
}

TEST_CASE("Eight pairs at once do not disturb each other") {
    std::vector<std::unique_ptr<ipc::test::program>> parents;
    for (int i = 0; i < 8; ++i) {
        parents.push_back(std::make_unique<ipc::test::program>(a_with({})));
    }
    for (const auto& a : parents) {
        REQUIRE(a->wait());
        a->wait_for_end_of_output();
        CHECK(a->exit_code() == 0);
        CHECK_THAT(a->output(), EndsWith("A: exit code 42\n"));
    }
}

TEST_CASE("The number of A's handles does not grow while it reads") {
    ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
    REQUIRE(a.wait_for_output("A: | "));
    const DWORD before = ipc::test::handle_count(a.process());
    CHECK_FALSE(a.wait(300));                                   // A reads a hundred times or more
    CHECK(ipc::test::handle_count(a.process()) <= before + 10); // other software may open some
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"},
        {process_a, L"--out", L""},       {process_a, L"--limit", L"soon"},
        {process_b, L"--no-such-option"}, {process_b, L"--bytes", L"x"},
        {process_b, L"unexpected"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs show their usage with --help") {
    for (const std::wstring& program : {process_a, process_b}) {
        const ipc::test::result help = run({program, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
