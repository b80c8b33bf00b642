#pragma once

// The messages that B sends: the lines of --in FILE, or a built-in text.

#include "common/file.hpp"

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

// One WriteFile needs the whole message in one buffer, and Windows copies an unread message into
// kernel memory. So B has a limit too. It is higher than A's, to show how A refuses a message.
constexpr std::size_t longest_line_bytes = 32 * 1024 * 1024;

class message_source {
public:
    // The text is used if the path is empty; it must live as long as this object.
    message_source(const std::wstring& path, std::string_view text) : bytes_(path, text) {}

    // Reads the next line, without its line break. Returns false at the end.
    bool read(std::string& message) {
        message.clear();
        while (!rest_.empty() || fill()) {
            const std::size_t length = rest_.find('\n');
            message += rest_.substr(0, length);
            if (message.size() > longest_line_bytes) {
                throw std::runtime_error("a line is longer than " +
                                         std::to_string(longest_line_bytes) + " bytes");
            }
            if (length != std::string_view::npos) {
                rest_.remove_prefix(length + 1);
                return true;
            }
            rest_ = {};
        }
        return !message.empty(); // the last line may have no line break
    }

private:
    bool fill() {
        rest_ = {chunk_.data(), bytes_.read(chunk_)};
        return !rest_.empty();
    }

    ipc::byte_source bytes_;
    std::vector<char> chunk_ = std::vector<char>(64 * 1024);
    std::string_view rest_; // of the chunk
};
