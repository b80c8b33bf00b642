#include "tests/benchmark/load.hpp"

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "demos/19_unix_socket/unix_socket.hpp"
#include "tests/harness/launcher.hpp"

#include <winsock2.h>

#ifdef IPC_HAS_RPC
#include "demos/25_rpc/protocol.hpp"
#include "demos/25_rpc/rpc_status.hpp"

#include "requests.h"
#endif

#include <process.h>
#include <tlhelp32.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#ifdef IPC_HAS_RPC
// The stubs get memory here.
void* __RPC_USER midl_user_allocate(std::size_t bytes) {
    return ::operator new(bytes, std::nothrow);
}
void __RPC_USER midl_user_free(void* memory) {
    ::operator delete(memory);
}
#endif

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

unique_handle connect_to(const std::wstring& name, DWORD limit_ms) {
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

// A client's end of a connection. Its calls block.
class channel {
public:
    channel() = default;
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;
    virtual ~channel() = default;

    // Sends the request and returns the length of the reply, which is in the buffer. Throws win32_error.
    virtual DWORD ask(const char* request, DWORD bytes, std::vector<char>& reply) = 0;
};

class pipe_channel : public channel {
public:
    pipe_channel(const std::wstring& name, DWORD limit_ms) : pipe_(connect_to(name, limit_ms)) {}

    DWORD ask(const char* request, DWORD bytes, std::vector<char>& reply) override {
        DWORD written = 0;
        if (!WriteFile(pipe_.get(), request, bytes, &written, nullptr)) {
            throw_last_error("WriteFile");
        }
        DWORD received = 0;
        if (!ReadFile(pipe_.get(), reply.data(), static_cast<DWORD>(reply.size()), &received,
                      nullptr)) {
            throw_last_error("ReadFile");
        }
        return received;
    }

private:
    unique_handle pipe_;
};

void connect_socket(const unique_socket& client, const void* address, int bytes) {
    if (connect(client.get(), static_cast<const sockaddr*>(address), bytes) != 0) {
        throw_socket_error("connect");
    }
}

// What pairs 18 and 19 have in common: each message begins with its length.
class socket_channel : public channel {
public:
    DWORD ask(const char* request, DWORD bytes, std::vector<char>& reply) override {
        send_message(request, bytes);
        // The length and the message in one receive, as far as they have come.
        buffer_.resize(length_bytes + reply.size());
        DWORD received = 0;
        DWORD length = 0;
        while (received < length_bytes || received - length_bytes < length) {
            const int more = recv(socket_.get(), buffer_.data() + received,
                                  static_cast<int>(buffer_.size() - received), 0);
            if (more <= 0) {
                throw_error("recv", more == 0 ? ERROR_GRACEFUL_DISCONNECT
                                              : static_cast<DWORD>(WSAGetLastError()));
            }
            received += static_cast<DWORD>(more);
            if (received >= length_bytes) {
                u_long network_order = 0;
                std::memcpy(&network_order, buffer_.data(), length_bytes);
                length = ntohl(network_order);
            }
            if (received == buffer_.size() && received - length_bytes < length) {
                return 0; // longer than the request: a wrong reply
            }
        }
        std::memcpy(reply.data(), buffer_.data() + length_bytes, length);
        return length;
    }

protected:
    explicit socket_channel(unique_socket created) : socket_(std::move(created)) {}

    void send_message(const char* message, DWORD bytes) {
        const u_long network_order = htonl(bytes);
        buffer_.resize(length_bytes + bytes);
        std::memcpy(buffer_.data(), &network_order, length_bytes);
        std::memcpy(buffer_.data() + length_bytes, message, bytes);
        const int size = static_cast<int>(buffer_.size());
        if (send(socket_.get(), buffer_.data(), size, 0) !=
            size) { // a socket that blocks takes everything
            throw_socket_error("send");
        }
    }

    const unique_socket& own_socket() const { return socket_; }

private:
    static constexpr DWORD length_bytes = 4;

    unique_socket socket_;
    std::vector<char> buffer_;
};

// Pair 18: the first message is the nonce, and has no reply.
class tcp_channel : public socket_channel {
public:
    explicit tcp_channel(const std::wstring& socket_file)
        : socket_channel(unique_socket(
              WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED))) {
        // Not a stream: it would not let the server delete the file.
        const unique_handle file(CreateFileW(socket_file.c_str(), GENERIC_READ,
                                             FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                             nullptr, OPEN_EXISTING, 0, nullptr));
        std::array<char, 64> content{};
        DWORD size = 0;
        if (!file || !ReadFile(file.get(), content.data(), 64, &size, nullptr)) {
            throw_last_error("CreateFileW or ReadFile (socket file)");
        }
        const std::string text(content.data(), size); // the port, a line feed and the nonce
        const std::string nonce = text.substr(text.find('\n') + 1);
        const auto port = static_cast<u_short>(std::stoul(text));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connect_socket(own_socket(), &address, sizeof address);
        if (!set_option(own_socket().get(), IPPROTO_TCP, TCP_NODELAY, TRUE)) {
            throw_socket_error("setsockopt");
        }
        send_message(nonce.data(), static_cast<DWORD>(nonce.size()));
    }
};

// Pair 19: whoever may open the file is a client.
class unix_channel : public socket_channel {
public:
    explicit unix_channel(const std::wstring& path) : socket_channel(create_unix_socket()) {
        const sockaddr_un address = make_address(path);
        connect_socket(own_socket(), &address, sizeof address);
    }
};

#ifdef IPC_HAS_RPC // there is an IDL compiler

// The session of pair 25. All sessions of this program share its connections.
class rpc_channel : public channel {
public:
    explicit rpc_channel(const std::wstring& endpoint) {
        const std::wstring text = L"ncalrpc:[" + endpoint + L"]";
        check_status("RpcBindingFromStringBindingW",
                     RpcBindingFromStringBindingW(rpc_text(text), &binding_));
        check_status("open_session", status_of([&] { return open_session(binding_, &session_); }));
    }
    ~rpc_channel() override {
        status_of([&] { return close_session(&session_); }); // or the server keeps it until we end
        if (session_ != nullptr) {
            RpcSmDestroyClientContext(&session_);
        }
        RpcBindingFree(&binding_);
    }
    rpc_channel(const rpc_channel&) = delete;
    rpc_channel& operator=(const rpc_channel&) = delete;

    DWORD ask(const char* request, DWORD bytes, std::vector<char>& reply) override {
        unsigned long reply_bytes = 0;
        byte* memory = nullptr;
        const scope_exit free_memory([&] { midl_user_free(memory); });
        check_status("make_reply", status_of([&] {
                         return make_reply(session_, bytes, reinterpret_cast<const byte*>(request),
                                           &reply_bytes, &memory);
                     }));
        if (reply_bytes > reply.size()) {
            return 0; // longer than the request: a wrong reply
        }
        std::memcpy(reply.data(), memory, reply_bytes);
        return reply_bytes;
    }

private:
    RPC_BINDING_HANDLE binding_ = nullptr;
    session_handle session_ = nullptr;
};

#endif

std::unique_ptr<channel> open_channel(const server_command& server, DWORD limit_ms) {
#ifdef IPC_HAS_RPC
    if (server.over == carrier::rpc) {
        return std::make_unique<rpc_channel>(server.pipe);
    }
#endif
    static const winsock started_winsock; // it ends with the program
    if (server.over == carrier::tcp) {
        return std::make_unique<tcp_channel>(server.pipe);
    }
    if (server.over == carrier::unix_socket) {
        return std::make_unique<unix_channel>(server.pipe);
    }
    return std::make_unique<pipe_channel>(server.pipe, limit_ms);
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
    client(starting_line& line, unsigned number, const server_command& server)
        : line_(line), server_(open_channel(server, line.answer_limit_ms)),
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
        received_ = server_->ask(request_.data(), bytes, reply_);
    }

    void verify(DWORD bytes) const {
        if (received_ != bytes || std::memcmp(reply_.data(), expected_.data(), bytes) != 0) {
            throw std::runtime_error("a client got a wrong reply");
        }
    }

    starting_line& line_;
    std::unique_ptr<channel> server_;
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
    all_clients(program& server, server_command command, const load& what)
        : server_(server), command_(std::move(command)), what_(what) {
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
            clients_.push_back(std::make_unique<client>(line_, i, command_));
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
    server_command command_;
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
    all_clients clients(running, server, what);
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
