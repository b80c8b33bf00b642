#pragma once

// What both processes of demo 13 agree on: the client sends one message, and the server sends it
// back.

#include <windows.h>

namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.13.guarded";
constexpr DWORD max_message_bytes = 4096; // the server drops a client that sends more

} // namespace protocol
