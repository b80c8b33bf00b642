// The checks of the exercises of pair 18.

#include "common/error.hpp"
#include "common/security.hpp"
#include "demos/18_tcp_loopback/protocol.hpp"
#include "demos/18_tcp_loopback/socket_file.hpp"
#include "demos/18_tcp_loopback/sockets.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::program;
using protocol::with_length;

bool wait_for_socket(SOCKET socket, SHORT events, DWORD limit_ms) {
    WSAPOLLFD poll{socket, events, 0};
    return WSAPoll(&poll, 1, static_cast<int>(limit_ms)) > 0;
}

// One end of a connection, which a check plays itself. No call throws, and none takes longer than its limit.
class socket_end {
public:
    socket_end(unique_socket connected, DWORD limit_ms)
        : socket_(std::move(connected)), limit_ms_(limit_ms) {
        u_long never_block = TRUE;
        ioctlsocket(socket_.get(), static_cast<long>(FIONBIO), &never_block);
        set_option(socket_.get(), IPPROTO_TCP, TCP_NODELAY, TRUE);
    }

    // Returns the error, or WAIT_TIMEOUT. Up to some kilobytes are one piece for the receiver.
    DWORD send(std::string_view bytes) {
        while (!bytes.empty()) {
            const int sent = ::send(socket_.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
            const int error = sent == SOCKET_ERROR ? WSAGetLastError() : 0;
            if (error != 0 && error != WSAEWOULDBLOCK) {
                return static_cast<DWORD>(error);
            }
            if (error != 0 && !wait_for_socket(socket_.get(), POLLWRNORM, limit_ms_)) {
                return WAIT_TIMEOUT;
            }
            bytes.remove_prefix(error != 0 ? 0 : static_cast<std::size_t>(sent));
        }
        return ERROR_SUCCESS;
    }

    void end_sending() { shutdown(socket_.get(), SD_SEND); }

    // Returns fewer bytes if the other end closes the connection, or after the limit.
    std::string receive(std::size_t bytes) {
        std::string received;
        while (received.size() < bytes && wait_for_socket(socket_.get(), POLLRDNORM, limit_ms_)) {
            std::array<char, 4096> buffer{};
            const std::size_t most = std::min(buffer.size(), bytes - received.size());
            const int size = recv(socket_.get(), buffer.data(), static_cast<int>(most), 0);
            if (size <= 0) {
                break;
            }
            received.append(buffer.data(), static_cast<std::size_t>(size));
        }
        return received;
    }

    // Whether the other end closes or resets the connection within this time.
    bool is_dropped(DWORD limit_ms) {
        const ULONGLONG end_ms = GetTickCount64() + limit_ms;
        for (ULONGLONG now_ms = GetTickCount64(); now_ms <= end_ms; now_ms = GetTickCount64()) {
            if (!wait_for_socket(socket_.get(), POLLRDNORM, static_cast<DWORD>(end_ms - now_ms))) {
                return false;
            }
            std::array<char, 4096> buffer{};
            const int size = recv(socket_.get(), buffer.data(), static_cast<int>(buffer.size()), 0);
            if (size == 0 || (size == SOCKET_ERROR && WSAGetLastError() != WSAEWOULDBLOCK)) {
                return true;
            }
        }
        return false;
    }

private:
    unique_socket socket_;
    DWORD limit_ms_;
};

// ---- exercise 18.1: processB [--name SUFFIX] REQUEST...

// A server whose steps are those of the check.
class played_server {
public:
    explicit played_server(const trial& attempt) : attempt_(attempt) {
        sockaddr_in address = loopback_address(0);
        int size = sizeof address;
        const bool listens =
            bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 &&
            listen(listener_.get(), 1) == 0 &&
            getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0;
        attempt_.expect(listens, "the check can listen on 127.0.0.1", "it cannot");
        std::ofstream(std::filesystem::path(file_), std::ios::binary)
            << ntohs(address.sin_port) << '\n'
            << nonce;
    }
    ~played_server() { DeleteFileW(file_.c_str()); }
    played_server(const played_server&) = delete;
    played_server& operator=(const played_server&) = delete;

    const std::wstring& suffix() const { return suffix_; }

    // Expects that B connects and sends the nonce and these requests.
    socket_end accept_client(program& b, const std::vector<std::string>& requests) {
        if (!wait_for_socket(listener_.get(), POLLRDNORM, attempt_.limit_ms())) {
            attempt_.expect(false, "B connects to the server", attempt_.state_of(b));
        }
        socket_end client(unique_socket(accept(listener_.get(), nullptr, nullptr)),
                          attempt_.limit_ms());
        std::string expected = with_length(nonce);
        for (const std::string& request : requests) {
            expected += with_length(request);
        }
        const std::string received = client.receive(expected.size());
        if (received != expected) {
            attempt_.expect(false, "B sends the nonce and then all its requests",
                            (received == expected.substr(0, received.size())
                                 ? "only a part of that came; "
                                 : "something else came; ") +
                                attempt_.state_of(b));
        }
        return client;
    }

private:
    static constexpr auto nonce = "0123456789abcdef";
    const trial& attempt_;
    const std::wstring suffix_ = ipc::test::unique_suffix();
    const std::wstring file_ = socket_file_path(suffix_);
    unique_socket listener_ = create_tcp_socket();
};

void ask_pair(trial& attempt, const std::string& request) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_output(a, "wait for clients");
    program& b = attempt.start_learner({L"--name", suffix, {request.begin(), request.end()}});
    attempt.expect_exit_code(b, 0);
    std::string line = "B: " + request;
    std::transform(line.begin(), line.end(), line.begin(), [](char letter) {
        return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
    });
    const std::vector<std::string> lines = ipc::exercise::printed_lines(b);
    attempt.expect(lines == std::vector{line},
                   "B prints the reply of " + std::to_string(request.size()) +
                       " bytes, and nothing else",
                   ipc::exercise::last_words(b));
}

void ask_short(trial& attempt) {
    ask_pair(attempt, "hello");
}

void ask_long(trial& attempt) {
    ask_pair(attempt, std::string(20'000, 'x'));
}

void send_replies_together(trial& attempt) {
    played_server a(attempt);
    program& b = attempt.start_learner({L"--name", a.suffix(), L"one", L"two"});
    socket_end client = a.accept_client(b, {"one", "two"});
    client.send(with_length("ONE") + with_length("TWO"));
    client.end_sending();
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: ONE");
    attempt.expect_line(b, "B: TWO");
}

// Each piece is the rest of a reply and a part of the next one: one byte, two bytes, and so on. When B has printed
// the first of them, it has received the piece, and the next piece comes by itself.
void send_replies_in_pieces(trial& attempt) {
    constexpr std::size_t count = 9;
    played_server a(attempt);
    std::vector<std::wstring> arguments = {L"--name", a.suffix()};
    std::vector<std::string> requests;
    for (std::size_t i = 0; i < count; ++i) {
        requests.push_back("part " + std::to_string(i + 1));
        arguments.emplace_back(requests.back().begin(), requests.back().end());
    }
    program& b = attempt.start_learner(arguments);
    socket_end client = a.accept_client(b, requests);
    std::size_t sent = 0; // of the reply
    for (std::size_t i = 0; i < count; ++i) {
        const std::string number = std::to_string(i + 1);
        std::string piece = with_length("PART " + number).substr(sent);
        if (i + 1 < count) {
            sent = i + 1;
            piece += with_length("PART " + std::to_string(i + 2)).substr(0, sent);
        }
        client.send(piece);
        attempt.expect_output(b, "B: PART " + number);
    }
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: PART " + std::to_string(count));
}

void send_empty_reply(trial& attempt) {
    played_server a(attempt);
    program& b = attempt.start_learner({L"--name", a.suffix(), L"", L"two"});
    socket_end client = a.accept_client(b, {"", "two"});
    client.send(with_length("") + with_length("TWO"));
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: ");
    attempt.expect_line(b, "B: TWO");
}

void leave_in_reply(trial& attempt) {
    played_server a(attempt);
    program& b = attempt.start_learner({L"--name", a.suffix(), L"one", L"two"});
    socket_end client = a.accept_client(b, {"one", "two"});
    client.send(with_length("ONE") + with_length("TWO").substr(0, 6));
    client.end_sending();
    attempt.expect_exit_code(b, 1);
    attempt.expect_line(b, "B: ONE");
    attempt.expect_no_line(b, "B: TW");
}

void send_long_length(trial& attempt) {
    played_server a(attempt);
    program& b = attempt.start_learner({L"--name", a.suffix(), L"one"});
    socket_end client = a.accept_client(b, {"one"});
    client.send(std::string("\x00\x10\x00\x01ONE", 7)); // 1 MiB and 1 byte
    attempt.expect_exit_code(b, 1);
}

// ---- exercise 18.2: processA [--limit SECONDS] [--name SUFFIX]

// The learner's server with a limit, and clients of the check.
class tried_server {
public:
    tried_server(trial& attempt, const std::wstring& limit_s) : attempt_(attempt) {
        a_ = &attempt.start_learner({L"--name", suffix_, L"--limit", limit_s});
        attempt.expect_output(*a_, "A: waiting for clients");
        address_ = find_server(socket_file_path(suffix_), GetTickCount64() + attempt.limit_ms());
    }

    std::string nonce() const {
        return with_length({address_.nonce.data(), address_.nonce.size()});
    }

    // Connects, and sends nothing. From now on, the server's next client is this one. Without a limit for its calls,
    // it has that of the attempt.
    socket_end connect_client(DWORD limit_ms = 0) {
        unique_socket client = create_tcp_socket();
        const sockaddr_in target = loopback_address(address_.port);
        if (connect(client.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
            attempt_.expect(false, "a client can connect to A", attempt_.state_of(*a_));
        }
        return {std::move(client), limit_ms == 0 ? attempt_.limit_ms() : limit_ms};
    }

    void expect_served() {
        program& b = attempt_.start_partner({L"--name", suffix_, L"--limit", L"0", L"hello"});
        attempt_.expect_exit_code(b, 0);
        attempt_.expect_line(b, "B: HELLO");
    }

    // Expects a reply to a request of the client.
    void expect_reply(socket_end& client, const std::string& expected) {
        attempt_.expect(
            client.receive(protocol::length_bytes + expected.size()) == with_length(expected),
            "a client that keeps within the limit reads \"" + expected + "\"",
            "no such reply came; the last line of A: \"" + ipc::exercise::last_line(*a_) + "\"");
    }

private:
    trial& attempt_;
    std::wstring suffix_ = ipc::test::unique_suffix();
    program* a_ = nullptr;
    server_address address_;
};

void serve_pair(trial& attempt) {
    tried_server server(attempt, L"2");
    server.expect_served();
    server.expect_served();
}

void serve_after_silent_client(trial& attempt) {
    tried_server server(attempt, L"2");
    const socket_end silent = server.connect_client();
    server.expect_served();
}

// The client never makes A wait as long as its limit, and never completes its request.
void drop_slow_client(trial& attempt) {
    constexpr DWORD pause_ms = 100;
    tried_server server(attempt, L"2");
    socket_end slow = server.connect_client();
    slow.send(server.nonce() + std::string("\x00\x10\x00\x00", 4)); // 1 MiB
    bool dropped = false;
    const ULONGLONG start_ms = GetTickCount64();
    while (!dropped && GetTickCount64() - start_ms < attempt.limit_ms()) {
        dropped = slow.send("x") != ERROR_SUCCESS || slow.is_dropped(pause_ms);
    }
    attempt.expect(dropped, "A drops a client that sends one byte of its request after the other",
                   "A still waits for the rest of the request");
    server.expect_served();
}

// The client may not hear that it was dropped: Wine does not tell one whose buffer is full. So the next client shows it.
void drop_client_that_does_not_read(trial& attempt) {
    tried_server server(attempt, L"2");
    socket_end client = server.connect_client(1'000);
    client.send(server.nonce());
    const std::string request = with_length(std::string(protocol::max_message_bytes, 'x'));
    DWORD error = ERROR_SUCCESS;
    for (int i = 0; i < 64 && error == ERROR_SUCCESS; ++i) { // until the buffers of both are full
        error = client.send(request);
    }
    attempt.expect(error != ERROR_SUCCESS, "a client can fill the buffers of both", "A takes more");
    server.expect_served();
}

void keep_patient_client(trial& attempt) {
    constexpr DWORD pause_ms = 1'100; // three of them are longer than the limit
    tried_server server(attempt, L"3");
    socket_end client = server.connect_client();
    client.send(server.nonce());
    for (int i = 0; i < 3; ++i) {
        client.is_dropped(pause_ms);
        client.send(with_length("slow"));
        server.expect_reply(client, "SLOW");
    }
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"B prints the reply to one short request", ask_short},
      {"two replies that come together are two replies", send_replies_together},
      {"a reply that comes in pieces is one reply", send_replies_in_pieces},
      {"a reply can be empty", send_empty_reply},
      {"a reply can be long", ask_long},
      {"B ends when the server leaves in the middle of a reply", leave_in_reply},
      {"B refuses a reply of more than 1 MiB as soon as it has the length", send_long_length}}},
    {2,
     {{"A serves one client after the other", serve_pair},
      {"a client that says nothing does not keep A from the next one", serve_after_silent_client},
      {"the limit is for the whole request: it does not start again with each byte",
       drop_slow_client},
      {"the limit is for each request: it does not end the connection of a patient client",
       keep_patient_client},
      {"a client that does not read its replies does not keep A from the next one",
       drop_client_that_does_not_read}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const winsock library;
    return ipc::exercise::check_main(argc, argv, exercises);
} catch (...) {
    return ipc::report_exception("check");
}
