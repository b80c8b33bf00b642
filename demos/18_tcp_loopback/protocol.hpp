#pragma once

// What the server and its clients agree on. Pairs 18 and 19 have the same file.
//
// A connection carries bytes and knows no messages. So each message begins with its length, a number of
// 4 bytes in network byte order (the highest byte first). Then come 0 to max_message_bytes bytes of any
// value. Each message of a client is a request, and its reply has the same length. (With TCP, the
// first message of a client is a nonce, which has no reply.) The server disconnects a client that sends
// a longer message.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace protocol {

constexpr std::uint32_t max_message_bytes = 1024 * 1024;
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

// Collects bytes as they arrive and finds the messages in them. One receive can bring a part of a
// message, or several messages.
class message_reader {
public:
    // The place for the next bytes; after the receive, add() says how many have come. The memory grows
    // with the bytes that are there, not with the length that a client claims.
    std::span<char> free_space() {
        if (begin_ != 0) { // here, so that many short messages cost one copy
            std::ranges::copy(unread(), memory_.begin());
            end_ -= std::exchange(begin_, 0);
        }
        if (memory_.size() > kept_bytes && end_ <= kept_bytes) {
            memory_.resize(kept_bytes);
            memory_.shrink_to_fit(); // an idle client does not hold the memory of a long message
        }
        if (end_ == memory_.size()) {
            memory_.resize(std::min<std::size_t>(2 * end_, length_bytes + max_message_bytes));
        }
        return std::span(memory_).subspan(end_);
    }
    void add(std::size_t bytes) { end_ += bytes; }

    // Whether the message is longer than this: true as soon as its length is there.
    bool is_longer_than(std::uint32_t limit) const {
        return unread().size() >= length_bytes && length() > limit;
    }
    bool is_complete() const {
        return unread().size() >= length_bytes && unread().size() - length_bytes >= length();
    }

    bool is_empty() const { return unread().empty(); }

    // Call these only when the message is complete.
    std::span<char> message() { return with_length().subspan(length_bytes); }
    std::span<char> with_length() { return {memory_.data() + begin_, length_bytes + length()}; }
    void remove_message() { begin_ += length_bytes + length(); }

private:
    static constexpr std::size_t first_bytes = 4 * 1024;
    static constexpr std::size_t kept_bytes = 64 * 1024;

    std::span<const char> unread() const { return {memory_.data() + begin_, end_ - begin_}; }
    std::uint32_t length() const {
        std::uint32_t value = 0;
        for (const char byte : unread().first(length_bytes)) {
            value = value << 8 | static_cast<unsigned char>(byte); // unsigned, or 0x80 gets 1s
        }
        return value;
    }

    std::vector<char> memory_ = std::vector<char>(first_bytes);
    std::size_t begin_ = 0; // of the first message
    std::size_t end_ = 0;   // of the bytes that have come
};

} // namespace protocol
