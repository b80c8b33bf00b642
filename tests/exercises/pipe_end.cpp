#include "tests/exercises/pipe_end.hpp"

#include <thread>

namespace ipc::exercise {

DWORD pipe_end::try_to_connect() {
    pipe_.reset(CreateFileW(name_.c_str(), access_, 0, nullptr, OPEN_EXISTING,
                            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                            nullptr));
    if (!pipe_) {
        return GetLastError();
    }
    DWORD mode = PIPE_READMODE_MESSAGE;
    const bool reads_messages = access_ == (GENERIC_READ | GENERIC_WRITE);
    if (reads_messages && !SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr)) {
        return GetLastError();
    }
    return ERROR_SUCCESS;
}

void pipe_end::expect_connection(test::program& server) {
    const ULONGLONG start_ms = GetTickCount64();
    DWORD error = try_to_connect();
    while (error == ERROR_FILE_NOT_FOUND || error == ERROR_PIPE_BUSY) {
        // The wait is the pause between two tries: nothing can be waited for.
        if (server.wait(10) || GetTickCount64() - start_ms > attempt_.limit_ms()) {
            break;
        }
        error = try_to_connect();
    }
    if (error == ERROR_SUCCESS) {
        return;
    }
    std::string seen = "a client's call failed: " + error_name(error);
    if (error == ERROR_FILE_NOT_FOUND || error == ERROR_PIPE_BUSY) {
        seen = "no client can: " + error_name(error) + "; " + attempt_.state_of(server);
    } else if (error == ERROR_INVALID_PARAMETER) { // of SetNamedPipeHandleState
        seen = "the pipe is a stream of bytes, not of messages";
    }
    attempt_.expect(false, "a client can connect to " + attempt_.name_of(server), seen);
}

DWORD pipe_end::write(std::string_view bytes, DWORD limit_ms) {
    overlapped_call call(pipe_.get());
    const BOOL done =
        WriteFile(pipe_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), nullptr, call.get());
    return call.wait(done, limit_ms).error;
}

call_result pipe_end::read(std::string& into, DWORD bytes) {
    into.resize(bytes);
    overlapped_call call(pipe_.get());
    const BOOL done = ReadFile(pipe_.get(), into.data(), bytes, nullptr, call.get());
    const call_result result = call.wait(done, attempt_.limit_ms());
    into.resize(result.bytes);
    return result;
}

std::optional<std::string> pipe_end::read_message(DWORD most_bytes) {
    std::string message;
    const DWORD error = read(message, most_bytes).error;
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
        return std::nullopt;
    }
    return message;
}

std::string pipe_end::read_stream(std::size_t bytes) {
    std::string all;
    std::string part;
    while (all.size() < bytes &&
           read(part, static_cast<DWORD>(bytes - all.size())).error == ERROR_SUCCESS) {
        all += part;
    }
    return all;
}

bool wait_until_read(const trial& attempt, const test::program& reader, const pipe_end& written) {
    const unique_handle ended(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    BOOL flushed = FALSE;
    std::jthread flusher([&] {
        flushed = FlushFileBuffers(written.handle()); // has no limit
        SetEvent(ended.get());
    });
    if (WaitForSingleObject(ended.get(), attempt.limit_ms()) != WAIT_OBJECT_0) {
        reader.job().terminate(); // ends the call
        return false;
    }
    flusher.join();
    return flushed != FALSE;
}

} // namespace ipc::exercise
