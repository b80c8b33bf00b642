#include "common/error.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using ipc::test::compare_output;
using ipc::test::program_path;

namespace {

const std::wstring helper = program_path(L"tests", L"helper.exe");
const std::wstring run_pair = program_path(L"tests", L"run_pair.exe");

} // namespace

TEST_CASE("run catches a hang, says so and leaves nothing behind") {
    const ipc::test::result hung = ipc::test::run({helper, L"hang"}, {}, 1000);
    CHECK(hung.timed_out);
    CHECK(hung.left_running == std::vector<std::string>{"helper.exe"});
    CHECK(hung.exit_code == 1); // job::terminate gives this exit code
    CHECK(hung.output == "hanging\n");
}

TEST_CASE("run catches a crash") {
    const ipc::test::result crashed = ipc::test::run({helper, L"crash"});
    CHECK_FALSE(crashed.timed_out);
    CHECK(crashed.exit_code == 0xC0000005);
    CHECK(crashed.output == "about to crash\n");
}

TEST_CASE("run keeps standard output and standard error apart, byte for byte") {
    const ipc::test::result printed = ipc::test::run({helper, L"print"});
    CHECK(printed.exit_code == 0);
    CHECK(printed.output == "12 -3 narrow wide\n");
    CHECK(printed.error_output == "on standard error\n");
    CHECK(ipc::test::run({helper, L"binary"}).output.size() == 256 * 100);
}

TEST_CASE("a program keeps no more output than the options allow, and counts the rest") {
    ipc::test::start_options options;
    options.most_output_bytes = 1000;
    ipc::test::program printing({helper, L"binary"}, options);
    CHECK(printing.wait_for_end_of_output());
    CHECK(printing.output() == ipc::test::run({helper, L"binary"}).output.substr(0, 1000));
    CHECK(printing.output_bytes() == 256 * 100);
}

TEST_CASE("run finds a child that outlives its parent, and ends it") {
    const ipc::test::result left = ipc::test::run({helper, L"start-and-leave"}, {}, 2000);
    CHECK(left.timed_out);
    CHECK(left.exit_code == 0);
    CHECK(left.left_running == std::vector<std::string>{"helper.exe"});
}

TEST_CASE("a program that does not exist throws ERROR_FILE_NOT_FOUND") {
    try {
        ipc::test::run({program_path(L"tests", L"no_such_program.exe")});
        FAIL("did not throw");
    } catch (const ipc::win32_error& error) {
        CHECK(error.code() == ERROR_FILE_NOT_FOUND);
    }
}

TEST_CASE("wait_for_output sees text as it comes and its absence at the end") {
    ipc::test::program hanging({helper, L"hang"});
    CHECK(hanging.wait_for_output("hanging"));
    CHECK_FALSE(hanging.wait(0));
    CHECK(hanging.exit_code() == STILL_ACTIVE);
    hanging.kill(7);
    CHECK(hanging.wait());
    CHECK(hanging.exit_code() == 7);
    CHECK_FALSE(hanging.wait_for_output("never printed"));
}

TEST_CASE("a suspended program does nothing, and goes on afterwards") {
    const std::wstring name = L"Local\\ipc_demos.suspended." + ipc::test::unique_suffix();
    const ipc::unique_handle ready(CreateEventW(nullptr, TRUE, FALSE, (name + L".ready").c_str()));
    const ipc::unique_handle go(CreateEventW(nullptr, TRUE, FALSE, (name + L".go").c_str()));
    const ipc::test::program waiting(
        {helper, L"wait-then-echo", name + L".ready", name + L".go", L"text"});
    REQUIRE(WaitForSingleObject(ready.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
    {
        const ipc::test::suspended stop(waiting);
        REQUIRE_FALSE(stop.empty());
        SetEvent(go.get());
        CHECK_FALSE(waiting.wait(300)); // it would take some milliseconds
    }
    CHECK(waiting.wait());
    const ipc::test::suspended ended(waiting);
    CHECK(ended.empty());
}

TEST_CASE("handle_count sees open handles come and go") {
    constexpr int opened = 100;
    constexpr int margin =
        20; // an injected DLL or a thread pool may open or close handles meanwhile
    const auto count = [] {
        return static_cast<int>(ipc::test::handle_count(GetCurrentProcess()));
    };
    const int before = count();
    CHECK(before > 0);
    {
        std::vector<ipc::unique_handle> events;
        for (int i = 0; i < opened; ++i) {
            events.emplace_back(CreateEventW(nullptr, TRUE, FALSE, nullptr));
        }
        CHECK(std::abs(count() - before - opened) < margin);
    }
    CHECK(std::abs(count() - before) < margin);
}

TEST_CASE("running programs leaks no handles") {
    ipc::test::run({helper, L"silent"});
    const DWORD before = ipc::test::handle_count(GetCurrentProcess());
    for (int i = 0; i < 20; ++i) {
        ipc::test::run({helper, L"silent"});
    }
    // 20 times one leaked handle would be more than this margin.
    CHECK(ipc::test::handle_count(GetCurrentProcess()) < before + 15);
}

TEST_CASE("memory_bytes grows with what a process takes") {
    const std::uint64_t before = ipc::test::memory_bytes(GetCurrentProcess());
    const std::string memory(64 << 20, 'x');
    CHECK(memory.back() == 'x');
    CHECK(ipc::test::memory_bytes(GetCurrentProcess()) >= before + (60ull << 20));
}

TEST_CASE("a program remembers its peak memory after its end") {
    ipc::test::program taking({helper, L"take-memory", L"64"});
    REQUIRE(taking.wait_for_output("hanging"));
    CHECK(ipc::test::memory_bytes(taking.process()) >= 60u << 20);
    while (taking.peak_memory_bytes() < 60u << 20) { // until the next look, every 10 ms
        REQUIRE_FALSE(taking.wait(10));
    }
    taking.kill();
    REQUIRE(taking.wait());
    CHECK(taking.peak_memory_bytes() >= 60u << 20);
    CHECK(taking.peak_memory_bytes() < 100u << 20);
}

TEST_CASE("compare_output accepts any interleaving and no other difference") {
    const std::vector<std::string> expected = {"A: 1", "B: 1", "A: 2", "B: 2"};
    CHECK(compare_output(expected, {"A: 1", "A: 2"}, {{"B: 1", "B: 2"}}).empty());
    CHECK_THAT(compare_output(expected, {"A: 2", "A: 1"}, {{"B: 1", "B: 2"}}),
               ContainsSubstring("A printed \"A: 2\" where \"A: 1\" is expected"));
    CHECK_THAT(compare_output(expected, {"A: 1", "A: 2"}, {{"B: 1"}}),
               ContainsSubstring("B printed nothing more where \"B: 2\""));
    CHECK_THAT(compare_output(expected, {"A: 1", "A: 2", "A: 3"}, {{"B: 1", "B: 2"}}),
               ContainsSubstring("A printed \"A: 3\" where nothing more"));
    CHECK_THAT(compare_output(expected, {}, {}), ContainsSubstring("A printed nothing more"));
    CHECK_THAT(compare_output({"C: 1"}, {}, {}), ContainsSubstring("neither A's nor B's"));
}

TEST_CASE("compare_output finds B's lines in A's output if A has started B") {
    const std::vector<std::string> expected = {"A: 1", "B: 1", "A: 2"};
    CHECK(compare_output(expected, {"A: 1", "B: 1", "A: 2"}, {}).empty());
    CHECK_THAT(compare_output(expected, {"A: 1", "A: 2"}, {}),
               ContainsSubstring("B printed nothing more where \"B: 1\""));
    CHECK_THAT(compare_output({"A: 1"}, {"A: 1", "B: 1"}, {}),
               ContainsSubstring("B printed \"B: 1\" where nothing more"));
}

TEST_CASE("compare_output lets several Bs come in any order, but all of them") {
    const std::vector<std::string> expected = {"A: 1", "B: x", "B: y", "B: y"};
    CHECK(compare_output(expected, {"A: 1"}, {{"B: y"}, {"B: x", "B: y"}}).empty());
    CHECK_FALSE(compare_output(expected, {"A: 1"}, {{"B: y"}, {"B: x", "B: x"}}).empty());
    CHECK_FALSE(compare_output(expected, {"A: 1"}, {{"B: y"}, {"B: x"}}).empty());
}

TEST_CASE("run_pair ends a pair that hangs and says which process it was") {
    const ipc::test::result hung =
        ipc::test::run({run_pair, L"--limit", L"2", L"01_stdout_redirection", helper, L"hang"});
    CHECK(hung.exit_code == 1);
    CHECK_FALSE(hung.timed_out);
    CHECK(hung.left_running.empty());
    CHECK_THAT(hung.output, ContainsSubstring("A: | hanging"));
    CHECK_THAT(hung.output, ContainsSubstring("still running after 2 s and ended now: process A"));
}

TEST_CASE("run_pair fails when a program fails or crashes") {
    const ipc::test::result crashed =
        ipc::test::run({run_pair, L"01_stdout_redirection", helper, L"crash"});
    CHECK(crashed.exit_code == 1);
    CHECK_THAT(crashed.output, ContainsSubstring("exit codes: A 1"));
    const ipc::test::result wrong =
        ipc::test::run({run_pair, L"01_stdout_redirection", L"--no-such-option"});
    CHECK(wrong.exit_code == 1);
    CHECK_THAT(wrong.output, ContainsSubstring("exit codes: A 2"));
}

TEST_CASE("run_pair fails when the output is not the expected one") {
    const auto folder = std::filesystem::temp_directory_path();
    const std::wstring file =
        (folder / (L"ipc_demos." + std::to_wstring(GetCurrentProcessId()) + L".txt")).wstring();
    const std::vector<std::wstring> command = {run_pair, L"--expect", file,
                                               L"01_stdout_redirection"};
    const ipc::test::result recorded =
        ipc::test::run({run_pair, L"--record", file, L"01_stdout_redirection"});
    CHECK(recorded.exit_code == 0);
    CHECK(ipc::test::run(command).exit_code == 0);
    std::ofstream(std::filesystem::path(file), std::ios::app) << "A: one line more\n";
    const ipc::test::result different = ipc::test::run(command);
    std::filesystem::remove(file);
    CHECK(different.exit_code == 1);
    CHECK_THAT(different.output, ContainsSubstring("not as expected: A printed nothing more where "
                                                   "\"A: one line more\" is expected"));
    CHECK(ipc::test::run(command).exit_code == 1); // the file is gone
}

TEST_CASE("run_pair refuses wrong usage and names a pair that is not there") {
    CHECK(ipc::test::run({run_pair}).exit_code == 2);
    CHECK(ipc::test::run({run_pair, L"--limit", L"x", L"01_stdout_redirection"}).exit_code == 2);
    CHECK(ipc::test::run({run_pair, L"--limit", L"5000000", L"01_stdout_redirection"}).exit_code ==
          2); // more milliseconds than a DWORD holds
    const ipc::test::result missing = ipc::test::run({run_pair, L"99_no_such_pair"});
    CHECK(missing.exit_code == 1);
    CHECK_THAT(missing.error_output, ContainsSubstring("99_no_such_pair"));
}

TEST_CASE(
    "run_pair leaves a pair out if each of its programs says that this system cannot run it") {
    const ipc::test::temporary_folder pair;
    for (const auto* name : {L"processA.exe", L"processB.exe"}) {
        std::filesystem::copy_file(helper, pair.file(name));
    }
    const std::wstring file = pair.file(L"recorded.txt");
    const auto run_with = [&](std::vector<std::wstring> b) {
        std::vector<std::wstring> command = {
            run_pair,       L"--record", file, L"--expect",
            helper, // nothing is recorded or compared
            pair.file(L""), L"end-with", L"3", L"A: left out: a reason",
            L"--"};
        command.insert(command.end(), b.begin(), b.end());
        return ipc::test::run(command);
    };
    const ipc::test::result left_out = run_with({L"end-with", L"3", L"B: left out: a reason"});
    CHECK(left_out.exit_code == 4); // not 3, as abort() has
    CHECK_THAT(left_out.output, ContainsSubstring("run_pair: left out: a reason\n"));
    CHECK_FALSE(std::filesystem::exists(file));
    for (const auto& b : std::vector<std::vector<std::wstring>>{
             {L"end-with", L"0", L"B: left out: a reason"}, // it ran
             {L"end-with", L"1", L"B: left out: a reason"},
             {L"end-with", L"3", L"B: another line"}, // as abort() does
             {L"end-with", L"3", L""}}) {
        CHECK(run_with(b).exit_code == 1);
    }
}

TEST_CASE("run_pair does not colour a pipe") {
    const ipc::test::result shown = ipc::test::run({run_pair, L"01_stdout_redirection"});
    CHECK_THAT(shown.output, !ContainsSubstring("\x1b"));
}

TEST_CASE("same_content tells equal files from different ones") {
    const ipc::test::temporary_folder folder;
    ipc::test::write_random_file(folder.file(L"a"), 3'000'001);
    ipc::test::write_random_file(folder.file(L"same"), 3'000'001);
    ipc::test::write_random_file(folder.file(L"other"), 3'000'001, 2);
    ipc::test::write_random_file(folder.file(L"shorter"), 3'000'000);
    ipc::test::write_random_file(folder.file(L"empty"), 0);
    CHECK(ipc::test::same_content(folder.file(L"a"), folder.file(L"same")));
    CHECK_FALSE(ipc::test::same_content(folder.file(L"a"), folder.file(L"other")));
    CHECK_FALSE(ipc::test::same_content(folder.file(L"a"), folder.file(L"shorter")));
    CHECK_FALSE(ipc::test::same_content(folder.file(L"a"), folder.file(L"missing")));
    CHECK_FALSE(ipc::test::same_content(folder.file(L"missing"), folder.file(L"missing")));
    CHECK(ipc::test::same_content(folder.file(L"empty"), folder.file(L"empty")));
    CHECK(ipc::test::read_file(folder.file(L"a")).size() == 3'000'001);
}
