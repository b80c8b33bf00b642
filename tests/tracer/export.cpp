// A trace in the forms of other programs: the Trace Event Format and SVG.

#include "common/text.hpp"
#include "tests/harness/picture.hpp"
#include "tests/tracer/report.hpp"
#include "tests/tracer/rows.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipc::trace {
namespace {

std::string json(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            quoted += ' ';
        } else {
            quoted += c;
        }
    }
    return quoted + "\"";
}

std::string name_of(const call& one) {
    return std::string(functions[one.function].name);
}

} // namespace

// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
std::string trace_events(const trace& traced) {
    std::string text = R"({"displayTimeUnit": "ms", "traceEvents": [)";
    text += '\n';
    bool first = true;
    const auto add = [&](const std::string& event) {
        text += (first ? "" : ",\n") + event;
        first = false;
    };
    for (std::size_t i = 0; i < traced.processes.size(); ++i) {
        const process& one = traced.processes[i];
        const std::string id = std::to_string(one.id);
        add(fill(R"({"ph": "M", "name": "process_name", "pid": {}, "args": {"name": {}}})",
                 {id, json(one.label + " (" + one.program + ")")}));
        add(fill(
            R"({"ph": "M", "name": "process_sort_index", "pid": {}, "args": {"sort_index": {}}})",
            {id, std::to_string(i)}));
    }
    for (const call& one : traced.calls) {
        // A call that has not returned is a beginning without an end.
        std::string event =
            fill(R"({"ph": "{}", "name": {}, "cat": "{}", "pid": {}, "tid": {}, "ts": {})",
                 {one.returned ? "X" : "B", json(name_of(one)), one.shown ? "ipc" : "runtime",
                  std::to_string(traced.processes[one.process].id), std::to_string(one.thread),
                  test::fixed(one.begin_ms * 1000, 3)});
        if (one.returned) {
            event += fill(R"(, "dur": {})", {test::fixed((one.end_ms - one.begin_ms) * 1000, 3)});
        }
        event += fill(R"(, "args": {"parameters": {}, "result": {})",
                      {json(one.arguments), json(one.result)});
        if (!one.data.empty()) {
            event += fill(R"(, "data": {})", {json(one.data)});
        }
        add(event + "}}");
    }
    return text + "\n]}\n";
}

// ---- SVG ---------------------------------------------------------------------------------------

namespace {

constexpr int line_height = 16;
constexpr int time_x = 66;
constexpr int life_x[] = {82, 506};
constexpr int text_offset = 32;
constexpr int thread_offset = 5; // the waits of each thread stand beside those of the one before
constexpr int most_threads = 6;
constexpr std::size_t most_characters = 52;
constexpr std::size_t most_rows = 400;
constexpr std::string_view picture_width = "930";

constexpr std::string_view style = R"(<style>
text { font: 12px ui-monospace, Consolas, monospace; }
.back { fill: #ffffff; } .time { fill: #57606a; text-anchor: end; } .head { font-weight: bold; }
.p0 { fill: #0b5394; } .p1 { fill: #7a4b00; } .failed { fill: #b3261e; }
.life { stroke: #8c959f; stroke-width: 1; } .span { fill: #8c959f; opacity: 0.5; }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117; } .time { fill: #9198a1; } .p0 { fill: #79c0ff; } .p1 { fill: #e3b341; }
.failed { fill: #ff7b72; } .life { stroke: #6e7681; } .span { fill: #6e7681; }
}
</style>
<rect class="back" width="100%" height="100%"/>
)";

// Draws the rows from y on, and returns where the next one would be.
int draw_rows(const std::vector<row>& rows, int y, std::string& spans, std::string& body) {
    std::map<std::size_t, int> line_at; // where the first row of a call is
    for (const row& one : rows) {
        const std::size_t side = one.process == 0 ? 0 : 1;
        const std::string colour = "p" + std::to_string(side);
        const auto [from, begins] = line_at.emplace(one.call, y);
        if (one.is_return && !begins) { // its begin may have been folded away
            const int thread = std::min(one.thread, most_threads) - 1;
            spans +=
                fill(R"(<rect class="span" x="{}" y="{}" width="8" height="{}" rx="3"/>)",
                     {std::to_string(life_x[side] - 4 + thread_offset * thread),
                      std::to_string(from->second - 8), std::to_string(y - from->second + 8)}) +
                "\n";
        }
        body +=
            fill(
                R"(<text class="time" x="{}" y="{}">{}</text><circle class="{}" cx="{}" cy="{}" r="3"/>)",
                {std::to_string(time_x), std::to_string(y), test::fixed(one.ms, 2), colour,
                 std::to_string(life_x[side]), std::to_string(y - 4)}) +
            "\n";
        for (const std::string& part : wrapped(one.text, most_characters)) {
            body +=
                fill(R"(<text class="{}" x="{}" y="{}" xml:space="preserve">{}</text>)",
                     {one.failed ? "failed" : colour, std::to_string(life_x[side] + text_offset),
                      std::to_string(y), test::escaped(part)}) +
                "\n";
            y += line_height;
        }
    }
    return y;
}

} // namespace

std::string timeline_svg(const trace& traced) {
    std::vector<row> rows = folded(rows_of(traced, true));
    rows.resize(std::min(rows.size(), most_rows));
    std::string spans;
    std::string body;
    const std::string height = std::to_string(draw_rows(rows, 56, spans, body) + 12);
    std::string names[2];
    for (std::size_t i = 0; i < traced.processes.size(); ++i) {
        std::string& name = names[i == 0 ? 0 : 1];
        name += (name.empty() ? "" : ", ") + traced.processes[i].label;
    }
    const std::string width(picture_width);
    std::string text = fill(
        R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-labelledby="title desc">
<title id="title">The calls of {} on one timeline</title>
<desc id="desc">)",
        {width, height, width, height,
         test::escaped(names[0] + (names[1].empty() ? "" : " and " + names[1]))});
    for (const row& one : rows) {
        text += test::escaped(traced.processes[one.process].label + ": " + one.text) + ". ";
    }
    text += "A bar beside a line shows how long a call waited.</desc>\n";
    text += style;
    for (int side = 0; side < 2; ++side) {
        const std::string x = std::to_string(life_x[side]);
        text += fill(R"(<text class="head p{}" x="{}" y="28">{}</text>
<line class="life" x1="{}" y1="36" x2="{}" y2="{}"/>
)",
                     {std::to_string(side), std::to_string(life_x[side] + text_offset),
                      test::escaped(names[side]), x, x, height});
    }
    return text + spans + body + "</svg>\n";
}

} // namespace ipc::trace
