#pragma once

// The benchmark's load: many clients in this program, one server in another. Nothing here is part
// of a lesson.

#include <windows.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ipc::test {

struct server_command {
    std::vector<std::wstring> arguments; // it prints a line when clients can connect
    std::wstring pipe;
};

struct load {
    unsigned clients = 1;
    DWORD message_bytes = 64;
    DWORD duration_ms = 1000;
    DWORD answer_limit_ms = 30'000; // far more than the slowest server needs
};

struct measurement {
    double requests_per_second = 0;
    double median_us = 0; // of a round trip: from the call of WriteFile to the return of ReadFile
    double p99_us = 0;
    unsigned not_served = 0; // clients that got no reply at all while it was measured
    // Of the server, while all clients are connected, have had one small reply and say nothing.
    std::int64_t memory_bytes = 0; // private, without what it had before the first client came
    unsigned threads = 0;
};

// Starts the server, connects the clients, lets all of them ask as fast as they can for the time
// given, each of them waiting for its reply, and ends the server. Throws when a client gets a wrong
// reply or none, or when the server takes longer than the limit.
measurement measure(const server_command& server, const load& what);

// What an exchange costs without a server's design: one pipe, one client, blocking calls. The reply
// is made as in every server. Returns when the client has left.
void run_floor_server(const std::wstring& pipe_name);

} // namespace ipc::test
