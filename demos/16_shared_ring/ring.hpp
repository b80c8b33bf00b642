#pragma once

// A ring of records in memory that two processes share. One process writes records, the other reads
// them; no lock, no system call, no Win32: how a process waits is protocol.hpp's business.
//
// A position counts the bytes since the start, modulo 2^32: differences stay right when it overflows.
// The writer owns the position up to which records are complete, the reader the position up to which
// it needs them no more. Each stores its own position in the shared memory and loads the other one.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string_view>

#if (defined(_MSC_VER) && defined(_M_X64)) || (defined(__MINGW32__) && defined(__x86_64__))
#define RING_HAS_MOVSB
#include <intrin.h>
#endif

namespace ring {

// Processors move memory between their caches in lines of 64 bytes, and fetch neighbours in pairs.
constexpr std::size_t line_bytes = 128;
constexpr std::uint32_t alignment = 8; // of records; each begins with a header of 8 bytes

// A position in shared memory, on a line of its own: two positions on one line would make the line
// move between the processors although each of them wants another position. A lock inside the atomic
// would not work between processes.
struct shared_position {
    std::atomic<std::uint64_t> word; // the position twice; memory of zeros is position 0
    char unused[line_bytes - sizeof(std::uint64_t)];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(shared_position) == line_bytes);

// The other process has stored something that no correct process stores.
struct damaged : std::runtime_error {
    damaged() : std::runtime_error("the shared memory is damaged") {}
};

inline void store_position(shared_position& to, std::uint32_t position, std::memory_order order) {
    to.word.store(std::uint64_t{position} << 32 | position, order);
}

inline std::uint32_t load_position(const shared_position& from, std::memory_order order) {
    const std::uint64_t word = from.word.load(order); // once: what is checked is what is used
    const auto position = static_cast<std::uint32_t>(word);
    if (word >> 32 != position || position % alignment != 0) {
        throw damaged();
    }
    return position;
}

enum class kind : std::uint8_t { padding, data, end };

// The header of a record is one word: its position, 24 bits of length, its kind. A header that does
// not name its own position is the rest of an older record.
constexpr std::uint32_t longest_length = 0xFFFFFF;
constexpr std::uint64_t header_of(std::uint32_t position, std::uint32_t length, kind what) {
    return std::uint64_t{position} << 32 | std::uint64_t{length} << 8 |
           static_cast<std::uint8_t>(what);
}
// NOLINTNEXTLINE(readability-non-const-parameter): the caller writes to the header
inline std::atomic<std::uint64_t>& header_at(char* memory) {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(memory);
}
inline const std::atomic<std::uint64_t>& header_at(const char* memory) {
    return *reinterpret_cast<const std::atomic<std::uint64_t>*>(memory);
}
constexpr std::uint32_t bytes_with_header(std::uint32_t length) {
    return alignment + (length + alignment - 1) / alignment * alignment;
}

// The longest record of a ring: it fits, with the padding before it, when the ring is empty.
constexpr std::uint32_t longest_record(std::uint32_t ring_bytes) {
    return std::min(ring_bytes / 4 - alignment, longest_length);
}

// memcpy loads each line of the ring before it overwrites it, and the line comes from the reader's
// cache. The instruction movsb does not, but takes longer to start.
// ANCHOR: copy_bytes
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
// ANCHOR_END: copy_bytes

// The end of the process that writes. bytes: a power of two, the size of the memory at data.
class writer {
public:
    writer(shared_position& written, const shared_position& read, char* data, std::uint32_t bytes)
        : written_(written), read_(read), data_(data), bytes_(bytes),
          position_(load_position(written, std::memory_order_relaxed)), published_(position_),
          known_read_(position_) {}

    // Returns memory for a record of up to length bytes, all in one piece, or nullptr: the ring is
    // full. A record that would reach beyond the end of the memory starts at its beginning.
    char* reserve(std::uint32_t length) {
        if (length > longest_record(bytes_)) {
            throw std::length_error("the record is too long for the ring");
        }
        if (!fits(length) && !has_room(length)) {
            return nullptr;
        }
        if (const std::uint32_t skipped = padding_before(length); skipped != 0) {
            commit(skipped - alignment, kind::padding);
        }
        return data_ + offset() + alignment;
    }

    // The record in the reserved memory is complete. The reader does not see it yet.
    void commit(std::uint32_t length, kind what = kind::data) {
        header_at(data_ + offset())
            .store(header_of(position_, length, what), std::memory_order_relaxed);
        position_ += bytes_with_header(length);
    }

    // Shows the reader all committed records. Release: whoever loads the new position with acquire
    // sees the bytes of the records, too.
    void publish() {
        store_position(written_, position_, std::memory_order_release);
        published_ = position_;
    }

    // Does the same before a look at whether the reader sleeps. Sequentially consistent: without a
    // full barrier the processor may look first and store afterwards.
    void flush() {
        store_position(written_, position_, std::memory_order_seq_cst);
        published_ = position_;
    }

    std::uint32_t unpublished_bytes() const { return position_ - published_; }

    // Whether reserve(length) would succeed, by a fresh look at the reader's position.
    bool has_room(std::uint32_t length) {
        const std::uint32_t read = load_position(read_, std::memory_order_seq_cst);
        if (read - known_read_ > published_ - known_read_) { // back, or beyond what was published
            throw damaged();
        }
        known_read_ = read;
        return fits(length);
    }

    // Whether the reader has released everything.
    bool all_read() { return has_room(0) && known_read_ == position_; }

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

    shared_position& written_;
    const shared_position& read_;
    char* data_;
    std::uint32_t bytes_;
    std::uint32_t position_;   // the next record starts here
    std::uint32_t published_;  // what the reader can see
    std::uint32_t known_read_; // a copy: most of the time it shows room, and its line stays away
};

// How a process says that it sleeps: the number of this sleep, or 0 while it is awake.
struct shared_sleep {
    std::atomic<std::uint32_t> number;
    char unused[line_bytes - sizeof(std::uint32_t)];
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// Before a process sleeps, it stores the number and looks once more. The other process stores its
// position (flush) and then looks at the number. All four are sequentially consistent, so at least one
// of the two sees what the other one has stored, and no process sleeps through a flush.
class sleeper {
public:
    explicit sleeper(shared_sleep& own) : own_(own) {}
    void announce_sleep() { own_.number.store(count_ += 2, std::memory_order_seq_cst); }
    void announce_end() { own_.number.store(0, std::memory_order_relaxed); }

private:
    shared_sleep& own_;
    std::uint32_t count_ = 1; // odd, so never 0
};

class waker {
public:
    explicit waker(const shared_sleep& others) : others_(others) {}

    // Whether the other process sleeps and has not been woken from this sleep yet.
    bool must_wake() {
        const std::uint32_t number = others_.number.load(std::memory_order_seq_cst);
        if (number == 0 || number == woken_) {
            return false;
        }
        woken_ = number;
        return true;
    }

private:
    const shared_sleep& others_;
    std::uint32_t woken_ = 0;
};

struct record {
    kind what;
    std::string_view bytes; // in the shared memory: valid until release()
};

// The end of the process that reads. It trusts nothing that it finds in the memory.
class reader {
public:
    reader(const shared_position& written, shared_position& read, const char* data,
           std::uint32_t bytes)
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
            if (found.what != kind::padding) {
                return found;
            }
            release();
        }
    }

    // The record is not needed any more. The writer learns it now and then, which keeps the line
    // with the position in this processor's cache.
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

    // Whether there is a record, by a fresh look at the writer's position.
    bool has_record(std::memory_order order = std::memory_order_seq_cst) {
        const std::uint32_t written = load_position(written_, order);
        if (written - known_written_ > bytes_ - (known_written_ - released_)) {
            throw damaged(); // more than the ring holds, or back
        }
        known_written_ = written;
        return written != position_;
    }

private:
    // ANCHOR: check_header
    record check_header() {
        const std::uint32_t offset = position_ & (bytes_ - 1);
        // One load: the other process could change the header between the check and the use.
        const std::uint64_t header = header_at(data_ + offset).load(std::memory_order_relaxed);
        const auto length = static_cast<std::uint32_t>(header) >> 8;
        const auto what = static_cast<kind>(header & 0xFF);
        const std::uint32_t size = bytes_with_header(length);
        if (header >> 32 != position_ || what > kind::end ||
            size > known_written_ - position_ || // not published
            size > bytes_ - offset) {            // beyond the end of the memory
            throw damaged();
        }
        next_ = position_ + size;
        return {what, {data_ + offset + alignment, length}};
    }
    // ANCHOR_END: check_header

    const shared_position& written_;
    shared_position& read_;
    const char* data_;
    std::uint32_t bytes_;
    std::uint32_t position_;      // of the record that read() returned or will return
    std::uint32_t released_;      // what the writer knows
    std::uint32_t next_;          // the end of the record that read() returned
    std::uint32_t known_written_; // a copy, as in the writer
};

} // namespace ring
