// SOLUTION: a pipe holds only a limited number of bytes. When both pipes are full, B waits in WriteFile until A
// reads, and A would wait in WriteFile until B reads. So A reads while it writes, on two threads.
// STARTER
//~ // Exercise 03.1: A works with a short text and hangs with a long one. Mend it.
// END
//
// A sends a text to B through one pipe and receives it in upper case through the other.
//
// Run: processA [--in FILE] [--out FILE] [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr auto usage = "processA [--in FILE] [--out FILE] [--name SUFFIX]";

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

void wait_for_client(HANDLE pipe) {
    const BOOL done = ConnectNamedPipe(pipe, nullptr);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

std::string read_input(const std::wstring& path) {
    ipc::byte_source input(path, "a short text\n");
    std::string text(static_cast<std::size_t>(input.length()), '\0');
    input.read(text);
    return text;
}

// Sends the length and the text, and closes the pipe: that is the end of the stream for B.
void send_text(ipc::unique_handle outbound, const std::string& text) {
    const stream_length length = text.size();
    DWORD written = 0;
    if (!WriteFile(outbound.get(), &length, sizeof length, &written, nullptr) ||
        !WriteFile(outbound.get(), text.data(), static_cast<DWORD>(text.size()), &written,
                   nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
}

// Receives until B closes its pipe.
std::string receive_answer(HANDLE inbound) {
    std::string answer;
    std::vector<char> buffer(buffer_bytes);
    DWORD received = 0;
    while (ReadFile(inbound, buffer.data(), buffer_bytes, &received, nullptr)) {
        answer.append(buffer.data(), received);
    }
    const DWORD error = GetLastError();
    if (!ipc::is_disconnected(error)) {
        ipc::throw_error("ReadFile", error);
    }
    return answer;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--out", &out}, {L"--name", &suffix}});
    const std::string text = read_input(in);
    auto outbound = create_pipe(ipc::object_name(a_to_b_name, suffix), PIPE_ACCESS_OUTBOUND);
    const auto inbound = create_pipe(ipc::object_name(b_to_a_name, suffix), PIPE_ACCESS_INBOUND);
    wait_for_client(outbound.get());
    wait_for_client(inbound.get());
    ipc::print_line("A: both pipes are open");
    // SOLUTION: one thread sends, this one receives, and neither waits for the other.
    std::exception_ptr failure;
    std::jthread sender([&] {
        try {
            send_text(std::move(outbound), text);
        } catch (...) {
            failure = std::current_exception();
        }
    });
    const std::string answer = receive_answer(inbound.get());
    sender.join();
    if (failure) {
        std::rethrow_exception(failure);
    }
    // STARTER
    //~ send_text(std::move(outbound), text);
    //~ const std::string answer = receive_answer(inbound.get());
    // END
    if (answer.size() != text.size()) {
        throw std::runtime_error("B has ended before everything had come back");
    }
    ipc::byte_sink output(out, "A: | ");
    output.write(answer);
    output.finish();
    ipc::print_line("A: {} bytes came back", answer.size());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
