#pragma once

#include <windows.h>

#include <stdexcept>
#include <string>

namespace ipc {

// A Win32 call that failed. what() reads: "CreateFileW failed: ERROR_FILE_NOT_FOUND (2): <text>".
class win32_error : public std::runtime_error {
public:
    win32_error(const char* call, DWORD code);
    DWORD code() const noexcept { return code_; }

private:
    DWORD code_;
};

// The program was called in a way it does not understand.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Throws win32_error with GetLastError(). Must be the very next call after the one that failed:
// anything in between, even the closing of a handle, can replace the code.
[[noreturn]] void throw_last_error(const char* call);

// The same for calls that return their error code or deliver it later.
[[noreturn]] void throw_error(const char* call, DWORD code);

// "ERROR_BROKEN_PIPE (109): <system text>". Codes this collection does not name read "error 12345".
// Names and numbers: https://learn.microsoft.com/windows/win32/debug/system-error-codes
std::string error_text(DWORD code);

// "42", or for a crash "0xC0000005 (STATUS_ACCESS_VIOLATION)": a process that dies of an unhandled
// exception ends with the exception's NTSTATUS code as its exit code.
std::string exit_code_text(DWORD exit_code);

// For the catch (...) of wmain: prints the current exception as one line "A: <what>" on standard
// error and returns the exit code: 2 for wrong usage, 1 for anything else.
int report_exception(const char* role) noexcept;

} // namespace ipc
