#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "pairs.hpp" // written by CMake: `pairs`, each as run_pair takes it

namespace {

using arguments = std::vector<std::wstring>;

// The command lines of A and of each B, all with this suffix in the names of their objects.
std::vector<arguments> commands_of(const arguments& pair, const std::wstring& suffix) {
    std::vector<arguments> commands = {
        {ipc::test::program_path(pair.front(), L"processA.exe"), L"--name", suffix}};
    for (auto argument = pair.begin() + 1; argument != pair.end(); ++argument) {
        if (*argument == L"--") {
            commands.push_back(
                {ipc::test::program_path(pair.front(), L"processB.exe"), L"--name", suffix});
        } else {
            commands.back().push_back(*argument);
        }
    }
    if (commands.size() == 1) { // A starts B and hands it what it needs, without names
        commands.front().erase(commands.front().begin() + 1, commands.front().begin() + 3);
    }
    return commands;
}

} // namespace

TEST_CASE("All pairs run twice at the same time under different names") {
    REQUIRE_FALSE(pairs.empty());
    std::vector<std::unique_ptr<ipc::test::program>> programs;
    std::vector<arguments> commands_of_bs;
    std::size_t left_out = 0; // programs of pairs that this system cannot run
    for (const std::wstring& suffix : {ipc::test::unique_suffix(), ipc::test::unique_suffix()}) {
        for (const arguments& pair : pairs) {
            const std::vector<arguments> commands = commands_of(pair, suffix);
            programs.push_back(std::make_unique<ipc::test::program>(commands.front()));
            commands_of_bs.insert(commands_of_bs.end(), commands.begin() + 1, commands.end());
        }
    }
    // Every A is there before the first B comes: otherwise they might run one after the other.
    for (std::size_t i = 0; i < programs.size(); ++i) {
        // The relay prints only what its server sends, and waits for the server.
        CHECK((pairs[i % pairs.size()].front() == L"12_pipe_relay" ||
               programs[i]->wait_for_output("A: ")));
        CHECK((programs[i]->error_output().empty() ||
               programs[i]->error_output().starts_with("A: left out: ")));
    }
    for (const arguments& command : commands_of_bs) {
        programs.push_back(std::make_unique<ipc::test::program>(command));
    }
    for (const auto& program : programs) {
        REQUIRE(program->wait());
        program->wait_for_end_of_output();
        INFO(program->output() << program->error_output());
        const std::string reason = ipc::test::left_out_reason(*program);
        if (reason.empty()) {
            CHECK(program->exit_code() == 0);
        } else {
            ++left_out;
            WARN("left out: " << reason);
        }
    }
    CHECK(left_out < programs.size() / 2); // of one pair or two
}

TEST_CASE("A program gets * and ? as they were typed, not the names of files") {
    const ipc::test::result echoed = ipc::test::run(
        {ipc::test::program_path(L"tests", L"helper.exe"), L"echo-arguments", L"*", L"????*.*"});
    CHECK(echoed.output == "*\n????*.*\n");
}
