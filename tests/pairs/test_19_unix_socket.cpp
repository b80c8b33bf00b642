// This file is built twice. test_19_unix_socket runs the pair's programs, and skips what a system without AF_UNIX
// cannot run. test_19_unix_socket_over_tcp (UNIX_OVER_TCP) runs the same sources over TCP everywhere: see
// unix_over_tcp/afunix.h.

#include "demos/19_unix_socket/protocol.hpp"
#include "demos/19_unix_socket/sockets.hpp"
#include "demos/19_unix_socket/unix_socket.hpp"

#include "common/error.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <aclapi.h>
#include <winsock2.h>

#include <windows.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::program;

// TEST_CASE wants a literal.
#ifdef UNIX_OVER_TCP
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define PAIR_TEST(name) TEST_CASE(name " (over TCP)")
#else
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define PAIR_TEST(name) TEST_CASE(name)
#endif

namespace {

#ifdef UNIX_OVER_TCP
constexpr auto folder = L"19_unix_socket_over_tcp";
#else
constexpr auto folder = L"19_unix_socket";
#endif

using arguments = std::vector<std::wstring>;

const std::wstring process_a = ipc::test::program_path(folder, L"processA.exe");
const std::wstring process_b = ipc::test::program_path(folder, L"processB.exe");
const winsock library;

void need_unix_sockets() {
#ifdef UNIX_OVER_TCP
    const unique_socket real((WSASocketW)(AF_UNIX, SOCK_STREAM, 0, nullptr, 0, 0)); // not the macro
    if (real) {
        SKIP("this system has AF_UNIX sockets: the other build has tested this with them");
    }
#endif
    if (!has_unix_sockets()) {
        SKIP("this system has no AF_UNIX sockets");
    }
}

std::size_t count(std::string_view text, std::string_view part) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; ++found) {
        at += part.size();
    }
    return found;
}

arguments command(const std::wstring& path, const std::wstring& name, const arguments& more) {
    // A limit that a busy machine does not exceed; the last --limit of a command line counts.
    arguments all = {path, L"--name", name, L"--limit", L"60"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

// A name of its own, whose files are removed at the end.
struct test_name {
    test_name() { need_unix_sockets(); }
    ~test_name() {
        DeleteFileW(path.c_str());
        DeleteFileW((path + L".lock").c_str());
    }
    test_name(const test_name&) = delete;
    test_name& operator=(const test_name&) = delete;

    arguments a(const arguments& more = {}) const { return command(process_a, name, more); }
    arguments b(const arguments& more = {}) const { return command(process_b, name, more); }

    // Whether there is a file: std::filesystem::exists cannot open a socket.
    bool has_file() const { return GetFileAttributesW(path.c_str()) != INVALID_FILE_ATTRIBUTES; }

    const std::wstring name = ipc::test::unique_suffix();
    const std::wstring path = socket_path(name);
};

// Another LOCALAPPDATA, for this program and those that it starts.
struct local_app_data {
    explicit local_app_data(const std::wstring& path) {
        REQUIRE(SetEnvironmentVariableW(L"LOCALAPPDATA", path.c_str()));
    }
    ~local_app_data() { SetEnvironmentVariableW(L"LOCALAPPDATA", old.c_str()); }
    local_app_data(const local_app_data&) = delete;
    local_app_data& operator=(const local_app_data&) = delete;

    static std::wstring get() {
        const std::filesystem::path path(socket_path(L""));
        return path.parent_path().parent_path().wstring();
    }
    const std::wstring old = get();
};

// A server that is ready for clients.
struct running_server {
    explicit running_server(const test_name& name, const arguments& more = {}) : a(name.a(more)) {
        REQUIRE(a.wait_for_output("A: "));
        REQUIRE(a.error_output().empty());
    }

    // Waits until the server has printed the text as often as expected.
    bool printed(std::string_view text, std::size_t expected = 1) {
        const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
        while (count(a.output(), text) < expected && GetTickCount64() < end && !a.wait(10)) {}
        return count(a.output(), text) == expected;
    }

    void stop() {
        a.press_ctrl_c();
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        CHECK(a.error_output().empty());
        CHECK_THAT(a.output(), ContainsSubstring("A: the end; clients served: "));
    }

    program a;
};

// A client whose calls are steps of the test, with a limit for all of them.
class raw_client {
public:
    explicit raw_client(const std::wstring& path, DWORD limit_ms = ipc::test::default_limit_ms)
        : end_ms_(GetTickCount64() + limit_ms), socket_(create_unix_socket()) {
        const sockaddr_un address = make_address(path);
        const auto* const to = reinterpret_cast<const sockaddr*>(&address);
        error_ = connect(socket_.get(), to, sizeof address) == 0 ? 0 : WSAGetLastError();
        u_long never_blocking = TRUE;
        ioctlsocket(socket_.get(), static_cast<long>(FIONBIO), &never_blocking);
    }

    int error() const { return error_; } // of connect

    bool send_bytes(std::string_view bytes) const {
        while (!bytes.empty()) {
            const int sent = send(socket_.get(), bytes.data(), static_cast<int>(bytes.size()), 0);
            if (sent == SOCKET_ERROR && !wait_for(POLLWRNORM)) {
                return false;
            }
            bytes.remove_prefix(static_cast<std::size_t>(std::max(sent, 0)));
        }
        return true;
    }

    bool send_message(std::string_view message) const {
        return send_bytes(protocol::with_length(message));
    }

    // Returns nothing when the server has closed the connection, in order or not.
    std::optional<std::string> receive_message() {
        while (!reader_.is_complete()) {
            const std::span<char> space = reader_.free_space();
            const int received =
                recv(socket_.get(), space.data(), static_cast<int>(space.size()), 0);
            if (received == 0 || (received == SOCKET_ERROR && !wait_for(POLLRDNORM))) {
                if (GetTickCount64() >= end_ms_) {
                    throw std::runtime_error("the server did neither answer nor close");
                }
                return std::nullopt;
            }
            reader_.add(static_cast<std::size_t>(std::max(received, 0)));
        }
        std::string message(reader_.message().begin(), reader_.message().end());
        reader_.remove_message();
        return message;
    }

    std::optional<std::string> ask(std::string_view request) {
        return send_message(request) ? receive_message() : std::nullopt;
    }

    void end_sending() const { shutdown(socket_.get(), SD_SEND); }
    void close() { socket_ = unique_socket(); }
    void
    reset() { // with TCP; whether AF_UNIX has SO_LINGER is not documented, without it this is close()
        const linger at_once{1, 0};
        setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                   sizeof at_once);
        close();
    }

private:
    // In steps: Wine now and then forgets to report a reset, which the next call returns.
    bool wait_for(SHORT events) const {
        WSAPOLLFD poll{socket_.get(), events, 0};
        return WSAGetLastError() == WSAEWOULDBLOCK && GetTickCount64() < end_ms_ &&
               WSAPoll(&poll, 1, 100) != SOCKET_ERROR;
    }

    const ULONGLONG end_ms_;
    unique_socket socket_;
    int error_ = 0;
    protocol::message_reader reader_;
};

// A listening socket of the test, in the place of A.
struct hostile_server {
    explicit hostile_server(const test_name& name) {
        std::filesystem::create_directories(std::filesystem::path(name.path).parent_path());
        const sockaddr_un address = make_address(name.path);
        REQUIRE(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
                0);
        REQUIRE(listen(listener.get(), 1) == 0);
    }

    // Waits for a client and its first bytes.
    unique_socket accept_request() const {
        unique_socket client(accept(listener.get(), nullptr, nullptr));
        REQUIRE(client);
        char bytes[100];
        REQUIRE(recv(client.get(), bytes, sizeof bytes, 0) > 0);
        return client;
    }

    unique_socket listener = create_unix_socket();
};

std::string random_bytes(std::size_t size) {
    std::mt19937 random(19);
    std::string bytes(size, '\0');
    std::ranges::generate(bytes, [&] { return static_cast<char>(random() & 0xFF); });
    return bytes;
}

std::string reply_to(std::string request) {
    protocol::make_reply(request);
    return request;
}

const std::string left = "A: a client left; requests answered: ";

} // namespace

#ifndef UNIX_OVER_TCP

TEST_CASE(
    "Where the system has no AF_UNIX, both programs say so in one line and end with exit code 3") {
    if (has_unix_sockets()) {
        SKIP("this system has AF_UNIX sockets");
    }
    for (const auto& [path, role] : {std::pair(process_a, "A"), std::pair(process_b, "B")}) {
        const ipc::test::result ended = ipc::test::run({path, L"--limit", L"1"});
        CHECK(ended.exit_code == exit_left_out);
        CHECK(ended.output.empty());
        CHECK(ended.error_output ==
              std::string(role) +
                  ": left out: this system has no AF_UNIX sockets (WSAEAFNOSUPPORT, 10047); "
                  "Windows 10 version 1803 and later have them\n");
    }
}

TEST_CASE("A path may have 107 bytes in UTF-8, and a longer or an empty one is refused") {
    CHECK(make_address(std::wstring(107, L'x')).sun_path == std::string(107, 'x')); // with its zero
    CHECK(make_address(L"x").sun_family == AF_UNIX);
    CHECK_THROWS_WITH(
        make_address(std::wstring(108, L'x')),
        StartsWith("the socket's path takes 108 bytes in UTF-8, and 1 to 107 are possible: x"));
    CHECK_THROWS_WITH(make_address(L""), StartsWith("the socket's path takes 0 bytes"));
    // The bytes count, not the letters: 2 for an umlaut, 3 for a Chinese letter, 4 for a surrogate pair.
    CHECK(std::string(make_address(L"Gr\u00FC\u00DFe").sun_path) == "Gr\xC3\xBC\xC3\x9F"
                                                                    "e");
    CHECK_NOTHROW(make_address(std::wstring(53, L'\u00FC')));
    CHECK_THROWS_AS(make_address(std::wstring(54, L'\u00FC')), std::runtime_error);
    CHECK_NOTHROW(make_address(std::wstring(35, L'\u4F60')));
    CHECK_THROWS_AS(make_address(std::wstring(36, L'\u4F60')), std::runtime_error);
}

TEST_CASE("The socket's path is in the user's folder for local data, and short enough for a usual "
          "user name") {
    const std::wstring path = socket_path(L"suffix");
    CHECK_THAT(ipc::to_utf8(path), EndsWith("\\ipc_demos.19\\requests.suffix.sock"));
    CHECK(std::filesystem::path(path).is_absolute());
    CHECK_THAT(ipc::to_utf8(socket_path(L"")), EndsWith("\\ipc_demos.19\\requests.sock"));
    const local_app_data changed(L"C:\\Users\\" + std::wstring(20, L'\u00FC') + // 2 bytes each
                                 L"\\AppData\\Local");
    CHECK_NOTHROW(make_address(socket_path(L"")));
}

TEST_CASE("The reader finds the same messages, however the bytes are cut") {
    std::mt19937 random(19);
    std::vector<std::string> messages;
    std::string bytes;
    for (const std::size_t size :
         std::vector<std::size_t>{0, 1, 4, 4091, 4092, 4093, 65'536, 0, 200'000, 3}) {
        messages.push_back(random_bytes(size));
        bytes += protocol::with_length(messages.back());
    }
    for (int round = 0; round < 20; ++round) {
        protocol::message_reader reader;
        std::vector<std::string> found;
        for (std::string_view rest = bytes; !rest.empty();) {
            const std::span<char> space = reader.free_space();
            REQUIRE_FALSE(space.empty());
            const std::size_t most = round == 0 ? 1 : 1 + random() % 9'000;
            const std::size_t piece = std::min({space.size(), rest.size(), most});
            std::ranges::copy(rest.substr(0, piece), space.begin());
            reader.add(piece);
            rest.remove_prefix(piece);
            while (reader.is_complete()) {
                found.emplace_back(reader.message().begin(), reader.message().end());
                reader.remove_message();
            }
        }
        CHECK(found == messages);
        CHECK(reader.is_empty());
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    for (const arguments& wrong : std::vector<arguments>{{process_a, L"--no-such-option"},
                                                         {process_a, L"--name"},
                                                         {process_a, L"unexpected"},
                                                         {process_a, L"--clients", L"x"},
                                                         {process_b, L"--no-such-option"},
                                                         {process_b, L"--in", L"x", L"request"}}) {
        const ipc::test::result refused = ipc::test::run(wrong);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE(
    "Both programs show their usage and the exit code 3 with --help, with AF_UNIX or without") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = ipc::test::run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK_THAT(help.output, ContainsSubstring("3 this system has no AF_UNIX sockets"));
        CHECK(help.error_output.empty());
    }
}

#endif

PAIR_TEST(
    "Requests of each size come back, also several at once, byte by byte and after a half-close") {
    const test_name name;
    running_server server(name);
    raw_client client(name.path);
    for (const std::size_t size :
         std::vector<std::size_t>{0, 1, 4091, 4092, 4093, 65'536, 1024 * 1024}) {
        const std::string request = random_bytes(size);
        CHECK((client.ask(request) == reply_to(request))); // without text: a message can be long
    }
    REQUIRE(client.send_bytes(protocol::with_length("one") + protocol::with_length("") +
                              protocol::with_length("three")));
    CHECK(client.receive_message() == "ONE");
    CHECK(client.receive_message() == "");
    CHECK(client.receive_message() == "THREE");
    for (const char letter : protocol::with_length("slow")) {
        REQUIRE(client.send_bytes({&letter, 1}));
        std::this_thread::yield();
    }
    CHECK(client.receive_message() == "SLOW");
    REQUIRE(client.send_message("last"));
    client.end_sending();
    CHECK(client.receive_message() == "LAST"); // the other half is still open
    CHECK_FALSE(client.receive_message());
    CHECK(server.printed(left + "12\n"));
    server.stop();
}

PAIR_TEST("B sends its arguments or the lines of a file, and prints the replies") {
    const test_name name;
    running_server server(name, {L"--clients", L"3"});
    program with_arguments(name.b({L"two words", L"", L"Gr\u00FC\u00DFe"}));
    check_succeeded(with_arguments, "B: TWO WORDS\nB: \nB: GR\xC3\xBC\xC3\x9F"
                                    "E");
    const ipc::test::temporary_folder files;
    std::ofstream(std::filesystem::path(files.file(L"in.txt")), std::ios::binary)
        << "line\n\n"
        << std::string(3'000, 'x') << "\nno line break";
    program with_file(name.b({L"--in", files.file(L"in.txt")}));
    check_succeeded(with_file,
                    "B: LINE\nB: \nB: " + std::string(3'000, 'X') + "\nB: NO LINE BREAK");
    program without(name.b());
    check_succeeded(without, "B: GOODBYE");
    check_succeeded(server.a, "A: the end; clients served: 3");
    CHECK(server.printed(left + "3\n", 2));
    CHECK(server.printed(left + "4\n"));
    CHECK_FALSE(name.has_file());
}

PAIR_TEST("B refuses a request of more than 1 MiB, and the server drops whoever sends one") {
    const test_name name;
    running_server server(name);
    const ipc::test::temporary_folder files;
    std::ofstream(std::filesystem::path(files.file(L"long.txt")), std::ios::binary)
        << std::string(1024 * 1024 + 1, 'x');
    program b(name.b({L"--in", files.file(L"long.txt")}));
    check_failed(b, "B: a request is longer than the protocol allows");
    const std::uint64_t before = ipc::test::memory_bytes(server.a.process());
    for (const char* length : {"\x00\x10\x00\x01", "\x7F\xFF\xFF\xFF", "\xFF\xFF\xFF\xFF"}) {
        raw_client client(name.path);
        REQUIRE(client.send_bytes({length, 4}));
        CHECK_FALSE(client.receive_message()); // dropped before the first byte of the message
    }
    CHECK(server.printed("A: a client was dropped, its message is too long; requests answered: 0\n",
                         3));
    CHECK(ipc::test::memory_bytes(server.a.process()) < before + (8 << 20));
    server.stop();
}

PAIR_TEST("The server drops whoever is silent or slower than the limit, and serves the others") {
    const test_name name;
    running_server server(name, {L"--limit", L"1"});
    raw_client silent(name.path); // a port scanner: it connects and says nothing
    raw_client slow(name.path);
    REQUIRE(slow.send_bytes({"\0\0\1\0", 4}));
    const ULONGLONG start = GetTickCount64();
    std::optional<std::string> never;
    std::jthread dripping([&](const std::stop_token& stop) {
        while (!stop.stop_requested() && slow.send_bytes("x")) { // never silent, never complete
            Sleep(50);
        }
    });
    raw_client good(name.path);
    CHECK(good.ask("good") == "GOOD");
    CHECK_FALSE(silent.receive_message());
    CHECK_FALSE(slow.receive_message());
    CHECK(GetTickCount64() - start < 6'000); // 256 bytes would take 12.8 s
    dripping.request_stop();
    CHECK(server.printed("A: a client was dropped, idle for too long; requests answered: 0\n", 2));
    CHECK(server.printed("idle for too long; requests answered: 1\n"));
    server.stop();
}

PAIR_TEST("A client that does not read its replies is dropped at the limit") {
    const test_name name;
    running_server server(name, {L"--limit", L"1"});
    raw_client client(name.path);
    std::jthread sender([&] { // until the server drops it
        const std::string request(1024 * 1024, 'x');
        while (client.send_message(request)) {}
    });
    CHECK(server.printed("A: a client was dropped, idle for too long; requests answered: ", 1));
    sender.join();
    server.stop();
}

PAIR_TEST("Clients that leave or break off in each phase cost nobody else anything") {
    const test_name name;
    running_server server(
        name, {L"--limit", L"5"}); // AF_UNIX may not tell of every end: see platforms.md
    raw_client witness(name.path);
    const std::string request = protocol::with_length("request");
    for (const std::size_t sent : std::vector<std::size_t>{0, 1, 4, 6, 11}) {
        for (const bool in_order : {true, false}) {
            raw_client client(name.path);
            REQUIRE(client.send_bytes(request.substr(0, sent)));
            if (in_order) {
                client.close();
            } else {
                client.reset();
            }
            CHECK(witness.ask("still there") == "STILL THERE");
        }
    }
    witness.close();
    CHECK(server.printed("A: a client ", 11));
    CHECK(server.a.error_output().empty());
    server.stop();
}

PAIR_TEST("A hundred clients at once get their own replies") {
    const test_name name;
    running_server server(name, {L"--limit", L"10"});
    std::vector<std::unique_ptr<raw_client>> clients;
    const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
    while (clients.size() < 100 && GetTickCount64() < end) {
        clients.push_back(std::make_unique<raw_client>(name.path));
        if (clients.back()->error() == WSAECONNREFUSED) { // the queue of listen is full
            clients.pop_back();
            std::this_thread::yield();
        }
    }
    REQUIRE(clients.size() == 100);
    for (int round = 0; round < 3; ++round) {
        for (std::size_t i = 0; i < clients.size(); ++i) {
            REQUIRE(clients[i]->send_message("client " + std::to_string(i)));
        }
        for (std::size_t i = 0; i < clients.size(); ++i) {
            CHECK(clients[i]->receive_message() == "CLIENT " + std::to_string(i));
        }
    }
    clients.clear();
    CHECK(server.printed("requests answered: 3\n", 100));
    server.stop();
}

PAIR_TEST("500 clients, one after the other, leave no handle behind") {
    const test_name name;
    running_server server(
        name, {L"--limit", L"5"}); // AF_UNIX may not tell of every end: see platforms.md
    const auto serve = [&](int clients) {
        for (int i = 0; i < clients; ++i) {
            raw_client client(name.path);
            CHECK(client.ask("x") == "X");
        }
    };
    serve(50);
    REQUIRE(server.printed("requests answered: 1\n", 50));
    const DWORD before = ipc::test::handle_count(server.a.process());
    serve(500);
    REQUIRE(server.printed("requests answered: 1\n", 550));
    CHECK(ipc::test::handle_count(server.a.process()) < before + 20);
    server.stop();
}

PAIR_TEST("Ctrl+C removes the socket's file, with clients in each phase") {
    const test_name name;
    running_server server(name);
    CHECK(name.has_file());
    raw_client silent(name.path);
    raw_client in_the_middle(name.path);
    raw_client unread(name.path);
    REQUIRE(in_the_middle.send_bytes("\0\0"));
    REQUIRE(unread.send_message("a reply that waits"));
    REQUIRE(unread.receive_message());
    server.stop();
    CHECK_FALSE(name.has_file());
    CHECK_FALSE(silent.receive_message());
    CHECK_FALSE(in_the_middle.receive_message());
}

PAIR_TEST("The file of a crashed server stays, and the next server removes it and serves") {
    const test_name name;
    {
        running_server crashed(name);
        crashed.a.kill();
        REQUIRE(crashed.a.wait());
    }
    REQUIRE(name.has_file());
    CHECK(raw_client(name.path).error() == WSAECONNREFUSED);
    program b(name.b({L"--limit", L"1"}));
    check_failed(b, "B: no server at " + ipc::to_utf8(name.path) + ": start processA first");
    running_server next(name);
    CHECK(raw_client(name.path).ask("hello") == "HELLO");
    next.stop();
    CHECK_FALSE(name.has_file());
}

PAIR_TEST("A second server is refused, and takes no client from the first one") {
    const test_name name;
    running_server first(name);
    raw_client early(name.path);
    CHECK(early.ask("before") == "BEFORE");
    program second(name.a());
    check_failed(second, "A: another server has this path: " + ipc::to_utf8(name.path));
    CHECK(second.output().empty());
    CHECK(early.ask("after") == "AFTER");
    CHECK(raw_client(name.path).ask("late") == "LATE");
    first.stop();
}

PAIR_TEST(
    "A server that hangs keeps its path: a second one does not take its file for a stale one") {
    const test_name name;
    running_server first(name);
    {
        const ipc::test::suspended hung(first.a);
        program second(name.a());
        check_failed(second, "A: another server has this path: ");
        CHECK(name.has_file());
    }
    CHECK(raw_client(name.path).ask("awake") == "AWAKE");
    first.stop();
}

PAIR_TEST("Of five servers that find a stale file at the same time, one gets the path") {
    const test_name name;
    {
        running_server crashed(name);
        crashed.a.kill();
        REQUIRE(crashed.a.wait());
    }
    std::vector<std::unique_ptr<program>> servers;
    for (int i = 0; i < 5; ++i) {
        servers.push_back(std::make_unique<program>(name.a({L"--clients", L"1"})));
    }
    const auto failed = [&] {
        return std::ranges::count_if(servers, [](const auto& server) {
            return server->error_output().find("A: another server has this path") == 0;
        });
    };
    const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
    while (failed() < 4 && GetTickCount64() < end) {
        Sleep(10);
    }
    CHECK(failed() == 4);
    CHECK(raw_client(name.path).ask("who is it") == "WHO IS IT");
    CHECK(std::ranges::count_if(servers, [](const auto& server) {
              return server->wait() && server->exit_code() == 0;
          }) == 1);
}

PAIR_TEST("What is no socket is not removed: a file, an empty file, a folder") {
    const test_name name;
    const std::filesystem::path path(name.path);
    std::filesystem::create_directories(path.parent_path());
    const auto check_refused = [&] {
        program a(name.a());
        check_failed(a, "A: not a socket, so it is not removed: " + ipc::to_utf8(name.path));
        CHECK(name.has_file());
    };
    std::ofstream(path, std::ios::binary) << "precious";
    check_refused();
    CHECK(ipc::test::read_file(name.path) == "precious");
    program b(name.b({L"--limit", L"1"}));
    check_failed(b, "B: ");
    std::ofstream(path, std::ios::binary | std::ios::trunc).flush();
    check_refused();
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
    check_refused();
    std::filesystem::remove(path);
    // A junction is a reparse point, too, with another tag. Wine cannot create one.
    const std::wstring target = path.parent_path().wstring();
    const auto junction = ipc::test::run({L"cmd.exe", L"/c", L"mklink", L"/J", name.path, target});
    CHECK((junction.exit_code == 0 || ipc::test::is_wine()));
    if (name.has_file()) {
        check_refused();
        RemoveDirectoryW(name.path.c_str());
    }
}

PAIR_TEST("Without its file, a server keeps its clients and gets no new ones") {
    const test_name name;
    running_server server(name);
    raw_client client(name.path);
    CHECK(client.ask("before") == "BEFORE");
    REQUIRE(DeleteFileW(name.path.c_str())); // Windows allows it
    CHECK(client.ask("after") == "AFTER");
    CHECK(raw_client(name.path).error() == WSAECONNREFUSED);
    server.stop(); // and finds nothing to remove
}

PAIR_TEST("A path that is too long is refused by both, and leaves no file") {
    need_unix_sockets();
    const std::wstring name(90, L'n');
    program a(command(process_a, name, {}));
    check_failed(a, "A: the socket's path takes ");
    program b(command(process_b, name, {}));
    check_failed(b, "B: the socket's path takes ");
    CHECK(GetFileAttributesW((socket_path(name) + L".lock").c_str()) == INVALID_FILE_ATTRIBUTES);
}

PAIR_TEST("bind and connect say what this pair expects of a missing folder, a missing file and an "
          "old one") {
    const test_name name;
    std::filesystem::create_directories(std::filesystem::path(name.path).parent_path());
    const ipc::test::temporary_folder files;
    const auto bind_error = [](const std::wstring& path) {
        const sockaddr_un address = make_address(path);
        const unique_socket socket = create_unix_socket();
        const auto* const to = reinterpret_cast<const sockaddr*>(&address);
        return bind(socket.get(), to, sizeof address) == 0 ? 0 : WSAGetLastError();
    };
    CHECK(raw_client(name.path).error() == WSAECONNREFUSED);
    CHECK(bind_error(files.file(L"no_such_folder") + L"\\x.sock") == WSAENETDOWN);
    const std::wstring path = files.file(L"\u4F60.sock");
    CHECK(bind_error(path) == 0);
    CHECK(GetFileAttributesW(path.c_str()) != INVALID_FILE_ATTRIBUTES); // the path is UTF-8
    CHECK(bind_error(path) == WSAEADDRINUSE); // although the socket is closed
    CHECK(DeleteFileW(path.c_str()));
}

PAIR_TEST("B may be started before A, and waits for it until its limit") {
    const test_name name;
    program late(name.b({L"--limit", L"1"}));
    check_failed(late, "B: no server at ");
    program b(name.b({L"early"}));
    CHECK_FALSE(b.wait(300)); // it would end now if it did not wait for A
    running_server server(name, {L"--clients", L"1"});
    check_succeeded(b, "B: EARLY");
    check_succeeded(server.a, "A: the end; clients served: 1");
}

PAIR_TEST("B waits for A also if even the folder is missing") {
    need_unix_sockets();
    const std::wstring local = local_app_data::get() + L"\\" + ipc::test::unique_suffix();
    const local_app_data changed(local);
    {
        const test_name name;
        CHECK(raw_client(name.path).error() == WSAENETDOWN);
        program late(name.b({L"--limit", L"1"}));
        check_failed(late, "B: no server at ");
        REQUIRE(CreateDirectoryW(local.c_str(), nullptr)); // A creates the one in it
        program b(name.b({L"early"}));
        running_server server(name, {L"--clients", L"1"});
        check_succeeded(b, "B: EARLY");
        check_succeeded(server.a, "A: the end; clients served: 1");
    }
    std::error_code ignored;
    std::filesystem::remove_all(local, ignored);
}

PAIR_TEST("B does not wait longer than its limit for a server that is silent or slow, and says "
          "when it leaves") {
    {
        const test_name name;
        const hostile_server server(name);
        program b(name.b({L"--limit", L"1", L"hello"}));
        const unique_socket client = server.accept_request();
        check_failed(b, "B: the server did not answer in time");
    }
    {
        const test_name name;
        const hostile_server server(name);
        program b(name.b({L"--limit", L"1", L"hello"}));
        const unique_socket client = server.accept_request();
        const ULONGLONG start = GetTickCount64();
        send(client.get(), "\0\0\0\5", 4, 0);
        for (int i = 0; i < 4 && !b.wait(500); ++i) {
            send(client.get(), "x", 1, 0); // each byte comes in time
        }
        check_failed(b, "B: the server did not answer in time");
        CHECK(GetTickCount64() - start < 30'000);
    }
    {
        const test_name name;
        const hostile_server server(name);
        program b(name.b({L"hello"}));
        unique_socket client = server.accept_request();
        client = unique_socket();
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.exit_code() == 1); // "closed the connection" or "reset", as the system sees it
        CHECK_THAT(b.error_output(), StartsWith("B: the server "));
    }
    {
        const test_name name;
        const hostile_server server(name);
        program b(name.b({L"hello"}));
        const unique_socket client = server.accept_request();
        send(client.get(), "\xFF\xFF\xFF\xFF", 4, 0);
        check_failed(b, "B: the reply is longer than the protocol allows");
    }
    {
        const test_name name;
        const hostile_server server(name);
        program b(name.b({L"hello"}));
        const unique_socket client = server.accept_request();
        send(client.get(), "\0\0\0\1X?", 6, 0); // and a byte that nobody asked for
        check_failed(b, "B: the server sent more than it was asked for");
        CHECK(b.output() == "B: X\n");
    }
}

PAIR_TEST("Twenty times killed at a random moment, a server leaves nothing that the next one "
          "cannot remove") {
    const test_name name;
    std::mt19937 random(19);
    for (int round = 0; round < 20; ++round) {
        running_server server(name);
        std::jthread client([&](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                // Wine 8 can keep the sockets of a killed program open: then no reply and no end comes.
                raw_client connected(name.path, 1'000);
                try {
                    connected.ask("x");
                } catch (const std::runtime_error&) {
                    continue;
                }
            }
        });
        Sleep(random() % 30);
        server.a.kill();
        REQUIRE(server.a.wait());
    }
    running_server server(name);
    CHECK(raw_client(name.path).ask("alive") == "ALIVE");
    server.stop();
}

PAIR_TEST("Twenty clients killed at a random moment cost the server nothing") {
    const test_name name;
    // Wine's TCP does not always end a pending receive when the connection is reset: then the limit does.
    running_server server(name, {L"--limit", L"2"});
    const ipc::test::temporary_folder files;
    {
        std::ofstream lines(std::filesystem::path(files.file(L"in.txt")), std::ios::binary);
        for (int i = 0; i < 200'000; ++i) {
            lines << "line\n";
        }
    }
    std::mt19937 random(20);
    for (int round = 0; round < 20; ++round) {
        program b(name.b({L"--in", files.file(L"in.txt")}));
        REQUIRE(b.wait_for_output("B: LINE"));
        Sleep(random() % 20);
        b.kill();
        REQUIRE(b.wait());
    }
    const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
    while (count(server.a.output(), "requests answered: ") < 20 && GetTickCount64() < end) {
        Sleep(10);
    }
    CHECK(count(server.a.output(), "requests answered: ") == 20);
    CHECK(raw_client(name.path).ask("alive") == "ALIVE");
    server.stop();
}

#ifndef UNIX_OVER_TCP

namespace {

// The rights of the socket's file. Without the first flag, CreateFileW fails with ERROR_CANT_ACCESS_FILE.
class file_rights {
public:
    explicit file_rights(const std::wstring& path)
        : file_(CreateFileW(path.c_str(), READ_CONTROL | WRITE_DAC,
                            FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING,
                            FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS, nullptr)) {
        REQUIRE(file_);
        REQUIRE(GetSecurityInfo(file_.get(), SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                                nullptr, &dacl_, nullptr, &descriptor_) == ERROR_SUCCESS);
        REQUIRE(dacl_ != nullptr);
        ipc::unique_handle token;
        REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put()));
        DWORD size = 0;
        REQUIRE(GetTokenInformation(token.get(), TokenUser, user_.data(),
                                    static_cast<DWORD>(user_.size()), &size));
    }
    ~file_rights() { LocalFree(descriptor_); }
    file_rights(const file_rights&) = delete;
    file_rights& operator=(const file_rights&) = delete;

    PSID user() const { return reinterpret_cast<const TOKEN_USER*>(user_.data())->User.Sid; }

    // Whether somebody may write who is not this user, an administrator or the system.
    bool lets_others_write() const {
        for (DWORD i = 0; i < dacl_->AceCount; ++i) {
            void* entry = nullptr;
            REQUIRE(GetAce(dacl_, i, &entry));
            auto* const allowed = static_cast<ACCESS_ALLOWED_ACE*>(entry);
            PSID const sid = &allowed->SidStart;
            const bool is_known = EqualSid(sid, user()) || IsWellKnownSid(sid, WinLocalSystemSid) ||
                                  IsWellKnownSid(sid, WinBuiltinAdministratorsSid);
            if (allowed->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && !is_known &&
                (allowed->Mask & (FILE_WRITE_DATA | GENERIC_WRITE | GENERIC_ALL)) != 0) {
                return true;
            }
        }
        return false;
    }

    void refuse_user(DWORD rights) {
        EXPLICIT_ACCESSW refused{rights, DENY_ACCESS, NO_INHERITANCE, {}};
        refused.Trustee.TrusteeForm = TRUSTEE_IS_SID;
        refused.Trustee.ptstrName = static_cast<wchar_t*>(user());
        ACL* changed = nullptr;
        REQUIRE(SetEntriesInAclW(1, &refused, dacl_, &changed) == ERROR_SUCCESS);
        const DWORD error = SetSecurityInfo(file_.get(), SE_FILE_OBJECT, DACL_SECURITY_INFORMATION,
                                            nullptr, nullptr, changed, nullptr);
        LocalFree(changed);
        REQUIRE(error == ERROR_SUCCESS);
    }

private:
    ipc::unique_handle file_;
    ACL* dacl_ = nullptr;
    PSECURITY_DESCRIPTOR descriptor_ = nullptr;
    alignas(TOKEN_USER) std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE> user_{};
};

} // namespace

TEST_CASE(
    "Only the user, administrators and the system may write to the socket's file, and whoever "
    "may not write to it cannot connect") {
    const test_name name;
    running_server server(name);
    {
        file_rights rights(name.path);
        CHECK_FALSE(rights.lets_others_write());
        CHECK(raw_client(name.path).error() == 0);
        rights.refuse_user(FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES |
                           FILE_WRITE_EA);
    }
    CHECK(raw_client(name.path).error() == WSAEACCES);
    program b(name.b());
    check_failed(b, "B: connect failed: WSAEACCES (10013)");
    server.stop();
}

#endif
