#include "tests/benchmark/report.hpp"

#include "common/text.hpp"
#include "tests/benchmark/chart.hpp"

#include <algorithm>
#include <climits>
#include <functional>
#include <numeric>
#include <optional>
#include <set>

namespace ipc::test {
namespace {

constexpr std::size_t the_floor = 0;
constexpr double kibibyte = 1024;
constexpr double mebibyte = 1024 * kibibyte;
constexpr double most_round_trip = 1.15; // of a server with one client, in round trips of the floor
constexpr double least_rate = 1.0;       // with 255 clients, in rates with 16
constexpr double most_memory = 8 * kibibyte; // of an idle client

std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
}

std::vector<unsigned> client_counts(const report& all) {
    std::set<unsigned> counts;
    for (const measured_point& point : all.points) {
        counts.insert(point.clients);
    }
    return {counts.begin(), counts.end()};
}

// Returns the highest measured number of clients that is not above `wanted`.
unsigned closest_count(const report& all, std::size_t server, unsigned wanted) {
    unsigned most = 0;
    for (const unsigned clients : client_counts(all)) {
        if (clients <= wanted && all.find(server, clients, small_bytes) != nullptr) {
            most = clients;
        }
    }
    return most;
}

double memory_of_a_client(const measurement& figures, unsigned clients) {
    return static_cast<double>(figures.memory_bytes) / clients;
}

std::string goal_line(const std::string& size, const std::string& server,
                      const std::string& outcome) {
    return "  " + padded(size, 8) + padded(server, 25) + outcome + "\n";
}

std::string outcome_text(const std::string& figure, bool met) {
    return padded(figure, 12) + (met ? "met" : "missed");
}

const std::string not_measured = "not measured";

const measured_point* find_point(const report& all, std::size_t server, unsigned clients,
                                 DWORD message_bytes) {
    for (const measured_point& point : all.points) {
        if (point.server == server && point.clients == clients &&
            point.message_bytes == message_bytes && !point.rounds.empty()) {
            return &point;
        }
    }
    return nullptr;
}

// Returns the median of the ratios in each round. A machine that is slow for a while affects both
// figures of a round alike. Returns nothing if one of the points was not measured.
std::optional<double> median_ratio(const measured_point* of, const measured_point* to,
                                   double measurement::*figure) {
    if (of == nullptr || to == nullptr) {
        return std::nullopt;
    }
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(of->rounds.size(), to->rounds.size()); ++i) {
        ratios.push_back(of->rounds[i].*figure / to->rounds[i].*figure);
    }
    std::ranges::sort(ratios);
    return ratios[ratios.size() / 2];
}

std::string round_trip_goals(const report& all) {
    std::string text = "The round trip of a single client, in round trips of the floor; at most " +
                       fixed(most_round_trip, 2) + ":\n";
    for (const DWORD bytes : {small_bytes, large_bytes}) {
        for (std::size_t i = the_floor + 1; i < all.servers.size(); ++i) {
            const std::string pair = all.servers[i].name.substr(0, 2);
            if (pair == "18" || pair == "19" || pair == "25") {
                continue; // the floor is a pipe; sockets and RPC cost more
            }
            const std::optional<double> ratio =
                median_ratio(find_point(all, i, 1, bytes), find_point(all, the_floor, 1, bytes),
                             &measurement::median_us);
            text += goal_line(size_text(bytes), all.servers[i].name,
                              ratio ? outcome_text(fixed(*ratio, 3), *ratio <= most_round_trip)
                                    : not_measured);
        }
    }
    return text;
}

std::string many_clients_goal(const report& all) {
    std::string text = "Requests per second with 255 clients, in those with 16; at least " +
                       fixed(least_rate, 2) + ":\n";
    for (std::size_t i = 0; i < all.servers.size(); ++i) {
        if (!all.servers[i].name.starts_with("09")) {
            continue;
        }
        for (const DWORD bytes : {small_bytes, large_bytes}) {
            const std::optional<double> ratio =
                median_ratio(find_point(all, i, 255, bytes), find_point(all, i, 16, bytes),
                             &measurement::requests_per_second);
            text += goal_line(size_text(bytes), all.servers[i].name,
                              ratio ? outcome_text(fixed(*ratio, 3), *ratio >= least_rate)
                                    : not_measured);
        }
    }
    return text;
}

std::string memory_goals(const report& all) {
    std::string text = "Memory of the server for an idle client; under " +
                       number_text(most_memory / kibibyte) + " KiB:\n";
    for (std::size_t i = 0; i < all.servers.size(); ++i) {
        const std::string& name = all.servers[i].name;
        if (!name.starts_with("08") && !name.starts_with("09")) {
            continue;
        }
        std::string outcome = not_measured;
        const unsigned clients = closest_count(all, i, UINT_MAX);
        if (clients > 1) {
            const double bytes = memory_of_a_client(*all.find(i, clients, small_bytes), clients);
            outcome = outcome_text(number_text(bytes / kibibyte) + " KiB", bytes < most_memory);
        }
        text += goal_line("", name, outcome);
    }
    return text;
}

// Returns "12", or "12 (at 62)" without figures for 255 clients, or "-" without any figures.
std::string threads_text(const report& all, std::size_t server) {
    constexpr unsigned wanted = 255;
    const unsigned clients = closest_count(all, server, wanted);
    if (clients == 0) {
        return "-";
    }
    const std::string text = std::to_string(all.find(server, clients, small_bytes)->threads);
    return clients == wanted ? text : text + " (at " + number_text(clients) + ")";
}

std::string memory_text(const report& all, std::size_t server) {
    const unsigned clients = closest_count(all, server, UINT_MAX);
    if (clients <= 1) {
        return "-";
    }
    const measurement& figures = *all.find(server, clients, small_bytes);
    return number_text(memory_of_a_client(figures, clients) / kibibyte) + " KiB";
}

// Returns the rate divided by the rate of the floor.
std::string rate_text(const report& all, std::size_t server, unsigned clients) {
    const measurement* floor = all.find(the_floor, 1, small_bytes);
    const measurement* figures = all.find(server, clients, small_bytes);
    return figures == nullptr || floor == nullptr
               ? "-"
               : fixed(figures->requests_per_second / floor->requests_per_second, 2);
}

// Returns the values of one server, one for each number of clients.
chart_series series_of(const report& all, std::size_t server, DWORD bytes,
                       const std::vector<unsigned>& counts,
                       const std::function<double(const measurement&, unsigned)>& value_of) {
    chart_series series{
        .name = all.servers[server].name, .values = {}, .colour = server, .dashed = false};
    for (const unsigned clients : counts) {
        const measurement* figures = all.find(server, clients, bytes);
        series.values.push_back(figures != nullptr ? std::optional(value_of(*figures, clients))
                                                   : std::nullopt);
    }
    return series;
}

chart chart_over(const std::vector<unsigned>& counts, std::string title, std::string y_axis) {
    chart what{.title = std::move(title),
               .x_axis = "clients",
               .y_axis = std::move(y_axis),
               .categories = {},
               .series = {}};
    for (const unsigned clients : counts) {
        what.categories.push_back(number_text(clients));
    }
    return what;
}

chart rate_chart(const report& all, const std::vector<unsigned>& counts, DWORD bytes,
                 const std::string& unit, double factor) {
    chart what = chart_over(counts, "Load taken, messages of " + size_text(bytes), unit);
    for (std::size_t i = 0; i < all.servers.size(); ++i) {
        what.series.push_back(
            series_of(all, i, bytes, counts, [&](const measurement& figures, unsigned) {
                return figures.requests_per_second * factor;
            }));
    }
    return what;
}

chart latency_chart(const report& all, const std::vector<unsigned>& counts) {
    chart what =
        chart_over(counts, "Round trips, messages of " + size_text(small_bytes), "milliseconds");
    what.logarithmic = true;
    for (std::size_t i = 0; i < all.servers.size(); ++i) {
        what.series.push_back(
            series_of(all, i, small_bytes, counts, [](const measurement& figures, unsigned) {
                return figures.median_us / 1000;
            }));
        what.series.back().name += ", median";
    }
    for (std::size_t i = 0; i < all.servers.size(); ++i) {
        what.series.push_back(
            series_of(all, i, small_bytes, counts,
                      [](const measurement& figures, unsigned) { return figures.p99_us / 1000; }));
        what.series.back().name += ", 99%";
        what.series.back().dashed = true;
    }
    return what;
}

// Leaves out the figure with one client: memory that a server allocates only once would look like the
// memory of that client.
chart memory_chart(const report& all, std::vector<unsigned> counts) {
    std::erase(counts, 1U);
    chart what = chart_over(counts, "Memory of the server for each idle client", "KiB");
    what.kind = chart_kind::bars;
    what.logarithmic = true; // or the bar of pair 07 would make the others invisible
    for (std::size_t i = the_floor + 1; i < all.servers.size(); ++i) {
        what.series.push_back(series_of(all, i, small_bytes, counts,
                                        [](const measurement& figures, unsigned clients) {
                                            return memory_of_a_client(figures, clients) / kibibyte;
                                        }));
    }
    return what;
}

chart threads_chart(const report& all, const std::vector<unsigned>& counts) {
    chart what = chart_over(counts, "Threads of the server", "threads");
    what.logarithmic = true;
    for (std::size_t i = the_floor + 1; i < all.servers.size(); ++i) {
        what.series.push_back(
            series_of(all, i, small_bytes, counts, [](const measurement& figures, unsigned) {
                return static_cast<double>(figures.threads);
            }));
    }
    return what;
}

} // namespace

const measurement& median_round(const std::vector<measurement>& rounds) {
    std::vector<std::size_t> order(rounds.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t i) { return rounds[i].requests_per_second; });
    return rounds[order[order.size() / 2]];
}

const measurement* report::find(std::size_t server, unsigned clients, DWORD message_bytes) const {
    const measured_point* point = find_point(*this, server, clients, message_bytes);
    return point != nullptr ? &median_round(point->rounds) : nullptr;
}

std::string size_text(DWORD bytes) {
    return bytes < 1024 ? number_text(bytes) + " B" : number_text(bytes / kibibyte) + " KiB";
}

std::string csv_text(const report& all) {
    std::string text = "server,clients,message_bytes,requests_per_second,"
                       "slowest_round_requests_per_second,fastest_round_requests_per_second,"
                       "median_us,p99_us,clients_without_reply,server_memory_bytes_for_clients,"
                       "server_threads\n";
    for (const measured_point& point : all.points) {
        if (point.rounds.empty()) {
            continue;
        }
        const measurement& figures = median_round(point.rounds);
        const auto [slowest, fastest] =
            std::ranges::minmax_element(point.rounds, {}, &measurement::requests_per_second);
        text += fill("{},{},{},{},{},{},{},{},{},{},{}\n",
                     {all.servers[point.server].name, std::to_string(point.clients),
                      std::to_string(point.message_bytes), fixed(figures.requests_per_second, 1),
                      fixed(slowest->requests_per_second, 1),
                      fixed(fastest->requests_per_second, 1), fixed(figures.median_us, 1),
                      fixed(figures.p99_us, 1), std::to_string(figures.not_served),
                      std::to_string(figures.memory_bytes), std::to_string(figures.threads)});
    }
    return text;
}

std::string goals_text(const report& all) {
    return round_trip_goals(all) + many_clients_goal(all) + memory_goals(all);
}

// Two tables, so that each fits a page: which server for what, and the figures.
std::string table_text(const report& all) {
    std::string choice = "| server | choose it when | most clients |\n|---|---|---|\n";
    std::string head = "| server | threads | memory per client |";
    std::string rule = "|---|---|---|";
    const std::vector<unsigned> counts = client_counts(all);
    for (const unsigned clients : counts) {
        head += " " + number_text(clients) + (clients == 1 ? " client |" : " clients |");
        rule += "---|";
    }
    std::string rows;
    for (std::size_t i = the_floor + 1; i < all.servers.size(); ++i) {
        const measured_server& server = all.servers[i];
        choice += fill("| [{}](../demos/{}/README.md) | {} | {} |\n",
                       {server.name, server.name, server.choose_when, server.most_clients});
        rows += fill("| {} | {} | {} |",
                     {server.name.substr(0, 2), threads_text(all, i), memory_text(all, i)});
        for (const unsigned clients : counts) {
            rows += " " + rate_text(all, i, clients) + " |";
        }
        rows += "\n";
    }
    return choice + "\n" + head + "\n" + rule + "\n" + rows;
}

std::vector<output_file> charts(const report& all) {
    const std::vector<unsigned> counts = client_counts(all);
    return {
        {"requests_64_b.svg", svg(rate_chart(all, counts, small_bytes, "requests per second", 1))},
        {"throughput_64_kib.svg",
         svg(rate_chart(all, counts, large_bytes, "MiB of requests per second",
                        large_bytes / mebibyte))},
        {"latency_64_b.svg", svg(latency_chart(all, counts))},
        {"memory.svg", svg(memory_chart(all, counts))},
        {"threads.svg", svg(threads_chart(all, counts))},
    };
}

} // namespace ipc::test
