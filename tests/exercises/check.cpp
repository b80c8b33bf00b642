#include "tests/exercises/check.hpp"

#include "common/error.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace ipc::exercise {

namespace {

// Longer than a correct program ever needs, even on a busy machine.
constexpr DWORD generous_limit_ms = 60'000;
// For a starter that is known to hang: nothing happens any more after a moment.
constexpr DWORD hang_limit_ms = 3'000;

// A correct program prints far less. The checks keep no more of it.
constexpr std::size_t most_output_bytes = 16'000'000;

class check_failed : public std::runtime_error {
public:
    check_failed(std::string_view expected, std::string_view seen)
        : std::runtime_error("          expected: " + std::string(expected) +
                             "\n          seen:     " + std::string(seen) + "\n") {}
};

// Runs the checks and returns what a learner reads. The text ends with the first failure. limit_ms tells how long
// a check, named by its sentence, waits for a program.
std::pair<bool, std::string> run_checks(const std::vector<check>& checks,
                                        const std::wstring& learner, const std::wstring& partner,
                                        const std::function<DWORD(const std::string&)>& limit_ms,
                                        const std::function<void(std::string_view)>& show) {
    std::string text;
    const auto add = [&](const std::string& line) {
        text += line;
        show(line);
    };
    for (const check& next : checks) {
        test::remove_traces(
            test::trace_folder()); // with -DTRACE=ON, those of the checks before this one
        try {
            trial attempt(learner, partner, limit_ms(next.sentence));
            next.run(attempt);
            add("  ok      " + next.sentence + "\n");
        } catch (const check_failed& failure) {
            add("  FAILED  " + next.sentence + "\n" + failure.what());
            return {false, text};
        }
    }
    return {true, text};
}

void show_text(std::string_view text) {
    print_line("{}", text.substr(0, text.size() - 1)); // print_line adds the line end
}

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) {
        text += line + "\n";
    }
    return text;
}

int check_learner(const std::vector<check>& checks, const std::vector<std::wstring>& args) {
    const DWORD limit_ms = std::stoul(args.at(2)) * 1000;
    const auto [passed, text] = run_checks(
        checks, args.at(0), args.at(1), [&](const std::string&) { return limit_ms; }, show_text);
    if (args.size() > 3) {
        std::ofstream(std::filesystem::path(args.at(3)), std::ios::binary) << text;
    }
    return passed ? 0 : 1;
}

int prove(const std::vector<check>& checks, const std::vector<std::wstring>& args) {
    const std::string expected = joined(test::lines_of(test::read_file(args.at(3))));
    const bool hangs = expected.find("hung") != std::string::npos;
    print_line("the starter:");
    const auto [starter_passed, text] = run_checks(
        checks, args.at(0), args.at(2),
        [&](const std::string& sentence) {
            const bool hangs_here =
                expected.find("  FAILED  " + sentence + "\n") != std::string::npos;
            return hangs && hangs_here ? hang_limit_ms : generous_limit_ms;
        },
        show_text);
    if (starter_passed) {
        print_line("the starter passes: nothing is left for the learner to do");
        return 1;
    }
    if (text != expected) {
        print_line("the starter fails, but symptom.txt says something else:\n{}", expected);
        return 1;
    }
    print_line("the solution:");
    const auto [solution_passed, solution_text] = run_checks(
        checks, args.at(1), args.at(2), [](const std::string&) { return generous_limit_ms; },
        show_text);
    if (!solution_passed) {
        print_line("the solution has to pass every check");
        return 1;
    }
    print_line("proved: the starter fails, the solution passes");
    return 0;
}

} // namespace

test::program& trial::start(const std::string& name, const std::wstring& path,
                            const std::vector<std::wstring>& arguments,
                            const test::start_options& options) {
    const auto same = std::count_if(members_.begin(), members_.end(), [&](const member& other) {
        return other.name == name || other.name.substr(0, name.size() + 1) == name + " ";
    });
    std::vector<std::wstring> command{path};
    command.insert(command.end(), arguments.begin(), arguments.end());
    test::start_options bounded = options;
    bounded.most_output_bytes = most_output_bytes;
    members_.push_back({same == 0 ? name : name + " " + std::to_string(same + 1),
                        std::make_unique<test::program>(command, bounded)});
    return *members_.back().program;
}

test::program& trial::start_learner(const std::vector<std::wstring>& arguments,
                                    const test::start_options& options) {
    const bool is_a = std::filesystem::path(learner_).stem() == L"processA";
    return start(is_a ? "A" : "B", learner_, arguments, options);
}

test::program& trial::start_partner(const std::vector<std::wstring>& arguments,
                                    const test::start_options& options) {
    const bool is_a = std::filesystem::path(partner_).stem() == L"processA";
    return start(is_a ? "A" : "B", partner_, arguments, options);
}

test::program& trial::start_helper(const std::vector<std::wstring>& arguments) {
    return start("helper", test::program_path(L"tests", L"helper.exe"), arguments);
}

test::program& trial::start_player(const std::vector<std::wstring>& arguments) {
    const bool learner_is_a = std::filesystem::path(learner_).stem() == L"processA";
    std::vector<std::wstring> play{L"play"};
    play.insert(play.end(), arguments.begin(), arguments.end());
    return start(learner_is_a ? "B" : "A", player(), play);
}

std::wstring trial::player() {
    std::wstring path(32'768, L'\0'); // the longest path that Windows knows
    path.resize(GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size())));
    return path;
}

std::wstring trial::file(std::wstring_view name) {
    if (!folder_) {
        folder_ = std::make_unique<test::temporary_folder>();
    }
    return folder_->file(name);
}

// NOLINTNEXTLINE(readability-convert-member-functions-to-static): attempt.expect(...) reads like the other calls
void trial::expect(bool holds, std::string_view expected, std::string_view seen) const {
    if (!holds) {
        throw check_failed(expected, seen);
    }
}

std::string trial::name_of(const test::program& program) const {
    const auto found = std::find_if(members_.begin(), members_.end(), [&](const member& other) {
        return other.program.get() == &program;
    });
    return found->name;
}

std::string trial::running_programs() const {
    std::string text;
    for (const member& other : members_) {
        if (!other.program->wait(0)) {
            text += (text.empty() ? "" : "; ") + other.name;
            text += " (" + last_words(*other.program) + ")";
        }
    }
    return text;
}

std::string trial::state_of(test::program& program) const {
    constexpr DWORD end_ms = 1'000; // it may have closed a pipe because it is about to end
    std::string text =
        name_of(program) +
        (program.output_bytes() > most_output_bytes ? " has printed more than 16 MB" : " hung");
    if (program.wait(end_ms)) {
        program.wait_for_end_of_output(limit_ms_);
        text = name_of(program) + " ended with exit code " + exit_code_text(program.exit_code());
    }
    return text + "; " + last_words(program);
}

void trial::expect_little_output(const test::program& program, std::string_view expected) const {
    expect(program.output_bytes() <= most_output_bytes, expected,
           name_of(program) + " has printed more than 16 MB");
}

// Waits for something that the program has to do, in steps: nobody needs the whole limit to see that a program
// prints without end. Returns what the last step returned.
bool trial::wait_for(const test::program& program, std::string_view expected,
                     const std::function<bool(DWORD)>& wait) const {
    constexpr DWORD step_ms = 100;
    const ULONGLONG start_ms = GetTickCount64();
    bool done = false;
    do {
        done = wait(step_ms);
        expect_little_output(program, expected);
    } while (!done && GetTickCount64() - start_ms < limit_ms_);
    return done;
}

void trial::expect_end(test::program& program) const {
    const std::string name = name_of(program);
    const std::string expected = name + " ends";
    if (!wait_for(program, expected, [&](DWORD step_ms) { return program.wait(step_ms); })) {
        throw check_failed(expected, name + " hung. Still running: " + running_programs());
    }
    program.wait_for_end_of_output(limit_ms_);
    expect_little_output(program, expected);
}

void trial::expect_exit_code(test::program& program, DWORD exit_code) const {
    expect_end(program);
    if (program.exit_code() != exit_code) {
        throw check_failed(name_of(program) + " ends with exit code " + exit_code_text(exit_code),
                           state_of(program));
    }
}

void trial::expect_output(test::program& program, std::string_view text) const {
    const std::string expected = name_of(program) + " prints \"" + std::string(text) + "\"";
    wait_for(program, expected, [&](DWORD step_ms) {
        return program.wait_for_output(text, step_ms) || program.wait_for_end_of_output(0);
    });
    if (!program.wait_for_output(text, 0)) {
        throw check_failed(expected, state_of(program));
    }
}

void trial::expect_line(test::program& program, std::string_view line) const {
    const std::vector<std::string> lines = printed_lines(program);
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) {
        throw check_failed(name_of(program) + " prints \"" + std::string(line) + "\"",
                           "no such line; " + (lines.empty()
                                                   ? name_of(program) + " has printed nothing"
                                                   : "the last line of " + name_of(program) +
                                                         ": \"" + last_line(program) + "\""));
    }
}

void trial::expect_no_line(test::program& program, std::string_view line) const {
    const std::vector<std::string> lines = printed_lines(program);
    expect(std::find(lines.begin(), lines.end(), line) == lines.end(),
           name_of(program) + " does not print \"" + std::string(line) + "\"",
           name_of(program) + " printed it");
}

std::vector<std::string> printed_lines(test::program& program) {
    std::vector<std::string> lines = test::lines_of(program.output());
    const std::vector<std::string> errors = test::lines_of(program.error_output());
    lines.insert(lines.end(), errors.begin(), errors.end());
    for (std::string& line : lines) {
        // "A: ReadFile failed: ERROR_BROKEN_PIPE (109): <system text>"
        const std::size_t failed = line.find(" failed: ");
        const std::size_t end = failed == std::string::npos ? failed : line.find("): ", failed);
        if (end != std::string::npos) {
            line.erase(end + 1);
        }
    }
    return lines;
}

std::string last_line(test::program& program) {
    const std::vector<std::string> lines = printed_lines(program);
    if (lines.empty()) {
        return "";
    }
    std::string line = lines.back();
    constexpr std::size_t most_bytes = 300;
    if (line.size() > most_bytes) {
        std::size_t end = most_bytes;
        while (end > 0 && (line[end] & 0xC0) == 0x80) { // not in the middle of a UTF-8 character
            --end;
        }
        line.resize(end);
        line += " ...";
    }
    return line;
}

std::string last_words(test::program& program) {
    const std::string line = last_line(program);
    return line.empty() ? "it has printed nothing" : "its last line: \"" + line + "\"";
}

std::string error_name(DWORD error) {
    const std::string text = error_text(error);
    return text.substr(0, text.find(": "));
}

int check_main(int argc, wchar_t* argv[], const checks_of_pair& exercises) try {
    const std::vector<std::wstring> args(argv + 1, argv + argc);
    if (args.size() < 5) {
        throw usage_error("usage: check, record or prove, as tests/exercises/check.hpp says");
    }
    const std::vector<check>& checks = exercises.at(std::stoi(args.at(1)));
    const std::vector<std::wstring> rest(args.begin() + 2, args.end());
    return args.at(0) == L"prove" ? prove(checks, rest) : check_learner(checks, rest);
} catch (...) {
    return report_exception("check");
}

} // namespace ipc::exercise
