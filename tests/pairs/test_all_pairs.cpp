#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>

#include <memory>

namespace {

using arguments = std::vector<std::wstring>;

struct pair_run {
    std::wstring folder;
    arguments for_a; // beside --name
};

// Pair 01 has no names; its A starts B.
const std::vector<pair_run> pairs = {
    {L"02_duplicate_handle", {}},
    {L"03_two_pipe_duplex", {}},
    {L"04_message_mode", {}},
    {L"05_overlapped_server", {L"--clients", L"1"}},
    {L"06_file_mapping_events", {}},
    {L"07_thread_per_client", {L"--clients", L"1"}},
    {L"08_completion_routines", {L"--clients", L"1"}},
    {L"09_completion_port", {L"--clients", L"1"}},
    {L"10_transactions", {L"--clients", L"4"}},
};

std::unique_ptr<ipc::test::program> start(const std::wstring& folder, const wchar_t* file,
                                          const std::wstring& suffix, const arguments& more) {
    arguments command = {ipc::test::program_path(folder, file), L"--name", suffix};
    command.insert(command.end(), more.begin(), more.end());
    return std::make_unique<ipc::test::program>(command);
}

} // namespace

TEST_CASE("All pairs run twice at the same time under different names") {
    const arguments suffixes = {ipc::test::unique_suffix(), ipc::test::unique_suffix()};
    std::vector<std::unique_ptr<ipc::test::program>> all;
    for (const std::wstring& suffix : suffixes) {
        for (const pair_run& pair : pairs) {
            all.push_back(start(pair.folder, L"processA.exe", suffix, pair.for_a));
        }
    }
    // Every A is there before the first B comes: otherwise they might run one after the other.
    for (const auto& a : all) {
        CHECK(a->wait_for_output("A: "));
        CHECK(a->error_output().empty());
    }
    for (const std::wstring& suffix : suffixes) {
        for (const pair_run& pair : pairs) {
            all.push_back(start(pair.folder, L"processB.exe", suffix, {}));
        }
        all.push_back(std::make_unique<ipc::test::program>(
            arguments{ipc::test::program_path(L"01_stdout_redirection", L"processA.exe")}));
    }
    for (const auto& one : all) {
        REQUIRE(one->wait());
        one->wait_for_end_of_output();
        INFO(one->output() << one->error_output());
        CHECK(one->exit_code() == 0);
    }
}
