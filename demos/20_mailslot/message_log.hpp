#pragma once

// What A does with a message: it is judged, and shown or dropped. None of this is special to mailslots: any
// protocol on datagrams needs it.

#include "common/text.hpp"
#include "protocol.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>

constexpr std::size_t max_writers = 1'000; // whose last numbers A remembers

// Shows the messages, and keeps the last number of each writer. It drops what is not of the protocol, and what
// comes again or too late.
class message_log {
public:
    // Shows a message and returns true, or says why it is dropped and returns false.
    bool show(std::string_view message) {
        protocol::header header{};
        if (message.size() < sizeof header || message.size() > protocol::max_message_bytes) {
            return drop("its length is wrong");
        }
        std::memcpy(&header, message.data(), sizeof header);
        if (header.magic != protocol::magic || header.number == 0) {
            return drop("it is not of this protocol");
        }
        // ANCHOR: judge
        if (last_numbers_.size() >= max_writers && !last_numbers_.contains(header.writer)) {
            last_numbers_.clear(); // or strangers could fill the memory
        }
        std::uint32_t& last_number = last_numbers_[header.writer]; // 0 for a new writer
        if (header.number <= last_number) {
            return drop("it comes again, or too late");
        }
        if (header.number - last_number > 1) {
            ipc::print_line("A: messages that are missing: {}", header.number - last_number - 1);
        }
        last_number = header.number;
        // ANCHOR_END: judge
        std::wstring text = ipc::to_utf16(message.substr(sizeof header));
        std::ranges::replace_if(
            text, [](wchar_t c) { return c < L' ' || (c >= L'\x7f' && c < L'\xa0'); }, L'?');
        ipc::print_line("A: message {}: {}", header.number, text);
        return true;
    }

private:
    static bool drop(std::string_view reason) {
        ipc::print_line("A: a message is dropped: {}", reason);
        return false;
    }

    std::unordered_map<std::uint64_t, std::uint32_t> last_numbers_; // by writer
};
