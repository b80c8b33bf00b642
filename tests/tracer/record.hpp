#pragma once

// What a traced process leaves in its file: a header, then records of one size in chunks. The DLL writes the file
// through mapped views, so that everything is there although the process is killed.

#include "tests/tracer/functions.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ipc::trace {

constexpr std::uint64_t file_magic = 0x3145'4341'5254'4350; // "PCTRACE1"
constexpr std::size_t header_bytes = 64 * 1024;             // a view begins at a multiple of this
constexpr std::size_t chunk_bytes = 1024 * 1024;
constexpr std::size_t most_chunks = 1024; // 4 million calls of one process
constexpr std::size_t most_outs = 6;
constexpr std::size_t text_bytes = 72;

enum class record_state : std::uint32_t { unused, called, returned };

// In place of a count that could not be read.
constexpr std::uint64_t not_read = ~std::uint64_t{0};

// One call.
struct record {
    std::atomic<record_state> state; // written last: what it says is there, is there
    std::uint16_t function;
    std::uint8_t out_count;
    std::uint8_t text_count; // bytes of the text in use
    std::uint32_t thread;
    std::uint32_t error; // GetLastError() after the call
    std::int64_t begin;  // QueryPerformanceCounter before the call
    std::int64_t end;    // and after it
    std::array<std::uint64_t, most_parameters> arguments;
    std::uint64_t result;
    std::array<std::uint64_t, most_outs> outs; // what the parameters point to, in their order
    std::array<char, text_bytes>
        text; // names, each with a NUL; then some of the bytes that were moved
};
constexpr std::size_t record_bytes = 256;
static_assert(sizeof(record) == record_bytes);
constexpr std::size_t chunk_records = chunk_bytes / record_bytes;

struct file_header {
    std::uint64_t magic;
    std::uint32_t process;
    std::uint32_t parent; // the process that loaded the tracer into this one
    std::int64_t frequency;
    std::int64_t start;
    std::atomic<std::uint64_t> calls; // all of them
    std::atomic<std::uint64_t> lost;  // those without a record
    std::array<wchar_t, 1024> program;
    std::array<char, 200> note; // why a child of this process was not traced
};
static_assert(sizeof(file_header) <= header_bytes);

// What the process that loads the DLL tells it, in a mapping named after the id of the new process.
struct settings {
    std::uint32_t parent;
    std::array<wchar_t, 1024> folder;
};
constexpr wchar_t settings_name[] = L"Local\\ipc_trace.";

} // namespace ipc::trace
