// Demo 10, process B: request and reply in one call, in two ways.
//
// TransactNamedPipe writes a request and reads its reply, on a connection that B keeps.
// CallNamedPipe also connects before and leaves after, for every request. B shows what both do when
// the reply is too long, the read mode is wrong, or no instance is free. --time measures them.
//
// Run: processB [--time N] [--name SUFFIX]

#include "call.hpp"
#include "common/arguments.hpp"
#include "common/security.hpp"
#include "connection.hpp"
#include "protocol.hpp"

#include <chrono>
#include <utility>

namespace {

constexpr auto usage = "processB [--time N] [--name SUFFIX]\n"
                       "  --time N       only ask, N times (up to 10000) in each way: the costs\n"
                       "  --name SUFFIX  appended to the pipe's name, as with processA";
constexpr DWORD measure_limit_ms = 30'000; // for all N calls together
constexpr DWORD room = 1'024;              // for a reply: enough for every one here
constexpr DWORD small_room = 8;            // not enough for some of them

// Throws unless the call has ended with this error, and with this reply.
void expect(const char* what, const outcome& got, DWORD error, std::string_view reply = {}) {
    if (got.error == error && got.reply == reply) {
        return;
    }
    switch (got.error) {
    case ERROR_SUCCESS: throw std::runtime_error("the server does not behave like processA");
    case ERROR_OPERATION_ABORTED: throw std::runtime_error("the server did not answer in time");
    case ERROR_BAD_PIPE: // on a handle in message read mode
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED: throw std::runtime_error("the server closed the connection");
    case 676: // ERROR_HANDLES_CLOSED, not named by MinGW-w64: Wine's end of a wait for an instance
    case ERROR_FILE_NOT_FOUND: throw std::runtime_error("the server is gone");
    default: ipc::throw_error(what, got.error);
    }
}

std::string ask(const connection& to, const std::string& request, std::string_view reply) {
    const outcome got = transact(to, request, room);
    expect("TransactNamedPipe", got, ERROR_SUCCESS, reply);
    return got.reply;
}

std::string ask(const std::wstring& name, const std::string& request, std::string_view reply) {
    const outcome got = call_within_limit(name, request, room);
    expect("CallNamedPipeW", got, ERROR_SUCCESS, reply);
    return got.reply;
}

void show_kept_connection(const connection& to) {
    ipc::print_line("B: TransactNamedPipe: {}", ask(to, "one", "ONE"));
    ipc::print_line("B: TransactNamedPipe, the same connection: {}", ask(to, "two", "TWO"));

    // ANCHOR: more_data
    outcome got = transact(to, "a long reply", small_room);
    expect("TransactNamedPipe", got, ERROR_MORE_DATA, "A LONG R");
    ipc::print_line("B: TransactNamedPipe, 8 bytes of room: {}, ERROR_MORE_DATA", got.reply);
    expect("TransactNamedPipe", transact(to, "too early", room), ERROR_PIPE_BUSY);
    ipc::print_line("B: TransactNamedPipe with the rest unread: ERROR_PIPE_BUSY");
    got = read_rest(to, room);
    expect("ReadFile", got, ERROR_SUCCESS, "EPLY");
    ipc::print_line("B: ReadFile, the rest: {}", got.reply);
    // ANCHOR_END: more_data

    set_read_mode(to.pipe.get(), PIPE_READMODE_BYTE); // as every client begins
    expect("TransactNamedPipe", transact(to, "unsent", room), ERROR_BAD_PIPE);
    ipc::print_line("B: TransactNamedPipe in byte read mode: ERROR_BAD_PIPE");
    set_read_mode(to.pipe.get(), PIPE_READMODE_MESSAGE);
    ipc::print_line("B: TransactNamedPipe in message read mode: {}", ask(to, "three", "THREE"));
}

// While B itself has the server's only instance.
void show_busy(const std::wstring& name) {
    const ipc::unique_handle second = open_pipe(name);
    const DWORD error = second ? ERROR_SUCCESS : GetLastError();
    expect("CreateFileW", {error, {}}, ERROR_PIPE_BUSY);
    ipc::print_line("B: CreateFileW for a second connection: ERROR_PIPE_BUSY");
    const std::pair<DWORD, const char*> waits[] = {{NMPWAIT_NOWAIT, "NMPWAIT_NOWAIT"},
                                                   {100 /* ms */, "a wait of 100 ms"}};
    for (const auto& [wait_ms, text] : waits) {
        outcome got;
        {
            const call_limit limit(answer_limit_ms); // should another instance come from somewhere
            got = call(name, "unsent", room, wait_ms);
        }
        expect("CallNamedPipeW", got, no_free_instance(got.error) ? got.error : ERROR_PIPE_BUSY);
        ipc::print_line("B: CallNamedPipeW with {}: no free instance", text);
    }
}

void show_calls(const std::wstring& name) {
    for (const auto& [request, reply] : {std::pair{"four", "FOUR"}, std::pair{"five", "FIVE"}}) {
        ipc::print_line("B: CallNamedPipeW: {}", ask(name, request, reply));
    }
    const outcome got = call_within_limit(name, "a long reply", small_room);
    expect("CallNamedPipeW", got, ERROR_MORE_DATA, "A LONG R");
    ipc::print_line("B: CallNamedPipeW, 8 bytes of room: {}, ERROR_MORE_DATA, the rest is lost",
                    got.reply);
}

template <typename Ask> std::uint64_t nanoseconds_each(std::uint64_t times, Ask ask_once) {
    std::uint64_t asked = 0;
    const auto start = std::chrono::steady_clock::now();
    do {
        ask_once();
    } while (++asked < times);
    const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - start;
    return static_cast<std::uint64_t>(took.count()) / asked;
}

void measure(const std::wstring& name, std::uint64_t times) {
    const std::string request(64, 'x');
    const std::string reply(64, 'X');
    connection to = connect(name);
    const std::uint64_t kept_ns = nanoseconds_each(times, [&] { ask(to, request, reply); });
    to.pipe.reset(); // or the calls would wait for it
    std::uint64_t call_ns = 0;
    {
        const call_limit limit(measure_limit_ms); // one for all: it has a cost of its own
        call_ns = nanoseconds_each(times, [&] {
            expect("CallNamedPipeW", call_when_free(name, request, room), ERROR_SUCCESS, reply);
        });
    }
    ipc::print_line("B: {} requests of 64 bytes each way", times);
    ipc::print_line("B: TransactNamedPipe on a kept connection: {} us each", kept_ns / 1000);
    ipc::print_line("B: CallNamedPipeW: {} us each, {}.{} times as much", call_ns / 1000,
                    call_ns / kept_ns, call_ns * 10 / kept_ns % 10);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t times = 0;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--time", &times}, {L"--name", &suffix}});
    if (times > 10'000) {
        throw ipc::usage_error("--time needs at most 10000; usage: processB --time N");
    }
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    if (times > 0) {
        measure(name, times);
        return 0;
    }
    {
        const connection to = connect(name);
        show_kept_connection(to);
        show_busy(name);
    } // leaves: now the server can take the next client
    show_calls(name);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
