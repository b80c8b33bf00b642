// SOLUTION: only two errors can go away while B waits. ERROR_FILE_NOT_FOUND: no server has created the pipe yet.
// ERROR_PIPE_BUSY: other clients have all instances. After each wait, only the next CreateFileW can tell.
// STARTER
//~ // Exercise 03.4: B may start before A, and A may be busy with another client. Write what is missing.
// END
//
// B opens both pipes of A and returns what A sends, in upper case.
//
// Run: processB [--limit SECONDS] [--name SUFFIX], and the pair's processA

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]";

// Opens a client's end of the pipe. If no server has created the pipe, prints "B: waiting for the server"; if all
// instances have a client, prints "B: waiting for a free instance". Each is printed once at most. Then tries again
// for up to limit_ms milliseconds (INFINITE: no limit), and throws std::runtime_error after that. Throws win32_error
// at once for any other failure.
// SOLUTION: a loop around CreateFileW, with a limit.
ipc::unique_handle open_pipe(const std::wstring& name, DWORD access, DWORD limit_ms) {
    constexpr DWORD pause_ms = 20;
    bool missing_said = false;
    bool busy_said = false;
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        ipc::unique_handle pipe(
            CreateFileW(name.c_str(), access, 0 /* not shared */, nullptr, OPEN_EXISTING,
                        SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        if (pipe) {
            return pipe;
        }
        const DWORD error = GetLastError();
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", error);
        }
        bool& said = error == ERROR_PIPE_BUSY ? busy_said : missing_said;
        if (!said) {
            ipc::print_line("B: waiting for {}",
                            error == ERROR_PIPE_BUSY ? "a free instance" : "the server");
            said = true;
        }
        if (limit_ms != INFINITE && GetTickCount64() - start_ms >= limit_ms) {
            throw std::runtime_error("nobody has let B open the pipe");
        }
        // WaitNamedPipeW fails at once if there is no pipe. If it succeeds, another client may be faster.
        if (error == ERROR_FILE_NOT_FOUND || !WaitNamedPipeW(name.c_str(), pause_ms)) {
            Sleep(pause_ms); // between two attempts: Windows cannot notify a client of a new name
        }
    }
}
// STARTER
//~ ipc::unique_handle open_pipe(const std::wstring& name, DWORD access,
//~                              [[maybe_unused]] DWORD limit_ms) {
//~     ipc::unique_handle pipe(CreateFileW(name.c_str(), access, 0 /* not shared */, nullptr,
//~                                         OPEN_EXISTING,
//~                                         SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
//~     if (!pipe) {
//~         // TODO: wait and try again, as the comment above says.
//~         ipc::throw_last_error("CreateFileW");
//~     }
//~     return pipe;
//~ }
// END

char upper_case(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

stream_length read_length(HANDLE read_end) {
    stream_length length = 0;
    auto* bytes = reinterpret_cast<char*>(&length);
    DWORD count = 0;
    for (DWORD used = 0; used < sizeof length; used += count) {
        if (!ReadFile(read_end, bytes + used, sizeof length - used, &count, nullptr)) {
            ipc::throw_last_error("ReadFile");
        }
    }
    return length;
}

// Returns what A sends, until A closes its side.
void return_stream(HANDLE read_end, HANDLE write_end) {
    const stream_length length = read_length(read_end);
    std::vector<char> buffer(buffer_bytes);
    stream_length total = 0;
    DWORD count = 0;
    DWORD written = 0;
    while (ReadFile(read_end, buffer.data(), buffer_bytes, &count, nullptr)) {
        std::transform(buffer.begin(), buffer.begin() + count, buffer.begin(), upper_case);
        if (!WriteFile(write_end, buffer.data(), count, &written, nullptr)) {
            ipc::throw_last_error("WriteFile");
        }
        total += count;
    }
    if (total != length || !FlushFileBuffers(write_end)) { // waits until A has read everything
        throw std::runtime_error("A has ended before everything was sent and returned");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{20'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    const auto read_end = open_pipe(ipc::object_name(a_to_b_name, suffix), GENERIC_READ, limit.ms);
    const auto write_end =
        open_pipe(ipc::object_name(b_to_a_name, suffix), GENERIC_WRITE, limit.ms);
    ipc::print_line("B: both pipes are open");
    return_stream(read_end.get(), write_end.get());
    ipc::print_line("B: everything is returned");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
