// Exercise 16.1: A sends lines through the ring in batches. The last ones never arrive: mend it.
//
// Run: processA [--name SUFFIX] COUNT, and then the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
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

using protocol::connection;

constexpr auto usage = "processA [--name SUFFIX] COUNT";

ipc::unique_handle require_object(HANDLE created, const char* call) {
    ipc::unique_handle object(created);
    if (!object) {
        ipc::throw_last_error(call);
    }
    return object;
}

ipc::unique_handle create_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE created = CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE,
                                              0, 2 * protocol::half_bytes, name.c_str());
    const bool exists = GetLastError() == ERROR_ALREADY_EXISTS;
    auto mapping = require_object(created, "CreateFileMappingW");
    if (exists) {
        throw std::runtime_error("the name is taken: another processA or its processB is running");
    }
    return mapping;
}

void send_record(connection& consumer, std::string_view bytes, ring::kind type) {
    const auto length = static_cast<std::uint32_t>(bytes.size());
    char* room = consumer.out.reserve(length);
    while (room == nullptr) {
        consumer.wait_until([&] { return consumer.out.reader_moved(); });
        room = consumer.out.reserve(length);
    }
    bytes.copy(room, bytes.size());
    consumer.out.commit(length, type);
    if (consumer.out.unpublished_bytes() >= protocol::batch_bytes) {
        consumer.out.publish();
        consumer.wake();
    }
}

void send_lines(connection& consumer, std::uint64_t count) {
    std::uint64_t total = 0;
    for (std::uint64_t i = 1; i <= count; ++i) {
        const std::string line = "line " + std::to_string(i) + "\n";
        send_record(consumer, line, ring::kind::data);
        total += line.size();
    }
    ipc::print_line("A: sent {} lines", count);
    send_record(consumer, {reinterpret_cast<const char*>(&total), sizeof total}, ring::kind::end);
    while (!consumer.out.all_read()) {
        consumer.wait_until([&] { return consumer.out.reader_moved(); });
    }
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
    const auto mapping = create_mapping(name(protocol::memory_name));
    const protocol::view own(mapping.get(), FILE_MAP_WRITE, 0);
    const protocol::view other(mapping.get(), FILE_MAP_READ, protocol::half_bytes);
    new (&own.header()) protocol::half{};
    protocol::half& a = own.header();
    a.magic = protocol::magic;
    a.version = protocol::version;
    a.data_bytes = protocol::ring_bytes;
    a.process_id = GetCurrentProcessId();
    a.what = protocol::content::stream;
    ipc::user_only_security security;
    const auto wake_b = require_object(
        CreateEventW(security.get(), FALSE, FALSE, name(protocol::wake_b_name).c_str()),
        "CreateEventW");
    const auto wake_a = require_object(
        CreateEventW(security.get(), FALSE, FALSE, name(protocol::wake_a_name).c_str()),
        "CreateEventW");

    connection consumer(a, other.header(), wake_a.get(), wake_b.get(),
                        INFINITE /* B's end ends a wait */);
    std::uint32_t process_id = 0;
    consumer.wait_until([&] { return (process_id = other.header().process_id) != 0; });
    consumer.watch(process_id);
    send_lines(consumer, std::stoull(rest[0]));
    ipc::print_line("A: B has received everything");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
