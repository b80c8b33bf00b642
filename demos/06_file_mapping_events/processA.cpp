// Demo 06, process A: streams bytes to another process through shared memory.
//
// A (the producer) creates a file mapping object and two auto-reset events, reads its input into
// the memory and sets block_full. B (the consumer) writes the bytes to its output and sets
// block_empty. The memory has two halves: while B empties one, A fills the other.
//
// Run: processA [--name SUFFIX] [--in FILE] [--limit SECONDS]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage =
    "processA [--name SUFFIX] [--in FILE] [--limit SECONDS]\n"
    "  --name SUFFIX    added to the objects' names: several pairs run at once\n"
    "  --in FILE        what to stream (default: a few lines)\n"
    "  --limit SECONDS  how long to wait for B each time; 0: no limit (default 20)";
constexpr ipc::time_limit default_limit{20'000};
constexpr auto text = "Shared memory is fast, but it is only memory.\n"
                      "It cannot say when the bytes are complete.\n"
                      "Two events say it.\n";

// CreateFileMappingW and CreateEventW also succeed when the object exists already. Then it belongs
// to another A, or to a B that has outlived its A.
ipc::unique_handle require_new(HANDLE created, DWORD code, const char* call) {
    ipc::unique_handle object(created);
    if (!object) {
        ipc::throw_error(call, code);
    }
    if (code == ERROR_ALREADY_EXISTS) {
        throw std::runtime_error("the name is taken: another processA or its processB is running");
    }
    return object;
}

ipc::unique_handle create_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: create_mapping
    const HANDLE mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, // memory, no file on a disk
                                              security.get(),       // for the current user only
                                              PAGE_READWRITE,       // the most that a view can have
                                              0,                    // the size, its upper 32 bits
                                              protocol::memory_bytes, // and its lower 32 bits
                                              name.c_str());
    // ANCHOR_END: create_mapping
    return require_new(mapping, GetLastError(), "CreateFileMappingW");
}

char* map_memory(HANDLE mapping) {
    // ANCHOR: map_memory
    void* view = MapViewOfFile(mapping,
                               FILE_MAP_WRITE, // to read and to write
                               0, 0,           // from the start of the memory
                               0);             // to its end
    // ANCHOR_END: map_memory
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<char*>(view);
}

ipc::unique_handle create_event(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: create_event
    const HANDLE event = CreateEventW(security.get(), FALSE /* auto-reset */,
                                      FALSE /* not signaled yet */, name.c_str());
    // ANCHOR_END: create_event
    return require_new(event, GetLastError(), "CreateEventW");
}

// Waits for B to set block_empty. consumer is null before B has come.
void wait_for_empty(HANDLE block_empty, HANDLE consumer, DWORD limit_ms) {
    // If several objects are signaled, the wait returns the first: if B emptied the block and then
    // ended, the block counts as empty.
    const HANDLE objects[] = {ipc::ctrl_c_event(), block_empty, consumer};
    switch (WaitForMultipleObjects(consumer ? 3 : 2, objects, FALSE /* any of them */, limit_ms)) {
    case WAIT_OBJECT_0: throw std::runtime_error("stopped by Ctrl+C");
    case WAIT_OBJECT_0 + 1: return;
    case WAIT_OBJECT_0 + 2:
        throw std::runtime_error("the consumer ended before it had received everything");
    case WAIT_TIMEOUT:
        throw std::runtime_error(consumer ? "the consumer is there, but reads nothing"
                                          : "no consumer came: start processB");
    default: ipc::throw_last_error("WaitForMultipleObjects"); // WAIT_ABANDONED needs a mutex
    }
}

// B stores its process id, then sets block_empty for the first time. With a wrong id A would only
// notice B's end later, when the time limit is over.
ipc::unique_handle wait_for_consumer(const char* memory, HANDLE block_empty, DWORD limit_ms) {
    wait_for_empty(block_empty, nullptr, limit_ms);
    const LONG id = *reinterpret_cast<const volatile LONG*>(memory);
    ipc::unique_handle consumer(OpenProcess(SYNCHRONIZE, FALSE, static_cast<DWORD>(id)));
    if (!consumer) {
        ipc::throw_last_error("OpenProcess"); // ERROR_INVALID_PARAMETER: B has ended already
    }
    return consumer;
}

// Returns the number of bytes, when B has received them all.
std::uint64_t send_stream(ipc::byte_source& source, char* block, HANDLE block_full,
                          HANDLE block_empty, HANDLE consumer, DWORD limit_ms) {
    auto* header = reinterpret_cast<protocol::block_header*>(block);
    DWORD offset = protocol::first_half;
    DWORD size = source.read({block + offset, protocol::half_bytes});
    std::uint64_t total = 0;
    // ANCHOR: send_blocks
    for (bool at_end = false; !at_end;) {
        at_end = size == 0;
        total += size;
        header->offset = offset;
        header->size = size;
        header->total = total;
        if (!SetEvent(block_full)) { // a memory barrier too: B wakes up and sees all of the above
            ipc::throw_last_error("SetEvent");
        }
        offset = offset == protocol::first_half ? protocol::second_half : protocol::first_half;
        // ReadFile, while B empties the other half:
        size = source.read({block + offset, protocol::half_bytes});
        wait_for_empty(block_empty, consumer, limit_ms);
    }
    // ANCHOR_END: send_blocks
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring in;
    ipc::time_limit limit = default_limit;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--name", &suffix}, {L"--in", &in}, {L"--limit", &limit}});
    ipc::byte_source source(in, text);
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    // The handle stays open: B finds the memory by its name only while a handle to it is open.
    const auto mapping = create_mapping(name(protocol::memory_name));
    char* memory = map_memory(mapping.get());
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(memory); });
    char* block = memory + protocol::block_start;
    new (block) protocol::block_header{.producer_id = GetCurrentProcessId()};
    const auto block_empty = create_event(name(protocol::block_empty_name));
    const auto block_full = create_event(name(protocol::block_full_name)); // last: B looks for it

    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event, which ends A's waits
    ipc::print_line("A: waiting for a consumer");
    const auto consumer = wait_for_consumer(memory, block_empty.get(), limit.ms);
    ipc::print_line("A: a consumer is there");
    const std::uint64_t total =
        send_stream(source, block, block_full.get(), block_empty.get(), consumer.get(), limit.ms);
    ipc::print_line("A: the consumer has received all {} bytes", total);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
