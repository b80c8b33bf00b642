// The tracer: it changes nothing, loses nothing, and names what it has seen.

#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/tracer/functions.hpp"
#include "tests/tracer/report.hpp"

#include <windows.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace ipc::test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

namespace {

std::wstring tracee() {
    return program_path(L"tests", L"tracee.exe");
}

// A folder for the records of one program or pair.
class traced_run {
public:
    traced_run() { std::filesystem::create_directory(folder()); }
    std::wstring folder() const { return folder_.file(L"trace"); }
    start_options options() const {
        start_options result;
        result.trace_folder = folder();
        return result;
    }
    ipc::trace::trace read() const { return ipc::trace::read_trace(folder()); }

private:
    temporary_folder folder_;
};

// IPC_TRACE may be set, to trace the programs of all tests.
result run_untraced(const std::vector<std::wstring>& command) {
    SetEnvironmentVariableW(L"IPC_TRACE", nullptr);
    return run(command);
}

// A program that has not run yet.
class suspended_program {
public:
    explicit suspended_program(const std::vector<std::wstring>& arguments) {
        std::wstring command = ipc::command_line(arguments);
        STARTUPINFOW startup{};
        startup.cb = sizeof startup;
        PROCESS_INFORMATION started{};
        REQUIRE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, FALSE,
                               CREATE_SUSPENDED | CREATE_NO_WINDOW, nullptr, nullptr, &startup,
                               &started));
        process_.reset(started.hProcess);
        thread_.reset(started.hThread);
        id_ = started.dwProcessId;
    }
    ~suspended_program() { TerminateProcess(process_.get(), 1); }
    suspended_program(const suspended_program&) = delete;
    suspended_program& operator=(const suspended_program&) = delete;

    HANDLE process() const { return process_.get(); }
    DWORD id() const { return id_; }
    DWORD resume() const {
        ResumeThread(thread_.get());
        return ipc::wait_for_exit(process_.get(), 60'000);
    }

private:
    ipc::unique_handle process_;
    ipc::unique_handle thread_;
    DWORD id_ = 0;
};

std::string without_last_line(std::string text) {
    text.resize(text.find("traced: "));
    return text;
}

std::int64_t count_of(const ipc::trace::trace& traced, std::string_view function) {
    return std::count_if(
        traced.calls.begin(), traced.calls.end(), [&](const ipc::trace::call& one) {
            return one.returned && ipc::trace::functions[one.function].name == function;
        });
}

std::string calls_of_run(const std::vector<std::wstring>& pair) {
    const traced_run run;
    std::vector<std::wstring> command = {program_path(L"tests", L"run_pair.exe"), L"--trace",
                                         run.folder()};
    command.insert(command.end(), pair.begin(), pair.end());
    const result ended = ipc::test::run(command);
    CHECK(ended.exit_code == 0);
    return ipc::trace::record_calls(run.read());
}

} // namespace

TEST_CASE("without a folder nothing is loaded") {
    const result untraced = run_untraced({tracee(), L"results"});
    CHECK(untraced.exit_code == 0);
    CHECK_THAT(untraced.output, ContainsSubstring("traced: 0"));
}

TEST_CASE("a traced program gets the same results and errors as an untraced one") {
    const traced_run folder;
    const result untraced = run_untraced({tracee(), L"results"});
    const result traced = run({tracee(), L"results"}, folder.options());
    REQUIRE(untraced.exit_code == 0);
    REQUIRE(traced.exit_code == 0);
    CHECK_THAT(traced.output, ContainsSubstring("traced: 1"));
    CHECK(without_last_line(traced.output) == without_last_line(untraced.output));
    CHECK_THAT(traced.output,
               ContainsSubstring("SetEvent 1 12345")); // a call that leaves the error alone
}

TEST_CASE("100,000 calls of four threads are recorded, none is missing, and they are counted") {
    const traced_run folder;
    const result ended = run({tracee(), L"calls", L"4", L"25000"}, folder.options());
    REQUIRE(ended.exit_code == 0);
    const ipc::trace::trace traced = folder.read();
    REQUIRE(traced.processes.size() == 1);
    CHECK(traced.processes[0].lost == 0);
    CHECK(traced.processes[0].calls == traced.calls.size());
    const std::int64_t sets =
        std::count_if(traced.calls.begin(), traced.calls.end(), [](const ipc::trace::call& one) {
            return one.returned && one.arguments == "event 1" &&
                   ipc::trace::functions[one.function].name == "SetEvent";
        });
    CHECK(sets == 100'000);
}

TEST_CASE("the records of a killed program survive and say what it waits for") {
    const traced_run folder;
    const std::wstring name = L"Local\\ipc_demos.98.never" + unique_suffix();
    program hanging({tracee(), L"hang", name}, folder.options());
    REQUIRE(hanging.wait_for_output("waiting"));
    // The call begins after the line; its record says so while the program is still running.
    const auto waits_for_event = [&] {
        const std::vector<std::string> waiting = ipc::trace::waiting_calls(folder.read());
        return waiting.size() == 1 && waiting[0].find("WaitForSingleObject") != std::string::npos;
    };
    for (int i = 0; i < 1000 && !waits_for_event(); ++i) {
        Sleep(10);
    }
    hanging.kill();
    REQUIRE(hanging.wait());
    const std::vector<std::string> waiting = ipc::trace::waiting_calls(folder.read());
    REQUIRE(waiting.size() == 1);
    CHECK_THAT(waiting[0], ContainsSubstring("tracee: WaitForSingleObject(event never"));
    CHECK_THAT(waiting[0], ContainsSubstring("INFINITE) has not returned"));
}

TEST_CASE("children are traced, and one that was created suspended stays so") {
    const traced_run folder;
    const result ended = run({tracee(), L"parent"}, folder.options());
    REQUIRE(ended.exit_code == 0);
    CHECK(lines_of(ended.output) == std::vector<std::string>{"traced: 1", "exit code 0",
                                                             "suspended 1 times", "traced: 1",
                                                             "exit code 0", "traced: 1"});
    const ipc::trace::trace traced = folder.read();
    REQUIRE(traced.processes.size() == 3);
    CHECK(count_of(traced, "SetEvent") == 20);
    CHECK(traced.processes[1].parent == traced.processes[0].id);
    const auto started =
        std::find_if(traced.calls.begin(), traced.calls.end(), [](const ipc::trace::call& one) {
            return ipc::trace::functions[one.function].name == "CreateProcessW";
        });
    REQUIRE(started != traced.calls.end());
    CHECK(started->result == "process tracee 2");
}

TEST_CASE("a folder that cannot be written costs one warning, and the pair runs") {
    const temporary_folder folder;
    write_random_file(folder.file(L"file"), 1);
    const std::wstring not_a_folder = folder.file(L"file");
    const result ended = run({program_path(L"tests", L"run_pair.exe"), L"--trace", not_a_folder,
                              L"01_stdout_redirection"});
    CHECK(ended.exit_code == 0);
    CHECK_THAT(ended.output, ContainsSubstring("A: exit code 42"));
    REQUIRE(lines_of(ended.error_output).size() == 1);
    CHECK_THAT(ended.error_output, ContainsSubstring("the pair runs untraced"));
}

TEST_CASE("a program whose folder does not exist runs untraced") {
    const temporary_folder folder;
    start_options options;
    options.trace_folder = folder.file(L"missing");
    const result ended = run({tracee(), L"calls", L"1", L"1"}, options);
    CHECK(ended.exit_code == 0);
    CHECK_THAT(ended.output, ContainsSubstring("traced: 0"));
}

TEST_CASE("a system that refuses the tracer costs one line, and the program runs untraced") {
    const traced_run folder;
    const std::wstring dll = program_path(L"tests", L"ipc_trace.dll");
    // A virus scanner takes rights away from the handles of a process that it protects.
    const suspended_program child({tracee(), L"calls", L"1", L"1"});
    ipc::unique_handle weak;
    REQUIRE(DuplicateHandle(GetCurrentProcess(), child.process(), GetCurrentProcess(), weak.put(),
                            PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, 0));
    const std::string refused = load_tracer(weak.get(), child.id(), dll, folder.folder());
    CHECK_THAT(refused, StartsWith("VirtualAllocEx failed: ERROR_ACCESS_DENIED (5)"));
    CHECK_THAT(refused, EndsWith("does a virus scanner refuse it?"));
    CHECK(refused.find('\n') == std::string::npos);
    CHECK(child.resume() == 0);
    CHECK(folder.read().processes.empty());
}

TEST_CASE("a tracer that is not there costs one line, and the program runs untraced") {
    const traced_run folder;
    const suspended_program child({tracee(), L"calls", L"1", L"1"});
    const std::string missing =
        load_tracer(child.process(), child.id(), folder.folder() + L"\\no.dll", folder.folder());
    CHECK_THAT(missing, ContainsSubstring("the system does not let it be loaded"));
    CHECK(missing.find('\n') == std::string::npos);
    CHECK(child.resume() == 0);
}

TEST_CASE("a 32-bit program is refused in one line, and runs") {
    wchar_t system[MAX_PATH]{};
    const UINT length = GetSystemWow64DirectoryW(system, MAX_PATH);
    const std::wstring shell = std::wstring(system, length) + L"\\cmd.exe";
    if (length == 0 || !std::filesystem::exists(shell)) {
        SKIP("this system has no 32-bit programs");
    }
    const traced_run folder;
    const suspended_program child({shell, L"/c", L"exit", L"7"});
    CHECK(load_tracer(child.process(), child.id(), program_path(L"tests", L"ipc_trace.dll"),
                      folder.folder()) == "a 32-bit program cannot be traced");
    CHECK(child.resume() == 7);
}

TEST_CASE("a function that a program imports by its number is recorded") {
    const traced_run folder;
    const result ended = run({tracee(), L"number"}, folder.options());
    REQUIRE(ended.exit_code == 0);
    CHECK_THAT(ended.output, ContainsSubstring("closesocket -1"));
    CHECK(count_of(folder.read(), "closesocket") == 1);
}

TEST_CASE("what a runtime asks before wmain is recorded and not shown") {
    const traced_run folder;
    const result ended = run({tracee(), L"before_main"}, folder.options());
    REQUIRE(ended.exit_code == 0);
    const ipc::trace::trace traced = folder.read();
    CHECK(count_of(traced, "GetFileType") == 4);
    const std::int64_t shown =
        std::count_if(traced.calls.begin(), traced.calls.end(), [](const ipc::trace::call& one) {
            return one.shown && ipc::trace::functions[one.function].name == "GetFileType";
        });
    CHECK(shown == 1);
}

TEST_CASE("handles are named through inheritance") {
    const std::string calls = calls_of_run({L"01_stdout_redirection"});
    CHECK_THAT(calls, ContainsSubstring("A: CloseHandle(pipe (write end))\n"));
    CHECK_THAT(calls, ContainsSubstring("B: WriteFile(pipe (write end))\n"));
    CHECK_THAT(calls, ContainsSubstring(
                          "A: ReadFile(pipe (read end)) = FALSE, ERROR_BROKEN_PIPE (109)\n"));
}

TEST_CASE("the timeline fits in 100 columns") {
    const traced_run folder;
    const result ended = run({program_path(L"tests", L"run_pair.exe"), L"--trace", folder.folder(),
                              L"03_two_pipe_duplex", L"--"});
    REQUIRE(ended.exit_code == 0);
    for (const std::string& line : ipc::trace::timeline(folder.read())) {
        CHECK(line.size() <= 100);
    }
    for (const wchar_t* name : {L"\\trace.json", L"\\timeline.svg", L"\\sequence.mmd"}) {
        CHECK(std::filesystem::file_size(folder.folder() + name) > 100);
    }
}
