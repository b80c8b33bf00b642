// Attacks docs/snippets/only_one_instance.cpp.

#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <memory>
#include <string>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring only_one_instance = program_path(L"snippets", L"only_one_instance.exe");

constexpr auto is_first = "the only instance";
constexpr auto is_second = "another instance is running";

std::wstring new_name() {
    return L"ipc_demos.snippet." + ipc::test::unique_suffix();
}

std::vector<std::wstring> with(const std::wstring& name, const wchar_t* ms = L"60000") {
    return {only_one_instance, name, ms};
}

void check_refused(const std::wstring& name) {
    const ipc::test::result second = run(with(name));
    CHECK(second.exit_code == 1);
    CHECK(ipc::test::lines_of(second.output) == std::vector<std::string>{is_second});
    CHECK(second.error_output.empty());
}

} // namespace

TEST_CASE("only_one_instance lets one copy run, and the next when that one has been killed") {
    const std::wstring name = new_name();
    for (int i = 0; i < 3; ++i) {
        program first(with(name));
        REQUIRE(first.wait_for_output(is_first));
        check_refused(name);
        check_refused(name);
        CHECK_FALSE(first.wait(0));
        first.kill();
        REQUIRE(first.wait());
    }
    const ipc::test::result last = run(with(name, L"0"));
    CHECK(last.exit_code == 0);
    CHECK(ipc::test::lines_of(last.output) == std::vector<std::string>{is_first});
}

TEST_CASE("only_one_instance lets exactly one of eight copies run that start at once") {
    const std::wstring name = new_name();
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 8; ++i) {
        all.push_back(std::make_unique<program>(with(name)));
    }
    int first = 0;
    for (const auto& copy : all) {
        while (!copy->wait(10) && !copy->wait_for_output(is_first, 10)) {}
        if (!copy->wait(0)) {
            ++first;
        }
    }
    CHECK(first == 1);
}

TEST_CASE("only_one_instance says so if another kind of object has the name") {
    const std::wstring name = new_name();
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, (L"Local\\" + name).c_str()));
    REQUIRE(event);
    check_refused(name);
}

TEST_CASE("only_one_instance keeps two names apart, and takes names in every language") {
    const std::wstring name = new_name();
    program first(with(name + L" Gr\u00FC\u00DFe"));
    REQUIRE(first.wait_for_output(is_first));
    program other(with(name + L" \u4F60\u597D"));
    REQUIRE(other.wait_for_output(is_first));
    check_refused(name + L" Gr\u00FC\u00DFe");
}

TEST_CASE("only_one_instance reports a name that cannot be, and wrong usage") {
    const ipc::test::result wrong = run(with(new_name() + L"\\x", L"0"));
    CHECK(wrong.exit_code == 1);
    CHECK_THAT(wrong.error_output, ContainsSubstring("CreateMutexW"));
    CHECK(run({only_one_instance}).exit_code == 2);
    CHECK(run({only_one_instance, L"x"}).exit_code == 2);
    CHECK(run({only_one_instance, L"", L"0"}).exit_code == 2);
    CHECK(run({only_one_instance, L"x", L""}).exit_code == 2);
    CHECK(run({only_one_instance, L"x", L"5s"}).exit_code == 2);
}
