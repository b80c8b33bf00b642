#pragma once

// What both processes of demo 04 agree on. In a message-type pipe one write is one message, so a
// struct needs no framing: a message of another size is not one of these.

#include <windows.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace message_mode {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.04.messages";
constexpr auto written_name = L"Local\\ipc_demos.04.written"; // an event, for --byte only

constexpr std::uint64_t mebibyte = 1'048'576;
constexpr DWORD buffer_bytes = 4096;                       // A's first read of every message
constexpr std::uint64_t max_message_bytes = 16 * mebibyte; // A refuses a longer one
constexpr DWORD byte_pipe_bytes = 2 * 1024 * 1024; // with --byte, what B can write before A reads
constexpr DWORD pipe_bytes =
    64 * 1024; // what the pipe holds in each direction; not a limit on messages
constexpr std::uint64_t shown_messages = 10; // each side prints so many, and only counts the rest
constexpr std::uint32_t version = 1;

// B's first message. A message can hold any bytes, so none could mean "that was all": the number
// tells in advance how many there will be, and a B that dies on the way cannot pass for done.
struct announcement {
    std::uint32_t protocol_version;
    std::uint32_t reserved; // 0: makes visible the gap that the compiler would leave
    std::uint64_t messages;
    std::uint64_t bytes; // of all messages together
};
static_assert(sizeof(announcement) == 24);

// Nothing that arrives is believed before it was looked at.
inline announcement to_announcement(const void* bytes, std::uint64_t size) {
    announcement received{};
    if (size == sizeof received) {
        std::memcpy(&received, bytes, sizeof received);
    }
    if (received.protocol_version != version) {
        throw std::runtime_error("the client's first message is not an announcement");
    }
    return received;
}

enum class verdict : std::uint32_t { received = 1, too_long = 2 };

// A's answer to each message (with --byte: to all of them together).
struct answer {
    verdict status;
    std::uint32_t reserved;
    std::uint64_t bytes; // how long the message was
};
static_assert(sizeof(answer) == 16);

} // namespace message_mode
