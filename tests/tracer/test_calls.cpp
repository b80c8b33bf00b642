// What is recorded of a pair's calls, how two runs are compared, and the diagram. The traces are made by hand here.

#include "tests/tracer/report.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Catch::Matchers::ContainsSubstring;
using ipc::trace::call;
using ipc::trace::compare_calls;
using ipc::trace::merge_calls;
using ipc::trace::record_calls;
using ipc::trace::sequence_diagram;
using ipc::trace::trace;

call make_call(std::size_t process, std::size_t function, const std::string& object) {
    call made;
    made.process = process;
    made.function = function;
    made.object = object;
    made.whole_object = object;
    made.returned = true;
    return made;
}

call failing(call one, const std::string& error) {
    one.failed = true;
    one.result = "FALSE, " + error;
    return one;
}

call overlapped(call one) {
    one.overlapped = 0x1000;
    return one;
}

// A trace of A and B; each call takes one millisecond, and begins when the one before has ended.
trace make_trace(std::vector<call> calls) {
    trace made;
    made.processes.resize(2);
    made.processes[0].label = "A";
    made.processes[1].label = "B";
    double now = 0;
    for (call& one : calls) {
        one.begin_ms = now++;
        one.end_ms = now;
    }
    made.calls = std::move(calls);
    return made;
}

const call create = make_call(0, ipc::trace::CreateNamedPipeW_index, "data (server end)");
const call connect = make_call(0, ipc::trace::ConnectNamedPipe_index, "data (server end)");
const call write = make_call(0, ipc::trace::WriteFile_index, "data (server end)");
const call close = make_call(0, ipc::trace::CloseHandle_index, "data (server end)");
const call open = make_call(1, ipc::trace::CreateFileW_index, "data (client end)");
const call read = make_call(1, ipc::trace::ReadFile_index, "data (client end)");

} // namespace

TEST_CASE("a run makes the calls that were recorded from it") {
    const trace run = make_trace({create, connect, open, write, read, close});
    const std::string known = record_calls(run);
    CHECK_THAT(known, ContainsSubstring("%%   A: CreateNamedPipeW(data (server end))\n"));
    CHECK(compare_calls(known, run).empty());
    // A loop may turn more often.
    CHECK(compare_calls(known, make_trace({create, connect, open, write, read, write, read, close}))
              .empty());
}

TEST_CASE("two calls that are exchanged, one that is missing and a new one are differences") {
    const std::string known = record_calls(make_trace({create, connect, open, write, read, close}));
    CHECK(
        compare_calls(known, make_trace({connect, create, open, write, read, close})) ==
        "A calls ConnectNamedPipe(data (server end)) where CreateNamedPipeW(data (server end)) is "
        "recorded");
    CHECK(compare_calls(known, make_trace({create, connect, open, write, close})) ==
          "B does not call ReadFile(data (client end))");
    CHECK(compare_calls(known, make_trace({create, connect, open, write, read, read, close,
                                           failing(read, "ERROR_BROKEN_PIPE (109)")})) ==
          "B calls ReadFile(data (client end)) = FALSE, ERROR_BROKEN_PIPE (109), which is not "
          "recorded");
}

TEST_CASE("what differs between recorded runs may differ, and the rest may not") {
    std::string known = record_calls(make_trace({create, connect, open, write, read, close}));
    const std::string diagram = known.substr(0, known.find("ANCHOR_END"));
    known =
        merge_calls(known, make_trace({create, connect, write, open, close})); // without ReadFile
    CHECK_THAT(known, ContainsSubstring("%% ? B: ReadFile(data (client end))\n"));
    known = merge_calls(known, make_trace({create, connect, close, write, open, read}));
    CHECK_THAT(known, ContainsSubstring("%% ~ A: "));
    CHECK(known.substr(0, known.find("ANCHOR_END")) == diagram);

    CHECK(compare_calls(known, make_trace({create, connect, close, write, open})).empty());
    CHECK(compare_calls(known, make_trace({create, connect, open, write, read, close})).empty());
    CHECK_FALSE(compare_calls(known, make_trace({connect, create, open, write, close})).empty());
    CHECK_FALSE(compare_calls(known, make_trace({create, connect, open, close})).empty());
}

TEST_CASE("the calls of further threads are recorded apart from those of the first") {
    call second = write;
    second.thread = 2;
    const std::string known = record_calls(make_trace({create, second, connect, open}));
    CHECK_THAT(known, ContainsSubstring("%%   A, further threads: WriteFile(data (server end))\n"));
    // Which of the threads is faster does not matter.
    CHECK(compare_calls(known, make_trace({create, connect, second, open})).empty());
    CHECK_FALSE(compare_calls(known, make_trace({create, connect, write, open})).empty());
}

TEST_CASE("the calls of several further threads have no order, and none may be missing") {
    call second = write;
    second.thread = 2;
    call third = connect;
    third.thread = 3;
    const std::string known = record_calls(make_trace({create, second, third, open}));
    CHECK(compare_calls(known, make_trace({create, third, second, open})).empty());
    CHECK_FALSE(compare_calls(known, make_trace({create, third, open})).empty());
}

TEST_CASE("a wait for an overlapped call may be missing, another one not") {
    call wait = make_call(1, ipc::trace::WaitForMultipleObjects_index, "event 1");
    CHECK(compare_calls(record_calls(make_trace({create, open, overlapped(read), wait})),
                        make_trace({create, open, overlapped(read)}))
              .empty());
    CHECK(compare_calls(record_calls(make_trace({create, open, read, wait})),
                        make_trace({create, open, read})) ==
          "B does not call WaitForMultipleObjects(...)");
}

TEST_CASE("a socket that has nothing yet is asked more or less often") {
    const call nothing =
        failing(make_call(1, ipc::trace::recv_index, "socket 1"), "WSAEWOULDBLOCK (10035)");
    CHECK(
        compare_calls(record_calls(make_trace({create, open, nothing})), make_trace({create, open}))
            .empty());
}

TEST_CASE("an overlapped call fails at once or later, and counts the same") {
    const call result =
        overlapped(make_call(1, ipc::trace::GetOverlappedResult_index, "data (client end)"));
    const call at_once = failing(overlapped(read), "ERROR_BROKEN_PIPE (109)");
    const call pending = failing(overlapped(read), "ERROR_IO_PENDING (997)");
    const trace early = make_trace({create, open, at_once});
    const trace late =
        make_trace({create, open, pending, failing(result, "ERROR_BROKEN_PIPE (109)")});
    CHECK(compare_calls(record_calls(early), late).empty());
    CHECK(compare_calls(record_calls(late), early).empty());
}

TEST_CASE("a diagram that shows another call than the recorded ones is found") {
    const trace run = make_trace({create, connect, open, write, read, close});
    std::string known = record_calls(run);
    const std::size_t at = known.find("ConnectNamedPipe");
    known.replace(at, std::string("ConnectNamedPipe").size(), "FlushFileBuffers");
    CHECK(compare_calls(known, run) ==
          "the diagram shows a call that is not recorded: A: FlushFileBuffers");
}

TEST_CASE("a line that is no recorded call is refused") {
    const trace run = make_trace({create, open});
    CHECK_THROWS_AS(compare_calls(record_calls(run) + "and more\n", run), std::runtime_error);
}

TEST_CASE("the diagram: what a call gets points to the process, and what repeats is folded") {
    const call result =
        overlapped(make_call(1, ipc::trace::GetOverlappedResult_index, "data (client end)"));
    const call pending = failing(overlapped(read), "ERROR_IO_PENDING (997)");
    const std::string diagram = sequence_diagram(
        make_trace({create, connect, open, write, read, write, read, write, read, pending, write,
                    result, close, failing(read, "ERROR_BROKEN_PIPE (109)")}));
    CHECK(diagram == "sequenceDiagram\n"
                     "    participant A as A\n"
                     "    participant data as data\n"
                     "    participant B as B\n"
                     "    A->>data: CreateNamedPipeW, ConnectNamedPipe\n"
                     "    B->>data: CreateFileW\n"
                     "    loop x 4\n"
                     "        A->>data: WriteFile\n"
                     "        data-->>B: ReadFile\n"
                     "    end\n"
                     "    A->>data: CloseHandle (server end)\n"
                     "    data-->>B: ReadFile: ERROR_BROKEN_PIPE (109)\n");
}

TEST_CASE("the diagram leaves out what only one process uses, and the middle of a long one") {
    const call own = make_call(0, ipc::trace::CreateEventW_index, "event 1");
    CHECK(sequence_diagram(make_trace({own, own})).find("event") == std::string::npos);
    std::vector<call> calls = {create, open};
    const std::size_t functions[] = {ipc::trace::WriteFile_index,
                                     ipc::trace::FlushFileBuffers_index,
                                     ipc::trace::PeekNamedPipe_index};
    for (std::size_t i = 0; i < 150; ++i) { // no part of it comes twice in a row
        call one = i % 2 == 0 ? write : open;
        one.function = functions[(i / 2 + i * i / 7) % 3];
        calls.push_back(one);
    }
    const std::string diagram = sequence_diagram(make_trace(std::move(calls)));
    CHECK_THAT(diagram, ContainsSubstring(" arrows are left out here\n"));
    CHECK(diagram.size() < 3000);
}
