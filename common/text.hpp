#pragma once

#include <windows.h>

#include <concepts>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace ipc {

// Convert between the UTF-16 of Windows and the UTF-8 that these programs print. Invalid input
// (half of a surrogate pair, a byte that is not UTF-8) becomes U+FFFD.
std::string to_utf8(std::wstring_view text);
std::wstring to_utf16(std::string_view text);

// Writes a line and a line break in one call, so that the lines of several programs do not mix. A
// console gets text, a file or a pipe gets UTF-8. standard_handle: STD_OUTPUT_HANDLE or
// STD_ERROR_HANDLE; a program that has no such handle writes nothing. Throws win32_error.
void write_line(DWORD standard_handle, std::string line);

// Returns the format with each {} replaced by the next value.
std::string fill(std::string_view format, std::initializer_list<std::string> values);

inline std::string to_text(std::string_view value) {
    return std::string(value);
}
inline std::string to_text(std::wstring_view value) {
    return to_utf8(value);
}
std::string to_text(std::integral auto value) {
    return std::to_string(value);
}

// print_line("A: {} bytes from {}", 12, L"file.txt") prints to standard output, print_error_line to
// standard error. Values: numbers, narrow (UTF-8) and wide texts. Both throw win32_error.
template <typename... Values> void print_line(std::string_view format, const Values&... values) {
    write_line(STD_OUTPUT_HANDLE, fill(format, {to_text(values)...}));
}
template <typename... Values>
void print_error_line(std::string_view format, const Values&... values) {
    write_line(STD_ERROR_HANDLE, fill(format, {to_text(values)...}));
}

// Splits arriving bytes into lines that are safe to show, and calls show for each. The line break
// is removed, "?" replaces each control character, and a line over about 4 KiB comes in pieces.
class line_splitter {
public:
    explicit line_splitter(std::function<void(std::string_view)> show) : show_(std::move(show)) {}
    void write(std::string_view bytes);
    void finish(); // call it at the end: it shows a last line that has no line break

private:
    void show_line();

    std::function<void(std::string_view)> show_;
    std::string line_;
};

} // namespace ipc
