#include "common/text.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <fstream>
#include <random>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"01_stdout_redirection", L"processA.exe");
const std::wstring process_b = program_path(L"01_stdout_redirection", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");

// The same formula as B's, written again: B cannot vouch for itself.
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

// The processes that A started, opened so that their end can be waited for.
std::vector<ipc::unique_handle> children_of(const ipc::test::program& a) {
    std::vector<ipc::unique_handle> children;
    for (const DWORD id : a.job().process_ids()) {
        if (id != a.id()) {
            children.emplace_back(
                OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
        }
    }
    return children;
}

} // namespace

TEST_CASE("A shows what B wrote, its size and its exit code") {
    for (const bool classic : {false, true}) {
        const ipc::test::result shown = run(a_with(classic ? std::vector<std::wstring>{L"--classic"}
                                                           : std::vector<std::wstring>{}));
        INFO("classic: " << classic << ", standard error: " << shown.error_output);
        CHECK(shown.exit_code == 0);
        CHECK_THAT(shown.output, ContainsSubstring("A: | B: my standard output is a pipe\n"));
        CHECK_THAT(shown.output, ContainsSubstring("A: | B: a line on standard error\n"));
        CHECK_THAT(shown.output, EndsWith("A: exit code 42\n"));
        CHECK(shown.error_output.empty());
        CHECK(shown.left_running.empty());
    }
}

TEST_CASE("B works without a pipe and without anybody who captures it") {
    const ipc::test::result alone = run({process_b});
    CHECK(alone.exit_code == 42);
    CHECK(ipc::test::lines_of(alone.output).size() == 3);
    CHECK(ipc::test::lines_of(alone.error_output).size() == 1);
}

TEST_CASE("200 MB arrive unchanged and memory stays flat") {
    constexpr std::uint64_t total = 200'000'000;
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"out.bin");
    ipc::test::program a(a_with({L"--out", file, process_b, L"--bytes", std::to_wstring(total)}));
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), ContainsSubstring("A: the pipe ended after 200000000 bytes\n"));
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

TEST_CASE("A real program is captured") {
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
    for (const std::wstring option : {L"", L"--classic"}) {
        std::vector<std::wstring> arguments = {L"--out", file, helper, L"binary"};
        if (!option.empty()) {
            arguments.insert(arguments.begin(), option);
        }
        CHECK(run(a_with(arguments)).exit_code == 0);
        const std::string bytes = ipc::test::read_file(file);
        REQUIRE(bytes.size() == 256 * 100);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            REQUIRE(static_cast<unsigned char>(bytes[i]) == i % 256);
        }
    }
}

TEST_CASE("Binary output cannot send control characters to the screen") {
    const ipc::test::result shown = run(a_with({helper, L"binary"}));
    CHECK(shown.exit_code == 0);
    CHECK_THAT(shown.output, !ContainsSubstring("\x1b") && !ContainsSubstring("\r"));
    CHECK_THAT(shown.output, ContainsSubstring("A: the pipe ended after 25600 bytes\n"));
}

TEST_CASE("A child that writes nothing ends in 0 bytes, on the screen and in a file") {
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
    std::vector<std::wstring> arguments = {helper, L"echo-arguments"};
    arguments.insert(arguments.end(), hard.begin(), hard.end());
    for (const bool classic : {false, true}) {
        const ipc::test::temporary_folder folder;
        const std::wstring file = folder.file(L"out.bin");
        std::vector<std::wstring> all = {L"--out", file};
        if (classic) {
            all.insert(all.begin(), L"--classic");
        }
        all.insert(all.end(), arguments.begin(), arguments.end());
        CHECK(run(a_with(all)).exit_code == 0);
        std::string expected;
        for (const std::wstring& argument : hard) {
            expected += ipc::to_utf8(argument) + '\n';
        }
        CHECK(ipc::test::read_file(file) == expected);
    }
}

TEST_CASE("A line of 1 MB without an end is shown in pieces, all of it") {
    const ipc::test::result shown = run(a_with({helper, L"long-line", L"1000000"}));
    CHECK(shown.exit_code == 0);
    CHECK(std::ranges::count(shown.output, 'x') ==
          1'000'000 + 2); // and in "helper.exe", "exit code"
}

TEST_CASE("A child that closes its output early and lives on is waited for") {
    const named_event release;
    ipc::test::program a(a_with({helper, L"close-output", release.name}));
    REQUIRE(a.wait_for_output("A: the pipe ended after 8 bytes\n"));
    CHECK(children_of(a).size() == 1);
    CHECK_FALSE(a.wait(0));
    SetEvent(release.handle.get());
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), EndsWith("A: exit code 5\n"));
}

TEST_CASE("A does not wait forever for a child that closed its output") {
    const named_event never;
    ipc::test::program a(a_with({helper, L"close-output", never.name}));
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 1);
    CHECK_THAT(a.error_output(),
               StartsWith("A: the wait for the program's end failed: WAIT_TIMEOUT (258)"));
    CHECK(ipc::test::lines_of(a.error_output()).size() == 1);
}

TEST_CASE("A child that crashes is told by its exit code") {
    const ipc::test::result crashed = run(a_with({helper, L"crash"}));
    CHECK(crashed.exit_code == 1);
    CHECK_THAT(crashed.output, ContainsSubstring("A: | about to crash\n"));
    CHECK_THAT(crashed.output, EndsWith("A: exit code 0xC0000005 (STATUS_ACCESS_VIOLATION)\n"));
}

TEST_CASE("A program that does not exist is an error on A's own standard error") {
    for (const std::wstring way : {L"", L"--classic"}) {
        std::vector<std::wstring> arguments = {L"no_such_program"};
        if (!way.empty()) {
            arguments.insert(arguments.begin(), way);
        }
        const ipc::test::result missing = run(a_with(arguments));
        CHECK(missing.exit_code == 1);
        CHECK_THAT(missing.error_output,
                   StartsWith("A: CreateProcessW failed: ERROR_FILE_NOT_FOUND (2): "));
    }
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
    std::vector<ipc::unique_handle> children = children_of(a);
    // The child has ended or is about to; only the grandchild waits for the event.
    CHECK_FALSE(a.wait(0));
    CHECK_THAT(a.output(), !ContainsSubstring("the pipe ended"));
    SetEvent(release.handle.get());
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK_THAT(a.output(), ContainsSubstring("A: | grandchild done\nA: the pipe ended after"));
    CHECK_THAT(a.output(), EndsWith("A: exit code 6\n"));
}

TEST_CASE("An unrelated inheritable handle is inherited with --classic and not by default") {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const ipc::unique_handle event(CreateEventW(&inheritable, TRUE, FALSE, nullptr));
    const std::wstring value = std::to_wstring(reinterpret_cast<std::uintptr_t>(event.get()));
    ipc::test::start_options options;
    options.inherited = {event.get()}; // A has it too now, inheritable and under the same number

    run(a_with({helper, L"set-event-handle", value}), options);
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_TIMEOUT);

    run(a_with({L"--classic", helper, L"set-event-handle", value}), options);
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0);
}

TEST_CASE("B ends with exit code 1 when A is killed, at any moment") {
    std::mt19937 random(20);
    for (int i = 0; i < 20; ++i) {
        ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
        REQUIRE(a.wait_for_output("A: | ")); // B is writing
        CHECK_FALSE(a.wait(random() % 30));  // until a random moment
        const std::vector<ipc::unique_handle> children = children_of(a);
        a.kill();
        REQUIRE(a.job().wait_until_empty(ipc::test::default_limit_ms));
        for (const ipc::unique_handle& child : children) {
            DWORD exit_code = 0;
            REQUIRE(GetExitCodeProcess(child.get(), &exit_code));
            CHECK(exit_code == 1);
        }
    }
}

TEST_CASE("A ends and tells the exit code when B is killed, at any moment") {
    std::mt19937 random(21);
    for (int i = 0; i < 20; ++i) {
        ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
        REQUIRE(a.wait_for_output("A: | ")); // B is writing
        CHECK_FALSE(a.wait(random() % 30));  // until a random moment
        for (const DWORD id : a.job().process_ids()) {
            if (id != a.id()) {
                const ipc::unique_handle b(OpenProcess(PROCESS_TERMINATE, FALSE, id));
                TerminateProcess(b.get(), 77);
            }
        }
        REQUIRE(a.wait());
        a.wait_for_end_of_output();
        CHECK(a.exit_code() == 0);
        CHECK_THAT(a.output(), EndsWith("A: exit code 77\n"));
    }
}

TEST_CASE("Ten pairs at once do not disturb each other") {
    std::vector<std::unique_ptr<ipc::test::program>> all;
    for (int i = 0; i < 10; ++i) {
        all.push_back(std::make_unique<ipc::test::program>(a_with({})));
    }
    for (const auto& a : all) {
        REQUIRE(a->wait());
        a->wait_for_end_of_output();
        CHECK(a->exit_code() == 0);
        CHECK_THAT(a->output(), EndsWith("A: exit code 42\n"));
    }
}

TEST_CASE("A takes no more handles as it reads on") {
    ipc::test::program a(a_with({process_b, L"--bytes", L"1000000000000"}));
    REQUIRE(a.wait_for_output("A: | "));
    const DWORD before = ipc::test::handle_count(a.process());
    CHECK_FALSE(a.wait(500)); // some megabytes; the number does not matter
    CHECK(ipc::test::handle_count(a.process()) <= before + 5); // it has read a thousand times
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"},
        {process_a, L"--out", L""},       {process_b, L"--no-such-option"},
        {process_b, L"--bytes", L"x"},    {process_b, L"unexpected"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs explain themselves with --help") {
    for (const std::wstring& program : {process_a, process_b}) {
        const ipc::test::result help = run({program, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
