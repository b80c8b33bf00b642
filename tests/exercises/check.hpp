#pragma once

// The checks of an exercise: they run the learner's program against the untouched other half of the pair, and say
// what they expected and what they saw. tests/exercises/check_NN.cpp has those of all exercises of a pair.

#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ipc::exercise {

// One run of one check. Every method that says "expects" ends the check if it does not see what it expects.
// Each text that a check gives to them has to be the same on every run, because symptom.txt records it: no times,
// process ids or system texts. A text about a program that hangs has to have the word "hung", as those made here
// have: by this word in symptom.txt, the proof knows that it need not wait long for the starter.
class trial {
public:
    trial(std::wstring learner, std::wstring partner, DWORD limit_ms)
        : learner_(std::move(learner)), partner_(std::move(partner)), limit_ms_(limit_ms) {}

    // Start the learner's program, the pair's other half, or a mode of the tests' helper.exe, which plays a bad
    // partner. The trial owns the program and terminates it with its children at the end of the check.
    // A check names a program "A", "B" or "helper" in its texts, and with several Bs "B 1", "B 2" ...
    test::program& start_learner(const std::vector<std::wstring>& arguments = {},
                                 const test::start_options& options = {});
    test::program& start_partner(const std::vector<std::wstring>& arguments = {},
                                 const test::start_options& options = {});
    test::program& start_helper(const std::vector<std::wstring>& arguments);

    // Starts this check program itself with "play" and these arguments, in the role of the pair's other half. The
    // wmain of a check_NN.cpp that uses it looks for "play" before it calls check_main.
    test::program& start_player(const std::vector<std::wstring>& arguments);

    // The path of the learner's program and of the pair's other half.
    const std::wstring& learner() const { return learner_; }
    const std::wstring& partner() const { return partner_; }

    // The path of this check program, which a learner's program can start with "play".
    static std::wstring player();

    // How long a program may take for something, in milliseconds. Longer means: it hangs.
    DWORD limit_ms() const { return limit_ms_; }

    // Returns the path of a file in a folder that is removed at the end of the check.
    std::wstring file(std::wstring_view name);

    // Ends the check as failed unless `holds`. The texts continue "expected: " and "seen: ".
    void expect(bool holds, std::string_view expected, std::string_view seen) const;

    // Expects that the program ends within the limit. Otherwise it reports a hang and names every program of this
    // trial that is still running, with its last line. A program that prints more than 16 MB fails here and in
    // expect_output.
    void expect_end(test::program& program) const;

    // Expects that the program ends within the limit, with this exit code. Otherwise it shows the last line that
    // the program has printed, which may be an error message.
    void expect_exit_code(test::program& program, DWORD exit_code) const;

    // Expects that the program prints this text within the limit, to its standard output or error.
    void expect_output(test::program& program, std::string_view text) const;

    // Expects that the program has printed this line, or has not.
    void expect_line(test::program& program, std::string_view line) const;
    void expect_no_line(test::program& program, std::string_view line) const;

    // How the program is called in messages: "A", "B", "B 2", "helper".
    std::string name_of(const test::program& program) const;

    // Returns "A hung; its last line: "A: reading"" or "A ended with exit code 1; it has printed nothing". For a
    // check that has waited for something in vain: it gives the program a moment to end.
    std::string state_of(test::program& program) const;

private:
    struct member {
        std::string name;
        std::unique_ptr<test::program> program;
    };
    test::program& start(const std::string& name, const std::wstring& path,
                         const std::vector<std::wstring>& arguments,
                         const test::start_options& options = {});
    std::string running_programs() const;
    bool wait_for(const test::program& program, std::string_view expected,
                  const std::function<bool(DWORD)>& wait) const;
    void expect_little_output(const test::program& program, std::string_view expected) const;

    std::wstring learner_;
    std::wstring partner_;
    DWORD limit_ms_;
    std::unique_ptr<test::temporary_folder>
        folder_; // is removed after the programs in members_ have ended
    std::vector<member> members_;
};

// Returns the lines that the program has printed so far: first those of its standard output, then those of its
// standard error. Windows' own text of an error is cut off, because it depends on the language:
// "A: CreateFileW failed: ERROR_FILE_NOT_FOUND (2)".
std::vector<std::string> printed_lines(test::program& program);

// Returns the last of them, or an empty text. A line that is too long for a message is cut.
std::string last_line(test::program& program);

// Returns `its last line: "A: reading"` or "it has printed nothing".
std::string last_words(test::program& program);

// Returns "ERROR_BROKEN_PIPE (109)": error_text without Windows' own text.
std::string error_name(DWORD error);

struct check {
    std::string sentence; // what has to hold, such as "A ends when B has ended"
    std::function<void(trial&)> run;
};

// The checks of each exercise of a pair, by its number: 2 for exercise 01.2. They run in this order, and the first
// failure ends them.
using checks_of_pair = std::map<int, std::vector<check>>;

// The wmain of a check program.
//   check_01 check NUMBER LEARNER PARTNER LIMIT    runs the checks with the learner's program; LIMIT is in seconds
//   check_01 record NUMBER STARTER PARTNER LIMIT FILE
//                                                  the same, and writes what it prints to FILE, the symptom
//   check_01 prove NUMBER STARTER SOLUTION PARTNER FILE
//                                                  fails unless the starter fails as FILE says, and the solution
//                                                  passes
// Returns the exit code: 0 if everything holds, 1 if a check fails, 2 after a usage error.
int check_main(int argc, wchar_t* argv[], const checks_of_pair& exercises);

} // namespace ipc::exercise
