// Exercise 06.2: the consumer gets some blocks twice and others never. Mend A.
//
// A sends blocks of one line each: "block 1", "block 2" and so on, and at the end an empty block.
//
// Run: processA [--name SUFFIX] [--blocks N] [--limit SECONDS], and then the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage =
    "processA [--name SUFFIX] [--blocks N] [--limit SECONDS]\n"
    "  --limit SECONDS  how long the consumer may take to read a block (default 10)";
constexpr DWORD arrival_limit_ms = 60'000; // for the consumer to come

struct stream {
    char* block; // the header, and the data behind it
    HANDLE block_full;
    HANDLE block_empty;
    DWORD limit_ms; // for the consumer to read a block
};

ipc::unique_handle create_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle mapping(CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(),
                                                  PAGE_READWRITE, 0, protocol::memory_bytes,
                                                  name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("CreateFileMappingW");
    }
    return mapping;
}

ipc::unique_handle create_event(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle event(CreateEventW(security.get(), TRUE, FALSE, name.c_str()));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

// Waits for the consumer to set block_empty: first when it comes, and then when it has read a block.
void wait_for_empty(HANDLE block_empty, DWORD limit_ms) {
    switch (WaitForSingleObject(block_empty, limit_ms)) {
    case WAIT_OBJECT_0: return;
    case WAIT_TIMEOUT: throw std::runtime_error("the consumer took too long");
    default: ipc::throw_last_error("WaitForSingleObject");
    }
}

// Sends one block. An empty block is the end of the stream.
void send_block(const stream& to, std::string_view text) {
    auto* header = reinterpret_cast<protocol::block_header*>(to.block);
    text.copy(to.block + protocol::first_half, text.size());
    header->offset = protocol::first_half;
    header->size = text.size();
    header->total += text.size();
    if (!SetEvent(to.block_full)) {
        ipc::throw_last_error("SetEvent");
    }
    wait_for_empty(to.block_empty, to.limit_ms);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::uint64_t blocks = 3;
    ipc::time_limit limit{10'000};
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--name", &suffix}, {L"--blocks", &blocks}, {L"--limit", &limit}});
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    const auto mapping = create_mapping(name(protocol::memory_name));
    auto* memory = static_cast<char*>(MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 0));
    if (memory == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(memory); });
    char* block = memory + protocol::block_start;
    auto* header = new (block) protocol::block_header;
    header->producer_id = GetCurrentProcessId();
    const auto block_empty = create_event(name(protocol::block_empty_name));
    const auto block_full = create_event(name(protocol::block_full_name)); // last: B looks for it

    ipc::print_line("A: waiting for a consumer");
    wait_for_empty(block_empty.get(), arrival_limit_ms);
    const stream to{block, block_full.get(), block_empty.get(), limit.ms};
    for (std::uint64_t number = 1; number <= blocks; ++number) {
        send_block(to, "block " + std::to_string(number) + "\n");
    }
    send_block(to, "");
    ipc::print_line("A: {} blocks sent", blocks);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
