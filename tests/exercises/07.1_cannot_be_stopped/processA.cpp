// SOLUTION: a flag does not end a blocking call. CancelSynchronousIo does, but it does nothing to a thread that is
// between two calls, and the next call of this thread would block again. So A repeats it until the thread has ended.
// STARTER
//~ // Exercise 07.1: A does not end at Ctrl+C. Mend it.
// END
//
// A thread serves one client after the other with blocking calls; the main thread waits for Ctrl+C.
// Run: processA [--work MS] [--name SUFFIX], then processB [--name SUFFIX] REQUEST...

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <process.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--work MS] [--name SUFFIX]";
constexpr DWORD reply_buffer_bytes = 64 * 1024;
constexpr DWORD request_buffer_bytes = 4 * 1024;

struct server_state {
    ipc::unique_handle pipe;
    DWORD work_ms = 0;
    std::atomic<bool> stopping = false;
    std::uint64_t answered = 0;
};

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1,                    // instance
        reply_buffer_bytes,   // for replies that the client has not read
        request_buffer_bytes, // for requests that the server has not read
        0,                    // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

// Answers requests until the client leaves or A ends.
void serve_client(server_state& server) {
    std::vector<char> buffer(protocol::max_message_bytes);
    const auto buffer_bytes = static_cast<DWORD>(buffer.size());
    DWORD bytes = 0;
    while (ReadFile(server.pipe.get(), buffer.data(), buffer_bytes, &bytes, nullptr)) {
        Sleep(server.work_ms); // stands for the work of a request
        protocol::make_reply(std::span(buffer.data(), bytes));
        if (!WriteFile(server.pipe.get(), buffer.data(), bytes, &bytes, nullptr)) {
            return;
        }
        ++server.answered;
        // SOLUTION: a client that has sent many requests would delay the end, because no call blocks.
        if (server.stopping) {
            return;
        }
        // STARTER
        // END
    }
}

unsigned __stdcall serve_clients(void* argument) {
    server_state& server = *static_cast<server_state*>(argument);
    while (!server.stopping) {
        // Its result does not matter: without a client, the first ReadFile fails.
        ConnectNamedPipe(server.pipe.get(), nullptr);
        serve_client(server);
        if (!server.stopping) { // at the end the client may have a reply to read
            DisconnectNamedPipe(server.pipe.get());
        }
    }
    return 0;
}

void stop_thread(server_state& server, HANDLE thread) {
    server.stopping = true;
    // SOLUTION: the thread may block in its next call only after one of these requests.
    constexpr DWORD cancel_again_ms = 10;
    do {
        CancelSynchronousIo(thread);
    } while (WaitForSingleObject(thread, cancel_again_ms) == WAIT_TIMEOUT);
    // STARTER
    //~ WaitForSingleObject(thread, INFINITE); // the thread ends, as stopping is true
    // END
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t work_ms = 0;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--work", &work_ms}, {L"--name", &suffix}});
    const HANDLE ctrl_c = ipc::ctrl_c_event(); // from here on Ctrl+C sets this event
    server_state server;
    server.pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    server.work_ms = static_cast<DWORD>(work_ms);
    const uintptr_t started = _beginthreadex(nullptr, 0, serve_clients, &server, 0, nullptr);
    const ipc::unique_handle thread(reinterpret_cast<HANDLE>(started));
    if (!thread) {
        ipc::throw_last_error("_beginthreadex");
    }
    ipc::print_line("A: serves clients until Ctrl+C");
    WaitForSingleObject(ctrl_c, INFINITE); // a server runs until somebody stops it
    ipc::print_line("A: Ctrl+C");
    stop_thread(server, thread.get());
    ipc::print_line("A: the end; requests answered: {}", server.answered);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
