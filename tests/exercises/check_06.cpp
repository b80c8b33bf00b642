// The checks of the exercises of pair 06.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/06_file_mapping_events/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// The memory of a producer or consumer that a check plays, and its two events.
class shared_objects {
public:
    ~shared_objects() {
        if (memory_ != nullptr) {
            UnmapViewOfFile(memory_);
        }
    }
    shared_objects(const shared_objects&) = delete;
    shared_objects& operator=(const shared_objects&) = delete;

    HANDLE block_full() const { return block_full_.get(); }
    HANDLE block_empty() const { return block_empty_.get(); }

protected:
    shared_objects(const trial& attempt, HANDLE mapping, HANDLE block_full, HANDLE block_empty)
        : mapping_(mapping), block_full_(block_full), block_empty_(block_empty),
          memory_(static_cast<char*>(
              MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, protocol::memory_bytes))) {
        attempt.expect(memory_ != nullptr && block_full_ && block_empty_,
                       "the memory and both events of the pair exist, under the pair's names",
                       "one of them does not exist, or is of another kind or size");
    }
    char* memory() const { return memory_; }
    char* block() const { return memory_ + protocol::block_start; }

private:
    ipc::unique_handle mapping_;
    ipc::unique_handle block_full_;
    ipc::unique_handle block_empty_;
    char* memory_;
};

HANDLE open_event(const wchar_t* name, const std::wstring& suffix) {
    return OpenEventW(SYNCHRONIZE | EVENT_MODIFY_STATE, FALSE,
                      ipc::object_name(name, suffix).c_str());
}

HANDLE open_mapping(const std::wstring& suffix) {
    return OpenFileMappingW(FILE_MAP_WRITE, FALSE,
                            ipc::object_name(protocol::memory_name, suffix).c_str());
}

// The check in the role of B: it opens the objects that the learner's A has created.
class consumer : public shared_objects {
public:
    consumer(const trial& attempt, const std::wstring& suffix)
        : shared_objects(attempt, open_mapping(suffix),
                         open_event(protocol::block_full_name, suffix),
                         open_event(protocol::block_empty_name, suffix)) {
        InterlockedExchange(reinterpret_cast<volatile LONG*>(memory()),
                            static_cast<LONG>(GetCurrentProcessId()));
        SetEvent(block_empty()); // the consumer is there
    }

    // What the memory holds, without the line break: "block 1".
    std::string held() const {
        const protocol::block_header header =
            *reinterpret_cast<const protocol::block_header*>(block());
        if (header.size == 0) {
            return header.total == 0 ? "nothing" : "the end of the stream";
        }
        if (header.size > 100 || header.offset > protocol::block_bytes - header.size) {
            return "a block with a wrong header";
        }
        const std::string_view text(block() + header.offset, static_cast<std::size_t>(header.size));
        return std::string(text.substr(0, text.find('\n')));
    }
};

HANDLE create_event(const wchar_t* name, const std::wstring& suffix) {
    ipc::user_only_security security;
    return CreateEventW(security.get(), FALSE, FALSE, ipc::object_name(name, suffix).c_str());
}

HANDLE create_mapping(const std::wstring& suffix) {
    ipc::user_only_security security;
    return CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE, 0,
                              protocol::memory_bytes,
                              ipc::object_name(protocol::memory_name, suffix).c_str());
}

// The check in the role of A: it creates the objects, and writes any header that it likes.
class producer : public shared_objects {
public:
    producer(const trial& attempt, const std::wstring& suffix, DWORD process_id)
        : shared_objects(attempt, create_mapping(suffix),
                         create_event(protocol::block_full_name, suffix),
                         create_event(protocol::block_empty_name, suffix)),
          header_(reinterpret_cast<protocol::block_header*>(block())) {
        *header_ = {};
        header_->producer_id = process_id;
    }

    void send(std::string_view text) {
        text.copy(block() + protocol::first_half, text.size());
        send(protocol::first_half, text.size());
    }
    void send(std::uint64_t offset, std::uint64_t size) {
        header_->offset = offset;
        header_->size = size;
        header_->total += size;
        SetEvent(block_full());
    }

private:
    protocol::block_header* header_;
};

// Returns whether the event is signaled within the limit and before the program has ended.
bool signaled(const trial& attempt, HANDLE event, const program& sender) {
    const HANDLE objects[] = {event, sender.process()};
    return WaitForMultipleObjects(2, objects, FALSE, attempt.limit_ms()) == WAIT_OBJECT_0;
}

// Expects that B says with block_empty that it has come, or that it has read a block.
void expect_empty(const trial& attempt, const shared_objects& objects, program& b) {
    if (!signaled(attempt, objects.block_empty(), b)) {
        attempt.expect(false, "B sets block_empty when it has come, and when it has read a block",
                       attempt.state_of(b));
    }
}

// ---- exercises 06.1 and 06.2: processA [--name SUFFIX] [--blocks N] [--limit SECONDS]

constexpr auto a_is_ready = "A: waiting for a consumer";

// The consumer comes and reads nothing, until A gives up after its limit and ends.
void keep_unread_block(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix, L"--limit", L"1"});
    attempt.expect_output(a, a_is_ready);
    const consumer slow(attempt, suffix);
    attempt.expect_end(a);
    attempt.expect(slow.held() == "block 1",
                   "when A has given up and ended, the memory still holds \"block 1\"",
                   "the memory holds \"" + slow.held() + "\", though nobody has read a block");
    attempt.expect_exit_code(a, 1);
}

void signal_each_block_once(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    const consumer b(attempt, suffix);
    for (const std::string block : {"block 1", "block 2", "block 3", "the end of the stream"}) {
        attempt.expect(signaled(attempt, b.block_full(), a), "A sets block_full for " + block,
                       "block_full is not signaled");
        attempt.expect(WaitForSingleObject(b.block_full(), 0) == WAIT_TIMEOUT,
                       "block_full ends one wait for " + block,
                       "it is still signaled, or signaled again before the block was read");
        attempt.expect(b.held() == block, "the memory holds \"" + block + "\" now",
                       "it holds \"" + b.held() + "\": A has not waited for block_empty");
        SetEvent(b.block_empty());
    }
    attempt.expect_exit_code(a, 0);
}

std::string blocks_of_text(int count) {
    std::string text;
    for (int number = 1; number <= count; ++number) {
        text += "block " + std::to_string(number) + "\n";
    }
    return text;
}

// Returns where the texts differ first, for a learner.
std::string first_difference(const std::string& expected, const std::string& seen) {
    const std::vector<std::string> expected_lines = ipc::test::lines_of(expected);
    const std::vector<std::string> seen_lines = ipc::test::lines_of(seen);
    const auto [line, other] = std::mismatch(expected_lines.begin(), expected_lines.end(),
                                             seen_lines.begin(), seen_lines.end());
    if (line == expected_lines.end()) {
        return "all of them, and more after them";
    }
    return other == seen_lines.end() ? "\"" + *line + "\" and what follows it are missing"
                                     : "\"" + *other + "\" where \"" + *line + "\" belongs";
}

void send_thousand_blocks(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring out = attempt.file(L"blocks.txt");
    program& a = attempt.start_learner({L"--name", suffix, L"--blocks", L"1000"});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_partner({L"--name", suffix, L"--out", out});
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
    const std::string expected = blocks_of_text(1000);
    const std::string seen = ipc::test::read_file(out);
    attempt.expect(seen == expected, "B receives the blocks 1 to 1000, each once",
                   first_difference(expected, seen));
}

void send_three_blocks(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_exit_code(a, 0);
    attempt.expect_line(b, "B: | block 1");
    attempt.expect_line(b, "B: | block 2");
    attempt.expect_line(b, "B: | block 3");
    attempt.expect_line(a, "A: 3 blocks sent");
}

// ---- exercise 06.3: processB [--name SUFFIX] counts the bytes and lines of A's stream

void count_text(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: 108 bytes, 3 lines");
    attempt.expect_exit_code(a, 0);
}

void count_file(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring in = attempt.file(L"in.bin");
    ipc::test::write_random_file(in, 5'000'000);
    const std::string content = ipc::test::read_file(in);
    program& a = attempt.start_partner({L"--name", suffix, L"--in", in});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: 5000000 bytes, " +
                               std::to_string(std::count(content.begin(), content.end(), '\n')) +
                               " lines");
    attempt.expect_exit_code(a, 0);
}

// B gets one correct block, and then one with this header.
void refuse_header(trial& attempt, std::uint64_t offset, std::uint64_t size) {
    SetErrorMode(SEM_NOGPFAULTERRORBOX); // B inherits it: no dialog if it crashes
    const std::wstring suffix = ipc::test::unique_suffix();
    producer hostile(attempt, suffix, GetCurrentProcessId());
    program& b = attempt.start_learner({L"--name", suffix});
    expect_empty(attempt, hostile, b);
    hostile.send("a correct block\n");
    expect_empty(attempt, hostile, b);
    hostile.send(offset, size);
    attempt.expect(!signaled(attempt, hostile.block_empty(), b),
                   "B refuses the block and ends with exit code 1",
                   "B accepted the block and set block_empty");
    attempt.expect_exit_code(b, 1);
}

void refuse_huge_size(trial& attempt) {
    refuse_header(attempt, protocol::first_half, 1ull << 40);
}

void refuse_far_offset(trial& attempt) {
    refuse_header(attempt, 1ull << 40, 10);
}

// The block would begin in front of the header, where B's own view may have other data.
void refuse_overflow(trial& attempt) {
    refuse_header(attempt, 0 - std::uint64_t{16}, 32); // the sum is 16
}

void refuse_one_byte_too_many(trial& attempt) {
    refuse_header(attempt, protocol::second_half, protocol::half_bytes + 1);
}

// ---- exercise 06.4: processB [--name SUFFIX] [--limit SECONDS] shows A's stream

constexpr auto b_saw_death = "B: the producer died";

void show_text(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_output(a, a_is_ready);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: | Two events say it.");
    attempt.expect_line(b, "B: the stream has ended");
    attempt.expect_exit_code(a, 0);
}

// The check fills the blocks, and another process is the producer that B waits for.
void notice_death(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const program& victim = attempt.start_helper({L"hang"});
    producer a(attempt, suffix, victim.id());
    program& b = attempt.start_learner({L"--name", suffix});
    expect_empty(attempt, a, b);
    a.send("one\n");
    expect_empty(attempt, a, b);
    victim.kill();
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: | one");
    attempt.expect_line(b, b_saw_death);
}

// The producer's process has ended before B comes, so both objects are signaled at B's first wait. B can open a
// process that has ended as long as somebody has a handle to it.
void show_last_block(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& victim = attempt.start_helper({L"hang"});
    producer a(attempt, suffix, victim.id());
    a.send("the last block\n");
    victim.kill();
    attempt.expect_end(victim);
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: | the last block");
    attempt.expect_line(b, b_saw_death);
}

void notice_silence(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    producer silent(attempt, suffix, GetCurrentProcessId());
    program& b = attempt.start_learner({L"--name", suffix, L"--limit", L"1"});
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: the producer sends nothing");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A overwrites no block that the consumer has not read", keep_unread_block},
      {"B shows three blocks", send_three_blocks},
      {"1000 blocks arrive, each once and in order", send_thousand_blocks}}},
    {2,
     {{"one SetEvent of block_full ends one wait", signal_each_block_once},
      {"one SetEvent of block_empty ends one wait", keep_unread_block},
      {"1000 blocks arrive, each once and in order", send_thousand_blocks}}},
    {3,
     {{"B counts what A sends", count_text},
      {"B refuses a size of 1 TiB", refuse_huge_size},
      {"B refuses an offset of 1 TiB", refuse_far_offset},
      {"B refuses an offset and a size whose sum is small again", refuse_overflow},
      {"B refuses a block that ends one byte behind the memory", refuse_one_byte_too_many},
      {"B counts 5 MB, in blocks that end where the memory ends", count_file}}},
    {4,
     {{"B shows what A sends", show_text},
      {"B notices the producer's death while it waits", notice_death},
      {"B shows a block that was full before the producer died", show_last_block},
      {"B notices a producer that lives and sends nothing", notice_silence}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
