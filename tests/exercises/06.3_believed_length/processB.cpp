// SOLUTION: the other process can write anything into shared memory, by mistake or on purpose. So B copies each number
// once, checks its copy against the size of the memory, and uses its copy.
// STARTER
//~ // Exercise 06.3: a producer with a wrong header makes B crash. Mend B.
// END
//
// B counts the bytes and the lines that the producer sends.
//
// Run: the pair's processA, and then processB [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processB [--name SUFFIX]";
constexpr DWORD limit_ms = 20'000; // for the producer to fill a block

ipc::unique_handle open_event(const std::wstring& name, DWORD access) {
    ipc::unique_handle event(OpenEventW(access, FALSE, name.c_str()));
    if (!event) {
        ipc::throw_last_error("OpenEventW"); // ERROR_FILE_NOT_FOUND: start processA first
    }
    return event;
}

// Maps the whole memory; the mapping has to be at least that large.
char* map_memory(const std::wstring& name) {
    const ipc::unique_handle mapping(OpenFileMappingW(FILE_MAP_WRITE, FALSE, name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    void* view = MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, protocol::memory_bytes);
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<char*>(view);
}

void wait_for_block(HANDLE block_full) {
    switch (WaitForSingleObject(block_full, limit_ms)) {
    case WAIT_OBJECT_0: return;
    case WAIT_TIMEOUT: throw std::runtime_error("the producer sends nothing");
    default: ipc::throw_last_error("WaitForSingleObject");
    }
}

// Counts what is in the blocks, up to the empty block at the end, and prints the sums.
void count_stream(const char* block, HANDLE block_full, HANDLE block_empty) {
    const auto& header = *reinterpret_cast<const volatile protocol::block_header*>(block);
    std::uint64_t total = 0;
    std::uint64_t lines = 0;
    for (bool at_end = false; !at_end;) {
        wait_for_block(block_full);
        const std::uint64_t offset = header.offset;
        const std::uint64_t size = header.size;
        // SOLUTION: offset + size could overflow and be small again, so B subtracts instead.
        if (offset > protocol::block_bytes || size > protocol::block_bytes - offset) {
            throw std::runtime_error("the producer's header is wrong");
        }
        // STARTER
        // END
        const char* data = block + offset;
        lines += static_cast<std::uint64_t>(std::count(data, data + size, '\n'));
        total += size;
        at_end = size == 0;
        if (!SetEvent(block_empty)) {
            ipc::throw_last_error("SetEvent");
        }
    }
    ipc::print_line("B: {} bytes, {} lines", total, lines);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    const auto block_full = open_event(name(protocol::block_full_name), SYNCHRONIZE);
    const auto block_empty = open_event(name(protocol::block_empty_name), EVENT_MODIFY_STATE);
    char* memory = map_memory(name(protocol::memory_name));
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(memory); });
    // Tells the producer which process the consumer is, and then that the consumer is there.
    InterlockedExchange(reinterpret_cast<volatile LONG*>(memory),
                        static_cast<LONG>(GetCurrentProcessId()));
    if (!SetEvent(block_empty.get())) {
        ipc::throw_last_error("SetEvent");
    }
    ipc::print_line("B: counting");
    count_stream(memory + protocol::block_start, block_full.get(), block_empty.get());
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
