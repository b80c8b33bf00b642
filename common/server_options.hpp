#pragma once

#include <windows.h>

#include <cstdint>
#include <string>

#include "common/arguments.hpp"

namespace ipc {

// The options that every server for many clients takes.
struct server_options {
    std::uint64_t clients = 0;     // end after this number of clients; 0: serve until Ctrl+C
    time_limit idle_limit{10'000}; // for a client to send its next request, or to read its reply
    std::wstring suffix;           // of the pipe's name
};

// Reads --clients, --limit and --name. Throws usage_error; --help ends the program.
server_options parse_server_options(int argc, wchar_t** argv);

// Prints "A: a client left; requests answered: 3", or the reason why it was dropped. The error is
// that of the read or write that ended the connection. WAIT_TIMEOUT and ERROR_OPERATION_ABORTED mean
// the idle limit, ERROR_MORE_DATA a message over the limit.
void print_client_end(DWORD error, std::uint64_t answered);

} // namespace ipc
