#pragma once

// Where A's bytes come from and go to: files, or a built-in text and the screen. No lesson here.

#include "common/error.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

class byte_source {
public:
    // The file, or the text if there is no path.
    byte_source(const std::wstring& path, std::string_view text) : text_(text) {
        LARGE_INTEGER length{};
        length.QuadPart = static_cast<LONGLONG>(text.size());
        if (!path.empty()) {
            file_ = ipc::open_input(path);
            if (!GetFileSizeEx(file_.get(), &length)) {
                ipc::throw_last_error("GetFileSizeEx");
            }
        }
        length_ = static_cast<std::uint64_t>(length.QuadPart);
        left_ = length_;
    }

    std::uint64_t length() const { return length_; }

    // Returns how many bytes it has put into the buffer: 0 when all of them have been read.
    DWORD read(std::vector<char>& buffer) {
        auto count = static_cast<DWORD>(std::min<std::uint64_t>(left_, buffer.size()));
        if (!file_) {
            text_.copy(buffer.data(), count, text_.size() - static_cast<std::size_t>(left_));
        } else if (!ReadFile(file_.get(), buffer.data(), count, &count, nullptr)) {
            ipc::throw_last_error("ReadFile");
        }
        if (count == 0 && left_ > 0) {
            throw std::runtime_error("the input has become shorter while it was read");
        }
        left_ -= count;
        return count;
    }

private:
    ipc::unique_handle file_;
    std::string_view text_;
    std::uint64_t length_ = 0;
    std::uint64_t left_ = 0;
};

class byte_sink {
public:
    // The file, or the screen if there is no path.
    explicit byte_sink(const std::wstring& path) {
        if (!path.empty()) {
            file_ = ipc::create_output(path);
        }
    }

    void write(std::string_view bytes) {
        file_ ? ipc::write_file(file_.get(), bytes) : lines_.write(bytes);
    }

    void finish() { lines_.finish(); }

private:
    ipc::unique_handle file_;
    ipc::line_splitter lines_{[](std::string_view line) { ipc::print_line("A: | {}", line); }};
};
