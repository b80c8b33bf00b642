#include "common/security.hpp"
#include "demos/04_message_mode/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

using namespace message_mode;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"04_message_mode", L"processA.exe");
const std::wstring process_b = program_path(L"04_message_mode", L"processB.exe");

// One A with a name of its own, and what is needed to meet it.
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

    // A client that nobody here wrote: it opens the pipe and does not say how it wants to read.
    ipc::unique_handle connect(DWORD access = GENERIC_READ | GENERIC_WRITE) const {
        return ipc::unique_handle(
            CreateFileW(name.c_str(), access, 0, nullptr, OPEN_EXISTING, 0, nullptr));
    }

    // The end of A: its exit code, and the one line on standard error if there was one.
    DWORD end() const {
        REQUIRE(a->wait());
        REQUIRE(a->wait_for_end_of_output());
        return a->exit_code();
    }

    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(pipe_name, suffix);
    std::unique_ptr<program> a;
};

bool write(const ipc::unique_handle& pipe, const void* bytes, std::size_t size) {
    DWORD written = 0;
    return WriteFile(pipe.get(), bytes, static_cast<DWORD>(size), &written, nullptr) != FALSE;
}

bool announce(const ipc::unique_handle& pipe, std::uint64_t messages, std::uint64_t bytes = 0) {
    const announcement all{version, 0, messages, bytes};
    return write(pipe, &all, sizeof all);
}

// Works in either read mode.
answer next_answer(const ipc::unique_handle& pipe) {
    answer received{};
    DWORD size = 0;
    REQUIRE(ReadFile(pipe.get(), &received, sizeof received, &size, nullptr));
    REQUIRE(size == sizeof received);
    return received;
}

void check_one_line(program& one, std::string_view text) {
    CHECK_THAT(one.error_output(), ContainsSubstring(std::string(text)));
    CHECK(ipc::test::lines_of(one.error_output()).size() == 1);
}

void check_memory(const program& one, std::uint64_t limit) {
    CHECK(one.peak_memory_bytes() > 0); // or it was not measured at all
    CHECK(one.peak_memory_bytes() < limit);
}

void write_file(const std::wstring& path, std::string_view bytes) {
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    file << bytes;
    REQUIRE(file.flush());
}

// Random bytes as lines of random length, some of them empty, some longer than A's first read and
// some longer than the pipe holds; every line has its line break.
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

// A file that takes B minutes to send.
const std::wstring& endless_file() {
    static const ipc::test::temporary_folder folder;
    static const std::wstring path = [] {
        std::string lines;
        for (int i = 0; i < 2'000'000; ++i) {
            lines += i % 100'000 == 0 ? std::string(100'000, 'x') + '\n' : "line\n";
        }
        write_file(folder.file(L"endless"), lines);
        return folder.file(L"endless");
    }();
    return path;
}

} // namespace

TEST_CASE("200 MB of messages of any length arrive whole, and memory stays flat") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    const std::uint64_t lines = write_random_lines(in, 200'000'000);
    const server s({L"--out", out});
    program b(s.b({L"--in", in}));
    REQUIRE(b.wait());
    check_memory(*s.a, 30 * mebibyte);
    check_memory(b, 30 * mebibyte);
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 0);
    CHECK_THAT(b.output(), EndsWith("B: " + std::to_string(lines) + " of " + std::to_string(lines) +
                                    " messages were received\n"));
    CHECK(s.end() == 0);
    CHECK(ipc::test::same_content(in, out));
}

TEST_CASE("Every length around a limit arrives, and what is over 16 MiB is refused by number") {
    const std::vector<std::uint64_t> sizes = {0,
                                              1,
                                              buffer_bytes - 1,
                                              buffer_bytes,
                                              buffer_bytes + 1,
                                              17 * mebibyte,
                                              pipe_bytes,
                                              pipe_bytes + 1,
                                              max_message_bytes + 1,
                                              max_message_bytes,
                                              3,
                                              0};
    const ipc::test::temporary_folder folder;
    std::string in;
    std::string expected;
    std::string lines_of_b;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const std::string line(sizes[i], static_cast<char>('a' + i));
        in += line + '\n';
        const std::string start =
            "B: message " + std::to_string(i + 1) + ": " + std::to_string(sizes[i]) + " bytes";
        if (sizes[i] <= max_message_bytes) {
            expected += line + '\n';
            if (i < shown_messages) {
                lines_of_b += start + " sent, A counts " + std::to_string(sizes[i]) + "\n";
            }
        }
    }
    write_file(folder.file(L"in"), in);
    const server s({L"--out", folder.file(L"out")});
    program b(s.b({L"--in", folder.file(L"in")}));
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    CHECK(b.output() == lines_of_b + "B: 10 of 12 messages were received\n");
    CHECK(b.error_output() == "B: message 6: 17825792 bytes, refused: more than 16777216\n"
                              "B: message 9: 16777217 bytes, refused: more than 16777216\n");
    CHECK(s.end() == 0);
    CHECK_THAT(s.a->output(), ContainsSubstring("A: message 4: 4096 bytes, reads: 1\n") &&
                                  ContainsSubstring("A: message 5: 4097 bytes, reads: 2\n") &&
                                  ContainsSubstring("A: message 10: 16777216 bytes, reads: 2\n"));
    CHECK(ipc::test::read_file(folder.file(L"out")) == expected);
}

TEST_CASE("Lines are bytes: CR, zero and the last line without a line break pass unchanged") {
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

TEST_CASE("Through a byte-type pipe five messages arrive as one read, every time") {
    for (int i = 0; i < 10; ++i) {
        const server s({L"--byte"});
        const ipc::test::result b = run(s.b({L"--byte"}));
        CHECK(b.exit_code == 0);
        CHECK(b.output == "B: 5 messages sent, one answer: A counts 1062677 bytes\n");
        CHECK(s.end() == 0);
        CHECK(s.a->output() == "A: waiting for a client\n"
                               "A: read 1: 1062677 bytes, where 5 messages were announced\n"
                               "A: the client has sent everything and is gone\n");
    }
}

TEST_CASE("Through a byte-type pipe everything arrives but the boundaries") {
    const ipc::test::temporary_folder folder;
    write_random_lines(folder.file(L"in"), 50'000'000);
    std::string expected = ipc::test::read_file(folder.file(L"in"));
    std::erase(expected, '\n');
    const server s({L"--byte", L"--out", folder.file(L"out")});
    program b(s.b({L"--byte", L"--in", folder.file(L"in")}));
    REQUIRE(b.wait());
    check_memory(*s.a, 30 * mebibyte);
    check_memory(b, 30 * mebibyte);
    REQUIRE(b.wait_for_end_of_output());
    INFO(b.error_output());
    CHECK(b.exit_code() == 0);
    CHECK(s.end() == 0);
    CHECK((ipc::test::read_file(folder.file(L"out")) == expected));
}

TEST_CASE("A pipe of the other type is noticed by B at once") {
    for (const bool byte : {false, true}) {
        const server s(byte ? std::vector<std::wstring>{L"--byte"} : std::vector<std::wstring>{});
        program b(s.b(byte ? std::vector<std::wstring>{} : std::vector<std::wstring>{L"--byte"}));
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.exit_code() == 1);
        check_one_line(b, "B: the server's pipe is of the other type: give --byte to both");
        CHECK(s.end() == 1);
        check_one_line(*s.a, "A: the other process ended in the middle of the conversation");
    }
}

TEST_CASE("A client of another make may stay in byte read mode and need not wait for answers") {
    const server s;
    ipc::unique_handle pipe = s.connect();
    REQUIRE(pipe);
    DWORD state = 0;
    REQUIRE(GetNamedPipeHandleStateW(pipe.get(), &state, nullptr, nullptr, nullptr, nullptr, 0));
    CHECK((state & PIPE_READMODE_MESSAGE) == 0);
    DWORD flags = 0;
    DWORD instances = 0;
    REQUIRE(GetNamedPipeInfo(pipe.get(), &flags, nullptr, nullptr, &instances));
    CHECK((flags & PIPE_TYPE_MESSAGE) != 0);
    CHECK(instances == 1);

    REQUIRE(announce(pipe, 3, 100'005));
    REQUIRE(write(pipe, "hello", 5));
    REQUIRE(write(pipe, "", 0));
    const std::string longer(100'000, 'x');
    REQUIRE(write(pipe, longer.data(), longer.size()));
    for (const std::uint64_t size : {5u, 0u, 100'000u}) {
        const answer received = next_answer(pipe);
        CHECK(received.status == verdict::received);
        CHECK(received.bytes == size);
    }
    pipe.reset();
    CHECK(s.end() == 0);
}

TEST_CASE("A client that breaks the rules ends A with one line, whatever it sends") {
    struct misbehaviour {
        const char* name;
        std::function<void(const ipc::unique_handle& pipe)> act;
        const char* line_of_a;
    };
    const announcement all{version, 0, 2, 10};
    const announcement other_version{version + 1, 0, 2, 10};
    const std::string garbage(sizeof all, '\xAA');
    const std::string large(64 * mebibyte, 'x');
    const char* no_announcement = "A: the client's first message is not an announcement\n";
    const std::vector<misbehaviour> all_of_them = {
        {"says nothing and leaves", [](const ipc::unique_handle&) {},
         "A: the other process ended in the middle of the conversation\n"},
        {"half an announcement", [&](const auto& pipe) { write(pipe, &all, sizeof all / 2); },
         no_announcement},
        {"an announcement and more",
         [&](const auto& pipe) {
             const announcement twice[] = {all, all};
             write(pipe, twice, sizeof twice);
         },
         no_announcement},
        {"another version", [&](const auto& pipe) { write(pipe, &other_version, sizeof all); },
         no_announcement},
        {"garbage", [&](const auto& pipe) { write(pipe, garbage.data(), garbage.size()); },
         no_announcement},
        {"an empty first message", [](const auto& pipe) { write(pipe, "", 0); }, no_announcement},
        {"a first message of 64 MiB",
         [&](const auto& pipe) { write(pipe, large.data(), large.size()); }, no_announcement},
        {"leaves after the announcement", [](const auto& pipe) { announce(pipe, 2); },
         "A: the client ended after 0 of 2 messages\n"},
        {"leaves after one of two",
         [](const auto& pipe) {
             announce(pipe, 2);
             write(pipe, "one", 3);
             next_answer(pipe);
         },
         "A: the client ended after 1 of 2 messages\n"},
        {"announces more than there are numbers for",
         [](const auto& pipe) {
             announce(pipe, UINT64_MAX, UINT64_MAX);
             write(pipe, "one", 3);
             next_answer(pipe);
         },
         "A: the client ended after 1 of 18446744073709551615 messages\n"},
        {"sends more than it announced",
         [](const auto& pipe) {
             announce(pipe, 1);
             write(pipe, "one", 3);
             write(pipe, "two", 3);
             next_answer(pipe);
         },
         "A: the client sent more than it announced\n"},
        {"sends an empty message more than it announced",
         [](const auto& pipe) {
             announce(pipe, 0);
             write(pipe, "", 0);
         },
         "A: the client sent more than it announced\n"}};
    for (const misbehaviour& one : all_of_them) {
        const server s;
        ipc::unique_handle pipe = s.connect();
        REQUIRE(pipe);
        one.act(pipe);
        if (one.line_of_a != no_announcement &&
            std::string_view(one.line_of_a).find("more than it") == std::string_view::npos) {
            pipe.reset();
        }
        INFO(one.name);
        CHECK(s.end() == 1);
        CHECK(s.a->error_output() == one.line_of_a);
    }
}

TEST_CASE("A reads what a client left behind that was gone before A waited for it") {
    for (int i = 0; i < 20; ++i) { // how often the client is really faster does not matter
        const std::wstring suffix = ipc::test::unique_suffix();
        const std::wstring name = ipc::object_name(pipe_name, suffix);
        program a({process_a, L"--name", suffix});
        ipc::unique_handle pipe;
        while (!pipe) { // in a hurry: the pipe is there a moment before A waits
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

TEST_CASE("A message of 64 MiB is dropped without being kept, and the next one arrives") {
    const server s;
    ipc::unique_handle pipe = s.connect();
    const std::string large(64 * mebibyte, 'x');
    REQUIRE(announce(pipe, 2));
    REQUIRE(write(pipe, large.data(), large.size()));
    const answer refused = next_answer(pipe);
    CHECK(refused.status == verdict::too_long);
    CHECK(refused.bytes == 64 * mebibyte);
    REQUIRE(write(pipe, "hello", 5));
    const answer received = next_answer(pipe);
    CHECK(received.status == verdict::received);
    CHECK(received.bytes == 5);
    check_memory(*s.a, 20 * mebibyte);
    pipe.reset();
    CHECK(s.end() == 0);
    // 4 KiB and then 256 KiB at a time: A never had room for all of it.
    CHECK_THAT(s.a->output(), ContainsSubstring(": 67108864 bytes, reads: 257, refused"));
}

TEST_CASE("Nobody waits longer than the limit: silent clients, unread answers, missing servers") {
    const server silent;
    const ipc::unique_handle says_nothing = silent.connect();
    const server speechless;
    const ipc::unique_handle only_listens = speechless.connect(GENERIC_READ);
    const server stuck;
    const ipc::unique_handle never_reads = stuck.connect();
    const server silent_byte({L"--byte"});
    const ipc::unique_handle no_bytes = silent_byte.connect();
    const server foreign_byte({L"--byte"});
    ipc::unique_handle no_event = foreign_byte.connect();
    REQUIRE(announce(no_event, 2, 8));
    REQUIRE(write(no_event, "hello", 5));
    REQUIRE(write(no_event, "you", 3));
    program no_server({process_b, L"--name", ipc::test::unique_suffix()});
    program busy(silent.b());
    REQUIRE(says_nothing);
    REQUIRE(never_reads);
    REQUIRE(no_bytes);

    // Each message costs the client nothing and A an answer, until A's answers fill the pipe.
    REQUIRE(announce(never_reads, 1'000'000));
    int sent = 0;
    while (write(never_reads, "x", 1)) { // fails when A has given up
        ++sent;
    }
    CHECK(sent >= static_cast<int>(pipe_bytes / sizeof(answer)));
    CHECK(stuck.end() == 1);
    check_one_line(*stuck.a, "A: the other process is too slow for WriteFile");
    CHECK(silent.end() == 1);
    check_one_line(*silent.a, "A: the other process is too slow for ReadFile");
    if (only_listens) {
        CHECK(speechless.end() == 1);
        check_one_line(*speechless.a, "A: the other process is too slow for ReadFile");
    }
    CHECK(silent_byte.end() == 1);
    check_one_line(*silent_byte.a, "A: the other process is too slow for ReadFile");
    const answer all_bytes = next_answer(no_event); // late, as A waited for the event
    CHECK(all_bytes.status == verdict::received);
    CHECK(all_bytes.bytes == 8);
    no_event.reset();
    CHECK(foreign_byte.end() == 0);
    CHECK_THAT(foreign_byte.a->output(), ContainsSubstring("A: read 1: 8 bytes, where 2 messages"));

    for (program* b : {&no_server, &busy}) {
        REQUIRE(b->wait());
        REQUIRE(b->wait_for_end_of_output());
        CHECK(b->exit_code() == 1);
    }
    check_one_line(no_server, ": start processA first");
    CHECK_THAT(no_server.error_output(),
               StartsWith("B: no server at \\\\.\\pipe\\ipc_demos.04.messages.test"));
    CHECK(ipc::test::lines_of(busy.error_output()).size() == 1);
}

// A server that nobody here wrote, for one B.
struct foreign_server {
    explicit foreign_server(DWORD type = PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
                            std::vector<std::wstring> options = {}) {
        pipe.reset(
            CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX, type, 1, 4096, 4096, 0, nullptr));
        REQUIRE(pipe);
        options.insert(options.begin(), {process_b, L"--name", suffix});
        b = std::make_unique<program>(options);
        if (!ConnectNamedPipe(pipe.get(), nullptr)) {
            REQUIRE(GetLastError() == ERROR_PIPE_CONNECTED);
        }
    }
    std::string read() const {
        std::string message(4096, '\0');
        DWORD size = 0;
        REQUIRE(ReadFile(pipe.get(), message.data(), 4096, &size, nullptr));
        message.resize(size);
        return message;
    }
    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(pipe_name, suffix);
    ipc::unique_handle pipe;
    std::unique_ptr<program> b;
};

TEST_CASE("B announces its messages, sends each with one write, and does not believe any answer") {
    struct misbehaviour {
        std::string answer;
        const char* line_of_b;
    };
    const answer wrong_length{verdict::received, 0, 6};
    const answer no_verdict{static_cast<verdict>(77), 0, 5};
    const auto bytes_of = [](const answer& one) {
        return std::string(reinterpret_cast<const char*>(&one), sizeof one);
    };
    const std::vector<misbehaviour> all = {
        {bytes_of(wrong_length), "B: message 1 arrived with 6 bytes\n"},
        {bytes_of(wrong_length).substr(0, 8), "B: what the server sent is not an answer\n"},
        {bytes_of(wrong_length) + "more", "B: what the server sent is not an answer\n"},
        {"", "B: what the server sent is not an answer\n"},
        {bytes_of(no_verdict), "B: what the server sent is not an answer\n"},
        {"close", "B: the other process ended in the middle of the conversation\n"},
        {"nothing", "B: the other process is too slow for ReadFile\n"}};
    for (const misbehaviour& one : all) {
        foreign_server s;
        const std::string first = s.read();
        REQUIRE(first.size() == sizeof(announcement));
        const announcement announced = to_announcement(first.data(), first.size());
        CHECK(announced.messages == 5);
        CHECK(announced.bytes == 5 + 4096 + 10'000 + 1024 * 1024);
        CHECK(s.read() == "hello");
        if (one.answer == "close") {
            s.pipe.reset();
        } else if (one.answer != "nothing") {
            write(s.pipe, one.answer.data(), one.answer.size());
        }
        REQUIRE(s.b->wait());
        REQUIRE(s.b->wait_for_end_of_output());
        INFO(one.line_of_b);
        CHECK(s.b->exit_code() == 1);
        CHECK(s.b->error_output() == one.line_of_b);
    }
}

TEST_CASE("With --byte, B lets A read early if not everything fits into the pipe, and only then") {
    const ipc::test::temporary_folder folder;
    for (const bool fits : {false, true}) {
        // The pipe of this server holds less than either, so that B is still writing.
        const std::string bytes(byte_pipe_bytes - (fits ? sizeof(announcement) : 0), 'x');
        write_file(folder.file(L"in"), bytes);
        const foreign_server s(PIPE_TYPE_BYTE | PIPE_READMODE_BYTE,
                               {L"--byte", L"--in", folder.file(L"in")});
        announcement first{};
        DWORD size = 0;
        REQUIRE(ReadFile(s.pipe.get(), &first, sizeof first, &size, nullptr));
        REQUIRE(size == sizeof first);
        const std::wstring name = ipc::object_name(written_name, s.suffix);
        const ipc::unique_handle written(OpenEventW(SYNCHRONIZE, FALSE, name.c_str()));
        REQUIRE(written);
        const HANDLE events[] = {written.get(), s.b->process()};
        CHECK(WaitForMultipleObjects(2, events, FALSE, fits ? 0 : ipc::test::default_limit_ms) ==
              (fits ? WAIT_TIMEOUT : WAIT_OBJECT_0));
        for (std::size_t arrived = 0; arrived < bytes.size();) {
            arrived += s.read().size();
        }
        const answer all{verdict::received, 0, bytes.size()};
        REQUIRE(write(s.pipe, &all, sizeof all));
        REQUIRE(s.b->wait());
        CHECK(s.b->exit_code() == 0);
        CHECK(WaitForSingleObject(written.get(), 0) == WAIT_OBJECT_0);
    }
}

TEST_CASE("The pair meets in either order, and two pairs with different names do not") {
    const std::wstring first = ipc::test::unique_suffix();
    const std::wstring second = ipc::test::unique_suffix();
    program b1({process_b, L"--name", first});
    program a2({process_a, L"--name", second});
    program b2({process_b, L"--name", second});
    CHECK_FALSE(b1.wait(500)); // no server of that name yet, and the other one is not it
    program a1({process_a, L"--name", first});
    for (program* one : {&a1, &b1, &a2, &b2}) {
        REQUIRE(one->wait());
        CHECK(one->exit_code() == 0);
    }
}

TEST_CASE("The second A says that the name is taken, and the first one is not disturbed") {
    const server s;
    const ipc::test::result second = run({process_a, L"--name", s.suffix});
    CHECK(second.exit_code == 1);
    CHECK_THAT(second.error_output, StartsWith("A: the name \\\\.\\pipe\\ipc_demos.04.messages.") &&
                                        EndsWith(" is taken\n"));
    CHECK(run(s.b()).exit_code == 0);
    CHECK(s.end() == 0);
}

// ANCHOR: skipped
TEST_CASE("The first instance of the pipe is asked for by flag") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    // ANCHOR_END: skipped
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring name = ipc::object_name(pipe_name, suffix);
    const ipc::unique_handle squatter(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 2, 4096, 4096, 0, nullptr));
    REQUIRE(squatter);
    const ipc::test::result a = run({process_a, L"--name", suffix});
    CHECK(a.exit_code == 1);
    CHECK_THAT(a.error_output, EndsWith(" is taken\n"));
}

TEST_CASE("Ctrl+C ends A in order: waiting, in a silent conversation and in a busy one") {
    const server waiting;
    waiting.a->press_ctrl_c();
    CHECK(waiting.end() == 0);
    CHECK_THAT(waiting.a->output(), EndsWith("A: stopped\n"));

    for (const bool byte : {false, true}) {
        const server silent(byte ? std::vector<std::wstring>{L"--byte"}
                                 : std::vector<std::wstring>{});
        const ipc::unique_handle pipe = silent.connect();
        REQUIRE(announce(pipe, 2));
        silent.a->press_ctrl_c();
        CHECK(silent.end() == 0);
        CHECK_THAT(silent.a->output(), EndsWith("A: stopped\n"));
        CHECK(silent.a->error_output().empty());
    }

    const server busy;
    program b(busy.b({L"--in", endless_file()}));
    REQUIRE(busy.a->wait_for_output("A: message 10: "));
    busy.a->press_ctrl_c();
    CHECK(busy.end() == 0);
    CHECK_THAT(busy.a->output(), EndsWith("A: stopped\n"));
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    CHECK(b.error_output() == "B: the other process ended in the middle of the conversation\n");
}

TEST_CASE("Ctrl+C is noticed between messages that never let A wait") {
    const server s;
    const ipc::unique_handle pipe = s.connect();
    REQUIRE(announce(pipe, UINT64_MAX));
    std::jthread drain([&] { // and reads the answers as they come
        std::vector<char> buffer(pipe_bytes);
        DWORD size = 0;
        while (ReadFile(pipe.get(), buffer.data(), pipe_bytes, &size, nullptr)) {}
    });
    std::jthread flood([&] {
        while (write(pipe, "x", 1)) {}
    });
    REQUIRE(s.a->wait_for_output("A: message 10: "));
    s.a->press_ctrl_c();
    CHECK(s.end() == 0);
    CHECK_THAT(s.a->output(), EndsWith("A: stopped\n"));
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
        CHECK_THAT(s.a->error_output(), StartsWith("A: the client ended after "));
        check_one_line(*s.a, " of 2000000 messages\n");
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
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.exit_code() == 1);
        CHECK(b.error_output() == "B: the other process ended in the middle of the conversation\n");
        CHECK(b.job().process_ids().empty());
    }
}

TEST_CASE("The end of the other process is noticed through a byte-type pipe as well") {
    for (const bool kill_a : {false, true}) {
        const server s({L"--byte"});
        program b(s.b({L"--byte", L"--in", endless_file()}));
        REQUIRE(s.a->wait_for_output("A: read 1: "));
        program& other = kill_a ? b : *s.a;
        (kill_a ? *s.a : b).kill();
        REQUIRE(other.wait());
        REQUIRE(other.wait_for_end_of_output());
        CHECK(other.exit_code() == 1);
        check_one_line(other, ": the other process ended in the middle of the conversation");
    }
}

TEST_CASE("Neither side takes more handles as the conversation goes on") {
    const server s;
    program b(s.b({L"--in", endless_file()}));
    REQUIRE(b.wait_for_output("B: message 10: "));
    const DWORD before_a = ipc::test::handle_count(s.a->process());
    const DWORD before_b = ipc::test::handle_count(b.process());
    CHECK_FALSE(b.wait(500)); // some messages; the number does not matter
    // The system opens one or two of its own at its leisure; a leak would be hundreds by now.
    CHECK(ipc::test::handle_count(s.a->process()) <= before_a + 5);
    CHECK(ipc::test::handle_count(b.process()) <= before_b + 5);
}

TEST_CASE(
    "Files that cannot be opened, and lines that no buffer should hold, end before anything") {
    const ipc::test::temporary_folder folder;
    const ipc::test::result no_input = run({process_b, L"--in", folder.file(L"missing")});
    CHECK(no_input.exit_code == 1);
    CHECK_THAT(no_input.error_output, StartsWith("B: cannot read "));
    const ipc::test::result no_output = run({process_a, L"--out", folder.file(L"no\\such\\file")});
    CHECK(no_output.exit_code == 1);
    CHECK_THAT(no_output.error_output, StartsWith("A: cannot write "));
    CHECK(no_output.output.empty());
    write_file(folder.file(L"long"), "first\n" + std::string(64 * mebibyte + 1, 'x'));
    const ipc::test::result too_long = run({process_b, L"--in", folder.file(L"long")});
    CHECK(too_long.exit_code == 1);
    CHECK(too_long.error_output == "B: line 2 is longer than 67108864 bytes\n");
}

TEST_CASE("A does not pass over an output file that could not take everything") {
    for (const bool byte : {false, true}) {
        // A pipe that nobody reads any more takes as little as a full disk.
        const std::wstring out = L"\\\\.\\pipe\\" + ipc::test::unique_suffix();
        ipc::unique_handle reader(
            CreateNamedPipeW(out.c_str(), PIPE_ACCESS_INBOUND, 0, 1, 4096, 4096, 0, nullptr));
        REQUIRE(reader);
        const server s(byte ? std::vector<std::wstring>{L"--byte", L"--out", out}
                            : std::vector<std::wstring>{L"--out", out});
        reader.reset();
        run(s.b(byte ? std::vector<std::wstring>{L"--byte"} : std::vector<std::wstring>{}));
        CHECK(s.end() == 1);
        CHECK(s.a->error_output() == "A: the output file is not complete\n");
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"}, {process_a, L"--name", L""},
        {process_a, L"unexpected"},       {process_b, L"--in"},  {process_b, L"--no-such-option"},
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
