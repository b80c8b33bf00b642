#pragma once

// What both processes agree on: the names of the objects, and what the shared bytes mean.

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace protocol {

// All kinds of objects share one set of names: an event cannot be called like a mapping.
constexpr auto memory_name = L"Local\\ipc_demos.06.memory";
constexpr auto block_full_name = L"Local\\ipc_demos.06.block_full";
constexpr auto block_empty_name = L"Local\\ipc_demos.06.block_empty";

constexpr std::uint32_t magic = 0x36435049; // "IPC6"
constexpr std::uint32_t version = 1;

// At the start of the block. 32-bit and 64-bit programs see the same: widths are fixed, and a
// place is an offset, because the block stands at another address in each process.
struct block_header {
    std::uint32_t magic = protocol::magic;
    std::uint32_t version = protocol::version;
    std::uint32_t producer_id = 0; // A's process
    std::uint32_t is_end = 0;      // 1: nothing follows
    std::uint64_t offset = 0;      // where the bytes begin, from the start of the header
    std::uint64_t size = 0;        // how many they are
    std::uint64_t total = 0;       // how many there were since the stream began, with these
};
static_assert(sizeof(block_header) == 40 && offsetof(block_header, offset) == 16);
static_assert(std::is_standard_layout_v<block_header> &&
              std::is_trivially_copyable_v<block_header>);

// Offsets in the block, and its size.
constexpr DWORD half_bytes = 1024 * 1024;
constexpr DWORD first_half = 4096; // the header has a page of its own
constexpr DWORD second_half = first_half + half_bytes;
constexpr DWORD block_bytes = second_half + half_bytes;

// The shared memory begins with the process id of B, a LONG, and 0 as long as there is no B. The
// block comes after it: B has a view of its own for each, and a view begins at a multiple of 64 KiB.
constexpr DWORD block_start = 64 * 1024;
constexpr DWORD memory_bytes = block_start + block_bytes;

} // namespace protocol
