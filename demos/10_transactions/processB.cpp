// Demo 10, process B: request and reply in one call, in two ways.
//
// TransactNamedPipe writes a request and reads its reply on a connection that B keeps. CallNamedPipe
// also connects before and closes the connection after, for every request. B shows what both do when
// the reply is too long, the read mode is wrong, or no instance is free.
//
// Run: processB [--limit SECONDS] [--name SUFFIX]

#include "call_limit.hpp"
#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]\n"
                       "  --limit SECONDS  how long to wait for the server, and for a reply "
                       "(default: 10; 0: no limit)\n"
                       "  --name SUFFIX    appended to the pipe's name, as with processA";
constexpr DWORD instance_wait_ms = 1'000; // of one CallNamedPipe, for a free instance
constexpr DWORD reply_bytes = 1'024;      // enough for every reply here
constexpr DWORD few_bytes = 8;            // not enough for some of them

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0;
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

// How a request ended, and as much of its reply as has arrived.
struct outcome {
    DWORD error = ERROR_SUCCESS;
    std::string reply;
};

void set_read_mode(HANDLE pipe, DWORD mode) {
    if (!SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
}

ipc::unique_handle connect(const std::wstring& name, DWORD limit_ms) {
    ipc::unique_handle pipe =
        ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit_ms);
    set_read_mode(pipe.get(), PIPE_READMODE_MESSAGE); // a client starts in byte read mode
    return pipe;
}

// cppcheck-suppress passedByValue; the call takes a pointer to bytes that are not const
outcome transact(connection& server, std::string request, DWORD size) {
    std::string reply(size, '\0');
    // ANCHOR: transact
    const BOOL done = TransactNamedPipe(server.pipe.get(),
                                        request.data(), // the message to write
                                        static_cast<DWORD>(request.size()),
                                        reply.data(), // the buffer for the reply
                                        size,
                                        nullptr, // the number of bytes comes from wait()
                                        server.call.get());
    const auto [error, bytes] = server.call.wait(done, server.limit_ms);
    // ANCHOR_END: transact
    reply.resize(bytes);
    return {error, reply};
}

outcome read_rest(connection& server) {
    std::string rest(reply_bytes, '\0');
    const BOOL done =
        ReadFile(server.pipe.get(), rest.data(), reply_bytes, nullptr, server.call.get());
    const auto [error, bytes] = server.call.wait(done, server.limit_ms);
    rest.resize(bytes);
    return {error, rest};
}

// cppcheck-suppress passedByValue; the call takes a pointer to bytes that are not const
outcome call(const std::wstring& name, std::string request, DWORD size, DWORD wait_ms,
             DWORD limit_ms) {
    std::string reply(size, '\0');
    DWORD bytes = 0;
    // ANCHOR: call
    const call_limit limit(limit_ms); // CallNamedPipe has none for the reply
    const BOOL done =
        CallNamedPipeW(name.c_str(),
                       request.data(), // the message to write
                       static_cast<DWORD>(request.size()),
                       reply.data(), // the buffer for the reply
                       size,
                       &bytes,   // the length of the reply
                       wait_ms); // how long to wait for a free instance, and for nothing else
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    // ANCHOR_END: call
    reply.resize(error == ERROR_MORE_DATA ? size : bytes);
    return {error, reply};
}

// CallNamedPipe waits once for a free instance and then tries once to connect. If another client is
// faster, it fails with the error of the wait or of the attempt. The documentation does not say which.
bool no_free_instance(DWORD error) {
    return error == ERROR_PIPE_BUSY || error == ERROR_SEM_TIMEOUT;
}

outcome call_when_free(const std::wstring& name, const std::string& request, DWORD size,
                       DWORD limit_ms) {
    const bool limited = limit_ms != INFINITE; // --limit 0: wait as long as it takes
    const DWORD both_ms = limited ? limit_ms + instance_wait_ms : limit_ms;
    const ipc::deadline end(limit_ms);
    for (;;) {
        outcome result = call(name, request, size, instance_wait_ms, both_ms);
        if (!no_free_instance(result.error)) {
            return result;
        }
        if (end.is_over()) {
            throw std::runtime_error("the server at " + ipc::to_utf8(name) +
                                     " is busy with other clients");
        }
    }
}

// Throws unless the call ended with this error and this reply.
void expect(const char* function, const outcome& result, DWORD error, std::string_view reply = {}) {
    if (result.error == error && result.reply == reply) {
        return;
    }
    switch (result.error) {
    case ERROR_SUCCESS: throw std::runtime_error("the server does not behave like processA");
    case WAIT_TIMEOUT:
    case ERROR_OPERATION_ABORTED: throw std::runtime_error("the server did not reply in time");
    case 676: // ERROR_HANDLES_CLOSED (no name in MinGW-w64): Wine, if a pipe ends during a wait
    case ERROR_FILE_NOT_FOUND: throw std::runtime_error("the server is gone");
    default: break;
    }
    if (ipc::is_disconnected(result.error) || result.error == ERROR_BAD_PIPE) {
        throw std::runtime_error("the server closed the connection");
    }
    ipc::throw_error(function, result.error);
}

std::string ask(connection& server, const std::string& request, std::string_view reply) {
    const outcome result = transact(server, request, reply_bytes);
    expect("TransactNamedPipe", result, ERROR_SUCCESS, reply);
    return result.reply;
}

std::string ask(const std::wstring& name, const std::string& request, std::string_view reply,
                DWORD limit_ms) {
    const outcome result = call_when_free(name, request, reply_bytes, limit_ms);
    expect("CallNamedPipeW", result, ERROR_SUCCESS, reply);
    return result.reply;
}

void show_kept_connection(connection& server) {
    ipc::print_line("B: TransactNamedPipe: {}", ask(server, "one", "ONE"));
    ipc::print_line("B: TransactNamedPipe, the same connection: {}", ask(server, "two", "TWO"));

    // ANCHOR: more_data
    outcome result = transact(server, "a long reply", few_bytes);
    expect("TransactNamedPipe", result, ERROR_MORE_DATA, "A LONG R");
    ipc::print_line("B: TransactNamedPipe, a buffer of 8 bytes: {}, ERROR_MORE_DATA", result.reply);
    expect("TransactNamedPipe", transact(server, "too early", reply_bytes), ERROR_PIPE_BUSY);
    ipc::print_line("B: TransactNamedPipe with the rest unread: ERROR_PIPE_BUSY");
    result = read_rest(server);
    expect("ReadFile", result, ERROR_SUCCESS, "EPLY");
    ipc::print_line("B: ReadFile, the rest: {}", result.reply);
    // ANCHOR_END: more_data

    set_read_mode(server.pipe.get(), PIPE_READMODE_BYTE);
    expect("TransactNamedPipe", transact(server, "unsent", reply_bytes), ERROR_BAD_PIPE);
    ipc::print_line("B: TransactNamedPipe in byte read mode: ERROR_BAD_PIPE");
    set_read_mode(server.pipe.get(), PIPE_READMODE_MESSAGE);
    ipc::print_line("B: TransactNamedPipe in message read mode: {}", ask(server, "three", "THREE"));
}

// Call this while B itself has the server's only instance.
void show_busy_server(const std::wstring& name, DWORD limit_ms) {
    const outcome result = call(name, "unsent", reply_bytes, 100 /* ms */, limit_ms);
    expect("CallNamedPipeW", result,
           no_free_instance(result.error) ? result.error : ERROR_PIPE_BUSY);
    ipc::print_line("B: CallNamedPipeW with a wait of 100 ms: no free instance");
}

void show_calls(const std::wstring& name, DWORD limit_ms) {
    ipc::print_line("B: CallNamedPipeW: {}", ask(name, "four", "FOUR", limit_ms));
    ipc::print_line("B: CallNamedPipeW: {}", ask(name, "five", "FIVE", limit_ms));
    const outcome result = call_when_free(name, "a long reply", few_bytes, limit_ms);
    expect("CallNamedPipeW", result, ERROR_MORE_DATA, "A LONG R");
    ipc::print_line("B: CallNamedPipeW, a buffer of 8 bytes: {}, ERROR_MORE_DATA, the rest is lost",
                    result.reply);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    {
        connection server{connect(name, limit.ms), limit.ms};
        show_kept_connection(server);
        show_busy_server(name, limit.ms);
    } // leaves: now the server can take the next client
    show_calls(name, limit.ms);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
