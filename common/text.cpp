#include "common/text.hpp"

#include "common/error.hpp"

#include <algorithm>
#include <cstddef>

namespace ipc {
namespace {

constexpr std::size_t longest_line = 4096;

bool continues_utf8(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

} // namespace

std::string to_utf8(std::wstring_view text) {
    // For an empty text the call returns 0, as it does for a failure. Both give an empty result.
    const int length = static_cast<int>(text.size());
    std::string result(text.size() * 3, '\0'); // no UTF-16 unit needs more than 3 bytes
    const int used = WideCharToMultiByte(CP_UTF8, 0, text.data(), length, result.data(),
                                         static_cast<int>(result.size()), nullptr, nullptr);
    result.resize(static_cast<std::size_t>(used));
    return result;
}

std::wstring to_utf16(std::string_view text) {
    const int length = static_cast<int>(text.size());
    std::wstring result(text.size(), L'\0');
    const int used = MultiByteToWideChar(CP_UTF8, 0, text.data(), length, result.data(), length);
    result.resize(static_cast<std::size_t>(used));
    return result;
}

void write_line(DWORD standard_handle, std::string line) {
    // Not kept between calls, because SetStdHandle can change it.
    HANDLE output = GetStdHandle(standard_handle);
    if (output == nullptr || output == INVALID_HANDLE_VALUE) {
        return;
    }
    line += '\n';
    DWORD written = 0;
    DWORD mode = 0;
    if (GetConsoleMode(output, &mode)) {
        const std::wstring text = to_utf16(line);
        const DWORD length = static_cast<DWORD>(text.size());
        if (!WriteConsoleW(output, text.data(), length, &written, nullptr)) {
            throw_last_error("WriteConsoleW");
        }
        return;
    }
    if (!WriteFile(output, line.data(), static_cast<DWORD>(line.size()), &written, nullptr)) {
        throw_last_error("WriteFile");
    }
}

std::string fill(std::string_view format, std::initializer_list<std::string> values) {
    std::string result;
    for (const std::string& value : values) {
        const std::size_t hole = format.find("{}");
        if (hole == std::string_view::npos) {
            break;
        }
        result.append(format.substr(0, hole)).append(value);
        format.remove_prefix(hole + 2);
    }
    return result.append(format);
}

void line_splitter::write(std::string_view bytes) {
    for (const char byte : bytes) {
        if (byte == '\n') {
            show_line();
            continue;
        }
        // A long line is cut between two characters. Bytes that are not UTF-8 are cut anywhere.
        if (line_.size() >= longest_line + 3 ||
            (line_.size() >= longest_line && !continues_utf8(byte))) {
            show_line();
        }
        line_ += byte;
    }
}

void line_splitter::finish() {
    if (!line_.empty()) {
        show_line();
    }
}

void line_splitter::show_line() {
    if (!line_.empty() && line_.back() == '\r') {
        line_.pop_back();
    }
    const auto is_control = [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7F; };
    std::ranges::replace_if(line_, is_control, '?'); // or they could move the cursor, or worse
    show_(line_);
    line_.clear();
}

} // namespace ipc
