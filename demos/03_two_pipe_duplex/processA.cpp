// Demo 03, process A: the server of two one-way named pipes, one for each direction.
//
// A creates both pipes and waits for one B that opens both. Then one thread sends A's input while
// another receives what B returns: the same bytes, with the letters a to z in upper case. Neither
// thread waits for the other, so both pipes may be full at the same time.
//
// Run: processA [--in FILE] [--out FILE] [--limit SECONDS] [--name SUFFIX], and processB beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "io_thread.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--in FILE] [--out FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --in FILE        what to send (default: three lines)\n"
    "  --out FILE       where to write what comes back (default: the screen)\n"
    "  --limit SECONDS  how long to wait for B to open both pipes (default: 20; 0: no limit)\n"
    "  --name SUFFIX    add .SUFFIX to the names of the pipes";
constexpr std::string_view three_lines = "out through one pipe, back through the other\n"
                                         "only a to z change: \xC3\xA4 and 7 do not\n"
                                         "the third line is the last\n";
constexpr auto b_ended_early = "B has ended or closed a pipe before everything had come back";
constexpr ipc::time_limit default_limit{20'000};

ipc::unique_handle create_pipe(const std::wstring& name, DWORD direction) {
    // ANCHOR: create
    ipc::user_only_security security;
    const HANDLE pipe = CreateNamedPipeW(
        name.c_str(),                              // \\.\pipe\ and up to 247 characters
        direction | FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if another server has the name
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE        // a stream of bytes, no messages
            | PIPE_WAIT                            // calls block
            | PIPE_REJECT_REMOTE_CLIENTS,          // no client from the network
        1,                                         // instance: one client at a time
        buffer_bytes,                              // output buffer, to the client: a hint
        buffer_bytes,                              // input buffer, from the client
        0,                                         // default limit of WaitNamedPipe: 50 ms
        security.get());                           // who may connect: the same user
    // ANCHOR_END: create
    if (pipe == INVALID_HANDLE_VALUE) {
        ipc::throw_create_pipe_error(name);
    }
    return ipc::unique_handle(pipe);
}

void wait_for_client(HANDLE pipe) {
    const BOOL done = ConnectNamedPipe(pipe, nullptr); // blocks until a client opens the pipe
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    // Two error codes mean success: the client connected before this call, or has even closed its
    // end again, which the first read or write reports.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Returns the id of the process that has opened the pipe, or 0.
DWORD client_process_id(HANDLE pipe) {
    ULONG process_id = 0;
    return GetNamedPipeClientProcessId(pipe, &process_id) ? process_id : 0;
}

wait_result wait_for_client_of_both(HANDLE outbound, HANDLE inbound, DWORD limit_ms) {
    wait_result result{};
    {
        const io_thread connecting([&](const std::atomic<bool>&) {
            wait_for_client(outbound);
            wait_for_client(inbound);
        });
        result = wait_for_threads({&connecting}, limit_ms);
    } // the thread has ended, or client_process_id would wait for a call that blocks on the pipe
    const bool same_client = client_process_id(outbound) == client_process_id(inbound);
    if (result == wait_result::limit_over) {
        throw std::runtime_error(same_client ? "nobody has opened the pipes: start processB"
                                             : "refused: a program has opened only one pipe");
    }
    if (!same_client && result == wait_result::threads_ended) {
        throw std::runtime_error("refused: two programs have opened one pipe each");
    }
    return result;
}

void write_bytes(HANDLE outbound, const void* bytes, DWORD count) {
    DWORD written = 0; // all of them: WriteFile blocks until B has made room
    if (!WriteFile(outbound, bytes, count, &written, nullptr)) {
        const DWORD error = GetLastError();
        if (ipc::is_disconnected(error)) {
            throw std::runtime_error(b_ended_early);
        }
        ipc::throw_error("WriteFile", error);
    }
}

// Sends the length and then exactly this number of bytes.
void send_input(HANDLE outbound, ipc::byte_source& input, stream_length length,
                const std::atomic<bool>& stop) {
    write_bytes(outbound, &length, sizeof length);
    std::vector<char> buffer(buffer_bytes);
    for (stream_length left = length; left > 0 && !stop;) {
        const auto most = static_cast<std::size_t>(std::min<stream_length>(left, buffer.size()));
        const DWORD count = input.read({buffer.data(), most});
        if (count == 0) {
            throw std::runtime_error("the input has become shorter while it was read");
        }
        write_bytes(outbound, buffer.data(), count);
        left -= count;
    }
}

void receive_output(HANDLE inbound, ipc::byte_sink& output, stream_length length,
                    const std::atomic<bool>& stop) {
    std::vector<char> buffer(buffer_bytes);
    for (stream_length received = 0; !stop;) {
        DWORD count = 0;
        const BOOL done = ReadFile(inbound, buffer.data(), buffer_bytes, &count, nullptr);
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        if (ipc::is_disconnected(error)) {
            if (received < length) { // a B that was killed ends the pipe in the same way
                throw std::runtime_error(b_ended_early);
            }
            output.finish();
            return;
        }
        if (error != ERROR_SUCCESS) {
            ipc::throw_error("ReadFile", error);
        }
        received += count;
        if (received > length) {
            throw std::runtime_error("B has returned more than it was sent");
        }
        output.write({buffer.data(), count});
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--in", &in}, {L"--out", &out}, {L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets it
    ipc::byte_source input(in, three_lines);
    const stream_length length = input.length();
    auto outbound = create_pipe(ipc::object_name(a_to_b_name, suffix), PIPE_ACCESS_OUTBOUND);
    const auto inbound = create_pipe(ipc::object_name(b_to_a_name, suffix), PIPE_ACCESS_INBOUND);
    ipc::byte_sink output(out, "A: | ");
    ipc::print_line("A: waiting for B to open both pipes");
    wait_result result = wait_for_client_of_both(outbound.get(), inbound.get(), limit.ms);
    if (result == wait_result::threads_ended) {
        // ANCHOR: threads
        const io_thread sender([&](const std::atomic<bool>& stop) {
            send_input(outbound.get(), input, length, stop);
            outbound.reset(); // ends this direction only: B reads what the pipe still holds
        });
        const io_thread receiver([&](const std::atomic<bool>& stop) {
            receive_output(inbound.get(), output, length, stop);
        });
        // INFINITE: both threads end when B closes the pipes or dies, and Ctrl+C ends the wait.
        result = wait_for_threads({&sender, &receiver}, INFINITE);
        // ANCHOR_END: threads
    }
    if (result == wait_result::ctrl_c) {
        ipc::print_line("A: stopped by Ctrl+C before everything had come back");
    } else {
        ipc::print_line("A: sent {} bytes, and as many came back", length);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
