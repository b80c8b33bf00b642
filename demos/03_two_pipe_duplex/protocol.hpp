#pragma once

// What both processes of demo 03 agree on: the names of the pipes, and how A's stream begins.

#include <windows.h>

#include <cstdint>

constexpr auto a_to_b_name = L"\\\\.\\pipe\\ipc_demos.03.a_to_b";
constexpr auto b_to_a_name = L"\\\\.\\pipe\\ipc_demos.03.b_to_a";

// A's stream begins with its length, because the end of a pipe looks the same whether the writer
// has closed it or has died. B's stream needs no such thing: it is as long as A's.
using stream_length = std::uint64_t;

constexpr DWORD buffer_bytes = 64 * 1024; // of each pipe, and of each read and write

// Whether a call failed because the other end is closed, by its owner's choice or by its death.
inline bool other_end_is_gone(DWORD error) {
    return error == ERROR_BROKEN_PIPE            // a read: nothing is left. A write: during it
           || error == ERROR_NO_DATA             // a write to a pipe that nobody will read
           || error == ERROR_PIPE_NOT_CONNECTED; // the server has disconnected this client
}
