#pragma once

#include <windows.h>

#include <concepts>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

namespace ipc {

// Between Windows' UTF-16 and the UTF-8 that these programs print. What cannot be converted
// (a lone surrogate, a byte that is not UTF-8) becomes U+FFFD.
std::string to_utf8(std::wstring_view text);
std::wstring to_utf16(std::string_view text);

// Writes the line and a line break in one call, so that lines of several programs do not mix.
// To a console as text, to a file or pipe as UTF-8. Throws win32_error; a program that was started
// without that standard handle writes nothing.
void write_line(DWORD standard_handle, std::string line);

// The format with each {} replaced by the next value.
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

// print_line("A: {} bytes from {}", 12, L"file.txt"), on standard output or standard error.
template <typename... Values> void print_line(std::string_view format, const Values&... values) {
    write_line(STD_OUTPUT_HANDLE, fill(format, {to_text(values)...}));
}
template <typename... Values>
void print_error_line(std::string_view format, const Values&... values) {
    write_line(STD_ERROR_HANDLE, fill(format, {to_text(values)...}));
}

// Cuts bytes as they arrive into lines that are safe to show: without their line break, control
// characters as "?", and never longer than 4 KiB (a longer line is shown in pieces).
class line_splitter {
public:
    explicit line_splitter(std::function<void(std::string_view)> show) : show_(std::move(show)) {}
    void write(std::string_view bytes);
    void finish(); // shows what came after the last line break

private:
    void show_line();

    std::function<void(std::string_view)> show_;
    std::string line_;
};

} // namespace ipc
