#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>
#include <winsock2.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"12_pipe_relay", L"processA.exe");
const std::wstring process_b = program_path(L"12_pipe_relay", L"processB.exe");
constexpr DWORD limit_ms = ipc::test::default_limit_ms;

std::wstring new_pipe_name() {
    return L"\\\\.\\pipe\\ipc_demos.12." + ipc::test::unique_suffix();
}

std::string random_bytes(std::size_t size, unsigned seed = 12) {
    std::mt19937 random(seed);
    std::string bytes(size, '\0');
    std::ranges::generate(bytes, [&] { return static_cast<char>(random() & 0xFF); });
    return bytes;
}

// A pipe server that does what a test needs. Each call has a limit.
class server {
public:
    explicit server(const std::wstring& name, DWORD type = PIPE_TYPE_BYTE,
                    DWORD access = PIPE_ACCESS_DUPLEX, DWORD instances = 1, DWORD bytes = 4096)
        : pipe_(CreateNamedPipeW(name.c_str(), access | FILE_FLAG_OVERLAPPED,
                                 type | (type == PIPE_TYPE_MESSAGE ? PIPE_READMODE_MESSAGE : 0),
                                 instances, bytes, bytes, 0, nullptr)) {
        REQUIRE(pipe_);
    }

    void accept() {
        ipc::overlapped_call call(pipe_.get());
        const BOOL done = ConnectNamedPipe(pipe_.get(), call.get());
        call.wait(done, limit_ms); // a failure shows in the first read
    }

    // Reads one part or message: nothing at the end.
    std::optional<std::string> read_part(DWORD most = 65536) {
        std::string bytes(most, '\0');
        ipc::overlapped_call call(pipe_.get());
        const BOOL done = ReadFile(pipe_.get(), bytes.data(), most, nullptr, call.get());
        const auto [error, size] = call.wait(done, limit_ms);
        if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
            last_error = error;
            return std::nullopt;
        }
        bytes.resize(size);
        return bytes;
    }

    // Reads until this many bytes have come, or the end.
    std::string read(std::size_t size) {
        std::string bytes;
        while (bytes.size() < size) {
            const auto part = read_part();
            if (!part) {
                break;
            }
            bytes += *part;
        }
        return bytes;
    }

    std::string read_to_end() { return read(SIZE_MAX); }

    bool write(std::string_view bytes) {
        ipc::overlapped_call call(pipe_.get());
        const BOOL done = WriteFile(pipe_.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, call.get());
        last_error = call.wait(done, limit_ms).error;
        return last_error == ERROR_SUCCESS;
    }

    void disconnect() { DisconnectNamedPipe(pipe_.get()); }
    void close() { pipe_.reset(); }

    DWORD last_error = ERROR_SUCCESS;

private:
    ipc::unique_handle pipe_;
};

struct pipe_ends {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

pipe_ends create_pipe() {
    pipe_ends pipe;
    REQUIRE(CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0));
    return pipe;
}

void make_inheritable(const ipc::unique_handle& handle) {
    REQUIRE(SetHandleInformation(handle.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
}

ipc::unique_handle open_file(const std::wstring& path, DWORD access) {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    ipc::unique_handle file(
        CreateFileW(path.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                    access == GENERIC_READ ? OPEN_EXISTING : CREATE_ALWAYS, 0, nullptr));
    REQUIRE(file);
    return file;
}

void write_file(const std::wstring& path, std::string_view bytes) {
    std::ofstream(std::filesystem::path(path), std::ios::binary) << bytes;
}

// A running relay whose standard streams the test holds. A given handle takes the place of the pipe.
class relay {
public:
    explicit relay(std::vector<std::wstring> arguments, HANDLE own_input = nullptr,
                   HANDLE own_output = nullptr, HANDLE own_error = nullptr) {
        pipe_ends in = create_pipe();
        pipe_ends out = create_pipe();
        pipe_ends err = create_pipe();
        make_inheritable(in.read_end);
        make_inheritable(out.write_end);
        make_inheritable(err.write_end);
        arguments.insert(arguments.begin(), process_a);
        std::wstring command = ipc::command_line(arguments);
        STARTUPINFOW startup{};
        startup.cb = sizeof startup;
        startup.dwFlags = STARTF_USESTDHANDLES;
        startup.hStdInput = own_input != nullptr ? own_input : in.read_end.get();
        startup.hStdOutput = own_output != nullptr ? own_output : out.write_end.get();
        startup.hStdError = own_error != nullptr ? own_error : err.write_end.get();
        PROCESS_INFORMATION started{};
        REQUIRE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, CREATE_SUSPENDED,
                               nullptr, nullptr, &startup, &started));
        process_.reset(started.hProcess);
        AssignProcessToJobObject(job_.handle(), started.hProcess);
        ResumeThread(started.hThread);
        CloseHandle(started.hThread);
        input = std::move(in.write_end);
        output = std::move(out.read_end);
        error_thread_ = std::jthread([this, end = std::move(err.read_end)] {
            char bytes[256];
            DWORD size = 0;
            while (ReadFile(end.get(), bytes, sizeof bytes, &size, nullptr)) {
                errors_.append(bytes, size);
            }
        });
    }
    ~relay() { job_.terminate(); }
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;

    bool write(std::string_view bytes) const {
        DWORD written = 0;
        return WriteFile(input.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written,
                         nullptr) != FALSE;
    }

    // Reads this many bytes of its output, or to the end.
    std::string read(std::size_t most) const {
        std::string bytes(most, '\0');
        std::size_t used = 0;
        DWORD size = 0;
        while (used < most && ReadFile(output.get(), bytes.data() + used,
                                       static_cast<DWORD>(most - used), &size, nullptr)) {
            used += size;
        }
        bytes.resize(used);
        return bytes;
    }

    // Reads its output to the end.
    void drain() const {
        char bytes[4096];
        DWORD size = 0;
        while (ReadFile(output.get(), bytes, sizeof bytes, &size, nullptr)) {}
    }

    bool has_ended(DWORD wait_ms) const {
        return WaitForSingleObject(process_.get(), wait_ms) == WAIT_OBJECT_0;
    }

    // Returns its exit code, or 999 if it goes on.
    DWORD exit_code() {
        DWORD code = 999;
        if (has_ended(limit_ms)) {
            GetExitCodeProcess(process_.get(), &code);
        } else {
            job_.terminate();
        }
        error_thread_ = {}; // has read everything now
        return code;
    }

    // What it has printed on standard error; after exit_code().
    const std::string& errors() const { return errors_; }

    void kill() const { TerminateProcess(process_.get(), 77); }
    HANDLE process() const { return process_.get(); }

    ipc::unique_handle input;  // the test's end of the standard input
    ipc::unique_handle output; // and of the standard output

private:
    ipc::test::job job_;
    ipc::unique_handle process_;
    std::string errors_;
    std::jthread error_thread_;
};

// Runs the relay with an empty input, and expects one line on standard error and this exit code.
void expect_refusal(std::vector<std::wstring> arguments, const std::string& reason,
                    DWORD exit_code = 1) {
    relay refused(std::move(arguments));
    CHECK(refused.exit_code() == exit_code);
    CHECK_THAT(refused.errors(), ContainsSubstring(reason));
    CHECK(ipc::test::lines_of(refused.errors()).size() == 1);
    CHECK(refused.read(1).empty());
}

// Sends a file through B and back, both ways at once.
void send_both_ways(std::uint64_t bytes) {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, bytes);
    const std::wstring name = new_pipe_name();
    ipc::test::program b({process_b, L"--message", name});
    REQUIRE(b.wait_for_output("B: waiting"));
    relay a({L"-s", name}, open_file(in, GENERIC_READ).get(), open_file(out, GENERIC_WRITE).get());
    std::uint64_t memory = 0;
    while (!a.has_ended(100)) {
        memory = std::max(memory, ipc::test::memory_bytes(a.process()));
    }
    CHECK(a.exit_code() == 0);
    CHECK(ipc::test::same_content(in, out));
    CHECK(memory < 20 << 20);
    REQUIRE(b.wait());
    CHECK(b.exit_code() == 0);
}

} // namespace

TEST_CASE("20 MB go both ways at once, byte for byte, in little memory") {
    send_both_ways(20'000'000);
}

TEST_CASE("1 GB goes both ways at once, byte for byte, in little memory", "[.large]") {
    send_both_ways(1'000'000'000);
}

namespace {

DWORD read_pipe(HANDLE pipe, std::string& buffer) {
    ipc::overlapped_call call(pipe);
    const DWORD size = static_cast<DWORD>(buffer.size());
    const BOOL done = ReadFile(pipe, buffer.data(), size, nullptr, call.get());
    return call.wait(done, limit_ms).bytes;
}

void write_pipe(HANDLE pipe, const std::string& buffer, DWORD size) {
    ipc::overlapped_call call(pipe);
    const BOOL done = WriteFile(pipe, buffer.data(), size, nullptr, call.get());
    call.wait(done, limit_ms);
}

// A client of the echo server: sends a file, and writes what comes back to another file.
void run_client(HANDLE to_server, HANDLE from_server, HANDLE in, HANDLE out, std::uint64_t bytes) {
    const std::jthread writer([&] {
        std::string buffer(65'536, '\0');
        DWORD size = 0;
        while (ReadFile(in, buffer.data(), 65'536, &size, nullptr) && size != 0) {
            write_pipe(to_server, buffer, size);
        }
    });
    std::string buffer(65'536, '\0');
    while (bytes != 0) {
        const DWORD size = read_pipe(from_server, buffer);
        DWORD written = 0;
        if (size == 0 || !WriteFile(out, buffer.data(), size, &written, nullptr)) {
            return;
        }
        bytes -= size;
    }
}

} // namespace

// The relay opens the pipe in place of the client, which hands it files. Each byte passes the server's
// pipe twice then, with or without the relay. A client that hands it pipes sends each byte through two
// pipes in each direction instead of one, which costs up to twice the time.
TEST_CASE("100 MB from a file through an echo server to a file: the relay beside a client",
          "[.speed]") {
    enum client { direct, relay_of_files, relay_of_pipes };
    constexpr std::uint64_t total = 100'000'000;
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, total);
    // Returns the seconds from the connection until the server has sent everything back.
    const auto seconds = [&](client kind) {
        const std::wstring name = new_pipe_name();
        server peer(name, PIPE_TYPE_BYTE, PIPE_ACCESS_DUPLEX, 1, 65'536);
        const ipc::unique_handle source = open_file(in, GENERIC_READ);
        const ipc::unique_handle target = open_file(out, GENERIC_WRITE);
        std::optional<relay> a;
        ipc::unique_handle pipe;
        if (kind == relay_of_files) {
            a.emplace(std::vector<std::wstring>{name}, source.get(), target.get());
        } else if (kind == relay_of_pipes) {
            a.emplace(std::vector<std::wstring>{name});
        } else {
            pipe = ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED,
                                        limit_ms);
        }
        peer.accept();
        const ULONGLONG start = GetTickCount64();
        std::jthread client;
        if (kind != relay_of_files) {
            client = std::jthread([&] {
                run_client(a ? a->input.get() : pipe.get(), a ? a->output.get() : pipe.get(),
                           source.get(), target.get(), total);
            });
        }
        for (std::uint64_t echoed = 0; echoed < total;) {
            const auto part = peer.read_part();
            REQUIRE((part && peer.write(*part)));
            echoed += part->size();
        }
        const ULONGLONG end = GetTickCount64();
        client = {};
        peer.close();
        if (a) {
            a->input.reset();
            CHECK(a->exit_code() == 0);
        }
        CHECK(ipc::test::same_content(in, out));
        return static_cast<double>(end - start) / 1000;
    };
    constexpr int runs = 5;
    std::vector<double> times[3];
    for (int i = 0; i < runs; ++i) { // in turn: other programs disturb all alike
        for (const client kind : {direct, relay_of_files, relay_of_pipes}) {
            times[kind].push_back(seconds(kind));
        }
    }
    for (auto& series : times) {
        std::ranges::sort(series);
    }
    const double client_s = times[direct][runs / 2];
    const double files = times[relay_of_files][runs / 2] / client_s;
    const double pipes = times[relay_of_pipes][runs / 2] / client_s;
    WARN("median of the client: " << client_s << " s; the relay needs " << files
                                  << " times that with files, " << pipes << " with pipes");
    CHECK(files < 1.1);
    CHECK(pipes < 2.2);
}

TEST_CASE("Input and output do not wait for each other") {
    for (const DWORD type : {DWORD{PIPE_TYPE_BYTE}, DWORD{PIPE_TYPE_MESSAGE}}) {
        const std::wstring name = new_pipe_name();
        server peer(name, type);
        relay a({name});
        peer.accept();
        REQUIRE(peer.write("the server speaks first")); // while the relay waits for input
        CHECK(a.read(23) == "the server speaks first");
        REQUIRE(a.write("and then the client")); // while the relay waits for the server
        CHECK(peer.read(19) == "and then the client");
        const std::string large = random_bytes(1'000'000);
        {
            const std::jthread sender([&] { peer.write(large); }); // nobody reads the output yet
            REQUIRE(a.write("still"));
            CHECK(peer.read(5) == "still");
            CHECK(a.read(large.size()) == large);
        }
        peer.close();
        CHECK(a.exit_code() == 0);
        CHECK(a.errors().empty());
    }
}

TEST_CASE("After the end of the input, late answers still arrive") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-v", name});
    peer.accept();
    REQUIRE(a.write("question"));
    a.input.reset();
    CHECK(peer.read(8) == "question");
    CHECK_FALSE(a.has_ended(300));
    REQUIRE(peer.write("late answer"));
    peer.close();
    CHECK(a.read(100) == "late answer");
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.errors(), ContainsSubstring("A: the input has ended\n"));
    CHECK_THAT(a.errors(), ContainsSubstring("A: 8 bytes sent, 11 bytes received\n"));
}

TEST_CASE("With -ei the relay delivers everything it has read, and ends") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::string bytes = random_bytes(300'000);
    write_file(in, bytes);
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-ei", name}, open_file(in, GENERIC_READ).get());
    peer.accept();
    CHECK_FALSE(a.has_ended(300)); // the input has ended, but the server has read nothing
    CHECK(peer.read_to_end() == bytes);
    CHECK(peer.last_error == ERROR_BROKEN_PIPE);
    CHECK(a.exit_code() == 0);
    CHECK(a.errors().empty());
}

TEST_CASE("With -ei the relay ends, also while the server sends without a pause") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-ei", name});
    peer.accept();
    const std::jthread reader([&] { a.drain(); });
    const std::jthread sender([&] {
        while (peer.write("again and again")) {}
    });
    REQUIRE(a.write("x"));
    a.input.reset();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("With -ei the relay ends and says so if nobody reads its output") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-ei", name});
    peer.accept();
    const std::jthread sender([&] { peer.write(random_bytes(300'000)); });
    CHECK(a.read(1).size() == 1); // the relay writes a piece that no pipe holds as a whole
    REQUIRE(a.write("x"));
    CHECK(peer.read(1) == "x");
    a.input.reset();
    CHECK(a.exit_code() == 1);
    CHECK(a.errors() == "A: nobody reads standard output: some of it is lost\n");
}

TEST_CASE("With -s the server gets an empty message at the end of the input") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    relay a({L"-s", name});
    peer.accept();
    REQUIRE(a.write("question"));
    CHECK(peer.read_part() == "question");
    a.input.reset();
    CHECK(peer.read_part() == "");
    REQUIRE(peer.write("answer"));
    peer.close();
    CHECK(a.read(100) == "answer");
    CHECK(a.exit_code() == 0);
}

TEST_CASE("With -s and -ei the empty message is sent before the relay ends") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    relay a({L"-s", L"-ei", name});
    peer.accept();
    REQUIRE(a.write("question"));
    a.input.reset();
    CHECK(peer.read_part() == "question");
    CHECK(peer.read_part() == "");
    CHECK_FALSE(peer.read_part().has_value());
    CHECK(a.exit_code() == 0);
}

TEST_CASE("A server on a byte-type pipe cannot see -s") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-s", name});
    peer.accept();
    REQUIRE(a.write("question"));
    a.input.reset();
    CHECK(peer.read(8) == "question");
    CHECK_FALSE(a.has_ended(300));
    peer.close();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("An empty message of the server ends the output, and the input goes on") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    relay a({name});
    peer.accept();
    REQUIRE(peer.write("last words"));
    REQUIRE(peer.write(""));
    CHECK(a.read(100) == "last words"); // returns at the end of the output
    REQUIRE(a.write("more input"));
    CHECK(peer.read(10) == "more input");

    // What the server still sends goes nowhere, and costs no time.
    REQUIRE(peer.write("unread"));
    REQUIRE(peer.write(""));
    REQUIRE(peer.write("unread"));
    const std::uint64_t before = ipc::test::processor_ms(a.process());
    CHECK_FALSE(a.has_ended(1000));
    CHECK(ipc::test::processor_ms(a.process()) < before + 100);

    SECTION("until the input ends") {
        a.input.reset();
        CHECK(a.exit_code() == 0);
        CHECK_FALSE(peer.read_part().has_value());
    }
    SECTION("until the server closes the pipe") {
        peer.close();
        CHECK(a.exit_code() == 0);
    }
    CHECK(a.errors().empty());
}

TEST_CASE("An empty message between two others is seen") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE, PIPE_ACCESS_DUPLEX, 1, 400'000);
    relay a({name});
    peer.accept();
    const std::string large = random_bytes(100'000);
    REQUIRE(peer.write(large)); // the relay waits for the reader of its output ...
    REQUIRE(peer.write(""));    // ... and these wait in the pipe together
    REQUIRE(peer.write("unread"));
    CHECK(a.read(200'000) == large);
    peer.close();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("With -ep the relay ends at the empty message, even if input is left") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    relay a({L"-ep", name});
    peer.accept();
    SECTION("with an input that is open") {}
    SECTION("with input that the server does not read") {
        REQUIRE(a.write(random_bytes(3000)));
        const std::jthread writer([&] { a.write(random_bytes(200'000)); });
        REQUIRE(peer.write("last words"));
        CHECK(a.read(10) == "last words");
        REQUIRE(peer.write(""));
        CHECK(a.exit_code() == 0);
        return;
    }
    REQUIRE(peer.write("last words"));
    REQUIRE(peer.write(""));
    CHECK(a.read(100) == "last words");
    CHECK(a.exit_code() == 0);
    CHECK(a.errors().empty());
}

TEST_CASE("A message longer than any buffer arrives whole") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    relay a({name});
    peer.accept();
    const std::string large = random_bytes(300'000);
    const std::jthread sender([&] {
        peer.write(large);
        peer.close();
    });
    CHECK(a.read(large.size() + 1) == large);
    CHECK(a.exit_code() == 0);
}

TEST_CASE("Empty messages in the input are passed over") {
    const std::wstring input_name = new_pipe_name();
    server input(input_name, PIPE_TYPE_MESSAGE, PIPE_ACCESS_OUTBOUND);
    ipc::unique_handle read_end(CreateFileW(input_name.c_str(),
                                            GENERIC_READ | FILE_WRITE_ATTRIBUTES, 0, nullptr,
                                            OPEN_EXISTING, 0, nullptr));
    REQUIRE(read_end);
    make_inheritable(read_end);
    DWORD mode = PIPE_READMODE_MESSAGE;
    REQUIRE(SetNamedPipeHandleState(read_end.get(), &mode, nullptr, nullptr));
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({L"-ei", name}, read_end.get());
    read_end.reset();
    peer.accept();
    const std::jthread writer([&] {
        input.write("one");
        input.write("");
        input.write("two");
        input.write(random_bytes(100'000)); // longer than the relay's buffer
        input.close();
    });
    CHECK(peer.read_to_end() == "onetwo" + random_bytes(100'000));
    CHECK(a.exit_code() == 0);
}

TEST_CASE("A server that closes the pipe while nothing is being written: exit code 0") {
    for (int i = 0; i < 10; ++i) {
        const std::wstring name = new_pipe_name();
        server peer(name);
        relay a({name});
        peer.accept();
        REQUIRE(a.write("question"));
        CHECK(peer.read(8) == "question");
        REQUIRE(peer.write("answer"));
        if (i % 2 == 0) {
            peer.close();
        } else {
            CHECK(a.read(6) == "answer");
            peer.disconnect();
        }
        CHECK(a.exit_code() == 0);
        CHECK(a.errors().empty());
        CHECK(a.read(100) == (i % 2 == 0 ? "answer" : ""));
    }
}

TEST_CASE(
    "A server that closes the pipe while input is being written: exit code 1 and the number") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 1'000'000);
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = new_pipe_name();
        server peer(name);
        // With -ei, too, the server's last words arrive: the input has not been delivered.
        relay a(i % 4 < 2 ? std::vector<std::wstring>{name}
                          : std::vector<std::wstring>{L"-ei", name},
                open_file(in, GENERIC_READ).get());
        peer.accept();
        if (i < 10) { // a part of what is being written
            REQUIRE(peer.read_part(static_cast<DWORD>(i) * 5'000 + 1).has_value());
        } else { // all of it: the relay reads its input at this moment, and has more of it
            REQUIRE(peer.read(65'536).size() == 65'536);
        }
        if (i % 2 == 0) {
            REQUIRE(peer.write("enough")); // what the server said before arrives
            peer.close();
            CHECK(a.read(100) == "enough");
        } else {
            peer.disconnect();
        }
        CHECK(a.exit_code() == 1);
        CHECK_THAT(a.errors(), ContainsSubstring("A: the server has closed the connection, and "));
        CHECK_THAT(a.errors(), ContainsSubstring(" bytes of the input did not arrive\n"));
        CHECK(ipc::test::lines_of(a.errors()).size() == 1);
    }
}

TEST_CASE("With -ei, too, the last words of a server that leaves early arrive") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_BYTE, PIPE_ACCESS_DUPLEX, 1, 400'000);
    relay a({L"-ei", name});
    peer.accept();
    const std::string words = random_bytes(200'000);
    REQUIRE(peer.write(words)); // the relay waits for the reader of its output ...
    CHECK(a.read(1) == words.substr(0, 1));
    peer.close();
    REQUIRE(a.write("too late")); // ... while its other thread sees that the server has gone
    CHECK_FALSE(a.has_ended(300));
    CHECK(a.read(words.size()) == words.substr(1));
    CHECK(a.exit_code() == 1);
    CHECK_THAT(a.errors(), ContainsSubstring(", and 8 bytes of the input did not arrive\n"));
}

TEST_CASE("A server that leaves as soon as the relay has connected: exit code 0") {
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = new_pipe_name();
        server peer(name, i % 2 == 0 ? PIPE_TYPE_BYTE : PIPE_TYPE_MESSAGE);
        relay a({name});
        peer.accept();
        peer.disconnect();
        CHECK(a.exit_code() == 0);
        CHECK(a.errors().empty());
    }
}

TEST_CASE("An input that does not wait (PIPE_NOWAIT) is read to its end") {
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    pipe_ends in = create_pipe();
    DWORD mode = PIPE_NOWAIT;
    REQUIRE(SetNamedPipeHandleState(in.read_end.get(), &mode, nullptr, nullptr));
    make_inheritable(in.read_end);
    relay a({L"-s", name}, in.read_end.get());
    in.read_end.reset();
    peer.accept();
    CHECK_FALSE(a.has_ended(300)); // the read fails with ERROR_NO_DATA: this is not the end
    DWORD written = 0;
    REQUIRE(WriteFile(in.write_end.get(), "question", 8, &written, nullptr));
    CHECK(peer.read_part() == "question");
    in.write_end.reset();
    CHECK(peer.read_part() == "");
    peer.close();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("The relay leaves its console with -bg, and goes on if nobody reads standard error") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    pipe_ends error = create_pipe();
    make_inheritable(error.write_end);
    error.read_end.reset();
    relay a({L"-bg", L"-v", name}, nullptr, nullptr, error.write_end.get());
    peer.accept();
    REQUIRE(a.write("question"));
    CHECK(peer.read(8) == "question");
    REQUIRE(peer.write("answer"));
    peer.close();
    CHECK(a.read(100) == "answer");
    CHECK(a.exit_code() == 0);
}

TEST_CASE("When the reader of standard output leaves, the relay ends with 1 at once") {
    const std::wstring name = new_pipe_name();
    server peer(name);
    relay a({name});
    peer.accept();
    a.output.reset();
    REQUIRE(peer.write("nobody reads this"));
    CHECK(a.exit_code() == 1); // the input is still open
    CHECK(a.errors() == "A: nobody reads standard output any more\n");
}

TEST_CASE("The relay with -p waits until the pipe exists, then until it is free") {
    const std::wstring name = new_pipe_name();
    relay a({L"-p", name});
    REQUIRE(a.write("question"));
    CHECK_FALSE(a.has_ended(500));
    server peer(name);
    peer.accept();
    CHECK(peer.read(8) == "question");
    relay second({L"-p", name});
    relay impatient({name});
    CHECK(impatient.exit_code() == 1);
    CHECK_THAT(impatient.errors(), ContainsSubstring("CreateFileW failed: ERROR_PIPE_BUSY (231)"));
    CHECK_FALSE(second.has_ended(500));
    peer.close();
    CHECK(a.exit_code() == 0);
    server again(name);
    again.accept();
    REQUIRE(second.write("second"));
    CHECK(again.read(6) == "second");
    again.close();
    CHECK(second.exit_code() == 0);
}

TEST_CASE("The relay with -p ends when its own input has ended and nothing came") {
    const std::wstring name = new_pipe_name();
    std::optional<server> busy;
    ipc::unique_handle client;
    SECTION("no pipe") {}
    SECTION("a busy pipe") {
        busy.emplace(name);
        client = ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, 0, limit_ms);
    }
    relay a({L"-p", name});
    CHECK_FALSE(a.has_ended(300));
    a.input.reset();
    CHECK(a.exit_code() == 0);
    CHECK(a.errors().empty());
}

TEST_CASE("The relay with -p goes on if its input has ended but something came") {
    const std::wstring name = new_pipe_name();
    relay a({L"-p", name});
    REQUIRE(a.write("question"));
    a.input.reset();
    CHECK_FALSE(a.has_ended(300));
    server peer(name);
    peer.accept();
    CHECK(peer.read(8) == "question");
    peer.close();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("The limit of -l ends the wait for a pipe that does not exist, or is busy") {
    const std::wstring name = new_pipe_name();
    {
        relay a({L"-p", L"-l", L"1", name});
        CHECK(a.exit_code() == 1);
        CHECK(a.errors() == "A: there is no server within the limit\n");
    }
    const server busy(name);
    const auto client = ipc::connect_to_pipe(name, GENERIC_READ | GENERIC_WRITE, 0, limit_ms);
    relay a({L"-p", L"--limit", L"1", name});
    CHECK(a.exit_code() == 1);
    CHECK(a.errors() == "A: the server is busy with other clients\n");
}

TEST_CASE("Without -p a missing pipe is one line and exit code 1") {
    expect_refusal({new_pipe_name()}, "A: CreateFileW failed: ERROR_FILE_NOT_FOUND (2)");
}

TEST_CASE("A one-way pipe is refused with its reason, with -p too, and its server sees no client") {
    for (const DWORD access : {DWORD{PIPE_ACCESS_OUTBOUND}, DWORD{PIPE_ACCESS_INBOUND}}) {
        const std::wstring name = new_pipe_name();
        const server peer(name, PIPE_TYPE_BYTE, access);
        expect_refusal({L"-p", name}, "A relay reads and writes: the pipe is one-way, or");
        CHECK(ipc::unique_handle(
            CreateFileW(name.c_str(), access == PIPE_ACCESS_OUTBOUND ? GENERIC_READ : GENERIC_WRITE,
                        0, nullptr, OPEN_EXISTING, 0, nullptr)));
    }
}

TEST_CASE("The name of the pipe may have slashes of both kinds") {
    std::wstring name = new_pipe_name();
    server peer(name);
    std::ranges::replace(name, L'\\', L'/');
    relay a({name});
    peer.accept();
    peer.close();
    CHECK(a.exit_code() == 0);
}

TEST_CASE("Standard handles of every kind") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.txt");
    const std::wstring out = folder.file(L"out.txt");
    write_file(in, "question");
    const std::wstring name = new_pipe_name();
    server peer(name, PIPE_TYPE_MESSAGE);
    SECTION("files") {
        relay a({L"-s", name}, open_file(in, GENERIC_READ).get(),
                open_file(out, GENERIC_WRITE).get());
        peer.accept();
        CHECK(peer.read_part() == "question");
        CHECK(peer.read_part() == "");
        REQUIRE(peer.write("answer"));
        peer.close();
        CHECK(a.exit_code() == 0);
        CHECK(ipc::test::read_file(out) == "answer");
    }
    SECTION("NUL") {
        relay a({L"-s", name}, open_file(L"NUL", GENERIC_READ).get(),
                open_file(L"NUL", GENERIC_WRITE).get());
        peer.accept();
        CHECK(peer.read_part() == "");
        REQUIRE(peer.write("answer"));
        peer.close();
        CHECK(a.exit_code() == 0);
    }
    SECTION("no standard input at all") {
        relay a({name}, INVALID_HANDLE_VALUE);
        CHECK(a.exit_code() == 1);
        CHECK_THAT(a.errors(), ContainsSubstring("A: ReadFile (standard input) failed: "));
    }
    SECTION("--in instead of standard input") {
        relay a({L"-s", L"--in", in, name});
        peer.accept();
        CHECK(peer.read_part() == "question");
        peer.close();
        CHECK(a.exit_code() == 0);
    }
}

TEST_CASE("20 relays at once do not disturb each other") {
    constexpr DWORD count = 20;
    const std::wstring name = new_pipe_name();
    std::vector<std::unique_ptr<server>> servers;
    std::vector<std::unique_ptr<relay>> relays;
    for (DWORD i = 0; i < count; ++i) {
        servers.push_back(
            std::make_unique<server>(name, PIPE_TYPE_BYTE, PIPE_ACCESS_DUPLEX, count));
    }
    for (DWORD i = 0; i < count; ++i) {
        relays.push_back(std::make_unique<relay>(std::vector<std::wstring>{L"-p", name}));
    }
    std::vector<std::jthread> threads;
    for (DWORD i = 0; i < count; ++i) {
        threads.emplace_back([&peer = *servers[i]] {
            peer.accept();
            const std::string bytes = peer.read(100'000);
            peer.write(bytes);
            peer.close();
        });
        threads.emplace_back([&a = *relays[i], i] { a.write(random_bytes(100'000, i)); });
    }
    for (DWORD i = 0; i < count; ++i) {
        CHECK(relays[i]->read(100'001) == random_bytes(100'000, i));
        CHECK(relays[i]->exit_code() == 0);
    }
}

TEST_CASE("When the relay is killed at any moment, the server sees its end and nothing is left") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 5'000'000);
    std::mt19937 random(12);
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = new_pipe_name();
        ipc::test::program b({process_b, name});
        REQUIRE(b.wait_for_output("B: waiting"));
        const relay a({name}, open_file(in, GENERIC_READ).get());
        a.read(std::uniform_int_distribution<std::size_t>(1, 4'000'000)(random));
        a.kill();
        REQUIRE(a.has_ended(limit_ms));
        REQUIRE(b.wait());
        CHECK(b.exit_code() == 0);
        REQUIRE(b.wait_for_end_of_output());
        CHECK_THAT(b.output(), ContainsSubstring("B: the client has left\n"));
    }
}

TEST_CASE("When the server is killed at any moment, the relay ends") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    ipc::test::write_random_file(in, 20'000'000);
    std::mt19937 random(13);
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = new_pipe_name();
        ipc::test::program b({process_b, L"--message", name});
        REQUIRE(b.wait_for_output("B: waiting"));
        relay a({L"-s", name}, open_file(in, GENERIC_READ).get());
        a.read(std::uniform_int_distribution<std::size_t>(1, 15'000'000)(random));
        b.kill();
        const std::jthread reader([&] { a.drain(); });
        CHECK(a.exit_code() == 1); // at least 4 MB of the input are left
        CHECK_THAT(a.errors(), ContainsSubstring(" bytes of the input did not arrive\n"));
    }
}

namespace {

// A peer for -a: a TCP port of this computer, and a socket file that names it.
class assuan_peer {
public:
    explicit assuan_peer(const ipc::test::temporary_folder& folder)
        : file(folder.file(L"S.socket")) {
        WSADATA data{};
        REQUIRE(WSAStartup(MAKEWORD(2, 2), &data) == 0);
        listener_ = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int length = sizeof address;
        REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0);
        REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
        REQUIRE(listen(listener_, 5) == 0);
        port = std::to_string(ntohs(address.sin_port));
        write_file(file, port + "\n" + nonce);
    }
    ~assuan_peer() {
        close_client();
        close_listener();
        WSACleanup();
    }
    assuan_peer(const assuan_peer&) = delete;
    assuan_peer& operator=(const assuan_peer&) = delete;

    // Waits for a client and reads its nonce. Returns nothing if no client comes.
    std::string accept_client() {
        if (!has_client(static_cast<long>(limit_ms / 1000))) {
            return {};
        }
        client_ = accept(listener_, nullptr, nullptr);
        setsockopt(client_, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&limit_ms),
                   sizeof limit_ms);
        return read(nonce.size());
    }

    std::string read(std::size_t size) const {
        std::string bytes(size, '\0');
        std::size_t used = 0;
        while (used < size) {
            const int count = recv(client_, bytes.data() + used, static_cast<int>(size - used), 0);
            if (count < 0 && WSAGetLastError() == WSAETIMEDOUT) {
                return "neither bytes nor the end came within the limit";
            }
            if (count <= 0) {
                break;
            }
            used += static_cast<std::size_t>(count);
        }
        bytes.resize(used);
        return bytes;
    }

    void write(std::string_view bytes) const {
        send(client_, bytes.data(), static_cast<int>(bytes.size()), 0);
    }

    void end_sending() const { shutdown(client_, SD_SEND); }
    void close_client() { closesocket(std::exchange(client_, INVALID_SOCKET)); }
    void close_listener() { closesocket(std::exchange(listener_, INVALID_SOCKET)); }

    // Whether a client has connected, or does so within the limit.
    bool has_client(long limit_s = 0) const {
        fd_set readable{};
        readable.fd_count = 1;
        readable.fd_array[0] = listener_;
        timeval limit{limit_s, 0};
        return select(0, &readable, nullptr, nullptr, &limit) == 1;
    }

    std::wstring file;
    std::string port;
    const std::string nonce{"\x00\x01\n\r\xFF nonce 1234", 16};

private:
    SOCKET listener_ = INVALID_SOCKET;
    SOCKET client_ = INVALID_SOCKET;
};

} // namespace

TEST_CASE("With -a the relay sends the nonce to the port, and relays") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    relay a({L"-a", L"-s", peer.file});
    CHECK(peer.accept_client() == peer.nonce);
    SECTION("the server speaks first") {
        peer.write("OK\n");
        CHECK(a.read(3) == "OK\n");
        REQUIRE(a.write("BYE\n"));
        CHECK(peer.read(4) == "BYE\n");
        peer.write("OK closing\n");
        peer.close_client();
        CHECK(a.read(100) == "OK closing\n");
    }
    SECTION("the client speaks first, and ends first") {
        const std::string large = random_bytes(300'000);
        const std::jthread writer([&] {
            a.write(large);
            a.input.reset();
        });
        CHECK(peer.read(1'000'000) == large); // reads to the end, which -s sends
        peer.write(large);
        peer.close_client();
        CHECK(a.read(large.size() + 1) == large);
    }
    CHECK(a.exit_code() == 0);
    CHECK(a.errors().empty());
}

TEST_CASE("With -a and -ei the relay delivers its input and ends") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    relay a({L"-a", L"-ei", L"-ep", L"-s", peer.file});
    CHECK(peer.accept_client() == peer.nonce);
    REQUIRE(a.write("BYE\n"));
    a.input.reset();
    CHECK(peer.read(100) == "BYE\n");
    CHECK(a.exit_code() == 0);
}

TEST_CASE("With -a and -ei the server can read everything after the relay has ended") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    relay a({L"-a", L"-ei", peer.file});
    CHECK(peer.accept_client() == peer.nonce);
    peer.write("OK\n"); // the relay may get this too late
    const std::string large = random_bytes(100'000);
    REQUIRE(a.write(large));
    a.input.reset();
    CHECK(a.exit_code() == 0);
    CHECK(peer.read(200'000) == large);
}

TEST_CASE("With -a and -p the relay waits for the socket file, and for its server") {
    const ipc::test::temporary_folder folder;
    std::optional<assuan_peer> peer(std::in_place, folder);
    const std::wstring file = peer->file;
    const std::wstring hidden = folder.file(L"hidden");
    SECTION("no file yet") {
        std::filesystem::rename(file, hidden);
        relay a({L"-a", L"-p", file});
        CHECK_FALSE(a.has_ended(300));
        std::filesystem::rename(hidden, file);
        CHECK(peer->accept_client() == peer->nonce);
        peer->write("OK\n");
        peer->close_client();
        CHECK(a.read(100) == "OK\n");
        CHECK(a.exit_code() == 0);
    }
    SECTION("a file that its server has not written yet") {
        const std::string content = ipc::test::read_file(file);
        write_file(file, "");
        relay a({L"-a", L"-p", file});
        CHECK_FALSE(a.has_ended(300));
        write_file(file, content);
        CHECK(peer->accept_client() == peer->nonce);
        peer->close_client();
        CHECK(a.exit_code() == 1); // the client got no answer
    }
    SECTION("the file of a server that has ended") {
        peer->close_listener();
        relay a({L"-a", L"-p", L"-l", L"4", file});
        CHECK(a.exit_code() == 1);
        CHECK(a.errors() == "A: there is no server within the limit\n");
    }
}

TEST_CASE("A nonce that the server refuses: one line, exit code 1, nothing relayed") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    relay a({L"-a", peer.file});
    REQUIRE(a.write("secret"));
    CHECK(peer.accept_client() == peer.nonce);
    SECTION("at once") {}
    SECTION("late") {
        CHECK_FALSE(a.has_ended(600));
    }
    SECTION("late, after the end of the input") {
        a.input.reset();
        CHECK_FALSE(a.has_ended(600));
    }
    peer.close_client();
    CHECK(a.exit_code() == 1);
    CHECK_THAT(a.errors(), ContainsSubstring("it does not accept the nonce of the socket file\n"));
    CHECK(ipc::test::lines_of(a.errors()).size() == 1);
    CHECK(a.read(100).empty());
}

TEST_CASE("A server of -a that refuses the nonce at once gets nothing else") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    std::string nonce;
    std::string more;
    {
        const std::jthread answer([&] { // ready before the relay comes: it waits only a moment
            nonce = peer.accept_client();
            peer.end_sending();
            more = peer.read(100); // to the end of the connection
        });
        relay a({L"-a", peer.file});
        REQUIRE(a.write("secret"));
        CHECK(a.exit_code() == 1);
    }
    CHECK(nonce == peer.nonce);
    CHECK(more.empty());
}

TEST_CASE("A socket file that is wrong: one line, exit code 1, and no connection") {
    const ipc::test::temporary_folder folder;
    const assuan_peer peer(folder);
    const std::string no_port = "A: the socket file does not begin with a port";
    const std::string no_nonce = "A: the socket file does not hold a nonce of 16 bytes\n";
    const std::string wrong_port = "A: the socket file holds no port from 1 to 65535: ";
    const auto check = [&](const std::string& content, const std::string& reason) {
        INFO(content);
        write_file(peer.file, content);
        expect_refusal({L"-a", peer.file}, reason);
    };
    check("!<socket >" + peer.port + " s 00000000-00000000-00000000-00000000",
          "A: it is a socket file of Cygwin, which -a does not know\n");
    check("", "A: ReadFile (the socket file is empty) failed: ERROR_HANDLE_EOF");
    check(peer.port, no_port);
    check("\n" + peer.nonce, no_port);
    check("port\n" + peer.nonce, no_port); // no longer than a port
    check("80x\n" + peer.nonce, no_port);
    check("-1\n" + peer.nonce, no_port);
    for (const std::size_t digits : {6U, 20U, 100U}) { // 20: more than any integer has
        check(std::string(digits, '1') + "\n" + peer.nonce, no_port);
    }
    check("0\n" + peer.nonce, wrong_port + "0\n");
    check("70000\n" + peer.nonce, wrong_port + "70000\n");
    check(peer.port + "\n", no_nonce);
    check(peer.port + "\n" + peer.nonce.substr(1), no_nonce);
    check(peer.port + "\n" + peer.nonce + "x", no_nonce);
    CHECK_FALSE(peer.has_client());
    expect_refusal({L"-a", folder.file(L"none")}, "A: CreateFileW failed: ERROR_FILE_NOT_FOUND");
}

TEST_CASE("A socket file of a server that has ended: one line and exit code 1") {
    const ipc::test::temporary_folder folder;
    assuan_peer peer(folder);
    peer.close_listener();
    expect_refusal({L"-a", peer.file}, "A: connect failed: ");
}

TEST_CASE("B half-closes as asked: after its empty message it only reads") {
    const std::wstring name = new_pipe_name();
    ipc::test::program b({process_b, L"--message", L"--upper", L"--half-close", L"5", name});
    REQUIRE(b.wait_for_output("B: waiting"));
    relay a({name});
    REQUIRE(a.write("Hello"));
    CHECK(a.read(100) == "HELLO"); // to the end of the output
    REQUIRE(a.write("more"));
    a.input.reset();
    CHECK(a.exit_code() == 0);
    REQUIRE(b.wait());
    b.wait_for_end_of_output();
    CHECK(b.exit_code() == 0);
    CHECK(b.output() == "B: waiting for a client\n"
                        "B: sent an empty message, and reads on\n"
                        "B: the client has left\n"
                        "B: 9 bytes received\n");
}

TEST_CASE("B refuses a name that another server has, and ends at Ctrl+C and after its limit") {
    const std::wstring name = new_pipe_name();
    ipc::test::program b({process_b, L"--limit", L"1", name});
    REQUIRE(b.wait_for_output("B: waiting"));
    const ipc::test::result second = run({process_b, name});
    CHECK(second.exit_code == 1);
    CHECK_THAT(second.error_output, ContainsSubstring("is taken by another server\n"));
    SECTION("limit") {
        const relay silent({name});
        REQUIRE(b.wait());
        CHECK(b.exit_code() == 1);
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.error_output() == "B: the client is too slow for ReadFile\n");
    }
    SECTION("Ctrl+C") {
        b.press_ctrl_c();
        REQUIRE(b.wait());
        CHECK(b.exit_code() == 0);
        CHECK(b.wait_for_output("B: stopped"));
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line, and --help shows the options") {
    for (const std::vector<std::wstring>& wrong :
         std::vector<std::vector<std::wstring>>{{process_a},
                                                {process_a, L""},
                                                {process_a, L"-x", L"//./pipe/x"},
                                                {process_a, L"//./pipe/x", L"-p"},
                                                {process_a, L"-l", L"x", L"//./pipe/x"},
                                                {process_a, L"C:\\file"},
                                                {process_a, L"pipe"},
                                                {process_a, L"//./pip/x"},
                                                {process_b, L"--wrong"},
                                                {process_b, L"--half-close", L"-1"},
                                                {process_b, L"one", L"two"}}) {
        const ipc::test::result failed = run(wrong);
        CHECK(failed.exit_code == 2);
        CHECK(failed.output.empty());
        CHECK(ipc::test::lines_of(failed.error_output).size() == 1);
    }
    for (const std::wstring& program : {process_a, process_b}) {
        const ipc::test::result shown = run({program, L"--help"});
        CHECK(shown.exit_code == 0);
        CHECK_THAT(shown.output, ContainsSubstring("--name SUFFIX"));
    }
}
