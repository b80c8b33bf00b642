#pragma once

// What both processes agree on: the names of the objects, and the layout of the shared memory.

#include <windows.h>

#include <cstdint>

namespace protocol {

// Objects of all kinds share one set of names: an event and a mapping need different ones.
constexpr auto memory_name = L"Local\\ipc_demos.06.memory";
constexpr auto block_full_name = L"Local\\ipc_demos.06.block_full";
constexpr auto block_empty_name = L"Local\\ipc_demos.06.block_empty";

constexpr std::uint32_t layout_id = 0x36435049; // "IPC6"; another layout needs another number

// The header of the data. Every field has a fixed width, and offset is not a pointer, because each
// process has its view at another address.
struct block_header {
    std::uint32_t layout = layout_id;
    std::uint32_t producer_id = 0; // A's process
    std::uint64_t offset = 0;      // where the bytes start, counted from the start of the header
    std::uint64_t size = 0;        // the number of bytes; 0 is the end of the stream
    std::uint64_t total = 0;       // the number of bytes since the stream began, these included
};
static_assert(sizeof(block_header) == 32);

// Offsets from the header, and the size of the header and both halves.
constexpr DWORD half_bytes = 1024 * 1024;
constexpr DWORD first_half = 4096; // the header has a page of its own
constexpr DWORD second_half = first_half + half_bytes;
constexpr DWORD block_bytes = second_half + half_bytes;

// The shared memory starts with the slot of the consumer: a LONG with B's process id, or 0 before B
// has come. The header and the halves follow at 64 KiB, because a view can only start at a multiple
// of that: B maps the slot for writing and the rest for reading.
constexpr DWORD block_start = 64 * 1024;
constexpr DWORD memory_bytes = block_start + block_bytes;

} // namespace protocol
