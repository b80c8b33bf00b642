#pragma once

// Both ends of pair 16's ring as threads of one process. Standard C++ only: a test of the pair runs
// this with the compiler of the project, and tests/project/ring_native.cpp with a native one and its
// ThreadSanitizer.

#include "demos/16_shared_ring/ring.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace ring_threads {

// What an auto-reset event does.
class event {
public:
    void set() {
        const std::lock_guard lock(mutex_);
        set_ = true;
        changed_.notify_one();
    }

    bool wait(std::chrono::seconds limit) {
        std::unique_lock lock(mutex_);
        const bool was_set = changed_.wait_for(lock, limit, [&] { return set_; });
        set_ = false;
        return was_set;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool set_ = false;
};

struct options {
    std::uint32_t ring_bytes = 4096;
    std::uint32_t start = 0; // the first position
    std::uint32_t records = 100'000;
    std::uint32_t longest = 200;
    std::uint32_t batch_bytes = 0; // 0: a flush for each record
    int spin_looks = 0;
    std::chrono::seconds limit{20}; // for one sleep
};

// What the two processes of the pair share.
struct shared_memory {
    ring::shared_number written{};
    ring::shared_number read{};
    ring::shared_number writer_sleep{};
    ring::shared_number reader_sleep{};
};

struct counts {
    std::uint32_t records = 0;
    std::uint32_t wrong = 0;
    std::uint32_t sleeps = 0; // of the reader
    std::string problem;      // of either thread
};

inline std::uint32_t length_of(std::uint32_t record, const options& what) {
    return record * 2'654'435'761U % (what.longest + 1);
}
inline char byte_of(std::uint32_t record, std::uint32_t i) {
    return static_cast<char>(record * 31 + i * 7);
}

// As protocol::connection::wait_until.
template <class Ready>
void wait_until(const Ready& ready, ring::sleep_signal& sleep, event& own, const options& what) {
    for (int i = 0; i < what.spin_looks; ++i) {
        if (ready()) {
            return;
        }
    }
    for (;;) {
        sleep.announce_sleep();
        if (ready()) {
            break;
        }
        if (!own.wait(what.limit)) {
            throw std::runtime_error("nobody ended a sleep");
        }
    }
    sleep.announce_end();
}

// One of the two threads: it sleeps as itself and wakes the other one.
struct side {
    ring::sleep_signal sleep;
    event& own;
    event& others;
    const options& what;

    void wake() {
        if (sleep.must_wake()) {
            others.set();
        }
    }
    template <class Ready> void wait(const Ready& ready) { wait_until(ready, sleep, own, what); }
};

inline void write_records(ring::writer ring, side self) {
    const options& what = self.what;
    for (std::uint32_t i = 0; i < what.records; ++i) {
        const std::uint32_t length = length_of(i, what);
        char* room = nullptr;
        while ((room = ring.reserve(length)) == nullptr) {
            ring.flush();
            self.wake();
            self.wait([&] { return ring.reader_moved(); });
        }
        for (std::uint32_t k = 0; k < length; ++k) {
            room[k] = byte_of(i, k);
        }
        ring.commit(length);
        if (what.batch_bytes == 0) {
            ring.flush();
            self.wake();
        } else if (ring.unpublished_bytes() >= what.batch_bytes) {
            ring.publish();
            self.wake();
        }
    }
    ring.flush();
    self.wake();
    while (!ring.all_read()) {
        self.wait([&] { return ring.reader_moved(); });
    }
}

inline bool is_right(const ring::record& record, std::uint32_t i, const options& what) {
    bool right = record.bytes.size() == length_of(i, what);
    for (std::uint32_t k = 0; right && k < record.bytes.size(); ++k) {
        right = record.bytes[k] == byte_of(i, k);
    }
    return right;
}

inline void read_records(ring::reader ring, side self, counts& result) {
    while (result.records < self.what.records) {
        const auto record = ring.read();
        if (!record) {
            ring.flush();
            self.wake();
            ++result.sleeps;
            self.wait([&] { return ring.has_record(); });
            continue;
        }
        result.wrong += is_right(*record, result.records++, self.what) ? 0 : 1;
        ring.release();
        self.wake();
    }
    ring.flush();
    self.wake();
}

// Streams the records from one thread to another and checks every byte.
inline counts stream(const options& what) {
    shared_memory memory;
    ring::store_position(memory.written, what.start, std::memory_order_relaxed);
    ring::store_position(memory.read, what.start, std::memory_order_relaxed);
    std::vector<std::uint64_t> data(what.ring_bytes / sizeof(std::uint64_t));
    char* bytes = reinterpret_cast<char*>(data.data());
    event wake_writer;
    event wake_reader;
    counts result;
    std::string writer_problem;
    std::thread writing([&] {
        try {
            write_records(ring::writer(memory.written, memory.read, bytes, what.ring_bytes),
                          {ring::sleep_signal(memory.writer_sleep, memory.reader_sleep),
                           wake_writer, wake_reader, what});
        } catch (const std::exception& problem) {
            writer_problem = problem.what();
        }
    });
    try {
        read_records(ring::reader(memory.written, memory.read, bytes, what.ring_bytes),
                     {ring::sleep_signal(memory.reader_sleep, memory.writer_sleep), wake_reader,
                      wake_writer, what},
                     result);
    } catch (const std::exception& problem) {
        result.problem = problem.what();
    }
    writing.join();
    result.problem += writer_problem;
    return result;
}

// The moment at which a wake-up could be lost, again and again: one thread shows a record and looks
// whether the other one sleeps, while the other one announces its sleep and looks for a record. Returns
// how often neither saw the other.
inline unsigned overlooked_wakeups(unsigned rounds, [[maybe_unused]] bool with_fence = false) {
    shared_memory memory;
    std::vector<std::uint64_t> data(512);
    char* bytes = reinterpret_cast<char*>(data.data());
    constexpr std::uint32_t size = 4096;
    std::atomic<unsigned> arrived = 0;
    const auto meet = [&](unsigned round) { // both leave at nearly the same moment
        arrived.fetch_add(1);
        for (unsigned looks = 0; arrived.load() < 2 * round; ++looks) {
            if (looks > 10'000) {
                std::this_thread::yield();
            }
        }
    };
    std::vector<char> woken(
        rounds); // each thread writes one of them, and the other is read at the end
    std::vector<char> seen(rounds);
    std::thread writing([&] {
        ring::writer ring(memory.written, memory.read, bytes, size);
        for (unsigned i = 0; i < rounds; ++i) {
            ring.reserve(8);
            ring.commit(8);
            meet(2 * i + 1);
            for (unsigned delay = 0; delay < i % 8; ++delay) { // not at exactly the same moment
                arrived.load();
            }
#ifdef __SANITIZE_THREAD__ // ThreadSanitizer knows no fences
            ring.flush();
#else
            if (with_fence) { // as protocol::connection::wait_until
                ring.publish();
                std::atomic_thread_fence(std::memory_order_seq_cst);
            } else {
                ring.flush();
            }
#endif
            ring::sleep_signal sleep(memory.writer_sleep, memory.reader_sleep);
            woken[i] = sleep.must_wake() ? 1 : 0;
            meet(2 * i + 2);
        }
    });
    ring::reader ring(memory.written, memory.read, bytes, size);
    ring::sleep_signal sleep(memory.reader_sleep, memory.writer_sleep);
    for (unsigned i = 0; i < rounds; ++i) {
        sleep.announce_end();
        meet(2 * i + 1);
        sleep.announce_sleep();
        seen[i] = ring.has_record() ? 1 : 0;
        meet(2 * i + 2);
        ring.read();
        ring.release();
        ring.flush();
    }
    writing.join();
    unsigned overlooked = 0;
    for (unsigned i = 0; i < rounds; ++i) {
        overlooked += woken[i] == 0 && seen[i] == 0 ? 1 : 0;
    }
    return overlooked;
}

} // namespace ring_threads
