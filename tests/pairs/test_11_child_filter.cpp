#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"11_child_filter", L"processA.exe");
const std::wstring process_b = program_path(L"11_child_filter", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");

// More than any pipe and any buffer of a program holds.
constexpr std::uint64_t large = 20'000'000;

std::vector<std::wstring> a_with(std::vector<std::wstring> arguments) {
    arguments.insert(arguments.begin(), process_a);
    return arguments;
}

std::string every_byte_value() {
    std::string bytes;
    for (int i = 0; i < 256; ++i) {
        bytes += static_cast<char>(i);
    }
    return bytes;
}

std::string upper_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char letter) {
        return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
    });
    return text;
}

void write_file(const std::wstring& path, std::string_view bytes) {
    std::ofstream(std::filesystem::path(path), std::ios::binary) << bytes;
}

// An event that a helper waits for.
struct named_event {
    std::wstring name = L"Local\\ipc_demos.11." + ipc::test::unique_suffix();
    ipc::unique_handle handle{CreateEventW(nullptr, TRUE, FALSE, name.c_str())};
};

SECURITY_ATTRIBUTES inheritable_handle() {
    return {sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
}

// Opens a file to read, or creates it to write. B inherits the handle.
ipc::unique_handle open_file(const std::wstring& path, DWORD access) {
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    ipc::unique_handle file(
        CreateFileW(path.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                    access == GENERIC_READ ? OPEN_EXISTING : CREATE_ALWAYS, 0, nullptr));
    REQUIRE(file);
    return file;
}

// Starts a program with these standard handles. err is the file for its errors.
ipc::unique_handle start_with(HANDLE input, HANDLE output, const std::wstring& err,
                              std::wstring command) {
    const ipc::unique_handle error = open_file(err, GENERIC_WRITE);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = input;
    startup.hStdOutput = output;
    startup.hStdError = error.get();
    PROCESS_INFORMATION started{};
    REQUIRE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                           &startup, &started));
    CloseHandle(started.hThread);
    return ipc::unique_handle(started.hProcess);
}

// Waits until a program of start_with() has ended, and ends it if that takes too long.
DWORD exit_code_of(const ipc::unique_handle& process) {
    if (WaitForSingleObject(process.get(), ipc::test::default_limit_ms) != WAIT_OBJECT_0) {
        TerminateProcess(process.get(), 99);
    }
    DWORD exit_code = 0;
    GetExitCodeProcess(process.get(), &exit_code);
    return exit_code;
}

DWORD run_b(HANDLE input, HANDLE output, const std::wstring& err) {
    return exit_code_of(start_with(input, output, err, L'"' + process_b + L'"'));
}

// Sends a random file through B, and checks every byte of what arrives.
void send_through_b(std::uint64_t bytes) {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, bytes);
    ipc::test::program a(a_with({L"--in", in, L"--out", out}));
    REQUIRE(a.wait(600'000));
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(),
               ContainsSubstring("A: " + std::to_string(bytes) + " bytes of output, 0"));
    CHECK(a.peak_memory_bytes() > 0);
    CHECK(a.peak_memory_bytes() < 20 << 20);

    std::ifstream sent(std::filesystem::path(in), std::ios::binary);
    std::ifstream received(std::filesystem::path(out), std::ios::binary);
    std::string piece(1 << 20, '\0');
    std::string copy(1 << 20, '\0');
    bool same = true;
    do {
        sent.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        received.read(copy.data(), static_cast<std::streamsize>(copy.size()));
        const auto count = static_cast<std::size_t>(sent.gcount());
        same = same && sent.gcount() == received.gcount() &&
               upper_case(piece.substr(0, count)) == copy.substr(0, count);
    } while (sent);
    CHECK(same);
}

} // namespace

TEST_CASE("20 MB come back through B, while A needs little memory") {
    send_through_b(large);
}

TEST_CASE("1 GB comes back through B, while A needs little memory", "[.large]") {
    send_through_b(1'000'000'000);
}

TEST_CASE("Every byte value comes back, and only the ASCII letters change") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    write_file(in, every_byte_value() + every_byte_value());
    CHECK(run(a_with({L"--in", in, L"--out", out})).exit_code == 0);
    CHECK(ipc::test::read_file(out) == upper_case(every_byte_value() + every_byte_value()));
}

TEST_CASE("A child in text mode changes line ends, and stops at Ctrl+Z") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    write_file(in, "one\r\ntwo\nthree\rfour\x1A five");
    CHECK(run(a_with({L"--in", in, L"--out", out, helper, L"text-copy"})).exit_code == 0);
    CHECK(ipc::test::read_file(out) == "one\r\ntwo\r\nthree\rfour");
}

TEST_CASE("Empty input gives empty output, from a file and from A's own standard input") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"empty.bin");
    write_file(in, "");
    for (const std::vector<std::wstring>& arguments :
         {a_with({L"--in", in}), std::vector<std::wstring>{process_a}}) {
        const ipc::test::result empty = run(arguments);
        CHECK(empty.exit_code == 0);
        CHECK_THAT(empty.output, ContainsSubstring("A: 0 bytes of output, 0 bytes of errors\n"));
    }
}

TEST_CASE("B works in a pipeline of cmd") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.txt");
    write_file(in, "one line\r\n");
    const ipc::test::result piped = run({L"cmd", L"/c", L"type", in, L"|", process_b});
    CHECK(piped.output == "ONE LINE\r\n");
}

TEST_CASE("A passes its own standard input on") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.txt");
    write_file(in, "one line\r\n");
    const ipc::test::result piped = run({L"cmd", L"/c", L"type", in, L"|", process_a});
    CHECK_THAT(piped.output, ContainsSubstring("A: | ONE LINE\n"));
}

TEST_CASE("A ends with the program, although its own standard input stays open") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out.txt");
    ipc::unique_handle read_end;
    ipc::unique_handle write_end; // open until the end: nobody writes
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    REQUIRE(CreatePipe(read_end.put(), write_end.put(), &inheritable, 0));
    const std::wstring command =
        L'"' + process_a + L"\" --limit 0 cmd /c ver"; // it would wait forever
    CHECK(exit_code_of(start_with(read_end.get(), open_file(out, GENERIC_WRITE).get(),
                                  folder.file(L"err.txt"), command)) == 0);
    CHECK_THAT(ipc::test::read_file(out), EndsWith("A: exit code 0\n"));
}

TEST_CASE("A child that ends without reading is no failure") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, large);
    const ipc::test::result ver = run(a_with({L"--in", in, L"cmd", L"/c", L"ver"}));
    CHECK(ver.exit_code == 0);
    CHECK(ver.error_output.empty());
    CHECK_THAT(ver.output, ContainsSubstring("A: | Microsoft Windows"));
    CHECK_THAT(ver.output, ContainsSubstring("A: the program did not read all of its input\n"));
    CHECK_THAT(ver.output, EndsWith("A: exit code 0\n"));
}

TEST_CASE("A child that closes its input early may go on writing") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, large);
    const ipc::test::result closed = run(
        a_with({L"--in", in, L"--out", folder.file(L"out"), helper, L"close-input", L"3000000"}));
    CHECK(closed.exit_code == 0);
    CHECK_THAT(closed.output, ContainsSubstring("A: 3000000 bytes of output"));
    CHECK_THAT(closed.output, ContainsSubstring("A: the program did not read all of its input\n"));
}

TEST_CASE(
    "Input that comes after the child has closed its own goes nowhere, and the child goes on") {
    const ipc::test::temporary_folder folder;
    ipc::unique_handle input_read;
    ipc::unique_handle input_write;
    ipc::unique_handle output_read;
    ipc::unique_handle output_write;
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    REQUIRE(CreatePipe(input_read.put(), input_write.put(), &inheritable, 0));
    REQUIRE(CreatePipe(output_read.put(), output_write.put(), &inheritable, 0));
    REQUIRE(SetHandleInformation(output_read.get(), HANDLE_FLAG_INHERIT, 0));
    const ipc::unique_handle a =
        start_with(input_read.get(), output_write.get(), folder.file(L"err.txt"),
                   L'"' + process_a + L"\" \"" + helper + L"\" close-input 3000000");
    output_write.reset();
    DWORD bytes = 0;
    REQUIRE(WriteFile(input_write.get(), "x", 1, &bytes, nullptr));
    std::string output;
    char buffer[4096];
    while (output.find("| x") == std::string::npos && // then the child has closed its input
           ReadFile(output_read.get(), buffer, sizeof buffer, &bytes, nullptr)) {
        output.append(buffer, bytes);
    }
    REQUIRE(WriteFile(input_write.get(), "y", 1, &bytes, nullptr));
    CHECK(WaitForSingleObject(a.get(), 300) == WAIT_TIMEOUT); // nobody reads A's output
    while (ReadFile(output_read.get(), buffer, sizeof buffer, &bytes, nullptr)) {
        output.append(buffer, bytes);
    }
    CHECK(exit_code_of(a) == 0);
    CHECK(ipc::test::read_file(folder.file(L"err.txt")).empty());
    CHECK_THAT(output, EndsWith("A: 3000000 bytes of output, 0 bytes of errors\n"
                                "A: exit code 0\n"));
}

TEST_CASE("A child may write more than a pipe holds before it reads") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring err = folder.file(L"err.bin");
    ipc::test::write_random_file(in, large);
    const ipc::test::result result =
        run(a_with({L"--in", in, L"--out", folder.file(L"out"), L"--err", err, helper,
                    L"write-first", L"3000000"}));
    CHECK(result.exit_code == 0);
    CHECK_THAT(result.output, ContainsSubstring("A: 3000000 bytes of output"));
    CHECK(ipc::test::same_content(in, err));
}

TEST_CASE("A child may write to standard error only, as much as it wants") {
    const ipc::test::temporary_folder folder;
    const std::wstring err = folder.file(L"err.bin");
    const ipc::test::result result =
        run(a_with({L"--err", err, helper, L"write-errors", L"3000000"}));
    CHECK(result.exit_code == 0);
    CHECK_THAT(result.output, ContainsSubstring("A: 0 bytes of output, 3000000 bytes of errors\n"));
    CHECK(ipc::test::read_file(err) == std::string(3'000'000, 'x'));
}

TEST_CASE("The screen shows output behind | and errors behind !") {
    const ipc::test::result shown = run(a_with({helper, L"print"}));
    CHECK_THAT(shown.output, ContainsSubstring("A: | 12 -3 narrow wide\n"));
    CHECK_THAT(shown.output, ContainsSubstring("A: ! on standard error\n"));
}

TEST_CASE("A ends with the program's exit code") {
    CHECK(run(a_with({L"cmd", L"/c", L"exit", L"42"})).exit_code == 42);
    const ipc::test::result crashed = run(a_with({helper, L"crash"}));
    CHECK(crashed.exit_code == 0xC0000005);
    CHECK_THAT(crashed.output, EndsWith("A: exit code 0xC0000005 (STATUS_ACCESS_VIOLATION)\n"));
}

TEST_CASE("Output of a grandchild that outlives the child arrives within the limit") {
    const named_event event;
    ipc::test::program a(a_with({helper, L"grandchild", event.name}));
    REQUIRE(a.wait_for_output("A: | child done"));
    SetEvent(event.handle.get());
    REQUIRE(a.wait());
    a.wait_for_end_of_output();
    CHECK(a.exit_code() == 6);
    CHECK_THAT(a.output(), ContainsSubstring("A: | grandchild done\n"));
}

TEST_CASE("A grandchild that keeps the pipes is terminated after the limit") {
    const ipc::test::result kept = run(a_with({L"--limit", L"1", helper, L"start-and-leave"}));
    CHECK_FALSE(kept.timed_out);
    CHECK(kept.exit_code == 1);
    CHECK_THAT(kept.error_output, StartsWith("A: a process that the program started"));
    CHECK(kept.left_running.empty());
}

TEST_CASE("A gives up when a process outside the job keeps the output") {
    ipc::test::program keeper({helper, L"hang"});
    REQUIRE(keeper.wait_for_output("hanging"));
    const ipc::test::result kept =
        run(a_with({L"--limit", L"1", helper, L"give-output-away", std::to_wstring(keeper.id())}));
    CHECK_FALSE(kept.timed_out);
    CHECK(kept.exit_code == 1);
    CHECK_THAT(kept.error_output, StartsWith("A: a process outside the job keeps"));
}

TEST_CASE("A slow reader of A's output gets everything, whatever the limit") {
    const ipc::test::temporary_folder folder;
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    REQUIRE(CreatePipe(read_end.put(), write_end.put(), &inheritable, 0));
    REQUIRE(SetHandleInformation(read_end.get(), HANDLE_FLAG_INHERIT, 0));
    const ipc::unique_handle empty = open_file(L"NUL", GENERIC_READ);
    const ipc::unique_handle a =
        start_with(empty.get(), write_end.get(), folder.file(L"err.txt"),
                   L'"' + process_a + L"\" --limit 1 \"" + helper + L"\" long-line 60000");
    write_end.reset();
    CHECK(WaitForSingleObject(a.get(), 3'000) == WAIT_TIMEOUT); // nobody reads
    std::string output;
    char buffer[4096];
    for (DWORD bytes = 0; ReadFile(read_end.get(), buffer, sizeof buffer, &bytes, nullptr);) {
        output.append(buffer, bytes);
    }
    CHECK(exit_code_of(a) == 0);
    CHECK(std::count(output.begin(), output.end(), 'x') >= 60'000);
    CHECK_THAT(output, EndsWith("A: 60000 bytes of output, 0 bytes of errors\nA: exit code 0\n"));
}

TEST_CASE("If A cannot read its input, it says so, and the program does not get half of it") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out.txt");
    const std::wstring err = folder.file(L"err.txt");
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    REQUIRE(SetHandleInformation(event.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
    // No file: every read of it fails.
    const ipc::unique_handle a =
        start_with(event.get(), open_file(out, GENERIC_WRITE).get(), err,
                   L'"' + process_a + L"\" \"" + helper + L"\" read-input");
    CHECK(exit_code_of(a) == 1);
    CHECK_THAT(ipc::test::read_file(err), StartsWith("A: ReadFile failed: ERROR_"));
    CHECK(ipc::test::read_file(out) == "A: running helper.exe\n");
}

// Wine leaves a process behind if its parent is killed while it creates it, so these tests kill A when the
// program runs.

TEST_CASE("When A is killed at any moment, B ends and nothing is left") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, large);
    std::mt19937 random(11);
    for (int i = 0; i < 20; ++i) {
        ipc::test::program a(a_with({L"--in", in}));
        REQUIRE(a.wait_for_output("A: | "));
        a.wait(random() % 120);
        a.kill();
        REQUIRE(a.job().wait_until_empty(ipc::test::default_limit_ms));
    }
}

TEST_CASE("When A is killed, the job ends a program that reads and writes nothing") {
    std::mt19937 random(13);
    for (int i = 0; i < 10; ++i) {
        const named_event runs;
        ipc::test::program a(a_with({helper, L"announce", runs.name}));
        REQUIRE(WaitForSingleObject(runs.handle.get(), ipc::test::default_limit_ms) ==
                WAIT_OBJECT_0);
        CHECK_FALSE(a.wait(random() % 40));
        a.kill();
        REQUIRE(a.job().wait_until_empty(20'000));
    }
}

TEST_CASE("When B is killed at any moment, A says with which code it ended") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, large);
    std::mt19937 random(12);
    int killed = 0;
    for (int i = 0; i < 20; ++i) {
        ipc::test::program a(a_with({L"--in", in}));
        REQUIRE(a.wait_for_output("A: | ")); // B runs
        a.wait(random() % 120);
        for (const DWORD id : a.job().process_ids()) {
            if (id != a.id()) {
                const ipc::unique_handle process(OpenProcess(PROCESS_TERMINATE, FALSE, id));
                TerminateProcess(process.get(), 77);
            }
        }
        REQUIRE(a.wait());
        a.wait_for_end_of_output();
        CHECK((a.exit_code() == 77 || a.exit_code() == 0));
        killed += a.exit_code() == 77 ? 1 : 0;
        CHECK(a.job().wait_until_empty(ipc::test::default_limit_ms));
    }
    CHECK(killed > 0);
}

TEST_CASE("Eight pairs at once do not disturb each other") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 1'000'000);
    std::vector<std::unique_ptr<ipc::test::program>> pairs;
    for (int i = 0; i < 8; ++i) {
        pairs.push_back(std::make_unique<ipc::test::program>(
            a_with({L"--in", in, L"--out", folder.file(std::to_wstring(i))})));
    }
    for (int i = 0; i < 8; ++i) {
        REQUIRE(pairs[static_cast<std::size_t>(i)]->wait());
        CHECK(pairs[static_cast<std::size_t>(i)]->exit_code() == 0);
        CHECK(ipc::test::same_content(folder.file(L"0"), folder.file(std::to_wstring(i))));
    }
}

TEST_CASE("What A cannot open or start is one line, and exit code 1") {
    const ipc::test::temporary_folder folder;
    for (const std::vector<std::wstring>& arguments : std::vector<std::vector<std::wstring>>{
             {L"--in", folder.file(L"none")},
             {L"--out", folder.file(L"none\\out")},
             {L"--err", folder.file(L"none\\err")},
             {folder.file(L"none.exe")},
         }) {
        const ipc::test::result failed = run(a_with(arguments));
        CHECK(failed.exit_code == 1);
        CHECK(ipc::test::lines_of(failed.error_output).size() == 1);
        CHECK_THAT(failed.error_output, ContainsSubstring(" failed: ERROR_"));
        CHECK(failed.left_running.empty());
    }
}

TEST_CASE("B ends with one line and exit code 1 when nobody reads its output") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, large);
    const std::wstring err = folder.file(L"err.txt");
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    REQUIRE(CreatePipe(read_end.put(), write_end.put(), &inheritable, 0));
    read_end.reset();
    CHECK(run_b(open_file(in, GENERIC_READ).get(), write_end.get(), err) == 1);
    CHECK_THAT(ipc::test::read_file(err), StartsWith("B: WriteFile failed: ERROR_"));
}

TEST_CASE(
    "B gets messages whole, and takes 0 bytes from a pipe for what they are, not for the end") {
    const ipc::test::temporary_folder folder;
    const std::wstring name = L"\\\\.\\pipe\\ipc_demos.11." + ipc::test::unique_suffix();
    // A message pipe: an empty write reaches the reader.
    ipc::unique_handle server(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_OUTBOUND,
                                               PIPE_TYPE_MESSAGE, 1, 300'000, 300'000, 0, nullptr));
    REQUIRE(server);
    SECURITY_ATTRIBUTES inheritable = inheritable_handle();
    const ipc::unique_handle client(CreateFileW(name.c_str(), GENERIC_READ | FILE_WRITE_ATTRIBUTES,
                                                0, &inheritable, OPEN_EXISTING, 0, nullptr));
    REQUIRE(client);
    DWORD read_mode = PIPE_READMODE_MESSAGE;
    REQUIRE(SetNamedPipeHandleState(client.get(), &read_mode, nullptr, nullptr));
    DWORD written = 0;
    REQUIRE(WriteFile(server.get(), "one", 3, &written, nullptr));
    REQUIRE(WriteFile(server.get(), "", 0, &written, nullptr));
    const std::string two(200'000, 'z'); // more than B reads at once
    REQUIRE(WriteFile(server.get(), two.data(), 200'000, &written, nullptr));
    server.reset();
    const std::wstring out = folder.file(L"out.txt");
    CHECK(run_b(client.get(), open_file(out, GENERIC_WRITE).get(), folder.file(L"err.txt")) == 0);
    CHECK((ipc::test::read_file(out) == "ONE" + upper_case(two)));
}

TEST_CASE("Wrong usage ends with exit code 2 and one line, and --help shows the options") {
    for (const std::vector<std::wstring>& wrong :
         std::vector<std::vector<std::wstring>>{{process_a, L"--out"},
                                                {process_a, L"--wrong"},
                                                {process_a, L"--limit", L"x"},
                                                {process_b, L"extra"},
                                                {process_b, L"--wrong"}}) {
        const ipc::test::result failed = run(wrong);
        CHECK(failed.exit_code == 2);
        CHECK(ipc::test::lines_of(failed.error_output).size() == 1);
    }
    for (const std::wstring& program : {process_a, process_b}) {
        const ipc::test::result shown = run({program, L"--help"});
        CHECK(shown.exit_code == 0);
        CHECK_THAT(shown.output, ContainsSubstring("process"));
    }
}
