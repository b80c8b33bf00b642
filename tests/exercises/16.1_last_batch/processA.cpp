// SOLUTION: a record is visible when it is published. Whoever collects records in batches publishes the last, smaller
// batch before every wait: for room as well as at the end. flush does it, with the barrier that belongs before a look
// at whether the other process sleeps.
// STARTER
//~ // Exercise 16.1: A sends lines through the ring in batches. The last ones never arrive: mend it.
// END
//
// Run: processA [--name SUFFIX] COUNT, and then the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using protocol::partner;

constexpr auto usage = "processA [--name SUFFIX] COUNT";

ipc::unique_handle require_object(HANDLE created, const char* call) {
    ipc::unique_handle object(created);
    if (!object) {
        ipc::throw_last_error(call);
    }
    return object;
}

char* map_half(HANDLE mapping, DWORD access, DWORD offset) {
    void* view = MapViewOfFile(mapping, access, 0, offset, protocol::half_bytes);
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<char*>(view);
}

struct stream {
    ring::writer& ring;
    partner& consumer;
};

void require_ready(partner::outcome outcome) {
    if (outcome != partner::outcome::ready) {
        throw std::runtime_error("the consumer has ended");
    }
}

void send_record(const stream& to, std::string_view bytes, ring::kind what) {
    const auto length = static_cast<std::uint32_t>(bytes.size());
    char* room = to.ring.reserve(length);
    while (room == nullptr) {
        // SOLUTION: the last batch may be what the consumer needs to go on.
        to.ring.flush();
        to.consumer.wake();
        // STARTER
        // END
        require_ready(to.consumer.wait_until([&] { return to.ring.has_room(length); },
                                             INFINITE /* B's end ends the wait */));
        room = to.ring.reserve(length);
    }
    bytes.copy(room, bytes.size());
    to.ring.commit(length, what);
    if (to.ring.unpublished_bytes() >= protocol::batch_bytes) {
        to.ring.publish();
        to.consumer.wake();
    }
}

void send_lines(const stream& to, std::uint64_t count) {
    std::uint64_t total = 0;
    for (std::uint64_t i = 1; i <= count; ++i) {
        const std::string line = "line " + std::to_string(i) + "\n";
        send_record(to, line, ring::kind::data);
        total += line.size();
    }
    ipc::print_line("A: sent {} lines", count);
    send_record(to, {reinterpret_cast<const char*>(&total), sizeof total}, ring::kind::end);
    // SOLUTION: the last records are fewer than a batch.
    to.ring.flush();
    to.consumer.wake();
    // STARTER
    // END
    require_ready(to.consumer.wait_until([&] { return to.ring.all_read(); },
                                         INFINITE /* B's end ends the wait */));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::vector<std::wstring> rest;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}}, &rest);
    if (rest.size() != 1) {
        throw ipc::usage_error(usage);
    }
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    ipc::user_only_security security;
    const auto mapping = require_object(
        CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE, 0,
                           2 * protocol::half_bytes, name(protocol::memory_name).c_str()),
        "CreateFileMappingW");
    char* own = map_half(mapping.get(), FILE_MAP_WRITE, 0);
    const ipc::scope_exit unmap_own([&] { UnmapViewOfFile(own); });
    const char* other = map_half(mapping.get(), FILE_MAP_READ, protocol::half_bytes);
    const ipc::scope_exit unmap_other([&] { UnmapViewOfFile(other); });
    new (own) protocol::half{};
    auto& a = *reinterpret_cast<protocol::half*>(own);
    const auto& b = *reinterpret_cast<const protocol::half*>(other);
    a.magic = protocol::magic;
    a.version = protocol::version;
    a.data_bytes = protocol::ring_bytes;
    a.process_id = GetCurrentProcessId();
    a.what = protocol::content::stream;
    ring::writer records(a.written, b.read, own + protocol::data_start, protocol::ring_bytes);
    const auto wake_b = require_object(
        CreateEventW(security.get(), FALSE, FALSE, name(protocol::wake_b_name).c_str()),
        "CreateEventW");
    const auto wake_a = require_object(
        CreateEventW(security.get(), FALSE, FALSE, name(protocol::wake_a_name).c_str()),
        "CreateEventW");

    partner consumer(wake_a.get(), wake_b.get(), a, b);
    require_ready(consumer.wait_until([&] { return b.process_id.load() != 0; },
                                      INFINITE /* until somebody starts B */));
    const auto process =
        require_object(OpenProcess(SYNCHRONIZE, FALSE, b.process_id.load()), "OpenProcess");
    consumer.set_process(process.get());
    send_lines({records, consumer}, std::stoull(rest[0]));
    ipc::print_line("A: B has received everything");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
