#pragma once

#include <windows.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// What the server and its clients agree on. A connection carries bytes and knows no messages. So each
// message begins with its length, a number of 4 bytes in network byte order (the highest byte first).
// Then come 0 to max_message_bytes bytes of any value.
//
// The first message of a client is the nonce from the server's socket file. It has no reply. Each
// other message is a request, and its reply has the same length. A client that sends anything else
// first, or a longer message, is disconnected.
namespace protocol {

constexpr auto socket_file_name = L"ipc_demos.18.requests";
constexpr std::uint32_t max_message_bytes = 1024 * 1024;
constexpr std::uint32_t nonce_bytes = 16;
constexpr std::size_t length_bytes = 4;

// Turns the request into its reply: the same bytes, with ASCII letters in upper case.
inline void make_reply(std::span<char> message) {
    std::ranges::transform(message, message.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

// Returns the length and the message in one piece, so that one call can send both.
inline std::string with_length(std::string_view message) {
    std::string bytes;
    for (const int shift : {24, 16, 8, 0}) {
        bytes += static_cast<char>(message.size() >> shift & 0xff);
    }
    return bytes.append(message);
}

// ANCHOR: reader
// Collects bytes as they arrive and finds the messages in them. One receive can bring a part of a
// message, or several messages.
class message_reader {
public:
    // The place for the next bytes; after the receive, add() says how many have come. The memory grows
    // with the bytes that are there, not with the length that a client claims.
    std::span<char> free_space() {
        if (used_ == memory_.size()) {
            memory_.resize(std::min<std::size_t>(2 * used_, length_bytes + max_message_bytes));
        }
        return std::span(memory_).subspan(used_);
    }
    void add(std::size_t bytes) { used_ += bytes; }

    // Whether the message is longer than this: true as soon as its length is there.
    bool is_longer_than(std::uint32_t limit) const {
        return used_ >= length_bytes && length() > limit;
    }
    bool is_complete() const { return used_ >= length_bytes && used_ - length_bytes >= length(); }
    // ANCHOR_END: reader

    bool is_empty() const { return used_ == 0; }

    // Call these only when the message is complete.
    std::span<char> message() { return with_length().subspan(length_bytes); }
    std::span<char> with_length() { return std::span(memory_).first(length_bytes + length()); }

    // Removes the message. Bytes of the next one move to the front. Much memory is freed, so that an
    // idle client does not hold the memory of its longest message.
    void remove_message() {
        const std::size_t end = with_length().size();
        std::copy(memory_.begin() + static_cast<std::ptrdiff_t>(end),
                  memory_.begin() + static_cast<std::ptrdiff_t>(used_), memory_.begin());
        used_ -= end;
        if (memory_.size() > kept_bytes && used_ <= kept_bytes) {
            memory_.resize(kept_bytes);
            memory_.shrink_to_fit();
        }
    }

private:
    static constexpr std::size_t first_bytes = 4 * 1024;
    static constexpr std::size_t kept_bytes = 64 * 1024;

    std::uint32_t length() const {
        std::uint32_t length = 0;
        for (std::size_t i = 0; i < length_bytes; ++i) {
            length =
                length << 8 | static_cast<unsigned char>(memory_[i]); // unsigned, or 0x80 gets 1s
        }
        return length;
    }

    std::vector<char> memory_ = std::vector<char>(first_bytes);
    std::size_t used_ = 0;
};

} // namespace protocol
