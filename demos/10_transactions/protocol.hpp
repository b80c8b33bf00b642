#pragma once

#include <windows.h>

#include <algorithm>
#include <span>

// What the server and its clients agree on. A message holds one request or one reply: 0 to
// max_message_bytes bytes of any value. A client reads the reply before it sends the next request,
// and closes its handle to leave. The server disconnects a client that sends a longer message.
namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.10.requests";
constexpr DWORD max_message_bytes = 1024 * 1024;

// Turns the request into its reply: the same bytes, with ASCII letters in upper case.
inline void make_reply(std::span<char> message) {
    std::ranges::transform(message, message.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

} // namespace protocol
