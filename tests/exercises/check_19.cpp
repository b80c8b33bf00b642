#include "demos/19_unix_socket/sockets.hpp"
#include "demos/19_unix_socket/unix_socket.hpp"

#include "tests/exercises/check.hpp"

#include <windows.h>

#include <filesystem>
#include <fstream>
#include <string>

using ipc::exercise::trial;

namespace {

// A name of its own, whose files are removed at the end.
struct server_name {
    server_name() = default;
    ~server_name() {
        DeleteFileW(path.c_str());
        DeleteFileW((path + L".lock").c_str());
    }
    server_name(const server_name&) = delete;
    server_name& operator=(const server_name&) = delete;

    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring path = socket_path(suffix);
};

ipc::test::program& start_server(trial& attempt, const server_name& name) {
    ipc::test::program& a = attempt.start_learner({L"--name", name.suffix, L"--limit", L"60"});
    attempt.expect_output(a, "A: waiting for clients");
    return a;
}

// Runs the pair's client, built over TCP as the learner's server is.
void expect_reply(trial& attempt, const server_name& name, const std::string& when) {
    const ipc::test::result b =
        ipc::test::run({ipc::test::program_path(L"19_unix_socket_over_tcp", L"processB.exe"),
                        L"--name", name.suffix, L"--limit", L"2", L"hello"});
    attempt.expect(b.exit_code == 0 && b.output == "B: HELLO\n", "a client gets its reply " + when,
                   b.exit_code == 0 ? "another reply" : "the client failed");
}

void serve(trial& attempt) {
    const server_name name;
    start_server(attempt, name);
    expect_reply(attempt, name, "from the server");
}

void follow_crash(trial& attempt) {
    const server_name name;
    ipc::test::program& crashed = start_server(attempt, name);
    crashed.kill();
    crashed.wait();
    attempt.expect(GetFileAttributesW(name.path.c_str()) != INVALID_FILE_ATTRIBUTES,
                   "the crashed server has left its file", "the file is gone");
    start_server(attempt, name);
    expect_reply(attempt, name, "from the next server");
}

void refuse_second(trial& attempt) {
    const server_name name;
    const ipc::test::program& first = start_server(attempt, name);
    ipc::test::program& second = attempt.start_learner({L"--name", name.suffix, L"--limit", L"60"});
    const ULONGLONG end = GetTickCount64() + attempt.limit_ms();
    while (second.output().empty() && GetTickCount64() < end && !second.wait(10)) {}
    attempt.expect(second.output().empty(),
                   "a second server does not start while the first one runs",
                   "the second server waits for clients, too");
    attempt.expect_exit_code(second, 1);
    expect_reply(attempt, name, "from the first server, after the second one was refused");
    first.kill();
}

void keep_file(trial& attempt) {
    const server_name name;
    std::filesystem::create_directories(std::filesystem::path(name.path).parent_path());
    std::ofstream(std::filesystem::path(name.path)) << "a letter";
    ipc::test::program& a = attempt.start_learner({L"--name", name.suffix, L"--limit", L"60"});
    const ULONGLONG end = GetTickCount64() + attempt.limit_ms();
    while (a.output().empty() && GetTickCount64() < end && !a.wait(10)) {}
    attempt.expect(ipc::test::read_file(name.path) == "a letter",
                   "a file that is no socket stays as it is",
                   "the file is gone, or is another one");
    attempt.expect_exit_code(a, 1);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"the server serves a client", serve},
      {"a server starts although a crashed one has left its file", follow_crash},
      {"a second server is refused, and the first one keeps its clients", refuse_second},
      {"a file that is no socket is not removed", keep_file}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    const winsock library;
    return ipc::exercise::check_main(argc, argv, exercises);
}
