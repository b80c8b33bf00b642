#include "tests/exercises/pipe_end.hpp"

#include "common/pipe.hpp"

#include <stdexcept>
#include <thread>

namespace ipc::exercise {

DWORD pipe_end::write(std::string_view bytes) {
    overlapped_call call(pipe_.get());
    const BOOL done =
        WriteFile(pipe_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), nullptr, call.get());
    return call.wait(done, limit_ms_).error;
}

call_result pipe_end::read(std::string& into, DWORD bytes) {
    into.resize(bytes);
    overlapped_call call(pipe_.get());
    const BOOL done = ReadFile(pipe_.get(), into.data(), bytes, nullptr, call.get());
    const call_result result = call.wait(done, limit_ms_);
    into.resize(result.bytes);
    return result;
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

pipe_end connect(const trial& attempt, test::program& server, const std::wstring& name,
                 DWORD access) {
    constexpr DWORD one_try_ms = 100; // then look whether the program is still there
    const std::string server_name = attempt.name_of(server);
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        const bool ended = server.wait(0);
        try {
            return {connect_to_pipe(name, access, FILE_FLAG_OVERLAPPED, one_try_ms), attempt};
        } catch (const std::runtime_error&) {
            const std::string line = last_line(server);
            const std::string last =
                line.empty() ? "it printed nothing" : "its last line: \"" + line + "\"";
            const bool too_late = GetTickCount64() - start_ms >= attempt.limit_ms();
            attempt.expect(!ended && !too_late,
                           server_name + " creates its pipes and lets a client open them",
                           server_name + (ended ? " ended" : " hung") + " without that; " + last);
        }
    }
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
