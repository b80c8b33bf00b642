// Demo 03, process B: the client that opens both pipes, each for its one direction.
//
// B reads from one pipe and writes to the other, with the letters a to z in upper case, until A
// closes its side. One thread is enough: A always reads, even while its own write blocks. So each
// write of B ends, and B reads again.
//
// Run: processB [--limit SECONDS] [--name SUFFIX], and processA beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]\n"
                       "  --limit SECONDS  how long to wait for A (default: 20; 0: no limit)\n"
                       "  --name SUFFIX    add .SUFFIX to the names of the pipes";
constexpr ipc::time_limit default_limit{20'000};

// Throws what a failed call on one of the pipes means.
[[noreturn]] void throw_pipe_error(const char* call, DWORD error) {
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("A has ended before everything was sent and returned");
    }
    ipc::throw_error(call, error);
}

char upper_case(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; // the same in every locale
}

stream_length read_length(HANDLE read_end) {
    stream_length length = 0;
    auto* bytes = reinterpret_cast<char*>(&length);
    DWORD count = 0;
    for (DWORD used = 0; used < sizeof length; used += count) { // a byte pipe may split it
        if (!ReadFile(read_end, bytes + used, sizeof length - used, &count, nullptr)) {
            throw_pipe_error("ReadFile", GetLastError());
        }
    }
    return length;
}

// Reads until A closes its side.
void return_stream(HANDLE read_end, HANDLE write_end, stream_length length) {
    std::vector<char> buffer(buffer_bytes);
    stream_length total = 0;
    DWORD count = 0;
    DWORD written = 0;
    while (ReadFile(read_end, buffer.data(), buffer_bytes, &count, nullptr)) {
        std::transform(buffer.begin(), buffer.begin() + count, buffer.begin(), upper_case);
        if (!WriteFile(write_end, buffer.data(), count, &written, nullptr)) {
            throw_pipe_error("WriteFile", GetLastError());
        }
        total += count;
    }
    const DWORD error = GetLastError();
    if (!ipc::is_disconnected(error) || total != length) { // a killed A ends the pipe too
        throw_pipe_error("ReadFile", error);
    }
    // Waits until A has read everything. The write of 0 bytes fails if A has died meanwhile.
    if (!FlushFileBuffers(write_end) || !WriteFile(write_end, "", 0, &written, nullptr)) {
        throw_pipe_error("FlushFileBuffers", GetLastError());
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    const std::wstring read_name = ipc::object_name(a_to_b_name, suffix);
    const std::wstring write_name = ipc::object_name(b_to_a_name, suffix);
    const auto read_end = ipc::connect_to_pipe(read_name, GENERIC_READ, 0, limit.ms);
    const auto write_end = ipc::connect_to_pipe(write_name, GENERIC_WRITE, 0, limit.ms);
    ipc::print_line("B: both pipes are open");
    const stream_length length = read_length(read_end.get());
    return_stream(read_end.get(), write_end.get(), length);
    ipc::print_line("B: A has closed its side, and all {} bytes are returned", length);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
