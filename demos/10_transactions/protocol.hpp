#pragma once

#include <windows.h>

#include <algorithm>
#include <span>

// What the server and its clients agree on. One message is one request, of 0 to max_message_bytes
// bytes of any value. Its reply is one message. A client waits for the reply before it sends the next
// request, and leaves by closing its handle. The server disconnects a client that sends a longer
// message.
namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.10.requests";
constexpr DWORD max_message_bytes = 1024 * 1024;

// The reply is the request with its ASCII letters in upper case.
inline void make_reply(std::span<char> message) {
    std::ranges::transform(message, message.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

} // namespace protocol
