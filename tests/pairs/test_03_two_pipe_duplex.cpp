#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/03_two_pipe_duplex/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <aclapi.h>
#include <winioctl.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::lines_of;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"03_two_pipe_duplex", L"processA.exe");
const std::wstring process_b = program_path(L"03_two_pipe_duplex", L"processB.exe");

constexpr auto b_ended_early = "A: B has ended or closed a pipe before everything had come back\n";
constexpr auto a_ended_early = "B: A has ended before everything was sent and returned\n";
constexpr auto waiting = "A: waiting for B to open both pipes\n";

// A sparse file of 100 GB: it takes no room on the disk, and no test reads it to its end.
std::wstring endless_file(const ipc::test::temporary_folder& folder) {
    std::wstring path = folder.file(L"endless");
    const ipc::unique_handle file(CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr,
                                              CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr));
    DWORD returned = 0;
    if (!DeviceIoControl(file.get(), FSCTL_SET_SPARSE, nullptr, 0, nullptr, 0, &returned,
                         nullptr)) {
        SKIP("the file system of the temporary folder has no sparse files");
    }
    LARGE_INTEGER size{};
    size.QuadPart = 100'000'000'000;
    REQUIRE(SetFilePointerEx(file.get(), size, nullptr, FILE_BEGIN));
    REQUIRE(SetEndOfFile(file.get()));
    return path;
}

char upper_case(char c) {
    static constexpr std::string_view lower = "abcdefghijklmnopqrstuvwxyz";
    static constexpr std::string_view upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const std::size_t letter = lower.find(c);
    return letter == std::string_view::npos ? c : upper[letter];
}

void write_upper_case(const std::wstring& from, const std::wstring& to) {
    std::array<char, 256> table{};
    for (int i = 0; i < 256; ++i) {
        table[static_cast<std::size_t>(i)] = upper_case(static_cast<char>(i));
    }
    std::ifstream in(std::filesystem::path(from), std::ios::binary);
    std::ofstream out(std::filesystem::path(to), std::ios::binary);
    std::vector<char> bytes(1 << 20);
    while (in.read(bytes.data(), static_cast<std::streamsize>(bytes.size())), in.gcount() > 0) {
        std::ranges::transform(bytes, bytes.begin(),
                               [&](char c) { return table[static_cast<unsigned char>(c)]; });
        out.write(bytes.data(), in.gcount());
    }
}

// How a program ended.
struct outcome {
    DWORD exit_code = STILL_ACTIVE;
    std::string output;
    std::string error_output;
};

outcome wait_for_outcome(program& ended) {
    outcome result;
    CHECK(ended.wait());
    CHECK(ended.wait_for_end_of_output());
    result.exit_code = ended.exit_code();
    result.output = ended.output();
    result.error_output = ended.error_output();
    return result;
}

// The names of one pair, and the command lines that use them.
struct names {
    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring a_to_b = ipc::object_name(a_to_b_name, suffix);
    std::wstring b_to_a = ipc::object_name(b_to_a_name, suffix);

    using arguments = std::vector<std::wstring>;
    arguments a(const arguments& options = {}) const { return command(process_a, options); }
    arguments b(const arguments& options = {}) const { return command(process_b, options); }

private:
    arguments command(const std::wstring& path, const arguments& options) const {
        arguments result = {path, L"--name", suffix};
        result.insert(result.end(), options.begin(), options.end());
        return result;
    }
};

// Opens a pipe that exists.
ipc::unique_handle open_pipe(const std::wstring& name, DWORD access) {
    ipc::unique_handle pipe(CreateFileW(name.c_str(), access, 0, nullptr, OPEN_EXISTING,
                                        SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, nullptr));
    INFO("error " << GetLastError());
    REQUIRE(pipe);
    return pipe;
}

// The test's ends of both pipes, in the role of A or of B.
struct both_pipes {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

// The test in the role of B.
both_pipes open_both(const names& of) {
    both_pipes ends;
    ends.read_end = open_pipe(of.a_to_b, GENERIC_READ);
    ends.write_end = open_pipe(of.b_to_a, GENERIC_WRITE);
    return ends;
}

// The test in the role of A.
both_pipes create_both(const names& of) {
    ipc::user_only_security security;
    const auto create = [&](const std::wstring& name, DWORD access) {
        ipc::unique_handle pipe(CreateNamedPipeW(name.c_str(), access,
                                                 PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1,
                                                 buffer_bytes, buffer_bytes, 0, security.get()));
        REQUIRE(pipe);
        return pipe;
    };
    both_pipes ends;
    ends.write_end = create(of.a_to_b, PIPE_ACCESS_OUTBOUND);
    ends.read_end = create(of.b_to_a, PIPE_ACCESS_INBOUND);
    return ends;
}

bool write(HANDLE pipe, std::string_view bytes) {
    DWORD written = 0;
    return WriteFile(pipe, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr) &&
           written == bytes.size();
}

bool write_length(HANDLE pipe, stream_length length) {
    return write(pipe, {reinterpret_cast<const char*>(&length), sizeof length});
}

// Reads this number of bytes, or fewer if the pipe ends before.
std::string read(HANDLE pipe, std::size_t count) {
    std::string bytes(count, '\0');
    std::size_t have = 0;
    DWORD received = 0;
    while (have < count && ReadFile(pipe, bytes.data() + have, static_cast<DWORD>(count - have),
                                    &received, nullptr)) {
        have += received;
    }
    bytes.resize(have);
    return bytes;
}

stream_length read_length(HANDLE pipe) {
    const std::string bytes = read(pipe, sizeof(stream_length));
    REQUIRE(bytes.size() == sizeof(stream_length));
    stream_length length = 0;
    std::ranges::copy(bytes, reinterpret_cast<char*>(&length));
    return length;
}

// Waits until the number of bytes to read no longer grows: then the pipe is full and its writer
// blocks. On a busy machine this may be too early. The test is weaker then, but does not fail.
void wait_until_full(HANDLE pipe) {
    DWORD before = 0;
    for (int same = 0; same < 10;) {
        DWORD available = 0;
        REQUIRE(PeekNamedPipe(pipe, nullptr, 0, nullptr, &available, nullptr));
        same = available == before && available >= buffer_bytes ? same + 1 : 0;
        before = available;
        Sleep(10); // Windows cannot notify of a writer that blocks
    }
}

} // namespace

TEST_CASE("A shows its lines in upper case, whichever program is started first") {
    for (const bool a_first : {true, false}) {
        const names name;
        const names::arguments no_limit = {L"--limit", L"0"};
        auto first = std::make_unique<program>(a_first ? name.a(no_limit) : name.b(no_limit));
        if (a_first) {
            REQUIRE(first->wait_for_output(waiting));
        } else {
            CHECK_FALSE(first->wait(300)); // it waits for its server
        }
        auto second = std::make_unique<program>(a_first ? name.b(no_limit) : name.a(no_limit));
        const outcome a = wait_for_outcome(a_first ? *first : *second);
        const outcome b = wait_for_outcome(a_first ? *second : *first);
        CHECK(a.exit_code == 0);
        CHECK(b.exit_code == 0);
        CHECK_THAT(a.output, StartsWith(waiting));
        CHECK_THAT(a.output, ContainsSubstring("A: | ONLY A TO Z CHANGE: \xC3\xA4 AND 7 DO NOT\n"));
        CHECK_THAT(a.output, EndsWith("A: sent 108 bytes, and as many came back\n"));
        CHECK(b.output == "B: both pipes are open\n"
                          "B: A has closed its side, and all 108 bytes are returned\n");
        CHECK(a.error_output.empty());
        CHECK(b.error_output.empty());
    }
}

TEST_CASE("Files of any size come back whole, and only a to z change, to upper case") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    const std::wstring expected = folder.file(L"expected");
    for (const std::uint64_t size : {0u, 1u, 65'535u, 65'536u, 65'537u, 200'000u, 5'000'000u}) {
        ipc::test::write_random_file(in, size);
        write_upper_case(in, expected);
        const names name;
        program a(name.a({L"--in", in, L"--out", out}));
        program b(name.b());
        const std::string bytes = std::to_string(size);
        const outcome end_of_a = wait_for_outcome(a);
        const outcome end_of_b = wait_for_outcome(b);
        INFO(bytes << " bytes: " << end_of_a.error_output << end_of_b.error_output);
        CHECK(end_of_a.exit_code == 0);
        CHECK(end_of_a.output ==
              waiting + ("A: sent " + bytes + " bytes, and as many came back\n"));
        CHECK(end_of_b.exit_code == 0);
        CHECK_THAT(end_of_b.output, EndsWith("all " + bytes + " bytes are returned\n"));
        CHECK(ipc::test::same_content(out, expected));
    }
}

TEST_CASE("100 MB of random bytes come back and memory stays flat") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    const std::wstring expected = folder.file(L"expected");
    ipc::test::write_random_file(in, 100'000'000);
    const names name;
    program a(name.a({L"--in", in, L"--out", out}));
    program b(name.b());
    CHECK(wait_for_outcome(a).exit_code == 0);
    CHECK(wait_for_outcome(b).exit_code == 0);
    for (const program* ended : {&a, &b}) {
        CHECK(ended->peak_memory_bytes() > 0); // or it was not measured at all
        CHECK(ended->peak_memory_bytes() < 20 << 20);
    }
    write_upper_case(in, expected);
    CHECK(ipc::test::same_content(out, expected));
}

TEST_CASE("A receives while its own writes are blocked") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in");
    const std::wstring out = folder.file(L"out");
    constexpr stream_length size = 2'000'000;
    ipc::test::write_random_file(in, size);
    const names name;
    program a(name.a({L"--in", in, L"--out", out}));
    REQUIRE(a.wait_for_output(waiting));
    both_pipes b = open_both(name);
    wait_until_full(b.read_end.get());
    // Much more than a pipe holds. An A that sends everything first would never read it.
    const std::string back(size, 'x');
    CHECK(write(b.write_end.get(), back));
    CHECK_FALSE(a.wait(0));
    CHECK(read_length(b.read_end.get()) == size);
    CHECK(read(b.read_end.get(), size + 1) == ipc::test::read_file(in)); // and then the end
    CHECK_FALSE(a.wait(100)); // only one direction has ended
    b.write_end.reset();
    CHECK(wait_for_outcome(a).exit_code == 0);
    CHECK(ipc::test::read_file(out) == back);
}

TEST_CASE("B and its server block while both pipes are full, and go on when the server reads") {
    const names name;
    program b(name.b());
    both_pipes a = create_both(name);
    REQUIRE(b.wait_for_output("B: both pipes are open\n"));
    const std::string bytes(3'000'000, 'x');
    std::jthread writer([&] {
        write_length(a.write_end.get(), bytes.size());
        write(a.write_end.get(), bytes);
        a.write_end.reset();
    });
    wait_until_full(a.read_end.get()); // B blocks now, and so does the writer
    CHECK_FALSE(b.wait(0));
    CHECK(read(a.read_end.get(), bytes.size() + 1) == std::string(bytes.size(), 'X'));
    CHECK(wait_for_outcome(b).exit_code == 0);
}

TEST_CASE("B reads what the server wrote before it closed its end") {
    const names name;
    program b(name.b());
    both_pipes a = create_both(name);
    REQUIRE(b.wait_for_output("B: both pipes are open\n"));
    const std::string bytes(buffer_bytes - sizeof(stream_length), 'y');
    CHECK(write_length(a.write_end.get(), bytes.size()));
    CHECK(write(a.write_end.get(), bytes));
    a.write_end.reset(); // no FlushFileBuffers
    CHECK(read(a.read_end.get(), bytes.size() + 1) == std::string(bytes.size(), 'Y'));
    CHECK(wait_for_outcome(b).exit_code == 0);
}

TEST_CASE("A ends with one line when its client closes one pipe or both half-way") {
    const ipc::test::temporary_folder folder;
    const std::wstring endless = endless_file(folder);
    const auto stop_reading = [](both_pipes& b) { b.read_end.reset(); };
    const auto stop_writing = [](both_pipes& b) { b.write_end.reset(); };
    const auto stop_both = [](both_pipes& b) { b = {}; };
    for (const auto& stop :
         std::vector<std::function<void(both_pipes&)>>{stop_reading, stop_writing, stop_both}) {
        for (const bool blocked : {true, false}) {
            const names name;
            program a(name.a({L"--in", endless, L"--out", folder.file(L"out")}));
            REQUIRE(a.wait_for_output(waiting));
            both_pipes b = open_both(name);
            if (blocked) {
                wait_until_full(b.read_end.get());
            }
            stop(b);
            const outcome end = wait_for_outcome(a); // the other pipe may still be open
            CHECK(end.exit_code == 1);
            CHECK(end.output == waiting);
            CHECK(end.error_output == b_ended_early);
        }
    }
}

TEST_CASE("A refuses an answer that is one byte too short or too long") {
    for (const int difference : {-1, 0, 1}) {
        const names name;
        program a(name.a());
        REQUIRE(a.wait_for_output(waiting));
        both_pipes b = open_both(name);
        const std::size_t length = read_length(b.read_end.get());
        CHECK(read(b.read_end.get(), length + 1).size() == length);
        write(b.write_end.get(), std::string(length + static_cast<std::size_t>(difference), 'x'));
        b.write_end.reset();
        const outcome end = wait_for_outcome(a);
        CHECK(end.exit_code == (difference == 0 ? 0 : 1));
        CHECK(end.error_output == (difference < 0   ? b_ended_early
                                   : difference > 0 ? "A: B has returned more than it was sent\n"
                                                    : ""));
    }
}

TEST_CASE("Two programs that take one pipe each are refused") {
    const names name;
    program a(name.a());
    REQUIRE(a.wait_for_output(waiting));
    const ipc::unique_handle stranger = open_pipe(name.b_to_a, GENERIC_WRITE);
    program b(name.b()); // gets the other one
    const outcome end = wait_for_outcome(a);
    CHECK(end.exit_code == 1);
    CHECK(end.output == waiting);
    CHECK(end.error_output == "A: refused: two programs have opened one pipe each\n");
    CHECK(b.output().empty());
    b.kill(); // it would wait for its limit
}

TEST_CASE("A gives up when nobody comes, and refuses a program that opens one pipe only") {
    const names nobody;
    const names only_a_to_b;
    const names only_b_to_a;
    const names came_and_went;
    const names::arguments limit = {L"--limit", L"1"};
    program a1(nobody.a(limit));
    program a2(only_a_to_b.a(limit));
    program a3(only_b_to_a.a(limit));
    program a4(came_and_went.a(limit));
    REQUIRE(a2.wait_for_output(waiting));
    const ipc::unique_handle stranger2 = open_pipe(only_a_to_b.a_to_b, GENERIC_READ);
    REQUIRE(a3.wait_for_output(waiting));
    const ipc::unique_handle stranger3 = open_pipe(only_b_to_a.b_to_a, GENERIC_WRITE);
    REQUIRE(a4.wait_for_output(waiting));
    open_both(came_and_went);
    const outcome end1 = wait_for_outcome(a1);
    const outcome end2 = wait_for_outcome(a2);
    const outcome end3 = wait_for_outcome(a3);
    const outcome end4 = wait_for_outcome(a4);
    CHECK(end1.error_output == "A: nobody has opened the pipes: start processB\n");
    CHECK(end2.error_output == "A: refused: a program has opened only one pipe\n");
    CHECK(end3.error_output == "A: refused: a program has opened only one pipe\n");
    CHECK(end4.error_output == b_ended_early);
    for (const outcome& end : {end1, end2, end3, end4}) {
        CHECK(end.exit_code == 1);
        CHECK(end.output == waiting);
    }
}

TEST_CASE("B gives up when there is no server, half a server, or a busy one") {
    const names none;
    const names half;
    const names busy;
    ipc::unique_handle outbound(CreateNamedPipeW(half.a_to_b.c_str(), PIPE_ACCESS_OUTBOUND,
                                                 PIPE_TYPE_BYTE, 1, 0, 0, 0, nullptr));
    const both_pipes server = create_both(busy);
    const both_pipes taken = open_both(busy);
    const names::arguments limit = {L"--limit", L"1"};
    program b1(none.b(limit));
    program b2(half.b(limit));
    program b3(busy.b(limit));
    const outcome end1 = wait_for_outcome(b1);
    const outcome end2 = wait_for_outcome(b2);
    const outcome end3 = wait_for_outcome(b3);
    CHECK(end1.error_output ==
          "B: no server at " + ipc::to_utf8(none.a_to_b) + ": start processA first\n");
    CHECK(end2.error_output ==
          "B: no server at " + ipc::to_utf8(half.b_to_a) + ": start processA first\n");
    CHECK(end3.error_output ==
          "B: the server at " + ipc::to_utf8(busy.a_to_b) + " is busy with other clients\n");
    for (const outcome& end : {end1, end2, end3}) {
        CHECK(end.exit_code == 1);
        CHECK(end.output.empty());
    }
}

TEST_CASE("A second B waits until the server is free") {
    const names name;
    const both_pipes server = create_both(name);
    both_pipes taken = open_both(name);
    program b(name.b());
    CHECK_FALSE(b.wait(300));
    CHECK(b.output().empty());
    taken.read_end.reset();
    taken.write_end.reset();
    for (const HANDLE pipe : {server.write_end.get(), server.read_end.get()}) {
        CHECK(DisconnectNamedPipe(pipe)); // or the pipe stays connected to its dead client
        CHECK((ConnectNamedPipe(pipe, nullptr) || GetLastError() == ERROR_PIPE_CONNECTED));
    }
    CHECK(b.wait_for_output("B: both pipes are open\n"));
}

TEST_CASE("B reads a length in pieces, and an empty write is not the end") {
    const names name;
    program b(name.b());
    both_pipes a = create_both(name);
    REQUIRE(b.wait_for_output("B: both pipes are open\n"));
    const stream_length length = 3;
    for (std::size_t i = 0; i < sizeof length; ++i) {
        CHECK(write(a.write_end.get(), {reinterpret_cast<const char*>(&length) + i, 1}));
    }
    for (const std::string_view piece : {"", "a", "", "{", "z", ""}) {
        CHECK(write(a.write_end.get(), piece));
        CHECK(read(a.read_end.get(), piece.size()).size() == piece.size());
    }
    a.write_end.reset();
    CHECK(read(a.read_end.get(), 1).empty());
    CHECK(wait_for_outcome(b).exit_code == 0);
}

TEST_CASE("B ends with one line when its server ends at any point of the protocol") {
    const auto close = [](both_pipes& a) { a = {}; };
    const auto disconnect = [](both_pipes& a) {
        DisconnectNamedPipe(a.write_end.get());
        DisconnectNamedPipe(a.read_end.get());
    };
    const auto only_outbound = [](both_pipes& a) { a.write_end.reset(); };
    const auto only_inbound = [](both_pipes& a) {
        a.read_end.reset();
        write(a.write_end.get(), "y"); // so that B writes again
    };
    const auto start_nothing = [](both_pipes&) {};
    const auto start_half_a_length = [](both_pipes& a) { write(a.write_end.get(), "1234"); };
    const auto start_data = [](both_pipes& a) {
        write_length(a.write_end.get(), 1000);
        write(a.write_end.get(), "x");
        CHECK(read(a.read_end.get(), 1) == "X");
    };
    const auto start_all_unread = [](both_pipes& a) {
        write_length(a.write_end.get(), 1);
        write(a.write_end.get(), "x");
        a.write_end.reset();
        char first = 0;
        DWORD count = 0;
        while (count == 0) { // until B has written it
            PeekNamedPipe(a.read_end.get(), &first, 1, &count, nullptr, nullptr);
            Sleep(1); // PeekNamedPipe does not wait
        }
    };
    using step = std::function<void(both_pipes&)>;
    const std::vector<std::pair<step, step>> cases = {{start_nothing, close},
                                                      {start_nothing, disconnect},
                                                      {start_nothing, only_outbound},
                                                      {start_half_a_length, close},
                                                      {start_half_a_length, disconnect},
                                                      {start_data, close},
                                                      {start_data, disconnect},
                                                      {start_data, only_outbound},
                                                      {start_data, only_inbound},
                                                      {start_all_unread, close},
                                                      {start_all_unread, disconnect}};
    for (std::size_t i = 0; i < cases.size(); ++i) {
        INFO("case " << i);
        const names name;
        program b(name.b());
        both_pipes a = create_both(name);
        REQUIRE(b.wait_for_output("B: both pipes are open\n"));
        cases[i].first(a);
        cases[i].second(a);
        const outcome end = wait_for_outcome(b);
        CHECK(end.exit_code == 1);
        CHECK(end.output == "B: both pipes are open\n");
        CHECK(end.error_output == a_ended_early);
    }
}

TEST_CASE("A ends with one line when B is killed at any moment") {
    const ipc::test::temporary_folder folder;
    const std::wstring endless = endless_file(folder);
    std::mt19937 random(30);
    for (int i = 0; i < 12; ++i) {
        const names name;
        program a(name.a({L"--in", endless, L"--out", folder.file(L"out")}));
        program b(name.b());
        REQUIRE(b.wait_for_output("B: both pipes are open\n"));
        CHECK_FALSE(b.wait(random() % 30)); // until a random moment
        b.kill();
        const outcome end = wait_for_outcome(a);
        CHECK(end.exit_code == 1);
        CHECK(end.output == waiting);
        CHECK(end.error_output == b_ended_early);
        CHECK(a.job().wait_until_empty(0));
    }
}

TEST_CASE("B ends with one line when A is killed at any moment") {
    const ipc::test::temporary_folder folder;
    const std::wstring endless = endless_file(folder);
    std::mt19937 random(31);
    for (int i = 0; i < 12; ++i) {
        const names name;
        program a(name.a({L"--in", endless, L"--out", folder.file(L"out")}));
        program b(name.b());
        REQUIRE(b.wait_for_output("B: both pipes are open\n"));
        CHECK_FALSE(a.wait(random() % 30)); // until a random moment
        a.kill();
        const outcome end = wait_for_outcome(b);
        CHECK(end.exit_code == 1);
        CHECK(end.output == "B: both pipes are open\n");
        CHECK(end.error_output == a_ended_early);
        CHECK(b.job().wait_until_empty(0));
    }
}

TEST_CASE("Ctrl+C ends A in order while it waits for its client to open the pipes") {
    for (const bool one_open : {false, true}) {
        const names name;
        program a(name.a());
        REQUIRE(a.wait_for_output(waiting));
        const ipc::unique_handle stranger =
            one_open ? open_pipe(name.a_to_b, GENERIC_READ) : ipc::unique_handle();
        a.press_ctrl_c();
        const outcome end = wait_for_outcome(a);
        CHECK(end.exit_code == 0);
        CHECK_THAT(end.output, EndsWith("A: stopped by Ctrl+C before everything had come back\n"));
        CHECK(end.error_output.empty());
    }
}

TEST_CASE("Ctrl+C ends A in order while its threads block or are busy") {
    const ipc::test::temporary_folder folder;
    const std::wstring endless = endless_file(folder);
    for (int i = 0; i < 10; ++i) {
        const names name;
        program a(name.a({L"--in", endless, L"--out", folder.file(L"out")}));
        REQUIRE(a.wait_for_output(waiting));
        both_pipes silent;
        std::unique_ptr<program> b;
        if (i == 0) {
            silent = open_both(name);
            wait_until_full(silent.read_end.get());
        } else {
            b = std::make_unique<program>(name.b());
            REQUIRE(b->wait_for_output("B: both pipes are open\n"));
            CHECK_FALSE(a.wait(static_cast<DWORD>(i)));
        }
        a.press_ctrl_c();
        const outcome end = wait_for_outcome(a);
        CHECK(end.exit_code == 0);
        CHECK_THAT(end.output, EndsWith("A: stopped by Ctrl+C before everything had come back\n"));
        CHECK(end.error_output.empty());
        if (b) {
            const outcome end_of_b = wait_for_outcome(*b);
            CHECK(end_of_b.exit_code == 1);
            CHECK(end_of_b.error_output == a_ended_early);
        }
    }
}

TEST_CASE("A second A says that the name is taken, and disturbs neither the first nor a file") {
    const names name;
    program a(name.a());
    REQUIRE(a.wait_for_output(waiting));
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out");
    ipc::test::write_random_file(out, 100);
    const ipc::test::result second = run(name.a({L"--out", out}));
    CHECK(second.exit_code == 1);
    CHECK(second.output.empty());
    CHECK(second.error_output ==
          "A: the name " + ipc::to_utf8(name.a_to_b) + " is taken by another server\n");
    CHECK(ipc::test::read_file(out).size() == 100); // not emptied
    program b(name.b());
    CHECK(wait_for_outcome(a).exit_code == 0);
    CHECK(wait_for_outcome(b).exit_code == 0);
}

TEST_CASE("A does not join a pipe whose first instance another program has created") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const names name;
    const ipc::unique_handle squatter(CreateNamedPipeW(name.b_to_a.c_str(), PIPE_ACCESS_INBOUND,
                                                       PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, 0,
                                                       0, 0, nullptr));
    const ipc::test::result refused = run(name.a());
    CHECK(refused.exit_code == 1);
    CHECK(refused.error_output ==
          "A: the name " + ipc::to_utf8(name.b_to_a) + " is taken by another server\n");
}

TEST_CASE("The list of each pipe allows the current user only") {
    const names name;
    program a(name.a());
    REQUIRE(a.wait_for_output(waiting));
    for (const auto& [path, access] :
         {std::pair<std::wstring, DWORD>{name.a_to_b, GENERIC_READ},
          std::pair<std::wstring, DWORD>{name.b_to_a, GENERIC_WRITE}}) {
        const ipc::unique_handle pipe = open_pipe(path, access | READ_CONTROL);
        ACL* list = nullptr;
        void* descriptor = nullptr;
        REQUIRE(GetSecurityInfo(pipe.get(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                                nullptr, &list, nullptr, &descriptor) == ERROR_SUCCESS);
        REQUIRE(list != nullptr); // no list would allow everyone
        CHECK(list->AceCount == 1);
        LocalFree(descriptor);
    }
}

TEST_CASE("Each pipe can be opened in its own direction only") {
    const names name;
    program a(name.a());
    REQUIRE(a.wait_for_output(waiting));
    for (const auto& [path, access] : {std::pair<std::wstring, DWORD>{name.a_to_b, GENERIC_WRITE},
                                       std::pair<std::wstring, DWORD>{name.b_to_a, GENERIC_READ}}) {
        const HANDLE wrong =
            CreateFileW(path.c_str(), access, 0, nullptr, OPEN_EXISTING, 0, nullptr);
        CHECK(GetLastError() == ERROR_ACCESS_DENIED);
        CHECK(wrong == INVALID_HANDLE_VALUE);
    }
    program b(name.b());
    CHECK(wait_for_outcome(a).exit_code == 0);
}

TEST_CASE("Neither program opens more handles as more bytes cross the pipes") {
    const ipc::test::temporary_folder folder;
    const names name;
    program a(name.a({L"--in", endless_file(folder), L"--out", folder.file(L"out")}));
    program b(name.b());
    REQUIRE(b.wait_for_output("B: both pipes are open\n"));
    CHECK_FALSE(a.wait(200)); // A's threads have started
    const DWORD before_a = ipc::test::handle_count(a.process());
    const DWORD before_b = ipc::test::handle_count(b.process());
    CHECK_FALSE(a.wait(500));                                    // long enough for many megabytes
    CHECK(ipc::test::handle_count(a.process()) <= before_a + 5); // a blocked call may take one
    CHECK(ipc::test::handle_count(b.process()) <= before_b + 5);
}

TEST_CASE("Ten pairs at once do not disturb each other") {
    std::vector<std::unique_ptr<program>> programs;
    for (int i = 0; i < 10; ++i) {
        const names name;
        programs.push_back(std::make_unique<program>(name.a()));
        programs.push_back(std::make_unique<program>(name.b()));
    }
    for (const auto& started : programs) {
        CHECK(wait_for_outcome(*started).exit_code == 0);
    }
}

TEST_CASE("A refuses a file that is missing, not writable, being written, or both in and out") {
    const ipc::test::temporary_folder folder;
    const std::wstring file = folder.file(L"file");
    ipc::test::write_random_file(file, 1000);
    const names name;
    const ipc::test::result missing = run(name.a({L"--in", folder.file(L"none")}));
    const ipc::test::result no_folder = run(name.a({L"--out", L"C:\\no such folder\\x"}));
    const ipc::test::result same = run(name.a({L"--in", file, L"--out", file}));
    const ipc::unique_handle writer(CreateFileW(file.c_str(), GENERIC_WRITE,
                                                FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                                OPEN_EXISTING, 0, nullptr));
    REQUIRE(writer);
    const ipc::test::result growing = run(name.a({L"--in", file}));
    CHECK_THAT(missing.error_output, ContainsSubstring("ERROR_FILE_NOT_FOUND (2)"));
    CHECK_THAT(no_folder.error_output, ContainsSubstring("ERROR_PATH_NOT_FOUND (3)"));
    CHECK_THAT(same.error_output, ContainsSubstring("ERROR_SHARING_VIOLATION (32)"));
    CHECK_THAT(growing.error_output, ContainsSubstring("ERROR_SHARING_VIOLATION (32)"));
    for (const ipc::test::result& refused : {missing, no_folder, same, growing}) {
        CHECK(refused.exit_code == 1);
        CHECK(refused.output.empty());
        CHECK(lines_of(refused.error_output).size() == 1);
    }
    CHECK(ipc::test::read_file(file).size() == 1000);
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--in"},
        {process_a, L"--out", L""},       {process_a, L"unexpected"},
        {process_b, L"--in", L"x"},       {process_b, L"--name"},
        {process_b, L"unexpected"},       {process_a, L"--limit", L"soon"},
        {process_b, L"--limit", L""}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(lines_of(refused.error_output).size() == 1);
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
