// Shows what the tracer has recorded in a folder.
//
// Run: trace_report [--no-times] [--calls] [--just-ended] FOLDER

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "tests/tracer/report.hpp"

#include <string>
#include <vector>

namespace {

constexpr auto usage = "trace_report [--no-times] [--calls] [--just-ended] FOLDER\n"
                       "  --no-times    the timeline without times\n"
                       "  --calls       what is left of a run without times: as in calls.mmd\n"
                       "  --just-ended  say how long the calls have waited that have not returned\n"
                       "  FOLDER        where the tracer has left its files";

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool no_times = false;
    bool calls = false;
    bool just_ended = false;
    std::vector<std::wstring> folder;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--no-times", &no_times}, {L"--calls", &calls}, {L"--just-ended", &just_ended}},
        &folder);
    if (folder.size() != 1) {
        throw ipc::usage_error("which folder? usage: trace_report FOLDER");
    }
    const ipc::trace::trace traced = ipc::trace::read_trace(folder[0]);
    if (calls) {
        ipc::print_line("{}", ipc::trace::record_calls(traced));
        return 0;
    }
    ipc::trace::timeline_options options;
    options.times = !no_times;
    for (const std::string& line : ipc::trace::timeline(traced, options)) {
        ipc::print_line("{}", line);
    }
    const double until_ms = just_ended ? ipc::trace::ms_until_now(traced) : 0;
    for (const std::string& line : ipc::trace::waiting_calls(traced, until_ms)) {
        ipc::print_line("trace: {}", line);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("trace_report");
}
