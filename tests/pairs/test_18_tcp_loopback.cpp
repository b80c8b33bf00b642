#include "tests/pairs/socket_suite.hpp"

#include "tests/harness/checks.hpp"

#include <aclapi.h>

#include <array>
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

// Connects and sends nothing.
SOCKET connect_to_port(u_short port) {
    const SOCKET socket = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const BOOL no_delay = TRUE;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&no_delay),
               sizeof no_delay);
    if (connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int error = WSAGetLastError();
        closesocket(socket);
        WSASetLastError(error);
        return INVALID_SOCKET;
    }
    return socket;
}

} // namespace

SOCKET ipc::test::connect_socket(const std::wstring& socket_file) {
    const server_address address = read_address(socket_file);
    if (address.port == 0) {
        WSASetLastError(WSAECONNREFUSED);
        return INVALID_SOCKET;
    }
    const SOCKET socket = connect_to_port(address.port);
    const std::string first = with_length(address.nonce);
    if (socket != INVALID_SOCKET) {
        ::send(socket, first.data(), static_cast<int>(first.size()), 0);
    }
    return socket;
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
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int size = sizeof address;
        REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(listen(listener_, 1) == 0);
        REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
        std::ofstream(std::filesystem::path(file_), std::ios::binary)
            << ntohs(address.sin_port) << '\n'
            << std::string(16, 'n');
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
    SOCKET listener_ = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
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

TEST_CASE("Requests that come in one piece, with the nonce, are so many requests") {
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
    running_server server;
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
    CHECK(server.printed(line, phases.size()) == phases.size());
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

TEST_CASE("Each server has a nonce and a file of its own") {
    running_server first;
    running_server second;
    const server_address one = read_address(first.pipe);
    const server_address two = read_address(second.pipe);
    CHECK(one.nonce.size() == 16);
    CHECK(one.nonce != two.nonce);
    CHECK(one.port != two.port);
}

TEST_CASE("Only the user can open the socket file, and nobody can replace it") {
    running_server server;
    ACL* list = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetNamedSecurityInfoW(server.pipe.c_str(), SE_FILE_OBJECT, DACL_SECURITY_INFORMATION,
                                  nullptr, nullptr, &list, nullptr, &descriptor) == ERROR_SUCCESS);
    REQUIRE(list != nullptr);
    for (DWORD i = 0; i < list->AceCount; ++i) {
        void* entry = nullptr;
        REQUIRE(GetAce(list, i, &entry));
        SID* const sid = reinterpret_cast<SID*>(&static_cast<ACCESS_ALLOWED_ACE*>(entry)->SidStart);
        for (const WELL_KNOWN_SID_TYPE others :
             {WinWorldSid, WinAuthenticatedUserSid, WinBuiltinUsersSid, WinInteractiveSid,
              WinNetworkSid, WinBuiltinGuestsSid}) {
            CHECK_FALSE(IsWellKnownSid(sid, others));
        }
    }
    CHECK((list->AceCount == 1 || ipc::test::is_wine())); // Wine adds one for the system
    LocalFree(descriptor);
    CHECK_FALSE(DeleteFileW(server.pipe.c_str()));
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
    std::ofstream(std::filesystem::path(path), std::ios::binary) << "1\n0123456789abcdef";
    running_server server({}, suffix);
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("No other program can bind the server's port") {
    running_server server;
    const SOCKET thief = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, 0);
    const BOOL reuse = TRUE;
    setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, reinterpret_cast<const char*>(&reuse),
               sizeof reuse);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(read_address(server.pipe).port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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

TEST_CASE("B refuses a socket file that is none") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring path = ipc::test::tested.pipe + L"." + suffix;
    for (const std::string content :
         {"x", "\n0123456789abcdef", "0\n0123456789abcdef", "65536\n0123456789abcdef",
          "99\n0123456789abcde", "99\n0123456789abcdefg", "-1\n0123456789abcdef"}) {
        INFO(content);
        std::ofstream(std::filesystem::path(path), std::ios::binary) << content;
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
