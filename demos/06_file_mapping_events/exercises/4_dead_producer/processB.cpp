// Exercise 06.4: let B notice at once that the producer has died.
//
// B shows the lines that the producer sends.
//
// Run: the pair's processA, and then processB [--name SUFFIX] [--limit SECONDS]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage =
    "processB [--name SUFFIX] [--limit SECONDS]\n"
    "  --limit SECONDS  how long the producer may take to fill a block (default 60)";

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

// Returns a handle to the producer's process, which a wait can use.
ipc::unique_handle open_producer([[maybe_unused]] DWORD id) {
    // TODO: open the process
    return {};
}

// Returns when the producer has filled a block, also if it has ended since. Throws std::runtime_error("the producer
// died") if it has ended and no block is full, and std::runtime_error("the producer sends nothing") after the limit.
void wait_for_block(HANDLE block_full, [[maybe_unused]] HANDLE producer, DWORD limit_ms) {
    // TODO: wait for both objects, and tell the results of the wait apart
    if (WaitForSingleObject(block_full, limit_ms) == WAIT_FAILED) {
        ipc::throw_last_error("WaitForSingleObject");
    }
}

// Passes the stream to the sink, up to the empty block at the end.
void receive_stream(const char* block, HANDLE block_full, HANDLE block_empty, ipc::byte_sink& sink,
                    DWORD limit_ms) {
    const auto& header = *reinterpret_cast<const volatile protocol::block_header*>(block);
    const ipc::unique_handle producer = open_producer(header.producer_id);
    for (bool at_end = false; !at_end;) {
        wait_for_block(block_full, producer.get(), limit_ms);
        const std::uint64_t offset = header.offset;
        const std::uint64_t size = header.size;
        if (offset > protocol::block_bytes || size > protocol::block_bytes - offset) {
            throw std::runtime_error("the producer's header is wrong");
        }
        sink.write(std::string_view(block + offset, static_cast<std::size_t>(size)));
        at_end = size == 0;
        if (!SetEvent(block_empty)) {
            ipc::throw_last_error("SetEvent");
        }
    }
    sink.finish();
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::time_limit limit{60'000};
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--limit", &limit}});
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
    ipc::byte_sink sink({}, "B: | ");
    receive_stream(memory + protocol::block_start, block_full.get(), block_empty.get(), sink,
                   limit.ms);
    ipc::print_line("B: the stream has ended");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
