// The timeline of a trace in text.

#include "common/text.hpp"
#include "tests/harness/picture.hpp"
#include "tests/tracer/report.hpp"
#include "tests/tracer/rows.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipc::trace {
namespace {

constexpr std::size_t width = 100;
constexpr std::size_t time_width = 9;
constexpr std::size_t gap = 2;
constexpr std::size_t column_width = (width - time_width - 2 * gap) / 2;
constexpr double blocked_ms =
    0.2; // a call that takes longer is shown as a span if others went on meanwhile

std::string duration(double ms) {
    return ms < 10     ? test::fixed(ms, 2) + " ms"
           : ms < 1000 ? test::fixed(ms, 0) + " ms"
                       : test::fixed(ms / 1000, 1) + " s";
}

// "socket 2" is "socket": objects are made one after the other in a loop. Sizes and error codes stay.
std::string without_object_numbers(const std::string& text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        result += text[i];
        const bool ends_word = i > 0 && text[i] == ' ' && text[i - 1] >= 'a' && text[i - 1] <= 'z';
        if (ends_word) {
            i = std::min(text.size(), text.find_first_not_of("0123456789", i + 1)) - 1;
        }
    }
    return result;
}

std::string title(const call& one) {
    if (one.prints) {
        return "prints";
    }
    return std::string(functions[one.function].name) + "(" + one.arguments + ")";
}

std::string result_of(const call& one) {
    return one.result.empty() ? "" : " = " + one.result;
}

std::string data_of(const call& one) {
    if (one.data.empty()) {
        return {};
    }
    return (one.prints ? " \"" : ": \"") + one.data + "\"";
}

std::string outcome(const call& one) {
    return result_of(one) + data_of(one);
}

// The text of a row: that of a whole call, or where it begins or returns.
std::string row_text(const call& one, bool whole, bool is_return, bool times) {
    const double took_ms = one.end_ms - one.begin_ms;
    if (whole) {
        const bool slow = times && took_ms > 5 * blocked_ms;
        return title(one) + outcome(one) + (slow ? ", took " + duration(took_ms) : "");
    }
    if (is_return) {
        const std::string after = times ? " after " + duration(took_ms) : "";
        return "... " + std::string(functions[one.function].name) +
               (gets(functions[one.function].name) ? outcome(one) : result_of(one)) + after;
    }
    const std::string data = gets(functions[one.function].name) ? "" : data_of(one);
    const bool hangs = !one.returned && functions[one.function].name != "ExitProcess";
    return title(one) + data + (one.returned ? " ..." : hangs ? " does not return" : "");
}

// Where a call begins or returns.
struct moment {
    double ms;
    std::size_t call;
    bool is_end;
};

std::vector<moment> moments_of(const trace& traced) {
    std::vector<moment> moments;
    for (std::size_t i = 0; i < traced.calls.size(); ++i) {
        const call& one = traced.calls[i];
        if (one.shown) {
            moments.push_back({one.begin_ms, i, false});
            if (one.returned) {
                moments.push_back({one.end_ms, i, true});
            }
        }
    }
    std::stable_sort(moments.begin(), moments.end(),
                     [](const moment& a, const moment& b) { return a.ms < b.ms; });
    return moments;
}

// Which calls get two rows: those that have waited while others went on.
std::vector<bool> spans_of(const trace& traced, const std::vector<moment>& moments) {
    std::vector<std::size_t> begin_at(traced.calls.size());
    std::vector<bool> is_span(traced.calls.size());
    for (std::size_t i = 0; i < moments.size(); ++i) {
        const call& one = traced.calls[moments[i].call];
        if (!moments[i].is_end) {
            begin_at[moments[i].call] = i;
        } else {
            is_span[moments[i].call] = one.can_block && !one.prints &&
                                       one.end_ms - one.begin_ms > blocked_ms &&
                                       i - begin_at[moments[i].call] > 1;
        }
    }
    return is_span;
}

row make_row(const trace& traced, const moment& at, bool only_row, bool times) {
    const call& one = traced.calls[at.call];
    const bool is_right_of_several = one.process != 0 && traced.processes.size() != 2;
    const std::string process =
        is_right_of_several ? traced.processes[one.process].label + ": " : "";
    const std::string thread = one.thread == 1 ? "" : "[" + std::to_string(one.thread) + "] ";
    const char* const part = only_row ? "" : at.is_end ? " returns" : " begins";
    row made;
    made.ms = at.ms;
    made.call = at.call;
    made.thread = one.thread;
    made.is_return = !only_row && at.is_end;
    made.process = one.process;
    made.failed = one.failed && (at.is_end || only_row);
    made.text = process + thread + row_text(one, only_row, at.is_end, times);
    made.key = process + thread + without_object_numbers(title(one)) + part +
               (one.failed ? one.result : without_object_numbers(one.result)) +
               (one.prints ? one.data : "");
    return made;
}

std::string padded(std::string text, std::size_t size) {
    text.resize(std::max(size, text.size()), ' ');
    return text;
}

std::string head_of(const trace& traced, bool times) {
    std::string right;
    for (std::size_t i = 1; i < traced.processes.size(); ++i) {
        const process& one = traced.processes[i];
        right += (i == 1 ? "" : ", ") + one.label;
    }
    const std::string left =
        traced.processes.front().label + " (" + traced.processes.front().program + ")";
    if (traced.processes.size() == 2) {
        right += " (" + traced.processes.back().program + ")";
    }
    const std::string time_title = times ? "       ms" : std::string(time_width, ' ');
    return time_title + std::string(gap, ' ') + padded(left, column_width + gap) +
           right.substr(0, column_width);
}

void add_row(const row& one, const timeline_options& options, std::vector<std::string>& lines) {
    std::string time = options.times ? test::fixed(one.ms, 3) : "";
    time.insert(0, time_width - std::min(time_width, time.size()), ' ');
    bool first = true;
    for (const std::string& part : wrapped(one.text, column_width)) {
        std::string text = part;
        if (options.colours) {
            text = (one.failed         ? "\x1b[31m"
                    : one.process == 0 ? "\x1b[36m"
                                       : "\x1b[33m") +
                   text + "\x1b[0m";
        }
        const std::size_t indent = one.process == 0 ? gap : 2 * gap + column_width;
        lines.push_back((first ? time : std::string(time_width, ' ')) + std::string(indent, ' ') +
                        text);
        first = false;
    }
}

void add_counts(const trace& traced, std::vector<std::string>& lines) {
    std::uint64_t calls = 0;
    std::uint64_t lost = 0;
    for (const process& one : traced.processes) {
        calls += one.calls;
        lost += one.lost;
        if (!one.note.empty()) {
            lines.push_back("trace: a child of " + one.label + " was not traced: " + one.note);
        }
    }
    const auto shown = std::count_if(traced.calls.begin(), traced.calls.end(),
                                     [](const call& one) { return one.shown; });
    lines.push_back("trace: " + std::to_string(calls) + " calls, " + std::to_string(shown) +
                    " of them shown, " + std::to_string(lost) + " lost");
}

} // namespace

bool gets(std::string_view name) {
    constexpr std::string_view beginnings[] = {"Read",
                                               "Wait",
                                               "MsgWait",
                                               "SignalObjectAndWait",
                                               "SleepEx",
                                               "recv",
                                               "WSARecv",
                                               "WSAPoll",
                                               "select",
                                               "accept",
                                               "Get",
                                               "WSAGet",
                                               "Peek",
                                               "ConnectNamedPipe",
                                               "TransactNamedPipe",
                                               "CallNamedPipe",
                                               "SendMessage",
                                               "DdeClientTransaction",
                                               "RpcMgmtWait",
                                               "RpcServerListen"};
    return std::any_of(
        std::begin(beginnings), std::end(beginnings),
        [&](std::string_view beginning) { return name.substr(0, beginning.size()) == beginning; });
}

std::vector<std::string> wrapped(std::string text, std::size_t most) {
    std::vector<std::string> lines;
    while (text.size() > most) {
        std::size_t cut = text.rfind(' ', most);
        if (cut == std::string::npos || cut < most / 3) {
            cut = most;
        }
        lines.push_back(text.substr(0, cut));
        text = "    " + text.substr(text[cut] == ' ' ? cut + 1 : cut);
    }
    lines.push_back(text);
    return lines;
}

std::vector<row> rows_of(const trace& traced, bool times) {
    const std::vector<moment> moments = moments_of(traced);
    const std::vector<bool> is_span = spans_of(traced, moments);
    std::vector<row> rows;
    for (const moment& at : moments) {
        const call& one = traced.calls[at.call];
        const bool only_row = !is_span[at.call] && one.returned;
        if (!only_row || at.is_end == gets(functions[one.function].name)) {
            rows.push_back(make_row(traced, at, only_row, times));
        }
    }
    return rows;
}

std::vector<row> folded(const std::vector<row>& rows) {
    constexpr std::size_t longest = 8;
    constexpr std::size_t fewest = 3;
    const auto same = [](const row& a, const row& b) {
        return a.process == b.process && a.key == b.key;
    };
    std::vector<row> result;
    for (std::size_t i = 0; i < rows.size();) {
        const repetition found = repetition_at(rows, i, longest, fewest, same);
        for (std::size_t k = 0; k < found.length; ++k) {
            result.push_back(rows[i + k]);
            if (found.times > 1) {
                result.back().text += " (x " + std::to_string(found.times) + ")";
            }
        }
        i += found.length * found.times;
    }
    return result;
}

std::vector<std::string> timeline(const trace& traced, const timeline_options& options) {
    std::vector<std::string> lines;
    if (traced.processes.empty()) {
        return {"trace: no process was recorded"};
    }
    lines.push_back(head_of(traced, options.times));
    const std::vector<row> rows = folded(rows_of(traced, options.times));
    const std::size_t half = options.most / 2;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows.size() > options.most && i == half) {
            i = rows.size() - half;
            lines.push_back("          ... " + std::to_string(rows.size() - options.most) +
                            " rows are left out ...");
        }
        add_row(rows[i], options, lines);
    }
    add_counts(traced, lines);
    return lines;
}

double ms_until_now(const trace& traced) {
    if (traced.processes.empty()) {
        return 0;
    }
    LARGE_INTEGER now;
    QueryPerformanceCounter(&now);
    const process& first = traced.processes.front();
    return static_cast<double>(now.QuadPart - first.start) * 1000.0 /
           static_cast<double>(first.frequency);
}

std::vector<std::string> waiting_calls(const trace& traced, double until_ms) {
    std::vector<std::string> lines;
    for (const call& one : traced.calls) {
        if (!one.returned && one.shown && functions[one.function].name != "ExitProcess") {
            const std::string since =
                until_ms > 0 ? " after " + duration(until_ms - one.begin_ms) : "";
            lines.push_back(traced.processes[one.process].label + ": " + title(one) +
                            " has not returned" + since + "; called at " +
                            test::fixed(one.begin_ms, 3) + " ms");
        }
    }
    return lines;
}

} // namespace ipc::trace
