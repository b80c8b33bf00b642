// Demo 06, process B: takes a stream of bytes out of memory that another process fills.
//
// B (the consumer) opens what A has created; A's block is read-only here. It passes each half of it
// from the shared memory straight to its output, and believes nothing that stands there.
//
// Run: processB [--name SUFFIX] [--out FILE]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

namespace {

constexpr auto usage = "processB [--name SUFFIX] [--out FILE]\n"
                       "  --name SUFFIX  the same as A's\n"
                       "  --out FILE     where the bytes go, unchanged (default: shown as lines)";
constexpr DWORD connect_limit_ms = 10'000; // for a producer to come
constexpr DWORD retry_pause_ms = 50;       // there is nothing to wait for that tells of a new name
constexpr DWORD silence_limit_ms = 20'000; // for a producer that is alive to fill a half

ipc::unique_handle open_when_created(const std::wstring& name, DWORD access, DWORD limit_ms) {
    const ULONGLONG end = GetTickCount64() + limit_ms;
    for (;;) {
        ipc::unique_handle event(OpenEventW(access, FALSE, name.c_str()));
        if (event) {
            return event;
        }
        if (GetLastError() != ERROR_FILE_NOT_FOUND) {
            ipc::throw_last_error("OpenEventW");
        }
        if (WaitForSingleObject(ipc::ctrl_c_event(), retry_pause_ms) == WAIT_OBJECT_0) {
            throw std::runtime_error("stopped by Ctrl+C: no producer has come");
        }
        if (GetTickCount64() >= end) {
            throw std::runtime_error("no producer at " + ipc::to_utf8(name) + ": start processA");
        }
    }
}

// The mapping's handle is not kept: the view keeps the memory.
char* map(const std::wstring& name, DWORD access, DWORD offset, DWORD bytes) {
    const ipc::unique_handle mapping(OpenFileMappingW(access, FALSE, name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    void* view = MapViewOfFile(mapping.get(), access, 0, offset, bytes);
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    MEMORY_BASIC_INFORMATION memory{}; // what is really there: addresses can be reserved only
    if (VirtualQuery(view, &memory, sizeof memory) == 0 || memory.State != MEM_COMMIT ||
        memory.RegionSize < bytes) {
        UnmapViewOfFile(view);
        throw std::runtime_error("the producer shares too little memory");
    }
    return static_cast<char*>(view);
}

ipc::unique_handle open_producer(const volatile protocol::block_header& header) {
    if (header.magic != protocol::magic || header.version != protocol::version) {
        throw std::runtime_error("the producer uses another layout of the shared memory");
    }
    ipc::unique_handle producer(OpenProcess(SYNCHRONIZE, FALSE, header.producer_id));
    if (!producer) {
        ipc::throw_last_error("OpenProcess"); // ERROR_INVALID_PARAMETER: it has ended already
    }
    return producer;
}

// Nobody frees the place again: who came after a dead B would get the rest of a stream.
void become_the_consumer(const std::wstring& name) {
    char* view = map(name, FILE_MAP_READ | FILE_MAP_WRITE, 0, sizeof(LONG));
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(view); });
    // One instruction leaves B's process id for A and takes the one place there is: it writes only
    // if the id is still 0. Interlocked functions work between processes as between threads.
    const auto id = reinterpret_cast<volatile LONG*>(view);
    if (InterlockedCompareExchange(id, static_cast<LONG>(GetCurrentProcessId()), 0) != 0) {
        throw std::runtime_error("the producer has a consumer already");
    }
}

void wait_for_block(HANDLE block_full, HANDLE producer) {
    // Where several are signaled the first one counts: what A filled before it ended is complete.
    const HANDLE objects[] = {ipc::ctrl_c_event(), block_full, producer};
    switch (WaitForMultipleObjects(3, objects, FALSE /* any of them */, silence_limit_ms)) {
    case WAIT_OBJECT_0: throw std::runtime_error("stopped by Ctrl+C: the output is incomplete");
    case WAIT_OBJECT_0 + 1: return;
    case WAIT_OBJECT_0 + 2: throw std::runtime_error("the producer died: the output is incomplete");
    case WAIT_TIMEOUT: throw std::runtime_error("the producer is there, but sends nothing");
    default: ipc::throw_last_error("WaitForMultipleObjects"); // WAIT_ABANDONED needs a mutex
    }
}

// Passes the whole stream to the output and returns the number of bytes.
std::uint64_t receive(const char* block, const volatile protocol::block_header& header,
                      HANDLE block_full, HANDLE block_empty, HANDLE producer, HANDLE file) {
    ipc::line_splitter lines([](std::string_view line) { ipc::print_line("B: | {}", line); });
    std::uint64_t total = 0;
    for (bool at_end = false;;) {
        if (!SetEvent(block_empty)) { // the first time: B has come; the last time: B has everything
            ipc::throw_last_error("SetEvent");
        }
        if (at_end) {
            lines.finish();
            return total;
        }
        wait_for_block(block_full, producer);
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
        const std::string_view bytes(block + offset, static_cast<std::size_t>(size));
        file == nullptr ? lines.write(bytes) : ipc::write_file(file, bytes);
        at_end = header.is_end != 0;
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring out;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--out", &out}});
    const ipc::unique_handle file = out.empty() ? ipc::unique_handle() : ipc::create_output(out);
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    // A creates block_full last: once it is there, everything is.
    const auto block_full =
        open_when_created(name(protocol::block_full_name), SYNCHRONIZE, connect_limit_ms);
    const auto block_empty =
        open_when_created(name(protocol::block_empty_name), EVENT_MODIFY_STATE, 0);
    const char* block = map(name(protocol::memory_name), FILE_MAP_READ, protocol::block_start,
                            protocol::block_bytes);
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(block); });
    const auto& header = *reinterpret_cast<const volatile protocol::block_header*>(block);
    const auto producer = open_producer(header);
    ipc::print_line("B: the producer is there");
    become_the_consumer(name(protocol::memory_name));
    ipc::print_line(
        "B: the stream ended after {} bytes",
        receive(block, header, block_full.get(), block_empty.get(), producer.get(), file.get()));
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
