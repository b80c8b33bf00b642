#include "tests/benchmark/ring_load.hpp"

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/16_shared_ring/protocol.hpp"
#include "demos/18_tcp_loopback/sockets.hpp"
#include "tests/harness/launcher.hpp"

#include <winsock2.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace ipc::test {
namespace {

using protocol::connection;

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
    std::uint16_t listening_port; // of the first process
    std::uint16_t connected_port; // of the second one
    char unused[ring::line_bytes - 36];
    ping_lines there;
    ping_lines back;
};
constexpr DWORD board_bytes = 64 * 1024;
constexpr DWORD blocks_start = board_bytes + 2 * protocol::half_bytes;
constexpr DWORD memory_bytes = blocks_start + 2 * large_record;

// Both processes have the same objects; the one that comes first creates them.
struct shared_objects {
    explicit shared_objects(const std::wstring& name, bool first)
        : mapping(create_mapping(L"Local\\" + name)), go(event(name + L".go")),
          done(event(name + L".done")), wake_first(event(name + L".1")),
          wake_second(event(name + L".2")), full(event(name + L".full")),
          empty(event(name + L".empty")), back(event(name + L".back")),
          memory(static_cast<char*>(MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 0))) {
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
        if (first) {
            listen_for_second();
        } else {
            connect_to_first();
        }
    }
    ~shared_objects() { UnmapViewOfFile(memory); }
    shared_objects(const shared_objects&) = delete;
    shared_objects& operator=(const shared_objects&) = delete;

    unique_handle create_mapping(const std::wstring& mapping_name) {
        unique_handle created(CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(),
                                                 PAGE_READWRITE, 0, memory_bytes,
                                                 mapping_name.c_str()));
        if (!created) {
            throw_last_error("CreateFileMappingW");
        }
        return created;
    }

    unique_handle event(const std::wstring& event_name) {
        unique_handle created(
            CreateEventW(security.get(), FALSE, FALSE, (L"Local\\" + event_name).c_str()));
        if (!created) {
            throw_last_error("CreateEventW");
        }
        return created;
    }

    static unique_socket new_socket() {
        unique_socket created(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
        if (!created) {
            throw_socket_error("socket");
        }
        return created;
    }

    static sockaddr_in loopback(u_short port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    static u_short port_of(const unique_socket& bound) {
        sockaddr_in address{};
        int size = sizeof address;
        if (getsockname(bound.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
            throw_socket_error("getsockname");
        }
        return ntohs(address.sin_port);
    }

    void set_no_delay() const {
        if (!set_option(tcp.get(), IPPROTO_TCP, TCP_NODELAY, TRUE)) {
            throw_socket_error("setsockopt");
        }
    }

    void listen_for_second() {
        listener = new_socket();
        const sockaddr_in address = loopback(0); // the system chooses a port
        if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
                0 ||
            listen(listener.get(), 1) != 0) {
            throw_socket_error("bind or listen");
        }
        board().listening_port = port_of(listener);
    }

    void connect_to_first() {
        tcp = new_socket();
        const sockaddr_in address = loopback(board().listening_port);
        if (connect(tcp.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            throw_socket_error("connect");
        }
        board().connected_port = port_of(tcp);
        set_no_delay();
    }

    // The second process has connected: accept does not block.
    void accept_second() {
        sockaddr_in address{};
        int size = sizeof address;
        tcp = unique_socket(accept(listener.get(), reinterpret_cast<sockaddr*>(&address), &size));
        if (!tcp) {
            throw_socket_error("accept");
        }
        if (ntohs(address.sin_port) != board().connected_port) {
            throw std::runtime_error("a program that is not of the benchmark has connected");
        }
        set_no_delay();
    }

    task_board& board() const { return *reinterpret_cast<task_board*>(memory); }
    protocol::half& first_half() const {
        return *reinterpret_cast<protocol::half*>(memory + board_bytes);
    }
    protocol::half& second_half() const {
        return *reinterpret_cast<protocol::half*>(memory + board_bytes + protocol::half_bytes);
    }
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
    winsock started_winsock; // before the sockets, which end before it
    unique_socket listener;  // of the first process
    unique_socket tcp;
    char* memory;
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

// Reads size bytes. One ReadFile of a byte pipe can return fewer bytes than asked for.
void read_pipe(const unique_handle& pipe, char* bytes, DWORD size) {
    for (DWORD received = 0; size != 0; size -= received, bytes += received) {
        if (!ReadFile(pipe.get(), bytes, size, &received, nullptr)) {
            throw_last_error("ReadFile");
        }
    }
}

void send_tcp(const unique_socket& tcp, const char* bytes, DWORD size) {
    // A socket that blocks takes everything.
    if (send(tcp.get(), bytes, static_cast<int>(size), 0) != static_cast<int>(size)) {
        throw_socket_error("send");
    }
}

// Receives size bytes. One recv can return fewer bytes than asked for, as a read of a byte pipe can.
void receive_tcp(const unique_socket& tcp, char* bytes, DWORD size) {
    for (int received = 0; size != 0; size -= static_cast<DWORD>(received), bytes += received) {
        received = recv(tcp.get(), bytes, static_cast<int>(size), 0);
        if (received == 0) {
            throw std::runtime_error("the other process of the benchmark has ended");
        }
        if (received < 0) {
            throw_socket_error("recv");
        }
    }
}

// The records have a length that the compiler knows: it writes a loop without tests at its ends, which cost a
// quarter of the time for 64 bytes.
template <std::size_t Bytes> std::uint64_t sum_of(const char* bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < Bytes; i += sizeof sum) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + i, sizeof word);
        sum += word;
    }
    return sum;
}

// One end of everything, for one task.
struct end_of_connection {
    end_of_connection(const shared_objects& all, bool first, DWORD other_process)
        : objects(all), ring(first ? all.first_half() : all.second_half(),
                             first ? all.second_half() : all.first_half(),
                             (first ? all.wake_first : all.wake_second).get(),
                             (first ? all.wake_second : all.wake_first).get(), limit_ms) {
        ring.watch(other_process);
    }

    HANDLE process() const { return ring.process(); }

    const shared_objects& objects;
    connection ring;
};

// ---- streams

enum class copy_with { memcpy_only, movsb_if_long };

template <std::uint32_t Bytes, copy_with Copy>
void send_records(end_of_connection& to, const char* source, std::uint64_t count,
                  std::uint32_t batch_bytes) {
    std::uint32_t since_flush = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        char* room = to.ring.wait_for_room(Bytes);
        if constexpr (Copy == copy_with::memcpy_only) {
            std::memcpy(room, source, Bytes);
        } else {
            ring::copy_bytes(room, source, Bytes);
        }
        to.ring.out.commit(Bytes);
        since_flush += Bytes;
        if (to.ring.out.unpublished_bytes() >= batch_bytes) {
            to.ring.out.publish();
            to.ring.wake();
        }
        if (since_flush >= protocol::batch_bytes) { // the barrier, once for a batch
            if (batch_bytes == 0) {
                to.ring.out.flush();
                to.ring.wake();
            }
            since_flush = 0;
        }
    }
    to.ring.wait_until_all_read();
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
                wait_for(to.objects.empty, to.process());
            }
            set(to.objects.full);
        }
        return wait_for(to.objects.empty, to.process());
    case transport::byte_pipe:
        for (std::uint64_t i = 0; i < count; ++i) {
            write_pipe(to.objects.pipe, source, bytes);
        }
        return;
    case transport::tcp_loopback:
        for (std::uint64_t i = 0; i < count; ++i) {
            send_tcp(to.objects.tcp, source, bytes);
        }
        return;
    default: throw std::runtime_error("this is no stream");
    }
}

template <std::uint32_t Bytes>
std::uint64_t receive_records(end_of_connection& from, transport how, std::uint64_t count) {
    std::uint64_t sum = 0;
    switch (how) {
    case transport::two_events:
        for (std::uint64_t i = 0; i < count; ++i) {
            wait_for(from.objects.full, from.process());
            sum += sum_of<Bytes>(from.objects.block(i));
            set(from.objects.empty);
        }
        return sum;
    case transport::byte_pipe:
    case transport::tcp_loopback: {
        std::vector<char> buffer(Bytes);
        for (std::uint64_t i = 0; i < count; ++i) { // a record for each read, as one for each write
            if (how == transport::byte_pipe) {
                read_pipe(from.objects.pipe, buffer.data(), Bytes);
            } else {
                receive_tcp(from.objects.tcp, buffer.data(), Bytes);
            }
            sum += sum_of<Bytes>(buffer.data());
        }
        return sum;
    }
    default:
        for (std::uint64_t i = 0; i < count; ++i) {
            const ring::record record = from.ring.wait_for_record();
            if (record.bytes.size() != Bytes) {
                throw std::runtime_error("a record of another length arrived");
            }
            sum += sum_of<Bytes>(record.bytes.data()); // in place
            from.ring.in.release();
            from.ring.wake();
        }
        from.ring.in.flush();
        from.ring.wake();
        return sum;
    }
}

std::uint64_t receive_stream(end_of_connection& from, const ring_point& point,
                             std::uint64_t count) {
    return point.task == ring_task::large_records
               ? receive_records<large_record>(from, point.how, count)
               : receive_records<small_record>(from, point.how, count);
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
        wait_for(to.objects.back, to.process());
        std::memcpy(message, to.objects.block(1), small_record);
        return;
    case transport::byte_pipe:
        write_pipe(to.objects.pipe, message, small_record);
        read_pipe(to.objects.pipe, message, small_record);
        return;
    case transport::tcp_loopback:
        send_tcp(to.objects.tcp, message, small_record);
        receive_tcp(to.objects.tcp, message, small_record);
        return;
    default: {
        std::memcpy(to.ring.wait_for_room(small_record), message, small_record);
        to.ring.out.commit(small_record);
        to.ring.show();
        const ring::record reply = to.ring.wait_for_record();
        if (reply.bytes.size() != small_record) {
            throw std::runtime_error("a record of another length came back");
        }
        std::memcpy(message, reply.bytes.data(), small_record);
        to.ring.in.release();
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
            wait_for(from.objects.full, from.process());
            std::memcpy(from.objects.block(1), from.objects.block(0), small_record);
            set(from.objects.back);
            break;
        case transport::byte_pipe:
            read_pipe(from.objects.pipe, message, small_record);
            write_pipe(from.objects.pipe, message, small_record);
            break;
        case transport::tcp_loopback:
            receive_tcp(from.objects.tcp, message, small_record);
            send_tcp(from.objects.tcp, message, small_record);
            break;
        default: {
            const ring::record record = from.ring.wait_for_record();
            if (record.bytes.size() != small_record) {
                throw std::runtime_error("a record of another length arrived");
            }
            // From one ring into the other.
            std::memcpy(from.ring.wait_for_room(small_record), record.bytes.data(), small_record);
            from.ring.out.commit(small_record);
            from.ring.show();
            from.ring.in.release();
        }
        }
    }
    from.ring.in.flush();
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

// The lowest logical processor of each core: two logical ones of one core share its caches. Returns
// nothing if the system does not know them, as in a container without /sys.
std::vector<DWORD_PTR> one_processor_of_each_core() {
    DWORD bytes = 0;
    GetLogicalProcessorInformation(nullptr, &bytes); // only says how many bytes there are
    std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> all(
        bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
    if (!GetLogicalProcessorInformation(all.data(), &bytes)) {
        return {};
    }
    std::vector<DWORD_PTR> processors;
    for (const auto& one : all) {
        if (one.Relationship == RelationProcessorCore) {
            processors.push_back(one.ProcessorMask & ~(one.ProcessorMask - 1));
        }
    }
    return processors;
}

// The two processes stay on two cores, or the system would sometimes put both on one.
void stay_on_processor(bool first) {
    const std::vector<DWORD_PTR> processors = one_processor_of_each_core();
    if (processors.size() > 1) {
        SetThreadAffinityMask(GetCurrentThread(), first ? processors[0] : processors[1]);
    }
}

} // namespace

struct ring_load::session {
    session()
        : name(L"ipc_demos.bench.ring." + unique_suffix()), objects(name, true),
          second({program_path(L"tests", L"bench_ring.exe"), L"--receive", name}) {
        wait_for(objects.done, second.process()); // it has opened everything
        objects.accept_second();
        end.emplace(objects, true, second.id());
        SetPriorityClass(GetCurrentProcess(), HIGH_PRIORITY_CLASS);
    }

    void ask(const ring_point& point, std::uint64_t count) {
        task_board& board = objects.board();
        board.how = static_cast<std::uint32_t>(point.how);
        board.task = static_cast<std::uint32_t>(point.task);
        board.count = count;
        board.there.number = 0;
        board.back.number = 0;
        end->ring.spin_looks = spin_looks_of(point.how);
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
        const bool buffered =                           // except for the pipe and TCP
            point.how == transport::byte_pipe || point.how == transport::tcp_loopback;
        if (buffered) {
            wait_for(objects.done, second.process());
        }
        const double seconds = static_cast<double>(now_ticks() - start) / ticks_per_second();
        if (!buffered) {
            wait_for(objects.done, second.process());
        }
        const std::uint64_t sum = bytes == large_record ? sum_of<large_record>(source.data())
                                                        : sum_of<small_record>(source.data());
        if (objects.board().sum != sum * count) {
            throw std::runtime_error("records arrived changed");
        }
        return seconds;
    }

    // The rate that a tenth of many slices reach, for the ring as well as for the pipe: what else runs on the
    // machine only makes a slice slower, and the fastest slice of a pipe is luck.
    ring_figures measure_stream(const ring_point& point, DWORD duration_ms) {
        const double wanted = duration_ms / 1000.0;
        const std::uint64_t count = records_of_slice(point, wanted / slices);
        std::vector<double> rates;
        for (double total = 0; total < wanted;) {
            const double seconds = stream_seconds(point, count);
            total += seconds;
            rates.push_back(static_cast<double>(count) / seconds);
        }
        std::ranges::sort(rates);
        ring_figures figures;
        figures.per_second = rates[rates.size() * 9 / 10];
        return figures;
    }

    // How many records take about so many seconds, if nothing else runs: the best of three tries each.
    std::uint64_t records_of_slice(const ring_point& point, double wanted_seconds) {
        std::uint64_t count = point.task == ring_task::large_records ? 16 : 256;
        for (;;) {
            double best = wanted_seconds;
            for (int i = 0; i < 3; ++i) {
                best = std::min(best, std::max(stream_seconds(point, count), 1e-6));
            }
            if (best >= wanted_seconds / 2) {
                return count;
            }
            count = static_cast<std::uint64_t>(static_cast<double>(count) *
                                               std::clamp(wanted_seconds / best, 1.5, 8.0));
        }
    }

    // The times of `count` round trips, in cycles, sorted.
    std::vector<std::uint64_t> ping_cycles(transport how, std::uint64_t count) {
        ask({how, ring_task::ping}, count);
        std::vector<std::uint64_t> times(static_cast<std::size_t>(count));
        char message[small_record] = {};
        for (std::uint64_t number = 1; number <= count; ++number) {
            std::memcpy(message, &number, sizeof number);
            const std::uint64_t start = cycles();
            send_ping(*end, how, number, message);
            times[static_cast<std::size_t>(number - 1)] = cycles() - start;
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
        const std::uint64_t sum = std::accumulate(times.begin(), times.end(), std::uint64_t{0});
        figures.per_second =
            static_cast<double>(count) * 1e9 / (static_cast<double>(sum) * ns_of_cycle);
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

ring_load::ring_load() : session_(std::make_unique<session>()) {
    stay_on_processor(true);
}

ring_load::~ring_load() {
    session_->objects.board().quit = 1;
    SetEvent(session_->objects.go.get());
    session_->second.wait(limit_ms);
}

ring_figures ring_load::measure(const ring_point& point, DWORD duration_ms) {
    ring_figures best;
    double best_distance = 0;
    for (unsigned i = 0; i < most_tries; ++i) {
        const double before = session_->bare_ping_ns();
        ring_figures figures = session_->measure(point, duration_ms);
        figures.bare_before_ns = before;
        figures.bare_after_ns = session_->bare_ping_ns();
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
    end_of_connection end(objects, false, objects.board().first_process);
    set(objects.done);
    for (;;) {
        wait_for(objects.go, end.process());
        task_board& board = objects.board();
        if (board.quit != 0) {
            return;
        }
        const ring_point point{static_cast<transport>(board.how),
                               static_cast<ring_task>(board.task)};
        end.ring.spin_looks = spin_looks_of(point.how);
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
