#pragma once

// One end of a named pipe that a check plays itself, against the learner's program.

#include "common/overlapped.hpp"
#include "common/unique_handle.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace ipc::exercise {

// A check's steps are single calls on it, so it can also do what no honest partner does. No call takes longer than
// the limit of the trial. Nothing but expect_connection throws because of what the learner's program does.
class pipe_end {
public:
    // A client's end of the pipe of this name, not connected yet. A client with both directions reads messages.
    pipe_end(const trial& attempt, std::wstring name, DWORD access = GENERIC_READ | GENERIC_WRITE)
        : attempt_(attempt), name_(std::move(name)), access_(access) {}

    // An end that is open. The handle must have FILE_FLAG_OVERLAPPED.
    pipe_end(const trial& attempt, unique_handle pipe)
        : attempt_(attempt), pipe_(std::move(pipe)) {}

    // Tries once. Returns the error: ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, ...
    DWORD try_to_connect();

    // Tries until the server has a free instance. Expects that this happens within the limit, and before the
    // server ends.
    void expect_connection(test::program& server);

    HANDLE handle() const { return pipe_.get(); }
    void close() { pipe_.reset(); }

    // Writes everything, as one message. Returns the error, or WAIT_TIMEOUT.
    DWORD write(std::string_view bytes) { return write(bytes, attempt_.limit_ms()); }
    DWORD write(std::string_view bytes, DWORD limit_ms);

    // Makes one read of up to this many bytes.
    call_result read(std::string& into, DWORD bytes);

    // Returns the next message, or what is left of it; of a longer one only its first bytes. Returns nothing after
    // an error or the limit.
    std::optional<std::string> read_message(DWORD most_bytes = DWORD{2} << 20);

    // Reads this many bytes of a stream. Returns fewer if the stream ends before, or after the limit.
    std::string read_stream(std::size_t bytes);

private:
    const trial& attempt_;
    std::wstring name_;
    DWORD access_ = 0;
    unique_handle pipe_;
};

// Waits until the program has read everything from this end. If it takes longer than the limit, terminates the
// program and returns false. Returns false, too, if the program has closed the pipe.
bool wait_until_read(const trial& attempt, const test::program& reader, const pipe_end& written);

} // namespace ipc::exercise
