#include "common/overlapped.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
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

pipe_end create_pipe(const std::wstring& name, DWORD type = PIPE_TYPE_MESSAGE,
                     DWORD direction = PIPE_ACCESS_DUPLEX) {
    const DWORD read_mode = type == PIPE_TYPE_MESSAGE ? PIPE_READMODE_MESSAGE : PIPE_READMODE_BYTE;
    return {ipc::unique_handle(CreateNamedPipeW(name.c_str(), direction | FILE_FLAG_OVERLAPPED,
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

TEST_CASE("connect_pipe waits for a free instance, and while there is none for a moment") {
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
    const std::wstring name = new_pipe_name();
    const pipe_end server = create_pipe(name, PIPE_TYPE_MESSAGE, PIPE_ACCESS_OUTBOUND);
    program client({snippet(L"connect_pipe"), name, L"4294967295"});
    check_failed(client, ERROR_ACCESS_DENIED);
}

// ask_pipe_server

TEST_CASE("ask_pipe_server gets its reply, of any length up to the limit") {
    const std::size_t size = GENERATE(0, 1, 5'000, 60'000);
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
    const std::size_t size = GENERATE(0, 30'000);
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
    for (int i = 0; i < 1'000; ++i) {
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
    for (const std::size_t size : {0, 5, 4'095, 4'096, 4'097, 8'192, 8'193, 0, 0, 1'000'000, 1}) {
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
    const std::size_t limit = GENERATE(1, 3'000, 5'000);
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
