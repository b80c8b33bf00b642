#pragma once

// Reads the files that the tracer has left in a folder and makes texts and pictures of them.

#include "tests/tracer/functions.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ipc::trace {

// A recorded call in words.
struct call {
    std::size_t process = 0; // its index in trace::processes
    int thread = 1; // the number of the thread in its process, in the order of their first calls
    std::size_t function = 0;
    double begin_ms = 0; // since the first process has started
    double end_ms = 0;   // meaningless unless it has returned
    bool returned = false;
    bool shown = true;      // false: it is about an object of the C++ runtime, or says nothing
    bool failed = false;    // the result says so
    bool prints = false;    // to the standard output or error of the whole pair
    bool can_block = false; // what this function may do, not what it has done
    std::string arguments;  // "a_to_b (read end), 64 bytes"
    std::string result;     // " = TRUE", or empty
    std::string data;       // the beginning of the bytes that were moved, or empty
    std::string object;     // the object that it is about, or empty
    std::string
        whole_object; // the same with its owner, if its name is that of others, too: "event 1 of A"
    int unnamed = 0;  // the number of that object in all processes, if it has no name
    std::uint64_t overlapped = 0; // the address of the OVERLAPPED structure; 0: none
    std::size_t partner = 0; // 1 + the index of the process that it starts or waits for; 0: none
};

struct process {
    std::uint32_t id = 0;
    std::uint32_t parent = 0;
    std::string program; // "processA.exe"
    std::string label;   // "A", "B", "B 2", "cmd"
    std::uint64_t calls = 0;
    std::uint64_t lost = 0;
    std::int64_t frequency = 1;
    std::int64_t start = 0;
    std::string note;
};

struct trace {
    std::vector<process> processes; // in the order of their start
    std::vector<call> calls;        // in the order of their begin
};

// Throws std::runtime_error if the folder cannot be read. A folder without traces gives an empty trace.
trace read_trace(const std::wstring& folder);

// The timeline of all processes, 100 columns wide: the first process at the left, the others at the right.
struct timeline_options {
    bool colours = false;
    bool times = true;      // without them, two runs are easier to compare
    std::size_t most = 400; // rows; the middle is left out
};
std::vector<std::string> timeline(const trace& traced, const timeline_options& options = {});

// "B: ReadFile(...) has not returned after 9.8 s; called at 35.009 ms": a line for each call that has not returned.
// until_ms is when the programs were looked at, or 0 if that is not known.
std::vector<std::string> waiting_calls(const trace& traced, double until_ms = 0);

// The time since the first process has started, for a trace that has just been recorded.
double ms_until_now(const trace& traced);

std::string trace_events(const trace& traced);     // JSON in the Trace Event Format
std::string sequence_diagram(const trace& traced); // Mermaid; short enough for a screen
std::string timeline_svg(const trace& traced);

// demos/NN_technique/calls.mmd holds the diagram of one run and the calls that all recorded runs have made. It
// leaves out times, sizes and counts: a call counts where a program makes it first.

// Returns such a text for one run.
std::string record_calls(const trace& traced);

// Returns the text `known`, less strict where this run differs from it: a call that only some runs make can be
// missing, and a call whose place depends on which program is faster can be anywhere. The diagram stays.
std::string merge_calls(std::string_view known, const trace& traced);

// Returns the first difference of this run in words, or nothing.
std::string compare_calls(std::string_view known, const trace& traced);

} // namespace ipc::trace
