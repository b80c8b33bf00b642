// SOLUTION: ERROR_MORE_DATA means that the reply is longer than the buffer, and that its rest is still in the pipe.
// So B reads on with ReadFile until a call succeeds. A new transaction would fail while the rest is there.
// STARTER
//~ // Exercise 10.1: a long reply arrives in part only, and then B fails. Mend it.
// END
//
// B sends its requests one after the other on one connection, and prints each reply.
//
// Run: the pair's processA, and then processB [--name SUFFIX] REQUEST [REQUEST ...]

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

constexpr auto usage = "processB [--name SUFFIX] REQUEST [REQUEST ...]";
constexpr DWORD limit_ms = 20'000; // for the server to have a free instance, and for each call
constexpr DWORD buffer_bytes = 64; // enough for most replies

// Opens the client's end in message read mode, which transactions need.
ipc::unique_handle connect(const std::wstring& name) {
    ipc::unique_handle pipe =
        ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit_ms);
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    return pipe;
}

// Sends a request and returns its reply.
// cppcheck-suppress passedByValue; the call takes a pointer to bytes that are not const
std::string transact(HANDLE pipe, std::string request) {
    std::string reply(buffer_bytes, '\0');
    ipc::overlapped_call call(pipe); // is destroyed first: no call writes into a reply that is gone
    const BOOL done =
        TransactNamedPipe(pipe, request.data(), static_cast<DWORD>(request.size()), reply.data(),
                          static_cast<DWORD>(reply.size()), nullptr, call.get());
    // SOLUTION: `total` counts the bytes of the reply that have arrived.
    ipc::call_result result = call.wait(done, limit_ms);
    DWORD total = result.bytes;
    while (result.error == ERROR_MORE_DATA) {
        if (reply.size() > protocol::max_message_bytes) {
            throw std::runtime_error("the reply is longer than the server may send");
        }
        reply.resize(reply.size() * 2);
        const BOOL read = ReadFile(pipe, reply.data() + total,
                                   static_cast<DWORD>(reply.size()) - total, nullptr, call.get());
        result = call.wait(read, limit_ms);
        total += result.bytes;
    }
    if (result.error != ERROR_SUCCESS) {
        ipc::throw_error("the transaction", result.error);
    }
    reply.resize(total);
    return reply;
    // STARTER
    //~ const ipc::call_result result = call.wait(done, limit_ms);
    //~ if (result.error != ERROR_SUCCESS && result.error != ERROR_MORE_DATA) {
    //~     ipc::throw_error("the transaction", result.error);
    //~ }
    //~ reply.resize(result.bytes);
    //~ return reply;
    // END
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}}, &requests);
    const ipc::unique_handle pipe = connect(ipc::object_name(protocol::pipe_name, suffix));
    for (const std::wstring& request : requests) {
        ipc::print_line("B: {}", transact(pipe.get(), ipc::to_utf8(request)));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
