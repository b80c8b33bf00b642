// Demo 07, process B: a client that sends requests and prints the replies.
//
// B connects to the pipe of process A and sends its requests, one after the other: its arguments,
// or the lines of a file. A blocking ReadFile has no time limit, so B makes overlapped calls and
// waits for each of them with a limit.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the pipe's name, as with processA";
constexpr ipc::time_limit default_limit{10'000};

[[noreturn]] void throw_failure(const char* call, DWORD error) {
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("the server did not answer in time");
    }
    if (error == ERROR_MORE_DATA) {
        throw std::runtime_error("the reply is longer than the protocol allows");
    }
    if (ipc::is_disconnected(error)) {
        throw std::runtime_error("the server closed the connection");
    }
    ipc::throw_error(call, error);
}

// Sends one request and returns the reply, which is in the buffer.
std::string_view ask(HANDLE pipe, std::string_view request, std::span<char> buffer,
                     DWORD limit_ms) {
    if (request.size() > protocol::max_message_bytes) {
        throw std::runtime_error("a request is longer than the protocol allows");
    }
    ipc::overlapped_call call(pipe);
    const auto request_bytes = static_cast<DWORD>(request.size());
    BOOL done = WriteFile(pipe, request.data(), request_bytes, nullptr, call.get());
    const ipc::call_result write = call.wait(done, limit_ms);
    if (write.error != ERROR_SUCCESS) {
        throw_failure("WriteFile", write.error);
    }
    const auto buffer_bytes = static_cast<DWORD>(buffer.size());
    done = ReadFile(pipe, buffer.data(), buffer_bytes, nullptr, call.get());
    const ipc::call_result read = call.wait(done, limit_ms);
    if (read.error != ERROR_SUCCESS) {
        throw_failure("ReadFile", read.error);
    }
    return {buffer.data(), read.bytes};
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring suffix;
    ipc::time_limit limit = default_limit;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &in}, {L"--limit", &limit}, {L"--name", &suffix}}, &requests);
    if (!in.empty() && !requests.empty()) {
        throw ipc::usage_error("--in or REQUEST, not both; usage: processB --in FILE");
    }
    if (in.empty() && requests.empty()) {
        requests = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    std::ifstream file;
    if (!in.empty()) {
        file.open(std::filesystem::path(in), std::ios::binary);
        if (!file) {
            throw std::runtime_error("cannot open " + ipc::to_utf8(in));
        }
    }
    const ipc::unique_handle pipe =
        ipc::connect_to_pipe(ipc::object_name(protocol::pipe_name, suffix),
                             GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit.ms);
    DWORD mode = PIPE_READMODE_MESSAGE; // a client's handle starts in byte read mode
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        throw_failure("SetNamedPipeHandleState", GetLastError());
    }
    std::vector<char> buffer(protocol::max_message_bytes);
    ipc::byte_sink screen(L"", "B: ");
    const auto show_reply = [&](std::string_view request) {
        screen.write(ask(pipe.get(), request, buffer, limit.ms));
        screen.write("\n");
    };
    for (const std::wstring& request : requests) {
        show_reply(ipc::to_utf8(request));
    }
    for (std::string line; std::getline(file, line);) {
        show_reply(line);
    }
    if (file.bad()) {
        throw std::runtime_error("cannot read " + ipc::to_utf8(in));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
