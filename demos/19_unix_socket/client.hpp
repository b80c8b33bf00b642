#pragma once

// The client behind a connected socket: requests, replies and limits. Pairs 18 and 19 have the same file. What is
// different is in processB.cpp: how the client finds the server and connects.

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "sockets.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct client_options {
    std::vector<std::string> requests;
    ipc::time_limit limit{10'000}; // --limit: for each step
    std::wstring suffix;           // --name
};

inline client_options parse_client_options(int argc, wchar_t** argv, std::string_view usage) {
    client_options options;
    std::wstring in;
    std::vector<std::wstring> words; // on the command line
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--in", &in}, {L"--limit", &options.limit}, {L"--name", &options.suffix}}, &words);
    if (!in.empty() && !words.empty()) {
        throw ipc::usage_error("--in or REQUEST, not both; usage: processB --in FILE");
    }
    if (in.empty() && words.empty()) {
        words = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    std::ranges::transform(words, std::back_inserter(options.requests), ipc::to_utf8);
    if (!in.empty()) {
        std::ifstream file(std::filesystem::path(in), std::ios::binary);
        for (std::string line; std::getline(file, line);) {
            options.requests.push_back(line);
        }
        if (!file.eof()) {
            throw std::runtime_error((file.bad() ? "cannot read " : "cannot open ") +
                                     ipc::to_utf8(in));
        }
    }
    return options;
}

// When a limit is over: a time of GetTickCount64. One end serves all calls of a step, so that a server that
// sends a byte now and then does not make the limit start again.
inline ULONGLONG end_of(ipc::time_limit limit) {
    return limit.ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit.ms;
}

// In milliseconds; -1: no limit, as WSAPoll takes it.
inline int rest_ms(ULONGLONG end_ms) {
    const ULONGLONG now_ms = GetTickCount64();
    return end_ms == ULLONG_MAX ? -1 : static_cast<int>(end_ms > now_ms ? end_ms - now_ms : 0);
}

[[noreturn]] inline void throw_failure(const char* call) {
    const auto error = static_cast<DWORD>(WSAGetLastError());
    if (const std::string name(reset_name(error)); !name.empty()) {
        throw std::runtime_error("the server reset the connection (" + name + ")");
    }
    ipc::throw_error(call, error);
}

// Makes the calls of a connected socket return at once, so that no call lasts longer than the limit.
inline void never_block(const unique_socket& server) {
    u_long yes = TRUE;
    if (ioctlsocket(server.get(), static_cast<long>(FIONBIO), &yes) != 0) {
        throw_socket_error("ioctlsocket");
    }
}

// Call it when send or recv has failed. Returns when it is worth calling it again.
inline void wait_until_ready(const unique_socket& server, const char* call, SHORT events,
                             ULONGLONG end_ms) {
    if (WSAGetLastError() != WSAEWOULDBLOCK) {
        throw_failure(call);
    }
    WSAPOLLFD poll{server.get(), events, 0};
    const int ready = WSAPoll(&poll, 1, rest_ms(end_ms));
    if (ready == SOCKET_ERROR) {
        throw_socket_error("WSAPoll");
    }
    if (ready == 0) {
        throw std::runtime_error("the server did not answer in time");
    }
}

inline void send_all(const unique_socket& server, std::string_view bytes, ULONGLONG end_ms) {
    while (!bytes.empty()) {
        const int sent = send(server.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
        if (sent == SOCKET_ERROR) {
            wait_until_ready(server, "send", POLLWRNORM, end_ms);
        } else {
            bytes.remove_prefix(static_cast<std::size_t>(sent)); // it may be a part
        }
    }
}

// Returns 0 when the server sends nothing more.
inline int receive_some(const unique_socket& server, std::span<char> space, ULONGLONG end_ms) {
    for (;;) {
        const int received = recv(server.get(), space.data(), static_cast<int>(space.size()), 0);
        if (received != SOCKET_ERROR) {
            return received;
        }
        wait_until_ready(server, "recv", POLLRDNORM, end_ms);
    }
}

// Sends one request and returns the reply, which is in the reader.
inline std::string_view ask(const unique_socket& server, std::string_view request,
                            protocol::message_reader& reader, ULONGLONG end_ms) {
    if (request.size() > protocol::max_message_bytes) {
        throw std::runtime_error("a request is longer than the protocol allows");
    }
    send_all(server, protocol::with_length(request), end_ms);
    while (!reader.is_complete()) {
        if (reader.is_longer_than(protocol::max_message_bytes)) {
            throw std::runtime_error("the reply is longer than the protocol allows");
        }
        const int received = receive_some(server, reader.free_space(), end_ms);
        if (received == 0) {
            throw std::runtime_error("the server closed the connection");
        }
        reader.add(static_cast<std::size_t>(received));
    }
    return {reader.message().data(), reader.message().size()};
}

// The server answers what it has received, sees the end, and closes its half, too. If the client closed a TCP
// socket while bytes for it are on their way, the connection would be reset. For AF_UNIX, no page says what happens.
inline void leave(const unique_socket& server, const protocol::message_reader& reader,
                  ULONGLONG end_ms) {
    if (shutdown(server.get(), SD_SEND) != 0) {
        throw_failure("shutdown");
    }
    std::array<char, 1> nothing{};
    if (!reader.is_empty() || receive_some(server, nothing, end_ms) != 0) {
        throw std::runtime_error("the server sent more than it was asked for");
    }
}

// Sends each request, prints its reply, and leaves.
inline void send_requests(const unique_socket& server, const client_options& options) {
    protocol::message_reader reader;
    ipc::byte_sink screen(L"", "B: ");
    for (const std::string& request : options.requests) {
        screen.write(ask(server, request, reader, end_of(options.limit)));
        screen.write("\n");
        reader.remove_message();
    }
    leave(server, reader, end_of(options.limit));
}
