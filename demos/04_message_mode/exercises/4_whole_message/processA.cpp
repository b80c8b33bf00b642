// Exercise 04.4: A receives messages of any length up to a limit. Write read_message.
//
// A answers each message with its length, or with 0 if the message is longer than the limit.
//
// Run: processA [--max BYTES] [--out FILE] [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processA [--max BYTES] [--out FILE] [--name SUFFIX]";
constexpr DWORD pipe_bytes = 16 * 1024;

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1 /* instance */, pipe_bytes, pipe_bytes, 0, security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_client(HANDLE pipe) {
    const BOOL done = ConnectNamedPipe(pipe, nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

enum class outcome { received, too_long, client_left };

// Reads one whole message.
//   received      `message` is the message, which may be empty
//   too_long      the message has more than max_bytes bytes. It is read to its end, so that the next call reads the
//                 next message. A never holds much more than max_bytes bytes of it in memory.
//   client_left   no message is left, and the client has closed its end
// Throws win32_error for any other failure.
outcome read_message([[maybe_unused]] HANDLE pipe, [[maybe_unused]] std::uint64_t max_bytes,
                     std::string& message) {
    message.clear();
    // TODO: read parts of the message until it is complete. Which results of ReadFile are there?
    return outcome::client_left;
}

// Reads the first message: how many others follow.
std::uint64_t read_announcement(HANDLE pipe) {
    std::uint64_t announced = 0;
    DWORD bytes = 0;
    if (!ReadFile(pipe, &announced, sizeof announced, &bytes, nullptr)) {
        ipc::throw_last_error("ReadFile");
    }
    return announced;
}

void send_answer(HANDLE pipe, std::uint64_t answer) {
    DWORD written = 0;
    if (!WriteFile(pipe, &answer, sizeof answer, &written, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t max_bytes = protocol::max_message_bytes;
    std::wstring out;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--max", &max_bytes}, {L"--out", &out}, {L"--name", &suffix}});
    std::optional<ipc::byte_sink> file;
    if (!out.empty()) {
        file.emplace(out, "");
    }
    const auto pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    wait_for_client(pipe.get());
    const std::uint64_t announced = read_announcement(pipe.get());
    std::string message;
    std::uint64_t number = 0;
    for (;;) {
        const outcome result = read_message(pipe.get(), max_bytes, message);
        if (result == outcome::client_left) {
            break;
        }
        ++number;
        if (result == outcome::too_long) {
            ipc::print_line("A: message {}: too long", number);
            send_answer(pipe.get(), 0);
            continue;
        }
        ipc::print_line("A: message {}: {} bytes", number, message.size());
        if (file) {
            file->write(message + "\n");
        }
        send_answer(pipe.get(), message.size());
    }
    if (number != announced) {
        throw std::runtime_error(ipc::fill("the client left after {} of {} messages",
                                           {std::to_string(number), std::to_string(announced)}));
    }
    ipc::print_line("A: the client has sent everything and left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
