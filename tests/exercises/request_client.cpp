#include "tests/exercises/request_client.hpp"

#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"

#include <tlhelp32.h>

#include <algorithm>
#include <exception>
#include <stop_token>
#include <utility>

namespace ipc::exercise {

namespace {

// "the connection ended: ERROR_BROKEN_PIPE (109)", without the system's text.
std::string connection_end(DWORD error) {
    const std::string text = error_text(error);
    return "the connection ended: " + text.substr(0, text.find(": "));
}

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
        a.wait(1000); // the connection breaks first, and then A says why
        attempt.expect(false, "B ends with exit code 0",
                       "the last line of B: \"" + last_line(b) + "\"; the last line of A: \"" +
                           last_line(a) + "\"");
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

request_client::request_client(const trial& attempt, const std::wstring& name) : attempt_(attempt) {
    try {
        pipe_ = connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED,
                                attempt.limit_ms());
    } catch (const std::exception&) {
        attempt.expect(false, "a client can connect", "no pipe instance was free");
    }
    DWORD mode = PIPE_READMODE_MESSAGE;
    SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr); // after a failure, a read fails
}

void request_client::send(const std::string& request) {
    const DWORD error = try_send(request, attempt_.limit_ms());
    attempt_.expect(error == ERROR_SUCCESS, "a client can send a request",
                    error == WAIT_TIMEOUT ? "A hung: it did not read the request"
                                          : connection_end(error));
}

DWORD request_client::try_send(const std::string& request, DWORD limit_ms) {
    overlapped_call call(pipe_.get());
    const BOOL done = WriteFile(pipe_.get(), request.data(), static_cast<DWORD>(request.size()),
                                nullptr, call.get());
    return call.wait(done, limit_ms).error;
}

void request_client::expect_reply(const std::string& request) {
    const std::string expected = request.size() <= 20
                                     ? "a client reads \"" + in_upper_case(request) + "\""
                                     : "a client reads the reply to its request of " +
                                           std::to_string(request.size()) + " bytes";
    std::vector<char> reply(2 * 1024 * 1024);
    overlapped_call call(pipe_.get());
    const BOOL done =
        ReadFile(pipe_.get(), reply.data(), static_cast<DWORD>(reply.size()), nullptr, call.get());
    const call_result read = call.wait(done, attempt_.limit_ms());
    attempt_.expect(read.error != WAIT_TIMEOUT, expected, "A hung: no reply came");
    attempt_.expect(read.error == ERROR_SUCCESS, expected, connection_end(read.error));
    const std::string seen(reply.data(), read.bytes);
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
    overlapped_call call(client.pipe());
    for (int i = 0; i < requests_in_advance && send(client.pipe(), call, 0) == ERROR_SUCCESS; ++i) {
    }
    writer_ = std::jthread([&client, send](const std::stop_token& stop) {
        overlapped_call next(client.pipe());
        DWORD error = ERROR_SUCCESS;
        while (!stop.stop_requested() && (error == ERROR_SUCCESS || error == WAIT_TIMEOUT)) {
            error = send(client.pipe(), next, 100);
        }
    });
}

} // namespace ipc::exercise
