#pragma once

// What the forms of a report share.

#include "tests/tracer/report.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ipc::trace {

// A line of the timeline.
struct row {
    double ms = 0;
    std::size_t call = 0;   // its index in trace::calls
    bool is_return = false; // of a blocked call that has another row where it begins
    int thread = 1;
    std::size_t process = 0;
    bool failed = false;
    std::string text;
    std::string key; // equal for rows that say the same of different calls
};

// The rows of a timeline. A call that blocks while others go on has two: where it begins and where it returns.
std::vector<row> rows_of(const trace& traced, bool times);

// Whether what the call gets is there when it returns, so that this is its place on a timeline. Others give: a write, an
// event, an end of a connection. They stand where they begin, in front of what they cause.
bool gets(std::string_view name);

// Items that come several times, one group after the other; times is 1 if nothing repeats.
struct repetition {
    std::size_t length = 1;
    std::size_t times = 1;
};

// Of the groups of up to `longest` items that begin at `begin` and come at least `fewest` times, the one that covers
// most items.
template <typename T, typename Equal>
repetition repetition_at(const std::vector<T>& items, std::size_t begin, std::size_t longest,
                         std::size_t fewest, Equal equal) {
    const auto at = [&](std::size_t index) {
        return items.begin() + static_cast<std::ptrdiff_t>(index);
    };
    repetition best;
    for (std::size_t length = 1; length <= longest; ++length) {
        std::size_t times = 1;
        while (begin + (times + 1) * length <= items.size() &&
               std::equal(at(begin), at(begin + length), at(begin + times * length), equal)) {
            ++times;
        }
        if (times >= fewest && times * length > best.times * best.length) {
            best = {length, times};
        }
    }
    return best;
}

// Folds what repeats: rows that come at least three times one after the other are shown once.
std::vector<row> folded(const std::vector<row>& rows);

// Breaks a text into lines of at most `most` characters, between words if it can.
std::vector<std::string> wrapped(std::string text, std::size_t most);

// "requests.run1234" is "requests.run": the id of a process differs between runs.
std::string without_process_id(const std::string& name);

// The same, and "event 7" is "event": which number is free can depend on which thread is faster.
std::string without_count(const std::string& object);

// Whether a program makes the call, and whether the call fails, depends on which program is faster.
bool depends_on_speed(const call& one);
bool is_error_of_speed(const call& one);

} // namespace ipc::trace
