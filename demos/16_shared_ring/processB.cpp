// Demo 16, process B: receives records through a ring in memory that another process fills.
//
// B (the consumer) opens the objects that A has created; its view of A's half of the memory is
// read-only. It uses each record where it is, then moves its own position forward, and A may
// overwrite the record. It checks every number that it reads in the memory before it uses it.
//
// Run: processB [--name SUFFIX] [--out FILE] [--limit SECONDS]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using protocol::partner;

constexpr auto usage =
    "processB [--name SUFFIX] [--out FILE] [--limit SECONDS]\n"
    "  --name SUFFIX    the same as A's\n"
    "  --out FILE       where the bytes go, unchanged (default: shown as lines)\n"
    "  --limit SECONDS  how long to wait for A each time; 0: no limit (default 20)";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD retry_pause_ms = 50; // Windows cannot notify a program of a new name

ipc::unique_handle open_event(const std::wstring& name, DWORD access, DWORD limit_ms) {
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        ipc::unique_handle event(OpenEventW(access, FALSE, name.c_str()));
        if (event) {
            return event;
        }
        if (GetLastError() != ERROR_FILE_NOT_FOUND) {
            ipc::throw_last_error("OpenEventW");
        }
        if (limit_ms != INFINITE /* --limit 0 */ && GetTickCount64() - start_ms >= limit_ms) {
            throw std::runtime_error("no producer at " + ipc::to_utf8(name) + ": start processA");
        }
        Sleep(retry_pause_ms); // between two looks for the name
    }
}

char* map_half(HANDLE mapping, DWORD access, DWORD offset) {
    void* view = MapViewOfFile(mapping, access, 0, offset, protocol::half_bytes);
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile"); // ERROR_ACCESS_DENIED: the memory is too small
    }
    MEMORY_BASIC_INFORMATION memory{}; // a view can have addresses without memory
    if (VirtualQuery(view, &memory, sizeof memory) == 0 || memory.State != MEM_COMMIT ||
        memory.RegionSize < protocol::half_bytes) {
        UnmapViewOfFile(view);
        throw std::runtime_error("the producer shares too little memory");
    }
    return static_cast<char*>(view);
}

ipc::unique_handle open_producer(const protocol::half& a) {
    if (a.magic != protocol::magic || a.version != protocol::version ||
        a.data_bytes != protocol::ring_bytes) {
        throw std::runtime_error("the producer uses another layout of the shared memory");
    }
    ipc::unique_handle producer(OpenProcess(SYNCHRONIZE, FALSE, a.process_id.load()));
    if (!producer) {
        ipc::throw_last_error("OpenProcess"); // ERROR_INVALID_PARAMETER: A has ended already
    }
    return producer;
}

// Makes this process the only consumer. The slot is never reused: a second B would receive the rest
// of a stream without its start.
void register_consumer(protocol::half& b, partner& producer) {
    std::uint32_t nobody = 0;
    if (!b.process_id.compare_exchange_strong(nobody, GetCurrentProcessId())) {
        throw std::runtime_error("the producer has a consumer already");
    }
    producer.wake();
}

// What the functions below work with.
struct stream {
    ring::reader& ring;
    ring::writer& replies;
    partner& producer;
    DWORD limit_ms;
};

ring::record wait_for_record(const stream& from) {
    for (;;) {
        if (const auto record = from.ring.read()) {
            return *record;
        }
        from.ring.flush(); // or A would wait for room that only B can see
        from.producer.wake();
        switch (from.producer.wait_until([&] { return from.ring.has_record(); }, from.limit_ms)) {
        case partner::outcome::ready: break;
        case partner::outcome::partner_died:
            throw std::runtime_error("the producer died: the output is incomplete");
        default: throw std::runtime_error("the producer is there, but sends nothing");
        }
    }
}

// The last record says how long the stream was.
void check_total(std::string_view last, std::uint64_t total) {
    std::uint64_t expected = 0;
    if (last.size() != sizeof expected) {
        throw ring::damaged();
    }
    std::memcpy(&expected, last.data(), sizeof expected);
    if (total != expected) {
        throw ring::damaged();
    }
}

// Passes each record to use(bytes) and returns the number of bytes.
template <class Use> std::uint64_t receive_stream(const stream& from, const Use& use) {
    std::uint64_t total = 0;
    // ANCHOR: receive_stream
    for (;;) {
        const ring::record record = wait_for_record(from);
        if (record.what == ring::kind::end) {
            check_total(record.bytes, total);
            return total;
        }
        use(record.bytes); // they are still in the ring
        total += record.bytes.size();
        from.ring.release();
        from.producer.wake(); // a system call only if A sleeps
    }
    // ANCHOR_END: receive_stream
}

// Releases the last record: A learns that everything was used.
void confirm_end(const stream& from) {
    from.ring.release();
    from.ring.flush();
    from.producer.wake();
}

void return_record(const stream& from, std::string_view bytes) {
    char* room = from.replies.reserve(static_cast<std::uint32_t>(bytes.size()));
    if (room == nullptr) {
        throw std::runtime_error("the producer reads no replies");
    }
    ring::copy_bytes(room, bytes.data(), bytes.size());
    from.replies.commit(static_cast<std::uint32_t>(bytes.size()));
    from.replies.flush();
}

void check_generated(const std::vector<char>& pattern, std::uint64_t position,
                     std::string_view bytes) {
    if (bytes.size() > protocol::record_bytes ||
        bytes != std::string_view(protocol::pattern_at(pattern, position), bytes.size())) {
        throw std::runtime_error("wrong bytes arrived");
    }
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
    // A creates wake_a last: when this event exists, so do the other objects.
    const auto wake_a = open_event(name(protocol::wake_a_name), EVENT_MODIFY_STATE, limit.ms);
    const auto wake_b = open_event(name(protocol::wake_b_name), SYNCHRONIZE, 0);
    const ipc::unique_handle mapping(OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE,
                                                      name(protocol::memory_name).c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    const char* other = map_half(mapping.get(), FILE_MAP_READ, 0);
    const ipc::scope_exit unmap_other([&] { UnmapViewOfFile(other); });
    char* own = map_half(mapping.get(), FILE_MAP_WRITE, protocol::half_bytes);
    const ipc::scope_exit unmap_own([&] { UnmapViewOfFile(own); });
    const auto& a = *reinterpret_cast<const protocol::half*>(other);
    auto& b = *reinterpret_cast<protocol::half*>(own);
    const auto process = open_producer(a);
    partner producer(wake_b.get(), wake_a.get(), b, a);
    producer.set_process(process.get());
    register_consumer(b, producer);
    ipc::print_line("B: the producer is there");

    ring::reader records(a.written, b.read, other + protocol::data_start, protocol::ring_bytes);
    ring::writer replies(b.written, a.read, own + protocol::data_start, protocol::ring_bytes);
    const stream from{records, replies, producer, limit.ms};
    std::uint64_t total = 0;
    switch (a.what.load()) { // once: A could change it
    case protocol::content::stream:
        total = receive_stream(from, [&](std::string_view bytes) { sink.write(bytes); });
        sink.finish();
        break;
    case protocol::content::generated: {
        const std::vector<char> pattern = protocol::make_pattern();
        std::uint64_t position = 0;
        total = receive_stream(from, [&](std::string_view bytes) {
            check_generated(pattern, position, bytes);
            position += bytes.size();
        });
        break;
    }
    case protocol::content::ping:
        total = receive_stream(from, [&](std::string_view bytes) { return_record(from, bytes); });
        break;
    default: throw ring::damaged();
    }
    confirm_end(from);
    ipc::print_line("B: the stream ended after {} bytes", total);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
