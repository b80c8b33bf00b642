#pragma once

// What the texts and pictures of the tests' reports share.

#include <array>
#include <charconv>
#include <string>
#include <string_view>

namespace ipc::test {

// Returns the number with this many digits after the point. Does not depend on the system's language.
inline std::string fixed(double value, int digits) {
    std::array<char, 512> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                   std::chars_format::fixed, digits);
    return {text.data(), end.ptr};
}

// Returns the text as it stands in an SVG file, between tags or in quotation marks.
inline std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
        case '&': result += "&amp;"; break;
        case '<': result += "&lt;"; break;
        case '>': result += "&gt;"; break;
        case '"': result += "&quot;"; break;
        default: result += c;
        }
    }
    return result;
}

} // namespace ipc::test
