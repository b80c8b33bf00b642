#pragma once

// One end of a named pipe that a check plays itself, against the learner's program.

#include "common/overlapped.hpp"
#include "common/unique_handle.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <string>
#include <string_view>

namespace ipc::exercise {

// No call takes longer than the limit of the trial. Nothing here throws after the end of a learner's
// program, however it ends.
class pipe_end {
public:
    // The handle must have FILE_FLAG_OVERLAPPED.
    pipe_end(unique_handle pipe, const trial& attempt)
        : pipe_(std::move(pipe)), limit_ms_(attempt.limit_ms()) {}

    HANDLE handle() const { return pipe_.get(); }
    void close() { pipe_.reset(); }

    // Writes everything. Returns the error code, or WAIT_TIMEOUT.
    DWORD write(std::string_view bytes);

    // Makes one read of up to this many bytes.
    call_result read(std::string& into, DWORD bytes);

    // Reads this many bytes of a stream. Returns fewer if the stream ends before, or after the limit.
    std::string read_stream(std::size_t bytes);

private:
    unique_handle pipe_;
    DWORD limit_ms_;
};

// Opens the client's end of a pipe that the program creates, and expects that it does so within the
// limit.
pipe_end connect(const trial& attempt, test::program& server, const std::wstring& name,
                 DWORD access);

// Waits until the program has read everything from this end. If it takes longer than the limit,
// terminates the program and returns false. Returns false, too, if the program has closed the pipe.
bool wait_until_read(const trial& attempt, const test::program& reader, const pipe_end& written);

} // namespace ipc::exercise
