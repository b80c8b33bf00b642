// Demo 12, process A: a relay between its standard input and output and a named pipe.
//
// Programs that know only standard streams (socat, ssh, a shell) talk to a pipe server through it. One
// thread sends the input to the server, while another passes what the server sends to the output: two
// calls at the same time on one overlapped handle. Each direction ends by itself.
//
// Run: processA [-p] [-s] [-ei] [-ep] [-v] [-bg] [-a] [-l SECONDS] PIPE < input > output

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "streams.hpp"

#include <windows.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr auto usage =
    "processA [-p] [-s] [-ei] [-ep] [-v] [-bg] [-a] [-l SECONDS] [--in FILE] [--name SUFFIX] PIPE\n"
    "  -p             wait until the pipe exists and is free\n"
    "  -s             send an empty message when the input ends: the end for a message-type pipe\n"
    "  -ei            end when the input has been delivered\n"
    "  -ep            end when the server's output ends, even if input is left\n"
    "  -v             say on standard error what happens\n"
    "  -bg            leave the console: its window closes unless another program uses it\n"
    "  -a             PIPE is a socket file of GnuPG: a port of this computer, and a nonce\n"
    "  -l SECONDS     how long -p waits (default: 0, no limit); also --limit SECONDS\n"
    "  --in FILE      the input (default: standard input)\n"
    "  --name SUFFIX  add .SUFFIX to the pipe's name\n"
    "  PIPE           //./pipe/name or \\\\.\\pipe\\name";
constexpr DWORD buffer_bytes = 64 * 1024; // more is not faster
constexpr DWORD poll_ms = 100;            // between two attempts to connect
constexpr DWORD grace_ms = 100;           // for input that is under way when the server closes
constexpr DWORD end_limit_ms = 2'000;     // for a reader of the output that does not read

ipc::unique_handle create_event() {
    ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

// The options, and what both threads use. The event connected publishes server to the input thread.
struct relay {
    bool wait_for_pipe = false;
    bool empty_message_at_end = false;
    bool end_with_input = false;
    bool end_with_pipe = false;
    bool verbose = false;
    bool leave_console = false;
    bool assuan = false;
    ipc::time_limit limit{INFINITE}; // the end of the input, or Ctrl+C, ends the wait
    std::wstring pipe;
    HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    HANDLE server = INVALID_HANDLE_VALUE; // the pipe, or the socket of -a
    ipc::unique_handle connected = create_event();
    ipc::unique_handle input_empty = create_event();     // it has ended without a byte
    ipc::unique_handle input_delivered = create_event(); // all of it
    ipc::unique_handle input_done = create_event();      // nothing more is sent
    ipc::unique_handle output_done = create_event();     // the main thread does not write any more
    std::atomic<bool> ending = false;                    // one thread ends the process
    std::atomic<DWORD> unsent = 0;                       // read, and not taken by the pipe
    std::atomic<std::uint64_t> sent = 0;
    std::uint64_t received = 0;

    template <typename... Values> void note(std::string_view text, const Values&... values) const {
        try {
            if (verbose) {
                ipc::print_error_line(text, values...);
            }
        } catch (const std::exception&) {
            return; // nobody reads standard error: no reason to end
        }
    }
};

bool is_gone(DWORD error) {
    return ipc::is_disconnected(error) || is_closed_socket(error);
}

// Sends the input to the server. Returns whether all of it was delivered.
bool send_input(relay& state) {
    std::vector<char> buffer(buffer_bytes);
    DWORD size = read_some(state.input, buffer); // before a pipe is there: see connect()
    if (size == 0) {
        SetEvent(state.input_empty.get());
    }
    WaitForSingleObject(state.connected.get(), INFINITE); // or the process ends
    ipc::overlapped_call call(state.server);
    // ANCHOR: send_input
    while (size != 0) {
        state.unsent = size;
        const BOOL done = WriteFile(state.server, buffer.data(), size, nullptr, call.get());
        // INFINITE: the write ends when the pipe takes the bytes, or the server closes it, or dies.
        const auto [error, written] = call.wait(done, INFINITE);
        state.sent += written;
        state.unsent = size - written;
        if (is_gone(error) || error == ERROR_OPERATION_ABORTED) {
            return false; // state.unsent says how much did not arrive
        }
        if (error != ERROR_SUCCESS) {
            ipc::throw_error("WriteFile", error);
        }
        size = read_some(state.input, buffer);
    }
    // ANCHOR_END: send_input
    state.note("A: the input has ended");
    if (state.empty_message_at_end && state.assuan) {
        end_sending(state.server);
    } else if (state.empty_message_at_end) {
        // It is no failure if the server has gone: the other thread sees it, too.
        const BOOL done = WriteFile(state.server, "", 0, nullptr, call.get());
        call.wait(done, INFINITE); // ends as each write above
    }
    return true;
}

// Runs send_input on a thread that nobody waits for: it may be in a read of standard input, which no
// call ends if it is a pipe of Linux. With -ei this thread ends the process if the main thread waits
// too long for the reader of standard output.
void start_input(relay& state) {
    std::thread([&state] {
        try {
            const bool delivered = send_input(state);
            SetEvent(state.input_done.get());
            if (delivered) {
                SetEvent(state.input_delivered.get());
            }
            if (delivered && state.end_with_input &&
                WaitForSingleObject(state.output_done.get(), end_limit_ms) == WAIT_TIMEOUT &&
                !state.ending.exchange(true)) {
                if (state.assuan) {
                    close_in_order(state.server);
                }
                throw std::runtime_error("nobody reads standard output: some of it is lost");
            }
        } catch (...) {
            ExitProcess(static_cast<UINT>(ipc::report_exception("A")));
        }
    }).detach();
}

// Passes what the server sends to standard output. Returns true when the server has closed the pipe,
// and false when the relay ends before that.
bool receive_output(relay& state) {
    std::vector<char> buffer(buffer_bytes);
    ipc::overlapped_call call(state.server);
    bool output_open = true;
    for (;;) {
        // ANCHOR: receive_output
        const bool end_with_input = state.end_with_input || !output_open;
        const HANDLE stop = end_with_input ? state.input_delivered.get() : nullptr;
        // A server that always has data leaves no wait in which the event would be seen.
        if (stop != nullptr && WaitForSingleObject(stop, 0) == WAIT_OBJECT_0) {
            return false;
        }
        const BOOL done = ReadFile(state.server, buffer.data(), buffer_bytes, nullptr, call.get());
        // INFINITE: data, the end of the server or the stop event ends the wait.
        const auto [error, bytes] = call.wait(done, INFINITE, stop);
        if (error == ERROR_OPERATION_ABORTED) {
            return false; // all of the input was delivered
        }
        if (is_gone(error) || (state.assuan && error == ERROR_SUCCESS && bytes == 0)) {
            return true; // a socket ends with 0 bytes
        }
        // ANCHOR_END: receive_output
        if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
            ipc::throw_error("ReadFile", error);
        }
        state.received += bytes;
        if (bytes != 0 && output_open) {
            write_output({buffer.data(), bytes});
        } else if (bytes == 0 && output_open) { // an empty message: the end of the output
            state.note("A: the server's output has ended");
            if (state.end_with_pipe) {
                return false;
            }
            output_open = false; // read on: only a read tells when the server closes the pipe
            close_output();
        }
    }
}

// Returns how many bytes of the input did not arrive, after the server has closed the pipe. A write
// that is under way fails now. A read of a file ends soon, and so that the result does not depend on
// the faster thread, the next write fails. A pipe or a console that is silent had nothing to send.
DWORD lost_bytes(const relay& state) {
    const bool is_file = GetFileType(state.input) == FILE_TYPE_DISK;
    while (WaitForSingleObject(state.input_done.get(), grace_ms) == WAIT_TIMEOUT &&
           (is_file || state.unsent != 0)) {
        CancelIoEx(state.server, nullptr); // a socket's write may still wait
    }
    return state.unsent;
}

HANDLE open_pipe(const std::wstring& name) {
    // ANCHOR: open_pipe
    const HANDLE pipe =
        CreateFileW(name.c_str(),                 // \\.\pipe\name
                    GENERIC_READ | GENERIC_WRITE, // both directions
                    0,                            // not shared
                    nullptr,                      // not inheritable
                    OPEN_EXISTING,                // the server has created it
                    FILE_FLAG_OVERLAPPED |        // a read and a write can wait at the same time
                        SECURITY_SQOS_PRESENT |   // without it the next flag is ignored
                        SECURITY_ANONYMOUS,       // the server cannot act as this user
                    nullptr);                     // no template
    // ANCHOR_END: open_pipe
    return pipe;
}

// Connects to the pipe or the socket. Returns ERROR_SUCCESS, or the error if a later attempt can
// succeed. Throws every other error.
DWORD open_server(relay& state) {
    if (state.assuan) {
        try {
            state.server = connect_to_assuan_server(state.pipe);
            return ERROR_SUCCESS;
        } catch (const ipc::win32_error& failure) {
            const DWORD error = failure.code();
            if (!state.wait_for_pipe || (error != ERROR_FILE_NOT_FOUND &&
                                         error != ERROR_HANDLE_EOF && error != WSAECONNREFUSED)) {
                throw;
            }
            return error;
        }
    }
    state.server = open_pipe(state.pipe);
    const DWORD error = state.server == INVALID_HANDLE_VALUE ? GetLastError() : ERROR_SUCCESS;
    if (error == ERROR_ACCESS_DENIED) {
        throw std::runtime_error("CreateFileW failed: " + ipc::error_text(error) +
                                 " A relay reads and writes: the pipe is one-way, or this user may "
                                 "not do both.");
    }
    const bool may_come = error == ERROR_FILE_NOT_FOUND || error == ERROR_PIPE_BUSY;
    if (error != ERROR_SUCCESS && !(state.wait_for_pipe && may_come)) {
        ipc::throw_error("CreateFileW", error);
    }
    return error;
}

// Returns false if the input has ended without a byte while -p waited.
bool connect(relay& state) {
    const ipc::deadline end(state.limit.ms);
    for (;;) {
        const DWORD error = open_server(state);
        if (error == ERROR_SUCCESS) {
            return true;
        }
        if (end.is_over()) {
            throw std::runtime_error(error == ERROR_PIPE_BUSY
                                         ? "the server is busy with other clients"
                                         : "there is no server within the limit");
        }
        // Another client may take the instance that becomes free.
        const bool free = error == ERROR_PIPE_BUSY && WaitNamedPipeW(state.pipe.c_str(), poll_ms);
        if (WaitForSingleObject(state.input_empty.get(), free ? 0 : poll_ms) == WAIT_OBJECT_0) {
            return false;
        }
    }
}

// A client reads bytes until it asks for messages, and only then sees an empty message.
void read_messages(HANDLE pipe) {
    DWORD type = 0;
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (GetNamedPipeInfo(pipe, &type, nullptr, nullptr, nullptr) &&
        ((type & PIPE_TYPE_MESSAGE) == 0 ||
         SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr))) {
        return;
    }
    const DWORD error = GetLastError();
    if (!ipc::is_disconnected(error)) { // a server that has gone already: the first read tells it
        ipc::throw_error("GetNamedPipeInfo or SetNamedPipeHandleState", error);
    }
}

// Turns //./pipe/name into \\.\pipe\name, which WaitNamedPipeW needs.
std::wstring pipe_name(std::wstring name, const std::wstring& suffix) {
    constexpr std::wstring_view folder = L"\\pipe\\";
    std::ranges::replace(name, L'/', L'\\');
    const std::size_t host_end = name.starts_with(L"\\\\") ? name.find(L'\\', 2) : name.size();
    const std::wstring found = name.substr(std::min(host_end, name.size()), folder.size());
    if (CompareStringOrdinal(found.data(), static_cast<int>(found.size()), folder.data(),
                             static_cast<int>(folder.size()), TRUE) != CSTR_EQUAL) {
        throw ipc::usage_error("not the name of a pipe: " + ipc::to_utf8(name) +
                               "; usage: processA [OPTIONS] //./pipe/name");
    }
    return ipc::object_name(name, suffix);
}

void parse(int argc, wchar_t** argv, relay& state) {
    std::wstring in;
    std::wstring suffix;
    std::vector<std::wstring> rest;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"-p", &state.wait_for_pipe},
                          {L"-s", &state.empty_message_at_end},
                          {L"-ei", &state.end_with_input},
                          {L"-ep", &state.end_with_pipe},
                          {L"-v", &state.verbose},
                          {L"-bg", &state.leave_console},
                          {L"-a", &state.assuan},
                          {L"-l", &state.limit},
                          {L"--limit", &state.limit},
                          {L"--in", &in},
                          {L"--name", &suffix}},
                         &rest);
    if (rest.size() != 1 || rest.front().empty()) {
        throw ipc::usage_error("exactly one PIPE is needed, after the options; usage: processA "
                               "[OPTIONS] PIPE");
    }
    state.pipe = state.assuan ? rest.front() : pipe_name(rest.front(), suffix);
    if (!in.empty()) { // the end of the process closes the file
        state.input = CreateFileW(in.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                  FILE_FLAG_SEQUENTIAL_SCAN, nullptr);
        if (state.input == INVALID_HANDLE_VALUE) {
            ipc::throw_last_error("CreateFileW");
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    relay& state = *new relay; // never destroyed: the input thread can outlive wmain
    parse(argc, argv, state);
    if (state.leave_console) {
        leave_console(state.input);
    }
    if (state.wait_for_pipe) {
        start_input(state); // reads ahead, to notice an input that ends
    }
    state.note("A: connecting to {}", state.pipe);
    if (!connect(state)) {
        state.note("A: the input has ended, and no pipe was free");
        return 0;
    }
    state.note("A: connected");
    if (!state.assuan) {
        read_messages(state.server);
    }
    SetEvent(state.connected.get());
    if (!state.wait_for_pipe) {
        start_input(state);
    }
    const bool server_closed = receive_output(state);
    SetEvent(state.output_done.get());
    if (state.ending.exchange(true)) {
        Sleep(INFINITE); // the input thread is just ending the process
    }
    const DWORD lost = server_closed ? lost_bytes(state) : 0;
    state.note("A: {} bytes sent, {} bytes received", state.sent.load(), state.received);
    if (state.assuan && server_closed && state.received == 0) {
        throw std::runtime_error(refused_nonce);
    }
    if (lost != 0) {
        throw std::runtime_error("the server has closed the connection, and " +
                                 std::to_string(lost) + " bytes of the input did not arrive");
    }
    if (state.assuan && !server_closed) {
        close_in_order(state.server);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
