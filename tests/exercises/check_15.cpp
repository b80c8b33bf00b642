// The checks of the exercises of pair 15. None needs a service: processA --console is its server, and the check says
// to B which process is the service.

#include "common/error.hpp"
#include "common/unique_handle.hpp"
#include "demos/15_windows_service/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <optional>
#include <string>
#include <utility>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

// Exercise 15.1: processB --service ID [--name SUFFIX] REQUEST...

program& start_service(trial& attempt, const std::wstring& suffix) {
    program& a = attempt.start_partner({L"--console", L"--name", suffix});
    attempt.expect_output(a, "A: the server is running");
    return a;
}

program& start_client(trial& attempt, const program& service, const std::wstring& suffix) {
    return attempt.start_learner(
        {L"--service", std::to_wstring(service.id()), L"--name", suffix, L"secret", L"more"});
}

// A pipe of the service's name in this process, which is not the service.
pipe_end create_pipe(const trial& attempt, const std::wstring& suffix) {
    ipc::unique_handle pipe(
        CreateNamedPipeW(protocol::pipe_name(protocol::service_name(suffix)).c_str(),
                         PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_REJECT_REMOTE_CLIENTS, 1,
                         4096, 4096, 0, nullptr));
    if (!pipe) {
        ipc::throw_last_error("CreateNamedPipeW");
    }
    return {attempt, std::move(pipe)};
}

// Expects that B ends with exit code 1, and that no request of it has come.
void expect_nothing_sent(const trial& attempt, pipe_end& server, program& b) {
    std::optional<std::string> request;
    ipc::overlapped_call call(server.handle());
    const BOOL done = ConnectNamedPipe(server.handle(), call.get());
    const DWORD error = call.wait(done, attempt.limit_ms(), b.process()).error;
    // The wait also ends with B, which may have connected and left.
    if (error != WAIT_TIMEOUT) {
        request = server.read_message();
    }
    attempt.expect(!request, "the other program gets no request from B",
                   "it got \"" + request.value_or("") + "\"");
    attempt.expect_exit_code(b, 1);
}

void ask_the_service(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& b = start_client(attempt, start_service(attempt, suffix), suffix);
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: SECRET");
    attempt.expect_line(b, "B: MORE");
}

void refuse_another_program(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const program& service = start_service(attempt, suffix + L".service");
    pipe_end other = create_pipe(attempt, suffix); // it was faster than the service
    expect_nothing_sent(attempt, other, start_client(attempt, service, suffix));
}

void refuse_after_the_end(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& service = start_service(attempt, suffix);
    service.kill();
    attempt.expect_end(service);
    pipe_end other = create_pipe(attempt, suffix);
    expect_nothing_sent(attempt, other, start_client(attempt, service, suffix));
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"B gets its replies from the service", ask_the_service},
      {"B sends nothing to another program, while the service runs", refuse_another_program},
      {"B sends nothing to another program, when the service has ended", refuse_after_the_end}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
