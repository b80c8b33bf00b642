#pragma once

// What both processes of demo 02 agree on: the name of the control pipe, the message that A sends
// through it, and how a handle travels as a number.

#include <windows.h>

#include <cstdint>

constexpr auto control_pipe_name = LR"(\\.\pipe\ipc_demos.02.control)";

// A sends it twice: first with the numbers of two handles in B's table, and at the end with zeros:
// all data has arrived, and A has taken the event's handle back. It has the same size in a 32-bit
// and in a 64-bit process, unlike a HANDLE.
struct message {
    std::uint64_t write_end = 0;
    std::uint64_t event = 0;
};

// Windows uses only 32 bits of a handle, also in a 64-bit process. So a 32-bit process loses
// nothing: it extends the sign when it sends a number, and drops the upper half on arrival.
inline std::uint64_t to_number(HANDLE handle) {
    return static_cast<std::uint64_t>(std::int64_t{reinterpret_cast<std::intptr_t>(handle)});
}
inline HANDLE to_handle(std::uint64_t number) {
    return reinterpret_cast<HANDLE>(static_cast<std::intptr_t>(number));
}
