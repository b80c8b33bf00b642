#pragma once

#include "common/arguments.hpp"

#include <windows.h>

#include <cstdint>
#include <string>

namespace ipc {

// The options of every server for many clients.
struct server_options {
    std::uint64_t clients = 0;     // --clients: end after this number of clients; 0: at Ctrl+C
    time_limit idle_limit{10'000}; // --limit: for a client's next request, or to read its reply
    std::wstring suffix;           // --name: appended to the pipe's name
};

// Reads the options of a command line. Throws usage_error; --help ends the program.
server_options parse_server_options(int argc, wchar_t** argv);

// Prints "A: a client left; requests answered: 3", or why the server dropped the client. error is
// the code of the read or write that ended the connection. ERROR_OPERATION_ABORTED or WAIT_TIMEOUT
// means that the idle limit was over, and ERROR_MORE_DATA that a message was longer than the server
// allows. Throws win32_error if standard output cannot be written.
void print_client_end(DWORD error, std::uint64_t answered);

} // namespace ipc
