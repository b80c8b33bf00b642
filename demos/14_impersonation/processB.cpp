// Demo 14, process B: a client that says how far the server may act for it.
//
// B asks the server for each file, on one connection, and shows the content or why the server has
// refused. --sqos is the security quality of service: what the server may do as B.
//
// Run: processB [--sqos LEVEL] [--limit SECONDS] [--name SUFFIX] FILE [FILE ...]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--sqos LEVEL] [--limit SECONDS] [--name SUFFIX] FILE [FILE ...]\n"
    "  --sqos LEVEL     anonymous, identification, impersonation (default) or delegation: how far\n"
    "                   the server may act as this program; none: say nothing about it\n"
    "  --limit SECONDS  how long to wait for the server, and for a reply (default: 10; 0: no "
    "limit)\n"
    "  --name SUFFIX    appended to the pipe's name, as with processA";
// GENERIC_WRITE would also ask for the right to create instances, which a server keeps for itself.
constexpr DWORD pipe_access = GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;
constexpr DWORD poll_ms = 20;

// This demo does not check whose server has the name: README, Watch out.
// ANCHOR: levels
struct sqos_flags {
    std::wstring_view name;
    DWORD flags; // for CreateFileW
};
constexpr sqos_flags levels[] = {
    {L"anonymous", SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS},           // not even know who it is
    {L"identification", SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION}, // know it
    {L"impersonation", SECURITY_SQOS_PRESENT | SECURITY_IMPERSONATION},   // act as it, here
    {L"delegation", SECURITY_SQOS_PRESENT | SECURITY_DELEGATION}, // for a local client no more
    {L"none", 0}, // as impersonation: that is the default
};
// ANCHOR_END: levels

ipc::unique_handle connect(const std::wstring& name, DWORD sqos, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    for (;;) {
        ipc::unique_handle pipe(CreateFileW(name.c_str(), pipe_access, 0 /* not shared */, nullptr,
                                            OPEN_EXISTING, FILE_FLAG_OVERLAPPED | sqos, nullptr));
        if (pipe) {
            return pipe;
        }
        const DWORD error = GetLastError();
        if (error != ERROR_FILE_NOT_FOUND && error != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", error);
        }
        if (end.is_over()) {
            throw std::runtime_error(error == ERROR_PIPE_BUSY
                                         ? "the server is busy with other clients"
                                         : "there is no server: start processA first");
        }
        Sleep(poll_ms); // Windows cannot notify a client of a new pipe name
    }
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

// Sends the path and returns the reply: a header and the content.
std::vector<char> ask(HANDLE pipe, const std::wstring& path, DWORD limit_ms) {
    std::vector<char> reply(sizeof(protocol::reply_header) + protocol::max_content_bytes);
    ipc::overlapped_call call(pipe);
    BOOL done = WriteFile(pipe, path.data(), static_cast<DWORD>(path.size() * sizeof(wchar_t)),
                          nullptr, call.get());
    check("WriteFile", call.wait(done, limit_ms).error);
    done = ReadFile(pipe, reply.data(), static_cast<DWORD>(reply.size()), nullptr, call.get());
    const auto [error, bytes] = call.wait(done, limit_ms);
    if (error == ERROR_MORE_DATA || (error == ERROR_SUCCESS && bytes < sizeof(DWORD))) {
        throw std::runtime_error("what the server sent is not a reply");
    }
    check("ReadFile", error);
    reply.resize(bytes);
    return reply;
}

void show_file(HANDLE pipe, const std::wstring& file, DWORD limit_ms) {
    const std::filesystem::path path = std::filesystem::absolute(file);
    const std::vector<char> reply = ask(pipe, path.wstring(), limit_ms);
    protocol::reply_header header{};
    std::memcpy(&header, reply.data(), sizeof header);
    const std::string_view content(reply.data() + sizeof header, reply.size() - sizeof header);
    ipc::print_line("B: {}: {}", path.filename().wstring(),
                    header.error == ERROR_SUCCESS
                        ? std::to_string(content.size()) + " bytes"
                        : "refused, " + protocol::error_name(header.error));
    ipc::line_splitter lines([](std::string_view line) { ipc::print_line("B: | {}", line); });
    lines.write(content);
    lines.finish();
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring level = L"impersonation";
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    std::vector<std::wstring> files;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--sqos", &level}, {L"--limit", &limit}, {L"--name", &suffix}}, &files);
    const auto* const chosen = std::ranges::find(levels, level, &sqos_flags::name);
    if (chosen == std::end(levels) || files.empty()) {
        throw ipc::usage_error("no such LEVEL, or no FILE; usage: processB --sqos LEVEL FILE");
    }
    const ipc::unique_handle pipe =
        connect(ipc::object_name(protocol::pipe_name, suffix), chosen->flags, limit.ms);
    DWORD mode = PIPE_READMODE_MESSAGE; // a client starts in byte read mode
    if (!SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
    for (const std::wstring& file : files) {
        show_file(pipe.get(), file, limit.ms);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
