// The checks of the exercises of pair 12.

#include "common/unique_handle.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <cstdint>
#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

constexpr DWORD still_runs_ms = 3'000; // far longer than a program that is done needs to end

std::wstring pipe_name() {
    return L"\\\\.\\pipe\\ipc_demos.12." + ipc::test::unique_suffix();
}

// Exercise 12.1: processA IN OUT PIPE relays a file to a server, and the answer to another file.
void answer_late(trial& attempt) {
    const std::wstring in = attempt.file(L"in.bin");
    const std::wstring out = attempt.file(L"out.bin");
    ipc::test::write_random_file(in, 1'000);
    const std::wstring name = pipe_name();
    ipc::unique_handle server(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX,
                                               PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096,
                                               4096, 0, nullptr));
    attempt.expect(static_cast<bool>(server), "a pipe for the check", "no pipe");
    program& a = attempt.start_learner({in, out, name});
    // The pipe has room for the input, so A sends it without a reader. The answer comes after that.
    attempt.expect_output(a, "A: the input has been sent");
    const bool ended = a.wait(still_runs_ms);
    attempt.expect(!ended, "A waits for the answer", "A has ended before the answer");
    DWORD written = 0;
    WriteFile(server.get(), "late answer", 11, &written, nullptr);
    server.reset();
    attempt.expect_exit_code(a, 0);
    const std::string answer = ipc::test::read_file(out);
    attempt.expect(answer == "late answer", "OUT is the answer", "OUT is something else");
}

void send_large_file(trial& attempt) {
    const std::wstring in = attempt.file(L"in.bin");
    const std::wstring out = attempt.file(L"out.bin");
    ipc::test::write_random_file(in, 3'000'000);
    const std::wstring name = pipe_name();
    program& b = attempt.start_partner({L"--message", name});
    attempt.expect_output(b, "B: waiting");
    program& a = attempt.start_learner({in, out, name});
    attempt.expect_exit_code(a, 0);
    attempt.expect(ipc::test::same_content(in, out), "OUT is IN", "OUT differs");
    attempt.expect_exit_code(b, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"An answer that comes after the end of the input arrives", answer_late},
      {"3 MB come back from B", send_large_file}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
