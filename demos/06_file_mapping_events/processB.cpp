// Demo 06, process B: receives a stream of bytes through memory that another process fills.
//
// B (the consumer) opens the objects that A has created; its view of A's block is read-only. It
// writes each half straight from the shared memory to its output, and checks every number that it
// reads there before it uses it.
//
// Run: processB [--name SUFFIX] [--out FILE] [--limit SECONDS]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
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
    "processB [--name SUFFIX] [--out FILE] [--limit SECONDS]\n"
    "  --name SUFFIX    the same as A's\n"
    "  --out FILE       where the bytes go, unchanged (default: shown as lines)\n"
    "  --limit SECONDS  how long to wait for A each time; 0: no limit (default 20)";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD retry_pause_ms = 50; // Windows cannot notify a program of a new name

ipc::unique_handle open_event(const std::wstring& name, DWORD access, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    for (;;) {
        ipc::unique_handle event(OpenEventW(access, FALSE, name.c_str()));
        if (event) {
            return event;
        }
        if (GetLastError() != ERROR_FILE_NOT_FOUND) {
            ipc::throw_last_error("OpenEventW");
        }
        if (end.is_over()) {
            throw std::runtime_error("no producer at " + ipc::to_utf8(name) + ": start processA");
        }
        if (WaitForSingleObject(ipc::ctrl_c_event(), retry_pause_ms) == WAIT_OBJECT_0) {
            throw std::runtime_error("stopped by Ctrl+C: no producer has come");
        }
    }
}

// The mapping's handle is closed on return: the view alone keeps the memory alive.
char* map_memory(const std::wstring& name, DWORD access, DWORD offset, DWORD bytes) {
    const ipc::unique_handle mapping(OpenFileMappingW(access, FALSE, name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    void* view = MapViewOfFile(mapping.get(), access, 0, offset, bytes);
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    MEMORY_BASIC_INFORMATION memory{}; // a view can have addresses without memory
    if (VirtualQuery(view, &memory, sizeof memory) == 0 || memory.State != MEM_COMMIT ||
        memory.RegionSize < bytes) {
        UnmapViewOfFile(view);
        throw std::runtime_error("the producer shares too little memory");
    }
    return static_cast<char*>(view);
}

ipc::unique_handle open_producer(const volatile protocol::block_header& header) {
    if (header.layout != protocol::layout_id) {
        throw std::runtime_error("the producer uses another layout of the shared memory");
    }
    ipc::unique_handle producer(OpenProcess(SYNCHRONIZE, FALSE, header.producer_id));
    if (!producer) {
        ipc::throw_last_error("OpenProcess"); // ERROR_INVALID_PARAMETER: A has ended already
    }
    return producer;
}

// Makes this process the only consumer. The slot is never reused: a second B would receive the rest
// of a stream without its start.
void register_consumer(const std::wstring& memory_name, HANDLE block_empty) {
    char* view = map_memory(memory_name, FILE_MAP_READ | FILE_MAP_WRITE, 0, sizeof(LONG));
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(view); });
    const auto slot = reinterpret_cast<volatile LONG*>(view);
    // One atomic instruction stores B's process id if the slot still holds 0. Interlocked functions
    // work between processes as they do between threads.
    const LONG before =
        InterlockedCompareExchange(slot, static_cast<LONG>(GetCurrentProcessId()), 0);
    if (before != 0) {
        throw std::runtime_error("the producer has a consumer already");
    }
    if (!SetEvent(block_empty)) {
        ipc::throw_last_error("SetEvent");
    }
}

void wait_for_block(HANDLE block_full, HANDLE producer, DWORD limit_ms) {
    // If several objects are signaled, the wait returns the first: if A filled a block and then
    // ended, the block is complete.
    const HANDLE objects[] = {ipc::ctrl_c_event(), block_full, producer};
    switch (WaitForMultipleObjects(3, objects, FALSE /* any of them */, limit_ms)) {
    case WAIT_OBJECT_0: throw std::runtime_error("stopped by Ctrl+C: the output is incomplete");
    case WAIT_OBJECT_0 + 1: return;
    case WAIT_OBJECT_0 + 2: throw std::runtime_error("the producer died: the output is incomplete");
    case WAIT_TIMEOUT: throw std::runtime_error("the producer is there, but sends nothing");
    default: ipc::throw_last_error("WaitForMultipleObjects"); // WAIT_ABANDONED needs a mutex
    }
}

// Passes the whole stream to the sink and returns the number of bytes.
std::uint64_t receive_stream(const char* block, const volatile protocol::block_header& header,
                             HANDLE block_full, HANDLE block_empty, HANDLE producer,
                             ipc::byte_sink& sink, DWORD limit_ms) {
    std::uint64_t total = 0;
    for (bool at_end = false; !at_end;) {
        wait_for_block(block_full, producer, limit_ms);
        // ANCHOR: read_once
        // Each field is read once, into a variable of B's own: A could change it between the check
        // and the use. volatile keeps the compiler from reading it again.
        const std::uint64_t offset = header.offset;
        const std::uint64_t size = header.size;
        total += size;
        if (offset > protocol::block_bytes || size > protocol::block_bytes - offset ||
            header.total != total) {
            throw std::runtime_error("the producer's header is wrong: the output is incomplete");
        }
        // ANCHOR_END: read_once
        sink.write(std::string_view(block + offset, static_cast<std::size_t>(size)));
        at_end = size == 0;
        if (at_end) {
            sink.finish();
        }
        if (!SetEvent(block_empty)) { // A may fill this half again; at the end: B has everything
            ipc::throw_last_error("SetEvent");
        }
    }
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring out;
    ipc::time_limit limit = default_limit;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--name", &suffix}, {L"--out", &out}, {L"--limit", &limit}});
    ipc::byte_sink sink(out, "B: | ");
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    // A creates block_full last: when this event exists, so do the other objects.
    const auto block_full = open_event(name(protocol::block_full_name), SYNCHRONIZE, limit.ms);
    const auto block_empty = open_event(name(protocol::block_empty_name), EVENT_MODIFY_STATE, 0);
    const std::wstring memory_name = name(protocol::memory_name);
    const char* block =
        map_memory(memory_name, FILE_MAP_READ, protocol::block_start, protocol::block_bytes);
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(block); });
    const auto& header = *reinterpret_cast<const volatile protocol::block_header*>(block);
    const auto producer = open_producer(header);
    register_consumer(memory_name, block_empty.get());
    ipc::print_line("B: the producer is there");
    const std::uint64_t total = receive_stream(block, header, block_full.get(), block_empty.get(),
                                               producer.get(), sink, limit.ms);
    ipc::print_line("B: the stream ended after {} bytes", total);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
