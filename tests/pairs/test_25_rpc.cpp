#include "common/deadline.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/25_rpc/protocol.hpp"
#include "demos/25_rpc/rpc_status.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <winsock2.h>

#include <windows.h>

#include <rpc.h>

#include "requests.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// The stubs get memory here.
void* __RPC_USER midl_user_allocate(std::size_t bytes) {
    return ::operator new(bytes, std::nothrow);
}
void __RPC_USER midl_user_free(void* memory) {
    ::operator delete(memory);
}

namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::program;
using ipc::test::program_path;

constexpr const char* unavailable = "B: open_session failed: RPC_S_SERVER_UNAVAILABLE (1722): ";

std::size_t count(std::string_view text, std::string_view part) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; ++found) {
        at += part.size();
    }
    return found;
}

std::vector<std::wstring> command(std::wstring_view file, const std::wstring& suffix,
                                  const std::vector<std::wstring>& arguments) {
    std::vector<std::wstring> all = {program_path(L"25_rpc", file), L"--name", suffix, L"--limit",
                                     L"60"}; // the last --limit counts
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
}

class running_server {
public:
    explicit running_server(const std::vector<std::wstring>& options = {},
                            std::wstring name_suffix = ipc::test::unique_suffix())
        : suffix(std::move(name_suffix)), a(command(L"processA.exe", suffix, options)) {
        REQUIRE(a.wait_for_output("A: the server waits for calls\n"));
        REQUIRE(a.error_output().empty());
    }

    std::vector<std::wstring> client(const std::vector<std::wstring>& arguments) const {
        return command(L"processB.exe", suffix, arguments);
    }

    // Waits, within the limit, until the server has printed the text as often as expected.
    std::size_t printed(std::string_view text, std::size_t expected) {
        const ULONGLONG end_ms = GetTickCount64() + ipc::test::default_limit_ms;
        while (count(a.output(), text) < expected && GetTickCount64() < end_ms && !a.wait(10)) {}
        return count(a.output(), text);
    }

    void stop() {
        a.press_ctrl_c();
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        CHECK(a.error_output().empty());
    }

    const std::wstring suffix;
    program a;
};

// A client whose calls are steps of the test: it also sends what processB would not.
class raw_client {
public:
    explicit raw_client(const running_server& server)
        : raw_client(L"ncalrpc:[" + ipc::object_name(protocol::endpoint, server.suffix) + L"]") {}
    explicit raw_client(const std::wstring& binding_text) {
        REQUIRE(RpcBindingFromStringBindingW(rpc_text(binding_text), &binding_) == RPC_S_OK);
    }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;
    ~raw_client() {
        if (session != nullptr) {
            RpcSmDestroyClientContext(&session);
        }
        RpcBindingFree(&binding_);
    }

    RPC_BINDING_HANDLE binding() const { return binding_; }

    RPC_STATUS open() {
        return status_of([&] { return open_session(binding_, &session); });
    }

    // Sends bytes of the text, and says that there are so many. Returns the reply, or nothing.
    std::optional<std::string> ask(std::string_view text, std::size_t bytes) {
        unsigned long reply_bytes = 0;
        byte* reply = nullptr;
        const ipc::scope_exit free_reply([&] { midl_user_free(reply); });
        error = status_of([&] {
            return make_reply(session, static_cast<unsigned long>(bytes),
                              reinterpret_cast<const byte*>(text.data()), &reply_bytes, &reply);
        });
        return error == RPC_S_OK
                   ? std::optional(std::string(reinterpret_cast<const char*>(reply), reply_bytes))
                   : std::nullopt;
    }
    std::optional<std::string> ask(std::string_view text) { return ask(text, text.size()); }

    RPC_STATUS close() {
        return status_of([&] { return close_session(&session); });
    }

    session_handle session = nullptr;
    RPC_STATUS error = RPC_S_OK; // of the last ask

private:
    RPC_BINDING_HANDLE binding_ = nullptr;
};

bool is_served(const running_server& server) {
    raw_client client(server);
    return client.open() == RPC_S_OK && client.ask("are you there?") == "ARE YOU THERE?" &&
           client.close() == RPC_S_OK;
}

std::string random_bytes(std::size_t bytes) {
    std::mt19937 random(1);
    std::string text(bytes, '\0');
    std::ranges::generate(text, [&] { return static_cast<char>(random()); });
    return text;
}

std::string upper_case(std::string text) {
    std::ranges::transform(text, text.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    return text;
}

void write_lines(const std::wstring& path, std::size_t lines, std::size_t bytes) {
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    for (std::size_t i = 0; i < lines; ++i) {
        file << std::string(bytes, 'x') << '\n';
    }
}

} // namespace

// What the calls do

TEST_CASE("A message of any size up to 1 MiB and of any bytes is one request and one reply") {
    running_server server;
    raw_client client(server);
    REQUIRE(client.open() == RPC_S_OK);
    for (const std::size_t bytes :
         std::vector<std::size_t>{0, 1, 2, 4095, 4096, 5000, 65536, 1048575, 1048576, 0, 5}) {
        INFO(bytes << " bytes");
        const std::string request = random_bytes(bytes);
        CHECK((client.ask(request) == upper_case(request))); // or Catch2 prints 1 MiB
    }
    CHECK(client.close() == RPC_S_OK);
    CHECK(client.session == nullptr);
    CHECK(server.printed("A: a client left; requests answered: 11\n", 1) == 1);
    server.stop();
}

TEST_CASE("A request of more than 1 MiB is refused before it reaches the server's function") {
    running_server server;
    raw_client client(server);
    REQUIRE(client.open() == RPC_S_OK);
    const std::string text(8 * 1048576, 'x');
    for (const std::size_t bytes : std::vector<std::size_t>{1048577, 2097152, text.size()}) {
        INFO(bytes << " bytes");
        CHECK_FALSE(client.ask(text, bytes).has_value());
        CAPTURE(client.error);
        CHECK((client.error == RPC_S_INVALID_BOUND || client.error == RPC_X_BAD_STUB_DATA));
    }
    CHECK(client.ask("still here") == "STILL HERE");
    CHECK(client.close() == RPC_S_OK);
    CHECK(server.printed("A: a client left; requests answered: 1\n", 1) == 1);
    server.stop();
}

TEST_CASE("16 clients at once all get their own replies") {
    running_server server;
    std::vector<std::unique_ptr<program>> clients;
    for (int i = 0; i < 16; ++i) {
        std::vector<std::wstring> requests;
        for (int j = 0; j < 20; ++j) {
            requests.push_back(L"client " + std::to_wstring(100 * i + j));
        }
        clients.push_back(std::make_unique<program>(server.client(requests)));
    }
    for (int i = 0; i < 16; ++i) {
        std::string expected;
        for (int j = 0; j < 20; ++j) {
            expected += "B: CLIENT " + std::to_string(100 * i + j) + "\n";
        }
        program& client = *clients[static_cast<std::size_t>(i)];
        check_succeeded(client, "B: CLIENT " + std::to_string(100 * i + 19));
        CHECK(client.output() == expected);
    }
    CHECK(server.printed("A: a client left; requests answered: 20\n", 16) == 16);
    server.stop();
}

TEST_CASE("16 sessions of one client at once do not mix") {
    running_server server;
    raw_client first(
        server); // under Wine 8, first calls at the same time would not share an association
    REQUIRE(first.open() == RPC_S_OK);
    std::atomic<int> good = 0;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 16; ++i) {
            threads.emplace_back([&, i] {
                raw_client client(L"ncalrpc:[" +
                                  ipc::object_name(protocol::endpoint, server.suffix) + L"]");
                bool right = client.open() == RPC_S_OK;
                for (int j = 0; j < 20; ++j) {
                    const std::string request(static_cast<std::size_t>(1 + i * 4000),
                                              static_cast<char>('a' + i));
                    right = right && client.ask(request) == upper_case(request);
                }
                good += right && client.close() == RPC_S_OK;
            });
        }
    }
    CHECK(good == 16);
    CHECK(server.printed("A: a client left; requests answered: 20\n", 16) == 16);
    server.stop();
}

TEST_CASE("A session that is closed or null is refused, and the server goes on") {
    running_server server;
    raw_client client(server);
    REQUIRE(client.open() == RPC_S_OK);
    CHECK(client.close() == RPC_S_OK);
    CHECK_FALSE(client.ask("x").has_value()); // the stub: there is no session
    CHECK(client.error == RPC_X_SS_IN_NULL_CONTEXT);
    CHECK(client.close() != RPC_S_OK);
    CHECK(is_served(server));
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 2\n"));
}

TEST_CASE("Thousands of calls and sessions cost neither handles nor memory") {
    running_server server;
    const auto work = [&](int sessions) {
        for (int i = 0; i < sessions; ++i) {
            raw_client client(server);
            REQUIRE(client.open() == RPC_S_OK);
            for (int j = 0; j < 20; ++j) {
                REQUIRE(client.ask("request").has_value());
            }
            if (i % 10 == 0) {
                REQUIRE(client.ask(std::string(1048576, 'x')).has_value());
            }
            REQUIRE(client.close() == RPC_S_OK);
        }
        REQUIRE(is_served(server));
    };
    work(20);
    const DWORD handles = ipc::test::handle_count(server.a.process());
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    const DWORD own_handles = ipc::test::handle_count(GetCurrentProcess());
    const std::uint64_t own_memory = ipc::test::memory_bytes(GetCurrentProcess());
    work(80);
    CHECK(server.printed("A: a client left; ", 102) == 102);
    CHECK(ipc::test::handle_count(server.a.process()) <= handles + 10);
    CHECK(ipc::test::memory_bytes(server.a.process()) < memory + 4 * 1048576);
    CHECK(ipc::test::handle_count(GetCurrentProcess()) <= own_handles + 10);
    CHECK(ipc::test::memory_bytes(GetCurrentProcess()) < own_memory + 4 * 1048576);
    server.stop();
}

TEST_CASE("Failed calls cost neither handles nor memory") {
    const auto fail = [](int calls) {
        for (int i = 0; i < calls; ++i) {
            raw_client client(L"ncalrpc:[" + ipc::test::unique_suffix() + L"]");
            REQUIRE(client.open() == RPC_S_SERVER_UNAVAILABLE);
        }
    };
    fail(100);
    const DWORD handles = ipc::test::handle_count(GetCurrentProcess());
    const std::uint64_t memory = ipc::test::memory_bytes(GetCurrentProcess());
    fail(1000);
    CHECK(ipc::test::handle_count(GetCurrentProcess()) <= handles + 10);
    CHECK(ipc::test::memory_bytes(GetCurrentProcess()) < memory + 1048576);
}

TEST_CASE("An exception of RPC becomes a code, in any number, and a result stays as it is") {
    for (long i = 0; i < 1000; ++i) {
        const RPC_STATUS status = status_of([&]() -> error_status_t {
            if (i % 2 == 0) {
                RpcRaiseException(RPC_S_CALL_FAILED + i % 5);
            }
            return static_cast<error_status_t>(i);
        });
        REQUIRE(status == (i % 2 == 0 ? RPC_S_CALL_FAILED + i % 5 : i));
    }
}

// What goes wrong

TEST_CASE("Without a server, B fails after its limit, with one line") {
    program b(command(L"processB.exe", ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(b, unavailable);
}

TEST_CASE("A second server with the name is refused") {
    running_server server;
    program second(command(L"processA.exe", server.suffix, {}));
    if (second.wait_for_output("A: the server waits", 3000)) {
        SKIP("this system lets two servers share an endpoint of ncalrpc, as Wine does");
    }
    check_failed(second, "A: RpcServerUseProtseqEpW failed: RPC_S_DUPLICATE_ENDPOINT (1740): ");
    CHECK(is_served(server));
}

TEST_CASE("When a client is killed, at any moment, its session runs down and the server goes on") {
    const ipc::test::temporary_folder folder;
    write_lines(folder.file(L"in"), 2000, 50'000);
    running_server server;
    std::mt19937 random(20);
    for (std::size_t i = 1; i <= 20; ++i) {
        program b(server.client({L"--in", folder.file(L"in")}));
        REQUIRE(b.wait_for_output("B: X"));
        b.wait(random() % 30);
        b.kill();
        REQUIRE(b.wait());
        CHECK(server.printed("A: a client did not close its session; ", i) == i);
    }
    CHECK(is_served(server));
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 21\n"));
}

TEST_CASE("When the server is killed, at any moment, a client ends with one line") {
    const ipc::test::temporary_folder folder;
    write_lines(folder.file(L"in"), 2000, 50'000);
    std::mt19937 random(21);
    for (int i = 0; i < 12; ++i) {
        running_server server;
        program b(server.client({L"--limit", L"20", L"--in", folder.file(L"in")}));
        REQUIRE(b.wait_for_output("B: X"));
        b.wait(random() % 30);
        server.a.kill();
        check_failed(b, "B: make_reply failed: RPC_S_");
        CAPTURE(b.error_output()); // during a call, or between two of them
        CHECK((b.error_output().find(" RPC_S_CALL_FAILED (1726): ") != std::string::npos ||
               b.error_output().find(" RPC_S_CALL_FAILED_DNE (1727): ") != std::string::npos ||
               b.error_output().find(" RPC_S_SERVER_UNAVAILABLE (1722): ") != std::string::npos));
    }
}

namespace {

// Holds a process as a debugger at a breakpoint does: also threads that Windows would add to answer a call.
class held_by_debugger {
public:
    explicit held_by_debugger(const program& process) : id_(process.id()) {
        REQUIRE(DebugActiveProcess(id_));
        DebugSetProcessKillOnExit(FALSE);
        is_held_ = WaitForDebugEvent(&event_, ipc::test::default_limit_ms) != FALSE;
        CHECK(is_held_);
    }
    ~held_by_debugger() {
        if (is_held_) {
            CloseHandle(event_.u.CreateProcessInfo.hFile); // the first event is this one
            ContinueDebugEvent(event_.dwProcessId, event_.dwThreadId, DBG_CONTINUE);
        }
        DebugActiveProcessStop(id_);
    }
    held_by_debugger(const held_by_debugger&) = delete;
    held_by_debugger& operator=(const held_by_debugger&) = delete;

private:
    DWORD id_;
    DEBUG_EVENT event_{};
    bool is_held_ = false;
};

} // namespace

TEST_CASE("A server that does not answer costs B its limit and no more") {
    const ipc::test::temporary_folder folder;
    write_lines(folder.file(L"in"), 20'000, 1000);
    running_server server;
    raw_client client(server);
    REQUIRE(client.open() == RPC_S_OK);
    {
        const held_by_debugger stopped(server.a);
        const ULONGLONG start_ms = GetTickCount64();
        program b(server.client({L"--limit", L"1", L"x"}));
        check_failed(b, "B: the server did not answer in time");
        CHECK(GetTickCount64() - start_ms >= 900);
        CHECK(GetTickCount64() - start_ms < 20'000);
    }
    {
        program b(server.client({L"--limit", L"1", L"--in", folder.file(L"in")}));
        REQUIRE(b.wait_for_output("B: X")); // it has a session, and calls make_reply
        const held_by_debugger stopped(server.a);
        const ULONGLONG start_ms = GetTickCount64();
        // No documentation promises that a call of ncalrpc can be cancelled. B ends in both cases.
        check_failed(b, "B: the server did not answer in time");
        CHECK(GetTickCount64() - start_ms < 20'000);
    }
    CHECK(client.ask("still here") == "STILL HERE");
    CHECK(is_served(server));
    server.stop();
}

TEST_CASE("Ctrl+C ends a server with open sessions, and the next call of a client fails") {
    running_server server;
    raw_client client(server);
    REQUIRE(client.open() == RPC_S_OK);
    REQUIRE(client.ask("x") == "X");
    server.stop();
    CHECK_THAT(server.a.output(), ContainsSubstring("\nA: the end; clients served: "));
    CHECK_FALSE(client.ask("x").has_value());
    CHECK(client.error != RPC_S_OK);
}

TEST_CASE("Ctrl+C ends a busy server") {
    for (int i = 0; i < 5; ++i) {
        running_server server;
        std::atomic<int> busy = 0;
        std::atomic<bool> is_over = false;
        std::vector<std::jthread> threads;
        const ipc::scope_exit end([&] { is_over = true; }); // also if a check throws
        for (int j = 0; j < 4; ++j) {
            threads.emplace_back([&, j] {
                raw_client client(server);
                const std::string request(j % 2 == 0 ? 10 : 1048576, 'x');
                client.open();
                while (client.ask(request) && !is_over) {
                    ++busy;
                }
            });
        }
        const ipc::deadline limit(ipc::test::default_limit_ms);
        while (busy < 20 && limit.left_ms() != 0) {
            SwitchToThread();
        }
        REQUIRE(busy >= 20);
        server.stop();
    }
}

TEST_CASE("A new server can use the name at once, after Ctrl+C and after a kill") {
    const std::wstring suffix = ipc::test::unique_suffix();
    for (int i = 0; i < 4; ++i) {
        running_server server({}, suffix);
        CHECK(is_served(server));
        if (i % 2 == 0) {
            server.stop();
        } else {
            server.a.kill();
            REQUIRE(server.a.wait());
        }
    }
}

TEST_CASE("A line that is too long for the protocol ends B, and the server notices it") {
    const ipc::test::temporary_folder folder;
    write_lines(folder.file(L"in"), 1, 1048577);
    running_server server;
    program b(server.client({L"--in", folder.file(L"in")}));
    check_failed(b, "B: a request is longer than the protocol allows\n");
    CHECK(server.printed("A: a client did not close its session; ", 1) == 1);
}

TEST_CASE("Wrong arguments end each program with a usage line") {
    for (const auto* file : {L"processA.exe", L"processB.exe"}) {
        for (const std::vector<std::wstring>& wrong : std::vector<std::vector<std::wstring>>{
                 {L"--tcp"}, {L"--tcp", L"65536"}, {L"--nonsense"}}) {
            const ipc::test::result ended =
                ipc::test::run(command(file, ipc::test::unique_suffix(), wrong));
            CAPTURE(ended.error_output);
            CHECK(ended.exit_code == 2);
            CHECK_THAT(ended.error_output, ContainsSubstring("usage: process"));
        }
    }
}

// The endpoint mapper and TCP

// The mapper has one entry for the interface, so no other test uses it.
TEST_CASE("With --mapper, a client finds the server by its interface, until the server ends") {
    for (const bool killed :
         {true, false}) { // the second server replaces what the first left there
        running_server server({L"--mapper"});
        program b(server.client({L"--mapper", L"mapped"}));
        check_succeeded(b, "B: MAPPED");
        CHECK(server.printed("A: a client left; requests answered: 1\n", 1) == 1);
        if (killed) {
            server.a.kill();
            REQUIRE(server.a.wait());
        } else {
            program with_name(server.client({L"--limit", L"1", L"x"}));
            check_failed(with_name, unavailable);
            server.stop();
        }
        program late(server.client({L"--mapper", L"--limit", L"1", L"late"}));
        check_failed(late, "B: open_session failed: ");
        CHECK(
            (late.error_output().find(" EPT_S_NOT_REGISTERED (1753): ") != std::string::npos ||
             late.error_output().find(" RPC_S_SERVER_UNAVAILABLE (1722): ") != std::string::npos));
    }
}

namespace {

struct winsock_library {
    winsock_library() {
        WSADATA data{};
        WSAStartup(MAKEWORD(2, 2), &data);
    }
};
const winsock_library library;

SOCKET connect_to_port(u_short port) {
    const SOCKET client = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return client;
}

// A port that nobody has at this moment.
u_short free_port() {
    const SOCKET probe = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int size = sizeof address;
    REQUIRE(bind(probe, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    closesocket(probe);
    return ntohs(address.sin_port);
}

// Types of packets.
constexpr int response = 2;
constexpr int fault = 3;
constexpr int bind_accepted = 12;
constexpr std::uint32_t function_crashed = 0x1c000002; // nca_s_fault_addr_error

// A packet of the protocol below RPC (DCE/RPC, "connection-oriented"). Flags 3: the first fragment and
// the last one.
std::string packet(char type, const std::string& body, char flags = 3) {
    const std::size_t bytes = 16 + body.size();
    return std::string{5, 0, type, flags, 0x10, 0, 0, 0} + static_cast<char>(bytes % 256) +
           static_cast<char>(bytes / 256) + std::string("\0\0\x01\0\0\0", 6) + body;
}

// Opens the interface of requests.idl: its UUID with version 1.0, then the UUID of the data format NDR.
std::string bind_packet() {
    return packet(11, std::string("\xb8\x10\xb8\x10\0\0\0\0\x01\0\0\0\0\0\x01\0"
                                  "\x0a\x5e\x0c\x7d\xa1\x52\xe6\x4b\x9f\x3b\x2f\x5d\x3c\x1a\x25\x01"
                                  "\x01\0\0\0"
                                  "\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\0\x2b\x10\x48\x60"
                                  "\x02\0\0\0",
                                  56));
}

std::string call_packet(char function, const std::string& arguments, char flags = 3) {
    return packet(0, std::string("\xff\0\0\0\0\0", 6) + function + '\0' + arguments, flags);
}

struct answer {
    int type = -1;            // no packet
    std::uint32_t status = 0; // of a fault
};

answer next_packet(SOCKET client) {
    std::array<char, 272> buffer{};
    if (recv(client, buffer.data(), 16, MSG_WAITALL) != 16) {
        return {};
    }
    const int rest = static_cast<unsigned char>(buffer[8]) - 16; // packets here are short
    recv(client, buffer.data() + 16, rest, MSG_WAITALL);
    answer found;
    found.type = static_cast<unsigned char>(buffer[2]);
    std::memcpy(&found.status, buffer.data() + 24, sizeof found.status);
    return found;
}

} // namespace

// Under Wine these calls reach the stub and its list of sessions. Windows refuses them earlier, because they come
// without authentication.
TEST_CASE("Calls with made-up sessions, sizes and functions get a fault, and the server goes on") {
    const u_short port = free_port();
    running_server server({L"--tcp", std::to_wstring(port)});
    const std::string null_session(20, '\0');
    const std::string session = std::string(4, '\0') + std::string(16, 'x');
    const std::string most(8, '\xff'); // request_bytes and the number of bytes that follow
    constexpr std::size_t null_to_close = 0;
    const std::vector<std::string> attacks = {
        call_packet(2, null_session), // null_to_close
        call_packet(1, null_session + most),
        call_packet(1, session + most),
        call_packet(1, session + most + std::string(4000, 'x')),
        call_packet(1, "x"),
        call_packet(1, ""),
        call_packet(2, session),
        call_packet(2, ""),
        call_packet(3, session),
        call_packet(127, ""),
    };
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    const auto open_interface = [&] {
        const SOCKET client = connect_to_port(port);
        const DWORD limit_ms = 20'000;
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit_ms),
                   sizeof limit_ms);
        const std::string bind = bind_packet();
        send(client, bind.data(), static_cast<int>(bind.size()), 0);
        CHECK(next_packet(client).type == bind_accepted);
        return client;
    };
    for (std::size_t i = 0; i < attacks.size(); ++i) {
        INFO("attack " << i);
        const SOCKET client = open_interface();
        send(client, attacks[i].data(), static_cast<int>(attacks[i].size()), 0);
        const answer got = next_packet(client);
        CAPTURE(got.type, got.status);
        // Wine, without a callback, lets the null session through to close_session, which refuses it.
        CHECK((got.type == fault || (i == null_to_close && got.type == response)));
        CHECK((got.status != function_crashed && got.status != ERROR_NOACCESS)); // as Wine says it
        closesocket(client);
    }
    const SOCKET unfinished = open_interface();
    const std::string first = call_packet(1, session, 1 /* the first fragment */);
    send(unfinished, first.data(), static_cast<int>(first.size()), 0);
    CHECK(is_served(server));
    CHECK(server.a.peak_memory_bytes() < memory + 32 * 1048576);
    closesocket(unfinished);
    CHECK(is_served(server));
    server.stop();
}

TEST_CASE("Garbage on the server's TCP port leaves it serving") {
    const u_short port = free_port();
    running_server server({L"--tcp", std::to_wstring(port)});
    // The header of a packet that opens a connection; byte 8 and 9 are its length.
    const std::string bind_header(
        "\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00\x00\x00\x01\x00\x00\x00", 16);
    std::string huge = bind_header;
    huge[8] = huge[9] = '\xff';
    std::string empty = bind_header;
    empty[8] = 0;
    const std::vector<std::string> attacks = {
        "",
        "x",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        random_bytes(100'000),
        bind_header,
        huge,
        huge + std::string(65535 - 16, '\xff'),
        empty,
        bind_header + std::string(56, '\xff'),
        std::string("\x05\x00\x00\x03\x10\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00"
                    "\xff\xff\xff\xff\x00\x00\xff\xff",
                    24)}; // a call without a connection
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    std::vector<SOCKET> open_clients;
    for (std::size_t i = 0; i < 3 * attacks.size(); ++i) {
        const std::string& attack = attacks[i % attacks.size()];
        INFO("attack " << i);
        const SOCKET client = connect_to_port(port);
        send(client, attack.data(), static_cast<int>(attack.size()), 0);
        if (i < attacks.size()) {
            open_clients.push_back(client);
        } else {
            closesocket(client);
        }
        CHECK(is_served(server));
    }
    CHECK(server.a.peak_memory_bytes() < memory + 32 * 1048576);
    for (const SOCKET client : open_clients) {
        closesocket(client);
    }
    server.stop();
}

TEST_CASE("Over TCP, a client that does not say who it is is refused") {
    const u_short port = free_port();
    running_server server({L"--tcp", std::to_wstring(port)});
    {
        raw_client stranger(L"ncacn_ip_tcp:127.0.0.1[" + std::to_wstring(port) + L"]");
        const RPC_STATUS status = stranger.open();
        CAPTURE(status);
        CHECK((status == ERROR_ACCESS_DENIED || status == RPC_S_BINDING_HAS_NO_AUTH));
        CHECK(stranger.session == nullptr);
        CHECK(is_served(server));
    } // while it is connected, Wine's server does not end
    server.stop();
}

namespace {

// Opens a session over TCP, with NTLM and this level of protection.
RPC_STATUS open_over_tcp(const std::wstring& address, u_short port, unsigned long level) {
    raw_client client(L"ncacn_ip_tcp:" + address + L"[" + std::to_wstring(port) + L"]");
    const RPC_STATUS status = RpcBindingSetAuthInfoW(client.binding(), nullptr, level,
                                                     RPC_C_AUTHN_WINNT, nullptr, RPC_C_AUTHZ_NONE);
    return status == RPC_S_OK ? client.open() : status;
}

// An address of this computer that others can use, too, or nothing.
std::wstring own_address() {
    const SOCKET datagrams = socket(AF_INET, SOCK_DGRAM, 0); // nothing is sent
    sockaddr_in outside{};
    outside.sin_family = AF_INET;
    outside.sin_port = htons(9);
    outside.sin_addr.s_addr = htonl(0xC6336401); // 198.51.100.1, an address for examples
    sockaddr_in own{};
    int bytes = sizeof own;
    const bool found =
        connect(datagrams, reinterpret_cast<const sockaddr*>(&outside), sizeof outside) == 0 &&
        getsockname(datagrams, reinterpret_cast<sockaddr*>(&own), &bytes) == 0;
    closesocket(datagrams);
    std::wstring address;
    for (int i = 24; found && i >= 0; i -= 8) {
        address += (i == 24 ? L"" : L".") + std::to_wstring(ntohl(own.sin_addr.s_addr) >> i & 255);
    }
    return address;
}

} // namespace

TEST_CASE("Over TCP, the user's own clients are served if they encrypt and are on this computer") {
    const u_short port = free_port();
    running_server server({L"--tcp", std::to_wstring(port)});
    const RPC_STATUS status = open_over_tcp(L"127.0.0.1", port, RPC_C_AUTHN_LEVEL_PKT_PRIVACY);
    program b(server.client({L"--tcp", std::to_wstring(port), L"over tcp"}));
    if (status == RPC_S_UNKNOWN_AUTHN_SERVICE) {
        check_failed(b, "B: RpcBindingSetAuthInfoExW failed: RPC_S_UNKNOWN_AUTHN_SERVICE (1747): ");
        SKIP("this system has no NTLM, as Wine without Samba: B has sent nothing");
    }
    if (status == RPC_S_SEC_PKG_ERROR || status == ERROR_LOGON_FAILURE) {
        SKIP("this system does not allow NTLM");
    }
    CHECK(status == RPC_S_OK);
    check_succeeded(b, "B: OVER TCP");
    CHECK(open_over_tcp(L"127.0.0.1", port, RPC_C_AUTHN_LEVEL_PKT_INTEGRITY) ==
          ERROR_ACCESS_DENIED);
    if (const std::wstring address = own_address(); !address.empty()) {
        CHECK(open_over_tcp(address, port, RPC_C_AUTHN_LEVEL_PKT_PRIVACY) == ERROR_ACCESS_DENIED);
    }
    server.stop();
}
