#include "common/process.hpp"

#include "common/error.hpp"

#include <cstddef>

namespace ipc {
namespace {

void append_quoted(std::wstring& line, const std::wstring& argument) {
    if (!argument.empty() && argument.find_first_of(L" \t\n\v\"") == std::wstring::npos) {
        line += argument;
        return;
    }
    line += L'"';
    std::size_t backslashes = 0;
    for (const wchar_t unit : argument) {
        if (unit == L'"') {
            // Doubles the backslashes before the quote and adds one that escapes the quote.
            line.append(backslashes + 1, L'\\');
        }
        backslashes = unit == L'\\' ? backslashes + 1 : 0;
        line += unit;
    }
    line.append(backslashes, L'\\'); // or the last backslash would escape the closing quote
    line += L'"';
}

} // namespace

std::wstring command_line(const std::vector<std::wstring>& arguments) {
    std::wstring line;
    for (const std::wstring& argument : arguments) {
        if (&argument == &arguments.front()) {
            // The program's name has a simpler rule: it can be in quotes, and nothing is escaped.
            line += L'"' + argument + L'"';
        } else {
            line += L' ';
            append_quoted(line, argument);
        }
    }
    return line;
}

std::filesystem::path beside_this_program(std::wstring_view file_name) {
    std::wstring path(32768, L'\0'); // the longest path in Windows, in UTF-16 units
    const DWORD length = GetModuleFileNameW(nullptr, path.data(), static_cast<DWORD>(path.size()));
    if (length == 0 || length == path.size()) {
        throw_last_error("GetModuleFileNameW");
    }
    path.resize(length);
    return std::filesystem::path(path).replace_filename(file_name);
}

DWORD wait_for_exit(HANDLE process, DWORD limit_ms) {
    const DWORD waited = WaitForSingleObject(process, limit_ms);
    if (waited == WAIT_FAILED) {
        throw_last_error("WaitForSingleObject");
    }
    if (waited == WAIT_TIMEOUT) {
        throw_error("the wait for the program's end", WAIT_TIMEOUT);
    }
    DWORD exit_code = 0;
    if (!GetExitCodeProcess(process, &exit_code)) {
        throw_last_error("GetExitCodeProcess");
    }
    return exit_code;
}

} // namespace ipc
