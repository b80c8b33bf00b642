// Demo 03, process B: the client that opens both pipes, each for its one direction.
//
// B reads from one pipe and writes to the other, with the letters a to z in upper case, until A
// closes its side. One thread is enough here: A reads whatever its own writes do, so B's write
// always comes to an end, and B goes back to reading.
//
// Run: processB [--name SUFFIX], and processA beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <algorithm>

namespace {

constexpr auto usage = "processB [--name SUFFIX]\n"
                       "  --name SUFFIX  add .SUFFIX to the names of the pipes";
constexpr auto a_ended_early = "A has ended before everything was sent and returned";
constexpr DWORD connect_limit_ms = 10'000; // for A to create the pipes, and to be free
constexpr DWORD try_again_ms = 50;

ipc::unique_handle open_pipe(const std::wstring& name, DWORD access) {
    const ULONGLONG end = GetTickCount64() + connect_limit_ms;
    for (;;) {
        // ANCHOR: open
        ipc::unique_handle pipe(
            CreateFileW(name.c_str(), access, 0 /* not shared */, nullptr, OPEN_EXISTING,
                        SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        // ANCHOR_END: open
        const DWORD code = GetLastError();
        if (pipe) {
            return pipe;
        }
        if (code != ERROR_FILE_NOT_FOUND && code != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", code);
        }
        if (GetTickCount64() >= end) {
            throw std::runtime_error(
                code == ERROR_PIPE_BUSY
                    ? "another program keeps the server at " + ipc::to_utf8(name) + " busy"
                    : "no server at " + ipc::to_utf8(name) + ": start processA first");
        }
        if (code == ERROR_PIPE_BUSY) {
            WaitNamedPipeW(name.c_str(), try_again_ms); // whatever it says, CreateFileW decides
        } else {
            Sleep(try_again_ms); // nothing that one could wait on announces a new pipe
        }
    }
}

char upper_case(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; // the same in every locale
}

// Returns 0 at the end of the pipe.
DWORD read_some(HANDLE read_end, void* buffer, DWORD most) {
    DWORD count = 0;
    do { // a writer may write 0 bytes, which is not the end
        if (!ReadFile(read_end, buffer, most, &count, nullptr)) {
            if (other_end_is_gone(GetLastError())) {
                return 0;
            }
            ipc::throw_last_error("ReadFile");
        }
    } while (count == 0);
    return count;
}

// Fails as WriteFile and FlushFileBuffers do when A no longer reads.
[[noreturn]] void throw_write_error(const char* call, DWORD code) {
    if (other_end_is_gone(code)) {
        throw std::runtime_error(a_ended_early);
    }
    ipc::throw_error(call, code);
}

stream_length read_length(HANDLE read_end) {
    stream_length length = 0;
    auto* bytes = reinterpret_cast<char*>(&length);
    for (DWORD have = 0; have < sizeof length;) { // a byte pipe may deliver it in pieces
        const DWORD count = read_some(read_end, bytes + have, sizeof length - have);
        if (count == 0) {
            throw std::runtime_error(a_ended_early);
        }
        have += count;
    }
    return length;
}

// Returns the number of bytes, once A has closed its side.
stream_length return_all(HANDLE read_end, HANDLE write_end) {
    std::vector<char> buffer(buffer_bytes);
    stream_length total = 0;
    while (const DWORD count = read_some(read_end, buffer.data(), buffer_bytes)) {
        std::transform(buffer.begin(), buffer.begin() + count, buffer.begin(), upper_case);
        DWORD written = 0;
        if (!WriteFile(write_end, buffer.data(), count, &written, nullptr)) {
            throw_write_error("WriteFile", GetLastError());
        }
        total += count;
    }
    // Waits until A has read it all. If A has died by then, even a write of no bytes fails.
    DWORD none = 0;
    if (!FlushFileBuffers(write_end) || !WriteFile(write_end, "", 0, &none, nullptr)) {
        throw_write_error("FlushFileBuffers", GetLastError());
    }
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring name;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &name}});
    const auto read_end = open_pipe(ipc::object_name(a_to_b_name, name), GENERIC_READ);
    const auto write_end = open_pipe(ipc::object_name(b_to_a_name, name), GENERIC_WRITE);
    ipc::print_line("B: both pipes are open");
    const stream_length length = read_length(read_end.get());
    const stream_length total = return_all(read_end.get(), write_end.get());
    if (total != length) { // without the length A's death would look like its end
        throw std::runtime_error(a_ended_early);
    }
    ipc::print_line("B: A has closed its side, and all {} bytes are returned", total);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
