#include "tests/benchmark/ring_load.hpp"

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/16_shared_ring/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

namespace ipc::test {
namespace {

using protocol::partner;

constexpr DWORD limit_ms = 30'000; // for the other process; far more than any point needs
constexpr std::uint32_t large_record = 64 * 1024;
constexpr std::uint32_t small_record = 64;
constexpr unsigned most_tries = 5;
constexpr double same_distance = 1.3; // of two bare pings, one before and one after a point
constexpr std::uint64_t bare_pings = 2'000;
constexpr std::uint64_t least_pings = 200;
constexpr std::uint64_t most_pings = 2'000'000;
constexpr double slices = 200; // of the time of a point

// A number on a line of its own, and a message on another one.
struct ping_lines {
    std::atomic<std::uint64_t> number;
    char unused[ring::line_bytes - sizeof(std::uint64_t)];
    char message[ring::line_bytes];
};

// What the first process asks for, and what the second one answers.
struct task_board {
    std::uint32_t how;
    std::uint32_t task;
    std::uint64_t count;
    std::uint64_t sum; // the answer: of all the 8-byte words that arrived
    std::uint32_t quit;
    std::uint32_t first_process;
    char unused[ring::line_bytes - 32];
    ping_lines there;
    ping_lines back;
};
constexpr DWORD board_bytes = 64 * 1024;
constexpr DWORD blocks_start = board_bytes + 2 * protocol::half_bytes;
constexpr DWORD memory_bytes = blocks_start + 2 * large_record;

// Both processes have the same objects; the one that comes first creates them.
struct shared_objects {
    explicit shared_objects(const std::wstring& name, bool first)
        : mapping(CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE, 0,
                                     memory_bytes, (L"Local\\" + name).c_str())),
          go(event(name + L".go")), done(event(name + L".done")), wake_first(event(name + L".1")),
          wake_second(event(name + L".2")), full(event(name + L".full")),
          empty(event(name + L".empty")), back(event(name + L".back")) {
        if (!mapping) {
            throw_error("CreateFileMappingW", GetLastError());
        }
        memory = static_cast<char*>(MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 0));
        if (memory == nullptr) {
            throw_last_error("MapViewOfFile");
        }
        const std::wstring pipe_name = L"\\\\.\\pipe\\" + name;
        if (first) {
            std::memset(memory, 0, memory_bytes); // each page is there before the first measurement
            board().first_process = GetCurrentProcessId();
            pipe.reset(CreateNamedPipeW(pipe_name.c_str(),
                                        PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                        PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1,
                                        large_record, large_record, 0, security.get()));
        } else {
            pipe.reset(CreateFileW(pipe_name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                   OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                                   nullptr));
        }
        if (!pipe) {
            throw_error(first ? "CreateNamedPipeW" : "CreateFileW", GetLastError());
        }
    }
    ~shared_objects() { UnmapViewOfFile(memory); }
    shared_objects(const shared_objects&) = delete;
    shared_objects& operator=(const shared_objects&) = delete;

    unique_handle event(const std::wstring& event_name) {
        unique_handle created(
            CreateEventW(security.get(), FALSE, FALSE, (L"Local\\" + event_name).c_str()));
        if (!created) {
            throw_error("CreateEventW", GetLastError());
        }
        return created;
    }

    task_board& board() const { return *reinterpret_cast<task_board*>(memory); }
    protocol::half& first_half() const {
        return *reinterpret_cast<protocol::half*>(memory + board_bytes);
    }
    protocol::half& second_half() const {
        return *reinterpret_cast<protocol::half*>(memory + board_bytes + protocol::half_bytes);
    }
    char* first_ring() const { return memory + board_bytes + protocol::data_start; }
    char* second_ring() const { return first_ring() + protocol::half_bytes; }
    char* block(std::uint64_t number) const {
        return memory + blocks_start + number % 2 * large_record;
    }

    user_only_security security;
    unique_handle mapping;
    unique_handle go;
    unique_handle done;
    unique_handle wake_first;
    unique_handle wake_second;
    unique_handle full; // pair 06's
    unique_handle empty;
    unique_handle back;
    unique_handle pipe;
    char* memory = nullptr;
};

void set(const unique_handle& event) {
    if (!SetEvent(event.get())) {
        throw_last_error("SetEvent");
    }
}

// Waits for the event. The end of the other process is a failure.
void wait_for(const unique_handle& event, HANDLE process) {
    const HANDLE objects[] = {event.get(), process};
    if (WaitForMultipleObjects(2, objects, FALSE, limit_ms) != WAIT_OBJECT_0) {
        throw std::runtime_error("the other process of the benchmark has ended or hangs");
    }
}

void require_ready(partner::outcome outcome) {
    if (outcome != partner::outcome::ready) {
        throw std::runtime_error("the other process of the benchmark has ended or hangs");
    }
}

template <class Ready> void spin_until(const Ready& ready) {
    for (std::uint64_t looks = 1; !ready(); ++looks) {
        if (looks % 1'000'000'000 == 0) {
            throw std::runtime_error("the other process of the benchmark hangs");
        }
    }
}

void write_pipe(const unique_handle& pipe, const char* bytes, DWORD size) {
    DWORD written = 0;
    if (!WriteFile(pipe.get(), bytes, size, &written, nullptr)) {
        throw_last_error("WriteFile");
    }
}

// Reads exactly so many bytes: a byte pipe can return a part of them.
void read_pipe(const unique_handle& pipe, char* bytes, DWORD size) {
    for (DWORD received = 0; size != 0; size -= received, bytes += received) {
        if (!ReadFile(pipe.get(), bytes, size, &received, nullptr)) {
            throw_last_error("ReadFile");
        }
    }
}

std::uint64_t sum_of(const char* bytes, std::size_t size) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i + sizeof sum <= size; i += sizeof sum) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + i, sizeof word);
        sum += word;
    }
    return sum;
}

// One end of everything, for one task.
struct end_of_connection {
    end_of_connection(const shared_objects& all, bool first, HANDLE other_process)
        : objects(all), ring(first ? all.first_half().written : all.second_half().written,
                             first ? all.second_half().read : all.first_half().read,
                             first ? all.first_ring() : all.second_ring(), protocol::ring_bytes),
          replies(first ? all.second_half().written : all.first_half().written,
                  first ? all.first_half().read : all.second_half().read,
                  first ? all.second_ring() : all.first_ring(), protocol::ring_bytes),
          other((first ? all.wake_first : all.wake_second).get(),
                (first ? all.wake_second : all.wake_first).get(),
                first ? all.first_half() : all.second_half(),
                first ? all.second_half() : all.first_half()),
          process(other_process) {
        other.set_process(other_process);
    }

    char* wait_for_room(std::uint32_t length) {
        for (;;) {
            if (char* room = ring.reserve(length)) {
                return room;
            }
            ring.flush();
            other.wake();
            require_ready(other.wait_until([&] { return ring.has_room(length); }, limit_ms));
        }
    }

    ring::record wait_for_record() {
        for (;;) {
            if (const auto record = replies.read()) {
                return *record;
            }
            replies.flush();
            other.wake();
            require_ready(other.wait_until([&] { return replies.has_record(); }, limit_ms));
        }
    }

    void send_now(const char* message) {
        std::memcpy(wait_for_room(small_record), message, small_record);
        ring.commit(small_record);
        ring.flush();
        other.wake();
    }

    const shared_objects& objects;
    ring::writer ring;    // to the other process
    ring::reader replies; // from the other process
    partner other;
    HANDLE process;
};

// ---- streams

enum class copy_with { memcpy_only, movsb_if_long };

template <std::uint32_t Bytes, copy_with Copy>
void send_records(end_of_connection& to, const char* source, std::uint64_t count,
                  std::uint32_t batch_bytes) {
    std::uint32_t since_flush = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        char* room = to.wait_for_room(Bytes);
        if constexpr (Copy == copy_with::memcpy_only) {
            std::memcpy(room, source, Bytes);
        } else {
            ring::copy_bytes(room, source, Bytes);
        }
        to.ring.commit(Bytes);
        since_flush += Bytes;
        if (to.ring.unpublished_bytes() >= batch_bytes) {
            to.ring.publish();
            to.other.wake();
        }
        if (since_flush >= protocol::batch_bytes) { // the barrier, once for a batch
            if (batch_bytes == 0) {
                to.ring.flush();
                to.other.wake();
            }
            since_flush = 0;
        }
    }
    to.ring.flush();
    to.other.wake();
    require_ready(to.other.wait_until([&] { return to.ring.all_read(); }, limit_ms));
}

void send_stream(end_of_connection& to, const ring_point& point, const char* source,
                 std::uint64_t count) {
    const std::uint32_t bytes =
        point.task == ring_task::large_records ? large_record : small_record;
    switch (point.how) {
    case transport::ring_memcpy:
        return send_records<large_record, copy_with::memcpy_only>(to, source, count, 0);
    case transport::ring_movsb:
        return send_records<large_record, copy_with::movsb_if_long>(to, source, count, 0);
    case transport::ring_batches:
        return send_records<small_record, copy_with::movsb_if_long>(to, source, count,
                                                                    protocol::batch_bytes);
    case transport::ring_at_once:
        return send_records<small_record, copy_with::movsb_if_long>(to, source, count, 0);
    case transport::two_events:
        for (std::uint64_t i = 0; i < count; ++i) {
            ring::copy_bytes(to.objects.block(i), source, bytes); // while the other one uses i - 1
            if (i != 0) {
                wait_for(to.objects.empty, to.process);
            }
            set(to.objects.full);
        }
        return wait_for(to.objects.empty, to.process);
    case transport::byte_pipe:
        for (std::uint64_t i = 0; i < count; ++i) {
            write_pipe(to.objects.pipe, source, bytes);
        }
        return;
    default: throw std::runtime_error("this is no stream");
    }
}

std::uint64_t receive_stream(end_of_connection& from, const ring_point& point,
                             std::uint64_t count) {
    const std::uint32_t bytes =
        point.task == ring_task::large_records ? large_record : small_record;
    std::uint64_t sum = 0;
    switch (point.how) {
    case transport::two_events:
        for (std::uint64_t i = 0; i < count; ++i) {
            wait_for(from.objects.full, from.process);
            sum += sum_of(from.objects.block(i), bytes);
            set(from.objects.empty);
        }
        return sum;
    case transport::byte_pipe: {
        std::vector<char> buffer(bytes);
        for (std::uint64_t i = 0; i < count; ++i) { // a record for each read, as one for each write
            read_pipe(from.objects.pipe, buffer.data(), bytes);
            sum += sum_of(buffer.data(), bytes);
        }
        return sum;
    }
    default:
        for (std::uint64_t i = 0; i < count; ++i) {
            const ring::record record = from.wait_for_record();
            sum += sum_of(record.bytes.data(), record.bytes.size()); // in place
            from.replies.release();
            from.other.wake();
        }
        from.replies.flush();
        from.other.wake();
        return sum;
    }
}

// ---- round trips

// Sends one message and returns when it has come back.
void send_ping(end_of_connection& to, transport how, std::uint64_t number, char* message) {
    task_board& board = to.objects.board();
    switch (how) {
    case transport::bare_ping:
    case transport::message_ping:
        if (how == transport::message_ping) {
            std::memcpy(board.there.message, message, small_record);
        }
        board.there.number.store(number, std::memory_order_release);
        spin_until([&] { return board.back.number.load(std::memory_order_acquire) == number; });
        if (how == transport::message_ping) {
            std::memcpy(message, board.back.message, small_record);
        }
        return;
    case transport::two_events:
        std::memcpy(to.objects.block(0), message, small_record);
        set(to.objects.full);
        wait_for(to.objects.back, to.process);
        std::memcpy(message, to.objects.block(1), small_record);
        return;
    case transport::byte_pipe:
        write_pipe(to.objects.pipe, message, small_record);
        read_pipe(to.objects.pipe, message, small_record);
        return;
    default: {
        to.send_now(message);
        require_ready(to.other.wait_until([&] { return to.replies.has_record(); }, limit_ms));
        const ring::record reply = to.wait_for_record();
        std::memcpy(message, reply.bytes.data(),
                    std::min<std::size_t>(reply.bytes.size(), small_record));
        to.replies.release();
    }
    }
}

// Returns `count` messages to their sender.
void return_pings(end_of_connection& from, transport how, std::uint64_t count) {
    task_board& board = from.objects.board();
    char message[small_record] = {};
    for (std::uint64_t number = 1; number <= count; ++number) {
        switch (how) {
        case transport::bare_ping:
        case transport::message_ping:
            spin_until(
                [&] { return board.there.number.load(std::memory_order_acquire) == number; });
            if (how == transport::message_ping) {
                std::memcpy(message, board.there.message, small_record);
                std::memcpy(board.back.message, message, small_record);
            }
            board.back.number.store(number, std::memory_order_release);
            break;
        case transport::two_events:
            wait_for(from.objects.full, from.process);
            std::memcpy(from.objects.block(1), from.objects.block(0), small_record);
            set(from.objects.back);
            break;
        case transport::byte_pipe:
            read_pipe(from.objects.pipe, message, small_record);
            write_pipe(from.objects.pipe, message, small_record);
            break;
        default: {
            const ring::record record = from.wait_for_record();
            from.send_now(record.bytes.data()); // from one ring into the other
            from.replies.release();
        }
        }
    }
    from.replies.flush();
}

double ticks_per_second() {
    LARGE_INTEGER frequency{};
    QueryPerformanceFrequency(&frequency); // never fails since Windows XP
    return static_cast<double>(frequency.QuadPart);
}

LONGLONG now_ticks() {
    LARGE_INTEGER now{};
    QueryPerformanceCounter(&now);
    return now.QuadPart;
}

// A counter that costs less than the thing it measures. Under Wine QueryPerformanceCounter takes 95 ns.
std::uint64_t cycles() {
#if defined(_M_X64) || defined(__x86_64__)
    return ReadTimeStampCounter();
#else
    return static_cast<std::uint64_t>(now_ticks());
#endif
}

unsigned spin_looks_of(transport how) {
    return how == transport::ring_events_only || std::thread::hardware_concurrency() < 2 ? 0
                                                                                         : 2'000;
}

std::vector<char> random_bytes() {
    std::vector<char> pattern = protocol::make_pattern();
    pattern.resize(large_record);
    return pattern;
}

// The two processes stay on two processors, or the system would sometimes put both on one.
void stay_on_processor(bool first) {
    const unsigned count = std::min(std::thread::hardware_concurrency(), 64U);
    if (count > 1) {
        SetThreadAffinityMask(GetCurrentThread(), DWORD_PTR{1} << (first ? count - 1 : count - 2));
    }
}

} // namespace

struct ring_load::connection {
    connection()
        : name(L"ipc_demos.bench.ring." + unique_suffix()), objects(name, true),
          second({program_path(L"tests", L"bench_ring.exe"), L"--receive", name}) {
        wait_for(objects.done, second.process()); // it has opened everything
        end.emplace(objects, true, second.process());
        SetPriorityClass(GetCurrentProcess(), HIGH_PRIORITY_CLASS);
    }

    void ask(const ring_point& point, std::uint64_t count) {
        task_board& board = objects.board();
        board.how = static_cast<std::uint32_t>(point.how);
        board.task = static_cast<std::uint32_t>(point.task);
        board.count = count;
        board.there.number = 0;
        board.back.number = 0;
        end->other.set_spin_looks(spin_looks_of(point.how));
        set(objects.go);
        wait_for(objects.done, second.process()); // it runs, and is about to start
    }

    // Returns the seconds for `count` records.
    double stream_seconds(const ring_point& point, std::uint64_t count) {
        const std::uint32_t bytes =
            point.task == ring_task::large_records ? large_record : small_record;
        if (point.how == transport::plain_memcpy) {
            const LONGLONG start = now_ticks();
            for (std::uint64_t i = 0; i < count; ++i) {
                std::memcpy(target.data(), source.data(), bytes);
                std::atomic_signal_fence(std::memory_order_seq_cst); // every copy is made
                checked += static_cast<unsigned char>(target[i % bytes]);
            }
            return static_cast<double>(now_ticks() - start) / ticks_per_second();
        }
        ask(point, count);
        const LONGLONG start = now_ticks();
        send_stream(*end, point, source.data(), count); // returns when everything was received,
        if (point.how == transport::byte_pipe) {        // except for the pipe
            wait_for(objects.done, second.process());
        }
        const double seconds = static_cast<double>(now_ticks() - start) / ticks_per_second();
        if (point.how != transport::byte_pipe) {
            wait_for(objects.done, second.process());
        }
        if (objects.board().sum != sum_of(source.data(), bytes) * count) {
            throw std::runtime_error("records arrived changed");
        }
        return seconds;
    }

    // The fastest of many slices: whatever else runs on the machine only makes one slower.
    ring_figures measure_stream(const ring_point& point, DWORD duration_ms) {
        const double wanted = duration_ms / 1000.0;
        const double slice = wanted / slices;
        std::uint64_t count = point.task == ring_task::large_records ? 16 : 256;
        ring_figures best;
        for (double total = 0; total < wanted;) {
            const double seconds = std::max(stream_seconds(point, count), 1e-6);
            if (seconds < slice / 2) {
                count = static_cast<std::uint64_t>(static_cast<double>(count) *
                                                   std::clamp(slice / seconds, 1.5, 8.0));
                continue;
            }
            total += seconds;
            best.per_second = std::max(best.per_second, static_cast<double>(count) / seconds);
        }
        return best;
    }

    // The times of `count` round trips, in cycles, sorted.
    std::vector<std::uint64_t> ping_cycles(transport how, std::uint64_t count) {
        ask({how, ring_task::ping}, count);
        std::vector<std::uint64_t> times(count);
        char message[small_record] = {};
        for (std::uint64_t number = 1; number <= count; ++number) {
            std::memcpy(message, &number, sizeof number);
            const std::uint64_t start = cycles();
            send_ping(*end, how, number, message);
            times[number - 1] = cycles() - start;
            std::uint64_t returned = 0;
            std::memcpy(&returned, message, sizeof returned);
            if (returned != number) {
                throw std::runtime_error("a message came back changed");
            }
        }
        wait_for(objects.done, second.process());
        std::ranges::sort(times);
        return times;
    }

    ring_figures measure_pings(transport how, std::uint64_t count) {
        const std::uint64_t cycles_start = cycles();
        const LONGLONG start = now_ticks();
        const std::vector<std::uint64_t> times = ping_cycles(how, count);
        const double seconds = static_cast<double>(now_ticks() - start) / ticks_per_second();
        const double ns_of_cycle = seconds * 1e9 / static_cast<double>(cycles() - cycles_start);
        ring_figures figures;
        figures.per_second = static_cast<double>(count) / seconds;
        figures.median_ns = static_cast<double>(times[times.size() / 2]) * ns_of_cycle;
        figures.p99_ns = static_cast<double>(times[times.size() * 99 / 100]) * ns_of_cycle;
        return figures;
    }

    ring_figures measure(const ring_point& point, DWORD duration_ms) {
        if (point.task != ring_task::ping) {
            return measure_stream(point, duration_ms);
        }
        ring_figures best; // of many slices, as for a stream
        const double wanted = duration_ms / 1000.0;
        std::uint64_t count = least_pings;
        for (double total = 0; total < wanted;) {
            const ring_figures figures = measure_pings(point.how, count);
            const double seconds = static_cast<double>(count) / figures.per_second;
            total += seconds;
            if (best.p99_ns == 0 || figures.p99_ns < best.p99_ns) {
                best = figures;
            }
            if (seconds < wanted / slices / 2 && count < most_pings) {
                count *= 2;
            }
        }
        return best;
    }

    double bare_ping_ns() { return measure_pings(transport::bare_ping, bare_pings).median_ns; }

    std::wstring name;
    shared_objects objects;
    program second;
    std::optional<end_of_connection> end;
    std::vector<char> source = random_bytes();
    std::vector<char> target = std::vector<char>(large_record);
    std::uint64_t checked = 0;
};

ring_load::ring_load() : connection_(std::make_unique<connection>()) {
    stay_on_processor(true);
}

ring_load::~ring_load() {
    connection_->objects.board().quit = 1;
    SetEvent(connection_->objects.go.get());
    connection_->second.wait(limit_ms);
}

ring_figures ring_load::measure(const ring_point& point, DWORD duration_ms) {
    ring_figures best;
    double best_distance = 0;
    for (unsigned i = 0; i < most_tries; ++i) {
        const double before = connection_->bare_ping_ns();
        ring_figures figures = connection_->measure(point, duration_ms);
        figures.bare_before_ns = before;
        figures.bare_after_ns = connection_->bare_ping_ns();
        const double distance = std::max(before, figures.bare_after_ns);
        if (i == 0 || distance < best_distance) {
            best = figures;
            best_distance = distance;
        }
        if (distance <= same_distance * std::min(before, figures.bare_after_ns)) {
            return figures;
        }
    }
    return best;
}

void receive(const std::wstring& name) {
    stay_on_processor(false);
    const shared_objects objects(name, false);
    const unique_handle parent(OpenProcess(SYNCHRONIZE, FALSE, objects.board().first_process));
    if (!parent) {
        throw_last_error("OpenProcess");
    }
    end_of_connection end(objects, false, parent.get());
    set(objects.done);
    for (;;) {
        wait_for(objects.go, parent.get());
        task_board& board = objects.board();
        if (board.quit != 0) {
            return;
        }
        const ring_point point{static_cast<transport>(board.how),
                               static_cast<ring_task>(board.task)};
        end.other.set_spin_looks(spin_looks_of(point.how));
        const std::uint64_t count = board.count;
        set(objects.done);
        if (point.task == ring_task::ping) {
            return_pings(end, point.how, count);
        } else {
            board.sum = receive_stream(end, point, count);
        }
        set(objects.done);
    }
}

} // namespace ipc::test
