#pragma once

// Turns the figures of the streams' benchmark into texts and charts. Nothing here is part of a lesson.

#include "tests/benchmark/report.hpp"

#include <map>
#include <string>
#include <vector>

namespace ipc::test {

// What is measured. bare_ping is one cache line each way; message_ping is a line with a message and one with a
// number each way.
enum class transport {
    plain_memcpy,
    ring_movsb,
    ring_memcpy,
    ring_batches,
    ring_at_once,
    ring_events_only,
    two_events,   // as pair 06
    byte_pipe,    // a named one
    tcp_loopback, // with TCP_NODELAY, as pair 18
    bare_ping,
    message_ping,
};

enum class ring_task { large_records, small_records, ping };

struct ring_point {
    transport how = transport::plain_memcpy;
    ring_task task = ring_task::ping;
    bool operator<(const ring_point& other) const {
        return task != other.task ? task < other.task : how < other.how;
    }
};

struct ring_figures {
    double per_second = 0; // records, or round trips
    double median_ns = 0;  // of a round trip
    double p99_ns = 0;
    double bare_before_ns = 0; // the median of a bare ping directly before and directly after
    double bare_after_ns = 0;
};

using ring_round = std::map<ring_point, ring_figures>; // without what failed

struct ring_results {
    std::vector<ring_round> rounds;
};

const std::vector<ring_point>& ring_points(); // in the order of measuring
std::string name_of(const ring_point& point);

// A point counts only if the two processors were as far apart as for most points of the run: all bare pings before and
// after the points that count differ by a factor of 1.5 at most.
bool counts(const ring_results& all, const ring_figures& figures);

std::string ring_csv(const ring_results& all);
std::string ring_goals(const ring_results& all);
std::string ring_table(const ring_results& all);
std::vector<output_file> ring_charts(const ring_results& all);

} // namespace ipc::test
