#pragma once

// What the checks of pairs 08 and 09 share: a client of their servers that can stop between any two of its calls,
// unlike a program.

#include "common/unique_handle.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <string>
#include <thread>
#include <vector>

namespace ipc::exercise {

// Expects that B, which reads replies, ends with these lines and exit code 0. Otherwise the text names A's error
// too, if A has ended.
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
    // Expects that a client can connect to the pipe of this name.
    request_client(const trial& attempt, const std::wstring& name);

    void send(const std::string& request); // expects that A reads it, if the pipe's buffer is full
    bool try_send(const std::string& request); // returns whether it was written
    void expect_reply(const std::string& request);
    void ask(const std::string& request) {
        send(request);
        expect_reply(request);
    }
    void leave() { pipe_.reset(); }

    HANDLE pipe() const { return pipe_.get(); }

private:
    const trial& attempt_;
    unique_handle pipe_;
};

// Sends requests of one byte and reads the replies as fast as it can, until the end of the scope.
class request_flood {
public:
    request_flood(const request_client& client);
    ~request_flood();
    request_flood(const request_flood&) = delete;
    request_flood& operator=(const request_flood&) = delete;

    void wait_until_busy(const trial& attempt) const;

private:
    HANDLE pipe_;
    unique_handle stop_event_;
    unique_handle busy_event_; // some hundred replies have come
    std::jthread writer_;
    std::jthread reader_;
};

} // namespace ipc::exercise
