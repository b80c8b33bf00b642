// Demo 12, process A: a relay between its standard input and output and a named pipe.
//
// Programs that know only standard streams (socat, ssh, a shell) talk to a pipe server through it. One
// thread sends the input to the server, while another passes what the server sends to the output: two
// calls at the same time on one overlapped handle. The options are those of npiperelay.
//
// Run: processA [-p] [-s] [-ei] [-ep] [-v] [-bg] [-a] [-l SECONDS] PIPE < input > output

#include "assuan_socket.hpp"
#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr auto usage =
    "processA [-p] [-s] [-ei] [-ep] [-v] [-bg] [-a] [-l SECONDS] [--in FILE] [--name SUFFIX] PIPE\n"
    "  -p               wait until the pipe exists and is free\n"
    "  -s               send an empty message when the input ends: the end for a message-type "
    "pipe\n"
    "  -ei              end when the input ends, after it has been delivered\n"
    "  -ep              end when the server's output ends, even if input is left\n"
    "  -v               say on standard error what happens\n"
    "  -bg              leave the console: its window closes unless another program uses it\n"
    "  -a               PIPE is a socket file of GnuPG: a port of this computer, and a nonce\n"
    "  -l SECONDS       how long -p waits (default: 0, no limit); also --limit SECONDS\n"
    "  --in FILE        the input (default: standard input)\n"
    "  --name SUFFIX    add .SUFFIX to the pipe's name\n"
    "  PIPE             //./pipe/name or \\\\.\\pipe\\name";
constexpr DWORD buffer_bytes = 64 * 1024;
constexpr DWORD poll_ms = 100;  // between two attempts to connect
constexpr DWORD grace_ms = 100; // for input that was under way when the server closed the pipe

struct relay_options {
    bool wait_for_pipe = false;
    bool empty_message_at_end = false;
    bool end_with_input = false;
    bool end_with_pipe = false;
    bool verbose = false;
    bool leave_console = false;
    bool assuan = false;
    ipc::time_limit limit{INFINITE}; // the end of the input, or Ctrl+C, ends the wait
    std::wstring in;
    std::wstring suffix;
    std::wstring pipe;
};

ipc::unique_handle create_event() {
    ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

bool is_set(const ipc::unique_handle& event) {
    return WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0;
}

// What both threads use. The input thread can outlive wmain, in a read that no call ends for certain,
// so nothing destroys this object, and the end of the process closes its handles.
struct relay {
    relay_options options;
    HANDLE input = nullptr;
    HANDLE server = INVALID_HANDLE_VALUE; // the pipe, or the socket of -a
    bool input_started = false;
    ipc::unique_handle connected = create_event();
    ipc::unique_handle input_empty = create_event(); // the input has ended without a byte
    ipc::unique_handle input_done = create_event();  // the input thread has nothing left to do
    std::atomic<DWORD> unsent = 0;                   // bytes that were read, and have not arrived
    std::atomic<std::uint64_t> sent = 0;
    std::uint64_t received = 0;

    template <typename... Values> void note(std::string_view text, const Values&... values) const {
        if (options.verbose) {
            ipc::print_error_line(text, values...);
        }
    }
};

// Reads some bytes from a file, a console or a pipe. Returns 0 at the end.
DWORD read_some(HANDLE input, std::span<char> buffer) {
    for (;;) {
        DWORD size = 0;
        if (!ReadFile(input, buffer.data(), static_cast<DWORD>(buffer.size()), &size, nullptr)) {
            const DWORD error = GetLastError();
            if (ipc::is_disconnected(error)) {
                return 0; // a pipe ends with ERROR_BROKEN_PIPE
            }
            if (error != ERROR_MORE_DATA) { // a part of a long message
                ipc::throw_error("ReadFile (standard input)", error);
            }
        }
        if (size != 0 || GetFileType(input) != FILE_TYPE_PIPE) {
            return size; // a file or a console ends with 0 bytes
        }
        // 0 bytes from a pipe: an empty message. Or it is a pipe of Linux (Wine), where this is the
        // end, and PeekNamedPipe fails.
        if (!PeekNamedPipe(input, nullptr, 0, nullptr, nullptr, nullptr)) {
            return 0;
        }
    }
}

void write_output(std::string_view bytes) {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    while (!bytes.empty()) { // a pipe of Linux (Wine) can take a part
        DWORD written = 0;
        if (!WriteFile(output, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
            const DWORD error = GetLastError();
            if (ipc::is_disconnected(error)) {
                throw std::runtime_error("nobody reads standard output any more");
            }
            ipc::throw_error("WriteFile (standard output)", error);
        }
        bytes.remove_prefix(written);
    }
}

bool is_gone(DWORD error) {
    return ipc::is_disconnected(error) || is_closed_socket(error);
}

// Sends the input to the server, on a thread of its own.
void send_input(relay& work) {
    std::vector<char> buffer(buffer_bytes);
    DWORD size = read_some(work.input, buffer);
    if (size == 0) {
        SetEvent(work.input_empty.get());
    }
    WaitForSingleObject(work.connected.get(), INFINITE); // or the process ends
    ipc::overlapped_call call(work.server);
    // ANCHOR: send_input
    for (; size != 0; size = read_some(work.input, buffer)) {
        work.unsent = size;
        const BOOL done = WriteFile(work.server, buffer.data(), size, nullptr, call.get());
        // INFINITE: the write ends when the server reads it, or closes the pipe, or dies.
        const auto [error, written] = call.wait(done, INFINITE);
        work.sent += written;
        work.unsent = size - written;
        if (is_gone(error) || error == ERROR_OPERATION_ABORTED) {
            return; // work.unsent says how much did not arrive
        }
        if (error != ERROR_SUCCESS) {
            ipc::throw_error("WriteFile", error);
        }
    }
    // ANCHOR_END: send_input
    work.note("A: the input has ended");
    if (work.options.empty_message_at_end && work.options.assuan) {
        end_sending(work.server);
    } else if (work.options.empty_message_at_end) {
        // It is no failure if the server has gone: the other thread sees it, too.
        const BOOL done = WriteFile(work.server, "", 0, nullptr, call.get());
        call.wait(done, INFINITE); // as above
    }
}

void start_input(relay& work) {
    work.input_started = true;
    std::thread([&work] {
        try {
            send_input(work);
            SetEvent(work.input_done.get());
        } catch (...) {
            ExitProcess(static_cast<UINT>(ipc::report_exception("A")));
        }
    }).detach();
}

// The reader of standard output gets its end. It is borrowed, so this is the only program here that
// closes it: nothing else tells the reader that no output follows.
void close_output(const relay& work) {
    const HANDLE output = GetStdHandle(STD_OUTPUT_HANDLE);
    if (output != GetStdHandle(STD_ERROR_HANDLE) && output != work.input) {
        SetStdHandle(STD_OUTPUT_HANDLE, nullptr);
        CloseHandle(output);
    }
    work.note("A: the server's output has ended");
}

enum class ending { server_closed, output_ended, input_ended };

// Passes what the server sends to standard output, until one side has ended.
ending receive_output(relay& work) {
    std::vector<char> buffer(buffer_bytes);
    ipc::overlapped_call call(work.server);
    bool output_open = true;
    for (;;) {
        // ANCHOR: receive_output
        const bool end_with_input = work.options.end_with_input || !output_open;
        const HANDLE stop = end_with_input ? work.input_done.get() : nullptr;
        if (end_with_input && is_set(work.input_done)) {
            return ending::input_ended; // a read may always succeed at once, and never wait
        }
        const BOOL done = ReadFile(work.server, buffer.data(), buffer_bytes, nullptr, call.get());
        // INFINITE: data, the end of the server or the stop event ends the wait.
        const auto [error, bytes] = call.wait(done, INFINITE, stop);
        if (error == ERROR_OPERATION_ABORTED) {
            return ending::input_ended;
        }
        if (is_gone(error) || (work.options.assuan && error == ERROR_SUCCESS && bytes == 0)) {
            return ending::server_closed; // a socket ends with 0 bytes
        }
        // ANCHOR_END: receive_output
        if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
            ipc::throw_error("ReadFile", error);
        }
        work.received += bytes;
        if (bytes != 0 && output_open) {
            write_output({buffer.data(), bytes});
        } else if (bytes == 0 && work.options.end_with_pipe) {
            return ending::output_ended;
        } else if (bytes == 0 && output_open) {
            output_open = false; // go on: only a read tells when the server closes the pipe
            close_output(work);
        }
    }
}

// Returns how many bytes of the input did not arrive, after the server has closed the pipe. A write
// that is under way fails now. A read of the input that is under way gets a moment to return, so that
// the result does not depend on which thread was faster; a read that still waits had nothing to send.
DWORD lost_bytes(const relay& work) {
    // ANCHOR: lost_bytes
    if (WaitForSingleObject(work.input_done.get(), grace_ms) == WAIT_TIMEOUT) {
        while (work.unsent != 0 &&
               WaitForSingleObject(work.input_done.get(), grace_ms) == WAIT_TIMEOUT) {
            CancelIoEx(work.server, nullptr); // a socket's write may still wait
        }
    }
    return work.unsent;
    // ANCHOR_END: lost_bytes
}

DWORD open_pipe(HANDLE& pipe, const std::wstring& name, DWORD access) {
    // ANCHOR: open_pipe
    pipe = CreateFileW(name.c_str(),             // \\.\pipe\name
                       access,                   // read, write or both, as the server allows
                       0,                        // not shared
                       nullptr,                  // not inheritable
                       OPEN_EXISTING,            // the server has created it
                       FILE_FLAG_OVERLAPPED |    // a read and a write can wait at the same time
                           SECURITY_SQOS_PRESENT // the next flag counts; without it, the server
                           | SECURITY_ANONYMOUS, // could act as the user who runs the relay
                       nullptr);                 // no template
    // ANCHOR_END: open_pipe
    return pipe == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
}

// Throws the reason why the pipe could not be opened.
[[noreturn]] void refuse(const std::wstring& name, DWORD error) {
    for (const DWORD access : {DWORD{GENERIC_READ}, DWORD{GENERIC_WRITE}}) {
        HANDLE pipe = INVALID_HANDLE_VALUE;
        if (error == ERROR_ACCESS_DENIED && open_pipe(pipe, name, access) == ERROR_SUCCESS) {
            CloseHandle(pipe); // the server sees a client that leaves
            throw std::runtime_error(ipc::fill(
                "{} is a one-way pipe: its server only {}, and a relay needs both directions",
                {ipc::to_utf8(name), access == GENERIC_READ ? "sends" : "receives"}));
        }
    }
    ipc::throw_error("CreateFileW", error);
}

// A client reads bytes until it asks for messages. Only a read of messages returns an empty message
// everywhere.
void read_messages(HANDLE pipe) {
    DWORD type = 0;
    if (!GetNamedPipeInfo(pipe, &type, nullptr, nullptr, nullptr)) {
        ipc::throw_last_error("GetNamedPipeInfo");
    }
    DWORD mode = PIPE_READMODE_MESSAGE;
    if ((type & PIPE_TYPE_MESSAGE) != 0 &&
        !SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
}

// Returns false if the input ended without a byte before the pipe was there.
bool connect(relay& work) {
    const relay_options& options = work.options;
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        const DWORD error = open_pipe(work.server, options.pipe, GENERIC_READ | GENERIC_WRITE);
        if (error == ERROR_SUCCESS) {
            return true;
        }
        const bool may_come = error == ERROR_FILE_NOT_FOUND || error == ERROR_PIPE_BUSY;
        if (!options.wait_for_pipe || !may_come) {
            refuse(options.pipe, error);
        }
        // INFINITE: no limit
        if (options.limit.ms != INFINITE && GetTickCount64() - start_ms >= options.limit.ms) {
            throw std::runtime_error(error == ERROR_PIPE_BUSY
                                         ? "the server is busy with other clients"
                                         : "there is no server within the limit");
        }
        if (!work.input_started) {
            start_input(work); // reads ahead, to notice an input that ends
        }
        if (error == ERROR_PIPE_BUSY) {
            WaitNamedPipeW(options.pipe.c_str(), poll_ms); // another client may still be faster
        }
        const DWORD wait_ms = error == ERROR_PIPE_BUSY ? 0 : poll_ms;
        if (WaitForSingleObject(work.input_empty.get(), wait_ms) == WAIT_OBJECT_0) {
            return false;
        }
    }
}

// Turns //./pipe/name into \\.\pipe\name, which WaitNamedPipeW needs.
std::wstring pipe_name(std::wstring name, const std::wstring& suffix) {
    std::ranges::replace(name, L'/', L'\\');
    const std::size_t host_end = name.starts_with(L"\\\\") ? name.find(L'\\', 2) : 0;
    if (host_end == 0 || host_end == std::wstring::npos ||
        CompareStringOrdinal(name.c_str() + host_end, 6, L"\\pipe\\", 6, TRUE) != CSTR_EQUAL) {
        throw ipc::usage_error("not the name of a pipe: " + ipc::to_utf8(name) +
                               "; usage: processA [OPTIONS] //./pipe/name");
    }
    return ipc::object_name(name, suffix);
}

relay_options parse(int argc, wchar_t** argv) {
    relay_options options;
    std::vector<std::wstring> rest;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"-p", &options.wait_for_pipe},
                          {L"-s", &options.empty_message_at_end},
                          {L"-ei", &options.end_with_input},
                          {L"-ep", &options.end_with_pipe},
                          {L"-v", &options.verbose},
                          {L"-bg", &options.leave_console},
                          {L"-a", &options.assuan},
                          {L"-l", &options.limit},
                          {L"--limit", &options.limit},
                          {L"--in", &options.in},
                          {L"--name", &options.suffix}},
                         &rest);
    if (rest.size() != 1 || rest.front().empty()) {
        throw ipc::usage_error("exactly one PIPE is needed, after the options; usage: processA "
                               "[OPTIONS] PIPE");
    }
    options.pipe = options.assuan ? rest.front() : pipe_name(rest.front(), options.suffix);
    return options;
}

HANDLE open_input(const std::wstring& path) {
    if (path.empty()) {
        return GetStdHandle(STD_INPUT_HANDLE);
    }
    const HANDLE file = CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                                    OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        ipc::throw_last_error("CreateFileW");
    }
    return file; // the end of the process closes it
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    relay& work = *std::make_unique<relay>().release(); // lives until the process ends
    work.options = parse(argc, argv);
    if (work.options.leave_console) {
        FreeConsole();
    }
    work.input = open_input(work.options.in);
    work.note("A: connecting to {}", work.options.pipe);
    if (work.options.assuan) {
        work.server = connect_to_assuan_server(work.options.pipe);
    } else if (connect(work)) {
        read_messages(work.server);
    } else {
        work.note("A: the input has ended, and no pipe was free");
        return 0;
    }
    work.note("A: connected");
    if (!work.input_started) {
        start_input(work);
    }
    SetEvent(work.connected.get());

    const ending end = receive_output(work);
    const DWORD lost = end == ending::server_closed ? lost_bytes(work) : work.unsent.load();
    work.note("A: {} bytes sent, {} bytes received", work.sent.load(), work.received);
    if (lost != 0 && end != ending::output_ended) {
        throw std::runtime_error(
            ipc::fill("the server has closed the pipe, and {} bytes of the input did not arrive",
                      {std::to_string(lost)}));
    }
    if (work.options.assuan && end == ending::server_closed && work.received == 0 &&
        !is_set(work.input_done)) {
        throw std::runtime_error(refused_nonce);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
