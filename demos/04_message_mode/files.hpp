#pragma once

// Where B's messages come from, the lines of a file or of a built-in text, and where A keeps them.

#include "common/text.hpp"
#include "protocol.hpp"

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace message_mode {

// One write takes one buffer, so B holds a line in memory. A refuses far shorter ones; this limit
// is B's own.
constexpr std::uint64_t longest_line_bytes = 64 * mebibyte;

inline std::unique_ptr<std::istream> open_messages(const std::wstring& path) {
    if (path.empty()) {
        return std::make_unique<std::istringstream>("hello\n\n" + std::string(buffer_bytes, 'x') +
                                                    '\n' + std::string(10'000, 'y') + '\n' +
                                                    std::string(mebibyte, 'z') + '\n');
    }
    auto file = std::make_unique<std::ifstream>(std::filesystem::path(path), std::ios::binary);
    if (!*file) {
        throw std::runtime_error("cannot read " + ipc::to_utf8(path));
    }
    return file;
}

// Goes through the lines once, for their number and length. Not with std::getline, which would take
// a line of any length into memory.
inline announcement survey(std::istream& lines) {
    announcement all{version, 0, 0, 0};
    std::vector<char> chunk(pipe_bytes);
    std::uint64_t line_bytes = 0;
    bool in_line = false; // a last line without a line break counts, if there is anything in it
    do {
        lines.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
        for (std::streamsize i = 0; i < lines.gcount(); ++i) {
            in_line = chunk[static_cast<std::size_t>(i)] != '\n';
            all.messages += in_line ? 0 : 1;
            all.bytes += in_line ? 1 : 0;
            line_bytes = in_line ? line_bytes + 1 : 0;
            if (line_bytes > longest_line_bytes) {
                throw std::runtime_error("line " + std::to_string(all.messages + 1) +
                                         " is longer than " + std::to_string(longest_line_bytes) +
                                         " bytes");
            }
        }
    } while (lines);
    if (lines.bad()) {
        throw std::runtime_error("the input file cannot be read to its end");
    }
    all.messages += in_line ? 1 : 0;
    lines.clear();
    lines.seekg(0);
    return all;
}

inline std::ofstream open_output(const std::wstring& path) {
    std::ofstream file;
    if (!path.empty()) {
        file.open(std::filesystem::path(path), std::ios::binary);
        if (!file) {
            throw std::runtime_error("cannot write " + ipc::to_utf8(path));
        }
    }
    return file;
}

inline void close_output(std::ofstream& file) {
    if (file.is_open()) {
        file.close();
        if (!file) {
            throw std::runtime_error("the output file is not complete");
        }
    }
}

} // namespace message_mode
