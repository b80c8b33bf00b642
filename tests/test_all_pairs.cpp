#include "common/text.hpp"
#include "tests/launcher.hpp"

#include <catch2/catch_test_macros.hpp>

#include <memory>

namespace {

using arguments = std::vector<std::wstring>;

// How run_pair is called for a pair whose objects have this suffix.
struct pair_run {
    std::wstring folder;
    arguments (*command)(const std::wstring& suffix);
};

arguments one_b(const std::wstring& suffix) {
    return {L"--name", suffix, L"--", L"--name", suffix};
}

const std::vector<pair_run> pairs = {
    {L"01_stdout_redirection", [](const std::wstring&) { return arguments(); }}, // has no names
    {L"02_duplicate_handle", one_b},
    {L"03_two_pipe_duplex", one_b},
    {L"04_message_mode", one_b},
    {L"05_overlapped_server",
     [](const std::wstring& suffix) {
         return arguments{L"--clients", L"2", L"--name", suffix,    L"--",  L"--name",
                          suffix,       L"x", L"--",     L"--name", suffix, L"y"};
     }},
    {L"06_file_mapping_events", one_b},
};

} // namespace

TEST_CASE("All pairs run twice at the same time under different names") {
    struct running {
        std::string what;
        std::unique_ptr<ipc::test::program> launcher;
    };
    std::vector<running> all;
    for (const std::wstring& suffix : {ipc::test::unique_suffix(), ipc::test::unique_suffix()}) {
        for (const pair_run& pair : pairs) {
            arguments command = {ipc::test::program_path(L"tests", L"run_pair.exe"), pair.folder};
            const arguments rest = pair.command(suffix);
            command.insert(command.end(), rest.begin(), rest.end());
            all.push_back({ipc::to_utf8(pair.folder + L" " + suffix),
                           std::make_unique<ipc::test::program>(command)});
        }
    }
    for (const running& one : all) {
        INFO(one.what);
        REQUIRE(one.launcher->wait());
        one.launcher->wait_for_end_of_output();
        INFO(one.launcher->output() << one.launcher->error_output());
        CHECK(one.launcher->exit_code() == 0);
    }
}
