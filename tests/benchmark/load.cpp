#include "tests/benchmark/load.hpp"

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "tests/harness/launcher.hpp"

#include <process.h>
#include <tlhelp32.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

namespace ipc::test {
namespace {

constexpr DWORD start_limit_ms = 30'000;
constexpr DWORD end_limit_ms = 30'000; // for a call to return after its server is gone
constexpr DWORD small_message_bytes = 64;
constexpr DWORD pipe_buffer_bytes = 4 * 1024; // as in the servers
constexpr DWORD longest_message = 1024 * 1024;
constexpr unsigned client_stack_bytes = 64 * 1024;

LONGLONG now_ticks() {
    LARGE_INTEGER now{};
    QueryPerformanceCounter(&now); // never fails since Windows XP
    return now.QuadPart;
}

LONGLONG ticks_per_second() {
    LARGE_INTEGER frequency{};
    QueryPerformanceFrequency(&frequency);
    return frequency.QuadPart;
}

unique_handle connect(const std::wstring& name, DWORD limit_ms) {
    const ULONGLONG end_ms = GetTickCount64() + limit_ms;
    for (;;) {
        unique_handle pipe(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                       OPEN_EXISTING,
                                       SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
        const ULONGLONG now_ms = GetTickCount64();
        if (error == ERROR_SUCCESS) {
            DWORD mode = PIPE_READMODE_MESSAGE;
            if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
                throw_last_error("SetNamedPipeHandleState");
            }
            return pipe;
        }
        if (error != ERROR_PIPE_BUSY || now_ms >= end_ms) {
            throw_error("CreateFileW", error);
        }
        WaitNamedPipeW(name.c_str(), static_cast<DWORD>(end_ms - now_ms));
    }
}

void make_upper_case(char* bytes, DWORD count) {
    std::transform(bytes, bytes + count, bytes, [](char byte) {
        return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - 'a' + 'A') : byte;
    });
}

// What all clients of one measurement share. Its members are written before `start` is set.
struct starting_line {
    unique_handle all_ready;
    unique_handle start;
    std::atomic<unsigned> not_ready = 0;
    std::atomic<bool> cancelled = false;
    LONGLONG from = 0; // only what lies between from and to counts
    LONGLONG to = 0;
    DWORD message_bytes = 0;
    DWORD answer_limit_ms = 0;
};

// One client and its thread. An object must not move: its thread has its address.
class client {
public:
    client(starting_line& line, unsigned number, const std::wstring& pipe_name)
        : line_(line), pipe_(connect(pipe_name, line.answer_limit_ms)),
          request_(line.message_bytes), expected_(line.message_bytes),
          reply_(line.message_bytes + 1) {
        for (DWORD i = 0; i < line.message_bytes; ++i) {
            request_[i] = static_cast<char>('a' + (number + i) % 26);
            expected_[i] = static_cast<char>('A' + (number + i) % 26);
        }
    }

    void start_thread() {
        thread_.reset(reinterpret_cast<HANDLE>(_beginthreadex(
            nullptr, client_stack_bytes,
            [](void* self) -> unsigned { return static_cast<client*>(self)->run(); }, this,
            STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr)));
        if (!thread_) {
            throw std::runtime_error("no more threads for clients");
        }
    }

    bool wait_for_end(DWORD limit_ms) const {
        return !thread_ || WaitForSingleObject(thread_.get(), limit_ms) == WAIT_OBJECT_0;
    }

    // Call these after the end of the thread, or while it waits for the start.
    const std::string& failure() const { return failure_; }
    const std::vector<LONGLONG>& round_trips() const { return round_trips_; }
    std::uint64_t replies() const { return replies_; }

private:
    unsigned run() noexcept {
        try {
            const DWORD first_bytes = std::min(line_.message_bytes, small_message_bytes);
            exchange(first_bytes);
            verify(first_bytes);
            report_ready();
            if (WaitForSingleObject(line_.start.get(), INFINITE /* ~all_clients sets it */) !=
                WAIT_OBJECT_0) {
                throw_last_error("WaitForSingleObject");
            }
            ask_until_the_end();
        } catch (const std::exception& problem) {
            failure_ = problem.what();
            report_ready(); // or connect() would wait for a client that has failed
        }
        return 0;
    }

    void report_ready() {
        if (!ready_) {
            ready_ = true;
            if (--line_.not_ready == 0) {
                SetEvent(line_.all_ready.get());
            }
        }
    }

    void ask_until_the_end() {
        while (!line_.cancelled) {
            const LONGLONG before = now_ticks();
            if (before >= line_.to) {
                return;
            }
            exchange(line_.message_bytes);
            const LONGLONG after = now_ticks();
            verify(line_.message_bytes);
            // A round trip counts if it began in time, or the slowest ones would be left out.
            if (before >= line_.from) {
                round_trips_.push_back(after - before);
            }
            if (after >= line_.from && after < line_.to) {
                ++replies_;
            }
        }
    }

    void exchange(DWORD bytes) {
        // Each request differs from the previous one, so that an old reply is found.
        const int turn = static_cast<int>(++requests_ % 26);
        request_[0] = static_cast<char>('a' + turn);
        expected_[0] = static_cast<char>('A' + turn);
        DWORD written = 0;
        if (!WriteFile(pipe_.get(), request_.data(), bytes, &written, nullptr)) {
            throw_last_error("WriteFile");
        }
        if (!ReadFile(pipe_.get(), reply_.data(), static_cast<DWORD>(reply_.size()), &received_,
                      nullptr)) {
            throw_last_error("ReadFile");
        }
    }

    void verify(DWORD bytes) const {
        if (received_ != bytes || std::memcmp(reply_.data(), expected_.data(), bytes) != 0) {
            throw std::runtime_error("a client got a wrong reply");
        }
    }

    starting_line& line_;
    unique_handle pipe_;
    std::vector<char> request_;
    std::vector<char> expected_;
    std::vector<char> reply_;
    DWORD received_ = 0;
    std::uint64_t requests_ = 0;
    bool ready_ = false;
    std::uint64_t replies_ = 0;
    std::vector<LONGLONG> round_trips_;
    std::string failure_;
    unique_handle thread_;
};

// All clients of one measurement. Its destructor ends the server, so that no thread waits forever.
class all_clients {
public:
    all_clients(program& server, std::wstring pipe_name, const load& what)
        : server_(server), pipe_name_(std::move(pipe_name)), what_(what) {
        line_.all_ready.reset(CreateEventW(nullptr, TRUE, FALSE, nullptr));
        line_.start.reset(CreateEventW(nullptr, TRUE, FALSE, nullptr));
        if (!line_.all_ready || !line_.start) {
            throw_last_error("CreateEventW");
        }
        line_.message_bytes = what.message_bytes;
        line_.answer_limit_ms = what.answer_limit_ms;
        line_.not_ready = what.clients;
    }
    all_clients(const all_clients&) = delete;
    all_clients& operator=(const all_clients&) = delete;

    ~all_clients() {
        line_.cancelled = true;
        SetEvent(line_.start.get());
        server_.job().terminate();
        if (!wait_for_end(end_limit_ms)) {
            // The threads of the clients still use this object, so it cannot be destroyed.
            print_error_line("bench: a client's call does not return, although its server is gone");
            TerminateProcess(GetCurrentProcess(), 1);
        }
    }

    // Returns when each client has connected and has got a reply.
    void connect() {
        for (unsigned i = 0; i < what_.clients; ++i) {
            clients_.push_back(std::make_unique<client>(line_, i, pipe_name_));
        }
        for (const auto& one : clients_) {
            one->start_thread();
        }
        if (WaitForSingleObject(line_.all_ready.get(), what_.answer_limit_ms) != WAIT_OBJECT_0) {
            throw std::runtime_error("the server did not answer in time");
        }
        throw_if_one_failed();
    }

    void run() {
        const LONGLONG duration = ticks_per_second() * what_.duration_ms / 1000;
        line_.from = now_ticks() + duration / 4; // a quarter of the time to warm up
        line_.to = line_.from + duration;
        SetEvent(line_.start.get());
        const bool all_ended = wait_for_end(what_.duration_ms * 5 / 4 + what_.answer_limit_ms);
        if (!all_ended) {
            throw std::runtime_error("the server did not answer in time");
        }
        throw_if_one_failed();
    }

    void add_to(measurement& result) const {
        std::vector<LONGLONG> all;
        std::uint64_t replies = 0;
        for (const auto& one : clients_) {
            all.insert(all.end(), one->round_trips().begin(), one->round_trips().end());
            replies += one->replies();
            result.not_served += one->replies() == 0 ? 1 : 0;
        }
        if (all.empty() || replies == 0) {
            throw std::runtime_error("no client had a reply while it was measured");
        }
        std::ranges::sort(all);
        const double us = 1e6 / static_cast<double>(ticks_per_second());
        result.requests_per_second =
            1000.0 * static_cast<double>(replies) / static_cast<double>(what_.duration_ms);
        result.median_us = us * static_cast<double>(all[all.size() / 2]);
        result.p99_us = us * static_cast<double>(all[all.size() * 99 / 100]);
    }

private:
    void throw_if_one_failed() const {
        for (const auto& one : clients_) {
            if (!one->failure().empty()) {
                throw std::runtime_error("a client failed: " + one->failure());
            }
        }
    }

    bool wait_for_end(DWORD limit_ms) const {
        const ULONGLONG end_ms = GetTickCount64() + limit_ms;
        return std::ranges::all_of(clients_, [&](const auto& one) {
            const ULONGLONG now_ms = GetTickCount64();
            return one->wait_for_end(now_ms < end_ms ? static_cast<DWORD>(end_ms - now_ms) : 0);
        });
    }

    program& server_;
    std::wstring pipe_name_;
    load what_;
    starting_line line_;
    std::vector<std::unique_ptr<client>> clients_;
};

unsigned thread_count(DWORD process_id) {
    const unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
    if (!snapshot) {
        throw_last_error("CreateToolhelp32Snapshot");
    }
    unsigned count = 0;
    THREADENTRY32 entry{};
    entry.dwSize = sizeof entry;
    for (BOOL more = Thread32First(snapshot.get(), &entry); more;
         more = Thread32Next(snapshot.get(), &entry)) {
        count += entry.th32OwnerProcessID == process_id ? 1 : 0;
    }
    return count;
}

} // namespace

measurement measure(const server_command& server, const load& what) {
    program running(server.arguments);
    if (!running.wait_for_output("\n", start_limit_ms) || running.output().empty()) {
        throw std::runtime_error("the server did not start: " + running.error_output());
    }
    measurement result;
    const auto memory_before = static_cast<std::int64_t>(memory_bytes(running.process()));
    all_clients clients(running, server.pipe, what);
    clients.connect();
    result.memory_bytes =
        static_cast<std::int64_t>(memory_bytes(running.process())) - memory_before;
    result.threads = thread_count(running.id());
    clients.run();
    clients.add_to(result);
    return result;
}

void run_floor_server(const std::wstring& pipe_name) {
    user_only_security security;
    const unique_handle pipe(CreateNamedPipeW(
        pipe_name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
        pipe_buffer_bytes, pipe_buffer_bytes, 0, security.get()));
    if (!pipe) {
        throw_last_error("CreateNamedPipeW");
    }
    std::vector<char> message(longest_message);
    print_line("A: one instance waits for a client");
    // These calls have no limit. The end of the benchmark closes the job object, which ends them.
    if (!ConnectNamedPipe(pipe.get(), nullptr) && GetLastError() != ERROR_PIPE_CONNECTED) {
        throw_last_error("ConnectNamedPipe");
    }
    DWORD bytes = 0;
    while (ReadFile(pipe.get(), message.data(), longest_message, &bytes, nullptr)) {
        make_upper_case(message.data(), bytes);
        if (!WriteFile(pipe.get(), message.data(), bytes, &bytes, nullptr)) {
            break;
        }
    }
    if (GetLastError() != ERROR_BROKEN_PIPE && GetLastError() != ERROR_NO_DATA) {
        throw_last_error("ReadFile or WriteFile");
    }
}

} // namespace ipc::test
