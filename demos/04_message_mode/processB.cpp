// Demo 04, process B: sends messages, each with one WriteFile, and reads A's answer to each.
//
// Without options B sends a short message, an empty one, one exactly as long as A's first read, a
// longer one, and one of 1 MiB. With --in FILE it sends each line of the file as one message.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "messages.hpp"
#include "protocol.hpp"

#include <stdexcept>
#include <string>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --in FILE        send each line of FILE as one message\n"
    "  --limit SECONDS  how long to wait for the server (default: 10; 0: no limit)\n"
    "  --name SUFFIX    use another pipe, so that several pairs can run at once";

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0;
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

ipc::unique_handle connect(const std::wstring& name, DWORD limit_ms) {
    ipc::unique_handle pipe =
        ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit_ms);
    // ANCHOR: read_mode
    // The server chooses the type of the pipe, and each end its own read mode. A client starts in
    // byte read mode, in which one ReadFile returns two answers if both are in the pipe.
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    // ANCHOR_END: read_mode
    return pipe;
}

void check(const char* call, DWORD error) {
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error(std::string("the server is too slow for ") + call);
    }
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("the server closed the connection");
    }
    if (error != ERROR_SUCCESS) {
        ipc::throw_error(call, error);
    }
}

void send_message(connection& server, const void* content, std::size_t bytes) {
    // ANCHOR: send_message
    // One WriteFile is one message, also with 0 bytes.
    const BOOL done = WriteFile(server.pipe.get(), content, static_cast<DWORD>(bytes), nullptr,
                                server.call.get());
    // ANCHOR_END: send_message
    check("WriteFile", server.call.wait(done, server.limit_ms).error);
}

std::uint64_t read_answer(connection& server) {
    std::uint64_t answer = 0;
    const BOOL done =
        ReadFile(server.pipe.get(), &answer, sizeof answer, nullptr, server.call.get());
    const auto [error, bytes] = server.call.wait(done, server.limit_ms);
    if (error == ERROR_MORE_DATA || (error == ERROR_SUCCESS && bytes != sizeof answer)) {
        throw std::runtime_error("what the server sent is not an answer");
    }
    check("ReadFile", error);
    return answer;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--limit", &limit}, {L"--name", &suffix}});
    const std::string built_in = "hello\n\n" + std::string(4096, 'x') + '\n' +
                                 std::string(10'000, 'y') + '\n' + std::string(1024 * 1024, 'z');
    message_source messages(in, built_in); // open before the count: the file cannot change now
    std::string message;
    std::uint64_t announced = 0;
    for (message_source counted(in, built_in); counted.read(message);) {
        ++announced;
    }
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    connection server{connect(name, limit.ms), limit.ms};
    send_message(server, &announced, sizeof announced);
    std::uint64_t received = 0;
    for (std::uint64_t number = 1; messages.read(message); ++number) {
        send_message(server, message.data(), message.size());
        const std::uint64_t answer = read_answer(server);
        received += answer == message.size() ? 1 : 0;
        if (answer != message.size() || number <= protocol::printed_messages) {
            ipc::print_line("B: message {}: {} bytes sent, {} received", number, message.size(),
                            answer);
        }
    }
    if (received != announced) {
        throw std::runtime_error(std::to_string(announced - received) +
                                 " messages were not received");
    }
    ipc::print_line("B: all {} messages were received", announced);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
