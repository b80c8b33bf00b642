#pragma once

#include <windows.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ipc {

// One command line that the C runtime (and CommandLineToArgvW) takes apart into exactly these
// arguments, whatever quotes, backslashes and spaces they hold. CreateProcessW needs it writable.
// The rules: https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments
std::wstring command_line(const std::vector<std::wstring>& arguments);

// The full path of a file in the folder of the running program: the partner is started from there
// and not looked up on PATH. Throws win32_error.
std::filesystem::path beside_this_program(std::wstring_view file_name);

// Waits until the process has ended and returns its exit code. Throws win32_error WAIT_TIMEOUT
// after limit_ms milliseconds. The handle needs SYNCHRONIZE and PROCESS_QUERY_LIMITED_INFORMATION.
DWORD wait_for_exit(HANDLE process, DWORD limit_ms);

} // namespace ipc
