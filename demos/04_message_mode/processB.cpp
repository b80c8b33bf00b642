// Demo 04, process B: sends messages, each with one WriteFile, and reads A's answer to each.
//
// Without options: a short message, an empty one, one exactly as long as A's buffer, a longer one,
// and one of 1 MiB. With --in FILE each line is a message, of any bytes but the line break. With
// --byte B writes everything first and reads one answer: without boundaries there is nothing that
// an answer could belong to.
//
// Run: processB [--byte] [--in FILE] [--name SUFFIX]

#include "byte_mode.hpp"
#include "common/arguments.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "files.hpp"
#include "pipe_end.hpp"
#include "protocol.hpp"

namespace {

using namespace message_mode;

constexpr auto usage = "processB [--byte] [--in FILE] [--name SUFFIX]\n"
                       "  --byte         use a byte-type pipe (processA needs --byte too)\n"
                       "  --in FILE      send each line of FILE as one message\n"
                       "  --name SUFFIX  use another pipe, so that several pairs can run at once";
constexpr DWORD connect_limit_ms = 10'000;

ipc::unique_handle connect(const std::wstring& name) {
    const ULONGLONG limit = GetTickCount64() + connect_limit_ms;
    for (;;) {
        ipc::unique_handle pipe(CreateFileW(
            name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
        if (pipe) {
            return pipe;
        }
        const DWORD code = GetLastError();
        if (code != ERROR_FILE_NOT_FOUND && code != ERROR_PIPE_BUSY) {
            ipc::throw_error("CreateFileW", code);
        }
        const ULONGLONG now = GetTickCount64();
        if (now >= limit) {
            throw std::runtime_error(code == ERROR_PIPE_BUSY
                                         ? "the server at " + ipc::to_utf8(name) + " is busy"
                                         : "no server at " + ipc::to_utf8(name) +
                                               ": start processA first");
        }
        if (code == ERROR_PIPE_BUSY) { // whatever comes of it, CreateFileW decides
            WaitNamedPipeW(name.c_str(), static_cast<DWORD>(limit - now));
        } else {
            Sleep(20); // nothing that could be waited for announces the creation of a pipe
        }
    }
}

// ANCHOR: read_mode
// The type of the pipe is the server's choice; how to read is each end's own. A client begins with
// bytes, and would get two answers in one read if both were there.
void read_as_messages(HANDLE pipe) {
    DWORD mode = PIPE_READMODE_MESSAGE;
    if (!SetNamedPipeHandleState(pipe, &mode, nullptr, nullptr)) {
        ipc::throw_last_error("SetNamedPipeHandleState");
    }
}
// ANCHOR_END: read_mode

void check_type(HANDLE pipe, bool byte) {
    DWORD flags = 0;
    if (!GetNamedPipeInfo(pipe, &flags, nullptr, nullptr, nullptr)) {
        ipc::throw_last_error("GetNamedPipeInfo");
    }
    if (byte == ((flags & PIPE_TYPE_MESSAGE) != 0)) {
        throw std::runtime_error("the server's pipe is of the other type: give --byte to both "
                                 "processes, or to none");
    }
}

void send(pipe_end& end, const void* bytes, std::size_t size) {
    const BOOL done =
        WriteFile(end.pipe.get(), bytes, static_cast<DWORD>(size), nullptr, start(end));
    check(finish(end, done, "WriteFile").first, "WriteFile");
}

answer read_answer(pipe_end& end) {
    answer received{};
    const BOOL done = ReadFile(end.pipe.get(), &received, sizeof received, nullptr, start(end));
    const auto [code, size] = finish(end, done, "ReadFile");
    check(code, "ReadFile");
    const bool known = received.status == verdict::received || received.status == verdict::too_long;
    if (code == ERROR_MORE_DATA || size != sizeof received || !known) {
        throw std::runtime_error("what the server sent is not an answer");
    }
    return received;
}

// Returns how many messages were refused.
std::uint64_t send_messages(pipe_end& end, std::istream& lines, const announcement& all) {
    send(end, &all, sizeof all);
    std::string line;
    std::uint64_t number = 0;
    std::uint64_t refused = 0;
    while (number < all.messages && std::getline(lines, line)) {
        ++number;
        send(end, line.data(), line.size()); // one write: one message, even if it has 0 bytes
        const answer received = read_answer(end);
        if (received.bytes != line.size()) {
            throw std::runtime_error("message " + std::to_string(number) + " arrived with " +
                                     std::to_string(received.bytes) + " bytes");
        }
        if (received.status != verdict::received) {
            ++refused;
            ipc::print_error_line("B: message {}: {} bytes, refused: more than {}", number,
                                  line.size(), max_message_bytes);
        } else if (number <= shown_messages) {
            ipc::print_line("B: message {}: {} bytes sent, A counts {}", number, line.size(),
                            received.bytes);
        }
    }
    if (number < all.messages) {
        throw std::runtime_error("the file changed while it was being sent");
    }
    return refused;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool byte = false;
    std::wstring in;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--byte", &byte}, {L"--in", &in}, {L"--name", &suffix}});
    const std::unique_ptr<std::istream> lines = open_messages(in);
    const announcement all = survey(*lines);
    pipe_end end;
    end.pipe = connect(ipc::object_name(pipe_name, suffix));
    check_type(end.pipe.get(), byte);
    if (byte) {
        const auto written = written_event(suffix);
        send_bytes(end, *lines, all, written.get());
        return 0;
    }
    read_as_messages(end.pipe.get());
    const std::uint64_t refused = send_messages(end, *lines, all);
    ipc::print_line("B: {} of {} messages were received", all.messages - refused, all.messages);
    return refused == 0 ? 0 : 1;
} catch (...) {
    return ipc::report_exception("B");
}
