// The checks of the exercises of pair 14.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/14_impersonation/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"
#include "tests/harness/thread_tokens.hpp"

#include <windows.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using ipc::exercise::pipe_end;
using ipc::exercise::trial;
using ipc::test::program;

constexpr std::string_view denied = "B: file.txt: refused, ERROR_CANNOT_IMPERSONATE (1368)";

std::wstring write_file(trial& attempt) {
    std::wstring path = attempt.file(L"file.txt");
    std::ofstream(std::filesystem::path(path), std::ios::binary) << "the content";
    return path;
}

program& start_server(trial& attempt, std::vector<std::wstring> options,
                      const std::wstring& suffix) {
    options.insert(options.end(), {L"--name", suffix});
    program& a = attempt.start_learner(options);
    attempt.expect_output(a, "A: waiting for a client");
    return a;
}

// Runs both programs to their ends. B asks for these files, and prints the lines.
void exchange(trial& attempt, const std::vector<std::wstring>& options,
              const std::vector<std::wstring>& files, const std::vector<std::string_view>& lines) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, options, suffix);
    std::vector<std::wstring> arguments = {L"--name", suffix};
    arguments.insert(arguments.end(), files.begin(), files.end());
    program& b = attempt.start_partner(arguments);
    attempt.expect_end(b);
    for (const std::string_view line : lines) {
        attempt.expect_line(b, line);
    }
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
}

// ---- exercise 14.1: processA [--deny] [--name SUFFIX]; with --deny the first impersonation fails

void read_a_file(trial& attempt) {
    const std::wstring file = write_file(attempt);
    exchange(attempt, {}, {file}, {"B: file.txt: 11 bytes", "B: | the content"});
}

void refuse_if_denied(trial& attempt) {
    const std::wstring file = write_file(attempt);
    exchange(attempt, {L"--deny"}, {file}, {denied});
}

void serve_after_refusal(trial& attempt) {
    const std::wstring file = write_file(attempt);
    exchange(attempt, {L"--deny"}, {file, file}, {denied, "B: file.txt: 11 bytes"});
}

void say_why_a_file_is_refused(trial& attempt) {
    exchange(attempt, {}, {attempt.file(L"missing.txt")},
             {"B: missing.txt: refused, ERROR_FILE_NOT_FOUND (2)"});
}

// ---- exercise 14.2: processA [--name SUFFIX]

// The check in the role of B, connected to A. It stays connected, so A waits for its next request.
pipe_end connect(trial& attempt, program& a, const std::wstring& suffix) {
    ipc::unique_handle pipe(CreateFileW(
        ipc::object_name(protocol::pipe_name, suffix).c_str(), GENERIC_READ | GENERIC_WRITE, 0,
        nullptr, OPEN_EXISTING,
        FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IMPERSONATION, nullptr));
    DWORD mode = PIPE_READMODE_MESSAGE;
    const bool connected =
        pipe && SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr) != 0;
    attempt.expect(connected, "a client can connect to A",
                   connected ? "" : "it could not; " + attempt.state_of(a));
    return {attempt, std::move(pipe)};
}

// Asks A for the file. Expects this error in the reply, and that A's threads then have no token of the client.
void ask(trial& attempt, program& a, pipe_end& client, const std::wstring& file,
         const std::vector<DWORD>& errors, const std::string& what) {
    std::string request(file.size() * sizeof(wchar_t), '\0');
    std::memcpy(request.data(), file.data(), request.size());
    const bool sent = client.write(request) == ERROR_SUCCESS;
    const auto reply = sent ? client.read_message() : std::nullopt;
    protocol::reply_header header{};
    attempt.expect(reply && reply->size() >= sizeof header, "A replies to the request for " + what,
                   reply ? "a reply without a header" : "no reply came; " + attempt.state_of(a));
    std::memcpy(&header, reply->data(), sizeof header);
    attempt.expect(std::ranges::find(errors, header.error) != errors.end(),
                   "the reply for " + what + " says " + protocol::error_name(errors.front()),
                   "it says " + protocol::error_name(header.error));
    // A may revert after its reply, so the check gives it a moment.
    int impersonating = 1;
    for (int looks = 0; impersonating != 0 && looks < 20 && !a.wait(looks == 0 ? 0 : 50); ++looks) {
        impersonating = ipc::test::impersonating_threads(a.id());
    }
    attempt.expect(impersonating == 0,
                   "after the request for " + what + ", A's thread acts as the server again",
                   "it has the token of its client, and would open the server's own files with it");
}

void ask_once(trial& attempt, const std::wstring& file, const std::vector<DWORD>& errors,
              const std::string& what) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, {}, suffix);
    pipe_end client = connect(attempt, a, suffix);
    ask(attempt, a, client, file, errors, what);
    client.close();
    attempt.expect_exit_code(a, 0);
}

void revert_after_file(trial& attempt) {
    ask_once(attempt, write_file(attempt), {ERROR_SUCCESS}, "a file");
}

void revert_after_missing_file(trial& attempt) {
    ask_once(attempt, attempt.file(L"missing.txt"), {ERROR_FILE_NOT_FOUND},
             "a file that does not exist");
}

void revert_after_device(trial& attempt) {
    ask_once(attempt, LR"(\\.\NUL)", {ERROR_NOT_SUPPORTED}, "a device");
}

void serve_in_between(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, {}, suffix);
    pipe_end client = connect(attempt, a, suffix);
    const std::wstring file = write_file(attempt);
    for (int i = 0; i < 20; ++i) {
        ask(attempt, a, client, file + L".missing", {ERROR_FILE_NOT_FOUND},
            "a file that does not exist");
        ask(attempt, a, client, file, {ERROR_SUCCESS}, "a file");
    }
    client.close();
    attempt.expect_exit_code(a, 0);
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A reads a file for its client", read_a_file},
      {"A opens nothing if it cannot impersonate its client", refuse_if_denied},
      {"after a refused request, A serves the next one", serve_after_refusal},
      {"A says why it cannot open a file", say_why_a_file_is_refused}}},
    {2,
     {{"A's thread reverts after a file that it has opened", revert_after_file},
      {"A's thread reverts after a file that it cannot open", revert_after_missing_file},
      {"A's thread reverts after a name that is no file's", revert_after_device},
      {"forty requests get their replies, and none leaves the token behind", serve_in_between}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
