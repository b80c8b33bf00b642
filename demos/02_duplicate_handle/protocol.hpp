#pragma once

// What the two processes of demo 02 agree on: the control pipe's name, the messages that cross it,
// and how a handle travels as a number.

#include <windows.h>

#include <cstdint>
#include <type_traits>

namespace duplicate_handle {

constexpr auto control_pipe_name = LR"(\\.\pipe\ipc_demos.02.control)";

enum class kind : std::uint32_t { hello = 1, handles, finished, taken_back, gone };

// The same 40 bytes in a 32-bit and in a 64-bit process; a HANDLE would have 4 in one of them.
struct message {
    std::uint32_t magic = 0x32435049; // "IPC2"
    std::uint32_t version = 1;
    kind what = kind::hello;
    std::uint32_t reserved = 0;
    std::uint64_t write_end = 0; // handles: two numbers that mean something in B only
    std::uint64_t event = 0;
    std::uint64_t bytes = 0; // finished: how many B wrote into the pipe
};
static_assert(sizeof(message) == 40 && std::is_trivially_copyable_v<message>);

// Only 32 bits of a handle are significant, also in a 64-bit process: a 32-bit process sign-extends
// on the way out and cuts off on the way in, and loses nothing.
inline std::uint64_t to_number(HANDLE handle) {
    return static_cast<std::uint64_t>(std::int64_t{reinterpret_cast<std::intptr_t>(handle)});
}
inline HANDLE to_handle(std::uint64_t number) {
    return reinterpret_cast<HANDLE>(static_cast<std::intptr_t>(number));
}

} // namespace duplicate_handle
