// SOLUTION: a byte pipe has no messages. A read returns what the pipe holds at that moment: a part of a write, or
// several writes, and at most as many bytes as asked for. So A reads until it has everything.
// STARTER
//~ // Exercise 03.3: A gets a short text back, and only a part of a long one. Mend it.
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

// Receives the answer, which has as many bytes as the text, and closes the pipe.
std::string receive_answer(ipc::unique_handle inbound, std::size_t bytes) {
    // SOLUTION: one read after the other, until B closes its pipe or has sent too much.
    std::string answer;
    std::vector<char> buffer(buffer_bytes);
    DWORD received = 0;
    while (answer.size() <= bytes &&
           ReadFile(inbound.get(), buffer.data(), buffer_bytes, &received, nullptr)) {
        answer.append(buffer.data(), received);
    }
    const DWORD error = GetLastError();
    if (answer.size() <= bytes && !ipc::is_disconnected(error)) {
        ipc::throw_error("ReadFile", error);
    }
    return answer;
    // STARTER
    //~ std::string answer(bytes, '\0');
    //~ DWORD received = 0;
    //~ if (!ReadFile(inbound.get(), answer.data(), static_cast<DWORD>(bytes), &received, nullptr)) {
    //~     ipc::throw_last_error("ReadFile");
    //~ }
    //~ answer.resize(received);
    //~ return answer;
    // END
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
    auto inbound = create_pipe(ipc::object_name(b_to_a_name, suffix), PIPE_ACCESS_INBOUND);
    wait_for_client(outbound.get());
    wait_for_client(inbound.get());
    ipc::print_line("A: both pipes are open");
    // A sends on another thread, so that both pipes can be full at the same time.
    std::exception_ptr failure;
    std::jthread sender([&] {
        try {
            send_text(std::move(outbound), text);
        } catch (...) {
            failure = std::current_exception();
        }
    });
    const std::string answer = receive_answer(std::move(inbound), text.size());
    if (answer.size() != text.size()) {
        throw std::runtime_error("what came back is not as long as what was sent");
    }
    sender.join();
    if (failure) {
        std::rethrow_exception(failure);
    }
    ipc::byte_sink output(out, "A: | ");
    output.write(answer);
    output.finish();
    ipc::print_line("A: {} bytes came back", answer.size());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
