// Exercise 10.2: send the request once, and get its reply within the limit.
//
// B sends one request and prints the reply.
//
// Run: the pair's processA, and then processB [--name SUFFIX] [--limit SECONDS] REQUEST

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processB [--name SUFFIX] [--limit SECONDS] REQUEST\n"
                       "  --limit SECONDS  how long to wait for the reply (default 10)";
constexpr DWORD connect_limit_ms = 60'000;

// Sends the request once and returns its reply, which has at most protocol::max_message_bytes bytes. Throws
// std::runtime_error("the server did not reply in time") after the limit, and win32_error if a call fails.
// cppcheck-suppress passedByValue; the call takes a pointer to bytes that are not const
std::string ask([[maybe_unused]] HANDLE pipe, [[maybe_unused]] std::string request,
                [[maybe_unused]] DWORD limit_ms) {
    std::string reply(protocol::max_message_bytes, '\0');
    // TODO: set message read mode, which a transaction needs
    // TODO: call TransactNamedPipe; ipc::overlapped_call has the OVERLAPPED, and waits with a limit
    // TODO: tell success, the end of the limit and a failure apart
    const DWORD bytes = 0;
    reply.resize(bytes);
    return reply;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::time_limit limit{10'000};
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--limit", &limit}},
                         &requests);
    if (requests.size() != 1) {
        throw ipc::usage_error(usage);
    }
    const ipc::unique_handle pipe =
        ipc::connect_to_pipe(ipc::object_name(protocol::pipe_name, suffix),
                             GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, connect_limit_ms);
    ipc::print_line("B: {}", ask(pipe.get(), ipc::to_utf8(requests.front()), limit.ms));
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
