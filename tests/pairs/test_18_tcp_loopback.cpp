#include "tests/pairs/socket_suite.hpp"

#include "tests/harness/checks.hpp"

#include <aclapi.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>

namespace {

std::wstring socket_file_without_suffix() {
    return (std::filesystem::temp_directory_path() / L"ipc_demos.18.requests").wstring();
}

} // namespace

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"18_tcp_loopback",
    .pipe = socket_file_without_suffix(),
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
    .all_instances_made = true,
    .reset_limit = L"3",
};

namespace {

const ipc::test::winsock_library library;

struct server_address {
    u_short port = 0;
    std::string nonce;
};

// Returns port 0 if there is no such file.
server_address read_address(const std::wstring& socket_file) {
    std::array<char, 64> content{};
    DWORD size = 0;
    const ipc::unique_handle file(CreateFileW(
        socket_file.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
        nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!file || !ReadFile(file.get(), content.data(), 64, &size, nullptr) || size == 0) {
        return {};
    }
    const std::string text(content.data(), size);
    const std::size_t line_end = text.find('\n');
    return {static_cast<u_short>(std::stoi(text)), text.substr(line_end + 1)};
}

sockaddr_in loopback_address(u_short port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

SOCKET create_tcp_socket() {
    return WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                      WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

// Connects and sends nothing. Tries again while Windows has no port left, as it keeps those of closed
// connections for minutes.
SOCKET connect_to_port(u_short port) {
    const sockaddr_in address = loopback_address(port);
    const ULONGLONG end_ms = GetTickCount64() + ipc::test::default_limit_ms;
    for (;;) {
        const SOCKET client = create_tcp_socket();
        const BOOL no_delay = TRUE;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&no_delay),
                   sizeof no_delay);
        // On loopback Windows offers a window of 2.5 MiB: a reply of 1 MiB would fit, though nobody reads it.
        const int receive_bytes = 128 * 1024;
        setsockopt(client, SOL_SOCKET, SO_RCVBUF, reinterpret_cast<const char*>(&receive_bytes),
                   sizeof receive_bytes);
        if (connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
            return client;
        }
        const int error = WSAGetLastError();
        closesocket(client);
        if ((error != WSAEADDRINUSE && error != WSAENOBUFS) || GetTickCount64() > end_ms) {
            WSASetLastError(error);
            return INVALID_SOCKET;
        }
        Sleep(100);
    }
}

// Binds a port that the system chooses. Returns it.
u_short bind_to_loopback(SOCKET server) {
    sockaddr_in address = loopback_address(0);
    int size = sizeof address;
    REQUIRE(bind(server, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(getsockname(server, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin_port);
}

void write_socket_file(const std::wstring& path, const std::string& content) {
    std::ofstream(std::filesystem::path(path), std::ios::binary) << content;
}

} // namespace

SOCKET ipc::test::connect_socket(const std::wstring& socket_file) {
    const server_address address = read_address(socket_file);
    if (address.port == 0) {
        WSASetLastError(WSAECONNREFUSED);
        return INVALID_SOCKET;
    }
    const SOCKET client = connect_to_port(address.port);
    const std::string first = with_length(address.nonce);
    if (client != INVALID_SOCKET) {
        ::send(client, first.data(), static_cast<int>(first.size()), 0);
    }
    return client;
}

namespace {

using ipc::test::check_failed;
using ipc::test::with_length;

constexpr auto no_nonce_line = "A: a client was dropped, it does not know the nonce\n";

// A connection that has sent nothing yet.
raw_client stranger(const running_server& server) {
    raw_client client;
    client.adopt(connect_to_port(read_address(server.pipe).port));
    REQUIRE(client);
    return client;
}

std::string nonce_of(const running_server& server) {
    return with_length(read_address(server.pipe).nonce);
}

// A server that is not process A. It accepts one client, reads its nonce and hands it over.
class fake_server {
public:
    using handler = std::function<void(raw_client& client)>;

    explicit fake_server(handler serve) {
        const u_short port = bind_to_loopback(listener_);
        REQUIRE(listen(listener_, 1) == 0);
        write_socket_file(file_, std::to_string(port) + '\n' + std::string(16, 'n'));
        thread_ = std::jthread([this, serve = std::move(serve)] {
            raw_client client;
            client.adopt(accept(listener_, nullptr, nullptr));
            if (client && client.receive() == std::string(16, 'n')) {
                serve(client);
            }
        });
    }
    ~fake_server() {
        raw_client().adopt(
            connect_to_port(read_address(file_).port)); // or accept could wait forever
        thread_.join();
        closesocket(listener_);
        DeleteFileW(file_.c_str());
    }
    fake_server(const fake_server&) = delete;
    fake_server& operator=(const fake_server&) = delete;

    std::vector<std::wstring> client(const std::vector<std::wstring>& arguments = {}) const {
        std::vector<std::wstring> all = {
            ipc::test::program_path(L"18_tcp_loopback", L"processB.exe"), L"--name", suffix_};
        all.insert(all.end(), arguments.begin(), arguments.end());
        return all;
    }

private:
    const std::wstring suffix_ = ipc::test::unique_suffix();
    const std::wstring file_ = ipc::test::tested.pipe + L"." + suffix_;
    SOCKET listener_ = create_tcp_socket();
    std::jthread thread_;
};

// Framing

TEST_CASE("A request that comes byte by byte is one request") {
    running_server server;
    raw_client client = stranger(server);
    for (const char byte : nonce_of(server) + with_length("one byte at a time")) {
        REQUIRE(client.send_bytes({&byte, 1}));
    }
    CHECK(client.receive() == "ONE BYTE AT A TIME");
}

TEST_CASE("Three requests that come in one piece with the nonce are three requests") {
    running_server server;
    raw_client client = stranger(server);
    std::string bytes = nonce_of(server);
    for (const std::string request : {"first", "", "third"}) {
        bytes += with_length(request);
    }
    REQUIRE(client.send_bytes(bytes));
    CHECK(client.receive() == "FIRST");
    CHECK(client.receive() == "");
    CHECK(client.receive() == "THIRD");
}

TEST_CASE("A length of 4 GiB is refused at once, and costs no memory") {
    running_server server;
    CHECK(ipc::test::is_served(server.pipe));
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    raw_client client(server.pipe);
    CHECK(client.ask("x") == "X");
    REQUIRE(client.send_bytes("\xff\xff\xff\xff"));
    CHECK(client.is_dropped());
    CHECK(server.a.wait_for_output(
        "A: a client was dropped, its message is too long; requests answered: 1\n"));
    CHECK(server.a.peak_memory_bytes() < memory + ipc::test::mebibyte);
}

TEST_CASE("Clients that claim 1 MiB each and send nothing more cost little memory") {
    running_server server;
    CHECK(ipc::test::is_served(server.pipe));
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < 100; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
        REQUIRE(clients.back()->send_bytes(std::string("\x00\x10\x00\x00yes", 7)));
    }
    CHECK(ipc::test::is_served(server.pipe));
    CHECK(ipc::test::memory_bytes(server.a.process()) < memory + 4 * ipc::test::mebibyte);
}

TEST_CASE("The limit is for a whole message: it does not start again with each byte") {
    for (const bool with_nonce : {false, true}) {
        INFO(with_nonce);
        running_server server({L"--limit", L"1"});
        raw_client client = stranger(server);
        if (with_nonce) {
            REQUIRE(client.send_bytes(nonce_of(server)));
        }
        const ULONGLONG start_ms = GetTickCount64();
        REQUIRE(client.send_bytes(std::string("\0\0\0\x10", 4)));
        while (!client.is_dropped(100) && GetTickCount64() < start_ms + 20'000) {
            client.send_bytes("x"); // fewer than 16 in the time
        }
        CHECK(GetTickCount64() < start_ms + 10'000);
        CHECK(server.a.wait_for_output("A: a client was dropped, idle for too long; "));
    }
}

// Shutdown and resets

TEST_CASE("A client that sends nothing more still gets all its replies, and then the end") {
    running_server server;
    raw_client client(server.pipe);
    const std::string request = ipc::test::random_bytes(2000);
    for (int i = 0; i < 10; ++i) { // short ones, so that all fit into the system's buffers
        REQUIRE(client.send(request));
    }
    client.end_sending();
    for (int i = 0; i < 10; ++i) {
        REQUIRE((client.receive() == ipc::test::upper_case(request)));
    }
    CHECK_FALSE(client.receive().has_value());
    CHECK(client.is_ended());
    CHECK(server.a.wait_for_output("A: a client left; requests answered: 10\n"));
}

TEST_CASE("A client that leaves in the middle of a message is reported so") {
    running_server server;
    raw_client client(server.pipe);
    CHECK(client.ask("x") == "X");
    REQUIRE(client.send_bytes(with_length("not all of it").substr(0, 9)));
    client.end_sending();
    CHECK_FALSE(client.receive().has_value());
    CHECK(client.is_ended());
    CHECK(server.a.wait_for_output(
        "A: a client left in the middle of a message; requests answered: 1\n"));
}

TEST_CASE("A reset is reported in one line, in every phase, and the server goes on") {
    running_server server({L"--limit", L"3"}); // ends the wait for a reset that Wine 8 misses
    const std::string nonce = nonce_of(server);
    const std::string request = with_length("request");
    const std::vector<std::string> phases = {
        "",    nonce.substr(0, 2),           nonce.substr(0, 10),
        nonce, nonce + request.substr(0, 2), nonce + request.substr(0, 6)};
    for (const std::string& sent : phases) {
        INFO(sent.size());
        raw_client client = stranger(server);
        REQUIRE(client.send_bytes(sent));
        CHECK(ipc::test::is_served(server.pipe)); // by now the server waits for the rest
        client.reset();
        CHECK(ipc::test::is_served(server.pipe));
    }
    const std::string line =
        "A: a client reset its connection (WSAECONNRESET, 10054); requests answered: 0\n";
    CHECK(server.ended("requests answered: 0\n", phases.size()) == phases.size());
    const std::size_t reported = ipc::test::count(server.a.output(), line);
    CHECK((ipc::test::is_wine() ? reported > 0 : reported == phases.size()));
    server.stop();
}

TEST_CASE("Clients that reset at once, before they are accepted too, do no harm") {
    running_server server;
    for (int i = 0; i < 200; ++i) {
        raw_client client = stranger(server);
        client.reset();
    }
    CHECK(ipc::test::is_served(server.pipe));
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 1\n"));
    std::vector<std::string> known = raw_client::end_lines();
    known.emplace_back("A: 4 threads wait for clients on 127.0.0.1");
    known.emplace_back("A: the end; clients served: ");
    if (ipc::test::is_wine()) { // WSAENOTCONN: Wine knows no more that there was a connection
        known.emplace_back("A: a client was dropped, error 10057; ");
    }
    for (const std::string& line : ipc::test::lines_of(server.a.output())) {
        INFO(line);
        CHECK(std::ranges::any_of(known, [&](const auto& text) { return line.starts_with(text); }));
    }
}

// The nonce

TEST_CASE("A client without the nonce is dropped before it is served") {
    running_server server;
    std::string almost = read_address(server.pipe).nonce;
    almost.back() ^= 1;
    const std::vector<std::string> greetings = {
        "GET / HTTP/1.1\r\n\r\n", with_length("hello"), with_length(std::string(16, '\0')),
        with_length(almost),      with_length(""),      "\xff\xff\xff\xff"};
    for (const std::string& greeting : greetings) {
        INFO(greeting);
        raw_client client = stranger(server);
        REQUIRE(client.send_bytes(greeting));
        CHECK(client.is_dropped());
    }
    CHECK(server.printed(no_nonce_line, greetings.size()) == greetings.size());
    CHECK(ipc::test::is_served(server.pipe));
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 1\n"));
}

TEST_CASE("A stranger that connects and says nothing is dropped, and does not count as a client") {
    running_server server({L"--limit", L"1", L"--clients", L"1"});
    raw_client silent = stranger(server);
    CHECK(silent.is_dropped());
    CHECK(server.a.wait_for_output("A: a client was dropped, idle for too long; "));
    CHECK_FALSE(server.a.wait(50));
    CHECK(ipc::test::is_served(server.pipe));
    REQUIRE(server.a.wait());
}

TEST_CASE("Without a limit for clients, there is still one for the nonce") {
    running_server server({L"--limit", L"0"});
    raw_client silent = stranger(server);
    CHECK(silent.is_dropped());
    CHECK(server.a.wait_for_output("A: a client was dropped, idle for too long; "));
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("Each server has a nonce and a file of its own") {
    running_server first;
    running_server second;
    const server_address one = read_address(first.pipe);
    const server_address two = read_address(second.pipe);
    CHECK(one.nonce.size() == 16);
    CHECK(one.nonce != two.nonce);
}

TEST_CASE("Only the user can open the socket file, and nobody can replace it") {
    running_server server;
    ACL* list = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetNamedSecurityInfoW(server.pipe.c_str(), SE_FILE_OBJECT, DACL_SECURITY_INFORMATION,
                                  nullptr, nullptr, &list, nullptr, &descriptor) == ERROR_SUCCESS);
    REQUIRE(list != nullptr);
    ipc::unique_handle token;
    REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put()));
    alignas(TOKEN_USER) std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE> user{};
    DWORD bytes = 0;
    REQUIRE(GetTokenInformation(token.get(), TokenUser, user.data(),
                                static_cast<DWORD>(user.size()), &bytes));
    int entries_of_user = 0;
    for (DWORD i = 0; i < list->AceCount; ++i) {
        void* entry = nullptr;
        REQUIRE(GetAce(list, i, &entry));
        SID* const sid = reinterpret_cast<SID*>(&static_cast<ACCESS_ALLOWED_ACE*>(entry)->SidStart);
        for (const WELL_KNOWN_SID_TYPE others :
             {WinWorldSid, WinAuthenticatedUserSid, WinBuiltinUsersSid, WinInteractiveSid,
              WinNetworkSid, WinBuiltinGuestsSid}) {
            CHECK_FALSE(IsWellKnownSid(sid, others));
        }
        entries_of_user += EqualSid(sid, reinterpret_cast<TOKEN_USER*>(user.data())->User.Sid);
    }
    CHECK(entries_of_user == 1);
    CHECK((list->AceCount == 1 || ipc::test::is_wine())); // Wine adds one for the system
    LocalFree(descriptor);
    CHECK_FALSE(DeleteFileW(server.pipe.c_str()));
    const std::wstring other = server.pipe + L".other";
    write_socket_file(other, "1\n0123456789abcdef");
    CHECK_FALSE(MoveFileExW(other.c_str(), server.pipe.c_str(), MOVEFILE_REPLACE_EXISTING));
    DeleteFileW(other.c_str());
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("The socket file disappears with the server, also when it is killed") {
    for (const bool kill : {false, true}) {
        running_server server;
        CHECK(read_address(server.pipe).port != 0);
        if (kill) {
            server.a.kill();
            REQUIRE(server.a.wait());
        } else {
            server.stop();
        }
        CHECK(GetFileAttributesW(server.pipe.c_str()) == INVALID_FILE_ATTRIBUTES);
    }
}

TEST_CASE("A file that a power failure has left behind is replaced") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring path = ipc::test::tested.pipe + L"." + suffix;
    write_socket_file(path, "1\n0123456789abcdef");
    running_server server({}, suffix);
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("A server can start while clients still read the file of the one before") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::jthread reader([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            read_address(ipc::test::tested.pipe + L"." + suffix);
        }
    });
    for (int i = 0; i < 10; ++i) {
        running_server server({}, suffix);
        CHECK(ipc::test::is_served(server.pipe));
        server.stop();
    }
}

// A server with SO_REUSEADDR would share it, on Windows. Without any option it would not: since Windows
// Server 2003, SO_EXCLUSIVEADDRUSE and no option give the same results for one address.
TEST_CASE("No other program can bind the server's port") {
    running_server server;
    const SOCKET thief = create_tcp_socket();
    const BOOL reuse = TRUE;
    setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, reinterpret_cast<const char*>(&reuse),
               sizeof reuse);
    const sockaddr_in address = loopback_address(read_address(server.pipe).port);
    CHECK(bind(thief, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0);
    closesocket(thief);
}

// The client

TEST_CASE("B prints its replies, however long, and the server has an orderly end") {
    const ipc::test::temporary_folder folder;
    std::ofstream(std::filesystem::path(folder.file(L"in")), std::ios::binary)
        << "\n"
        << std::string(1 << 20, 'x') << "\nlast\n";
    running_server server;
    const ipc::test::result b = ipc::test::run(server.client({L"--in", folder.file(L"in")}));
    CHECK(b.exit_code == 0);
    CHECK(b.error_output.empty());
    CHECK_THAT(b.output, StartsWith("B: \n") && EndsWith("\nB: LAST\n"));
    CHECK(std::ranges::count(b.output, 'X') == 1 << 20);
    CHECK(server.a.wait_for_output("A: a client left; requests answered: 3\n"));
    std::ofstream(std::filesystem::path(folder.file(L"in")), std::ios::binary)
        << std::string((1 << 20) + 1, 'x') << "\n";
    ipc::test::program too_long(server.client({L"--in", folder.file(L"in")}));
    check_failed(too_long, "B: a request is longer than the protocol allows\n");
}

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({ipc::test::program_path(L"18_tcp_loopback", L"processB.exe"), L"--name",
                          suffix, L"early"});
    CHECK_FALSE(b.wait(200));
    running_server server({}, suffix);
    ipc::test::check_succeeded(b, "B: EARLY");
}

TEST_CASE("B says how to start the server if there is none") {
    ipc::test::program b({ipc::test::program_path(L"18_tcp_loopback", L"processB.exe"), L"--name",
                          ipc::test::unique_suffix(), L"--limit", L"1"});
    check_failed(b, "B: no server has made the socket file ");
    CHECK_THAT(b.error_output(), EndsWith(": start processA first\n"));
}

TEST_CASE("B notices at once that nobody listens on the port") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring path = ipc::test::tested.pipe + L"." + suffix;
    const SOCKET not_listening = create_tcp_socket(); // so that no other program gets the port
    write_socket_file(path, std::to_string(bind_to_loopback(not_listening)) + "\n0123456789abcdef");
    ipc::test::program b({ipc::test::program_path(L"18_tcp_loopback", L"processB.exe"), L"--name",
                          suffix, L"--limit", L"0"});
    check_failed(b, "B: connect failed: WSAECONNREFUSED (10061)");
    closesocket(not_listening);
    DeleteFileW(path.c_str());
}

TEST_CASE("B refuses an invalid socket file") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring path = ipc::test::tested.pipe + L"." + suffix;
    for (const std::string content :
         {"x", "\n0123456789abcdef", "0\n0123456789abcdef", "65536\n0123456789abcdef",
          "99\n0123456789abcde", "99\n0123456789abcdefg", "-1\n0123456789abcdef"}) {
        INFO(content);
        write_socket_file(path, content);
        ipc::test::program b(
            {ipc::test::program_path(L"18_tcp_loopback", L"processB.exe"), L"--name", suffix});
        check_failed(b, "B: the socket file does not hold a port, a line break and a nonce\n");
    }
    DeleteFileW(path.c_str());
}

TEST_CASE("B gives up on a server that does not answer, or a byte at a time") {
    const ipc::unique_handle stop(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    fake_server silent([&](raw_client&) { WaitForSingleObject(stop.get(), 20'000); });
    fake_server slow([&](raw_client& client) {
        client.send_bytes(std::string("\0\0\0\x40", 4));
        while (WaitForSingleObject(stop.get(), 100) == WAIT_TIMEOUT && client.send_bytes("x")) {}
    });
    ipc::test::program first(silent.client({L"--limit", L"1"}));
    ipc::test::program second(slow.client({L"--limit", L"1"}));
    check_failed(first, "B: the server did not answer in time\n");
    check_failed(second, "B: the server did not answer in time\n");
    SetEvent(stop.get());
}

TEST_CASE("B ends with one line when the server leaves, resets or lies") {
    fake_server leaves([](raw_client& client) {
        client.receive();
        client.end_sending();
        client.receive();
    });
    fake_server leaves_inside([](raw_client& client) {
        client.receive();
        client.send_bytes(with_length("half of it").substr(0, 7));
        client.end_sending();
        client.receive();
    });
    fake_server resets([](raw_client& client) {
        client.receive();
        client.reset();
    });
    fake_server lies([](raw_client& client) {
        client.receive();
        client.send_bytes("\xff\xff\xff\xff");
        client.receive();
    });
    fake_server talks([](raw_client& client) {
        client.receive();
        client.send_bytes(with_length("REPLY") + "more");
        client.receive();
    });
    const auto check = [](const fake_server& server, const std::string& line) {
        ipc::test::program b(server.client({L"request"}));
        check_failed(b, line);
    };
    check(leaves, "B: the server closed the connection\n");
    check(leaves_inside, "B: the server closed the connection\n");
    // Under Wine 8, recv sees an end and no reset if WSAPoll has waited for it.
    check(resets, ipc::test::is_wine()
                      ? "B: the server "
                      : "B: the server reset the connection (WSAECONNRESET, 10054)\n");
    check(lies, "B: the reply is longer than the protocol allows\n");
    check(talks, "B: the server sent more than it was asked for\n");
}

TEST_CASE("B refuses wrong usage with exit code 2 and one line, and explains itself") {
    const std::wstring b = ipc::test::program_path(L"18_tcp_loopback", L"processB.exe");
    for (const std::vector<std::wstring>& command :
         {std::vector<std::wstring>{b, L"--no-such-option"},
          {b, L"--limit"},
          {b, L"--limit", L"x"},
          {b, L"--in", L"file", L"request"}}) {
        const ipc::test::result refused = ipc::test::run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: processB"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
    const ipc::test::result help = ipc::test::run({b, L"--help"});
    CHECK(help.exit_code == 0);
    CHECK_THAT(help.output, StartsWith("usage: processB"));
}

} // namespace
