#include "common/overlapped.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::program;
using ipc::test::run;

namespace {

const std::wstring long_limit = L"60000"; // for what must happen

std::wstring snippet(const std::wstring& name) {
    return ipc::test::program_path(L"snippets", name + L".exe");
}

std::wstring new_pipe_name() {
    return LR"(\\.\pipe\ipc_demos.snippets.)" + ipc::test::unique_suffix();
}

std::vector<std::string> output_lines(program& ended) {
    REQUIRE(ended.wait());
    REQUIRE(ended.wait_for_end_of_output());
    return ipc::test::lines_of(ended.output());
}

// Waits for the end of a program that has failed with this error code.
void check_failed(program& ended, DWORD error) {
    REQUIRE(ended.wait());
    REQUIRE(ended.wait_for_end_of_output());
    CHECK(ended.exit_code() == 1);
    INFO(ended.output());
    CHECK_THAT(ended.error_output(), ContainsSubstring("error " + std::to_string(error)));
}

// One end of a pipe. Each of its calls has a limit.
struct pipe_end {
    ipc::unique_handle pipe;

    bool accept() const {
        ipc::overlapped_call call(pipe.get());
        const BOOL done = ConnectNamedPipe(pipe.get(), call.get());
        const DWORD error = call.wait(done, ipc::test::default_limit_ms).error;
        return error == ERROR_SUCCESS || error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA;
    }

    DWORD write(std::string_view bytes) const {
        ipc::overlapped_call call(pipe.get());
        const BOOL done = WriteFile(pipe.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, call.get());
        return call.wait(done, ipc::test::default_limit_ms).error;
    }

    // Reads one message of up to 100,000 bytes.
    DWORD read(std::string& message) const {
        message.resize(100'000);
        ipc::overlapped_call call(pipe.get());
        const BOOL done = ReadFile(pipe.get(), message.data(), static_cast<DWORD>(message.size()),
                                   nullptr, call.get());
        const auto [error, bytes] = call.wait(done, ipc::test::default_limit_ms);
        message.resize(bytes);
        return error;
    }

    std::string read() const {
        std::string message;
        REQUIRE(read(message) == ERROR_SUCCESS);
        return message;
    }
};

pipe_end create_pipe(const std::wstring& name, DWORD type = PIPE_TYPE_MESSAGE) {
    const DWORD read_mode = type == PIPE_TYPE_MESSAGE ? PIPE_READMODE_MESSAGE : PIPE_READMODE_BYTE;
    return {
        ipc::unique_handle(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                            type | read_mode, 1, 4096, 4096, 0, nullptr))};
}

// A client in message read mode, or an empty handle.
pipe_end try_connect(const std::wstring& name) {
    pipe_end client{
        ipc::unique_handle(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                       OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr))};
    DWORD mode = PIPE_READMODE_MESSAGE;
    SetNamedPipeHandleState(client.pipe.get(), &mode, nullptr, nullptr);
    return client;
}

// Connects as soon as the server exists and has a free instance.
pipe_end connect(const std::wstring& name) {
    const ULONGLONG start_ms = GetTickCount64();
    pipe_end client = try_connect(name);
    while (!client.pipe && GetTickCount64() - start_ms < ipc::test::default_limit_ms) {
        Sleep(2);
        client = try_connect(name);
    }
    REQUIRE(client.pipe);
    return client;
}

// Bytes without line ends, which standard output would change.
std::string random_bytes(std::size_t size) {
    std::mt19937 random(static_cast<unsigned>(size));
    std::string bytes(size, '\0');
    std::generate(bytes.begin(), bytes.end(),
                  [&] { return static_cast<char>(random() % 200 + 32); });
    return bytes;
}

std::string reversed(const std::string& text) {
    return {text.rbegin(), text.rend()};
}

// The identity that a server may take on from its client, or -1. The server has read from the pipe.
int impersonation_level(HANDLE pipe) {
    ipc::unique_handle token;
    int level = -1;
    DWORD size = sizeof level;
    if (ImpersonateNamedPipeClient(pipe)) {
        OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, token.put());
        RevertToSelf();
        GetTokenInformation(token.get(), TokenImpersonationLevel, &level, size, &size);
    }
    return level;
}

} // namespace

TEST_CASE("Each snippet explains wrong usage and ends with exit code 2") {
    for (const auto* name :
         {L"connect_pipe", L"ask_pipe_server", L"read_write_with_limit", L"read_whole_message",
          L"pipe_server", L"share_memory", L"allow_user_or_service"}) {
        const auto result = run({snippet(name)});
        CHECK(result.exit_code == 2);
        CHECK(result.output.empty());
        CHECK_THAT(result.error_output, StartsWith("usage: "));
    }
}

// connect_pipe

TEST_CASE("connect_pipe connects to a server that waits, whatever the limit") {
    for (const auto* limit : {L"0", L"60000", L"4294967295" /* INFINITE */}) {
        const std::wstring name = new_pipe_name();
        const pipe_end server = create_pipe(name);
        const auto result = run({snippet(L"connect_pipe"), name, limit});
        CHECK(result.exit_code == 0);
        CHECK_THAT(result.output, StartsWith("connected"));
    }
}

TEST_CASE("connect_pipe waits for a server that starts later") {
    const std::wstring name = new_pipe_name();
    program client({snippet(L"connect_pipe"), name, long_limit});
    Sleep(300); // right without it, too; with it, the client has to wait
    const pipe_end server = create_pipe(name);
    CHECK(server.accept());
    CHECK(output_lines(client) == std::vector<std::string>{"connected"});
}

TEST_CASE(
    "connect_pipe waits while the server is busy, and while the pipe is missing for a moment") {
    const bool recreate = GENERATE(false, true);
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name);
    pipe_end first_client = connect(name);
    program client({snippet(L"connect_pipe"), name, long_limit});
    Sleep(300); // right without it, too; with it, the client has to wait
    first_client.pipe.reset();
    if (recreate) {
        server.pipe.reset();
        server = create_pipe(name);
    } else {
        DisconnectNamedPipe(server.pipe.get());
    }
    CHECK(server.accept());
    CHECK(output_lines(client) == std::vector<std::string>{"connected"});
}

TEST_CASE("connect_pipe gives up after its limit and says what was missing") {
    const std::wstring name = new_pipe_name();
    const ULONGLONG start_ms = GetTickCount64();
    program no_server({snippet(L"connect_pipe"), name, L"500"});
    check_failed(no_server, ERROR_FILE_NOT_FOUND);
    const pipe_end server = create_pipe(name);
    const pipe_end other_client = connect(name);
    program busy_server({snippet(L"connect_pipe"), name, L"500"});
    check_failed(busy_server, ERROR_PIPE_BUSY);
    const ULONGLONG lasted_ms = GetTickCount64() - start_ms;
    CHECK(lasted_ms >= 1'000);
    CHECK(lasted_ms < 20'000);
}

TEST_CASE("connect_pipe reports at once what waiting cannot change") {
    program client({snippet(L"connect_pipe"), LR"(C:\no such folder\pipe)", L"4294967295"});
    check_failed(client, ERROR_PATH_NOT_FOUND);
}

// ask_pipe_server

TEST_CASE("ask_pipe_server gets its reply, of any length up to the limit") {
    const std::size_t size = GENERATE(0u, 1u, 5'000u, 60'000u);
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    program client(
        {snippet(L"ask_pipe_server"), name, L"question \u00e4\u20ac", L"60000", long_limit});
    REQUIRE(server.accept());
    CHECK(server.read() == "question \u00e4\u20ac");
    const std::string reply = random_bytes(size);
    CHECK(server.write(reply) == ERROR_SUCCESS);
    const auto lines = output_lines(client);
    CHECK(client.exit_code() == 0);
    REQUIRE(lines.size() == 1);
    CHECK(lines.front() == std::to_string(size) + " bytes: " + reply);
}

TEST_CASE("ask_pipe_server sends an empty request and a large one") {
    const std::size_t size = GENERATE(0u, 30'000u);
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    program client(
        {snippet(L"ask_pipe_server"), name, std::wstring(size, L'x'), L"10", long_limit});
    REQUIRE(server.accept());
    CHECK(server.read() == std::string(size, 'x'));
    CHECK(server.write("done") == ERROR_SUCCESS);
    CHECK(output_lines(client) == std::vector<std::string>{"4 bytes: done"});
}

TEST_CASE("ask_pipe_server refuses a reply that is too long") {
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    program client({snippet(L"ask_pipe_server"), name, L"question", L"9", long_limit});
    REQUIRE(server.accept());
    server.read();
    server.write("ten bytes.");
    check_failed(client, ERROR_MORE_DATA);
}

TEST_CASE("ask_pipe_server ends when the server leaves without a reply") {
    const bool disconnect = GENERATE(false, true);
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name);
    program client({snippet(L"ask_pipe_server"), name, L"question", L"100", long_limit});
    REQUIRE(server.accept());
    server.read();
    if (disconnect) {
        DisconnectNamedPipe(server.pipe.get());
        check_failed(client, ERROR_PIPE_NOT_CONNECTED);
    } else {
        server.pipe.reset();
        check_failed(client, ERROR_BROKEN_PIPE);
    }
}

TEST_CASE("ask_pipe_server gives up on a server that reads nothing or says nothing") {
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    for (const std::size_t size : {std::size_t{8}, std::size_t{30'000}}) {
        program client(
            {snippet(L"ask_pipe_server"), name, std::wstring(size, L'x'), L"100", L"500"});
        REQUIRE(server.accept());
        check_failed(client, WAIT_TIMEOUT);
        DisconnectNamedPipe(server.pipe.get());
    }
}

TEST_CASE("ask_pipe_server has one limit for everything") {
    const std::wstring name = new_pipe_name();
    const ULONGLONG start_ms = GetTickCount64();
    program client({snippet(L"ask_pipe_server"), name, L"question", L"100", L"2000"});
    Sleep(1'500);
    const pipe_end server = create_pipe(name);
    check_failed(client, WAIT_TIMEOUT);
    CHECK(GetTickCount64() - start_ms < 3'400);
}

TEST_CASE("ask_pipe_server refuses a pipe of byte type") {
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name, PIPE_TYPE_BYTE);
    program client({snippet(L"ask_pipe_server"), name, L"question", L"100", long_limit});
    check_failed(client, ERROR_INVALID_PARAMETER);
}

TEST_CASE("A server cannot act as the user of a snippet that writes to it") {
    if (ipc::test::is_wine()) {
        SKIP("Wine lets a server impersonate its client, whatever the client allows");
    }
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    const std::vector<std::wstring> command =
        GENERATE(std::vector<std::wstring>{L"ask_pipe_server", L"text", L"100", long_limit},
                 std::vector<std::wstring>{L"read_write_with_limit", long_limit, L"1", L"text"});
    program client({snippet(command[0]), name, command[1], command[2], command[3]});
    REQUIRE(server.accept());
    server.read();
    CHECK(impersonation_level(server.pipe.get()) == SecurityIdentification);
}

// read_write_with_limit

TEST_CASE("read_write_with_limit writes, and reads to the end") {
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name, PIPE_TYPE_BYTE);
    program client({snippet(L"read_write_with_limit"), name, long_limit, L"1", L"question"});
    REQUIRE(server.accept());
    CHECK(server.read() == "question");
    const std::string reply = random_bytes(100'000);
    CHECK(server.write(reply) == ERROR_SUCCESS);
    server.pipe.reset();
    REQUIRE(client.wait());
    REQUIRE(client.wait_for_end_of_output());
    CHECK(client.exit_code() == 0);
    CHECK(client.output() == reply);
    CHECK_THAT(client.error_output(), ContainsSubstring("write: error 0, 8 bytes"));
    CHECK_THAT(client.error_output(), ContainsSubstring("end: error 109"));
}

TEST_CASE("read_write_with_limit gives up on an end that sends nothing or reads nothing") {
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name, PIPE_TYPE_BYTE);
    for (const std::size_t size : {std::size_t{8}, std::size_t{30'000}}) {
        const ULONGLONG start_ms = GetTickCount64();
        program client(
            {snippet(L"read_write_with_limit"), name, L"500", L"1", std::wstring(size, L'x')});
        REQUIRE(server.accept());
        check_failed(client, WAIT_TIMEOUT);
        CHECK(GetTickCount64() - start_ms >= 500);
        CHECK_THAT(client.error_output(),
                   StartsWith(size == 8 ? "write: error 0, 8 bytes" : "write: error 258"));
        DisconnectNamedPipe(server.pipe.get());
    }
}

TEST_CASE("read_write_with_limit loses no byte that arrives as its limit ends") {
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name, PIPE_TYPE_BYTE);
    program client({snippet(L"read_write_with_limit"), name, L"1", L"1000000", L""});
    REQUIRE(server.accept());
    std::string sent;
    LARGE_INTEGER frequency{};
    QueryPerformanceFrequency(&frequency);
    for (int i = 0; i < 700; ++i) {
        LARGE_INTEGER start{};
        LARGE_INTEGER now{};
        QueryPerformanceCounter(&start);
        do { // 0.9 to 1.3 ms: around the client's limit
            QueryPerformanceCounter(&now);
        } while ((now.QuadPart - start.QuadPart) * 10'000 < frequency.QuadPart * (9 + i % 5));
        const std::string token = std::to_string(i) + ' ';
        REQUIRE(server.write(token) == ERROR_SUCCESS);
        sent += token;
    }
    server.pipe.reset();
    REQUIRE(client.wait());
    REQUIRE(client.wait_for_end_of_output());
    CHECK(client.exit_code() == 0);
    CHECK(client.output() == sent);
}

// read_whole_message

TEST_CASE("read_whole_message reads messages of every length, empty ones included") {
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name);
    program client({snippet(L"read_whole_message"), name, L"1000000", long_limit});
    REQUIRE(server.accept());
    std::vector<std::string> expected;
    for (const std::size_t size :
         {0u, 5u, 4'095u, 4'096u, 4'097u, 8'192u, 8'193u, 0u, 0u, 1'000'000u, 1u}) {
        const std::string message = random_bytes(size);
        REQUIRE(server.write(message) == ERROR_SUCCESS);
        expected.push_back(std::to_string(size) + " bytes: " + message);
    }
    expected.emplace_back("end: error 109");
    server.pipe.reset();
    CHECK(output_lines(client) == expected);
    CHECK(client.exit_code() == 0);
}

TEST_CASE("read_whole_message takes a message of exactly its limit and no longer one") {
    const std::size_t limit = GENERATE(1u, 3'000u, 5'000u);
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    program client({snippet(L"read_whole_message"), name, std::to_wstring(limit), long_limit});
    REQUIRE(server.accept());
    const std::string message = random_bytes(limit);
    REQUIRE(server.write(message) == ERROR_SUCCESS);
    server.write(message + "x"); // is cut off
    const std::string first_line = std::to_string(limit) + " bytes: " + message;
    CHECK(output_lines(client) == std::vector<std::string>{first_line, "end: error 234"});
    CHECK(client.exit_code() == 1);
}

TEST_CASE("read_whole_message needs no memory for a message that is too long") {
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name);
    program client({snippet(L"read_whole_message"), name, L"100000", long_limit});
    REQUIRE(server.accept());
    server.write(std::string(std::size_t{64} << 20, 'x'));
    CHECK(output_lines(client) == std::vector<std::string>{"end: error 234"});
    CHECK(client.peak_memory_bytes() < 32U << 20);
}

TEST_CASE("read_whole_message gives up on a silent server, and notices that it left") {
    const bool leave = GENERATE(false, true);
    const std::wstring name = new_pipe_name();
    pipe_end server = create_pipe(name);
    program client({snippet(L"read_whole_message"), name, L"100", leave ? long_limit : L"500"});
    REQUIRE(server.accept());
    if (leave) {
        DisconnectNamedPipe(server.pipe.get());
    }
    CHECK(output_lines(client) ==
          std::vector<std::string>{leave ? "end: error 233" : "end: error 258"});
    CHECK(client.exit_code() == 1);
}

// pipe_server

namespace {

struct running_server {
    explicit running_server(const std::wstring& clients,
                            const std::wstring& idle_limit = long_limit)
        : process({snippet(L"pipe_server"), name, clients, idle_limit}) {
        REQUIRE(connect(name).pipe);
    }

    void check_orderly_end() {
        process.press_ctrl_c();
        CHECK(output_lines(process) == std::vector<std::string>{"the end"});
        CHECK(process.exit_code() == 0);
        CHECK(process.error_output().empty());
    }

    const std::wstring name = new_pipe_name();
    program process;
};

// Asks the server a few times on one connection.
bool ask(const std::wstring& name, const std::string& request, int times = 3) {
    const pipe_end client = connect(name);
    std::string reply;
    for (int i = 0; i < times; ++i) {
        if (client.write(request) != ERROR_SUCCESS || client.read(reply) != ERROR_SUCCESS ||
            reply != reversed(request)) {
            return false;
        }
    }
    return true;
}

} // namespace

TEST_CASE("pipe_server answers requests of every length up to its limit") {
    running_server server(L"1");
    for (const std::size_t size : {0u, 1u, 4'096u, 16'384u}) {
        CHECK(ask(server.name, random_bytes(size)));
    }
    {
        const pipe_end client = connect(server.name);
        CHECK(client.write(random_bytes(16'385)) == ERROR_SUCCESS);
        std::string reply;
        CHECK(client.read(reply) == ERROR_PIPE_NOT_CONNECTED);
    }
    CHECK(ask(server.name, "the next client"));
    server.check_orderly_end();
}

TEST_CASE("pipe_server survives requests that are too long and wait for it already") {
    running_server server(L"1");
    for (int i = 0; i < 30; ++i) {
        const pipe_end client = connect(server.name);
        CHECK(client.write("request") == ERROR_SUCCESS);
        client.write(random_bytes(16'385)); // comes while the server is busy with the first
    }
    CHECK(ask(server.name, "the next client"));
    server.check_orderly_end();
}

TEST_CASE("pipe_server serves clients that come before it waits for them") {
    const std::wstring name = new_pipe_name();
    program server({snippet(L"pipe_server"), name, L"200", long_limit});
    std::vector<pipe_end> clients;
    const ULONGLONG start_ms = GetTickCount64();
    while (clients.size() < 200) { // without a pause: each instance is taken as soon as it exists
        pipe_end client = try_connect(name);
        if (client.pipe) {
            clients.push_back(std::move(client));
        } else {
            REQUIRE_FALSE(server.wait(0));
        }
        REQUIRE(GetTickCount64() - start_ms < ipc::test::default_limit_ms);
    }
    for (const pipe_end& client : clients) {
        REQUIRE(client.write("request") == ERROR_SUCCESS);
        CHECK(client.read() == "tseuqer");
    }
}

TEST_CASE("pipe_server serves more clients than it has instances") {
    running_server server(L"4");
    std::atomic<int> answered = 0;
    {
        std::vector<std::jthread> clients;
        for (std::size_t i = 0; i < 10; ++i) {
            clients.emplace_back([&server, &answered, i] {
                for (std::size_t round = 0; round < 10; ++round) {
                    answered += ask(server.name, random_bytes(i * 100 + round)) ? 1 : 0;
                }
            });
        }
    }
    CHECK(answered == 100);
    server.check_orderly_end();
}

TEST_CASE("pipe_server survives clients that leave at any point, and leaks nothing") {
    running_server server(L"3");
    REQUIRE(ask(server.name, "before"));
    const DWORD handles = ipc::test::handle_count(server.process.process());
    for (int i = 0; i < 40; ++i) {
        const pipe_end client = connect(server.name);
        if (i % 4 != 0) {
            CHECK(client.write(random_bytes(i % 4 == 1 ? 16'384 : 3)) == ERROR_SUCCESS);
        }
        if (i % 4 == 3) {
            client.read();
        }
    }
    CHECK(ask(server.name, "after"));
    CHECK(ipc::test::handle_count(server.process.process()) <= handles + 3);
    server.check_orderly_end();
}

TEST_CASE("pipe_server drops a client that is silent or reads nothing") {
    running_server server(L"2", L"700");
    const pipe_end silent = connect(server.name);
    const pipe_end deaf = connect(server.name);
    CHECK(deaf.write(random_bytes(16'384)) == ERROR_SUCCESS);
    CHECK(ask(server.name, "a patient client"));
    std::string reply;
    CHECK(silent.read(reply) == ERROR_PIPE_NOT_CONNECTED);
    CHECK(ask(server.name, "another client"));
    CHECK(deaf.read(reply) == ERROR_PIPE_NOT_CONNECTED);
    server.check_orderly_end();
}

TEST_CASE("pipe_server keeps a client that is busy") {
    running_server server(L"1", L"1000");
    const pipe_end client = connect(server.name);
    for (int i = 0; i < 8; ++i) {
        REQUIRE(client.write("request") == ERROR_SUCCESS);
        CHECK(client.read() == "tseuqer");
        Sleep(200);
    }
}

TEST_CASE("pipe_server finishes its replies before it ends, and its clients can read them") {
    running_server server(L"4");
    const pipe_end silent = connect(server.name);
    const pipe_end answered = connect(server.name); // its reply fits into the pipe
    REQUIRE(answered.write("request") == ERROR_SUCCESS);
    const pipe_end waiting = connect(server.name); // its reply does not
    const std::string large = random_bytes(16'384);
    REQUIRE(waiting.write(large) == ERROR_SUCCESS);
    for (const pipe_end* client : {&answered, &waiting}) {
        DWORD available = 0;
        while (available == 0) {
            REQUIRE(PeekNamedPipe(client->pipe.get(), nullptr, 0, nullptr, &available, nullptr));
        }
    }
    server.process.press_ctrl_c();
    CHECK_FALSE(server.process.wait(500));
    CHECK(waiting.read() == reversed(large));
    REQUIRE(server.process.wait());
    CHECK(server.process.exit_code() == 0);
    CHECK(answered.read() == "tseuqer");
    std::string reply;
    CHECK(answered.read(reply) == ERROR_BROKEN_PIPE);
    CHECK(silent.read(reply) == ERROR_BROKEN_PIPE);
}

TEST_CASE("pipe_server does not share its name with another server") {
    running_server server(L"2");
    program second({snippet(L"pipe_server"), server.name, L"2", long_limit});
    check_failed(second, ipc::test::is_wine() ? ERROR_PIPE_BUSY : ERROR_ACCESS_DENIED);
    CHECK(ask(server.name, "still there"));
}

TEST_CASE("pipe_server and ask_pipe_server understand each other") {
    running_server server(L"2");
    const auto result = run({snippet(L"ask_pipe_server"), server.name, L"abc", L"100", long_limit});
    CHECK(result.exit_code == 0);
    CHECK_THAT(result.output, StartsWith("3 bytes: cba"));
}

// share_memory

namespace {

struct shared_block { // of share_memory.cpp
    volatile DWORD sender_id;
    volatile LONG receiver_id;
    volatile DWORD size;
    char bytes[64 * 1024];
};

// The objects of a pair, and a program that ends when the test says so.
struct memory_objects {
    explicit memory_objects(const std::wstring& name)
        : mapping(CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0,
                                     sizeof(shared_block), (name + L".memory").c_str())),
          block(static_cast<shared_block*>(
              MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, sizeof(shared_block)))),
          empty(CreateEventW(nullptr, FALSE, FALSE, (name + L".empty").c_str())),
          full(CreateEventW(nullptr, FALSE, FALSE, (name + L".full").c_str())),
          partner({ipc::test::program_path(L"tests", L"helper.exe"), L"hang"}) {
        REQUIRE(block != nullptr);
        REQUIRE(partner.wait_for_output("hanging"));
    }
    memory_objects(const memory_objects&) = delete;
    memory_objects& operator=(const memory_objects&) = delete;
    ~memory_objects() { UnmapViewOfFile(block); }

    static bool wait(const ipc::unique_handle& event) {
        return WaitForSingleObject(event.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0;
    }

    ipc::unique_handle mapping;
    shared_block* block;
    ipc::unique_handle empty;
    ipc::unique_handle full;
    program partner;
};

std::wstring new_memory_name() {
    return LR"(Local\ipc_demos.snippets.)" + ipc::test::unique_suffix();
}

std::vector<std::wstring> receive(const std::wstring& name,
                                  const std::wstring& limit = long_limit) {
    return {snippet(L"share_memory"), L"receive", name, limit};
}

std::vector<std::wstring> send(const std::wstring& name, const std::wstring& limit = long_limit,
                               const std::wstring& text = L"text") {
    return {snippet(L"share_memory"), L"send", name, limit, L"first", text};
}

// Waits until the sender has created its last object.
void wait_for_objects(const std::wstring& name) {
    const ULONGLONG start_ms = GetTickCount64();
    while (!ipc::unique_handle(OpenEventW(SYNCHRONIZE, FALSE, (name + L".full").c_str()))) {
        REQUIRE(GetTickCount64() - start_ms < ipc::test::default_limit_ms);
        Sleep(1);
    }
}

// Makes a process the receiver of the sender with this name.
void introduce_receiver(const std::wstring& name, DWORD id) {
    const ipc::unique_handle mapping(
        OpenFileMappingW(FILE_MAP_WRITE, FALSE, (name + L".memory").c_str()));
    auto* block = static_cast<shared_block*>(MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 0));
    REQUIRE(block != nullptr);
    block->receiver_id = static_cast<LONG>(id);
    UnmapViewOfFile(block);
}

} // namespace

TEST_CASE("share_memory sends every block, and both programs end") {
    const std::wstring name = new_memory_name();
    program sender({snippet(L"share_memory"), L"send", name, long_limit, L"one", L"\u00e4\u20ac",
                    std::wstring(20'000, L'x'), L"the last"});
    wait_for_objects(name);
    const auto receiver = run(receive(name));
    CHECK(receiver.exit_code == 0);
    CHECK(ipc::test::lines_of(receiver.output) ==
          std::vector<std::string>{"3 bytes: one", "5 bytes: \u00e4\u20ac",
                                   "20000 bytes: " + std::string(20'000, 'x'), "8 bytes: the last",
                                   "end"});
    CHECK(output_lines(sender) == std::vector<std::string>{"sent"});
    CHECK(sender.exit_code() == 0);
}

TEST_CASE("share_memory has one sender and one receiver for a name") {
    const std::wstring name = new_memory_name();
    program early(receive(name));
    check_failed(early, ERROR_FILE_NOT_FOUND);
    program sender(send(name));
    wait_for_objects(name);
    program second_sender(send(name));
    check_failed(second_sender, ERROR_ALREADY_EXISTS);

    const std::wstring other_name = new_memory_name();
    const memory_objects objects(other_name);
    objects.block->sender_id = objects.partner.id();
    objects.block->receiver_id = 1;
    program second_receiver(receive(other_name));
    check_failed(second_receiver, ERROR_BUSY);
}

TEST_CASE("share_memory's receiver checks the length") {
    const DWORD size = GENERATE(64u * 1024, 64u * 1024 + 1, 0xFFFFFFFFu);
    const std::wstring name = new_memory_name();
    const memory_objects objects(name);
    objects.block->sender_id = objects.partner.id();
    program receiver(receive(name));
    REQUIRE(memory_objects::wait(objects.empty));
    objects.block->size = size;
    SetEvent(objects.full.get());
    if (size > 64 * 1024) {
        check_failed(receiver, ERROR_INVALID_DATA);
    } else {
        CHECK(memory_objects::wait(objects.empty));
    }
}

TEST_CASE("share_memory's receiver notices a dead sender and a silent one") {
    const std::wstring name = new_memory_name();
    const memory_objects objects(name);
    objects.block->sender_id = objects.partner.id();
    program patient(receive(name));
    REQUIRE(memory_objects::wait(objects.empty));
    objects.block->receiver_id = 0;
    program hasty(receive(name, L"300"));
    check_failed(hasty, WAIT_TIMEOUT);
    objects.partner.kill();
    check_failed(patient, ERROR_PROCESS_ABORTED);
}

TEST_CASE("share_memory's receiver gets the block of a sender that died after it") {
    const std::wstring name = new_memory_name();
    const memory_objects objects(name);
    objects.block->sender_id = objects.partner.id();
    objects.block->bytes[0] = 'x';
    objects.block->size = 1;
    SetEvent(objects.full.get());
    program receiver(receive(name));
    REQUIRE(memory_objects::wait(objects.empty)); // the receiver has come
    REQUIRE(memory_objects::wait(objects.empty)); // and has taken the block
    objects.partner.kill();
    check_failed(receiver, ERROR_PROCESS_ABORTED);
    CHECK_THAT(receiver.output(), StartsWith("1 bytes: x"));
}

TEST_CASE("share_memory's sender notices a dead receiver and a missing one") {
    const std::wstring name = new_memory_name();
    program alone(send(name, L"300"));
    check_failed(alone, WAIT_TIMEOUT);

    program sender(send(name));
    wait_for_objects(name);
    program receiver({ipc::test::program_path(L"tests", L"helper.exe"), L"hang"});
    introduce_receiver(name, receiver.id());
    const ipc::unique_handle empty(
        OpenEventW(EVENT_MODIFY_STATE, FALSE, (name + L".empty").c_str()));
    const ipc::unique_handle full(OpenEventW(SYNCHRONIZE, FALSE, (name + L".full").c_str()));
    SetEvent(empty.get());
    REQUIRE(WaitForSingleObject(full.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
    receiver.kill();
    check_failed(sender, ERROR_PROCESS_ABORTED);
}

TEST_CASE("share_memory says so if the partner came and ended before the first block") {
    constexpr DWORD no_process = 0x7FFFFFFC; // the id of a process that has ended
    const std::wstring name = new_memory_name();
    {
        const memory_objects objects(name);
        objects.block->sender_id = no_process;
        program receiver(receive(name));
        check_failed(receiver, ERROR_PROCESS_ABORTED);
    }
    program sender(send(name));
    wait_for_objects(name);
    introduce_receiver(name, no_process);
    const ipc::unique_handle empty(
        OpenEventW(EVENT_MODIFY_STATE, FALSE, (name + L".empty").c_str()));
    SetEvent(empty.get());
    check_failed(sender, ERROR_PROCESS_ABORTED);
}

TEST_CASE("share_memory refuses to send more than fits") {
    program sender({snippet(L"share_memory"), L"send", new_memory_name(), long_limit,
                    std::wstring(22'000, L'\u20ac')}); // 66,000 bytes of UTF-8
    check_failed(sender, ERROR_INVALID_DATA);
}

// allow_user_or_service

namespace {

// The entries of an SDDL text, each as "type flags mask SID" in numbers.
std::vector<std::string> entries_of(const std::string& sddl) {
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    const std::wstring wide(sddl.begin(), sddl.end());
    REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorW(wide.c_str(), SDDL_REVISION_1,
                                                                 &descriptor, nullptr));
    SECURITY_DESCRIPTOR_CONTROL control = 0;
    DWORD revision = 0;
    CHECK(GetSecurityDescriptorControl(descriptor, &control, &revision));
    CHECK((control & SE_DACL_PROTECTED) != 0);
    BOOL present = FALSE;
    BOOL defaulted = FALSE;
    ACL* dacl = nullptr;
    CHECK(GetSecurityDescriptorDacl(descriptor, &present, &dacl, &defaulted));
    REQUIRE(dacl != nullptr);
    std::vector<std::string> entries;
    for (DWORD i = 0; i < dacl->AceCount; ++i) {
        void* found = nullptr;
        REQUIRE(GetAce(dacl, i, &found));
        auto* ace = static_cast<ACCESS_ALLOWED_ACE*>(found);
        char* sid = nullptr;
        REQUIRE(ConvertSidToStringSidA(&ace->SidStart, &sid));
        entries.push_back(std::to_string(ace->Header.AceType) + ' ' +
                          std::to_string(ace->Header.AceFlags) + ' ' + std::to_string(ace->Mask) +
                          ' ' + sid);
        LocalFree(sid);
    }
    LocalFree(descriptor);
    return entries;
}

std::string own_sid() {
    ipc::unique_handle token;
    REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put()));
    alignas(TOKEN_USER) char user[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    DWORD size = sizeof user;
    REQUIRE(GetTokenInformation(token.get(), TokenUser, user, size, &size));
    char* sid = nullptr;
    REQUIRE(ConvertSidToStringSidA(reinterpret_cast<TOKEN_USER*>(user)->User.Sid, &sid));
    std::string result(sid);
    LocalFree(sid);
    return result;
}

// Windows stores EVENT_ALL_ACCESS for GENERIC_ALL; Wine keeps GENERIC_ALL.
std::string own_entry() {
    return (ipc::test::is_wine() ? "0 0 268435456 " : "0 0 2031619 ") + own_sid();
}

std::vector<std::string> stored_entries(const std::vector<std::wstring>& command) {
    const auto result = run(command);
    REQUIRE(result.exit_code == 0);
    const auto lines = ipc::test::lines_of(result.output);
    REQUIRE(lines.size() == 2);
    CHECK_THAT(lines[0], StartsWith("asked for: D:P(A;;GA;;;" + own_sid() + ")"));
    REQUIRE_THAT(lines[1], StartsWith("stored: "));
    return entries_of(lines[1].substr(8));
}

} // namespace

TEST_CASE("allow_user_or_service gives an object to the current user and to nobody else") {
    const std::wstring name = new_memory_name();
    CHECK(stored_entries({snippet(L"allow_user_or_service"), name}) ==
          std::vector<std::string>{own_entry()});
}

TEST_CASE("allow_user_or_service gives a service's users the rights that they need and no more") {
    const std::wstring name = new_memory_name();
    CHECK(stored_entries({snippet(L"allow_user_or_service"), name, L"IU", L"0x100002"}) ==
          std::vector<std::string>{own_entry(), "0 0 1048578 S-1-5-4"});
    CHECK(stored_entries(
              {snippet(L"allow_user_or_service"), name, L"S-1-5-21-1-2-3-500", L"0x100000"}) ==
          std::vector<std::string>{own_entry(), "0 0 1048576 S-1-5-21-1-2-3-500"});
}

TEST_CASE("allow_user_or_service refuses an unknown account and a name that is taken") {
    const auto unknown =
        run({snippet(L"allow_user_or_service"), new_memory_name(), L"nobody", L"0x1"});
    CHECK(unknown.exit_code == 1);
    CHECK_THAT(unknown.error_output, ContainsSubstring("ConvertStringSecurityDescriptor"));
    const std::wstring name = new_memory_name();
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, name.c_str()));
    program taken({snippet(L"allow_user_or_service"), name});
    check_failed(taken, ERROR_ALREADY_EXISTS);
}
