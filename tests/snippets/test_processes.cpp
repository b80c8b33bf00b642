#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <tlhelp32.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ios>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring helper = program_path(L"tests", L"helper.exe");

std::wstring snippet(std::wstring_view name) {
    return program_path(L"snippets", std::wstring(name) + L".exe");
}

// The arguments that make run_and_capture run the helper, or a copy of it.
std::vector<std::wstring> capture(std::vector<std::wstring> helper_arguments,
                                  const std::wstring& limit_ms = L"30000",
                                  const std::wstring& program_file = helper) {
    helper_arguments.insert(helper_arguments.begin(), program_file);
    return {snippet(L"run_and_capture"), limit_ms, ipc::command_line(helper_arguments)};
}

// Makes a copy of the helper that has no console: a GUI program. Under Wine, a console keeps the
// pipe's write end open, so only such a program can close its output early.
void copy_as_gui_program(const std::wstring& to) {
    std::string bytes = ipc::test::read_file(helper);
    std::uint32_t header = 0;
    std::memcpy(&header, &bytes.at(0x3C), sizeof header); // where the PE header begins
    bytes.at(header + 4 + 20 + 68) = IMAGE_SUBSYSTEM_WINDOWS_GUI;
    std::ofstream(std::filesystem::path(to), std::ios::binary) << bytes;
}

// Suspends the threads that the program has now, for as long as this object lives.
class suspended {
public:
    explicit suspended(const program& owner) {
        const ipc::unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
        THREADENTRY32 entry{};
        entry.dwSize = sizeof entry;
        for (BOOL more = Thread32First(snapshot.get(), &entry); more;
             more = Thread32Next(snapshot.get(), &entry)) {
            if (entry.th32OwnerProcessID == owner.id()) {
                threads_.emplace_back(OpenThread(THREAD_SUSPEND_RESUME, FALSE, entry.th32ThreadID));
                SuspendThread(threads_.back().get());
            }
        }
        REQUIRE_FALSE(threads_.empty());
    }
    ~suspended() {
        for (const ipc::unique_handle& thread : threads_) {
            ResumeThread(thread.get());
        }
    }
    suspended(const suspended&) = delete;
    suspended& operator=(const suspended&) = delete;

private:
    std::vector<ipc::unique_handle> threads_;
};

struct named_event {
    explicit named_event(BOOL manual_reset = TRUE)
        : handle(CreateEventW(nullptr, manual_reset, FALSE, name.c_str())) {}
    std::wstring name = L"Local\\ipc_demos.snippet." + ipc::test::unique_suffix();
    ipc::unique_handle handle;
};

bool is_set(const ipc::unique_handle& event) {
    return WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0;
}

// An anonymous pipe whose ends every program of start_with() inherits.
struct pipe {
    pipe() {
        SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
        REQUIRE(CreatePipe(read_end.put(), write_end.put(), &inheritable, 0));
    }
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

// Starts a program with these standard handles (nullptr: it has none). The harness gives each
// program an empty input and a pipe with a reader.
ipc::unique_handle start_with(const std::vector<std::wstring>& arguments, HANDLE input,
                              HANDLE output) {
    std::wstring command = ipc::command_line(arguments);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = input;
    startup.hStdOutput = startup.hStdError = output;
    PROCESS_INFORMATION started{};
    REQUIRE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                           &startup, &started));
    CloseHandle(started.hThread);
    return ipc::unique_handle(started.hProcess);
}

// Presses Ctrl+C (CTRL_C_EVENT), closes the console (CTRL_CLOSE_EVENT) and so on, as
// program::press_ctrl_c() does.
void send_control(const program& to, DWORD control) {
    const auto routine = reinterpret_cast<LPTHREAD_START_ROUTINE>(reinterpret_cast<void*>(
        GetProcAddress(GetModuleHandleW(L"kernelbase.dll"), "CtrlRoutine")));
    REQUIRE(routine != nullptr);
    const ipc::unique_handle thread(CreateRemoteThread(
        to.process(), nullptr, 0, routine,
        reinterpret_cast<void*>(static_cast<std::uintptr_t>(control)), 0, nullptr));
    REQUIRE(thread);
}

void check_usage(const std::vector<std::vector<std::wstring>>& wrong) {
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, StartsWith("usage: "));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

} // namespace

TEST_CASE("run_and_capture has both outputs of a program and its exit code") {
    const ipc::test::result both = run(capture({L"print"}));
    CHECK(both.exit_code == 0);
    CHECK(both.output == "12 -3 narrow wide\non standard error\n");
    CHECK(ipc::test::lines_of(both.error_output) == std::vector<std::string>{"exit code 0"});
    const ipc::test::result crashed = run(capture({L"crash"}));
    CHECK(crashed.output == "about to crash\n");
    CHECK_THAT(crashed.error_output, StartsWith("exit code 3221225477"));
}

TEST_CASE("run_and_capture has the whole output: none, every byte value, more than a pipe holds") {
    CHECK(run(capture({L"silent"})).output.empty());
    CHECK(run(capture({L"long-line", L"3000000"})).output == std::string(3'000'000, 'x'));
    const std::string bytes = run(capture({L"binary"})).output;
    REQUIRE(bytes.size() == 256 * 100);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        REQUIRE(static_cast<unsigned char>(bytes[i]) == i % 256);
    }
}

TEST_CASE("run_and_capture gives the program an empty input") {
    CHECK(run(capture({L"read-input"})).output == "input: 0 bytes\n");
}

TEST_CASE("run_and_capture ends a silent program after the limit, with what it printed before") {
    const ipc::test::result ended = run(capture({L"hang"}, L"2000"), {}, 20'000);
    CHECK_FALSE(ended.timed_out);
    CHECK(ended.exit_code == 1);
    CHECK(ended.output == "hanging\n");
    CHECK_THAT(ended.error_output, StartsWith("ended: it ran longer than the limit"));
    CHECK(ended.left_running.empty());
}

TEST_CASE("run_and_capture ends a program after the limit that prints without a pause") {
    const ipc::test::result ended = run(capture({L"flood"}, L"600"), {}, 30'000);
    CHECK_FALSE(ended.timed_out);
    CHECK(ended.exit_code == 1);
    CHECK(ended.left_running.empty());
}

TEST_CASE("run_and_capture waits for a program that closes its output before it ends") {
    const ipc::test::temporary_folder folder;
    const std::wstring gui_program = folder.file(L"gui.exe");
    copy_as_gui_program(gui_program);
    const named_event release;
    program captured(capture({L"close-output", release.name}, L"30000", gui_program));
    CHECK_FALSE(captured.wait(500));
    SetEvent(release.handle.get());
    REQUIRE(captured.wait());
    captured.wait_for_end_of_output();
    CHECK(captured.output() == "closing\n");
    CHECK_THAT(captured.error_output(), StartsWith("exit code 5"));

    const named_event never;
    const ipc::test::result ended =
        run(capture({L"close-output", never.name}, L"2000", gui_program), {}, 20'000);
    CHECK_FALSE(ended.timed_out);
    CHECK(ended.exit_code == 1);
    CHECK(ended.output == "closing\n");
}

TEST_CASE("run_and_capture has what the program wrote last, however late it reads") {
    const named_event ready;
    const named_event release;
    std::vector<std::wstring> arguments = {L"wait-then-echo", ready.name, release.name};
    std::string expected;
    for (int i = 0; i < 50; ++i) {
        arguments.push_back(std::to_wstring(i));
        expected += std::to_string(i) + '\n';
    }
    program captured(capture(arguments));
    REQUIRE(WaitForSingleObject(ready.handle.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
    CHECK_FALSE(captured.wait(200)); // until it waits in its first read
    {
        const suspended while_it_writes(captured);
        SetEvent(release.handle.get());
        const auto runs = [&] {
            const std::vector<std::string> names = captured.job().process_names();
            return std::ranges::find(names, "helper.exe") != names.end();
        };
        for (int i = 0; i < 1000 && runs(); ++i) {
            Sleep(10);
        }
        CHECK_FALSE(runs());
    }
    REQUIRE(captured.wait());
    captured.wait_for_end_of_output();
    CHECK(captured.output() == expected);
}

TEST_CASE("run_and_capture returns when the program has ended, without a delay") {
    ULONGLONG fastest_ms = 60'000;
    for (int i = 0; i < 4; ++i) {
        const ULONGLONG start = GetTickCount64();
        CHECK(run(capture({L"silent"})).exit_code == 0);
        fastest_ms = std::min(fastest_ms, GetTickCount64() - start);
    }
    CHECK(fastest_ms < 900); // it gives a pipe that does not end a second
}

TEST_CASE("run_and_capture does not wait for a grandchild that keeps the pipe open, and ends it") {
    const named_event never;
    const ULONGLONG start = GetTickCount64();
    const ipc::test::result ended = run(capture({L"grandchild", never.name}, L"60000"));
    CHECK(GetTickCount64() - start < 30'000);
    CHECK_FALSE(ended.timed_out);
    CHECK(ended.output == "child done\n");
    CHECK_THAT(ended.error_output, StartsWith("exit code 6"));
    CHECK(ended.left_running.empty());
}

TEST_CASE("The program ends when the caller of run_and_capture is killed, at any moment") {
    std::mt19937 random(31);
    for (int round = 0; round < 10; ++round) {
        // Wine leaves a process behind if its parent is killed while it creates it, so the program runs first.
        const named_event runs;
        program caller(capture({L"announce", runs.name}));
        REQUIRE(WaitForSingleObject(runs.handle.get(), ipc::test::default_limit_ms) ==
                WAIT_OBJECT_0);
        CHECK_FALSE(caller.wait(random() % 40));
        caller.kill();
        REQUIRE(caller.job().wait_until_empty(20'000));
    }
}

TEST_CASE("The program of run_and_capture does not inherit other handles") {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const ipc::unique_handle event(CreateEventW(&inheritable, TRUE, FALSE, nullptr));
    const std::wstring value = std::to_wstring(reinterpret_cast<std::uintptr_t>(event.get()));
    ipc::test::start_options options;
    options.inherited = {event.get()}; // the snippet has it too now, with the same value
    run(capture({L"set-event-handle", value}), options);
    CHECK_FALSE(is_set(event));
    run({helper, L"set-event-handle", value}, options);
    CHECK(is_set(event)); // the helper can set the event if it inherits the handle
}

TEST_CASE("run_and_capture tells a missing program from wrong usage") {
    const ipc::test::result missing =
        run({snippet(L"run_and_capture"), L"1000", L"no_such_program"});
    CHECK(missing.exit_code == 1);
    CHECK_THAT(missing.error_output, StartsWith("CreateProcessW") && ContainsSubstring("(2)"));
    const std::wstring name = snippet(L"run_and_capture");
    check_usage({{name}, {name, L"1000"}, {name, L"soon", L"x"}, {name, L"0", L"x"}});
}

TEST_CASE("A quoted command line is split back into the same arguments") {
    std::vector<std::wstring> arguments = {L"",        L"two words",    L"\"",   L"a\\\"b",
                                           L"\\",      L"ends with \\", L"\\\\", L"\\\\\"",
                                           L"a\tb\nc", L"\u00FC\u4F60", L"%A%",  L"a\\b\\\\c"};
    std::mt19937 random(32);
    for (int i = 0; i < 300; ++i) {
        std::wstring argument;
        for (auto length = random() % 8; length > 0; --length) {
            argument += L"a \t\"\"\\\\\\"[random() % 8];
        }
        arguments.push_back(argument);
    }
    std::string expected;
    for (const std::wstring& argument : arguments) {
        expected += ipc::to_utf8(argument) + '\n';
    }
    for (const wchar_t* const mode : {L"echo-arguments", L"split-command-line"}) {
        std::vector<std::wstring> command = {snippet(L"quote_command_line"), helper, mode};
        command.insert(command.end(), arguments.begin(), arguments.end());
        const ipc::test::result echoed = run(command);
        CHECK(echoed.exit_code == 0);
        CHECK_THAT(echoed.output, StartsWith(expected + "exit code 0"));
    }
}

TEST_CASE("quote_command_line refuses what no command line can hold") {
    const std::wstring name = snippet(L"quote_command_line");
    const ipc::test::result quote = run({name, L"a\"b"});
    CHECK(quote.exit_code == 1);
    CHECK_THAT(quote.error_output, StartsWith("no program can have this name"));
    const ipc::test::result empty = run({name, L""});
    CHECK(empty.exit_code == 1);
    CHECK_THAT(empty.error_output, StartsWith("no program can have this name"));
    const ipc::test::result missing = run({name, L"no such program", L"x"});
    CHECK(missing.exit_code == 1);
    CHECK_THAT(missing.error_output, StartsWith("CreateProcessW") && ContainsSubstring("(2)"));
    check_usage({{name}});
}

TEST_CASE("give_handle gives a handle that can only set the event, and the receiver owns it") {
    program giver({snippet(L"give_handle"), std::to_wstring(GetCurrentProcessId())});
    REQUIRE(giver.wait_for_output("\n"));
    ipc::unique_handle event(
        reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(std::stoull(giver.output()))));
    const DWORD waited = WaitForSingleObject(event.get(), 0);
    const DWORD error = GetLastError();
    CHECK(waited == WAIT_FAILED);
    CHECK(error == ERROR_ACCESS_DENIED);
    DWORD flags = 0;
    CHECK(GetHandleInformation(event.get(), &flags));
    CHECK(flags == 0); // no child inherits it
    CHECK(SetEvent(event.get()));
    REQUIRE(giver.wait());
    giver.wait_for_end_of_output();
    CHECK(giver.exit_code() == 0);
    CHECK_THAT(giver.output(), ContainsSubstring("the receiver has set the event\n"));
    CHECK(SetEvent(event.get())); // the giver has ended, and the handle is still valid
}

TEST_CASE("give_handle takes the handle back when the number cannot be delivered") {
    const DWORD before = ipc::test::handle_count(GetCurrentProcess());
    constexpr DWORD rounds = 10;
    for (DWORD round = 0; round < rounds; ++round) {
        pipe no_reader;
        no_reader.read_end.reset();
        const ipc::unique_handle giver =
            start_with({snippet(L"give_handle"), std::to_wstring(GetCurrentProcessId())}, nullptr,
                       no_reader.write_end.get());
        CHECK(ipc::wait_for_exit(giver.get(), ipc::test::default_limit_ms) == 1);
    }
    CHECK(ipc::test::handle_count(GetCurrentProcess()) < before + rounds / 2);
}

TEST_CASE("give_handle says that the receiver has ended, before or after the delivery") {
    program receiver({helper, L"hang"});
    const std::wstring id = std::to_wstring(receiver.id());
    program giver({snippet(L"give_handle"), id});
    REQUIRE(giver.wait_for_output("\n"));
    receiver.kill();
    REQUIRE(giver.wait());
    giver.wait_for_end_of_output();
    CHECK(giver.exit_code() == 1);
    CHECK_THAT(giver.output(), ContainsSubstring("the receiver has ended\n"));
    const ipc::test::result late = run({snippet(L"give_handle"), id});
    CHECK(late.exit_code == 1);
    CHECK(ipc::test::lines_of(late.error_output).size() == 1);
}

TEST_CASE("give_handle take uses the handle whose number comes") {
    const pipe input;
    pipe output;
    const std::vector<std::wstring> take = {snippet(L"give_handle"), L"take"};
    const ipc::unique_handle receiver =
        start_with(take, input.read_end.get(), output.write_end.get());
    output.write_end.reset();
    program giver({snippet(L"give_handle"), std::to_wstring(GetProcessId(receiver.get()))});
    REQUIRE(giver.wait_for_output("\n"));
    const std::string number = giver.output();
    DWORD bytes = 0;
    REQUIRE(WriteFile(input.write_end.get(), number.data(), static_cast<DWORD>(number.size()),
                      &bytes, nullptr));
    CHECK(ipc::wait_for_exit(receiver.get(), ipc::test::default_limit_ms) == 0);
    REQUIRE(giver.wait());
    CHECK(giver.exit_code() == 0);
}

TEST_CASE("give_handle take refuses a number that is no handle, and none at all") {
    const pipe input;
    pipe output;
    const ipc::unique_handle receiver = start_with({snippet(L"give_handle"), L"take"},
                                                   input.read_end.get(), output.write_end.get());
    output.write_end.reset();
    DWORD bytes = 0;
    REQUIRE(WriteFile(input.write_end.get(), "987654320\n", 10, &bytes, nullptr));
    CHECK(ipc::wait_for_exit(receiver.get(), ipc::test::default_limit_ms) == 1);
    std::string printed;
    char buffer[512];
    while (ReadFile(output.read_end.get(), buffer, sizeof buffer, &bytes, nullptr)) {
        printed.append(buffer, bytes);
    }
    CHECK_THAT(printed, ContainsSubstring("take_handle") && ContainsSubstring("(6)"));
    const ipc::test::result none = run({snippet(L"give_handle"), L"take"}); // its input is empty
    CHECK(none.exit_code == 1);
    CHECK_THAT(none.error_output, StartsWith("no number came"));
    const std::wstring name = snippet(L"give_handle");
    check_usage({{name}, {name, L"x"}, {name, L"1", L"2"}});
}

TEST_CASE("wait_process_or_event returns what came first") {
    const named_event release;
    program waited_for({helper, L"close-output", release.name});
    const named_event event(FALSE); // auto-reset
    const auto wait = [&](const std::wstring& limit_ms) {
        return std::vector<std::wstring>{snippet(L"wait_process_or_event"),
                                         std::to_wstring(waited_for.id()), event.name, limit_ms};
    };
    const ipc::test::result neither = run(wait(L"100"));
    CHECK(neither.exit_code == 1);
    CHECK_THAT(neither.output, StartsWith("neither happened within the limit"));

    program waiting(wait(L"30000"));
    CHECK_FALSE(waiting.wait(200));
    SetEvent(event.handle.get());
    REQUIRE(waiting.wait());
    waiting.wait_for_end_of_output();
    CHECK(waiting.exit_code() == 0);
    CHECK_THAT(waiting.output(), StartsWith("the event was set"));
    CHECK_FALSE(is_set(event.handle)); // the wait has reset it

    program until_end(wait(L"30000"));
    CHECK_FALSE(until_end.wait(200));
    SetEvent(release.handle.get()); // it ends with exit code 5
    REQUIRE(until_end.wait());
    until_end.wait_for_end_of_output();
    CHECK_THAT(until_end.output(), StartsWith("the process ended with exit code 5"));

    // Both have happened: the event counts, once.
    REQUIRE(waited_for.wait());
    SetEvent(event.handle.get());
    CHECK_THAT(run(wait(L"30000")).output, StartsWith("the event was set"));
    CHECK_THAT(run(wait(L"30000")).output, StartsWith("the process ended with exit code 5"));
}

TEST_CASE("wait_process_or_event says what is missing") {
    const std::wstring name = snippet(L"wait_process_or_event");
    const ipc::test::result process = run({name, L"4294967292", L"x", L"100"});
    CHECK(process.exit_code == 1);
    CHECK_THAT(process.error_output, StartsWith("OpenProcess") && ContainsSubstring("(87)"));
    const std::wstring own_id = std::to_wstring(GetCurrentProcessId());
    const ipc::test::result event = run({name, own_id, L"no such event", L"100"});
    CHECK(event.exit_code == 1);
    CHECK_THAT(event.error_output, StartsWith("OpenEventW") && ContainsSubstring("(2)"));
    check_usage({{name}, {name, L"x", L"y", L"1"}, {name, L"1", L"y", L""}, {name, L"1", L"y"}});
}

TEST_CASE("end_at_ctrl_c cleans up at Ctrl+C, at Ctrl+Break and when its console is closed") {
    for (const int control : {CTRL_C_EVENT, CTRL_BREAK_EVENT, CTRL_CLOSE_EVENT}) {
        program ending({snippet(L"end_at_ctrl_c"), L"60000"});
        REQUIRE(ending.wait_for_output("working"));
        {
            const suspended before_clean_up(ending);
            send_control(ending, static_cast<DWORD>(control)); // on a thread of its own
            CHECK_FALSE(ending.wait(300));                     // Windows must not end the program
        }
        REQUIRE(ending.wait());
        ending.wait_for_end_of_output();
        CHECK(ending.exit_code() == 0);
        CHECK(ipc::test::lines_of(ending.output()) ==
              std::vector<std::string>{"working", "cleaning up", "ended by request"});
    }
}

TEST_CASE("end_at_ctrl_c ends at Ctrl+C even if its parent told it to ignore Ctrl+C") {
    ipc::test::start_options options;
    options.creation_flags = CREATE_NEW_PROCESS_GROUP;
    program ending({snippet(L"end_at_ctrl_c"), L"5000"}, options);
    REQUIRE(ending.wait_for_output("working"));
    ending.press_ctrl_c();
    REQUIRE(ending.wait());
    ending.wait_for_end_of_output();
    CHECK_THAT(ending.output(), ContainsSubstring("ended by request"));
}

TEST_CASE("end_at_ctrl_c goes on when another user logs off, and ends after its limit") {
    program going_on({snippet(L"end_at_ctrl_c"), L"1000"});
    REQUIRE(going_on.wait_for_output("working"));
    send_control(going_on, CTRL_LOGOFF_EVENT);
    REQUIRE(going_on.wait());
    going_on.wait_for_end_of_output();
    CHECK(going_on.exit_code() == 0);
    CHECK_THAT(going_on.output(), ContainsSubstring("ended by the limit"));
    const std::wstring name = snippet(L"end_at_ctrl_c");
    check_usage({{name}, {name, L"soon"}, {name, L"0"}, {name, L"1", L"2"}});
}

TEST_CASE("print_utf8 writes every byte to a pipe and to a file") {
    const std::wstring text = L"Gr\u00FC\u00DFe, \u4F60\u597D \U0001F600";
    const std::string line = ipc::to_utf8(text) + '\n';
    std::string expected;
    for (int i = 0; i < 20'000; ++i) {
        expected += line;
    }
    const std::vector<std::wstring> command = {snippet(L"print_utf8"), text, L"20000"};
    CHECK(run(command).output == expected);
    CHECK(run({snippet(L"print_utf8"), text, L"0"}).output.empty());
    CHECK(run({snippet(L"print_utf8"), L""}).output == "\n");

    const ipc::test::temporary_folder folder;
    const std::wstring path = folder.file(L"out.txt");
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    ipc::unique_handle file(
        CreateFileW(path.c_str(), GENERIC_WRITE, 0, &inheritable, CREATE_NEW, 0, nullptr));
    REQUIRE(file);
    const ipc::unique_handle process = start_with(command, nullptr, file.get());
    CHECK(ipc::wait_for_exit(process.get(), ipc::test::default_limit_ms) == 0);
    file.reset();
    CHECK(ipc::test::read_file(path) == expected);
}

TEST_CASE("print_utf8 shows every character on a console") {
    // 13 bytes with the line break: the snippet's first piece of 8192 bytes would end within the
    // second letter of line 631. The console still shows this line after the last one.
    const std::wstring text = L"a\u00FC\u00DF \u0416\u03A9 x";
    ipc::test::start_options options;
    options.creation_flags = CREATE_NO_WINDOW; // gives the helper a console that nobody sees
    program shown({helper, L"show-console", snippet(L"print_utf8"), text, L"635"}, options);
    REQUIRE(shown.wait_for_output("end of console\n")); // Wine keeps the output open after that
    std::vector<std::string> rows = ipc::test::lines_of(shown.output());
    rows.pop_back();
    REQUIRE(rows.size() >= 10);
    for (const std::string& row : rows) {
        REQUIRE(row == ipc::to_utf8(text));
    }
}

TEST_CASE("print_utf8 fails when nobody reads, and prints nothing without an output") {
    pipe no_reader;
    no_reader.read_end.reset();
    const std::vector<std::wstring> command = {snippet(L"print_utf8"), L"text", L"10"};
    const ipc::unique_handle refused = start_with(command, nullptr, no_reader.write_end.get());
    CHECK(ipc::wait_for_exit(refused.get(), ipc::test::default_limit_ms) == 1);
    const ipc::unique_handle silent = start_with(command, nullptr, nullptr);
    CHECK(ipc::wait_for_exit(silent.get(), ipc::test::default_limit_ms) == 0);
    const std::wstring name = snippet(L"print_utf8");
    check_usage({{name}, {name, L"x", L"y"}, {name, L"x", L"1", L"2"}});
}

TEST_CASE("Threads end at once that are blocked in a read, or about to start one") {
    const ipc::test::result ended = run({snippet(L"cancel_blocking_call"), L"200"});
    CHECK(ended.exit_code == 0);
    CHECK_THAT(ended.output, StartsWith("200 threads were ended"));
    CHECK(ended.error_output.empty());
    const std::wstring name = snippet(L"cancel_blocking_call");
    check_usage({{name}, {name, L"x"}, {name, L"0"}});
}
