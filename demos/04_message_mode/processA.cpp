// Demo 04, process A: the server of a message-type pipe, in which each WriteFile is one message.
//
// A serves one client. It reads each message whole and answers with the message's length. A message
// over 16 MiB is read to its end and refused, and the next message is read correctly. A ends when
// its client has left, or when Ctrl+C is pressed.
//
// Run: processA [--out FILE] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--out FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --out FILE       write each message and a line break to FILE\n"
    "  --limit SECONDS  how long to wait for the client (default: 10; 0: no limit)\n"
    "  --name SUFFIX    use another pipe, so that several pairs can run at once";
constexpr DWORD pipe_bytes = 16 * 1024;       // a hint to the system; a message may be longer
constexpr DWORD first_read_bytes = 4096;      // enough for most messages
constexpr DWORD discarded_bytes = 256 * 1024; // of each read of a message that is too long

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0;
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

struct message {
    std::vector<char> content; // only a part, if the message is too long
    std::uint64_t bytes = 0;   // the length of the whole message
    int reads = 0;
};

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: create_pipe
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(),                      // begins with \\.\pipe\.
        PIPE_ACCESS_DUPLEX |               // both ends read and write
            FILE_FLAG_OVERLAPPED |         // so that a wait for a call can have a limit
            FILE_FLAG_FIRST_PIPE_INSTANCE, // fail if another server has the name
        PIPE_TYPE_MESSAGE |                // each WriteFile, of either end, is one message
            PIPE_READMODE_MESSAGE |     // each ReadFile of this end reads one message at the most
            PIPE_WAIT |                 // blocking mode
            PIPE_REJECT_REMOTE_CLIENTS, // only clients of this machine
        1,                              // number of instances: one client
        pipe_bytes,                     // output buffer
        pipe_bytes,                     // input buffer
        0,                              // default time-out of WaitNamedPipe: 50 ms
        security.get()                  // who can connect: the current user
        ));
    // ANCHOR_END: create_pipe
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

struct stopped {}; // thrown when Ctrl+C was pressed

void check(const char* call, DWORD error) {
    // Tested after each call: with a busy client no call has to wait, so no wait sees the event.
    if (error == ERROR_OPERATION_ABORTED || ipc::ctrl_c_pressed()) {
        throw stopped();
    }
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error(std::string("the client is too slow for ") + call);
    }
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("the client left in the middle of a message");
    }
    if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
        ipc::throw_error(call, error);
    }
}

void wait_for_client(connection& client) {
    const BOOL done = ConnectNamedPipe(client.pipe.get(), client.call.get());
    // INFINITE: a server waits until a client comes or Ctrl+C is pressed.
    const DWORD error = client.call.wait(done, INFINITE, ipc::ctrl_c_event()).error;
    // ERROR_PIPE_CONNECTED: the client connected before the call. ERROR_NO_DATA: it has also left
    // again, and A can still read what it sent.
    if (error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        check("ConnectNamedPipe", error);
    }
}

// Reads one whole message. Returns false if the client has left. A message that is too long is also
// read to its end, because the next message comes after it.
bool read_message(connection& client, message& received) {
    received.content.resize(first_read_bytes);
    received.bytes = 0;
    received.reads = 1;
    DWORD kept = 0;
    // ANCHOR: read_message
    for (;; ++received.reads) {
        char* const buffer = received.content.data() + kept;
        const DWORD size = static_cast<DWORD>(received.content.size()) - kept;
        const BOOL done = ReadFile(client.pipe.get(), buffer, size, nullptr, client.call.get());
        const auto [error, bytes] = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event());
        if (ipc::is_disconnected(error)) {
            return false;
        }
        check("ReadFile", error);
        received.bytes += bytes;
        if (error == ERROR_SUCCESS) {
            return true; // the message is complete; 0 bytes are a message too
        }
        DWORD left = 0; // ERROR_MORE_DATA: the rest of the message is still in the pipe
        const BOOL peeked = PeekNamedPipe(client.pipe.get(), nullptr, 0, nullptr, nullptr, &left);
        check("PeekNamedPipe", peeked ? ERROR_SUCCESS : GetLastError());
        const bool fits = received.bytes + left <= protocol::max_message_bytes;
        kept = fits ? static_cast<DWORD>(received.bytes) : 0; // 0: overwrite
        received.content.resize(fits ? kept + left : discarded_bytes);
    }
    // ANCHOR_END: read_message
}

void send_answer(connection& client, std::uint64_t bytes) {
    const BOOL done =
        WriteFile(client.pipe.get(), &bytes, sizeof bytes, nullptr, client.call.get());
    const DWORD error = client.call.wait(done, client.limit_ms, ipc::ctrl_c_event()).error;
    if (!ipc::is_disconnected(error)) { // the next read reports a client that has left
        check("WriteFile", error);
    }
}

void serve_client(connection& client, std::optional<ipc::byte_sink>& out) {
    message received;
    std::uint64_t announced = 0;
    if (!read_message(client, received) || received.bytes != sizeof announced) {
        throw std::runtime_error("the client has not announced the number of its messages");
    }
    std::memcpy(&announced, received.content.data(), sizeof announced);
    std::uint64_t number = 0;
    while (read_message(client, received)) {
        ++number;
        if (number > announced) {
            throw std::runtime_error("the client sent more than it announced");
        }
        const bool fits = received.bytes <= protocol::max_message_bytes;
        if (fits && out) {
            received.content.resize(static_cast<std::size_t>(received.bytes));
            received.content.push_back('\n');
            out->write({received.content.data(), received.content.size()});
        }
        if (!fits || number <= protocol::printed_messages) {
            ipc::print_line("A: message {}: {} bytes, reads: {}{}", number, received.bytes,
                            received.reads, fits ? "" : ", too long");
        }
        send_answer(client, fits ? received.bytes : 0);
    }
    if (number < announced) {
        throw std::runtime_error(ipc::fill("the client left after {} of {} messages",
                                           {std::to_string(number), std::to_string(announced)}));
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring out_path;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--out", &out_path}, {L"--limit", &limit}, {L"--name", &suffix}});
    std::optional<ipc::byte_sink> out;
    if (!out_path.empty()) {
        out.emplace(out_path, "");
    }
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    connection client{create_pipe(ipc::object_name(protocol::pipe_name, suffix)), limit.ms};
    ipc::print_line("A: waiting for a client");
    wait_for_client(client);
    serve_client(client, out);
    ipc::print_line("A: the client has sent everything and left");
    return 0;
} catch (const stopped&) {
    ipc::print_line("A: stopped");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
