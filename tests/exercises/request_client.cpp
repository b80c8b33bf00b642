#include "tests/exercises/request_client.hpp"

#include "common/overlapped.hpp"

#include <tlhelp32.h>

#include <algorithm>
#include <stop_token>
#include <utility>

namespace ipc::exercise {

namespace {

std::string in_upper_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char letter) {
        return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
    });
    return text;
}

} // namespace

void expect_replies(const trial& attempt, test::program& a, test::program& b,
                    const std::vector<std::string>& lines) {
    attempt.expect_end(b);
    if (b.exit_code() != 0) {
        const std::string seen = attempt.state_of(b);
        a.wait(1000); // the connection breaks first, and then A says why
        attempt.expect(false, "B ends with exit code 0",
                       seen + "; the last line of A: \"" + last_line(a) + "\"");
    }
    for (const std::string& line : lines) {
        attempt.expect_line(b, line);
    }
}

pause::pause(const test::program& program) {
    const unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
    THREADENTRY32 entry{};
    entry.dwSize = sizeof entry;
    for (BOOL more = Thread32First(snapshot.get(), &entry); more;
         more = Thread32Next(snapshot.get(), &entry)) {
        if (entry.th32OwnerProcessID != program.id()) {
            continue;
        }
        unique_handle thread(
            OpenThread(THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT, FALSE, entry.th32ThreadID));
        if (thread && SuspendThread(thread.get()) != static_cast<DWORD>(-1)) {
            CONTEXT context{};
            context.ContextFlags = CONTEXT_CONTROL;
            GetThreadContext(thread.get(), &context); // SuspendThread does not wait, this does
            threads_.push_back(std::move(thread));
        }
    }
}

pause::~pause() {
    for (const unique_handle& thread : threads_) {
        ResumeThread(thread.get());
    }
}

request_client::request_client(const trial& attempt, test::program& server,
                               const std::wstring& name)
    : attempt_(attempt), server_(server), pipe_(attempt, name) {
    pipe_.expect_connection(server);
}

void request_client::expect_success(DWORD error, const std::string& expected,
                                    std::string_view missing) {
    if (error != ERROR_SUCCESS) {
        attempt_.expect(false, expected,
                        (error == WAIT_TIMEOUT ? std::string(missing)
                                               : "the connection ended: " + error_name(error)) +
                            "; " + attempt_.state_of(server_));
    }
}

void request_client::send(const std::string& request) {
    expect_success(pipe_.write(request), "a client can send a request",
                   "A did not read the request");
}

void request_client::expect_reply(const std::string& request) {
    const std::string expected = request.size() <= 20
                                     ? "a client reads \"" + in_upper_case(request) + "\""
                                     : "a client reads the reply to its request of " +
                                           std::to_string(request.size()) + " bytes";
    std::string seen;
    expect_success(pipe_.read(seen, DWORD{2} << 20).error, expected, "no reply came");
    attempt_.expect(seen == in_upper_case(request), expected,
                    seen.size() <= 20 ? "it read \"" + seen + "\""
                                      : "it read " + std::to_string(seen.size()) +
                                            " bytes that are not the reply");
}

request_flood::request_flood(const request_client& client) {
    constexpr int requests_in_advance = 2000;
    const auto send = [](HANDLE pipe, overlapped_call& call, DWORD limit_ms) {
        const BOOL done = WriteFile(pipe, "", 0, nullptr, call.get());
        return call.wait(done, limit_ms).error;
    };
    overlapped_call call(client.handle());
    for (int i = 0; i < requests_in_advance && send(client.handle(), call, 0) == ERROR_SUCCESS;
         ++i) {}
    writer_ = std::jthread([&client, send](const std::stop_token& stop) {
        overlapped_call next(client.handle());
        DWORD error = ERROR_SUCCESS;
        while (!stop.stop_requested() && (error == ERROR_SUCCESS || error == WAIT_TIMEOUT)) {
            error = send(client.handle(), next, 100);
        }
    });
}

} // namespace ipc::exercise
