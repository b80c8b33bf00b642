#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/06_file_mapping_events/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <winioctl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <ios>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"06_file_mapping_events", L"processA.exe");
const std::wstring process_b = program_path(L"06_file_mapping_events", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");
constexpr std::uint64_t endless_bytes = 1ull << 40; // more than any test streams in a minute

using arguments = std::vector<std::wstring>;

arguments a_with(const std::wstring& name, const arguments& more = {}) {
    arguments command = {process_a, L"--name", name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

arguments b_with(const std::wstring& name, const arguments& more = {}) {
    arguments command = {process_b, L"--name", name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

// A file that is too long to be streamed to its end and takes no room on the disk. Where the file
// system has no sparse files (FAT), the test is skipped.
std::wstring endless_file(const ipc::test::temporary_folder& folder) {
    std::wstring path = folder.file(L"endless.bin");
    const ipc::unique_handle file(
        CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_ALWAYS, 0, nullptr));
    REQUIRE(file);
    DWORD returned = 0;
    if (!DeviceIoControl(file.get(), FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &returned,
                         nullptr)) {
        SKIP("The file system of the temporary folder has no sparse files");
    }
    LARGE_INTEGER size{};
    size.QuadPart = endless_bytes;
    REQUIRE(SetFilePointerEx(file.get(), size, nullptr, FILE_BEGIN));
    REQUIRE(SetEndOfFile(file.get()));
    return path;
}

// A and B in the middle of a stream that does not end.
struct streaming_pair {
    explicit streaming_pair(const std::wstring& in)
        : a(a_with(name, {L"--in", in})), b(b_with(name, {L"--out", L"NUL"})) {
        REQUIRE(a.wait_for_output("A: a consumer is there\n"));
        REQUIRE(b.wait_for_output("B: the producer is there\n"));
    }

    std::wstring name = ipc::test::unique_suffix();
    program a;
    program b;
};

// This test in the role of A: it creates A's objects and writes any header that it wants.
class fake_producer {
public:
    explicit fake_producer(DWORD bytes = protocol::memory_bytes, DWORD flags = 0)
        : mapping_(CreateFileMappingW(INVALID_HANDLE_VALUE, security_.get(), PAGE_READWRITE | flags,
                                      0, bytes, named(protocol::memory_name).c_str())),
          memory_(static_cast<char*>(MapViewOfFile(mapping_.get(), FILE_MAP_WRITE, 0, 0, 0))) {
        REQUIRE(memory_ != nullptr);
        if (bytes == protocol::memory_bytes && flags == 0) {
            header() = {.producer_id = GetCurrentProcessId()};
        }
    }
    ~fake_producer() { UnmapViewOfFile(memory_); }
    fake_producer(const fake_producer&) = delete;
    fake_producer& operator=(const fake_producer&) = delete;

    const std::wstring& name() const { return name_; }
    char* block() const { return memory_ + protocol::block_start; }
    protocol::block_header& header() const {
        return *reinterpret_cast<protocol::block_header*>(block());
    }

    // Creates the events, and from then on B can find this producer.
    void create_events() {
        empty_.reset(
            CreateEventW(security_.get(), FALSE, FALSE, named(protocol::block_empty_name).c_str()));
        full_.reset(
            CreateEventW(security_.get(), FALSE, FALSE, named(protocol::block_full_name).c_str()));
    }

    void send(std::string_view line) const {
        line.copy(block() + protocol::first_half, line.size());
        header().offset = protocol::first_half;
        header().size = line.size();
        header().total += line.size();
        set_full();
    }
    void set_full() const { SetEvent(full_.get()); }
    bool wait_for_empty(DWORD limit_ms = ipc::test::default_limit_ms) const {
        return WaitForSingleObject(empty_.get(), limit_ms) == WAIT_OBJECT_0;
    }

private:
    std::wstring named(const wchar_t* base) const { return ipc::object_name(base, name_); }

    std::wstring name_ = ipc::test::unique_suffix();
    ipc::user_only_security security_;
    ipc::unique_handle mapping_;
    char* memory_ = nullptr;
    ipc::unique_handle empty_;
    ipc::unique_handle full_;
};

// This test in the role of B: it opens A's objects and does with them what it wants.
class fake_consumer {
public:
    explicit fake_consumer(const std::wstring& name) { // when A has printed its first line
        const auto named = [&](const wchar_t* base) { return ipc::object_name(base, name); };
        full_.reset(OpenEventW(SYNCHRONIZE, FALSE, named(protocol::block_full_name).c_str()));
        empty_.reset(
            OpenEventW(EVENT_MODIFY_STATE, FALSE, named(protocol::block_empty_name).c_str()));
        mapping_.reset(
            OpenFileMappingW(FILE_MAP_WRITE, FALSE, named(protocol::memory_name).c_str()));
        REQUIRE(full_);
        REQUIRE(empty_);
        REQUIRE(mapping_);
    }
    void register_process(DWORD process_id) const {
        void* view = MapViewOfFile(mapping_.get(), FILE_MAP_WRITE, 0, 0, sizeof(LONG));
        REQUIRE(view != nullptr);
        *static_cast<LONG*>(view) = static_cast<LONG>(process_id);
        UnmapViewOfFile(view);
        set_empty();
    }
    void set_empty() const { SetEvent(empty_.get()); }
    std::string block() const {
        const void* view =
            MapViewOfFile(mapping_.get(), FILE_MAP_WRITE, 0, protocol::block_start, 0);
        REQUIRE(view != nullptr);
        const auto* header = static_cast<const protocol::block_header*>(view);
        std::string bytes(static_cast<const char*>(view) + header->offset,
                          static_cast<std::size_t>(header->size));
        UnmapViewOfFile(view);
        return bytes;
    }
    bool wait_for_full() const {
        return WaitForSingleObject(full_.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0;
    }

private:
    ipc::unique_handle mapping_;
    ipc::unique_handle full_;
    ipc::unique_handle empty_;
};

// The address of the block in B's memory.
char* block_in(const program& b) {
    MEMORY_BASIC_INFORMATION memory{};
    const char* address = nullptr;
    while (VirtualQueryEx(b.process(), address, &memory, sizeof memory) == sizeof memory) {
        if (memory.Type == MEM_MAPPED && memory.RegionSize == protocol::block_bytes) {
            return static_cast<char*>(memory.BaseAddress);
        }
        address = static_cast<const char*>(memory.BaseAddress) + memory.RegionSize;
    }
    return nullptr;
}

#if defined(_M_X64) || defined(__x86_64__)
// Runs B to its end as its debugger and returns the offsets of its accesses to the header, in order.
// The header's page is protected, so that each access raises an exception; then the page is opened
// for one instruction.
std::vector<std::size_t> header_accesses(const program& b, char* block, const auto& start) {
    std::vector<std::size_t> accesses;
    const auto protect = [&](DWORD protection) {
        DWORD old = 0;
        REQUIRE(VirtualProtectEx(b.process(), block, 1, protection, &old));
    };
    REQUIRE(DebugActiveProcess(b.id()));
    protect(PAGE_NOACCESS);
    start();
    DEBUG_EVENT event{};
    do {
        REQUIRE(WaitForDebugEvent(&event, ipc::test::default_limit_ms));
        DWORD answer = DBG_CONTINUE; // to a breakpoint too: Windows raises one when it attaches
        if (event.dwDebugEventCode == EXCEPTION_DEBUG_EVENT) {
            const EXCEPTION_RECORD& exception = event.u.Exception.ExceptionRecord;
            const std::size_t offset =
                exception.ExceptionInformation[1] - reinterpret_cast<std::size_t>(block);
            if (exception.ExceptionCode == EXCEPTION_SINGLE_STEP) {
                protect(PAGE_NOACCESS);
            } else if (exception.ExceptionCode == EXCEPTION_ACCESS_VIOLATION &&
                       offset < sizeof(protocol::block_header)) {
                accesses.push_back(offset);
                protect(PAGE_READONLY);
                const ipc::unique_handle thread(
                    OpenThread(THREAD_ALL_ACCESS, FALSE, event.dwThreadId));
                CONTEXT context{};
                context.ContextFlags = CONTEXT_CONTROL;
                REQUIRE(GetThreadContext(thread.get(), &context));
                context.EFlags |= 0x100; // the trap flag: an exception after one instruction
                REQUIRE(SetThreadContext(thread.get(), &context));
            } else if (exception.ExceptionCode != EXCEPTION_BREAKPOINT) {
                answer = DBG_EXCEPTION_NOT_HANDLED;
            }
        }
        ContinueDebugEvent(event.dwProcessId, event.dwThreadId, answer);
    } while (event.dwDebugEventCode != EXIT_PROCESS_DEBUG_EVENT);
    return accesses;
}
#endif

constexpr auto name_taken = "A: the name is taken: ";
constexpr auto consumer_ended = "A: the consumer ended before it had received everything";
constexpr auto producer_died = "B: the producer died: the output is incomplete";
constexpr auto wrong_header = "B: the producer's header is wrong: the output is incomplete";

} // namespace

TEST_CASE("200 MB arrive unchanged, and both programs need little memory") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, 200'000'000);
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--in", in}));
    program b(b_with(name, {L"--out", out}));
    check_succeeded(a, "A: the consumer has received all 200000000 bytes");
    check_succeeded(b, "B: the stream ended after 200000000 bytes");
    CHECK(ipc::test::same_content(in, out));
    CHECK(a.peak_memory_bytes() < 20 << 20);
    CHECK(b.peak_memory_bytes() < 20 << 20);
}

TEST_CASE("Streams of every size arrive unchanged: empty, as long as a half, one byte more") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    for (const std::uint64_t size : std::initializer_list<std::uint64_t>{
             0, 1, protocol::half_bytes - 1, protocol::half_bytes, protocol::half_bytes + 1,
             2 * protocol::half_bytes, 3 * protocol::half_bytes + 7}) {
        INFO("size: " << size);
        ipc::test::write_random_file(in, size, size);
        std::filesystem::resize_file(in, size); // the generator writes 8 bytes at a time
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--in", in}));
        program b(b_with(name, {L"--out", out}));
        check_succeeded(a, "A: the consumer has received all " + std::to_string(size) + " bytes");
        check_succeeded(b, "B: the stream ended after " + std::to_string(size) + " bytes");
        CHECK(ipc::test::same_content(in, out));
    }
}

TEST_CASE("B shows a line that continues in the next half, and a last line without a line break") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.txt");
    {
        std::ofstream file(std::filesystem::path(in), std::ios::binary);
        for (int i = 0; i < 3; ++i) { // one byte less than a half holds
            file << std::string(protocol::half_bytes / 3 - 1, static_cast<char>('a' + i)) << '\n';
        }
        file << "continues in the next half\nno line break";
    }
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--in", in}));
    program b(b_with(name));
    REQUIRE(a.wait());
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK_THAT(b.output(),
               ContainsSubstring("B: | continues in the next half\nB: | no line break\n"));
    CHECK(b.exit_code() == 0);
}

TEST_CASE("A and B can be started in either order") {
    for (const bool a_first : {true, false}) {
        const std::wstring name = ipc::test::unique_suffix();
        std::optional<program> a;
        std::optional<program> b;
        if (a_first) {
            a.emplace(a_with(name));
            REQUIRE(a->wait_for_output("A: waiting for a consumer\n"));
            b.emplace(b_with(name));
        } else {
            b.emplace(b_with(name));
            CHECK_FALSE(b->wait(200)); // it waits, or has not started yet
            a.emplace(a_with(name));
        }
        check_succeeded(*a, "A: the consumer has received all 108 bytes");
        check_succeeded(*b, "B: the stream ended after 108 bytes");
    }
}

TEST_CASE("A name can be used again as soon as both programs have ended") {
    const std::wstring name = ipc::test::unique_suffix();
    for (int i = 0; i < 5; ++i) {
        program a(a_with(name));
        program b(b_with(name));
        check_succeeded(a, "A: the consumer has received all 108 bytes");
        check_succeeded(b, "B: the stream ended after 108 bytes");
    }
}

TEST_CASE("Without a partner each program waits for --limit and says what to start") {
    program a(a_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    CHECK_FALSE(a.wait(500));
    REQUIRE(a.wait(8'000)); // less than the default of 20 s
    REQUIRE(b.wait(8'000));
    check_failed(a, "A: no consumer came: start processB");
    check_failed(b, "B: no producer at Local\\ipc_demos.06.block_full.");
    CHECK_THAT(b.error_output(), EndsWith(": start processA\n"));
}

TEST_CASE("A partner that lives but does nothing is waited for no longer than --limit") {
    fake_producer producer;
    producer.create_events();
    program b(b_with(producer.name(), {L"--limit", L"2"}));
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"2"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    const fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    REQUIRE(consumer.wait_for_full());
    CHECK_FALSE(a.wait(1'000)); // the limit starts again with each wait
    REQUIRE(a.wait(8'000));
    REQUIRE(b.wait(8'000));
    check_failed(a, "A: the consumer is there, but reads nothing");
    check_failed(b, "B: the producer is there, but sends nothing");
}

TEST_CASE("With --limit 0 both programs wait on") {
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"0"}));
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"0"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    CHECK_FALSE(a.wait(300));
    CHECK_FALSE(b.wait(0));
    program partner(b_with(name, {L"--limit", L"0"}));
    check_succeeded(a, "A: the consumer has received all 108 bytes");
    check_succeeded(partner, "B: the stream ended after 108 bytes");
}

TEST_CASE("A second A says that the name is taken and does not disturb the first") {
    const std::wstring name = ipc::test::unique_suffix();
    program first(a_with(name));
    REQUIRE(first.wait_for_output("A: waiting for a consumer\n"));
    program second(a_with(name));
    check_failed(second, name_taken);
    CHECK(second.output().empty());
    program b(b_with(name));
    check_succeeded(first, "A: the consumer has received all 108 bytes");
    check_succeeded(b, "B: the stream ended after 108 bytes");
}

TEST_CASE("The name stays taken while any process has one of the objects open") {
    const std::wstring name = ipc::test::unique_suffix();
    std::optional<program> first(a_with(name));
    REQUIRE(first->wait_for_output("A: waiting for a consumer\n"));
    std::optional<fake_consumer> consumer(name);
    first->kill();
    REQUIRE(first->wait());
    program second(a_with(name));
    check_failed(second, name_taken);
    consumer.reset();
    program third(a_with(name));
    REQUIRE(third.wait_for_output("A: waiting for a consumer\n"));
}

TEST_CASE("A second B is refused and does not disturb the first") {
    const ipc::test::temporary_folder folder;
    streaming_pair pair(endless_file(folder));
    for (int i = 0; i < 3; ++i) {
        program second(b_with(pair.name, {L"--out", L"NUL"}));
        check_failed(second, "B: the producer has a consumer already");
    }
    CHECK_FALSE(pair.a.wait(0));
    CHECK_FALSE(pair.b.wait(0));
}

TEST_CASE("If many Bs start at once, exactly one becomes the consumer") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = endless_file(folder);
    const std::wstring name = ipc::test::unique_suffix();
    constexpr int count = 6;
    std::vector<std::unique_ptr<program>> consumers;
    for (int i = 0; i < count; ++i) {
        consumers.push_back(std::make_unique<program>(b_with(name, {L"--out", L"NUL"})));
    }
    program a(a_with(name, {L"--in", in}));
    const auto has_ended = [](const auto& b) { return b->wait(0); };
    for (int i = 0; i < 1'000 && std::ranges::count_if(consumers, has_ended) < count - 1; ++i) {
        REQUIRE_FALSE(a.wait(20));
    }
    REQUIRE(std::ranges::count_if(consumers, has_ended) == count - 1);
    for (const auto& b : consumers) {
        if (has_ended(b)) {
            check_failed(*b, "B: the producer has a consumer already");
        } else {
            CHECK(b->wait_for_output("B: the producer is there\n"));
        }
    }
}

TEST_CASE("B ends and says that its output is incomplete when A is killed, at any moment") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = endless_file(folder);
    std::mt19937 random(60);
    for (int round = 0; round < 15; ++round) {
        streaming_pair pair(in);
        CHECK_FALSE(pair.a.wait(random() % 30));
        pair.a.kill();
        check_failed(pair.b, producer_died);
        CHECK_THAT(pair.b.output(), !ContainsSubstring("the stream ended"));
    }
}

TEST_CASE("A ends and says so when B is killed, at any moment") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = endless_file(folder);
    std::mt19937 random(61);
    for (int round = 0; round < 15; ++round) {
        streaming_pair pair(in);
        CHECK_FALSE(pair.b.wait(random() % 30));
        pair.b.kill();
        check_failed(pair.a, consumer_ended);
        CHECK_THAT(pair.a.output(), !ContainsSubstring("has received all"));
    }
}

TEST_CASE("A notices at once that B died while it read a block") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    program victim({helper, L"hang"}); // the process that this test registers as B
    REQUIRE(victim.wait_for_output("hanging\n"));
    const fake_consumer consumer(name);
    consumer.register_process(victim.id());
    REQUIRE(consumer.wait_for_full());
    CHECK_FALSE(a.wait(300));
    victim.kill();
    CHECK(a.wait(8'000)); // less than the limit of 20 s
    check_failed(a, consumer_ended);
}

TEST_CASE("A notices that B died before it confirmed the end of the stream") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    program victim({helper, L"hang"});
    REQUIRE(victim.wait_for_output("hanging\n"));
    const fake_consumer consumer(name);
    consumer.register_process(victim.id());
    REQUIRE(consumer.wait_for_full());
    consumer.set_empty();
    REQUIRE(consumer.wait_for_full()); // the end of the stream
    CHECK_FALSE(a.wait(300));
    victim.kill();
    check_failed(a, consumer_ended);
}

TEST_CASE("B notices at once that A died") {
    program victim({helper, L"hang"}); // the process that this test gives as A
    REQUIRE(victim.wait_for_output("hanging\n"));
    fake_producer producer;
    producer.header().producer_id = victim.id();
    producer.create_events();
    program b(b_with(producer.name()));
    REQUIRE(producer.wait_for_empty());
    producer.send("one line\n");
    REQUIRE(producer.wait_for_empty());
    CHECK_FALSE(b.wait(300));
    victim.kill();
    CHECK(b.wait(8'000)); // less than the limit of 20 s
    check_failed(b, producer_died);
    CHECK_THAT(b.output(), EndsWith("B: | one line\n"));
}

TEST_CASE("B receives the block that A completed before it died, and then ends") {
    for (const std::string block : {"the last block\n", ""}) { // an empty one is the end
        program victim({helper, L"hang"});
        REQUIRE(victim.wait_for_output("hanging\n"));
        fake_producer producer;
        producer.header().producer_id = victim.id();
        producer.create_events();
        producer.send(block);
        victim.kill();
        REQUIRE(victim.wait()); // the process object exists as long as victim has a handle to it
        program b(b_with(producer.name()));
        if (block.empty()) {
            check_succeeded(b, "B: the stream ended after 0 bytes");
        } else {
            check_failed(b, producer_died);
            CHECK_THAT(b.output(), ContainsSubstring("B: | the last block\n"));
        }
    }
}

TEST_CASE("B refuses every wrong number in a header") {
    const auto block = std::uint64_t{protocol::block_bytes};
    constexpr auto layout = "B: the producer uses another layout of the shared memory";
    const std::vector<std::pair<protocol::block_header, std::string>> wrong_headers = {
        {{.layout = 0}, layout},
        {{.layout = protocol::layout_id + 1}, layout},
        {{.producer_id = 0}, "B: OpenProcess failed: "},
        {{.size = 1ull << 32, .total = 1ull << 32}, wrong_header},
        {{.size = block + 1, .total = block + 1}, wrong_header},
        {{.offset = 1, .size = block, .total = block}, wrong_header},
        {{.offset = block + 1}, wrong_header},
        {{.offset = protocol::first_half, .size = ~0ull, .total = ~0ull}, wrong_header},
        {{.offset = ~0ull, .size = 1, .total = 1}, wrong_header},
        {{.offset = protocol::first_half, .size = 10, .total = 20}, wrong_header},
        {{.total = 1}, wrong_header},
    };
    for (const auto& [wrong, line] : wrong_headers) {
        INFO("offset: " << wrong.offset << ", size: " << wrong.size << ", total: " << wrong.total);
        fake_producer producer;
        const DWORD id = producer.header().producer_id;
        producer.header() = wrong;
        if (!line.starts_with("B: OpenProcess")) {
            producer.header().producer_id = id;
        }
        producer.create_events();
        producer.set_full();
        program b(b_with(producer.name(), {L"--out", L"NUL"}));
        check_failed(b, line);
    }
}

TEST_CASE("B refuses memory that is too small or only reserved, and a mutex in place of an event") {
    {
        fake_producer producer(protocol::block_start);
        producer.create_events();
        program b(b_with(producer.name()));
        check_failed(b, "B: MapViewOfFile failed: ");
    }
    {
        fake_producer producer(protocol::memory_bytes, SEC_RESERVE);
        producer.create_events();
        program b(b_with(producer.name()));
        check_failed(b, "B: the producer shares too little memory");
    }
    {
        const std::wstring name = ipc::test::unique_suffix();
        const ipc::unique_handle event(CreateMutexW(
            nullptr, FALSE, ipc::object_name(protocol::block_full_name, name).c_str()));
        program b(b_with(name));
        check_failed(b, "B: OpenEventW failed: ERROR_INVALID_HANDLE (6)");
    }
}

TEST_CASE("B reads each field of a header once: a producer cannot change it after the check") {
#if defined(_M_X64) || defined(__x86_64__)
    fake_producer producer;
    producer.create_events();
    program b(b_with(producer.name()));
    REQUIRE(producer.wait_for_empty());
    const std::vector<std::size_t> accesses =
        header_accesses(b, block_in(b), [&] { producer.send(""); }); // the end of the stream
    check_succeeded(b, "B: the stream ended after 0 bytes");
    using header = protocol::block_header;
    for (const std::size_t field :
         {offsetof(header, offset), offsetof(header, size), offsetof(header, total)}) {
        INFO("field at " << field);
        CHECK(std::ranges::count(accesses, field) == 1);
    }
    CHECK(accesses.size() == 3);
#else
    SKIP("The trap flag is x64's, and a 32-bit program reads a 64-bit field in two parts");
#endif
}

TEST_CASE("A does not change a half that B has not returned") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 4 * protocol::half_bytes);
    const std::string expected = ipc::test::read_file(in);
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--in", in}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    const fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    std::string received;
    for (int block = 0; block < 4; ++block) {
        REQUIRE(consumer.wait_for_full());
        CHECK_FALSE(a.wait(100)); // A has the time to read on
        received += consumer.block();
        consumer.set_empty();
    }
    CHECK((received == expected)); // in parentheses: Catch2 does not print 4 MiB
    REQUIRE(consumer.wait_for_full());
    consumer.set_empty();
    check_succeeded(a, "A: the consumer has received all 4194304 bytes");
}

TEST_CASE("A refuses a consumer whose process id belongs to no process") {
    const std::wstring name = ipc::test::unique_suffix();
    for (const DWORD id : {0ul, 0xFFFFFFFFul}) {
        program a(a_with(name));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        const fake_consumer consumer(name);
        consumer.register_process(id);
        check_failed(a, "A: OpenProcess failed: ERROR_INVALID_PARAMETER (87)");
    }
}

TEST_CASE("B's only view of the block is read-only") {
    fake_producer producer;
    producer.create_events();
    program b(b_with(producer.name()));
    REQUIRE(producer.wait_for_empty());
    const ipc::unique_handle process(OpenProcess(PROCESS_QUERY_INFORMATION, FALSE, b.id()));
    std::vector<std::pair<DWORD, SIZE_T>> views;
    MEMORY_BASIC_INFORMATION memory{};
    const char* address = nullptr;
    while (VirtualQueryEx(process.get(), address, &memory, sizeof memory) == sizeof memory) {
        if (memory.Type == MEM_MAPPED &&
            (memory.RegionSize == protocol::block_bytes || memory.Protect == PAGE_READWRITE)) {
            views.emplace_back(memory.Protect, memory.RegionSize);
        }
        address = static_cast<const char*>(memory.BaseAddress) + memory.RegionSize;
    }
    CHECK(std::ranges::count(views,
                             std::pair<DWORD, SIZE_T>(PAGE_READONLY, protocol::block_bytes)) == 1);
    CHECK(std::ranges::count_if(views, [](const auto& view) {
              return view.first != PAGE_READONLY && view.second >= protocol::block_bytes;
          }) == 0);
}

TEST_CASE("The number of handles does not grow during a stream") {
    const ipc::test::temporary_folder folder;
    streaming_pair pair(endless_file(folder));
    CHECK_FALSE(pair.a.wait(100));
    const DWORD a_before = ipc::test::handle_count(pair.a.process());
    const DWORD b_before = ipc::test::handle_count(pair.b.process());
    CHECK_FALSE(pair.a.wait(300)); // a hundred blocks or more
    constexpr DWORD margin = 10;   // other software and the system may open some
    CHECK(ipc::test::handle_count(pair.a.process()) <= a_before + margin);
    CHECK(ipc::test::handle_count(pair.b.process()) <= b_before + margin);
}

TEST_CASE("Ctrl+C ends a waiting A, which says so") {
    program a(a_with(ipc::test::unique_suffix()));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    a.press_ctrl_c();
    check_failed(a, "A: stopped by Ctrl+C");
}

TEST_CASE("Ctrl+C ends a waiting B, which says so") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out.bin");
    program b(b_with(ipc::test::unique_suffix(), {L"--out", out}));
    while (!std::filesystem::exists(out)) { // B creates its output just before it waits
        REQUIRE_FALSE(b.wait(1));
    }
    CHECK_FALSE(b.wait(300));
    b.press_ctrl_c();
    check_failed(b, "B: stopped by Ctrl+C: no producer has come");
}

TEST_CASE("Ctrl+C ends a streaming A, and B says that its output is incomplete") {
    const ipc::test::temporary_folder folder;
    streaming_pair pair(endless_file(folder));
    pair.a.press_ctrl_c();
    check_failed(pair.a, "A: stopped by Ctrl+C");
    check_failed(pair.b, producer_died);
}

TEST_CASE("Ctrl+C ends B, which says that its output is incomplete, and A notices") {
    const ipc::test::temporary_folder folder;
    streaming_pair pair(endless_file(folder));
    pair.b.press_ctrl_c();
    check_failed(pair.b, "B: stopped by Ctrl+C: the output is incomplete");
    check_failed(pair.a, consumer_ended);
}

TEST_CASE("Five pairs at once under different names do not disturb each other") {
    std::vector<std::wstring> names;
    std::vector<std::unique_ptr<program>> producers;
    std::vector<std::unique_ptr<program>> consumers;
    for (int i = 0; i < 5; ++i) {
        names.push_back(ipc::test::unique_suffix());
        producers.push_back(std::make_unique<program>(a_with(names.back())));
    }
    for (const auto& a : producers) { // all of them run before the first can end
        REQUIRE(a->wait_for_output("A: waiting for a consumer\n"));
    }
    for (const std::wstring& name : names) {
        consumers.push_back(std::make_unique<program>(b_with(name)));
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        check_succeeded(*producers[i], "A: the consumer has received all 108 bytes");
        check_succeeded(*consumers[i], "B: the stream ended after 108 bytes");
    }
}

TEST_CASE("A file that cannot be opened is an error before anything is shared") {
    const std::wstring path = L"C:\\no such folder\\x";
    const ipc::test::result a = run(a_with(ipc::test::unique_suffix(), {L"--in", path}));
    CHECK(a.exit_code == 1);
    CHECK(a.output.empty());
    CHECK_THAT(a.error_output, StartsWith("A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3): "));
    const ipc::test::result b = run(b_with(ipc::test::unique_suffix(), {L"--out", path}));
    CHECK(b.exit_code == 1);
    CHECK(b.output.empty());
    CHECK_THAT(b.error_output, StartsWith("B: CreateFileW failed: ERROR_PATH_NOT_FOUND (3): "));
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    for (const std::wstring& path : {process_a, process_b}) {
        const std::vector<arguments> wrong = {
            {path, L"--no-such-option"}, {path, L"--name"}, {path, L"unexpected"}};
        for (const arguments& command : wrong) {
            const ipc::test::result refused = run(command);
            CHECK(refused.exit_code == 2);
            CHECK(refused.output.empty());
            CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
            CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
        }
    }
}

TEST_CASE("Both programs show their usage with --help") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
