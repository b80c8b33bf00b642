#pragma once

#include <windows.h>

#include <stdexcept>
#include <string>

namespace ipc {

// A Win32 call has failed. what() reads: "CreateFileW failed: ERROR_FILE_NOT_FOUND (2): <text>".
class win32_error : public std::runtime_error {
public:
    win32_error(const char* call, DWORD code);
    DWORD code() const noexcept { return code_; }

private:
    DWORD code_;
};

// The user started the program with wrong arguments.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Throws win32_error with GetLastError(). Make it the very next statement after the failed call:
// any call in between can replace the code.
[[noreturn]] void throw_last_error(const char* call);

// Throws win32_error with this code, for calls that return their error code or deliver it later.
[[noreturn]] void throw_error(const char* call, DWORD code);

// Returns "ERROR_BROKEN_PIPE (109): <system text>", in UTF-8, or "error 12345: <system text>" for a
// code whose name this function does not know. The system text is in the user's language.
// Names and numbers: https://learn.microsoft.com/windows/win32/debug/system-error-codes
std::string error_text(DWORD code);

// Returns "42", or for a crash "0xC0000005 (STATUS_ACCESS_VIOLATION)": when an unhandled exception
// ends a process, the exception's NTSTATUS code is the exit code.
std::string exit_code_text(DWORD exit_code);

// For the catch (...) of wmain: prints the current exception on standard error as one line,
// "A: <what>", and returns the exit code: 2 for usage_error, 1 for any other exception.
int report_exception(const char* role) noexcept;

} // namespace ipc
