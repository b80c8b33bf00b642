#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "demos/04_message_mode/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <thread>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr std::uint64_t first_read_bytes = 4096; // of A
constexpr std::uint64_t pipe_bytes = 16 * 1024;  // what A asks the system for

const std::wstring process_a = program_path(L"04_message_mode", L"processA.exe");
const std::wstring process_b = program_path(L"04_message_mode", L"processB.exe");

// A process A with a name of its own.
struct server {
    explicit server(std::vector<std::wstring> options = {}) {
        options.insert(options.begin(), {process_a, L"--name", suffix});
        a = std::make_unique<program>(options);
        REQUIRE(a->wait_for_output("A: waiting for a client\n"));
    }

    std::vector<std::wstring> b(std::vector<std::wstring> options = {}) const {
        options.insert(options.begin(), {process_b, L"--name", suffix});
        return options;
    }

    // A client that is not process B. It stays in byte read mode.
    ipc::unique_handle connect(DWORD access = GENERIC_READ | GENERIC_WRITE) const {
        return ipc::unique_handle(CreateFileW(name.c_str(), access, 0, nullptr, OPEN_EXISTING,
                                              FILE_FLAG_OVERLAPPED, nullptr));
    }

    // Waits for the end of A and returns its exit code.
    DWORD end() const {
        REQUIRE(a->wait());
        REQUIRE(a->wait_for_end_of_output());
        return a->exit_code();
    }

    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    std::unique_ptr<program> a;
};

// Each call has a limit.
bool write(const ipc::unique_handle& pipe, const void* bytes, std::size_t size) {
    ipc::overlapped_call call(pipe.get());
    const BOOL done = WriteFile(pipe.get(), bytes, static_cast<DWORD>(size), nullptr, call.get());
    return call.wait(done, ipc::test::default_limit_ms).error == ERROR_SUCCESS;
}

bool write(const ipc::unique_handle& pipe, std::string_view bytes) {
    return write(pipe, bytes.data(), bytes.size());
}

bool announce(const ipc::unique_handle& pipe, std::uint64_t messages) {
    return write(pipe, &messages, sizeof messages);
}

ipc::call_result read(const ipc::unique_handle& pipe, void* buffer, std::size_t size) {
    ipc::overlapped_call call(pipe.get());
    const BOOL done = ReadFile(pipe.get(), buffer, static_cast<DWORD>(size), nullptr, call.get());
    return call.wait(done, ipc::test::default_limit_ms);
}

// Reads one answer, in either read mode.
std::uint64_t read_answer(const ipc::unique_handle& pipe) {
    std::uint64_t answer = 0;
    const ipc::call_result result = read(pipe, &answer, sizeof answer);
    REQUIRE(result.error == ERROR_SUCCESS);
    REQUIRE(result.bytes == sizeof answer);
    return answer;
}

void check_one_line(program& process, std::string_view text) {
    CHECK_THAT(process.error_output(), ContainsSubstring(std::string(text)));
    CHECK(ipc::test::lines_of(process.error_output()).size() == 1);
}

// Waits for the end of B, which has failed and said so in one line.
void check_failed(program& b, std::string_view line) {
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    check_one_line(b, line);
}

void check_memory(const program& process, std::uint64_t limit) {
    CHECK(process.peak_memory_bytes() > 0); // otherwise it was not measured at all
    CHECK(process.peak_memory_bytes() < limit);
}

void write_file(const std::wstring& path, std::string_view bytes) {
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    file << bytes;
    REQUIRE(file.flush());
}

// Writes random bytes as lines of random length. Some lines are empty, some are longer than A's first
// read, and some are longer than the pipe's buffer. Every line ends with a line feed.
std::uint64_t write_random_lines(const std::wstring& path, std::uint64_t total) {
    std::mt19937_64 random(4);
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    std::uint64_t lines = 0;
    for (std::string line; total > 0; ++lines) {
        const std::uint64_t longest = std::uint64_t{1} << random() % 20;
        line.resize(std::min(random() % longest, total - 1));
        for (std::size_t i = 0; i < line.size(); i += 8) {
            const std::uint64_t word = random();
            std::memcpy(&line[i], &word, std::min<std::size_t>(8, line.size() - i));
        }
        std::ranges::replace(line, '\n', '\r');
        line += '\n';
        file << line;
        total -= line.size();
        line.clear();
    }
    REQUIRE(file.flush());
    return lines;
}

// Returns the path of a file that takes B minutes to send.
const std::wstring& endless_file() {
    static const ipc::test::temporary_folder folder;
    static const std::wstring path = [] {
        std::string lines;
        for (int i = 0; i < 300'000; ++i) {
            lines += i % 10'000 == 0 ? std::string(100'000, 'x') + '\n' : "line\n";
        }
        write_file(folder.file(L"endless"), lines);
        return folder.file(L"endless");
    }();
    return path;
}

} // namespace

TEST_CASE("Messages of any length arrive whole, 60 MB in all, and memory stays flat") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    const std::uint64_t lines = write_random_lines(in, 60'000'000);
    const server s({L"--out", out});
    program b(s.b({L"--in", in}));
    REQUIRE(b.wait());
    check_memory(*s.a, 20 * mebibyte);
    check_memory(b, 20 * mebibyte);
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 0);
    CHECK_THAT(b.output(),
               EndsWith("B: all " + std::to_string(lines) + " messages were received\n"));
    CHECK(s.end() == 0);
    CHECK(ipc::test::same_content(in, out));
}

TEST_CASE("A receives every length up to 16 MiB, refuses longer messages, and reads on") {
    const std::vector<std::uint64_t> sizes = {0,
                                              1,
                                              first_read_bytes - 1,
                                              first_read_bytes,
                                              first_read_bytes + 1,
                                              17 * mebibyte,
                                              pipe_bytes,
                                              pipe_bytes + 1,
                                              protocol::max_message_bytes + 1,
                                              protocol::max_message_bytes,
                                              3,
                                              0};
    const ipc::test::temporary_folder folder;
    std::string in;
    std::string expected;
    std::string lines_of_b;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const std::string line(sizes[i], static_cast<char>('a' + i));
        const bool fits = sizes[i] <= protocol::max_message_bytes;
        in += line + '\n';
        expected += fits ? line + '\n' : "";
        if (i < protocol::printed_messages) {
            lines_of_b += "B: message " + std::to_string(i + 1) + ": " + std::to_string(sizes[i]) +
                          " bytes sent, " + std::to_string(fits ? sizes[i] : 0) + " received\n";
        }
    }
    write_file(folder.file(L"in"), in);
    const server s({L"--out", folder.file(L"out")});
    program b(s.b({L"--in", folder.file(L"in")}));
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    CHECK(b.output() == lines_of_b);
    CHECK(b.error_output() == "B: 2 messages were not received\n");
    CHECK(s.end() == 0);
    CHECK_THAT(s.a->output(), ContainsSubstring("A: message 4: 4096 bytes, reads: 1\n") &&
                                  ContainsSubstring("A: message 5: 4097 bytes, reads: 2\n") &&
                                  ContainsSubstring("A: message 10: 16777216 bytes, reads: 2\n"));
    CHECK(ipc::test::read_file(folder.file(L"out")) == expected);
}

TEST_CASE("B reports every refused message, also after the ten that it always prints") {
    const ipc::test::temporary_folder folder;
    write_file(folder.file(L"in"), std::string(11, '\n') + std::string(17 * mebibyte, 'x'));
    const server s;
    const ipc::test::result b = run(s.b({L"--in", folder.file(L"in")}));
    CHECK(b.exit_code == 1);
    CHECK_THAT(b.output, EndsWith("B: message 10: 0 bytes sent, 0 received\n"
                                  "B: message 12: 17825792 bytes sent, 0 received\n"));
    CHECK(s.end() == 0);
    CHECK_THAT(s.a->output(),
               ContainsSubstring("A: message 12: 17825792 bytes, reads: 69, too long"));
}

TEST_CASE("A line can hold any bytes but the line feed, and the last line may have no line feed") {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", ""},
        {"\n", "\n"},
        {"\n\n\n", "\n\n\n"},
        {"no line break", "no line break\n"},
        {"one\r\ntwo\rstill two\r\n", "one\r\ntwo\rstill two\r\n"},
        {std::string("\0\x1A\xFF\n\0", 5), std::string("\0\x1A\xFF\n\0\n", 6)}};
    for (const auto& [in, expected] : cases) {
        const ipc::test::temporary_folder folder;
        write_file(folder.file(L"in"), in);
        const server s({L"--out", folder.file(L"out")});
        const ipc::test::result b = run(s.b({L"--in", folder.file(L"in")}));
        INFO(in << " " << b.error_output);
        CHECK(b.exit_code == 0);
        CHECK(s.end() == 0);
        CHECK(std::filesystem::exists(folder.file(L"out")));
        CHECK(ipc::test::read_file(folder.file(L"out")) == expected);
    }
}

TEST_CASE("In byte read mode one read returns several answers, in message read mode only one") {
    for (const bool message_mode : {false, true}) {
        const server s;
        ipc::unique_handle pipe = s.connect();
        REQUIRE(pipe);
        DWORD mode = 0;
        REQUIRE(GetNamedPipeHandleStateW(pipe.get(), &mode, nullptr, nullptr, nullptr, nullptr, 0));
        CHECK((mode & PIPE_READMODE_MESSAGE) == 0); // how every client starts
        DWORD type = 0;
        DWORD instances = 0;
        REQUIRE(GetNamedPipeInfo(pipe.get(), &type, nullptr, nullptr, &instances));
        CHECK((type & PIPE_TYPE_MESSAGE) != 0);
        CHECK(instances == 1);
        if (message_mode) {
            mode = PIPE_READMODE_MESSAGE;
            REQUIRE(SetNamedPipeHandleState(pipe.get(), &mode, nullptr, nullptr));
        }
        REQUIRE(announce(pipe, 3));
        REQUIRE(write(pipe, "hello"));
        REQUIRE(write(pipe, ""));
        REQUIRE(write(pipe, std::string(100'000, 'x')));
        REQUIRE(s.a->wait_for_output("A: message 3: "));
        DWORD available = 0;
        while (available < 3 * sizeof(std::uint64_t)) {
            REQUIRE(PeekNamedPipe(pipe.get(), nullptr, 0, nullptr, &available, nullptr));
            SwitchToThread();
        }
        std::uint64_t answers[4] = {};
        CHECK(read(pipe, answers, sizeof answers).bytes == (message_mode ? 8 : 24));
        if (message_mode) {
            CHECK(answers[0] == 5);
            CHECK(read_answer(pipe) == 0);
            CHECK(read_answer(pipe) == 100'000);
        } else {
            CHECK(answers[0] == 5);
            CHECK(answers[1] == 0);
            CHECK(answers[2] == 100'000);
        }
        pipe.reset();
        CHECK(s.end() == 0);
    }
}

TEST_CASE("A client that breaks the rules ends A with one line, whatever it sends") {
    struct misbehaviour {
        const char* name;
        std::function<void(const ipc::unique_handle& pipe)> act;
        const char* line_of_a;
        bool leaves = true;
    };
    const char* not_announced = "A: the client has not announced the number of its messages\n";
    const std::vector<misbehaviour> misbehaviours = {
        {"says nothing and leaves", [](const auto&) {}, not_announced},
        {"half an announcement", [](const auto& pipe) { write(pipe, "four"); }, not_announced,
         false},
        {"an announcement of 16 bytes",
         [](const auto& pipe) { write(pipe, std::string(16, '\0')); }, not_announced, false},
        {"garbage", [](const auto& pipe) { write(pipe, std::string(24, '\xAA')); }, not_announced,
         false},
        {"an empty first message", [](const auto& pipe) { write(pipe, ""); }, not_announced, false},
        {"a first message of 17 MiB",
         [](const auto& pipe) { write(pipe, std::string(17 * mebibyte, 'x')); }, not_announced,
         false},
        {"leaves after the announcement", [](const auto& pipe) { announce(pipe, 2); },
         "A: the client left after 0 of 2 messages\n"},
        {"leaves after one of two",
         [](const auto& pipe) {
             announce(pipe, 2);
             write(pipe, "first");
             read_answer(pipe);
         },
         "A: the client left after 1 of 2 messages\n"},
        {"leaves after one of two, without reading the answer",
         [](const auto& pipe) {
             announce(pipe, 2);
             write(pipe, "first");
         },
         "A: the client left after 1 of 2 messages\n"},
        {"announces the largest number",
         [](const auto& pipe) {
             announce(pipe, UINT64_MAX);
             write(pipe, "first");
             read_answer(pipe);
         },
         "A: the client left after 1 of 18446744073709551615 messages\n"},
        {"sends more than it announced",
         [](const auto& pipe) {
             announce(pipe, 1);
             write(pipe, "first");
             write(pipe, "second");
             read_answer(pipe);
         },
         "A: the client sent more than it announced\n", false},
        {"sends an empty message more than it announced",
         [](const auto& pipe) {
             announce(pipe, 0);
             write(pipe, "");
         },
         "A: the client sent more than it announced\n", false}};
    for (const misbehaviour& wrong : misbehaviours) {
        INFO(wrong.name);
        const server s;
        ipc::unique_handle pipe = s.connect();
        REQUIRE(pipe);
        wrong.act(pipe);
        if (wrong.leaves) {
            pipe.reset();
        }
        CHECK(s.end() == 1);
        CHECK(s.a->error_output() == wrong.line_of_a);
    }
}

TEST_CASE("A reads what a client has sent that left before A called ConnectNamedPipe") {
    for (int i = 0; i < 20; ++i) { // the client is not faster every time
        const std::wstring suffix = ipc::test::unique_suffix();
        const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
        program a({process_a, L"--name", suffix});
        ipc::unique_handle pipe;
        while (!pipe) { // the pipe is there a moment before A calls ConnectNamedPipe
            REQUIRE_FALSE(a.wait(0));
            pipe.reset(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                   OPEN_EXISTING, 0, nullptr));
        }
        REQUIRE(announce(pipe, 0));
        pipe.reset();
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        INFO(a.error_output());
        CHECK(a.exit_code() == 0);
    }
}

TEST_CASE("A message that is too long is not held in memory, and the next one is read correctly") {
    const server s;
    ipc::unique_handle pipe = s.connect();
    REQUIRE(announce(pipe, 2));
    REQUIRE(write(pipe, std::string(17 * mebibyte, 'x')));
    CHECK(read_answer(pipe) == 0);
    REQUIRE(write(pipe, "hello"));
    CHECK(read_answer(pipe) == 5);
    check_memory(*s.a, 10 * mebibyte);
    pipe.reset();
    CHECK(s.end() == 0);
    // 4 KiB, and then 256 KiB at a time.
    CHECK_THAT(s.a->output(), ContainsSubstring(": 17825792 bytes, reads: 69, too long\n"));
}

TEST_CASE("Nobody waits longer than --limit: silent clients, unread answers, missing servers") {
    const std::vector<std::wstring> limit = {L"--limit", L"1"};
    const server silent(limit);
    const ipc::unique_handle says_nothing = silent.connect();
    const server speechless(limit);
    const ipc::unique_handle only_reads = speechless.connect(GENERIC_READ);
    const server patient({L"--limit", L"0"});
    const ipc::unique_handle late = patient.connect();
    program no_server({process_b, L"--name", ipc::test::unique_suffix(), L"--limit", L"1"});
    program busy(patient.b(limit));
    const server stuck(limit); // last: its client must write within the limit
    const ipc::unique_handle never_reads = stuck.connect();
    REQUIRE(says_nothing);
    REQUIRE(never_reads);
    REQUIRE(late);

    // A writes an answer to each message, until the pipe is full of answers.
    REQUIRE(announce(never_reads, 1'000'000));
    std::uint64_t sent = 0;
    while (write(never_reads, "x")) { // fails when A has ended
        ++sent;
    }
    CHECK(sent >= pipe_bytes / sizeof(std::uint64_t));
    CHECK(stuck.end() == 1);
    check_one_line(*stuck.a, "A: the client is too slow for WriteFile");
    CHECK(silent.end() == 1);
    check_one_line(*silent.a, "A: the client is too slow for ReadFile");
    if (only_reads) {
        CHECK(speechless.end() == 1);
        check_one_line(*speechless.a, "A: the client is too slow for ReadFile");
    }
    check_failed(no_server, ": start processA first");
    CHECK_THAT(no_server.error_output(),
               StartsWith("B: no server at \\\\.\\pipe\\ipc_demos.04.messages.test"));
    check_failed(busy, " is busy with other clients");
    REQUIRE(announce(late, 1)); // A without a limit has waited longer than the others
    REQUIRE(write(late, "hello"));
    CHECK(read_answer(late) == 5);
}

// A server that is not process A, for one B.
struct foreign_server {
    explicit foreign_server(DWORD mode = PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE) {
        pipe.reset(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, mode,
                                    1, 4096, 4096, 0, nullptr));
        REQUIRE(pipe);
        b = std::make_unique<program>(
            std::vector<std::wstring>{process_b, L"--name", suffix, L"--limit", L"1"});
    }
    void wait_for_client() const {
        ipc::overlapped_call call(pipe.get());
        const BOOL done = ConnectNamedPipe(pipe.get(), call.get());
        const DWORD error = call.wait(done, ipc::test::default_limit_ms).error;
        REQUIRE((error == ERROR_SUCCESS || error == ERROR_PIPE_CONNECTED));
    }
    std::string read_message() const {
        std::string message(4096, '\0');
        const ipc::call_result result = read(pipe, message.data(), message.size());
        REQUIRE(result.error == ERROR_SUCCESS);
        message.resize(result.bytes);
        return message;
    }
    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    ipc::unique_handle pipe;
    std::unique_ptr<program> b;
};

TEST_CASE("B announces its messages, sends each with one write, and checks every answer") {
    struct misbehaviour {
        std::string answer;
        const char* line_of_b;
    };
    const auto bytes_of = [](std::uint64_t answer) {
        return std::string(reinterpret_cast<const char*>(&answer), sizeof answer);
    };
    const std::vector<misbehaviour> misbehaviours = {
        {bytes_of(5).substr(0, 4), "B: what the server sent is not an answer\n"},
        {bytes_of(5) + "more", "B: what the server sent is not an answer\n"},
        {"", "B: what the server sent is not an answer\n"},
        {"close", "B: the server closed the connection\n"},
        {"nothing", "B: the server is too slow for ReadFile\n"}};
    for (const misbehaviour& wrong : misbehaviours) {
        INFO(wrong.line_of_b);
        foreign_server s;
        s.wait_for_client();
        CHECK(s.read_message() == bytes_of(5));
        CHECK(s.read_message() == "hello");
        if (wrong.answer == "close") {
            s.pipe.reset();
        } else if (wrong.answer != "nothing") {
            write(s.pipe, wrong.answer);
        }
        check_failed(*s.b, wrong.line_of_b);
        CHECK(s.b->error_output() == wrong.line_of_b);
    }
}

TEST_CASE("B reports an answer with another length, and sends the next message") {
    const foreign_server s;
    s.wait_for_client();
    s.read_message();
    CHECK(s.read_message() == "hello");
    const std::uint64_t wrong = 6;
    REQUIRE(write(s.pipe, &wrong, sizeof wrong));
    CHECK(s.read_message().empty());
    CHECK(s.b->wait_for_output("B: message 1: 5 bytes sent, 6 received\n"));
}

TEST_CASE("B says which call failed if the server's pipe is of the byte type") {
    const foreign_server s(PIPE_TYPE_BYTE | PIPE_READMODE_BYTE);
    check_failed(*s.b, "B: SetNamedPipeHandleState failed: ERROR_INVALID_PARAMETER (87)");
}

TEST_CASE("The pair meets in either order, and two pairs with different names do not") {
    const std::wstring first = ipc::test::unique_suffix();
    const std::wstring second = ipc::test::unique_suffix();
    program b1({process_b, L"--name", first});
    program a2({process_a, L"--name", second});
    program b2({process_b, L"--name", second});
    CHECK_FALSE(b1.wait(300)); // its server is not there yet
    program a1({process_a, L"--name", first});
    for (const program* process : {&a1, &b1, &a2, &b2}) {
        REQUIRE(process->wait());
        CHECK(process->exit_code() == 0);
    }
}

TEST_CASE("A second A says that the name is taken, and does not disturb the first") {
    const server s;
    const ipc::test::result second = run({process_a, L"--name", s.suffix});
    CHECK(second.exit_code == 1);
    CHECK_THAT(second.error_output, StartsWith("A: the name \\\\.\\pipe\\ipc_demos.04.messages.") &&
                                        EndsWith(" is taken by another server\n"));
    CHECK(run(s.b()).exit_code == 0);
    CHECK(s.end() == 0);
}

TEST_CASE("A does not join a pipe whose first instance another program has made") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
    const ipc::unique_handle squatter(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 2, 4096, 4096, 0, nullptr));
    REQUIRE(squatter);
    const ipc::test::result a = run({process_a, L"--name", suffix});
    CHECK(a.exit_code == 1);
    CHECK_THAT(a.error_output, EndsWith(" is taken by another server\n"));
}

TEST_CASE("Ctrl+C ends A in order: waiting, in a silent conversation and in a busy one") {
    const server waiting;
    waiting.a->press_ctrl_c();
    CHECK(waiting.end() == 0);
    CHECK_THAT(waiting.a->output(), EndsWith("A: stopped\n"));

    const server silent({L"--limit", L"0"});
    const ipc::unique_handle pipe = silent.connect();
    REQUIRE(announce(pipe, 2));
    silent.a->press_ctrl_c();
    CHECK(silent.end() == 0);
    CHECK_THAT(silent.a->output(), EndsWith("A: stopped\n"));
    CHECK(silent.a->error_output().empty());

    const server busy;
    program b(busy.b({L"--in", endless_file()}));
    REQUIRE(busy.a->wait_for_output("A: message 10: "));
    busy.a->press_ctrl_c();
    CHECK(busy.end() == 0);
    CHECK_THAT(busy.a->output(), EndsWith("A: stopped\n"));
    check_failed(b, "B: the server closed the connection\n");
}

TEST_CASE("Ctrl+C ends A between messages that never let it wait") {
    // A writes the first message into a pipe that nobody reads yet. Meanwhile the client sends more
    // messages, whose answers fit into A's pipe, and Ctrl+C is pressed.
    const std::wstring out = L"\\\\.\\pipe\\" + ipc::test::unique_suffix();
    const ipc::unique_handle reader(CreateNamedPipeW(
        out.c_str(), PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED, 0, 1, 0, 64 * 1024, 0, nullptr));
    REQUIRE(reader);
    const server s({L"--out", out});
    const ipc::unique_handle pipe = s.connect();
    REQUIRE(announce(pipe, UINT64_MAX));
    std::string first(mebibyte, 'x');
    REQUIRE(write(pipe, first));
    constexpr std::size_t sent = 1500;
    for (std::size_t i = 0; i < sent; ++i) {
        REQUIRE(write(pipe, "x"));
    }
    s.a->press_ctrl_c();
    CHECK_FALSE(s.a->wait(100)); // time for A's control handler
    first += '\n';
    for (std::size_t left = first.size(); left > 0;) { // lets A go on
        const ipc::call_result part = read(reader, first.data(), left);
        REQUIRE(part.error == ERROR_SUCCESS);
        left -= part.bytes;
    }
    CHECK(s.end() == 0);
    CHECK_THAT(s.a->output(), EndsWith("A: stopped\n"));
    std::vector<std::uint64_t> answers(sent + 1);
    std::size_t answered = 0;
    for (;;) {
        const ipc::call_result part = read(pipe, answers.data(), answers.size() * 8);
        if (part.error != ERROR_SUCCESS) {
            break;
        }
        answered += part.bytes / 8;
    }
    CHECK(answered < sent);
}

TEST_CASE("An answer that A has written before it ends still arrives") {
    const server s;
    const ipc::unique_handle pipe = s.connect();
    REQUIRE(announce(pipe, 2));
    REQUIRE(write(pipe, "hello"));
    DWORD available = 0;
    while (available == 0) {
        REQUIRE(PeekNamedPipe(pipe.get(), nullptr, 0, nullptr, &available, nullptr));
        SwitchToThread();
    }
    s.a->press_ctrl_c();
    CHECK(s.end() == 0);
    CHECK(read_answer(pipe) == 5);
    CHECK(read(pipe, &available, sizeof available).error == ERROR_BROKEN_PIPE);
}

TEST_CASE("A ends with one line when B is killed, at any moment") {
    std::mt19937 random(40);
    for (int i = 0; i < 20; ++i) {
        const server s;
        program b(s.b({L"--in", endless_file()}));
        REQUIRE(s.a->wait_for_output("A: message 1: "));
        CHECK_FALSE(b.wait(random() % 50));
        b.kill();
        CHECK(s.end() == 1);
        CHECK_THAT(s.a->error_output(), StartsWith("A: the client left "));
        check_one_line(*s.a, "A: the client left "); // after a message, or in the middle of one
        CHECK(s.a->job().process_ids().empty());
    }
}

TEST_CASE("B ends with one line when A is killed, at any moment") {
    std::mt19937 random(41);
    for (int i = 0; i < 20; ++i) {
        const server s;
        program b(s.b({L"--in", endless_file()}));
        REQUIRE(b.wait_for_output("B: message 1: "));
        CHECK_FALSE(s.a->wait(random() % 50));
        s.a->kill();
        check_failed(b, "B: the server closed the connection\n");
        CHECK(b.job().process_ids().empty());
    }
}

TEST_CASE("The number of handles does not grow during a conversation") {
    const server s;
    program b(s.b({L"--in", endless_file()}));
    REQUIRE(b.wait_for_output("B: message 10: "));
    const DWORD before_a = ipc::test::handle_count(s.a->process());
    const DWORD before_b = ipc::test::handle_count(b.process());
    CHECK_FALSE(b.wait(300)); // time for some hundred messages
    // The system may open a few handles of its own. A leak would be hundreds by now.
    CHECK(ipc::test::handle_count(s.a->process()) <= before_a + 5);
    CHECK(ipc::test::handle_count(b.process()) <= before_b + 5);
}

TEST_CASE("Files that cannot be opened, and lines that are too long, end A or B at the start") {
    const ipc::test::temporary_folder folder;
    const ipc::test::result no_input = run({process_b, L"--in", folder.file(L"missing")});
    CHECK(no_input.exit_code == 1);
    CHECK_THAT(no_input.error_output,
               StartsWith("B: CreateFileW failed: ERROR_FILE_NOT_FOUND (2)"));
    const ipc::test::result no_output = run({process_a, L"--out", folder.file(L"no\\such\\file")});
    CHECK(no_output.exit_code == 1);
    CHECK_THAT(no_output.error_output,
               StartsWith("A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3)"));
    CHECK(no_output.output.empty());
    write_file(folder.file(L"long"), "first\n" + std::string(32 * mebibyte + 1, 'x'));
    const ipc::test::result too_long = run({process_b, L"--in", folder.file(L"long")});
    CHECK(too_long.exit_code == 1);
    CHECK(too_long.error_output == "B: a line is longer than 33554432 bytes\n");
}

TEST_CASE("A fails if its output file cannot take everything") {
    // A pipe whose reader has left fails like a full disk.
    const std::wstring out = L"\\\\.\\pipe\\" + ipc::test::unique_suffix();
    ipc::unique_handle reader(
        CreateNamedPipeW(out.c_str(), PIPE_ACCESS_INBOUND, 0, 1, 4096, 4096, 0, nullptr));
    REQUIRE(reader);
    const server s({L"--out", out});
    reader.reset();
    run(s.b());
    CHECK(s.end() == 1);
    check_one_line(*s.a, "A: WriteFile failed: ERROR_");
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"},
        {process_a, L"--name", L""},      {process_a, L"unexpected"},
        {process_a, L"--limit", L"x"},    {process_b, L"--in"},
        {process_b, L"--limit"},          {process_b, L"--no-such-option"},
        {process_b, L"unexpected"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs explain themselves with --help") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
