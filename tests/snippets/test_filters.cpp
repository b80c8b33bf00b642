// Attacks docs/snippets/feed_and_drain.cpp.

#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring feed_and_drain = program_path(L"snippets", L"feed_and_drain.exe");
const std::wstring filter = program_path(L"11_child_filter", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");

// A file that the snippet feeds to a program. It holds digits and line ends, so that the filter does not change it.
class input_file {
public:
    explicit input_file(std::size_t bytes) : bytes_(bytes, '0') {
        for (std::size_t i = 0; i < bytes; i += 7) {
            bytes_[i] = i % 5 == 0 ? '\n' : static_cast<char>('1' + i % 9);
        }
        std::ofstream(std::filesystem::path(path()), std::ios::binary) << bytes_;
    }

    std::wstring path() const { return folder_.file(L"in.txt"); }
    const std::string& bytes() const { return bytes_; }

private:
    ipc::test::temporary_folder folder_;
    std::string bytes_;
};

std::wstring quoted(const std::wstring& path) {
    return L'"' + path + L'"';
}

} // namespace

TEST_CASE("feed_and_drain sends nothing, one byte and 5 MB through a filter") {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5'000'000}}) {
        const input_file input(size);
        const ipc::test::result result =
            run({feed_and_drain, L"60000", input.path(), quoted(filter)});
        CHECK(result.exit_code == 0);
        CHECK((result.output == input.bytes())); // in parentheses: a difference is not printed
    }
}

TEST_CASE("feed_and_drain accepts a program that reads nothing, or only the beginning") {
    const input_file input(5'000'000);
    const ipc::test::result ver = run({feed_and_drain, L"60000", input.path(), L"cmd /c ver"});
    CHECK(ver.exit_code == 0);
    CHECK_THAT(ver.output, ContainsSubstring("Microsoft Windows"));
    const ipc::test::result closed =
        run({feed_and_drain, L"60000", input.path(), quoted(helper) + L" close-input 3000000"});
    CHECK(closed.exit_code == 0);
    CHECK(closed.output.size() == 3'000'000);
}

TEST_CASE("feed_and_drain accepts a program that writes before it reads") {
    const input_file input(5'000'000);
    const ipc::test::result result =
        run({feed_and_drain, L"60000", input.path(), quoted(helper) + L" write-first 3000000"});
    CHECK(result.exit_code == 0);
    CHECK(result.output.size() == 8'000'000); // standard error shares the pipe
}

TEST_CASE("feed_and_drain ends a program that neither reads nor writes, at the limit") {
    const input_file input(5'000'000);
    const ipc::test::result result =
        run({feed_and_drain, L"1000", input.path(), quoted(helper) + L" hang"});
    CHECK_FALSE(result.timed_out);
    CHECK(result.exit_code == 1);
    CHECK_THAT(result.error_output, ContainsSubstring("(258)"));
    CHECK(result.left_running.empty());
}

TEST_CASE("feed_and_drain reports a missing program and wrong usage") {
    const input_file input(1);
    CHECK(run({feed_and_drain, L"1000", input.path(), L"no_such_program"}).exit_code == 1);
    CHECK(run({feed_and_drain, L"1000", input.path()}).exit_code == 2);
    CHECK(run({feed_and_drain, L"0", input.path(), L"cmd"}).exit_code == 2);
    CHECK(run({feed_and_drain, L"1000", L"no_such_file", L"cmd"}).exit_code == 2);
}
