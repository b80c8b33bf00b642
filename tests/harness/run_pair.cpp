// Runs the two programs of a pair together and shows their lines as they arrive.
//
// Each program runs in a job object, so that no process is left when run_pair ends, even by a
// crash. After the time limit run_pair names the programs that still run, and ends them.
//
// Exit codes: 0 the pair succeeded, 1 it failed, 2 wrong usage, 4 this system cannot run the pair, and
// each of its programs has said so. Then there is nothing to compare or to record. 3 would be that of abort().
//
// Run: run_pair [--limit SECONDS] [--expect FILE] [--record FILE] [--own-clipboard] [--trace FOLDER]
//               [--calls FILE] [--record-calls FILE] PAIR [A's arguments] [-- [B's arguments]]...
// Each "--" starts one B. Without a "--" run_pair starts only A, and A starts B.

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/harness/own_clipboard.hpp"
#include "tests/tracer/report.hpp"

#include <windows.h>

#include <cstddef>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

constexpr auto usage =
    "run_pair [--limit SECONDS] [--expect FILE] [--record FILE] [--own-clipboard] [--trace FOLDER] "
    "[--calls FILE] [--record-calls FILE] PAIR [A...] [-- [B...]]...\n"
    "  --limit SECONDS  end both programs after this time (default: 30; 0: never)\n"
    "  --expect FILE    compare the lines with FILE and fail if they differ\n"
    "  --record FILE    write the lines to FILE, in the order of their arrival\n"
    "  --own-clipboard  keep the programs off the user's clipboard; exit code 4 if that cannot be\n"
    "  --trace FOLDER   record the calls of the programs and show them on one timeline; FOLDER "
    "gets the pictures\n"
    "  --calls FILE     with --trace: compare the calls with FILE and fail if they differ\n"
    "  --record-calls FILE  with --trace: write the calls to FILE, or what they have in common "
    "with those in it\n"
    "  PAIR             the pair's folder, such as 01_stdout_redirection\n"
    "  A...             arguments for processA\n"
    "  -- B...          starts one processB with these arguments; may be repeated";

constexpr int pair_left_out = 4;

constexpr const char* colour_codes[] = {"\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m"};

bool is_set(const wchar_t* environment_variable) {
    return GetEnvironmentVariableW(environment_variable, nullptr, 0) > 1; // not empty
}

// Shows the lines of several programs, each program in its own colour.
class screen {
public:
    screen() {
        const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
        const bool wanted = !is_set(L"NO_COLOR"); // https://no-color.org
        DWORD mode = 0;
        const bool console = GetConsoleMode(output, &mode) &&
                             SetConsoleMode(output, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
        colours_ = wanted && (console || is_set(L"CLICOLOR_FORCE"));
    }

    void show(int program, std::string_view line) {
        const std::lock_guard lock(mutex_);
        lines_.emplace_back(line);
        if (colours_) {
            ipc::print_line("{}{}\x1b[0m", colour_codes[program % 4], line);
        } else {
            ipc::print_line("{}", line);
        }
    }

    const std::vector<std::string>& lines() const { return lines_; }
    bool has_colours() const { return colours_; }

private:
    bool colours_ = false;
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

struct member {
    std::string name; // "A", "B", or with several Bs "B 1", "B 2", ...
    std::vector<std::wstring> command;
    std::vector<std::string> lines;
    std::unique_ptr<ipc::test::program> program;
};

std::vector<member> members_of(const std::vector<std::wstring>& arguments) {
    std::vector<member> members(1);
    members[0].name = "A";
    members[0].command = {ipc::test::program_path(arguments[0], L"processA.exe")};
    for (auto argument = arguments.begin() + 1; argument != arguments.end(); ++argument) {
        if (*argument == L"--") {
            member& b = members.emplace_back();
            b.name = "B " + std::to_string(members.size() - 1);
            b.command = {ipc::test::program_path(arguments[0], L"processB.exe")};
        } else {
            members.back().command.push_back(*argument);
        }
    }
    for (const member& partner : members) {
        if (!std::filesystem::exists(partner.command.front())) {
            throw std::runtime_error("there is no " + ipc::to_utf8(partner.command.front()));
        }
    }
    if (members.size() == 2) {
        members[1].name = "B";
    }
    return members;
}

std::string read_text(const std::wstring& path) {
    std::ifstream file(std::filesystem::path(path), std::ios::binary);
    if (!file) {
        throw std::runtime_error("cannot read " + ipc::to_utf8(path));
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> read_lines(const std::wstring& path) {
    return ipc::test::lines_of(read_text(path));
}

void record(const std::wstring& path, const std::vector<std::string>& lines) {
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    for (const std::string& line : lines) {
        file << line << '\n';
    }
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + ipc::to_utf8(path));
    }
}

std::string joined(const std::vector<std::string>& parts) {
    std::string text;
    for (const std::string& part : parts) {
        text += (text.empty() ? "" : ", ") + part;
    }
    return text;
}

// Returns whether every program ended by itself within the limit.
bool wait_for_members(const std::vector<member>& members, DWORD limit_ms) {
    const ULONGLONG end = GetTickCount64() + limit_ms;
    const auto left_ms = [&] {
        const ULONGLONG now = GetTickCount64();
        return now < end ? static_cast<DWORD>(end - now) : 0;
    };
    std::vector<std::string> running;
    for (const member& partner : members) {
        if (!partner.program->wait(left_ms())) {
            running.push_back("process " + partner.name);
        } else if (!partner.program->job().wait_until_empty(left_ms())) {
            for (const std::string& child : partner.program->job().process_names()) {
                running.push_back(child + ", started by process " + partner.name);
            }
        }
    }
    if (!running.empty()) {
        ipc::print_line("run_pair: still running after {} s and ended now: {}", limit_ms / 1000,
                        joined(running));
    }
    return running.empty();
}

// Makes an empty folder for the tracer. Returns its path, or nothing and one warning if that cannot be: then the pair
// runs untraced.
std::wstring prepare_trace_folder(const std::wstring& folder) {
    if (folder.empty()) {
        return {};
    }
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    const std::wstring probe = (std::filesystem::path(folder) / L"probe.tmp").wstring();
    bool can_write = false;
    if (!failed) {
        ipc::test::remove_traces(folder);
        std::ofstream file(std::filesystem::path(probe), std::ios::binary);
        can_write = static_cast<bool>(file << "x" << std::flush);
    }
    std::error_code ignored;
    std::filesystem::remove(probe, ignored);
    if (!can_write) {
        ipc::print_error_line("trace: cannot write to {}; the pair runs untraced", folder);
        return {};
    }
    return std::filesystem::absolute(folder).make_preferred().wstring();
}

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + ipc::to_utf8(path.wstring()));
    }
}

// Shows the timeline and leaves it in the folder in other forms, too. A failure is no failure of the pair.
void report_trace(const std::wstring& folder, bool colours) try {
    const ipc::trace::trace traced = ipc::trace::read_trace(folder);
    ipc::trace::timeline_options options;
    options.colours = colours;
    ipc::print_line("");
    for (const std::string& line : ipc::trace::timeline(traced, options)) {
        ipc::print_line("{}", line);
    }
    for (const std::string& line :
         ipc::trace::waiting_calls(traced, ipc::trace::ms_until_now(traced))) {
        ipc::print_line("trace: {}", line);
    }
    const std::filesystem::path path(folder);
    write_text(path / L"trace.json", ipc::trace::trace_events(traced));
    write_text(path / L"sequence.mmd", ipc::trace::sequence_diagram(traced));
    write_text(path / L"timeline.svg", ipc::trace::timeline_svg(traced));
    ipc::print_line(
        "trace: timeline.svg, sequence.mmd and trace.json (for ui.perfetto.dev) are in {}", folder);
} catch (const std::exception& error) {
    ipc::print_error_line("trace: no report: {}", error.what());
}

// Compares the calls with a recorded file, or records them. Returns whether they are those of the file.
bool check_calls(const std::wstring& folder, const std::wstring& calls,
                 const std::wstring& record) {
    const ipc::trace::trace traced = ipc::trace::read_trace(folder);
    if (!record.empty()) {
        write_text(record, std::filesystem::exists(record)
                               ? ipc::trace::merge_calls(read_text(record), traced)
                               : ipc::trace::record_calls(traced));
    }
    if (calls.empty()) {
        return true;
    }
    const std::string difference = ipc::trace::compare_calls(read_text(calls), traced);
    if (!difference.empty()) {
        ipc::print_line("run_pair: other calls than in {}: {}", calls, difference);
    }
    return difference.empty();
}

void check_usage(const std::vector<std::wstring>& pair, const std::wstring& trace,
                 const std::wstring& calls, const std::wstring& record_calls) {
    if (pair.empty()) {
        throw ipc::usage_error("which pair? usage: run_pair PAIR, such as 01_stdout_redirection");
    }
    if ((!calls.empty() || !record_calls.empty()) && trace.empty()) {
        throw ipc::usage_error("--calls and --record-calls need --trace FOLDER");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{30'000};
    std::wstring expect;
    std::wstring record_file;
    bool own_clipboard = false;
    std::wstring trace;
    std::wstring calls;
    std::wstring record_calls;
    std::vector<std::wstring> pair;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--limit", &limit},
                          {L"--expect", &expect},
                          {L"--record", &record_file},
                          {L"--own-clipboard", &own_clipboard},
                          {L"--trace", &trace},
                          {L"--calls", &calls},
                          {L"--record-calls", &record_calls}},
                         &pair);
    check_usage(pair, trace, calls, record_calls);
    if (!calls.empty() && !ipc::test::is_wine()) {
        ipc::print_line(
            "run_pair: left out: the calls were recorded under Wine, and are compared there");
        return pair_left_out;
    }
    const std::vector<std::string> expected =
        expect.empty() ? std::vector<std::string>() : read_lines(expect);

    ipc::test::start_desktop();
    ipc::test::start_options options;
    std::unique_ptr<ipc::test::own_clipboard> clipboard;
    if (own_clipboard) {
        std::string why_not;
        clipboard = ipc::test::try_own_clipboard(why_not);
        if (clipboard == nullptr) {
            ipc::print_line("run_pair: left out: {}", why_not);
            return pair_left_out;
        }
        options = clipboard->here();
    }
    options.trace_folder = prepare_trace_folder(trace);
    screen output;
    std::vector<member> members = members_of(pair);
    for (std::size_t i = 0; i < members.size(); ++i) {
        member& partner = members[i];
        options.on_line = [&output, i](std::string_view line) {
            output.show(static_cast<int>(i), line);
        };
        partner.program = std::make_unique<ipc::test::program>(partner.command, options);
    }
    bool good = wait_for_members(members, limit.ms);

    std::string left_out = good ? "?" : "";
    std::vector<std::string> exit_codes;
    std::vector<std::vector<std::string>> lines;
    for (member& partner : members) {
        partner.program->job().terminate();
        partner.program->wait();
        partner.program->wait_for_end_of_output();
        const DWORD exit_code = partner.program->exit_code();
        good = good && exit_code == 0;
        left_out = left_out.empty() ? "" : ipc::test::left_out_reason(*partner.program);
        exit_codes.push_back(partner.name + " " + ipc::exit_code_text(exit_code));
        lines.push_back(
            ipc::test::lines_of(partner.program->output() + partner.program->error_output()));
    }
    ipc::print_line("run_pair: exit codes: {}", joined(exit_codes));
    const bool about_calls = !calls.empty() || !record_calls.empty();
    if (!options.trace_folder.empty() && !about_calls) {
        report_trace(options.trace_folder, output.has_colours());
    }
    if (!left_out.empty()) {
        ipc::print_line("run_pair: left out: {}", left_out);
        return pair_left_out;
    }
    if (about_calls && good) {
        good = check_calls(options.trace_folder, calls, record_calls);
    }
    if (!record_file.empty()) {
        record(record_file, output.lines());
    }
    if (!expect.empty()) {
        const std::string difference =
            ipc::test::compare_output(expected, lines.front(), {lines.begin() + 1, lines.end()});
        if (!difference.empty()) {
            ipc::print_line("run_pair: not as expected: {}", difference);
            good = false;
        }
    }
    return good ? 0 : 1;
} catch (...) {
    return ipc::report_exception("run_pair");
}
