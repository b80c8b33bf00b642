#include "tests/benchmark/ring_report.hpp"

#include "common/text.hpp"
#include "tests/benchmark/chart.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

namespace ipc::test {
namespace {

constexpr double most_distance =
    1.5; // the longest bare ping of those that count, in the shortest one

std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
}

std::optional<double> median(std::vector<double> values) {
    if (values.empty()) {
        return std::nullopt;
    }
    std::ranges::sort(values);
    return values[values.size() / 2];
}

using value_of = double (*)(const ring_figures&);

double rate(const ring_figures& figures) {
    return figures.per_second;
}
double round_trip(const ring_figures& figures) {
    return figures.median_ns;
}
double slow_round_trip(const ring_figures& figures) {
    return figures.p99_ns;
}

std::vector<std::pair<double, double>> shorter_and_longer_pings(const ring_results& all) {
    std::vector<std::pair<double, double>> found;
    for (const ring_round& round : all.rounds) {
        for (const auto& [point, figures] : round) {
            found.emplace_back(std::min(figures.bare_before_ns, figures.bare_after_ns),
                               std::max(figures.bare_before_ns, figures.bare_after_ns));
        }
    }
    return found;
}

// Returns the shortest ping at the distance of most points, or the lower of two such distances.
double usual_distance(const ring_results& all) {
    const std::vector<std::pair<double, double>> pings = shorter_and_longer_pings(all);
    double best = 0;
    std::ptrdiff_t most = 0;
    for (const auto& candidate : pings) {
        const double nearest = candidate.first;
        const std::ptrdiff_t count = std::ranges::count_if(pings, [&](const auto& ping) {
            return ping.first >= nearest && ping.second <= most_distance * nearest;
        });
        if (count > most || (count == most && nearest < best)) {
            most = count;
            best = nearest;
        }
    }
    return best;
}

std::vector<double> values(const ring_results& all, const ring_point& point, value_of value) {
    std::vector<double> found;
    for (const ring_round& round : all.rounds) {
        const auto figures = round.find(point);
        if (figures != round.end() && counts(all, figures->second)) {
            found.push_back(value(figures->second));
        }
    }
    return found;
}

// Returns the ratio in each round in which both points count.
std::vector<double> ratios(const ring_results& all, const ring_point& of, value_of of_value,
                           const ring_point& to, value_of to_value) {
    std::vector<double> found;
    for (const ring_round& round : all.rounds) {
        const auto first = round.find(of);
        const auto second = round.find(to);
        if (first != round.end() && second != round.end() && counts(all, first->second) &&
            counts(all, second->second)) {
            found.push_back(of_value(first->second) / to_value(second->second));
        }
    }
    return found;
}

struct goal {
    const char* sentence;
    ring_point of;
    value_of of_value;
    ring_point to;
    value_of to_value;
    bool at_least;
    double limit;
    int digits;
};

const std::vector<goal>& goals() {
    using enum ring_task;
    using enum transport;
    static const std::vector<goal> all = {
        {"64 KiB records, memcpy, in a cached memcpy",
         {ring_memcpy, large_records},
         rate,
         {plain_memcpy, large_records},
         rate,
         true,
         0.4,
         2},
        {"64 KiB records, movsb, in a cached memcpy",
         {ring_movsb, large_records},
         rate,
         {plain_memcpy, large_records},
         rate,
         true,
         0.8,
         2},
        {"64 B records at once, in the byte pipe",
         {ring_at_once, small_records},
         rate,
         {byte_pipe, small_records},
         rate,
         true,
         2'000,
         0},
        {"64 B records in batches, in the byte pipe",
         {ring_batches, small_records},
         rate,
         {byte_pipe, small_records},
         rate,
         true,
         10'000,
         0},
        {"round trip, in a bare ping of two lines",
         {ring_at_once, ping},
         round_trip,
         {message_ping, ping},
         round_trip,
         false,
         1.1,
         2},
        {"its 99 %, in its median",
         {ring_at_once, ping},
         slow_round_trip,
         {ring_at_once, ping},
         round_trip,
         false,
         1.5,
         2},
        {"round trip, events only, in the byte pipe's",
         {ring_events_only, ping},
         round_trip,
         {byte_pipe, ping},
         round_trip,
         false,
         1.0 / 3,
         2},
    };
    return all;
}

const char* task_name(ring_task task) {
    switch (task) {
    case ring_task::large_records: return "64 KiB records";
    case ring_task::small_records: return "64 B records";
    default: return "64 B round trips";
    }
}

const char* transport_name(transport how) {
    switch (how) {
    case transport::plain_memcpy: return "memcpy, no transport";
    case transport::ring_movsb: return "ring, movsb";
    case transport::ring_memcpy: return "ring, memcpy";
    case transport::ring_batches: return "ring, batches";
    case transport::ring_at_once: return "ring";
    case transport::ring_events_only: return "ring, events only";
    case transport::two_events: return "two events (06)";
    case transport::byte_pipe: return "byte pipe";
    case transport::tcp_loopback: return "TCP (18)";
    case transport::bare_ping: return "bare ping, one line";
    default: return "bare ping, two lines";
    }
}

chart bars(const ring_results& all, ring_task task, std::string title, std::string axis,
           const std::vector<std::pair<std::string, std::function<double(const ring_figures&)>>>&
               figures) {
    chart what{.title = std::move(title),
               .x_axis = "",
               .y_axis = std::move(axis),
               .categories = {},
               .series = {},
               .kind = chart_kind::bars,
               .logarithmic = true};
    for (const auto& [name, value] : figures) {
        chart_series series{
            .name = name, .values = {}, .colour = what.series.size(), .dashed = false};
        what.categories.clear();
        for (const ring_point& point : ring_points()) {
            if (point.task != task) {
                continue;
            }
            what.categories.emplace_back(transport_name(point.how));
            std::vector<double> found;
            for (const ring_round& round : all.rounds) {
                const auto one = round.find(point);
                if (one != round.end() && counts(all, one->second)) {
                    found.push_back(value(one->second));
                }
            }
            series.values.push_back(median(found));
        }
        what.series.push_back(std::move(series));
    }
    return what;
}

} // namespace

const std::vector<ring_point>& ring_points() {
    using enum ring_task;
    using enum transport;
    static const std::vector<ring_point> all = {
        {plain_memcpy, large_records},
        {ring_movsb, large_records},
        {ring_memcpy, large_records},
        {two_events, large_records},
        {byte_pipe, large_records},
        {tcp_loopback, large_records},
        {ring_batches, small_records},
        {ring_at_once, small_records},
        {two_events, small_records},
        {byte_pipe, small_records},
        {tcp_loopback, small_records},
        {bare_ping, ping},
        {message_ping, ping},
        {ring_at_once, ping},
        {ring_events_only, ping},
        {two_events, ping},
        {byte_pipe, ping},
        {tcp_loopback, ping},
    };
    return all;
}

std::string name_of(const ring_point& point) {
    return std::string(task_name(point.task)) + ", " + transport_name(point.how);
}

bool counts(const ring_results& all, const ring_figures& figures) {
    const double nearest = usual_distance(all);
    return std::min(figures.bare_before_ns, figures.bare_after_ns) >= nearest &&
           std::max(figures.bare_before_ns, figures.bare_after_ns) <= most_distance * nearest;
}

std::string ring_csv(const ring_results& all) {
    std::string text = "round,task,transport,per_second,median_ns,p99_ns,bare_ping_before_ns,"
                       "bare_ping_after_ns,counts\n";
    for (std::size_t i = 0; i < all.rounds.size(); ++i) {
        for (const ring_point& point : ring_points()) {
            const auto found = all.rounds[i].find(point);
            if (found == all.rounds[i].end()) {
                continue;
            }
            const ring_figures& figures = found->second;
            text += fill("{},{},\"{}\",{},{},{},{},{},{}\n",
                         {std::to_string(i + 1), task_name(point.task), transport_name(point.how),
                          fixed(figures.per_second, 1), fixed(figures.median_ns, 1),
                          fixed(figures.p99_ns, 1), fixed(figures.bare_before_ns, 1),
                          fixed(figures.bare_after_ns, 1), counts(all, figures) ? "yes" : "no"});
        }
    }
    return text;
}

std::string ring_goals(const ring_results& all) {
    std::string text;
    for (const goal& one : goals()) {
        const std::vector<double> found = ratios(all, one.of, one.of_value, one.to, one.to_value);
        const std::optional<double> ratio = median(found);
        std::string line =
            padded(one.sentence, 45) +
            padded((one.at_least ? "at least " : "at most ") +
                       (one.limit < 10 ? fixed(one.limit, 2) : number_text(one.limit)),
                   18);
        if (ratio) {
            const bool met = one.at_least ? *ratio >= one.limit : *ratio <= one.limit;
            line += padded(one.digits == 0 ? number_text(*ratio) : fixed(*ratio, one.digits), 9) +
                    padded(met ? "met" : "missed", 8) + "(" + std::to_string(found.size()) +
                    " of " + std::to_string(all.rounds.size()) + " rounds)";
        } else {
            line += "not measured";
        }
        text += line + "\n";
    }
    return text;
}

std::string ring_table(const ring_results& all) {
    std::string text = "| task | transport | per second | times the byte pipe | median | 99 % |\n"
                       "|---|---|---|---|---|---|\n";
    for (const ring_point& point : ring_points()) {
        const std::optional<double> figure = median(values(all, point, rate));
        const std::optional<double> pipe =
            median(values(all, {transport::byte_pipe, point.task}, rate));
        const auto time = [&](value_of value) {
            const std::optional<double> ns = median(values(all, point, value));
            return ns && *ns > 0 ? number_text(*ns) + " ns" : std::string("-");
        };
        text += fill("| {} | {} | {} | {} | {} | {} |\n",
                     {task_name(point.task), transport_name(point.how),
                      figure ? number_text(*figure) : "-",
                      figure && pipe ? number_text(*figure / *pipe) : "-", time(round_trip),
                      time(slow_round_trip)});
    }
    return text;
}

std::vector<output_file> ring_charts(const ring_results& all) {
    constexpr double mebibytes_of_large_record = 1.0 / 16;
    return {
        {"ring_64_kib.svg",
         svg(bars(all, ring_task::large_records, "Records of 64 KiB", "MiB per second",
                  {{"median of the rounds",
                    [](const ring_figures& figures) {
                        return figures.per_second * mebibytes_of_large_record;
                    }}}))},
        {"ring_64_b.svg", svg(bars(all, ring_task::small_records, "Records of 64 bytes",
                                   "records per second", {{"median of the rounds", rate}}))},
        {"ring_ping.svg", svg(bars(all, ring_task::ping, "Round trips of 64 bytes", "nanoseconds",
                                   {{"median", round_trip}, {"99 %", slow_round_trip}}))},
    };
}

} // namespace ipc::test
