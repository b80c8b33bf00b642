#pragma once

// What both processes of demo 04 agree on. One WriteFile is one message, so a number is a message:
//
// - B's first message is a std::uint64_t, the number of messages that follow. A message may contain
//   any bytes, so B cannot mark the end with a special message. The number tells A whether B has
//   sent everything or has died.
// - A answers each of them with a std::uint64_t: the length of the message, or 0 if A refuses the
//   message because it is too long.

#include <windows.h>

#include <cstdint>

namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.04.messages";
constexpr std::uint64_t max_message_bytes = 16 * 1024 * 1024; // A refuses a longer message
constexpr std::uint64_t printed_messages = 10;                // the others are only counted

} // namespace protocol
