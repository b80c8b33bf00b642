#pragma once

#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ipc {

// The bytes that a demo sends: those of --in FILE, or a built-in text. Other programs may read the
// file meanwhile, but not write to it. All functions throw win32_error.
class byte_source {
public:
    // The text is used if the path is empty; it must live as long as this object.
    byte_source(const std::wstring& path, std::string_view text);

    // How many bytes read() gives in all, for a file on a disk.
    std::uint64_t length() const;

    // Fills the buffer and returns how many bytes it has put there; 0 only at the end.
    DWORD read(std::span<char> buffer);

private:
    unique_handle file_;
    std::string_view text_;
};

// Where the bytes go that a demo receives: to --out FILE as they are, or to the screen as lines.
class byte_sink {
public:
    // An empty path means the screen; prefix stands in front of each line there: "A: | ". A file
    // that exists is emptied. Throws win32_error, as write() and finish() do.
    byte_sink(const std::wstring& path, std::string prefix);
    ~byte_sink() = default;
    byte_sink(const byte_sink&) = delete;
    byte_sink& operator=(const byte_sink&) = delete;

    void write(std::string_view bytes); // to a file all of them, or it throws
    void finish();                      // shows a last line that has no line break

private:
    unique_handle file_;
    std::string prefix_;
    line_splitter lines_{[this](std::string_view line) { print_line("{}{}", prefix_, line); }};
};

// The files of --in and --out. The caller owns the handle. All of them throw win32_error.
unique_handle open_input(const std::wstring& path);
unique_handle create_output(const std::wstring& path); // empties a file that exists
void write_file(HANDLE file, std::string_view bytes);

} // namespace ipc
