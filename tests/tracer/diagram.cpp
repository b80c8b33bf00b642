// The sequence diagram of a trace, in Mermaid: which process uses which shared object, and when.
//
// The rules are the same for all pairs:
// - the diagram shows an object if at least two processes use it, and always shows parts of the system (RPC, COM, ...);
// - calls that only ask or prepare are left out;
// - what a call gets points to the process, and stands where the call has returned;
// - an overlapped call and its GetOverlappedResult are one;
// - what repeats is folded, and calls in a row between the same two share an arrow;
// - of a long diagram, the middle is left out.

#include "tests/tracer/report.hpp"
#include "tests/tracer/rows.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipc::trace {
namespace {

constexpr std::size_t most_lines = 32;      // of arrows: about a screen
constexpr std::size_t most_characters = 60; // of an arrow

struct arrow {
    std::string from;
    std::string to;
    std::string text;
    bool is_answer = false;
    std::size_t times = 1;

    bool operator==(const arrow& other) const = default;
};

// Arrows that come `times` times, one after the other.
struct loop {
    std::vector<arrow> arrows;
    std::size_t times = 1;
};

bool starts_with_one_of(std::string_view name, std::initializer_list<std::string_view> beginnings) {
    return std::any_of(beginnings.begin(), beginnings.end(), [&](std::string_view beginning) {
        return name.substr(0, beginning.size()) == beginning;
    });
}

// These say how a program asks or prepares, and not what it does with the other.
bool is_preparation(std::string_view name) {
    return starts_with_one_of(name, {"GetStdHandle",
                                     "SetHandleInformation",
                                     "GetFileType",
                                     "SetNamedPipeHandleState",
                                     "SetFileCompletionNotificationModes",
                                     "GetFileSizeEx",
                                     "InitializeProcThreadAttributeList",
                                     "CreateIoCompletionPort",
                                     "ioctlsocket",
                                     "setsockopt",
                                     "getsockname",
                                     "WSAStartup",
                                     "WSACleanup",
                                     "GetSecurityInfo",
                                     "Register",
                                     "Unregister",
                                     "CoInitialize",
                                     "ResetEvent",
                                     "GetMailslotInfo",
                                     "FindWindow",
                                     "QueryService",
                                     "CloseServiceHandle",
                                     "OpenSCManager"});
}

// What such a call gets comes from the other side.
bool receives(std::string_view name) {
    return starts_with_one_of(name, {"Read", "Wait", "MsgWait", "recv", "WSARecv",
                                     "GetExitCodeProcess", "GetClipboardData"});
}

bool is_result(std::string_view name) {
    return name == "GetOverlappedResult" || name == "GetOverlappedResultEx" ||
           name == "WSAGetOverlappedResult";
}

// Calls about something that all programs share and nobody opens.
std::string part_of_system(std::string_view name) {
    if (name.find("Clipboard") != std::string_view::npos) {
        return "clipboard";
    }
    if (starts_with_one_of(name, {"Dde"})) {
        return "DDE";
    }
    if (name.find("Service") != std::string_view::npos) {
        return "service manager";
    }
    if (starts_with_one_of(name, {"Rpc"})) {
        return "RPC";
    }
    return starts_with_one_of(name, {"Co"}) && name.find("Process") == std::string_view::npos &&
                   !starts_with_one_of(name, {"Connect"})
               ? "COM"
               : "";
}

// "a_to_b (read end)" and "a_to_b (write end)" are one object, and so are a mailslot and a file to write into it.
std::string base_of(std::string object) {
    constexpr std::string_view mailslot = "mailslot ";
    if (object.substr(0, mailslot.size()) == mailslot) {
        object.erase(0, mailslot.size());
    }
    object.resize(std::min(object.size(), object.find(" (")));
    return object;
}

bool is_private(const std::string& object) {
    return object.empty() ||
           starts_with_one_of(object, {"standard ", "this ", "handle ", "token", "thread",
                                       "main thread", "NULL", "process "});
}

class drawing {
public:
    explicit drawing(const trace& traced) : traced_(traced) {
        for (const call& one : traced.calls) {
            if (one.shown && !is_private(one.object)) {
                users_[key_of(one)].insert(one.process);
            }
        }
    }

    std::string text();

private:
    static std::string key_of(const call& one) {
        return one.unnamed == 0 ? base_of(one.whole_object) : "#" + std::to_string(one.unnamed);
    }

    std::string participant_of(const call& one);
    void add(double ms, arrow made) { timed_.emplace_back(ms, std::move(made)); }
    void add_call(const call& one);
    void add_shared(const call& one, const std::string& object);
    void add_result(const call& one, const std::string& object);
    static std::string label(const std::string& name);
    std::vector<loop> loops();
    void write_participants();
    void write(const arrow& one, std::string_view indent);
    void write_or_leave_out(const arrow& one, std::string_view indent);

    const trace& traced_;
    std::map<std::string, std::set<std::size_t>> users_; // the processes that use an object
    std::map<std::string, std::string> names_;           // participants of objects without a name
    std::vector<std::string> objects_;                   // participants, as they come
    // Reads that go on, by process and OVERLAPPED structure.
    std::map<std::pair<std::size_t, std::uint64_t>, const call*> pending_;
    std::vector<std::pair<double, arrow>> timed_;
    std::string text_;
    std::size_t line_ = 0;     // of arrows
    std::size_t left_out_ = 0; // of a long diagram
};

std::string function_of(const call& one) {
    return std::string(functions[one.function].name);
}

// ": ERROR_BROKEN_PIPE (109)" if the call fails.
std::string failure_of(const call& one) {
    if (!one.failed || is_error_of_speed(one)) {
        return {};
    }
    const std::size_t comma = one.result.find(", "); // "FALSE, ERROR_..."
    return comma == std::string::npos ? "" : ": " + one.result.substr(comma + 2);
}

// " (event)" or " (data write end; closes the source)" of DuplicateHandle.
std::string what_is_copied(const call& one) {
    if (function_of(one) != "DuplicateHandle") {
        return {};
    }
    std::string object = without_count(one.object);
    std::erase_if(object, [](char c) { return c == '(' || c == ')'; });
    const bool closes = one.arguments.find("DUPLICATE_CLOSE_SOURCE") != std::string::npos;
    return " (" + object + (closes ? "; closes the source)" : ")");
}

std::string drawing::participant_of(const call& one) {
    std::string object = part_of_system(function_of(one));
    if (object.empty()) {
        const std::string key = key_of(one);
        const bool is_socket = starts_with_one_of(one.object, {"socket"});
        // The server of a pipe can be a program that the system has started, and that is not traced.
        const bool is_pipe = one.object.find("(client end)") != std::string::npos;
        if (is_private(one.object) || (users_[key].size() < 2 && !is_socket && !is_pipe)) {
            return {};
        }
        object = is_socket ? "sockets" : base_of(without_process_id(one.whole_object));
        if (one.unnamed != 0 && !is_socket) {
            if (names_[key].empty()) {
                const std::string name = without_count(object);
                const auto count =
                    std::count_if(names_.begin(), names_.end(), [&](const auto& known) {
                        return known.second == name || known.second.find(name + " (") == 0;
                    });
                names_[key] = count == 0 ? name : name + " (" + std::to_string(count + 1) + ")";
            }
            object = names_[key];
        }
    }
    return object;
}

void drawing::add_result(const call& one, const std::string& object) {
    const auto found = pending_.find({one.process, one.overlapped});
    if (one.overlapped == 0 || found == pending_.end()) {
        return;
    }
    if (one.failed && one.result.find("ERROR_IO_INCOMPLETE") != std::string::npos) {
        return;
    }
    const call& begun = *found->second;
    const bool accepts = starts_with_one_of(function_of(begun), {"ConnectNamedPipe", "AcceptEx"});
    if (receives(function_of(begun)) || accepts || !failure_of(one).empty()) {
        add(one.end_ms, {object, traced_.processes[one.process].label,
                         function_of(begun) + failure_of(one), true});
    }
    pending_.erase(found);
}

void drawing::add_shared(const call& one, const std::string& object) {
    const std::string name = function_of(one);
    const std::string& process = traced_.processes[one.process].label;
    if (is_result(name)) {
        add_result(one, object);
        return;
    }
    const bool goes_on = one.overlapped != 0 &&
                         (!one.failed || one.result.find("_PENDING") != std::string::npos) &&
                         (one.failed || name.find("Ex") == name.size() - 2) && name != "CancelIoEx";
    if (goes_on) {
        pending_[{one.process, one.overlapped}] = &one;
        if (receives(name)) {
            return;
        }
    }
    if (!one.returned) {
        add(one.begin_ms, {process, object, name + " does not return"});
    } else if (receives(name)) {
        add(one.end_ms, {object, process, name + failure_of(one), true});
    } else {
        const std::size_t part = one.object.find(" (");
        const std::string which = name == "CloseHandle" && part != std::string::npos
                                      ? without_count(one.object.substr(part))
                                      : "";
        add(one.begin_ms, {process, object, name + which + failure_of(one)});
    }
}

void drawing::add_call(const call& one) {
    const std::string name = function_of(one);
    if (!one.shown || one.prints || is_preparation(name) || depends_on_speed(one)) {
        return;
    }
    const std::string& process = traced_.processes[one.process].label;
    const bool waits_for_several = name.find("MultipleObjects") != std::string::npos;
    const bool is_partner =
        one.partner != 0 && name != "CloseHandle" &&
        (!waits_for_several || one.result.find(": process ") != std::string::npos);
    if (is_partner) {
        const std::string& partner = traced_.processes[one.partner - 1].label;
        if (partner == process) {
            return;
        }
        if (receives(name) && one.returned) {
            add(one.end_ms, {partner, process, name + failure_of(one), true});
        } else {
            add(one.begin_ms, {process, partner, name + what_is_copied(one) + failure_of(one)});
        }
        return;
    }
    const std::string object = participant_of(one);
    if (object.empty()) {
        return;
    }
    if (std::find(objects_.begin(), objects_.end(), object) == objects_.end()) {
        objects_.push_back(object);
    }
    add_shared(one, object);
}

std::vector<loop> loops_of(const std::vector<arrow>& arrows) {
    constexpr std::size_t longest = 12;
    constexpr std::size_t fewest = 2;
    std::vector<loop> loops;
    for (std::size_t i = 0; i < arrows.size();) {
        const repetition found = repetition_at(arrows, i, longest, fewest, std::equal_to<>());
        const auto first = arrows.begin() + static_cast<std::ptrdiff_t>(i);
        loops.push_back({{first, first + static_cast<std::ptrdiff_t>(found.length)}, found.times});
        i += found.length * found.times;
    }
    return loops;
}

// "WriteFile", "WriteFile x 3", "(CreateFileW, WriteFile) x 3"
std::string with_times(const arrow& one) {
    if (one.times == 1) {
        return one.text;
    }
    const bool several = one.text.find(", ") != std::string::npos;
    return (several ? "(" + one.text + ")" : one.text) + " x " + std::to_string(one.times);
}

// Puts arrows between the same two, one after the other, into one.
std::vector<arrow> joined(const std::vector<arrow>& arrows) {
    std::vector<arrow> result;
    for (const arrow& one : arrows) {
        arrow* const last = result.empty() ? nullptr : &result.back();
        if (last != nullptr && last->from == one.from && last->to == one.to &&
            last->is_answer == one.is_answer && last->times == 1 && one.times == 1 &&
            last->text.size() + one.text.size() + 2 <= most_characters &&
            last->text.find(':') == std::string::npos) {
            last->text += ", " + one.text;
        } else {
            result.push_back(one);
        }
    }
    return result;
}

// Loops of one arrow become arrows, so that they can share one with others.
std::vector<loop> joined_loops(std::vector<loop> loops) {
    std::vector<loop> result;
    for (loop& one : loops) {
        one.arrows = joined(one.arrows);
        if (one.arrows.size() == 1) {
            arrow& only = one.arrows.front();
            only.times *= one.times;
            one.times = 1;
        }
        if (one.times == 1 && !result.empty() && result.back().times == 1) {
            std::vector<arrow>& arrows = result.back().arrows;
            arrows.insert(arrows.end(), one.arrows.begin(), one.arrows.end());
        } else {
            result.push_back(std::move(one));
        }
    }
    for (loop& one : result) {
        one.arrows = joined(one.arrows);
    }
    return result;
}

std::string drawing::label(const std::string& name) {
    std::string id = name;
    std::replace_if(
        id.begin(), id.end(),
        [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
    return id;
}

void drawing::write(const arrow& one, std::string_view indent) {
    text_ += std::string(indent) + label(one.from) + (one.is_answer ? "-->>" : "->>") +
             label(one.to) + ": " + with_times(one) + "\n";
}

std::vector<loop> drawing::loops() {
    for (const call& one : traced_.calls) {
        add_call(one);
    }
    for (const auto& [where, begun] : pending_) { // nobody asks for their results
        if (receives(function_of(*begun))) {
            add(begun->begin_ms, {traced_.processes[begun->process].label, participant_of(*begun),
                                  function_of(*begun) + " (goes on)"});
        }
    }
    std::stable_sort(timed_.begin(), timed_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<arrow> arrows;
    for (auto& [time, one] : timed_) {
        arrows.push_back(std::move(one));
    }
    return joined_loops(loops_of(arrows));
}

void drawing::write_participants() {
    for (std::size_t i = 0; i < traced_.processes.size(); ++i) {
        const std::string& process = traced_.processes[i].label;
        text_ += "    participant " + label(process) + " as " + process + "\n";
        for (std::size_t k = 0; i == 0 && k < objects_.size(); ++k) {
            text_ += "    participant " + label(objects_[k]) + " as " + objects_[k] + "\n";
        }
    }
}

// Writes an arrow, or once, where the middle of a long diagram is left out, a note.
void drawing::write_or_leave_out(const arrow& one, std::string_view indent) {
    constexpr std::size_t first_part = most_lines * 2 / 3;
    if (left_out_ == 0 || line_ < first_part || line_ >= first_part + left_out_) {
        write(one, indent);
    } else if (line_ == first_part) {
        text_ += "    Note over " + label(traced_.processes.front().label) + "," +
                 label(traced_.processes.back().label) + ": " + std::to_string(left_out_) +
                 " arrows are left out here\n";
    }
    ++line_;
}

std::string drawing::text() {
    const std::vector<loop> all = loops();
    text_ = "sequenceDiagram\n";
    write_participants();
    std::size_t lines = 0;
    for (const loop& one : all) {
        lines += one.arrows.size();
    }
    left_out_ = lines > most_lines + 3 ? lines - most_lines : 0;
    for (const loop& one : all) {
        const bool frame = one.times > 1;
        text_ += frame ? "    loop x " + std::to_string(one.times) + "\n" : "";
        for (const arrow& each : one.arrows) {
            write_or_leave_out(each, frame ? "        " : "    ");
        }
        text_ += frame ? "    end\n" : "";
    }
    return text_;
}

} // namespace

std::string sequence_diagram(const trace& traced) {
    return drawing(traced).text();
}

} // namespace ipc::trace
