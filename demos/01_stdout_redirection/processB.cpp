// Demo 01, process B: an ordinary console program.
//
// B writes lines to its standard output and standard error and ends with exit code 42. It writes in
// the same way to a console, a file or a pipe, and asks which it has only to print it.
// With --bytes N it writes N bytes of a repeatable pattern to its standard output instead.
//
// Run: processB [--bytes N]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr auto usage = "processB [--bytes N]\n"
                       "  --bytes N  write N bytes of a repeatable pattern and end with 0";
constexpr std::uint64_t chunk_bytes = 64 * 1024;
constexpr int exit_code = 42;

const char* kind_of(HANDLE output) {
    switch (GetFileType(output)) {
    case FILE_TYPE_PIPE: return "a pipe";
    case FILE_TYPE_CHAR: return "a console";
    case FILE_TYPE_DISK: return "a file";
    default: return "nothing";
    }
}

// Byte i depends on the lower four bytes of i, so that a test notices a lost or repeated piece.
char pattern_byte(std::uint64_t i) {
    return static_cast<char>(i ^ (i >> 8) ^ (i >> 16) ^ (i >> 24));
}

void write_pattern(HANDLE output, std::uint64_t total) {
    std::vector<char> chunk(chunk_bytes);
    for (std::uint64_t sent = 0; sent < total;) {
        const std::uint64_t size = std::min(chunk_bytes, total - sent);
        for (std::uint64_t i = 0; i < size; ++i) {
            chunk[i] = pattern_byte(sent + i);
        }
        DWORD written = 0;
        // Fails with ERROR_NO_DATA or ERROR_BROKEN_PIPE when every read end is closed. The error
        // message may be lost, because standard error can be the same pipe; the exit code is not.
        if (!WriteFile(output, chunk.data(), static_cast<DWORD>(size), &written, nullptr)) {
            ipc::throw_last_error("WriteFile");
        }
        sent += written;
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t bytes = 0;
    ipc::parse_arguments(argc, argv, usage, {{L"--bytes", &bytes}});
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE); // borrowed: never closed
    if (argc > 1) {
        write_pattern(output, bytes);
        return 0;
    }
    ipc::print_line("B: my standard output is {}", kind_of(output));
    ipc::print_error_line("B: a line on standard error");
    ipc::print_line("B: Grüße, 你好: what I write are bytes, here UTF-8");
    ipc::print_line("B: ending with exit code {}", exit_code);
    return exit_code;
} catch (...) {
    return ipc::report_exception("B");
}
