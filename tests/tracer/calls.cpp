// What the runs of a pair have in common: the calls that each program makes, in the order of their first time.

#include "tests/tracer/report.hpp"
#include "tests/tracer/rows.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipc::trace {

std::string without_process_id(const std::string& name) {
    std::string text;
    for (std::size_t i = 0; i < name.size(); ++i) {
        text += name[i];
        const std::size_t end = std::min(name.size(), name.find_first_not_of("0123456789", i + 1));
        const bool is_letter = name[i] >= 'a' && name[i] <= 'z';
        if (is_letter && end - i > 3) {
            i = end - 1;
        }
    }
    return text;
}

std::string without_count(const std::string& object) {
    const std::string name = without_process_id(object);
    std::string text;
    for (std::size_t i = 0; i < name.size(); ++i) {
        const std::size_t end = std::min(name.size(), name.find_first_not_of("0123456789", i + 1));
        const bool ends = end == name.size() || name[end] == ' ' || name[end] == ')';
        if (name[i] == ' ' && end != i + 1 && ends) {
            i = end - 1;
        } else {
            text += name[i];
        }
    }
    return text;
}

bool depends_on_speed(const call& one) {
    const std::string_view name = functions[one.function].name;
    const bool looks_for_partner = name == "CreateFileW" || name == "connect" ||
                                   name == "DdeConnect" || name.substr(0, 4) == "Open" ||
                                   name.substr(0, 4) == "Find";
    const bool has_nothing_yet = one.result.find("WSAEWOULDBLOCK") != std::string::npos;
    return name == "Sleep" || name == "WaitNamedPipeW" || (looks_for_partner && one.failed) ||
           has_nothing_yet;
}

bool is_error_of_speed(const call& one) {
    constexpr std::string_view errors[] = {"ERROR_PIPE_CONNECTED", "ERROR_IO_PENDING",
                                           "WSA_IO_PENDING",       "ERROR_NOT_FOUND",
                                           "ERROR_PIPE_BUSY",      "ERROR_NO_DATA"};
    const bool waits_for_message = functions[one.function].name == "ReadFile" &&
                                   one.result.find("ERROR_SEM_TIMEOUT") != std::string::npos;
    return waits_for_message ||
           std::any_of(std::begin(errors), std::end(errors), [&](std::string_view error) {
               return one.result.find(error) != std::string::npos;
           });
}

namespace {

constexpr std::string_view begin_of_diagram = "%% ANCHOR: diagram\n";
constexpr std::string_view end_of_diagram = "%% ANCHOR_END: diagram\n";
constexpr std::string_view explanation =
    "%% What each program calls, each call where it is made first. Recorded from several runs:\n"
    "%% ~ can come earlier or later, ? can be missing.\n";

enum class place : char { fixed = ' ', anywhere = '~', optional = '?' };

struct entry {
    std::string text;
    place where = place::fixed;
};

// The calls of one program: those of its first thread, or those of all further threads.
struct group {
    std::string who; // "A", "B, further threads"
    std::vector<entry> entries;
};

struct known_calls {
    std::string diagram;
    std::vector<group> groups;
};

group& group_of(std::vector<group>& groups, const std::string& who) {
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const group& one) { return one.who == who; });
    return found != groups.end() ? *found : groups.emplace_back(group{who, {}});
}

bool contains(const group& in, const std::string& text) {
    return std::any_of(in.entries.begin(), in.entries.end(),
                       [&](const entry& one) { return one.text == text; });
}

entry* find(group& in, const std::string& text) {
    const auto found = std::find_if(in.entries.begin(), in.entries.end(),
                                    [&](const entry& one) { return one.text == text; });
    return found == in.entries.end() ? nullptr : &*found;
}

// "ReadFile(pipe)", "OpenMutexW(mutex) = NULL, ERROR_FILE_NOT_FOUND (2)". The error of an overlapped call is an entry
// of its own: it can come at once or with GetOverlappedResult, whichever program is faster.
std::vector<std::string> texts_of(const call& one) {
    const function& which = functions[one.function];
    const auto end = which.parameters.begin() + static_cast<std::ptrdiff_t>(which.parameter_count);
    const bool waits_for_any = std::find(which.parameters.begin(), end, kind::handles) != end;
    const std::string object = waits_for_any ? "..." : without_count(one.object);
    const std::string text = std::string(which.name) + "(" + object + ")";
    if (!one.failed || is_error_of_speed(one)) {
        return {text};
    }
    const std::size_t comma = one.result.find(", ");
    if (one.overlapped == 0 || comma == std::string::npos) {
        return {text + " = " + one.result};
    }
    const std::string error = object + ": " + one.result.substr(comma + 2);
    const bool is_result = which.name.find("OverlappedResult") != std::string_view::npos;
    return is_result ? std::vector{error} : std::vector{text, error};
}

// Whether a call waits for several objects in a program with overlapped calls: if the overlapped call ends at once,
// the program does not wait for it.
bool may_be_needless(const trace& traced, const call& one) {
    return functions[one.function].name.find("MultipleObjects") != std::string_view::npos &&
           std::any_of(traced.calls.begin(), traced.calls.end(), [&](const call& each) {
               return each.process == one.process && each.overlapped != 0;
           });
}

void add_call(group& to, const trace& traced, const call& one) {
    const place where = may_be_needless(traced, one) ? place::optional : place::fixed;
    for (const std::string& text : texts_of(one)) {
        if (!contains(to, text)) {
            to.entries.push_back({text, where});
        }
    }
}

// The calls of several threads have no order: which thread is faster?
void forget_order(group& of_threads) {
    for (entry& one : of_threads.entries) {
        one.where = one.where == place::fixed ? place::anywhere : one.where;
    }
}

std::vector<group> groups_of(const trace& traced) {
    std::vector<group> groups;
    std::vector<std::set<int>> threads(
        traced.processes.size()); // without the first of each process
    for (const process& one : traced.processes) {
        groups.push_back({one.label, {}});
        groups.push_back({one.label + ", further threads", {}});
    }
    for (const call& one : traced.calls) {
        if (!one.shown || depends_on_speed(one)) {
            continue;
        }
        if (one.thread == 1) {
            add_call(groups[2 * one.process], traced, one);
        } else {
            add_call(groups[2 * one.process + 1], traced, one);
            threads[one.process].insert(one.thread);
        }
    }
    for (std::size_t i = 0; i < threads.size(); ++i) {
        if (threads[i].size() > 1) {
            forget_order(groups[2 * i + 1]);
        }
    }
    return groups;
}

std::string to_text(const known_calls& calls) {
    std::string text{begin_of_diagram};
    text += calls.diagram;
    text += end_of_diagram;
    text += explanation;
    for (const group& each : calls.groups) {
        for (const entry& one : each.entries) {
            text += "%% ";
            text += static_cast<char>(one.where);
            text += " " + each.who + ": " + one.text + "\n";
        }
    }
    return text;
}

known_calls from_text(std::string_view text) {
    known_calls calls;
    std::istringstream lines{std::string(text)};
    bool in_diagram = false;
    for (std::string line; std::getline(lines, line);) {
        if (!line.empty() && line.back() == '\r') {
            line.pop_back();
        }
        const std::size_t colon = line.find(": ");
        if (line + "\n" == begin_of_diagram || line + "\n" == end_of_diagram) {
            in_diagram = line + "\n" == begin_of_diagram;
        } else if (in_diagram) {
            calls.diagram += line + "\n";
        } else if (explanation.find(line + "\n") != std::string_view::npos) {
            continue;
        } else if (line.size() > 5 && line.substr(0, 3) == "%% " && colon != std::string::npos) {
            group_of(calls.groups, line.substr(5, colon - 5))
                .entries.push_back({line.substr(colon + 2), static_cast<place>(line[3])});
        } else {
            throw std::runtime_error("what does this line of the recorded calls mean? " + line);
        }
    }
    return calls;
}

// The fixed calls of `known` in the order of this run; all of them are in it.
std::vector<std::string> order_in(const group& run, group& known) {
    std::vector<std::string> order;
    for (const entry& one : run.entries) {
        const entry* const same = find(known, one.text);
        if (same != nullptr && same->where == place::fixed) {
            order.push_back(one.text);
        }
    }
    return order;
}

std::vector<std::string> fixed_calls(const group& known) {
    std::vector<std::string> order;
    for (const entry& one : known.entries) {
        if (one.where == place::fixed) {
            order.push_back(one.text);
        }
    }
    return order;
}

// Of the calls whose order differs, loosens those that are out of place with most others, until both orders agree.
void loosen_order(const group& run, group& known) {
    while (true) {
        const std::vector<std::string> recorded = fixed_calls(known);
        const std::vector<std::string> seen = order_in(run, known);
        std::map<std::string, std::size_t> position;
        for (std::size_t i = 0; i < seen.size(); ++i) {
            position[seen[i]] = i;
        }
        std::string worst;
        std::size_t most = 0;
        for (std::size_t i = 0; i < recorded.size(); ++i) {
            std::size_t swapped = 0;
            for (std::size_t k = 0; k < recorded.size(); ++k) {
                const bool before = position[recorded[i]] < position[recorded[k]];
                swapped += i != k && before != (i < k) ? 1 : 0;
            }
            if (swapped > most) {
                most = swapped;
                worst = recorded[i];
            }
        }
        if (most == 0) {
            return;
        }
        find(known, worst)->where = place::anywhere;
    }
}

// "A->>pipe: CreatePipe, CloseHandle (x 3)": who calls which functions; nothing for another line.
std::vector<std::string> functions_of_arrow(const std::string& line, std::string& who) {
    std::size_t arrow = line.find("-->>");
    const bool is_answer = arrow != std::string::npos;
    arrow = is_answer ? arrow : line.find("->>");
    const std::size_t colon = line.find(": ");
    if (arrow == std::string::npos || colon == std::string::npos) {
        return {};
    }
    const std::size_t name = line.find_first_not_of(' ');
    const std::size_t target = arrow + (is_answer ? 4 : 3);
    who = is_answer ? line.substr(target, colon - target) : line.substr(name, arrow - name);
    std::replace(who.begin(), who.end(), '_', ' ');
    std::vector<std::string> names;
    std::istringstream parts(line.substr(colon + 2));
    for (std::string part; std::getline(parts, part, ',');) {
        const std::size_t begin = part.find_first_not_of(" (");
        const std::size_t end = std::min(part.size(), part.find_first_of(" :()", begin));
        names.push_back(part.substr(begin, end - begin));
    }
    return names;
}

// Nothing, or what the diagram shows and the recorded calls do not.
std::string wrong_arrow(const known_calls& known) {
    std::istringstream lines(known.diagram);
    for (std::string line; std::getline(lines, line);) {
        std::string who;
        for (const std::string& name : functions_of_arrow(line, who)) {
            const bool called =
                std::any_of(known.groups.begin(), known.groups.end(), [&](const group& each) {
                    return each.who.substr(0, each.who.find(',')) == who &&
                           std::any_of(each.entries.begin(), each.entries.end(),
                                       [&](const entry& one) {
                                           return one.text.substr(0, one.text.find('(')) == name;
                                       });
                });
            if (!called) {
                return "the diagram shows a call that is not recorded: " + who + ": " + name;
            }
        }
    }
    return {};
}

std::string difference(const group& run, group& known) {
    for (const entry& one : known.entries) {
        if (one.where != place::optional && !contains(run, one.text)) {
            return known.who + " does not call " + one.text;
        }
    }
    for (const entry& one : run.entries) {
        if (!contains(known, one.text)) {
            return run.who + " calls " + one.text + ", which is not recorded";
        }
    }
    const std::vector<std::string> recorded = fixed_calls(known);
    const std::vector<std::string> made = order_in(run, known);
    const auto [want, have] = std::mismatch(recorded.begin(), recorded.end(), made.begin());
    return want == recorded.end()
               ? ""
               : known.who + " calls " + *have + " where " + *want + " is recorded";
}

} // namespace

std::string record_calls(const trace& traced) {
    return to_text({sequence_diagram(traced), groups_of(traced)});
}

std::string merge_calls(std::string_view known, const trace& traced) {
    known_calls calls = from_text(known);
    const std::vector<group> run = groups_of(traced);
    for (const group& now : run) {
        group& before = group_of(calls.groups, now.who);
        for (entry& one : before.entries) {
            if (!contains(now, one.text)) {
                one.where = place::optional;
            }
        }
        loosen_order(now, before);
        for (const entry& one : now.entries) {
            if (!contains(before, one.text)) {
                before.entries.push_back({one.text, place::optional});
            }
        }
    }
    return to_text(calls);
}

std::string compare_calls(std::string_view known, const trace& traced) {
    known_calls calls = from_text(known);
    const std::vector<group> run = groups_of(traced);
    for (const group& now : run) {
        std::string found = difference(now, group_of(calls.groups, now.who));
        if (!found.empty()) {
            return found;
        }
    }
    for (const group& before : calls.groups) {
        if (std::none_of(run.begin(), run.end(),
                         [&](const group& now) { return now.who == before.who; })) {
            return "no process " + before.who;
        }
    }
    return wrong_arrow(calls);
}

} // namespace ipc::trace
