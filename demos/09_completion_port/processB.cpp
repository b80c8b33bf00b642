// Demo 09, process B: a client that sends requests and prints the replies.
//
// B connects to the pipe of process A, or of another server with the same protocol, and sends one
// request after the other: its arguments, or the lines of a file. Its reads and writes are
// overlapped too: so their wait has a limit, which a blocking ReadFile cannot have.
//
// Run: processB [--in FILE] [--out FILE] [--pipe NAME] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--out FILE] [--pipe NAME] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE      send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --out FILE     write each reply and a line feed to FILE instead of printing it\n"
    "  --pipe NAME    the server's pipe (default: that of processA beside this program)\n"
    "  --name SUFFIX  appended to the pipe's name, as with processA";
constexpr ULONGLONG connect_limit_ms = 10'000;
constexpr DWORD retry_ms = 20;
constexpr DWORD answer_limit_ms = 20'000; // for the server to take a request, and to reply
constexpr DWORD longest_line = 2 * protocol::max_message_bytes; // too long: A will say so

ipc::unique_handle connect(const std::wstring& name) {
    const ULONGLONG end_ms = GetTickCount64() + connect_limit_ms;
    for (;;) {
        ipc::unique_handle pipe(CreateFileW(
            name.c_str(), GENERIC_READ | GENERIC_WRITE, 0 /* not shared */, nullptr, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
        const ULONGLONG now_ms = GetTickCount64();
        if (error == ERROR_SUCCESS) {
            DWORD mode = PIPE_READMODE_MESSAGE; // a client begins in byte read mode
            if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
                ipc::throw_last_error("SetNamedPipeHandleState");
            }
            return pipe;
        }
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", error);
        } else if (now_ms >= end_ms) {
            const char* why = error == ERROR_PIPE_BUSY ? "the server has no free instance: "
                                                       : "no server, start processA first: ";
            throw std::runtime_error(why + ipc::to_utf8(name));
        } else if (error == ERROR_FILE_NOT_FOUND) {
            Sleep(retry_ms); // there is nothing to wait for that tells of a new pipe name
        } else { // all instances are busy; whether one was free in time, CreateFileW will tell
            WaitNamedPipeW(name.c_str(), static_cast<DWORD>(end_ms - now_ms));
        }
    }
}

// Waits for what WriteFile or ReadFile has begun; returns the bytes.
DWORD finish(HANDLE pipe, OVERLAPPED& operation, const char* call, BOOL done) {
    DWORD error = done ? ERROR_SUCCESS : GetLastError();
    DWORD bytes = 0;
    if (error == ERROR_SUCCESS || error == ERROR_IO_PENDING) {
        done = GetOverlappedResultEx(pipe, &operation, &bytes, answer_limit_ms, FALSE);
        error = done ? ERROR_SUCCESS : GetLastError();
    }
    if (error == WAIT_TIMEOUT) {
        CancelIoEx(pipe, &operation);
        GetOverlappedResult(pipe, &operation, &bytes, TRUE); // until the kernel leaves the buffer
        throw std::runtime_error("the server did not answer in time");
    }
    if (error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA || error == ERROR_PIPE_NOT_CONNECTED) {
        throw std::runtime_error("the server closed the connection");
    }
    if (error != ERROR_SUCCESS) {
        ipc::throw_error(call, error); // ERROR_MORE_DATA too: the reply is longer than allowed
    }
    return bytes;
}

std::string_view ask(HANDLE pipe, std::string_view request, std::span<char> reply) {
    OVERLAPPED operation{}; // no event: with one operation at a time the pipe handle is signalled
    const auto request_bytes = static_cast<DWORD>(request.size());
    const auto reply_bytes = static_cast<DWORD>(reply.size());
    finish(pipe, operation, "WriteFile",
           WriteFile(pipe, request.data(), request_bytes, nullptr, &operation));
    const DWORD bytes = finish(pipe, operation, "ReadFile",
                               ReadFile(pipe, reply.data(), reply_bytes, nullptr, &operation));
    return {reply.data(), bytes};
}

void write_reply(std::ofstream& file, std::string_view reply) {
    if (!file.is_open()) {
        ipc::line_splitter screen([](std::string_view line) { ipc::print_line("B: {}", line); });
        screen.write(reply);
        screen.write("\n");
    } else if (!(file << reply << '\n' << std::flush)) {
        throw std::runtime_error("cannot write the output file");
    }
}

// Bytes after the last line feed are a line, too.
void for_each_line(const std::wstring& path, const std::function<void(std::string_view)>& take) {
    std::ifstream file(std::filesystem::path(path), std::ios::binary);
    std::vector<char> line(longest_line + 1);
    while (file.getline(line.data(), static_cast<std::streamsize>(line.size()))) {
        const auto bytes = static_cast<std::size_t>(file.gcount()) - (file.eof() ? 0 : 1);
        take({line.data(), bytes});
    }
    if (!file.eof()) {
        throw std::runtime_error("cannot read, or has a line over 2 MiB: " + ipc::to_utf8(path));
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    std::wstring pipe_name = protocol::pipe_name;
    std::wstring suffix;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--in", &in}, {L"--out", &out}, {L"--pipe", &pipe_name}, {L"--name", &suffix}},
        &requests);
    if (!in.empty() && !requests.empty()) {
        throw ipc::usage_error("--in or REQUEST, not both; usage: processB --in FILE");
    }
    if (in.empty() && requests.empty()) {
        requests = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    std::ofstream file;
    if (!out.empty() && (file.open(std::filesystem::path(out), std::ios::binary), !file)) {
        throw std::runtime_error("cannot create " + ipc::to_utf8(out));
    }
    const ipc::unique_handle pipe = connect(ipc::object_name(pipe_name, suffix));
    std::vector<char> buffer(protocol::max_message_bytes);
    const auto exchange = [&](std::string_view request) {
        write_reply(file, ask(pipe.get(), request, buffer));
    };
    for (const std::wstring& request : requests) {
        exchange(ipc::to_utf8(request));
    }
    if (!in.empty()) {
        for_each_line(in, exchange);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
