// Demo 16, process B: receives records through a ring in memory that another process fills.
//
// B (the consumer) opens the objects that A has created; its view of A's half of the memory is
// read-only. It uses each record where it is, then moves its own position forward, and A may
// overwrite the record. It checks every number that it reads in the memory before it uses it.
//
// Run: processB [--name SUFFIX] [--out FILE] [--limit SECONDS]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using protocol::connection;

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
        Sleep(retry_pause_ms); // between two looks for the name
    }
}

void check_layout(const protocol::half& a) {
    if (a.magic != protocol::magic || a.version != protocol::version ||
        a.data_bytes != protocol::ring_bytes) {
        throw std::runtime_error("the producer uses another layout of the shared memory");
    }
}

// Makes this process the only consumer. The slot is never reused: a second B would receive the rest
// of a stream without its start.
void register_consumer(protocol::half& b) {
    std::uint32_t nobody = 0;
    if (!b.process_id.compare_exchange_strong(nobody, GetCurrentProcessId())) {
        throw std::runtime_error("the producer has a consumer already");
    }
}

// Passes each record to use(bytes) and returns the number of bytes.
template <class Use> std::uint64_t receive_stream(connection& producer, const Use& use) {
    std::uint64_t total = 0;
    // ANCHOR: receive_stream
    ring::record record = producer.wait_for_record();
    while (record.type == ring::kind::data) {
        use(record.bytes); // they are still in the ring
        total += record.bytes.size();
        producer.in.release();
        producer.wake(); // a system call only if A sleeps
        record = producer.wait_for_record();
    }
    // ANCHOR_END: receive_stream
    if (record.bytes != std::string_view(reinterpret_cast<const char*>(&total), sizeof total)) {
        throw ring::damaged(); // the last record says how long the stream was
    }
    return total;
}

void return_record(connection& producer, std::string_view bytes) {
    char* room = producer.wait_for_room(static_cast<std::uint32_t>(bytes.size()));
    ring::copy_bytes(room, bytes.data(), bytes.size());
    producer.out.commit(static_cast<std::uint32_t>(bytes.size())); // shown before the next wait
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
    const protocol::view other(mapping.get(), FILE_MAP_READ, 0);
    const protocol::view own(mapping.get(), FILE_MAP_WRITE, protocol::half_bytes);
    const protocol::half& a = other.header();
    check_layout(a);
    connection producer(own.header(), a, wake_b.get(), wake_a.get(), limit.ms);
    producer.watch(a.process_id);
    register_consumer(own.header());
    producer.wake();
    ipc::print_line("B: the producer is there");

    std::uint64_t total = 0;
    switch (a.what.load()) { // once: A could change it
    case protocol::content::stream:
        total = receive_stream(producer, [&](std::string_view bytes) {
            producer.in.flush(); // shows A this progress: the next call can take long
            producer.wake();
            sink.write(bytes);
        });
        break;
    case protocol::content::generated: {
        const std::vector<char> pattern = protocol::make_pattern();
        std::uint64_t position = 0;
        total = receive_stream(producer, [&](std::string_view bytes) {
            check_generated(pattern, position, bytes);
            position += bytes.size();
        });
        break;
    }
    case protocol::content::ping:
        total = receive_stream(producer,
                               [&](std::string_view bytes) { return_record(producer, bytes); });
        break;
    default: throw ring::damaged();
    }
    sink.finish();
    producer.in.release(); // the last record: A learns that everything was used
    producer.in.flush();
    producer.wake();
    ipc::print_line("B: the stream ended after {} bytes", total);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
