#pragma once

#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ipc {

// The bytes that a demo sends: those of --in FILE, or a built-in text. While the file is open,
// other programs can read it, but not write to it. All functions throw win32_error.
class byte_source {
public:
    // With an empty path the text is used. It must live as long as this object.
    byte_source(const std::wstring& path, std::string_view text);

    // Returns the number of bytes of the file or the text. A file must be on a disk.
    std::uint64_t length() const;

    // Copies the next bytes into the buffer and returns how many: as many as fit, fewer when the
    // bytes end, and then 0.
    DWORD read(std::span<char> buffer);

private:
    unique_handle file_;
    std::string_view text_;
};

// The place for the bytes that a demo receives: --out FILE gets them unchanged, the screen gets
// lines. All functions throw win32_error.
class byte_sink {
public:
    // With an empty path the bytes go to the screen, each line with this prefix, such as "A: | ".
    // The content of an existing file is lost. Other programs can read the file, but not write to
    // it.
    byte_sink(const std::wstring& path, std::string prefix);
    ~byte_sink() = default;
    byte_sink(const byte_sink&) = delete;
    byte_sink& operator=(const byte_sink&) = delete;

    void write(std::string_view bytes);
    void finish(); // call it at the end: it shows a last line that has no line break

private:
    unique_handle file_;
    std::string prefix_;
    line_splitter lines_{[this](std::string_view line) { print_line("{}{}", prefix_, line); }};
};

} // namespace ipc
