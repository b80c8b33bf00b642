#pragma once

#include <windows.h>

#include <algorithm>
#include <span>
#include <vector>

namespace ipc {

// Holds one message that may take several reads. It grows for a message that is longer than the free
// space, up to a limit, and an idle connection holds no more than 4 KiB:
//
//     ReadFile(pipe, buffer.free_space(), buffer.free_bytes(), ...); // then, when it has ended:
//     buffer.add(bytes);
//     if (error == ERROR_MORE_DATA && buffer.grow()) { ... } // read the rest of the message
class message_buffer {
public:
    explicit message_buffer(DWORD max_bytes) : max_bytes_(max_bytes) {}

    char* free_space() { return memory_.data() + used_; }
    DWORD free_bytes() const { return static_cast<DWORD>(memory_.size()) - used_; }
    void add(DWORD bytes) { used_ += bytes; }

    // Makes room for more of the same message; false if the message is longer than the limit.
    bool grow() {
        if (used_ >= max_bytes_) {
            return false;
        }
        memory_.resize(std::min<std::size_t>(memory_.size() * 2, max_bytes_));
        return true;
    }

    std::span<char> message() { return {memory_.data(), used_}; }

    // Forgets the message. Memory over 64 KiB is freed; a client of middle-sized messages keeps a
    // buffer into which they fit at once.
    void clear() {
        used_ = 0;
        if (memory_.size() > kept_bytes) {
            memory_ = std::vector<char>(first_bytes);
        }
    }

private:
    static constexpr std::size_t first_bytes = 4 * 1024;
    static constexpr std::size_t kept_bytes = 64 * 1024;

    DWORD max_bytes_;
    DWORD used_ = 0;
    std::vector<char> memory_ = std::vector<char>(first_bytes);
};

} // namespace ipc
