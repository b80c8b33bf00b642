// Demo 18, process B: a client that sends requests and prints the replies.
//
// B reads the port and the nonce of process A from the socket file, connects, and sends the nonce and
// its requests: its arguments, or the lines of a file. A socket that never blocks and WSAPoll give each
// step a limit. At the end B closes its half of the connection and waits until A has closed the other.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "sockets.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --limit SECONDS  how long each wait for the server may last (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the socket file's name, as with processA";
constexpr ipc::time_limit default_limit{10'000};
constexpr DWORD look_again_ms = 10; // for the socket file

// The moment when a limit is over. One deadline serves all calls of a step, so that a server that sends a
// byte now and then does not make the limit start again.
class deadline {
public:
    explicit deadline(ipc::time_limit limit)
        : end_ms_(limit.ms == INFINITE /* --limit 0 */ ? ULLONG_MAX : GetTickCount64() + limit.ms) {
    }

    // In milliseconds, as WSAPoll takes it; -1: no limit.
    int rest_ms() const {
        const ULONGLONG now_ms = GetTickCount64();
        if (end_ms_ == ULLONG_MAX) {
            return -1;
        }
        return now_ms < end_ms_ ? static_cast<int>(end_ms_ - now_ms) : 0;
    }

private:
    ULONGLONG end_ms_;
};

[[noreturn]] void throw_failure(const char* call, int error) {
    if (error == WSAECONNRESET || error == WSAECONNABORTED) {
        throw std::runtime_error("the server reset the connection (" +
                                 std::string(error == WSAECONNRESET ? "WSAECONNRESET, 10054"
                                                                    : "WSAECONNABORTED, 10053") +
                                 ")");
    }
    ipc::throw_error(call, static_cast<DWORD>(error));
}

// ANCHOR: wait
// Call it after a call that failed. Returns when it is worth trying again.
void wait_until_ready(const unique_socket& server, const char* call, SHORT events,
                      const deadline& end) {
    const int error = WSAGetLastError();
    if (error != WSAEWOULDBLOCK) {
        throw_failure(call, error);
    }
    WSAPOLLFD poll{server.get(), events, 0};
    const int ready = WSAPoll(&poll, 1, end.rest_ms());
    if (ready == SOCKET_ERROR) {
        throw_socket_error("WSAPoll");
    }
    if (ready == 0) {
        throw std::runtime_error("the server did not answer in time");
    }
}
// ANCHOR_END: wait

void send_all(const unique_socket& server, std::string_view bytes, const deadline& end) {
    while (!bytes.empty()) {
        const int sent = send(server.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
        if (sent == SOCKET_ERROR) {
            wait_until_ready(server, "send", POLLWRNORM, end);
        } else {
            bytes.remove_prefix(static_cast<std::size_t>(sent)); // it may be a part
        }
    }
}

// Returns 0 when the server sends nothing more.
int receive_some(const unique_socket& server, std::span<char> space, const deadline& end) {
    for (;;) {
        const int received = recv(server.get(), space.data(), static_cast<int>(space.size()), 0);
        if (received != SOCKET_ERROR) {
            return received;
        }
        wait_until_ready(server, "recv", POLLRDNORM, end);
    }
}

// ANCHOR: ask
// Sends one request and returns the reply, which is in the reader.
std::string_view ask(const unique_socket& server, std::string_view request,
                     protocol::message_reader& reader, const deadline& end) {
    if (request.size() > protocol::max_message_bytes) {
        throw std::runtime_error("a request is longer than the protocol allows");
    }
    send_all(server, protocol::with_length(request), end);
    while (!reader.is_complete()) {
        if (reader.is_longer_than(protocol::max_message_bytes)) {
            throw std::runtime_error("the reply is longer than the protocol allows");
        }
        const int received = receive_some(server, reader.free_space(), end);
        if (received == 0) {
            throw std::runtime_error("the server closed the connection");
        }
        reader.add(static_cast<std::size_t>(received));
    }
    return {reader.message().data(), reader.message().size()};
}
// ANCHOR_END: ask

server_address parse_socket_file(std::string_view content) {
    server_address address;
    const std::size_t line_end = content.find('\n');
    unsigned port = 0;
    const auto [end, error] =
        std::from_chars(content.data(), content.data() + content.size(), port);
    if (line_end == std::string_view::npos || error != std::errc() || port == 0 ||
        port > USHRT_MAX || end != content.data() + line_end ||
        content.size() != line_end + 1 + address.nonce.size()) {
        throw std::runtime_error("the socket file does not hold a port, a line break and a nonce");
    }
    address.port = static_cast<u_short>(port);
    std::ranges::copy(content.substr(line_end + 1), address.nonce.begin());
    return address;
}

// Waits until there is a server.
server_address find_server(const std::wstring& path, const deadline& end) {
    for (;;) {
        const ipc::unique_handle file(CreateFileW(
            path.c_str(), GENERIC_READ,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, // as the server does
            nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
        const DWORD error = file ? ERROR_SUCCESS : GetLastError();
        const bool no_file = error == ERROR_FILE_NOT_FOUND;
        const bool too_late = end.rest_ms() == 0;
        if (file) {
            std::array<char, 64> content{}; // more than a correct file has
            DWORD size = 0;
            if (!ReadFile(file.get(), content.data(), static_cast<DWORD>(content.size()), &size,
                          nullptr)) {
                ipc::throw_last_error("ReadFile (socket file)");
            }
            if (size != 0 || too_late) { // or the server has created the file, and will write it
                return parse_socket_file({content.data(), size});
            }
        } else if (!no_file &&
                   (error != ERROR_ACCESS_DENIED || too_late)) { // while it is being deleted
            ipc::throw_error("CreateFileW (socket file)", error);
        } else if (too_late) {
            throw std::runtime_error("no server has made the socket file " + ipc::to_utf8(path) +
                                     ": start processA first");
        }
        Sleep(look_again_ms); // no object tells when a server has written it
    }
}

unique_socket connect_to_server(const server_address& address, const deadline& end) {
    unique_socket server = create_tcp_socket();
    // ANCHOR: no_delay
    // Or TCP may keep a part of a message back until the other end has acknowledged what came before.
    if (!set_option(server.get(), IPPROTO_TCP, TCP_NODELAY, TRUE)) {
        throw_socket_error("setsockopt");
    }
    // ANCHOR_END: no_delay
    u_long never_block = TRUE;
    if (ioctlsocket(server.get(), FIONBIO, &never_block) != 0) {
        throw_socket_error("ioctlsocket");
    }
    const sockaddr_in target = loopback_address(address.port);
    if (connect(server.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
        wait_until_ready(server, "connect", POLLWRNORM, end);
        int error = 0;
        int size = sizeof error;
        if (getsockopt(server.get(), SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error),
                       &size) != 0) {
            throw_socket_error("getsockopt");
        }
        if (error != 0) {
            throw_failure("connect", error);
        }
    }
    send_all(server, protocol::with_length({address.nonce.data(), address.nonce.size()}), end);
    return server;
}

// ANCHOR: leave
// The server answers what it has received, sees the end, and closes its half, too. If B closed the
// socket while bytes for it are on their way, the connection would be reset.
void leave(const unique_socket& server, const protocol::message_reader& reader,
           const deadline& end) {
    if (shutdown(server.get(), SD_SEND) != 0) {
        throw_failure("shutdown", WSAGetLastError());
    }
    std::array<char, 1> nothing{};
    if (!reader.is_empty() || receive_some(server, nothing, end) != 0) {
        throw std::runtime_error("the server sent more than it was asked for");
    }
}
// ANCHOR_END: leave

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
    const winsock library;
    const deadline connected(limit);
    const unique_socket server =
        connect_to_server(find_server(socket_file_path(suffix), connected), connected);
    protocol::message_reader reader;
    ipc::byte_sink screen(L"", "B: ");
    const auto show_reply = [&](std::string_view request) {
        screen.write(ask(server, request, reader, deadline(limit)));
        screen.write("\n");
        reader.remove_message();
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
    leave(server, reader, deadline(limit));
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
