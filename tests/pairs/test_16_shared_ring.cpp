#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/16_shared_ring/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/pairs/ring_threads.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::processor_ms;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"16_shared_ring", L"processA.exe");
const std::wstring process_b = program_path(L"16_shared_ring", L"processB.exe");
const std::wstring helper = program_path(L"tests", L"helper.exe");
constexpr std::uint32_t ring_bytes = protocol::ring_bytes;
constexpr auto endless = L"1000000000000000"; // for --bytes: more than any test streams in a minute

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

// A and B in the middle of a stream that does not end.
struct streaming_pair {
    explicit streaming_pair(std::wstring suffix = ipc::test::unique_suffix())
        : name(std::move(suffix)), a(a_with(name, {L"--bytes", endless})), b(b_with(name)) {
        REQUIRE(a.wait_for_output("A: a consumer is there\n"));
        REQUIRE(b.wait_for_output("B: the producer is there\n"));
    }

    std::wstring name;
    program a;
    program b;
};

ipc::unique_handle open_mapping(const std::wstring& name) {
    ipc::unique_handle mapping(
        OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE,
                         ipc::object_name(protocol::memory_name, name).c_str()));
    REQUIRE(mapping);
    return mapping;
}

// The whole shared memory, mapped for writing.
class memory_view {
public:
    explicit memory_view(HANDLE mapping)
        : view_(
              static_cast<char*>(MapViewOfFile(mapping, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0))) {
        REQUIRE(view_ != nullptr);
    }
    ~memory_view() { UnmapViewOfFile(view_); }
    memory_view(const memory_view&) = delete;
    memory_view& operator=(const memory_view&) = delete;

    char* begin() const { return view_; }
    protocol::half& a() const { return *reinterpret_cast<protocol::half*>(view_); }
    protocol::half& b() const {
        return *reinterpret_cast<protocol::half*>(view_ + protocol::half_bytes);
    }
    char* a_ring() const { return view_ + protocol::data_start; }
    char* b_ring() const { return view_ + protocol::half_bytes + protocol::data_start; }

private:
    char* view_;
};

// This test in the role of A: it creates A's objects and writes whatever it wants.
class fake_producer {
public:
    explicit fake_producer(DWORD bytes = 2 * protocol::half_bytes, DWORD flags = 0)
        : mapping_(CreateFileMappingW(INVALID_HANDLE_VALUE, security_.get(), PAGE_READWRITE | flags,
                                      0, bytes, named(protocol::memory_name).c_str())) {
        REQUIRE(mapping_);
        if (bytes == 2 * protocol::half_bytes && flags == 0) {
            memory_.emplace(mapping_.get());
            header().magic = protocol::magic;
            header().version = protocol::version;
            header().data_bytes = ring_bytes;
            header().what = protocol::content::stream;
            header().process_id = GetCurrentProcessId();
            ring_.emplace(header().written, memory_->b().read, memory_->a_ring(), ring_bytes);
        }
    }

    const std::wstring& name() const { return name_; }
    const memory_view& memory() const { return *memory_; }
    protocol::half& header() const { return memory_->a(); }
    ring::writer& ring() { return *ring_; }

    // Creates the events, and from then on B can find this producer.
    void create_events(BOOL b_never_reset = FALSE) {
        wake_b_.reset(CreateEventW(security_.get(), b_never_reset, FALSE,
                                   named(protocol::wake_b_name).c_str()));
        wake_a_.reset(
            CreateEventW(security_.get(), FALSE, FALSE, named(protocol::wake_a_name).c_str()));
    }

    void put(std::string_view bytes, ring::kind what = ring::kind::data) {
        char* room = ring_->reserve(static_cast<std::uint32_t>(bytes.size()));
        REQUIRE(room != nullptr);
        std::memcpy(room, bytes.data(), bytes.size());
        ring_->commit(static_cast<std::uint32_t>(bytes.size()), what);
    }
    void show() { // all that was put
        ring_->flush();
        wake_b();
    }
    void send(std::string_view bytes) {
        put(bytes);
        show();
    }
    void send_end(std::uint64_t total) {
        put({reinterpret_cast<const char*>(&total), sizeof total}, ring::kind::end);
        show();
    }
    void wake_b() const { SetEvent(wake_b_.get()); }
    bool wait_for_wake(DWORD limit_ms = ipc::test::default_limit_ms) const {
        return WaitForSingleObject(wake_a_.get(), limit_ms) == WAIT_OBJECT_0;
    }
    void wait_for_consumer(const program& b) const {
        while (memory_->b().process_id == 0) {
            REQUIRE_FALSE(b.wait(1));
        }
    }

private:
    std::wstring named(const wchar_t* base) const { return ipc::object_name(base, name_); }

    std::wstring name_ = ipc::test::unique_suffix();
    ipc::user_only_security security_;
    ipc::unique_handle mapping_;
    std::optional<memory_view> memory_;
    std::optional<ring::writer> ring_;
    ipc::unique_handle wake_a_;
    ipc::unique_handle wake_b_;
};

// This test in the role of B: it opens A's objects and does with them what it wants.
class fake_consumer {
public:
    explicit fake_consumer(const std::wstring& name) // when A has printed its first line
        : wake_a_(OpenEventW(EVENT_MODIFY_STATE, FALSE,
                             ipc::object_name(protocol::wake_a_name, name).c_str())),
          wake_b_(OpenEventW(SYNCHRONIZE, FALSE,
                             ipc::object_name(protocol::wake_b_name, name).c_str())),
          memory_(open_mapping(name).get()),
          ring_(memory_.a().written, memory_.b().read, memory_.a_ring(), ring_bytes) {
        REQUIRE(wake_a_);
        REQUIRE(wake_b_);
    }

    const memory_view& memory() const { return memory_; }
    ring::reader& ring() { return ring_; }
    void wake_a() const { SetEvent(wake_a_.get()); }
    void register_process(DWORD process_id) const {
        memory_.b().process_id = process_id;
        wake_a();
    }
    // Whether A has set B's event since the last call.
    bool was_woken(DWORD limit_ms = 0) const {
        return WaitForSingleObject(wake_b_.get(), limit_ms) == WAIT_OBJECT_0;
    }
    // The next record, looked for without a sleep.
    ring::record next(const program& a) {
        for (;;) {
            if (const auto record = ring_.read()) {
                return *record;
            }
            ring_.flush();
            wake_a();
            REQUIRE_FALSE(a.wait(1));
        }
    }
    void release_all() {
        ring_.release();
        ring_.flush();
        wake_a();
    }

private:
    ipc::unique_handle wake_a_;
    ipc::unique_handle wake_b_;
    memory_view memory_;
    ring::reader ring_;
};

std::uint64_t word_of(std::uint32_t position) {
    return std::uint64_t{position} << 32 | position;
}

constexpr auto name_taken = "A: the name is taken: ";
constexpr auto consumer_ended = "A: the other process ended: the stream is incomplete";
constexpr auto producer_died = "B: the other process ended: the stream is incomplete";
constexpr auto b_damaged = "B: the shared memory is damaged";
constexpr auto a_damaged = "A: the shared memory is damaged";

} // namespace

// ---- the ring itself, both ends as threads

TEST_CASE("Records of every length arrive unchanged, beyond the overflow of the position") {
    for (const std::uint32_t batch_bytes : {0U, 1024U}) {
        for (const int spin_looks : {0, 300}) {
            ring_threads::options what;
            what.start = 0U - 1024 * 1024; // 50,000 records are 5 MB
            what.records = 50'000;
            what.batch_bytes = batch_bytes;
            what.spin_looks = spin_looks;
            const ring_threads::counts result = ring_threads::stream(what);
            INFO("batches of " << batch_bytes << " bytes, " << spin_looks << " looks");
            CHECK(result.problem.empty());
            CHECK(result.records == what.records);
            CHECK(result.wrong == 0);
        }
    }
}

TEST_CASE("No wake-up is lost when both ends sleep all the time") {
    ring_threads::options what;
    what.ring_bytes = 256; // one or two records: full or empty after each of them
    what.longest = 40;
    what.records = 30'000;
    const ring_threads::counts result = ring_threads::stream(what);
    CHECK(result.problem.empty());
    CHECK(result.wrong == 0);
    CHECK(result.sleeps > 0);
}

TEST_CASE("One of the two notices when a record is shown while the reader goes to sleep") {
    CHECK(ring_threads::overlooked_wakeups(50'000) == 0);
    CHECK(ring_threads::overlooked_wakeups(50'000, true) == 0);
}

TEST_CASE("A record is in one piece, and as long as a quarter of the ring at the most") {
    ring_threads::shared_memory memory;
    alignas(8) char data[1024];
    ring::writer writer(memory.written, memory.read, data, sizeof data);
    ring::reader reader(memory.written, memory.read, data, sizeof data);
    constexpr std::uint32_t longest = ring::longest_record(sizeof data);
    CHECK(longest == 1024 / 4 - 8);
    CHECK_THROWS_AS(writer.reserve(longest + 1), std::length_error);
    CHECK_THROWS_AS(writer.reserve(0xFFFFFFFF), std::length_error);
    for (std::uint32_t length = 0; length <= longest; ++length) { // starts at many places
        INFO("length " << length);
        char* room = writer.reserve(length);
        REQUIRE(room != nullptr);
        CHECK(room >= data);
        CHECK(room + length <= data + sizeof data);
        writer.commit(length);
        writer.publish();
        const auto record = reader.read();
        REQUIRE(record);
        CHECK(record->bytes.data() == room);
        CHECK(record->bytes.size() == length);
        reader.release();
        reader.flush();
    }
    CHECK(!reader.read());
    CHECK(writer.all_read());
}

TEST_CASE("A full ring takes no record until the reader has released one") {
    ring_threads::shared_memory memory;
    alignas(8) char data[1024];
    ring::writer writer(memory.written, memory.read, data, sizeof data);
    ring::reader reader(memory.written, memory.read, data, sizeof data);
    unsigned count = 0;
    for (; writer.reserve(56) != nullptr; ++count) {
        writer.commit(56);
    }
    CHECK(count == 1024 / 64); // nothing is left over
    CHECK(!reader.read());     // nothing is published
    writer.publish();
    REQUIRE(reader.read());
    CHECK(writer.reserve(56) == nullptr); // read, but not released
    reader.release();
    CHECK(writer.reserve(56) ==
          nullptr); // the reader stores its position for an eighth of the ring
    reader.flush();
    CHECK(writer.reserve(56) != nullptr); // or at once
    CHECK_FALSE(writer.all_read());
    writer.commit(56);
    for (int i = 0; i < 2; ++i) {
        REQUIRE(reader.read());
        CHECK(writer.reserve(56) == nullptr);
        reader.release();
    }
    CHECK(writer.reserve(56) != nullptr); // an eighth
}

TEST_CASE("A process is woken once for each sleep, and never while it is awake") {
    ring_threads::shared_memory memory;
    ring::sleep_signal sleeper(memory.reader_sleep, memory.writer_sleep);
    ring::sleep_signal waker(memory.writer_sleep, memory.reader_sleep);
    CHECK_FALSE(waker.must_wake());
    for (int i = 0; i < 3; ++i) {
        sleeper.announce_sleep();
        CHECK(waker.must_wake());
        CHECK_FALSE(waker.must_wake());
        sleeper.announce_sleep(); // woken for nothing, and asleep again
        CHECK(waker.must_wake());
        CHECK_FALSE(waker.must_wake());
        sleeper.announce_end();
        CHECK_FALSE(waker.must_wake());
    }
}

TEST_CASE("Neither end accepts a position that the other end cannot have reached") {
    const auto wrong_written = [](std::uint64_t word) {
        ring_threads::shared_memory memory;
        alignas(8) char data[1024]{};
        ring::writer writer(memory.written, memory.read, data, sizeof data);
        ring::reader reader(memory.written, memory.read, data, sizeof data);
        for (int i = 0; i < 4; ++i) {
            REQUIRE(writer.reserve(56) != nullptr);
            writer.commit(56);
            writer.publish();
        }
        REQUIRE(reader.read()); // it knows position 256 now
        for (int i = 0; i < 4; ++i) {
            reader.read();
            reader.release();
        }
        writer.reserve(56); // a right header behind the position
        writer.commit(56);
        memory.written.value = word;
        reader.read();
    };
    CHECK_NOTHROW(wrong_written(word_of(256)));
    for (const std::uint64_t word :
         {word_of(248), word_of(0), word_of(256 + 1024 + 8), word_of(0x80000000), word_of(260),
          word_of(256) + 1, word_of(256) + (std::uint64_t{8} << 32), ~std::uint64_t{0}}) {
        INFO("word " << word);
        CHECK_THROWS_AS(wrong_written(word), ring::damaged);
    }
    const auto wrong_read = [](std::uint64_t word) {
        ring_threads::shared_memory memory;
        alignas(8) char data[1024];
        ring::writer writer(memory.written, memory.read, data, sizeof data);
        while (writer.reserve(56) != nullptr) {
            writer.commit(56);
        }
        writer.publish();
        memory.read.value = word_of(128);
        REQUIRE(writer.reserve(56) != nullptr);
        memory.read.value = word;
        return writer.reader_moved();
    };
    CHECK_NOTHROW(wrong_read(word_of(1024)));
    for (const std::uint64_t word : {word_of(120), word_of(0), word_of(1032), word_of(0x80000000),
                                     word_of(132), word_of(128) + 8, ~std::uint64_t{0}}) {
        INFO("word " << word);
        CHECK_THROWS_AS(wrong_read(word), ring::damaged);
    }
}

TEST_CASE("The reader accepts no header that is wrong") {
    const auto read_header = [](std::uint64_t header) {
        ring_threads::shared_memory memory;
        alignas(8) char data[1024]{};
        ring::store_position(memory.written, 1024 + 64, std::memory_order_relaxed);
        ring::store_position(memory.read, 1024 - 64, std::memory_order_relaxed);
        ring::reader reader(memory.written, memory.read, data, sizeof data);
        std::memcpy(data + 1024 - 64, &header, sizeof header); // 64 bytes to the end of the memory
        return reader.read();
    };
    using ring::header_of;
    using ring::kind;
    CHECK(read_header(header_of(960, 56, kind::data))->bytes.size() == 56);
    CHECK(read_header(header_of(960, 0, kind::end))->bytes.empty());
    for (const std::uint64_t header :
         {std::uint64_t{0}, header_of(0, 56, kind::data), header_of(952, 8, kind::data),
          header_of(960, 57, kind::data),       // beyond the end of the memory
          header_of(960, 0xFFFFFF, kind::data), // the longest
          header_of(960, 56, kind::data) + 2,   // no such kind
          header_of(960, 56, kind::data) + 0xFE, ~std::uint64_t{0}}) {
        INFO("header " << header);
        CHECK_THROWS_AS(read_header(header), ring::damaged);
    }
    CHECK_THROWS_AS(read_header(header_of(960, 56, kind::padding)), ring::damaged); // then zeros
    const auto longer_than_published = [] {
        ring_threads::shared_memory memory;
        alignas(8) char data[1024]{};
        ring::writer writer(memory.written, memory.read, data, sizeof data);
        ring::reader reader(memory.written, memory.read, data, sizeof data);
        writer.reserve(56);
        writer.commit(56);
        memory.written.value = word_of(56);
        reader.read();
    };
    CHECK_THROWS_AS(longer_than_published(), ring::damaged);
}

namespace {

// A ring in which both ends work in turn, while random bytes hit the two positions.
class damaged_stream {
public:
    explicit damaged_stream(std::mt19937& random) : random_(random) {}

    // Throws ring::damaged as soon as one of the ends notices something.
    void step() {
        send();
        if (random_() % 8 == 0) {
            damage();
        }
        receive();
    }
    bool right() const { return right_ && received_ <= sent_; }

private:
    void send() {
        const std::uint32_t length = random_() % 40;
        if (char* room = writer_.reserve(length)) {
            std::memset(room, static_cast<int>(sent_++), length);
            writer_.commit(length);
            writer_.publish();
        }
    }
    void damage() { // one byte, some, or all eight of a position
        auto* word = reinterpret_cast<unsigned char*>(random_() % 2 == 0 ? &memory_.written.value
                                                                         : &memory_.read.value);
        for (unsigned i = random_() % 2 == 0 ? 7 : random_() % 8; i < 8; ++i) {
            word[i] = static_cast<unsigned char>(random_());
        }
    }
    void receive() {
        while (const auto record = random_() % 2 == 0 ? reader_.read() : std::nullopt) {
            const auto expected = static_cast<char>(received_++);
            right_ = right_ && std::ranges::count(record->bytes, expected) ==
                                   static_cast<std::ptrdiff_t>(record->bytes.size());
            reader_.release();
        }
    }

    std::mt19937& random_;
    ring_threads::shared_memory memory_;
    alignas(8) char data_[512]{};
    ring::writer writer_{memory_.written, memory_.read, data_, sizeof data_};
    ring::reader reader_{memory_.written, memory_.read, data_, sizeof data_};
    std::uint32_t sent_ = 0;
    std::uint32_t received_ = 0;
    bool right_ = true;
};

} // namespace

TEST_CASE("Random bytes in the positions end a stream with an error, or do not change it") {
    std::mt19937 random(16);
    int errors = 0;
    for (int round = 0; round < 20'000; ++round) {
        damaged_stream stream(random);
        try {
            for (int step = 0; step < 60; ++step) {
                stream.step();
            }
        } catch (const ring::damaged&) {
            ++errors;
        }
        REQUIRE(stream.right());
    }
    CHECK(errors > 10'000);
}

// ---- the programs

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

TEST_CASE("Streams of every size arrive unchanged: empty, as long as a record, one byte more") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    for (const std::uint64_t size : std::initializer_list<std::uint64_t>{
             0, 1, protocol::record_bytes - 1, protocol::record_bytes, protocol::record_bytes + 1,
             ring_bytes, 3 * ring_bytes + 7}) {
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

TEST_CASE("Generated records of many lengths arrive unchanged") {
    for (const wchar_t* size : {L"0", L"1", L"65537", L"300000000"}) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--bytes", size}));
        program b(b_with(name));
        const std::string bytes = std::to_string(std::stoull(size));
        check_succeeded(a, "A: the consumer has received all " + bytes + " bytes");
        check_succeeded(b, "B: the stream ended after " + bytes + " bytes");
    }
}

TEST_CASE("10 GB arrive: the position overflows twice", "[.large]") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--bytes", L"10000000000"}));
    program b(b_with(name));
    check_succeeded(a, "A: the consumer has received all 10000000000 bytes");
    check_succeeded(b, "B: the stream ended after 10000000000 bytes");
}

TEST_CASE("B finds a wrong byte among the generated ones, and one that is missing") {
    const std::vector<char> pattern = protocol::make_pattern();
    for (const bool missing : {false, true}) {
        fake_producer producer;
        producer.header().what = protocol::content::generated;
        producer.create_events();
        program b(b_with(producer.name()));
        std::string bytes(protocol::pattern_at(pattern, 0), 1000);
        producer.send(bytes);
        bytes.assign(protocol::pattern_at(pattern, missing ? 1001 : 1000), 1000);
        bytes[999] = static_cast<char>(missing ? bytes[999] : bytes[999] ^ 1);
        producer.send(bytes);
        check_failed(b, "B: wrong bytes arrived");
    }
}

TEST_CASE("Each record of a ping comes back") {
    for (const char* count : {"0", "1", "30000"}) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--ping", std::wstring(count, count + std::strlen(count))}));
        program b(b_with(name));
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        CHECK_THAT(a.output(),
                   ContainsSubstring("A: " + std::string(count) + " round trips, on average "));
        check_succeeded(b, "B: the stream ended after " + std::to_string(64 * std::stoi(count)) +
                               " bytes");
    }
}

TEST_CASE("A notices that a ping came back changed") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--ping", L"10"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    std::string reply(consumer.next(a).bytes);
    reply[63] ^= 1;
    ring::writer replies(consumer.memory().b().written, consumer.memory().a().read,
                         consumer.memory().b_ring(), ring_bytes);
    std::memcpy(replies.reserve(64), reply.data(), reply.size());
    replies.commit(64);
    replies.flush();
    consumer.wake_a();
    check_failed(a, "A: the consumer returned another record");
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
            CHECK_FALSE(b->wait(200));
            a.emplace(a_with(name));
        }
        check_succeeded(*a, "A: the consumer has received all 103 bytes");
        check_succeeded(*b, "B: the stream ended after 103 bytes");
    }
}

TEST_CASE("Without a partner each program ends after its limit and says what is missing") {
    program a(a_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(a, "A: no consumer came: start processB");
    check_failed(b, "B: no producer at Local\\ipc_demos.16.wake_a.");
}

TEST_CASE("A second A says that the name is taken and does not disturb the first") {
    const std::wstring name = ipc::test::unique_suffix();
    program first(a_with(name));
    REQUIRE(first.wait_for_output("A: waiting for a consumer\n"));
    program second(a_with(name));
    check_failed(second, name_taken);
    CHECK(second.output().empty());
    program b(b_with(name));
    check_succeeded(first, "A: the consumer has received all 103 bytes");
    check_succeeded(b, "B: the stream ended after 103 bytes");
}

TEST_CASE("If many Bs start at once, exactly one becomes the consumer") {
    const std::wstring name = ipc::test::unique_suffix();
    constexpr int count = 5;
    std::vector<std::unique_ptr<program>> consumers;
    for (int i = 0; i < count; ++i) {
        consumers.push_back(std::make_unique<program>(b_with(name)));
    }
    program a(a_with(name, {L"--bytes", endless}));
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
    std::mt19937 random(160);
    const std::wstring name = ipc::test::unique_suffix();
    for (int round = 0; round < 20; ++round) { // the same name: each pair starts clean
        streaming_pair pair(name);
        CHECK_FALSE(pair.a.wait(random() % 20));
        pair.a.kill();
        check_failed(pair.b, producer_died);
        CHECK_THAT(pair.b.output(), !ContainsSubstring("the stream ended"));
        REQUIRE(pair.a.wait());
    }
    program a(a_with(name));
    program b(b_with(name));
    check_succeeded(a, "A: the consumer has received all 103 bytes");
    check_succeeded(b, "B: the stream ended after 103 bytes");
}

TEST_CASE("A ends and says so when B is killed, at any moment") {
    std::mt19937 random(161);
    const std::wstring name = ipc::test::unique_suffix();
    for (int round = 0; round < 20; ++round) {
        streaming_pair pair(name);
        CHECK_FALSE(pair.b.wait(random() % 20));
        pair.b.kill();
        check_failed(pair.a, consumer_ended);
        CHECK_THAT(pair.a.output(), !ContainsSubstring("has received all"));
        REQUIRE(pair.b.wait());
    }
}

TEST_CASE("A producer that died in the middle of a record is told from a slow one") {
    program victim({helper, L"hang"}); // the process that this test gives as A
    REQUIRE(victim.wait_for_output("hanging\n"));
    fake_producer producer;
    producer.header().process_id = victim.id();
    producer.create_events();
    program b(b_with(producer.name()));
    producer.send("one line\n");
    REQUIRE(b.wait_for_output("B: | one line\n"));
    std::memcpy(producer.ring().reserve(100), "half a rec", 10); // neither committed nor shown
    producer.wake_b();
    CHECK_FALSE(b.wait(500)); // slow
    victim.kill();
    CHECK(b.wait(8'000)); // less than the limit of 20 s
    check_failed(b, producer_died);
    CHECK_THAT(b.output(), EndsWith("B: | one line\n"));
}

TEST_CASE("B receives the records that A published before it died, and then ends") {
    for (const bool with_end : {false, true}) {
        program victim({helper, L"hang"});
        REQUIRE(victim.wait_for_output("hanging\n"));
        fake_producer producer;
        producer.header().process_id = victim.id();
        producer.create_events();
        producer.put("first\n");
        producer.put("last\n");
        if (with_end) {
            producer.send_end(11);
        }
        producer.show();
        victim.kill();
        REQUIRE(victim.wait()); // the process object exists as long as victim has a handle to it
        program b(b_with(producer.name()));
        if (with_end) {
            check_succeeded(b, "B: the stream ended after 11 bytes");
        } else {
            check_failed(b, producer_died);
        }
        CHECK_THAT(b.output(), ContainsSubstring("B: | first\nB: | last\n"));
    }
}

TEST_CASE("A sleeping B receives the record that A published before it died without waking B") {
    program victim({helper, L"hang"});
    REQUIRE(victim.wait_for_output("hanging\n"));
    fake_producer producer;
    producer.header().process_id = victim.id();
    producer.create_events();
    program b(b_with(producer.name()));
    while (producer.memory().b().sleep.value == 0) {
        REQUIRE_FALSE(b.wait(1));
    }
    producer.put("last\n");
    producer.ring().flush(); // and no event
    victim.kill();
    check_failed(b, producer_died);
    CHECK_THAT(b.output(), EndsWith("B: | last\n"));
}

TEST_CASE("A notices that B died in the middle of a record, and before it confirmed the end") {
    for (const bool at_end : {false, true}) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(at_end ? a_with(name) : a_with(name, {L"--bytes", endless}));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        program victim({helper, L"hang"}); // the process that this test registers as B
        REQUIRE(victim.wait_for_output("hanging\n"));
        fake_consumer consumer(name);
        consumer.register_process(victim.id());
        CHECK(!consumer.next(a).bytes.empty());
        if (at_end) {
            consumer.release_all();
            CHECK(consumer.next(a).type == ring::kind::end);
        }
        CHECK_FALSE(a.wait(500)); // slow
        victim.kill();
        CHECK(a.wait(8'000)); // less than the limit of 20 s
        check_failed(a, consumer_ended);
    }
}

TEST_CASE("A partner that lives but does nothing ends the other one after its limit") {
    fake_producer producer;
    producer.create_events(TRUE); // once set, it ends every sleep of B
    program b(b_with(producer.name(), {L"--limit", L"1"}));
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--bytes", endless, L"--limit", L"1"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    const fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    // Events without progress do not prolong the limit, and they come without a pause here.
    const ULONGLONG start_ms = GetTickCount64();
    for (int i = 0; GetTickCount64() - start_ms < 8'000; ++i) {
        consumer.wake_a();
        producer.wake_b();
        if (i % 100 == 0 && a.wait(0) && b.wait(0)) {
            break;
        }
    }
    check_failed(a, "A: the other process is there, but does nothing");
    check_failed(b, "B: the other process is there, but does nothing");
}

TEST_CASE("A slow consumer gets everything, and A overwrites nothing that it has not released") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 3 * ring_bytes);
    const std::string expected = ipc::test::read_file(in);
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--in", in}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    program registered({helper, L"hang"}); // the process that this test registers as B
    REQUIRE(registered.wait_for_output("hanging\n"));
    fake_consumer consumer(name);
    consumer.register_process(registered.id());
    std::string received;
    for (;;) {
        const ring::record record = consumer.next(a);
        if (record.type == ring::kind::end) {
            break;
        }
        const std::string before(record.bytes);
        CHECK_FALSE(a.wait(20));           // A has the time to go on
        REQUIRE((record.bytes == before)); // in parentheses: Catch2 does not print 64 KiB
        received += before;
        consumer.release_all();
    }
    CHECK((received == expected));
    consumer.release_all();
    CHECK_FALSE(a.wait(200)); // A waits for the end of B: then the name is free
    registered.kill();
    check_succeeded(a, "A: the consumer has received all 3145728 bytes");
}

TEST_CASE("A consumer that needs longer than the limit in all, but goes on, is not given up") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 6 * protocol::record_bytes);
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--in", in, L"--limit", L"1"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    program registered({helper, L"hang"});
    REQUIRE(registered.wait_for_output("hanging\n"));
    fake_consumer consumer(name);
    consumer.register_process(registered.id());
    while (consumer.next(a).type != ring::kind::end) {
        REQUIRE_FALSE(a.wait(400));
        consumer.release_all();
    }
    consumer.release_all();
    // Nor is it a failure if it needs longer for its end.
    check_succeeded(a, "A: the consumer has received all 393216 bytes");
}

TEST_CASE("A sets B's event only while B says that it sleeps") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--bytes", endless}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    const auto read_some = [&] {
        for (int i = 0; i < 500; ++i) {
            consumer.next(a);
            consumer.ring().release();
        }
    };
    read_some();
    CHECK_FALSE(consumer.was_woken());
    consumer.memory().b().sleep.value = 7;
    read_some();
    CHECK(consumer.was_woken(ipc::test::default_limit_ms));
    read_some();
    CHECK_FALSE(consumer.was_woken()); // once for this sleep
    consumer.memory().b().sleep.value = 0;
    read_some();
    CHECK_FALSE(consumer.was_woken()); // B is awake again
    consumer.memory().b().sleep.value = 9;
    read_some();
    CHECK(consumer.was_woken(ipc::test::default_limit_ms));
}

TEST_CASE("A side that waits uses no processor") {
    fake_producer producer;
    producer.create_events();
    program b(b_with(producer.name()));
    producer.wait_for_consumer(b);
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--bytes", endless}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    const fake_consumer consumer(name);
    consumer.register_process(GetCurrentProcessId());
    while (consumer.memory().a().sleep.value == 0) { // until the ring is full
        REQUIRE_FALSE(a.wait(10));
    }
    CHECK_FALSE(a.wait(300));
    const std::uint64_t a_before = processor_ms(a.process());
    const std::uint64_t b_before = processor_ms(b.process());
    CHECK_FALSE(a.wait(1'500));
    CHECK(processor_ms(a.process()) <= a_before + 50);
    CHECK(processor_ms(b.process()) <= b_before + 50);
}

TEST_CASE("B refuses another layout, a wrong process, memory that is too small or only reserved") {
    constexpr auto layout = "B: the producer uses another layout of the shared memory";
    const auto refused = [](const auto& change, const std::string& line) {
        fake_producer producer;
        change(producer.header());
        producer.create_events();
        program b(b_with(producer.name()));
        check_failed(b, line);
    };
    refused([](protocol::half& header) { header.magic ^= 1; }, layout);
    refused([](protocol::half& header) { ++header.version; }, layout);
    refused([](protocol::half& header) { header.data_bytes *= 2; }, layout);
    refused([](protocol::half& header) { header.process_id = 0; }, producer_died);
    refused([](protocol::half& header) { header.what = protocol::content{}; }, b_damaged);
    for (const auto& [bytes, flags, line] :
         std::initializer_list<std::tuple<DWORD, DWORD, const char*>>{
             {protocol::half_bytes, 0, "B: MapViewOfFile failed: "},
             {2 * protocol::half_bytes, SEC_RESERVE,
              "B: the other process shares too little memory"}}) {
        fake_producer producer(bytes, flags);
        producer.create_events();
        program b(b_with(producer.name()));
        check_failed(b, line);
    }
}

TEST_CASE("B refuses records and totals that are wrong, and A a wrong position") {
    const auto refused = [](const auto& send) {
        fake_producer producer;
        producer.create_events();
        program b(b_with(producer.name(), {L"--out", L"NUL"}));
        producer.wait_for_consumer(b);
        producer.put("right\n");
        send(producer);
        producer.wake_b();
        check_failed(b, b_damaged);
    };
    refused([](fake_producer& producer) { producer.send_end(7); });
    refused([](fake_producer& producer) {
        producer.put("end", ring::kind::end); // too short for a total
        producer.show();
    });
    refused([](const fake_producer& producer) {
        producer.header().written.value = word_of(2 * ring_bytes);
    });
    refused([](const fake_producer& producer) { producer.header().written.value = 8; });
    refused([](const fake_producer& producer) { // a header of zeros follows
        producer.header().written.value = word_of(64);
    });
    for (const std::uint64_t word : {word_of(0xFFFFFFF8), std::uint64_t{1}, word_of(12)}) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--bytes", endless}));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        const fake_consumer consumer(name);
        consumer.register_process(GetCurrentProcessId());
        consumer.memory().b().read.value = word;
        consumer.wake_a(); // the ring may be full already, and A asleep
        check_failed(a, a_damaged);
    }
}

TEST_CASE("Random bytes in the ring itself lead the reader to no byte outside of it") {
    std::mt19937 random(163);
    int errors = 0;
    for (int round = 0; round < 20'000; ++round) {
        ring_threads::shared_memory memory;
        alignas(8) char data[512]{};
        ring::writer writer(memory.written, memory.read, data, sizeof data);
        ring::reader reader(memory.written, memory.read, data, sizeof data);
        try {
            for (int step = 0; step < 60; ++step) {
                const std::uint32_t length = random() % 40;
                if (writer.reserve(length) != nullptr) {
                    writer.commit(length);
                    writer.publish();
                }
                data[random() % 4 == 0 ? random() % sizeof data : 511] =
                    static_cast<char>(random());
                if (random() % 8 != 0) {
                    continue; // many records are published: only the memory's end limits a wrong length
                }
                while (const auto record = reader.read()) {
                    REQUIRE(record->bytes.data() >= data + 8);
                    REQUIRE(record->bytes.size() <=
                            static_cast<std::size_t>(data + sizeof data - record->bytes.data()));
                    reader.release();
                }
                reader.flush();
            }
        } catch (const ring::damaged&) {
            ++errors;
        }
    }
    CHECK(errors > 1'000);
}

TEST_CASE("The generated bytes repeat without a gap") {
    const std::vector<char> pattern = protocol::make_pattern();
    REQUIRE(pattern.size() == protocol::pattern_bytes + protocol::record_bytes);
    for (std::size_t i = protocol::pattern_bytes; i < pattern.size(); ++i) {
        REQUIRE(pattern[i] == pattern[i - protocol::pattern_bytes]);
    }
}

// The headers of both halves, the unused bytes, too. Whatever A and B have read before stays as it was.
TEST_CASE("Random bytes in the shared headers: an error or the right data, and no crash") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, 20'000'000);
    std::mt19937 random(162);
    int errors = 0;
    for (int round = 0; round < 16; ++round) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--in", in, L"--limit", L"2"}));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        const ipc::unique_handle mapping = open_mapping(name);
        const memory_view memory(mapping.get());
        program b(b_with(name, {L"--out", out, L"--limit", L"2"}));
        REQUIRE(b.wait_for_output("B: the producer is there\n"));
        // From a byte now and then to all of them at once.
        const auto at_once = static_cast<unsigned>(1U << round % 8 * 3 / 2);
        for (int i = 0; i < 20'000 && !(a.wait(0) && b.wait(0)); ++i) {
            for (unsigned k = 0; k < at_once; ++k) {
                char* half = memory.begin() + random() % 2 * protocol::half_bytes;
                half[random() % sizeof(protocol::half)] = static_cast<char>(random());
            }
            SwitchToThread();
        }
        for (program* one : {&a, &b}) {
            REQUIRE(one->wait());
            REQUIRE(one->wait_for_end_of_output());
            INFO(one->error_output());
            CHECK((one->exit_code() == 0 || one->exit_code() == 1));
            errors += one->exit_code() == 1 ? 1 : 0;
            CHECK(ipc::test::lines_of(one->error_output()).size() == one->exit_code());
        }
        if (b.exit_code() == 0) {
            CHECK(ipc::test::same_content(in, out));
        }
    }
    CHECK(errors > 0);
}

TEST_CASE("Each program can write only its own half of the memory") {
    const streaming_pair pair;
    const auto writable = [](const program& one) {
        std::vector<SIZE_T> sizes;
        MEMORY_BASIC_INFORMATION memory{};
        const char* address = nullptr;
        while (VirtualQueryEx(one.process(), address, &memory, sizeof memory) == sizeof memory) {
            if (memory.Type == MEM_MAPPED && memory.Protect == PAGE_READWRITE &&
                memory.RegionSize % protocol::half_bytes == 0) { // one half, or both
                sizes.push_back(memory.RegionSize);
            }
            address = static_cast<const char*>(memory.BaseAddress) + memory.RegionSize;
        }
        return sizes;
    };
    CHECK(writable(pair.a) == std::vector<SIZE_T>{protocol::half_bytes});
    CHECK(writable(pair.b) == std::vector<SIZE_T>{protocol::half_bytes});
}

TEST_CASE("The number of handles does not grow during a stream") {
    const streaming_pair pair;
    CHECK_FALSE(pair.a.wait(100));
    const DWORD a_before = ipc::test::handle_count(pair.a.process());
    const DWORD b_before = ipc::test::handle_count(pair.b.process());
    CHECK_FALSE(pair.a.wait(300)); // thousands of records
    constexpr DWORD margin = 10;   // other software and the system may open some
    CHECK(ipc::test::handle_count(pair.a.process()) <= a_before + margin);
    CHECK(ipc::test::handle_count(pair.b.process()) <= b_before + margin);
}

TEST_CASE("Ctrl+C ends a program at once, and the other one says why it ends") {
    {
        streaming_pair pair;
        pair.a.press_ctrl_c();
        REQUIRE(pair.a.wait());
        check_failed(pair.b, producer_died);
    }
    streaming_pair pair;
    pair.b.press_ctrl_c();
    REQUIRE(pair.b.wait());
    check_failed(pair.a, consumer_ended);
}

TEST_CASE("When A has ended, the next pair can use the name at once") {
    const std::wstring name = ipc::test::unique_suffix();
    std::vector<std::unique_ptr<program>> consumers;
    for (int i = 0; i < 10; ++i) {
        program a(a_with(name));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        consumers.push_back(std::make_unique<program>(b_with(name)));
        check_succeeded(a, "A: the consumer has received all 103 bytes");
    }
    for (const auto& b : consumers) {
        check_succeeded(*b, "B: the stream ended after 103 bytes");
    }
}

TEST_CASE("A partner that has died before the other one opens its process is gone, not an error") {
    program victim({helper, L"hang"});
    REQUIRE(victim.wait_for_output("hanging\n"));
    victim.kill();
    REQUIRE(victim.wait());
    constexpr DWORD no_process = 0xFFFFFFFC;
    // The process object exists as long as victim has a handle to it. Later it is gone, too.
    for (const DWORD dead : {victim.id(), no_process}) {
        INFO("process " << dead);
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name, {L"--limit", L"5"}));
        REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
        const fake_consumer consumer(name);
        consumer.register_process(dead);
        check_failed(a, consumer_ended);
    }
}

TEST_CASE("A notices a consumer that died before it woke A") {
    program victim({helper, L"hang"});
    REQUIRE(victim.wait_for_output("hanging\n"));
    const DWORD dead = victim.id();
    victim.kill();
    REQUIRE(victim.wait());
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"0"}));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    const fake_consumer consumer(name);
    while (consumer.memory().a().sleep.value == 0) {
        REQUIRE_FALSE(a.wait(1));
    }
    consumer.memory().b().process_id = dead; // and the event stays as it is
    REQUIRE(a.wait(20'000));
    check_failed(a, consumer_ended);
}

TEST_CASE("What B writes into A's half does not change what A sends") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output("A: waiting for a consumer\n"));
    program registered({helper, L"hang"});
    REQUIRE(registered.wait_for_output("hanging\n"));
    fake_consumer consumer(name);
    consumer.memory().a().what = protocol::content::ping;
    consumer.register_process(registered.id());
    CHECK(consumer.next(a).bytes.size() == 103);
    consumer.release_all();
    CHECK(consumer.next(a).type == ring::kind::end);
    consumer.release_all();
    registered.kill();
    check_succeeded(a, "A: the consumer has received all 103 bytes");
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
        check_succeeded(*producers[i], "A: the consumer has received all 103 bytes");
        check_succeeded(*consumers[i], "B: the stream ended after 103 bytes");
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

TEST_CASE("Wrong usage ends with exit code 2 and one line, and --help shows the usage") {
    for (const std::wstring& path : {process_a, process_b}) {
        for (const arguments& options : std::vector<arguments>{
                 {L"--no-such-option"}, {L"--name"}, {L"unexpected"}, {L"--limit", L"x"}}) {
            arguments command = {path};
            command.insert(command.end(), options.begin(), options.end());
            const ipc::test::result refused = run(command);
            CHECK(refused.exit_code == 2);
            CHECK(refused.output.empty());
            CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
            CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
        }
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
    const ipc::test::result both = run({process_a, L"--bytes", L"1", L"--ping", L"1"});
    CHECK(both.exit_code == 2);
    CHECK_THAT(both.error_output, StartsWith("A: only one of --in, --bytes and --ping"));
}
