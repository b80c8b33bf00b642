#include "common/error.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iterator>

namespace ipc {
namespace {

struct named_code {
    DWORD code;
    const char* name;
};

// clang-format off
#define NAMED(code) {static_cast<DWORD>(code), #code}
constexpr named_code known_codes[] = {
    NAMED(ERROR_FILE_NOT_FOUND), NAMED(ERROR_PATH_NOT_FOUND), NAMED(ERROR_ACCESS_DENIED),
    NAMED(ERROR_INVALID_HANDLE), NAMED(ERROR_NOT_ENOUGH_MEMORY), NAMED(ERROR_INVALID_DATA),
    NAMED(ERROR_SHARING_VIOLATION), NAMED(ERROR_HANDLE_EOF), NAMED(ERROR_NOT_SUPPORTED),
    NAMED(ERROR_FILE_EXISTS), NAMED(ERROR_INVALID_PARAMETER), NAMED(ERROR_BROKEN_PIPE),
    NAMED(ERROR_DISK_FULL), NAMED(ERROR_SEM_TIMEOUT), NAMED(ERROR_INSUFFICIENT_BUFFER),
    NAMED(ERROR_INVALID_NAME), NAMED(ERROR_ALREADY_EXISTS), NAMED(ERROR_BAD_EXE_FORMAT),
    NAMED(ERROR_FILENAME_EXCED_RANGE), NAMED(ERROR_BAD_PIPE), NAMED(ERROR_PIPE_BUSY),
    NAMED(ERROR_NO_DATA), NAMED(ERROR_PIPE_NOT_CONNECTED), NAMED(ERROR_MORE_DATA),
    NAMED(WAIT_TIMEOUT), NAMED(ERROR_DIRECTORY), NAMED(ERROR_NOT_OWNER),
    NAMED(ERROR_TOO_MANY_POSTS), NAMED(ERROR_INVALID_ADDRESS), NAMED(ERROR_PIPE_CONNECTED),
    NAMED(ERROR_PIPE_LISTENING), NAMED(ERROR_ABANDONED_WAIT_0), NAMED(ERROR_OPERATION_ABORTED),
    NAMED(ERROR_IO_INCOMPLETE), NAMED(ERROR_IO_PENDING), NAMED(ERROR_NOACCESS),
    NAMED(ERROR_NOT_FOUND), NAMED(ERROR_NO_SYSTEM_RESOURCES), NAMED(ERROR_TIMEOUT),
    NAMED(ERROR_NOT_ENOUGH_QUOTA), NAMED(ERROR_BAD_PATHNAME), NAMED(ERROR_FILE_TOO_LARGE),
    NAMED(ERROR_BAD_IMPERSONATION_LEVEL), NAMED(ERROR_CANT_OPEN_ANONYMOUS),
    NAMED(ERROR_CANNOT_IMPERSONATE), NAMED(ERROR_CANT_ACCESS_FILE), NAMED(WSAEACCES), NAMED(WSAEINVAL),
    NAMED(WSAEWOULDBLOCK), NAMED(WSAEADDRINUSE), NAMED(WSAENETDOWN), NAMED(WSAECONNREFUSED), NAMED(WSAECONNRESET),
    NAMED(STATUS_ACCESS_VIOLATION), NAMED(STATUS_ILLEGAL_INSTRUCTION), NAMED(STATUS_STACK_OVERFLOW),
    NAMED(STATUS_INTEGER_DIVIDE_BY_ZERO), NAMED(STATUS_BREAKPOINT), NAMED(STATUS_CONTROL_C_EXIT),
    {0xC0000135, "STATUS_DLL_NOT_FOUND"}, {0xC0000139, "STATUS_ENTRYPOINT_NOT_FOUND"},
    {0xC0000374, "STATUS_HEAP_CORRUPTION"}, {0xC0000409, "STATUS_STACK_BUFFER_OVERRUN"},
};
#undef NAMED
// clang-format on

// Returns an empty text for a code that is not in the table.
std::string name_of(DWORD code) {
    const auto known = std::ranges::find(known_codes, code, &named_code::code);
    return known == std::end(known_codes) ? "" : known->name;
}

std::string system_text(DWORD code) {
    wchar_t text[512] = {};
    const DWORD length =
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                           FORMAT_MESSAGE_MAX_WIDTH_MASK, // no line breaks
                       nullptr, code, 0, text, static_cast<DWORD>(std::size(text)), nullptr);
    std::string result = to_utf8({text, length});
    while (!result.empty() && result.back() == ' ') {
        result.pop_back();
    }
    return result;
}

} // namespace

win32_error::win32_error(const char* call, DWORD code)
    : std::runtime_error(std::string(call) + " failed: " + error_text(code)), code_(code) {}

void throw_last_error(const char* call) {
    throw_error(call, GetLastError());
}

void throw_error(const char* call, DWORD code) {
    throw win32_error(call, code);
}

std::string error_text(DWORD code) {
    const std::string number = std::to_string(code);
    const std::string name = name_of(code);
    const std::string text = system_text(code);
    return (name.empty() ? "error " + number : name + " (" + number + ")") +
           (text.empty() ? "" : ": " + text);
}

std::string exit_code_text(DWORD exit_code) {
    if (exit_code < 0x80000000) {
        return std::to_string(exit_code);
    }
    char hex[16] = {};
    std::snprintf(hex, sizeof hex, "0x%08lX", exit_code);
    const std::string name = name_of(exit_code);
    return name.empty() ? hex : hex + (" (" + name + ")");
}

int report_exception(const char* role) noexcept {
    try {
        try {
            throw;
        } catch (const usage_error& error) {
            print_error_line("{}: {}", role, error.what());
            return 2;
        } catch (const std::exception& error) {
            print_error_line("{}: {}", role, error.what());
        }
    } catch (...) {
        // Standard error cannot be written either, so the exit code has to be enough.
    }
    return 1;
}

} // namespace ipc
