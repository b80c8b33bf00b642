#pragma once

// What the checks of the pipe servers share: a client whose calls are steps of a check.

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

// Returns "A hung", or "A ended with exit code 1", and the last line that it has printed. For a check that
// has waited for something in vain.
inline std::string state_of(const trial& attempt, test::program& program) {
    const std::string name = attempt.name_of(program);
    std::string text = name + " hung";
    constexpr DWORD end_ms = 500; // it may have closed the pipe because it is about to end
    if (program.wait(end_ms)) {
        program.wait_for_end_of_output(attempt.limit_ms());
        text = name + " ended with exit code " + std::to_string(program.exit_code());
    }
    const std::string line = last_line(program);
    return text + (line.empty() ? ", and printed nothing" : "; its last line: \"" + line + "\"");
}

// A client of a message pipe. It can also do what no honest client does. Each call has the limit of
// the check and does not throw.
class pipe_client {
public:
    pipe_client(const trial& attempt, std::wstring pipe)
        : limit_ms_(attempt.limit_ms()), pipe_(std::move(pipe)) {}

    // Tries once. Returns the error: ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, ...
    DWORD try_to_connect() {
        handle_.reset(CreateFileW(
            pipe_.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        DWORD mode = PIPE_READMODE_MESSAGE;
        const bool connected =
            handle_ && SetNamedPipeHandleState(handle_.get(), &mode, nullptr, nullptr);
        return connected ? ERROR_SUCCESS : GetLastError();
    }

    // Tries until the server has a free instance, the server ends, or the limit is over.
    bool connect(const test::program& server) {
        const ULONGLONG start_ms = GetTickCount64();
        while (try_to_connect() != ERROR_SUCCESS) {
            // The wait is the pause between two tries: nothing can be waited for.
            if (server.wait(10) || GetTickCount64() - start_ms > limit_ms_) {
                return false;
            }
        }
        return true;
    }

    // Returns whether the message is on its way: the server has read it, or the pipe holds it.
    bool send(std::string_view message) {
        overlapped_call call(handle_.get());
        const BOOL done = WriteFile(handle_.get(), message.data(),
                                    static_cast<DWORD>(message.size()), nullptr, call.get());
        return call.wait(done, limit_ms_).error == ERROR_SUCCESS;
    }

    // Returns the next message, or what is left of it; of a longer one only its first bytes.
    std::optional<std::string> receive(std::size_t most_bytes = std::size_t{2} << 20) {
        std::string message(most_bytes, '\0');
        overlapped_call call(handle_.get());
        const BOOL done = ReadFile(handle_.get(), message.data(),
                                   static_cast<DWORD>(message.size()), nullptr, call.get());
        const call_result result = call.wait(done, limit_ms_);
        if (result.error != ERROR_SUCCESS && result.error != ERROR_MORE_DATA) {
            return std::nullopt;
        }
        message.resize(result.bytes);
        return message;
    }

    void leave() { handle_.reset(); }

private:
    DWORD limit_ms_;
    std::wstring pipe_;
    unique_handle handle_;
};

} // namespace ipc::exercise
