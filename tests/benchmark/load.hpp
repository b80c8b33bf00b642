#pragma once

// The benchmark's load: many clients in this program, one server in another. Nothing here is part
// of a lesson.

#include <windows.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ipc::test {

enum class carrier { pipe, tcp, unix_socket, rpc };

struct server_command {
    std::vector<std::wstring> arguments; // the server prints a line when clients can connect
    // The pipe's name, with TCP and AF_UNIX the path of the server's socket file, with RPC the endpoint's name.
    std::wstring pipe;
    carrier over = carrier::pipe;
};

struct load {
    unsigned clients = 1;
    DWORD message_bytes = 64;
    DWORD duration_ms = 1000;
    DWORD answer_limit_ms = 30'000; // far more than the slowest server needs
};

struct measurement {
    double requests_per_second = 0;
    double median_us =
        0; // of a round trip: from the call that sends to the return of the call that receives
    double p99_us = 0;
    unsigned not_served = 0; // clients that got no reply in the measured time
    // Of the server, while all clients are connected and silent, after one small reply to each.
    std::int64_t memory_bytes = 0; // private memory, less what it had before the first client
    unsigned threads = 0;
};

// Starts the server and connects the clients. For the given time each client sends a request, waits
// for the reply and repeats. Then ends the server. Throws if a client gets a wrong reply or none, or
// if a reply takes longer than the limit.
measurement measure(const server_command& server, const load& what);

// The server of the floor: one pipe, one client, blocking calls, and the same replies as every server
// makes. Returns when the client has left.
void run_floor_server(const std::wstring& pipe_name);

} // namespace ipc::test
