// Demo 11, process B: a filter, as every shell knows it.
//
// B copies its standard input to its standard output and turns the ASCII letters a to z into A to Z.
// All other bytes stay as they are. It writes while it reads, so its memory does not grow, and it ends
// when its input ends. It knows nothing of A: `type file | processB` works as well.
//
// Run: processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "standard_input.hpp"

#include <windows.h>

#include <string_view>
#include <vector>

namespace {

constexpr auto usage = "processB < input > output";
constexpr DWORD buffer_bytes = 64 * 1024;

void write_all(HANDLE output, std::string_view bytes) {
    while (!bytes.empty()) { // a pipe of Linux (Wine) can take a part
        DWORD written = 0;
        // Fails with ERROR_NO_DATA or ERROR_BROKEN_PIPE when nobody reads the output any more.
        if (!WriteFile(output, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
            ipc::throw_last_error("WriteFile");
        }
        bytes.remove_prefix(written);
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::parse_arguments(argc, argv, usage, {});
    const HANDLE input = GetStdHandle(STD_INPUT_HANDLE); // both borrowed: never closed
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    std::vector<char> buffer(buffer_bytes);
    while (const DWORD size = read_some(input, buffer)) {
        for (DWORD i = 0; i < size; ++i) {
            if (buffer[i] >= 'a' && buffer[i] <= 'z') { // not toupper: it depends on the locale
                buffer[i] = static_cast<char>(buffer[i] - 'a' + 'A');
            }
        }
        write_all(output, std::string_view(buffer.data(), size));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
