// Exercise 04.3: the client sometimes does not get A's last answer. Mend A.
//
// A receives as many messages as the client has announced, answers each with its length, and ends.
//
// Run: processA [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
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

// Reads one message into the buffer, which is long enough for every message that A accepts, and returns its length.
DWORD read_message(HANDLE pipe, std::vector<char>& buffer) {
    DWORD bytes = 0;
    if (!ReadFile(pipe, buffer.data(), static_cast<DWORD>(buffer.size()), &bytes, nullptr)) {
        const DWORD error = GetLastError();
        if (ipc::is_disconnected(error)) {
            throw std::runtime_error("the client left before it had sent everything");
        }
        ipc::throw_error("ReadFile", error);
    }
    return bytes;
}

void send_answer(HANDLE pipe, std::uint64_t answer) {
    DWORD written = 0;
    if (!WriteFile(pipe, &answer, sizeof answer, &written, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
}

void serve_client(HANDLE pipe) {
    std::vector<char> buffer(static_cast<std::size_t>(protocol::max_message_bytes));
    std::uint64_t announced = 0; // the first message: how many others follow
    if (read_message(pipe, buffer) != sizeof announced) {
        throw std::runtime_error("the client has not announced the number of its messages");
    }
    std::memcpy(&announced, buffer.data(), sizeof announced);
    for (std::uint64_t number = 1; number <= announced; ++number) {
        const DWORD bytes = read_message(pipe, buffer);
        ipc::print_line("A: message {}: {} bytes", number, bytes);
        send_answer(pipe, bytes);
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    ipc::unique_handle pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    wait_for_client(pipe.get());
    serve_client(pipe.get());
    if (!DisconnectNamedPipe(pipe.get())) {
        ipc::throw_last_error("DisconnectNamedPipe");
    }
    pipe.reset();
    ipc::print_line("A: every message is answered");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
