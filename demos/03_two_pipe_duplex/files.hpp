#pragma once

// Where A's bytes come from and go to: files, or a built-in text and the screen. No lesson here.

#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

inline ipc::unique_handle open_file(const std::wstring& path, DWORD access, DWORD disposition) {
    // Others may read the file but not write: --in and --out of the same file is refused.
    ipc::unique_handle file(CreateFileW(path.c_str(), access, FILE_SHARE_READ, nullptr, disposition,
                                        FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!file) {
        ipc::throw_last_error("CreateFileW");
    }
    return file;
}

class byte_source {
public:
    // The file, or the text if there is no path.
    byte_source(const std::wstring& path, std::string_view text) : text_(text) {
        LARGE_INTEGER length{};
        length.QuadPart = static_cast<LONGLONG>(text.size());
        if (!path.empty()) {
            file_ = open_file(path, GENERIC_READ, OPEN_EXISTING);
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
            file_ = open_file(path, GENERIC_WRITE, CREATE_ALWAYS);
        }
    }

    void write(std::string_view bytes) {
        DWORD written = 0;
        if (!file_) {
            lines_.write(bytes);
        } else if (!WriteFile(file_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written,
                              nullptr)) {
            ipc::throw_last_error("WriteFile");
        }
    }

    void finish() { lines_.finish(); }

private:
    ipc::unique_handle file_;
    ipc::line_splitter lines_{[](std::string_view line) { ipc::print_line("A: | {}", line); }};
};
