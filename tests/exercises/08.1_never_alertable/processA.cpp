// SOLUTION: the system calls a completion routine only while the thread that started the operation waits alertably.
// Such a wait returns WAIT_IO_COMPLETION after a routine, even if nothing has set the event; so A waits again.
// STARTER
//~ // Exercise 08.1: A never answers its client. Mend it.
// END
//
// Run: processA [--name SUFFIX], and a processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD connect_limit_ms = 60'000;

// A completion routine gets the address of the OVERLAPPED, so the client derives from it.
struct client_state : OVERLAPPED {
    ipc::unique_handle pipe;
    ipc::unique_handle done_event; // the operation has ended, and its result is noted
    ipc::call_result result;
    std::vector<char> buffer = std::vector<char>(protocol::max_message_bytes);
};

// Creates the pipe and waits for its client.
void connect_client(client_state& client, const std::wstring& suffix) {
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    ipc::user_only_security security;
    client.pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1,          // number of instances
        4096, 4096, // buffers for replies and requests
        0, security.get()));
    if (!client.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    ipc::print_line("A: waiting for a client");
    ipc::overlapped_call call(client.pipe.get());
    const BOOL done = ConnectNamedPipe(client.pipe.get(), call.get());
    const DWORD error = call.wait(done, connect_limit_ms).error;
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

void CALLBACK note_result(DWORD /* error */, DWORD /* bytes */, OVERLAPPED* overlapped) {
    auto& client = *static_cast<client_state*>(overlapped);
    const BOOL success =
        GetOverlappedResult(client.pipe.get(), overlapped, &client.result.bytes, FALSE);
    client.result.error = success ? ERROR_SUCCESS : GetLastError();
    SetEvent(client.done_event.get());
}

// Call it right after ReadFileEx or WriteFileEx. Returns how the operation ended.
ipc::call_result wait_for_result(client_state& client, BOOL started) {
    const DWORD error = started ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA /* Wine: the routine will run */) {
        return {error, 0}; // no routine will run
    }
    // SOLUTION: an alertable wait, repeated until the event is set.
    DWORD waited = WAIT_IO_COMPLETION;
    while (waited == WAIT_IO_COMPLETION) { // a routine has run
        waited = WaitForSingleObjectEx(client.done_event.get(),
                                       INFINITE, // ended by the routine, which sets the event
                                       TRUE);    // alertable
    }
    // STARTER
    //~ const DWORD waited = WaitForSingleObject(client.done_event.get(),
    //~                                          INFINITE); // ended by the routine, which sets it
    // END
    if (waited != WAIT_OBJECT_0) {
        throw std::runtime_error("the wait for the event returned " + std::to_string(waited));
    }
    return client.result;
}

// Returns the error that ended the connection.
DWORD serve_client(client_state& client, std::uint64_t& answered) {
    for (;;) {
        BOOL started = ReadFileEx(client.pipe.get(), client.buffer.data(),
                                  protocol::max_message_bytes, &client, note_result);
        const ipc::call_result request = wait_for_result(client, started);
        if (request.error != ERROR_SUCCESS) {
            return request.error;
        }
        protocol::make_reply({client.buffer.data(), request.bytes});
        started = WriteFileEx(client.pipe.get(), client.buffer.data(), request.bytes, &client,
                              note_result);
        const ipc::call_result reply = wait_for_result(client, started);
        if (reply.error != ERROR_SUCCESS) {
            return reply.error;
        }
        ++answered;
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    client_state client{};
    client.done_event.reset(CreateEventW(nullptr, FALSE /* auto-reset */, FALSE, nullptr));
    if (!client.done_event) {
        ipc::throw_last_error("CreateEventW");
    }
    connect_client(client, suffix);
    ipc::print_line("A: a client has connected");
    std::uint64_t answered = 0;
    const DWORD error = serve_client(client, answered);
    ipc::print_client_end(error, answered);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
