#pragma once

#include <windows.h>

#include <cstdint>
#include <string>

namespace ipc {

// The options that every server for many clients takes.
struct server_options {
    std::uint64_t clients = 0;       // ends after so many; 0: serves until Ctrl+C
    std::uint64_t idle_seconds = 10; // for a client to send its next request, or to take its reply
    std::wstring suffix;             // of the pipe's name
};

// Reads --clients, --idle and --name. Throws usage_error; --help ends the program.
server_options parse_server_options(int argc, wchar_t** argv);

// Prints "A: a client left; requests answered: 3", or for what reason it was dropped. The error is
// that of the read or write that ended the connection; ERROR_OPERATION_ABORTED is taken for the
// idle limit, and ERROR_MORE_DATA for a message over the limit.
void print_client_end(DWORD error, std::uint64_t answered);

} // namespace ipc
