// Demo 04, process A: the server of a message-type pipe, where every write is one message.
//
// A waits for one client, reads each of its messages whole, however long, and answers with the
// length; one over 16 MiB is refused, and the next is read as if nothing had happened. With --byte
// the same goes through a byte-type pipe, which knows no messages. A ends with its client, or at
// Ctrl+C.
//
// Run: processA [--byte] [--out FILE] [--name SUFFIX]

#include "byte_mode.hpp"
#include "common/arguments.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "files.hpp"
#include "pipe_end.hpp"
#include "protocol.hpp"

#include <vector>

namespace {

using namespace message_mode;

constexpr auto usage =
    "processA [--byte] [--out FILE] [--name SUFFIX]\n"
    "  --byte         use a byte-type pipe (processB needs --byte too)\n"
    "  --out FILE     write each message and a line break to FILE (with --byte: the bytes)\n"
    "  --name SUFFIX  use another pipe, so that several pairs can run at once";
constexpr DWORD discard_bytes = 256 * 1024; // at a time, of a message that is too long

ipc::unique_handle create_pipe(const std::wstring& name, bool byte) {
    const DWORD mode =
        byte ? PIPE_TYPE_BYTE | PIPE_READMODE_BYTE : PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE;
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
        mode | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1 /* instance */, pipe_bytes,
        byte ? byte_pipe_bytes : pipe_bytes, 0 /* default time-out */, security.get()));
    if (!pipe) {
        const DWORD code = GetLastError();
        if (code == ERROR_ACCESS_DENIED || code == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name " + ipc::to_utf8(name) + " is taken");
        }
        ipc::throw_error("CreateNamedPipeW", code);
    }
    return pipe;
}

void wait_for_client(pipe_end& end) {
    const BOOL done = ConnectNamedPipe(end.pipe.get(), start(end));
    // INFINITE: a server waits until a client comes or somebody presses Ctrl+C.
    const DWORD code = finish(end, done, "ConnectNamedPipe", INFINITE).first;
    // A client that was faster than ConnectNamedPipe, and one that is already gone again: what it
    // sent can still be read.
    if (code != ERROR_PIPE_CONNECTED && code != ERROR_NO_DATA) {
        check(code, "ConnectNamedPipe");
    }
}

struct message_facts {
    std::uint64_t bytes = 0;
    int reads = 0;
};

// Reads one whole message. One that is too long is read to its end as well, as the next one stands
// behind it, but not kept.
message_facts read_message(pipe_end& end, std::vector<char>& message) {
    message.resize(buffer_bytes);
    message_facts facts;
    std::size_t kept = 0;
    // ANCHOR: read_message
    for (;;) {
        const auto room = static_cast<DWORD>(message.size() - kept);
        const BOOL done =
            ReadFile(end.pipe.get(), message.data() + kept, room, nullptr, start(end));
        const auto [code, received] = finish(end, done, "ReadFile");
        check(code, "ReadFile");
        ++facts.reads;
        facts.bytes += received;
        if (code == ERROR_SUCCESS) {
            return facts; // the end of this message; 0 bytes are a message too
        }
        DWORD left = 0; // ERROR_MORE_DATA: so many bytes of the same message wait in the pipe
        if (!PeekNamedPipe(end.pipe.get(), nullptr, 0, nullptr, nullptr, &left)) {
            check(GetLastError(), "PeekNamedPipe");
        }
        const bool fits = facts.bytes + left <= max_message_bytes; // the sender chose the length
        kept = fits ? static_cast<std::size_t>(facts.bytes) : 0;
        message.resize(fits ? kept + left : discard_bytes);
    }
    // ANCHOR_END: read_message
}

void send_answer(pipe_end& end, verdict status, std::uint64_t bytes) {
    const answer to_send{status, 0, bytes};
    const BOOL done = WriteFile(end.pipe.get(), &to_send, sizeof to_send, nullptr, start(end));
    check(finish(end, done, "WriteFile").first, "WriteFile");
}

void serve_messages(pipe_end& end, std::ofstream& out) {
    std::vector<char> message;
    const message_facts first = read_message(end, message);
    const announcement announced = to_announcement(message.data(), first.bytes);
    std::uint64_t number = 1;
    try {
        for (; number <= announced.messages; ++number) {
            const message_facts facts = read_message(end, message);
            const bool fits = facts.bytes <= max_message_bytes;
            if (fits && out.is_open()) {
                out.write(message.data(), static_cast<std::streamsize>(facts.bytes)).put('\n');
            }
            if (!fits || number <= shown_messages) {
                ipc::print_line("A: message {}: {} bytes, reads: {}{}", number, facts.bytes,
                                facts.reads, fits ? "" : ", refused: too long");
            }
            send_answer(end, fits ? verdict::received : verdict::too_long, facts.bytes);
        }
    } catch (const peer_gone&) {
        throw std::runtime_error("the client ended after " + std::to_string(number - 1) + " of " +
                                 std::to_string(announced.messages) + " messages");
    }
}

// The client closes its end when it has the last answer.
void wait_for_end(pipe_end& end) {
    char unexpected = 0;
    const BOOL done = ReadFile(end.pipe.get(), &unexpected, 1, nullptr, start(end));
    if (finish(end, done, "ReadFile").first != ERROR_BROKEN_PIPE) {
        throw std::runtime_error("the client sent more than it announced");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool byte = false;
    std::wstring out_path;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--byte", &byte}, {L"--out", &out_path}, {L"--name", &suffix}});
    std::ofstream out = open_output(out_path);
    pipe_end end;
    end.stop = ipc::ctrl_c_event(); // from here on, Ctrl+C ends A in order
    const auto written = byte ? written_event(suffix) : ipc::unique_handle();
    end.pipe = create_pipe(ipc::object_name(pipe_name, suffix), byte);
    ipc::print_line("A: waiting for a client");
    wait_for_client(end);
    byte ? serve_bytes(end, out, written.get()) : serve_messages(end, out);
    wait_for_end(end);
    close_output(out);
    ipc::print_line("A: the client has sent everything and is gone");
    return 0;
} catch (const message_mode::stopped&) {
    ipc::print_line("A: stopped");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
