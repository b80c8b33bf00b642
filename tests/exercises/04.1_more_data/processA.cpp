// SOLUTION: ReadFile fails with ERROR_MORE_DATA if the message is longer than the buffer. The buffer then holds the
// first part of the message, and the next read returns the next part. So this is a failure in name only.
// STARTER
//~ // Exercise 04.1: A receives short messages and fails at the first long one. Mend it.
// END
//
// A receives messages and answers each with its length.
//
// Run: processA [--out FILE] [--name SUFFIX], and the pair's processB

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
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processA [--out FILE] [--name SUFFIX]";
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

// Reads one whole message. Returns false if the client has left.
bool read_message(HANDLE pipe, std::string& message) {
    message.clear();
    char buffer[4096];
    DWORD bytes = 0;
    // SOLUTION: ERROR_MORE_DATA means that this read was good and that the message goes on.
    for (;;) {
        const BOOL done = ReadFile(pipe, buffer, sizeof buffer, &bytes, nullptr);
        const DWORD error = done ? ERROR_SUCCESS : GetLastError();
        if (ipc::is_disconnected(error)) {
            return false;
        }
        if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
            ipc::throw_error("ReadFile", error);
        }
        message.append(buffer, bytes);
        if (error == ERROR_SUCCESS) {
            return true;
        }
        if (message.size() > protocol::max_message_bytes) {
            throw std::runtime_error("a message is too long");
        }
    }
    // STARTER
    //~ if (!ReadFile(pipe, buffer, sizeof buffer, &bytes, nullptr)) {
    //~     const DWORD error = GetLastError();
    //~     if (ipc::is_disconnected(error)) {
    //~         return false;
    //~     }
    //~     ipc::throw_error("ReadFile", error);
    //~ }
    //~ message.append(buffer, bytes);
    //~ return true;
    // END
}

void send_answer(HANDLE pipe, std::uint64_t answer) {
    DWORD written = 0;
    if (!WriteFile(pipe, &answer, sizeof answer, &written, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring out;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--out", &out}, {L"--name", &suffix}});
    std::optional<ipc::byte_sink> file;
    if (!out.empty()) {
        file.emplace(out, "");
    }
    const auto pipe = create_pipe(ipc::object_name(protocol::pipe_name, suffix));
    wait_for_client(pipe.get());
    std::string message;
    std::uint64_t announced = 0; // the first message: how many others follow
    if (!read_message(pipe.get(), message) || message.size() != sizeof announced) {
        throw std::runtime_error("the client has not announced the number of its messages");
    }
    std::memcpy(&announced, message.data(), sizeof announced);
    std::uint64_t number = 0;
    while (read_message(pipe.get(), message)) {
        ++number;
        ipc::print_line("A: message {}: {} bytes", number, message.size());
        if (file) {
            file->write(message + "\n");
        }
        send_answer(pipe.get(), message.size());
    }
    if (number != announced) {
        throw std::runtime_error("the client left before it had sent everything");
    }
    ipc::print_line("A: the client has sent everything and left");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
