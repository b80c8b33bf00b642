#pragma once

// What the checks of pairs 08 and 09 share: a client of their servers that can stop between any two of its calls,
// unlike a program.

#include "common/unique_handle.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <windows.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace ipc::exercise {

// Expects that B, which reads replies, ends with these lines and exit code 0. Otherwise the text has A's last
// line, too, which may say why.
void expect_replies(const trial& attempt, test::program& a, test::program& b,
                    const std::vector<std::string>& lines);

// Stops every thread of a program, until the end of the scope.
class pause {
public:
    explicit pause(const test::program& program);
    ~pause();
    pause(const pause&) = delete;
    pause& operator=(const pause&) = delete;

private:
    std::vector<unique_handle> threads_;
};

class request_client {
public:
    // Expects that a client can connect to the program's pipe of this name.
    request_client(const trial& attempt, test::program& server, const std::wstring& name);

    // Expects that the request is written: A reads it, or the pipe's buffer has space for it.
    void send(const std::string& request);
    // Returns the error, or WAIT_TIMEOUT.
    DWORD try_send(const std::string& request) { return pipe_.write(request); }
    // Expects the request's reply to come next.
    void expect_reply(const std::string& request);
    void ask(const std::string& request) {
        send(request);
        expect_reply(request);
    }
    void leave() { pipe_.close(); }
    HANDLE handle() const { return pipe_.handle(); }

private:
    void expect_success(DWORD error, const std::string& expected, std::string_view missing);

    const trial& attempt_;
    test::program& server_;
    pipe_end pipe_;
};

// Sends empty requests as fast as it can, some thousand in its constructor and then on a thread, until the end of
// the scope. It reads no reply. Empty messages take no space in a pipe's buffer, so no call waits.
class request_flood {
public:
    explicit request_flood(const request_client& client);

private:
    std::jthread writer_;
};

} // namespace ipc::exercise
