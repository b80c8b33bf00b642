#pragma once

// A single-producer, single-consumer (SPSC) ring buffer of records in memory that two processes share.
// One process writes records, the other one reads them, without a lock and without a system call.
// Standard C++ only: protocol.hpp adds the waiting, which needs Win32.
//
// A position counts the bytes of all records with their headers, modulo 2^32: the difference of two
// positions stays right when they overflow. The writer owns the position before which records are
// complete, and the reader the position before which it has finished reading. Each stores its own
// position in the shared memory and loads the other one's.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#if (defined(_MSC_VER) && defined(_M_X64) && !defined(_M_ARM64EC)) ||                              \
    (defined(__MINGW32__) && defined(__x86_64__))
#define RING_HAS_MOVSB
#include <intrin.h>
#endif

namespace ring {

// Processors move memory between their caches in lines of 64 bytes, and fetch neighbours in pairs.
constexpr std::size_t line_bytes = 128;
constexpr std::uint32_t alignment = 8; // of records; each begins with a header of 8 bytes

// A number in shared memory, on a line of its own. Two numbers on one line would make the line move
// between the processors although each of them wants another number ("false sharing"). A lock inside
// the atomic would not work between processes.
struct shared_number {
    std::atomic<std::uint64_t> value; // memory of zeros is the number 0
    char unused[line_bytes - sizeof(std::uint64_t)];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(shared_number) == line_bytes);

// The other process has stored something that no correct process stores.
struct damaged : std::runtime_error {
    damaged() : std::runtime_error("the shared memory is damaged") {}
};

// A position is stored twice in one number, so that random bytes are not taken for a position.
inline void store_position(shared_number& to, std::uint32_t position, std::memory_order order) {
    to.value.store(std::uint64_t{position} << 32 | position, order);
}

inline std::uint32_t load_position(const shared_number& from, std::memory_order order) {
    const std::uint64_t value = from.value.load(order); // once: what is checked is what is used
    const auto position = static_cast<std::uint32_t>(value);
    if (value >> 32 != position || position % alignment != 0) {
        throw damaged();
    }
    return position;
}

enum class kind : std::uint8_t { padding, data, end };

// The header of a record is one word: its position, 24 bits of length, its kind. A header that does
// not name its own position is the rest of an older record. Relaxed loads and stores are enough for
// it: the position that follows it says when it can be read.
using header = std::atomic<std::uint64_t>;
constexpr std::uint64_t header_of(std::uint32_t position, std::uint32_t length, kind type) {
    return std::uint64_t{position} << 32 | std::uint64_t{length} << 8 |
           static_cast<std::uint8_t>(type);
}
constexpr std::uint32_t bytes_with_header(std::uint32_t length) {
    return alignment + (length + alignment - 1) / alignment * alignment;
}

// The longest record: with the padding before it, it takes at most half of the ring. The reader still
// has the other half to read while the writer fills this one.
constexpr std::uint32_t longest_record(std::uint32_t ring_bytes) {
    return ring_bytes / 4 - alignment;
}

// memcpy loads each line of the ring before it overwrites it, and the line comes from the reader's
// cache. The instruction movsb does not, but takes longer to start.
inline void copy_bytes(char* to, const char* from, std::size_t count) {
#ifdef RING_HAS_MOVSB
    if (count >= 2048) {
        __movsb(reinterpret_cast<unsigned char*>(to), reinterpret_cast<const unsigned char*>(from),
                count);
        return;
    }
#endif
    std::memcpy(to, from, count);
}

// The end of the process that writes. bytes: the size of the memory at data, a power of two up to 64 MiB.
class writer {
public:
    writer(shared_number& written, const shared_number& read, char* data, std::uint32_t bytes)
        : written_(written), read_(read), data_(data), bytes_(bytes),
          position_(load_position(written, std::memory_order_relaxed)), published_(position_),
          known_read_(position_) {}

    // Returns memory for a record of up to length bytes, all in one piece, or nullptr: the ring is
    // full. A record that would reach beyond the end of the memory starts at its beginning.
    char* reserve(std::uint32_t length) {
        if (length > longest_record(bytes_)) {
            throw std::length_error("the record is too long for the ring");
        }
        if (!fits(length) && (!reader_moved() || !fits(length))) {
            return nullptr;
        }
        if (const std::uint32_t skipped = padding_before(length); skipped != 0) {
            commit(skipped - alignment, kind::padding);
        }
        return data_ + offset() + alignment;
    }

    // The record in the reserved memory is complete. The reader does not see it yet.
    void commit(std::uint32_t length, kind type = kind::data) {
        reinterpret_cast<header*>(data_ + offset())
            ->store(header_of(position_, length, type), std::memory_order_relaxed);
        position_ += bytes_with_header(length);
    }

    // ANCHOR: publish
    // Shows the reader all committed records. Release: a reader that loads the new position with
    // acquire sees the bytes of the records, too.
    void publish() {
        store_position(written_, position_, std::memory_order_release);
        published_ = position_;
    }

    // The same with a full barrier: call it before a look whether the reader sleeps. The processor
    // could otherwise look first and store afterwards.
    void flush() {
        store_position(written_, position_, std::memory_order_seq_cst);
        published_ = position_;
    }
    // ANCHOR_END: publish

    std::uint32_t unpublished_bytes() const { return position_ - published_; }

    // Whether the reader has released something since the last look.
    bool reader_moved() {
        const std::uint32_t read = load_position(read_, std::memory_order_seq_cst);
        // The reader only moves forward, from what this writer knows to what it has published.
        if (read - known_read_ > published_ - known_read_) {
            throw damaged();
        }
        return std::exchange(known_read_, read) != read;
    }

    // Whether the reader has released everything.
    bool all_read() {
        reader_moved();
        return known_read_ == position_;
    }

private:
    std::uint32_t offset() const { return position_ & (bytes_ - 1); }

    std::uint32_t padding_before(std::uint32_t length) const {
        const std::uint32_t to_end = bytes_ - offset();
        return bytes_with_header(length) <= to_end ? 0 : to_end;
    }

    bool fits(std::uint32_t length) const {
        return bytes_ - (position_ - known_read_) >=
               padding_before(length) + bytes_with_header(length);
    }

    shared_number& written_;
    const shared_number& read_;
    char* data_;
    std::uint32_t bytes_;
    std::uint32_t position_;   // the next record starts here
    std::uint32_t published_;  // what the reader can see
    std::uint32_t known_read_; // a copy: most of the time it shows room, and its line stays away
};

// How a process says that it sleeps: a shared number holds the number of this sleep, or 0 while the
// process is awake.
//
// Before a process sleeps, it calls announce_sleep and then looks at the ring once more. The other
// process calls flush and then must_wake. These two stores and two loads are sequentially consistent,
// so at least one of the processes sees what the other one has stored: no sleep misses a flush.
class sleep_signal {
public:
    sleep_signal(shared_number& own, const shared_number& others) : own_(own), others_(others) {}

    void announce_sleep() { own_.value.store(++sleeps_, std::memory_order_seq_cst); }
    void announce_end() { own_.value.store(0, std::memory_order_relaxed); }

    // Whether the other process sleeps and has not been woken from this sleep yet.
    bool must_wake() {
        const std::uint64_t sleep = others_.value.load(std::memory_order_seq_cst);
        return sleep != 0 && std::exchange(woken_, sleep) != sleep;
    }

private:
    shared_number& own_;
    const shared_number& others_;
    std::uint64_t sleeps_ = 0;
    std::uint64_t woken_ = 0; // the last sleep that this process has ended
};

struct record {
    kind type;
    std::string_view bytes; // in the shared memory: valid until release()
};

// The end of the process that reads. It trusts nothing that it finds in the memory.
class reader {
public:
    reader(const shared_number& written, shared_number& read, const char* data, std::uint32_t bytes)
        : written_(written), read_(read), data_(data), bytes_(bytes),
          position_(load_position(read, std::memory_order_relaxed)), released_(position_),
          next_(position_), known_written_(position_) {}

    // Returns the next record, or nothing: the ring is empty.
    std::optional<record> read() {
        for (;;) {
            if (known_written_ == position_ && !has_record(std::memory_order_acquire)) {
                return std::nullopt;
            }
            const record found = check_header();
            if (found.type != kind::padding) {
                return found;
            }
            release();
        }
    }

    // The record is not needed any more. The writer sees that after an eighth of the ring, or at once
    // after flush(). Until then the line with the position stays in this processor's cache.
    void release() {
        position_ = next_;
        if (position_ - released_ >= bytes_ / 8) {
            flush();
        }
    }

    // Tells the writer now. Sequentially consistent, as in writer::flush.
    void flush() {
        if (released_ != position_) {
            store_position(read_, position_, std::memory_order_seq_cst);
            released_ = position_;
        }
    }

    // Whether there is a record, by a fresh look at the writer's position. Acquire or stronger: the
    // bytes of a record are loaded after the position.
    // ANCHOR: has_record
    bool has_record(std::memory_order order = std::memory_order_seq_cst) {
        const std::uint32_t written = load_position(written_, order);
        // The writer only moves forward, and not beyond what this reader has released.
        if (written - known_written_ > bytes_ - (known_written_ - released_)) {
            throw damaged();
        }
        known_written_ = written;
        return written != position_;
    }
    // ANCHOR_END: has_record

private:
    // ANCHOR: check_header
    record check_header() {
        const std::uint32_t offset = position_ & (bytes_ - 1);
        // One load: the other process could change the header between the check and the use.
        const std::uint64_t found =
            reinterpret_cast<const header*>(data_ + offset)->load(std::memory_order_relaxed);
        const auto length = static_cast<std::uint32_t>(found) >> 8;
        const auto type = static_cast<kind>(found & 0xFF);
        const std::uint32_t size = bytes_with_header(length);
        if (found >> 32 != position_ || type > kind::end ||
            size > known_written_ - position_ || // not published
            size > bytes_ - offset) {            // beyond the end of the memory
            throw damaged();
        }
        next_ = position_ + size;
        return {type, {data_ + offset + alignment, length}};
    }
    // ANCHOR_END: check_header

    const shared_number& written_;
    shared_number& read_;
    const char* data_;
    std::uint32_t bytes_;
    std::uint32_t position_;      // of the record that read() returned or will return
    std::uint32_t released_;      // what the writer knows
    std::uint32_t next_;          // the end of the record that read() returned
    std::uint32_t known_written_; // a copy, as in the writer
};

} // namespace ring
