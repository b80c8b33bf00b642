#include "tests/harness/launcher.hpp"
#include "tests/harness/own_clipboard.hpp"

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pairs.hpp" // written by CMake: `pairs`, each as run_pair takes it

namespace {

using arguments = std::vector<std::wstring>;

// Whether the objects of the pair have names. In two pairs A starts B and hands it the ends of its pipes.
bool has_names(const arguments& pair) {
    return pair.front() != L"01_stdout_redirection" && pair.front() != L"11_child_filter";
}

// The command lines of A and of each B, all with this suffix in the names of their objects.
std::vector<arguments> commands_of(const arguments& pair, const std::wstring& suffix) {
    std::vector<arguments> commands = {{ipc::test::program_path(pair.front(), L"processA.exe")}};
    if (has_names(pair)) {
        commands.front().insert(commands.front().end(), {L"--name", suffix});
    }
    for (auto argument = pair.begin() + 1; argument != pair.end(); ++argument) {
        if (*argument == L"--") {
            commands.push_back(
                {ipc::test::program_path(pair.front(), L"processB.exe"), L"--name", suffix});
        } else {
            commands.back().push_back(*argument);
        }
    }
    return commands;
}

// Whether the programs have to keep off the user's clipboard.
bool uses_clipboard(const arguments& pair) {
    return pair.front() == L"22_clipboard";
}

} // namespace

TEST_CASE("All pairs run twice at the same time under different names") {
    REQUIRE_FALSE(pairs.empty());
    std::string no_clipboard;
    const auto clipboard = ipc::test::try_own_clipboard(no_clipboard);
    std::vector<arguments> tested = pairs;
    if (clipboard == nullptr) {
        WARN("left out: 22_clipboard: " << no_clipboard);
        std::erase_if(tested, uses_clipboard);
    }
    const auto start = [&](const arguments& pair, const arguments& command) {
        return std::make_unique<ipc::test::program>(
            command, uses_clipboard(pair) ? clipboard->here() : ipc::test::start_options());
    };
    std::vector<std::unique_ptr<ipc::test::program>> programs;
    std::vector<std::pair<arguments, arguments>> commands_of_bs; // each with its pair
    std::size_t left_out = 0; // programs of pairs that this system cannot run
    for (const std::wstring& suffix : {ipc::test::unique_suffix(), ipc::test::unique_suffix()}) {
        for (const arguments& pair : tested) {
            const std::vector<arguments> commands = commands_of(pair, suffix);
            programs.push_back(start(pair, commands.front()));
            for (std::size_t i = 1; i < commands.size(); ++i) {
                commands_of_bs.emplace_back(pair, commands[i]);
            }
        }
    }
    // Every A is there before the first B comes: otherwise they might run one after the other.
    for (std::size_t i = 0; i < programs.size(); ++i) {
        // The relay prints only what its server sends, and waits for the server.
        CHECK((tested[i % tested.size()].front() == L"12_pipe_relay" ||
               programs[i]->wait_for_output("A: ")));
        CHECK((programs[i]->error_output().empty() ||
               programs[i]->error_output().starts_with("A: left out: ")));
    }
    for (const auto& [pair, command] : commands_of_bs) {
        programs.push_back(start(pair, command));
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
