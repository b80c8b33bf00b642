#pragma once

// How the tests of several pairs judge a program that ends by itself. For Catch2 test cases only.

#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <string>

namespace ipc::test {

// Waits for the program. It has to fail with exit code 1, give its reason in one line that starts like this, and
// leave no process behind.
inline void check_failed(program& ended, const std::string& line) {
    REQUIRE(ended.wait());
    REQUIRE(ended.wait_for_end_of_output());
    CHECK(ended.exit_code() == 1);
    CHECK_THAT(ended.error_output(), Catch::Matchers::StartsWith(line));
    CHECK(lines_of(ended.error_output()).size() == 1);
    CHECK(ended.job().process_ids().empty());
}

// Waits for the program. It has to succeed without a word on standard error, end its output with these lines, and
// leave no process behind.
inline void check_succeeded(program& ended, const std::string& last_lines) {
    REQUIRE(ended.wait());
    REQUIRE(ended.wait_for_end_of_output());
    CHECK(ended.exit_code() == 0);
    CHECK_THAT(ended.output(), Catch::Matchers::EndsWith(last_lines + "\n"));
    CHECK(ended.error_output().empty());
    CHECK(ended.job().process_ids().empty());
}

} // namespace ipc::test
