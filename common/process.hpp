#pragma once

#include <windows.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ipc {

// Returns one command line that Microsoft's C runtime and CommandLineToArgvW split into exactly
// these arguments, whatever quotes, backslashes and spaces they hold. The first argument is the
// program and must not hold a quote. Other programs can have rules of their own: cmd /c reads % ^ &
// | < > in its own way, and a program may expand * and ?. CreateProcessW needs the text writable.
// The rules: https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments
std::wstring command_line(const std::vector<std::wstring>& arguments);

// Returns the full path of a file in the folder of the running program. By its name alone, Windows
// could start another program of this name from another folder. Throws win32_error.
std::filesystem::path beside_this_program(std::wstring_view file_name);

// Waits until the process has ended and returns its exit code. Throws win32_error, with the code
// WAIT_TIMEOUT after limit_ms milliseconds (INFINITE: no limit). The handle needs SYNCHRONIZE and
// PROCESS_QUERY_LIMITED_INFORMATION access and stays open.
DWORD wait_for_exit(HANDLE process, DWORD limit_ms);

} // namespace ipc
