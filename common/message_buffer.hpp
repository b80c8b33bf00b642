#pragma once

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace ipc {

// Holds one message of up to max_bytes bytes, which may need several reads. It starts with 4 KiB
// and grows when a message does not fit:
//
//     ReadFile(pipe, buffer.free_space(), buffer.free_bytes(), ...); // when the read has ended:
//     buffer.add(bytes);
//     if (error == ERROR_MORE_DATA && buffer.grow()) { ... } // read the rest of the message
//
// The pointers that it returns are valid until the next grow() or clear().
class message_buffer {
public:
    explicit message_buffer(DWORD max_bytes) : max_bytes_(max_bytes) {}

    char* free_space() { return memory_.data() + used_; }
    DWORD free_bytes() const { return static_cast<DWORD>(memory_.size()) - used_; }
    void add(DWORD bytes) { used_ += bytes; } // after a read has put them into the free space

    // Makes room for the rest of a message that has filled the free space. Returns false if the
    // message is longer than the limit. Throws std::bad_alloc.
    bool grow() {
        if (used_ >= max_bytes_) {
            return false;
        }
        memory_.resize(std::min<std::size_t>(memory_.size() * 2, max_bytes_));
        return true;
    }

    std::span<char> message() { return {memory_.data(), used_}; }

    // Forgets the message. A buffer of up to 64 KiB stays for the next message; a larger one is
    // freed, so that an idle connection does not hold the memory of its longest message.
    void clear() {
        used_ = 0;
        if (memory_.size() > kept_bytes) {
            memory_ = first_memory();
        }
    }

private:
    static constexpr std::size_t kept_bytes = 64 * 1024;

    std::vector<char> first_memory() const {
        return std::vector<char>(std::min<std::size_t>(4 * 1024, max_bytes_));
    }

    DWORD max_bytes_;
    DWORD used_ = 0;
    std::vector<char> memory_ = first_memory(); // initialized after max_bytes_
};

} // namespace ipc
