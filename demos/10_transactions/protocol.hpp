#pragma once

#include <windows.h>

#include <algorithm>
#include <span>

// What the server and its clients agree on. One message is one request: 0 to max_message_bytes
// bytes, any bytes. Its reply is one message. A client sends the next request when it has the
// reply, and leaves by closing its handle. Who sends a longer message is disconnected.
namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.10.requests";
constexpr DWORD max_message_bytes = 1024 * 1024;

// The reply has the request's bytes, with ASCII letters in upper case.
inline void make_reply(std::span<char> message) {
    std::ranges::transform(message, message.begin(), [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

} // namespace protocol
