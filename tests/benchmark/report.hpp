#pragma once

// Turns the benchmark's figures into texts and charts. Nothing here is part of a lesson.

#include "tests/benchmark/load.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace ipc::test {

struct measured_server {
    std::string name;         // of the pair; the first one is the floor
    std::string most_clients; // as text: "1,024"
    std::string choose_when;
};

struct measured_point {
    std::size_t server = 0; // in report::servers
    unsigned clients = 0;
    DWORD message_bytes = 0;
    std::vector<measurement> rounds; // without those that failed
};

// All figures of one run. find() returns the figures of the round with the median rate.
struct report {
    std::vector<measured_server> servers;
    std::vector<measured_point> points;

    const measurement* find(std::size_t server, unsigned clients, DWORD message_bytes) const;
};

const measurement& median_round(const std::vector<measurement>& rounds); // not empty

struct output_file {
    std::string name;
    std::string content;
};

constexpr DWORD small_bytes = 64;
constexpr DWORD large_bytes = 64 * 1024;

std::string csv_text(const report& all);
std::string goals_text(const report& all); // which goals are met, with the figures
std::string table_text(const report& all); // in Markdown, with links that start in docs/
std::vector<output_file> charts(const report& all);

// "64 B", "64 KiB"
std::string size_text(DWORD bytes);

} // namespace ipc::test
