// SOLUTION: a client may open a pipe as soon as the pipe exists. ConnectNamedPipe then fails although the client is
// there: ERROR_PIPE_CONNECTED if the client is waiting, ERROR_NO_DATA if it has closed its end again. In both
// cases the server can read what the client has written.
// STARTER
//~ // Exercise 03.2: A ends with an error although B has done everything right. Mend it.
// END
//
// A sends a short text through one pipe. When B has read it, A takes the answer from the other pipe.
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

#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr std::string_view text = "who was here first?";

ipc::unique_handle create_pipe(const std::wstring& name, DWORD direction) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), direction | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1 /* instance */, buffer_bytes, buffer_bytes, 0, security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

// Waits until a client has opened the pipe.
void wait_for_client(HANDLE pipe) {
    // SOLUTION: two error codes mean that there is, or was, a client.
    const BOOL done = ConnectNamedPipe(pipe, nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
    // STARTER
    //~ if (!ConnectNamedPipe(pipe, nullptr)) {
    //~     ipc::throw_last_error("ConnectNamedPipe");
    //~ }
    // END
}

// Sends the length and the text, and waits until B has read them.
void send_text(HANDLE outbound) {
    const stream_length length = text.size();
    DWORD written = 0;
    if (!WriteFile(outbound, &length, sizeof length, &written, nullptr) ||
        !WriteFile(outbound, text.data(), static_cast<DWORD>(text.size()), &written, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
    if (!FlushFileBuffers(outbound)) {
        ipc::throw_last_error("FlushFileBuffers");
    }
}

// Receives until B closes its pipe.
std::string receive_answer(HANDLE inbound) {
    std::string answer;
    char buffer[1024];
    DWORD received = 0;
    while (ReadFile(inbound, buffer, sizeof buffer, &received, nullptr)) {
        answer.append(buffer, received);
    }
    const DWORD error = GetLastError();
    if (!ipc::is_disconnected(error)) {
        ipc::throw_error("ReadFile", error);
    }
    return answer;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    auto outbound = create_pipe(ipc::object_name(a_to_b_name, suffix), PIPE_ACCESS_OUTBOUND);
    const auto inbound = create_pipe(ipc::object_name(b_to_a_name, suffix), PIPE_ACCESS_INBOUND);
    wait_for_client(outbound.get());
    send_text(outbound.get());
    outbound.reset(); // the end of the stream for B
    ipc::print_line("A: B has read the text");
    wait_for_client(inbound.get());
    const std::string answer = receive_answer(inbound.get());
    if (answer.size() != text.size()) {
        throw std::runtime_error("B has ended before everything had come back");
    }
    ipc::print_line("A: {}", answer);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
