#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "demos/02_duplicate_handle/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <aclapi.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using duplicate_handle::kind;
using duplicate_handle::message;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"02_duplicate_handle", L"processA.exe");
const std::wstring process_b = program_path(L"02_duplicate_handle", L"processB.exe");

std::wstring pipe_name(const std::wstring& suffix) {
    return ipc::object_name(duplicate_handle::control_pipe_name, suffix);
}

// The end of a program that failed: by itself, with exit code 1 and this one line.
void check_failed(ipc::test::program& failed, const std::string& line) {
    REQUIRE(failed.wait());
    failed.wait_for_end_of_output();
    CHECK(failed.exit_code() == 1);
    CHECK_THAT(failed.error_output(), StartsWith(line));
    CHECK(ipc::test::lines_of(failed.error_output()).size() == 1);
}

// The test as B: a client of A's control pipe that does what a good B would not.
class client {
public:
    explicit client(const std::wstring& suffix) {
        pipe_.reset(CreateFileW(pipe_name(suffix).c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                OPEN_EXISTING, 0, nullptr));
        REQUIRE(pipe_);
        DWORD mode = PIPE_READMODE_MESSAGE;
        REQUIRE(SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr));
    }

    // What does not fit into the pipe is on its way until A goes away: then this fails.
    bool try_send(const void* bytes, std::size_t size) {
        DWORD written = 0;
        return WriteFile(pipe_.get(), bytes, static_cast<DWORD>(size), &written, nullptr) != FALSE;
    }
    void send(const void* bytes, std::size_t size) { REQUIRE(try_send(bytes, size)); }
    void send(const message& sent) { send(&sent, sizeof sent); }

    message receive() {
        message received;
        DWORD size = 0;
        REQUIRE(ReadFile(pipe_.get(), &received, sizeof received, &size, nullptr));
        REQUIRE(size == sizeof received);
        return received;
    }

    // Says hello and owns what A gives.
    void get_handles() {
        send({.what = kind::hello});
        const message handles = receive();
        REQUIRE(handles.what == kind::handles);
        write_end.reset(duplicate_handle::to_handle(handles.write_end));
        event = duplicate_handle::to_handle(handles.event);
    }

    void write(std::string_view text) const {
        DWORD written = 0;
        REQUIRE(WriteFile(write_end.get(), text.data(), static_cast<DWORD>(text.size()), &written,
                          nullptr));
    }

    void close() { pipe_.reset(); }

    ipc::unique_handle write_end;
    HANDLE event = nullptr;

private:
    ipc::unique_handle pipe_;
};

// NtSuspendProcess and NtResumeProcess stop and continue all threads; Win32 has no such call.
using process_function = LONG(WINAPI*)(HANDLE);
process_function ntdll_function(const char* name) {
    return reinterpret_cast<process_function>(
        reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name)));
}

// Whether the number is the event that B may only set. The test has several threads, and
// the number of a closed handle may be that of a new one at once: so "invalid" would prove less.
bool is_lent_event(HANDLE number) {
    return WaitForSingleObject(number, 0) == WAIT_FAILED && GetLastError() == ERROR_ACCESS_DENIED;
}

// An A that waits for a B under a name of its own.
struct waiting_a {
    explicit waiting_a(std::vector<std::wstring> more = {}) {
        std::vector<std::wstring> arguments = {process_a, L"--name", suffix};
        arguments.insert(arguments.end(), more.begin(), more.end());
        a = std::make_unique<ipc::test::program>(arguments);
        REQUIRE(a->wait_for_output("A: waiting for B\n"));
    }
    std::wstring suffix = ipc::test::unique_suffix();
    std::unique_ptr<ipc::test::program> a;
};

// The test as A: a server that answers B's hello with two numbers of its choice.
class server {
public:
    explicit server(const std::wstring& suffix) {
        pipe_.reset(CreateNamedPipeW(pipe_name(suffix).c_str(), PIPE_ACCESS_DUPLEX,
                                     PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096, 4096, 0,
                                     nullptr));
        REQUIRE(pipe_);
    }
    void connect() {
        REQUIRE((ConnectNamedPipe(pipe_.get(), nullptr) || GetLastError() == ERROR_PIPE_CONNECTED));
        message hello;
        DWORD size = 0;
        REQUIRE(ReadFile(pipe_.get(), &hello, sizeof hello, &size, nullptr));
        CHECK(hello.what == kind::hello);
    }
    void send(const void* bytes, std::size_t size) {
        DWORD written = 0;
        REQUIRE(WriteFile(pipe_.get(), bytes, static_cast<DWORD>(size), &written, nullptr));
    }

private:
    ipc::unique_handle pipe_;
};

// Puts a handle of the test into the process, and returns its number there.
std::uint64_t put_into(const ipc::test::program& program, HANDLE handle, DWORD access,
                       DWORD options) {
    const ipc::unique_handle process(OpenProcess(PROCESS_DUP_HANDLE, FALSE, program.id()));
    HANDLE there = nullptr;
    REQUIRE(DuplicateHandle(GetCurrentProcess(), handle, process.get(), &there, access, FALSE,
                            options));
    return duplicate_handle::to_number(there);
}

// Something for B's --in that never ends, however fast the machine: a pipe that the test fills.
class endless_input {
public:
    endless_input() {
        pipe_.reset(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_OUTBOUND, PIPE_TYPE_BYTE, 1, 65'536,
                                     65'536, 0, nullptr));
        REQUIRE(pipe_);
        thread_ = std::jthread([this] {
            const std::string bytes(65'536, 'x');
            DWORD written = 0;
            ConnectNamedPipe(pipe_.get(), nullptr); // fails if B was faster: it is connected then
            while (WriteFile(pipe_.get(), bytes.data(), 65'536, &written, nullptr)) {
                bytes_ += written;
            }
        });
    }
    ~endless_input() { // if B never came, this is the client that goes away again
        ipc::unique_handle(
            CreateFileW(name.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr));
    }
    endless_input(const endless_input&) = delete;
    endless_input& operator=(const endless_input&) = delete;

    std::uint64_t bytes() const { return bytes_; } // how many B was given so far

    const std::wstring name = L"\\\\.\\pipe\\" + ipc::test::unique_suffix();

private:
    ipc::unique_handle pipe_;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::jthread thread_;
};

struct anonymous_pipe {
    anonymous_pipe() { REQUIRE(CreatePipe(read_end.put(), write_end.put(), nullptr, 0)); }
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
};

} // namespace

TEST_CASE("200 MB of random bytes arrive unchanged, and memory stays flat") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, 200'000'000);
    const waiting_a a({L"--out", out});
    ipc::test::program b({process_b, L"--name", a.suffix, L"--in", in});
    REQUIRE(a.a->wait());
    REQUIRE(b.wait());
    a.a->wait_for_end_of_output();
    INFO(a.a->error_output() << b.error_output());
    CHECK(a.a->exit_code() == 0);
    CHECK(b.exit_code() == 0);
    CHECK_THAT(a.a->output(), ContainsSubstring("A: the pipe ended after 200000000 bytes"));
    CHECK(ipc::test::same_content(in, out));
    CHECK(a.a->peak_memory_bytes() > 0); // or it was not measured at all
    CHECK(a.a->peak_memory_bytes() < 20 << 20);
    CHECK(b.peak_memory_bytes() > 0);
    CHECK(b.peak_memory_bytes() < 20 << 20);
}

TEST_CASE("Neither side takes more handles as more bytes cross the pipe") {
    const ipc::test::temporary_folder folder;
    const waiting_a a({L"--out", folder.file(L"out.bin")});
    const endless_input in;
    const ipc::test::program b({process_b, L"--name", a.suffix, L"--in", in.name});
    const auto wait_for_bytes = [&](std::uint64_t bytes) {
        while (in.bytes() < bytes) {
            REQUIRE_FALSE(a.a->wait(10));
        }
    };
    wait_for_bytes(1'000'000);
    const DWORD before_a = ipc::test::handle_count(a.a->process());
    const DWORD before_b = ipc::test::handle_count(b.process());
    wait_for_bytes(50'000'000); // 64 KiB at a time: a leak would be hundreds by now
    CHECK(ipc::test::handle_count(a.a->process()) <= before_a + 5);
    CHECK(ipc::test::handle_count(b.process()) <= before_b + 5);
}

TEST_CASE("An empty file arrives as an empty file") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, 0);
    const waiting_a a({L"--out", out});
    CHECK(run({process_b, L"--name", a.suffix, L"--in", in}).exit_code == 0);
    REQUIRE(a.a->wait());
    CHECK(a.a->exit_code() == 0);
    CHECK(ipc::test::same_content(in, out));
}

TEST_CASE("B may be started first") {
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({process_b, L"--name", suffix});
    CHECK_FALSE(b.wait(300)); // long enough for it to look for A in vain
    const ipc::test::result a = run({process_a, L"--name", suffix});
    REQUIRE(b.wait());
    CHECK(a.exit_code == 0);
    CHECK(b.exit_code() == 0);
    CHECK(a.error_output.empty());
    CHECK(b.error_output().empty());
}

TEST_CASE("Without its peer each program ends within its limit and says what to start") {
    const waiting_a a;
    const std::wstring suffix = ipc::test::unique_suffix();
    ipc::test::program b({process_b, L"--name", suffix});
    check_failed(b,
                 "B: no server at " + ipc::to_utf8(pipe_name(suffix)) + ": start processA first\n");
    CHECK(b.output().empty());
    check_failed(*a.a, "A: no B came: start processB beside this program\n");
}

TEST_CASE("A second A under the same name says that the name is taken") {
    const waiting_a first;
    const ipc::test::result second = run({process_a, L"--name", first.suffix});
    CHECK(second.exit_code == 1);
    CHECK(second.output.empty());
    CHECK(second.error_output ==
          "A: the name " + ipc::to_utf8(pipe_name(first.suffix)) + " is taken\n");
    CHECK_FALSE(first.a->wait(0));
    CHECK(run({process_b, L"--name", first.suffix}).exit_code == 0);
}

// ANCHOR: skipped
TEST_CASE("A name that another program serves already is taken, whatever its instances") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    // ANCHOR_END: skipped
    const std::wstring suffix = ipc::test::unique_suffix();
    const ipc::unique_handle other(CreateNamedPipeW(pipe_name(suffix).c_str(), PIPE_ACCESS_DUPLEX,
                                                    PIPE_TYPE_MESSAGE, 2, 4096, 4096, 0, nullptr));
    REQUIRE(other);
    CHECK(run({process_a, L"--name", suffix}).exit_code == 1);
}

TEST_CASE("What A puts into B is a pipe's write end, and an event that it may only set") {
    const waiting_a a;
    client b(a.suffix);
    b.get_handles();
    CHECK(GetFileType(b.write_end.get()) == FILE_TYPE_PIPE);
    char content = 0;
    DWORD flags = 0;
    CHECK_FALSE(ReadFile(b.write_end.get(), &content, 1, &flags, nullptr));
    CHECK(GetLastError() == ERROR_ACCESS_DENIED);
    CHECK(GetHandleInformation(b.write_end.get(), &flags));
    CHECK((flags & HANDLE_FLAG_INHERIT) == 0);
    CHECK(GetHandleInformation(b.event, &flags));
    CHECK((flags & HANDLE_FLAG_INHERIT) == 0);
    CHECK(is_lent_event(b.event));
    CHECK(SetEvent(b.event));
    b.write("hello");
    b.write_end.reset();
    b.send({.what = kind::finished, .bytes = 5});
    CHECK(b.receive().what == kind::taken_back);
    CHECK_FALSE(is_lent_event(b.event));
    b.send({.what = kind::gone});
    REQUIRE(a.a->wait());
    CHECK(a.a->exit_code() == 0);
}

TEST_CASE("Nothing is left in B's handle table after a conversation, good or broken off") {
    const auto converse = [](bool good) {
        const waiting_a a;
        client b(a.suffix);
        b.get_handles();
        if (good) {
            SetEvent(b.event);
            b.write_end.reset();
            b.send({.what = kind::finished});
            b.receive();
            b.send({.what = kind::gone});
        } else {
            b.send("no message", 10);
            b.write_end.reset();
        }
        REQUIRE(a.a->wait());
        CHECK(a.a->exit_code() == (good ? 0 : 1));
    };
    constexpr DWORD repeats = 8;
    for (const bool good : {true, false}) {
        converse(good); // whatever the system opens once is open now
        const DWORD before = ipc::test::handle_count(GetCurrentProcess());
        for (DWORD i = 0; i < repeats; ++i) {
            converse(good);
        }
        // The system's own handles come and go by one or two; a leak would show every time.
        CHECK(ipc::test::handle_count(GetCurrentProcess()) < before + repeats / 2);
    }
}

TEST_CASE("A never uses a handle number that B names") {
    const waiting_a a;
    client b(a.suffix);
    b.get_handles();
    const ipc::unique_handle other(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    const std::uint64_t number = duplicate_handle::to_number(other.get());
    SetEvent(b.event);
    b.write_end.reset();
    b.send({.what = kind::finished, .write_end = number, .event = number});
    CHECK(b.receive().what == kind::taken_back);
    DWORD flags = 0;
    CHECK(GetHandleInformation(other.get(), &flags));
    CHECK_FALSE(is_lent_event(b.event));
    b.send({.what = kind::gone});
    REQUIRE(a.a->wait());
    CHECK(a.a->exit_code() == 0);
}

TEST_CASE("A B that says something else than hello is refused in one line and gets nothing") {
    const auto refused = [](const void* bytes, std::size_t size, const std::string& line) {
        const waiting_a a;
        const DWORD before = ipc::test::handle_count(GetCurrentProcess());
        client b(a.suffix);
        b.try_send(bytes, size);
        check_failed(*a.a, line);
        b.close();
        CHECK(ipc::test::handle_count(GetCurrentProcess()) <= before + 1); // A would put two there
        CHECK_THAT(a.a->output(), !ContainsSubstring("connected"));
    };
    const std::string nonsense = "A: B sent something that is not a message\n";
    message sent;
    sent.magic ^= 1;
    refused(&sent, sizeof sent, nonsense);
    sent = {};
    refused(&sent, sizeof sent - 1, nonsense);
    refused(&sent, 4, nonsense);
    refused("", 0, nonsense);
    sent.version = 2;
    refused(&sent, sizeof sent, "A: B speaks another version of the protocol\n");
    sent = {.what = kind::finished};
    refused(&sent, sizeof sent, "A: B sent a message that is not its turn\n");
    sent = {.what = static_cast<kind>(0xFFFFFFFF)};
    refused(&sent, sizeof sent, "A: B sent a message that is not its turn\n");

    std::mt19937 random(2);
    for (const std::size_t size : {40u, 41u, 3000u}) {
        std::string bytes(size, '\0');
        std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
        refused(bytes.data(), bytes.size(), nonsense);
    }
    // The right start does not make a message that is too long.
    std::string longer(sizeof(message) + 1, '\0');
    sent = {};
    std::memcpy(longer.data(), &sent, sizeof sent);
    refused(longer.data(), longer.size(), nonsense);
}

TEST_CASE("A B that connects and says nothing is dropped after the limit") {
    const waiting_a a;
    const client b(a.suffix);
    check_failed(*a.a, "A: B did not answer in time\n");
}

TEST_CASE("A B that ends before A could duplicate is told in one line") {
    const std::string ended = "A: B ended in the middle of the conversation\n";
    SECTION("without a word") {
        const waiting_a a;
        client(a.suffix).close();
        check_failed(*a.a, ended);
    }
    SECTION("after its hello") {
        const waiting_a a;
        const DWORD before = ipc::test::handle_count(GetCurrentProcess());
        client b(a.suffix);
        const auto suspend = ntdll_function("NtSuspendProcess");
        const auto resume = ntdll_function("NtResumeProcess");
        REQUIRE(suspend(a.a->process()) == 0); // so that A sees all of this at once
        b.send({.what = kind::hello});
        b.close();
        REQUIRE(resume(a.a->process()) == 0);
        check_failed(*a.a, ended);
        CHECK_THAT(a.a->output(), !ContainsSubstring("connected"));
        CHECK(ipc::test::handle_count(GetCurrentProcess()) <= before + 1); // A would put two there
    }
}

TEST_CASE("A B that does not let itself be opened is told in one line") {
    // An empty list lets nobody open the test's process, until the old one is back.
    ACL* old_list = nullptr;
    void* descriptor = nullptr;
    REQUIRE(GetSecurityInfo(GetCurrentProcess(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                            nullptr, nullptr, &old_list, nullptr, &descriptor) == ERROR_SUCCESS);
    const ipc::scope_exit free_descriptor([&] { LocalFree(descriptor); });
    const waiting_a a;
    ACL empty{};
    REQUIRE(InitializeAcl(&empty, sizeof empty, ACL_REVISION));
    REQUIRE(SetSecurityInfo(GetCurrentProcess(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                            nullptr, nullptr, &empty, nullptr) == ERROR_SUCCESS);
    const ipc::scope_exit restore([&] {
        SetSecurityInfo(GetCurrentProcess(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                        nullptr, old_list, nullptr);
    });
    client b(a.suffix);
    b.send({.what = kind::hello});
    check_failed(*a.a, "A: OpenProcess failed: ERROR_ACCESS_DENIED (5)");
}

TEST_CASE("A B that does not end as agreed is told in one line") {
    const waiting_a a;
    client b(a.suffix);
    b.get_handles();
    b.write("half a line");
    std::string line;
    SECTION("it ends in the middle") {
        b.close();
        line = "A: B ended in the middle of the conversation\n";
    }
    SECTION("it sends garbage instead of the number of bytes") {
        b.send("garbage", 7);
        line = "A: B sent something that is not a message\n";
    }
    SECTION("it names another number of bytes") {
        SetEvent(b.event);
        b.send({.what = kind::finished, .bytes = 12});
        line = "A: B wrote another number of bytes than arrived\n";
    }
    SECTION("it did not set the event") {
        b.send({.what = kind::finished, .bytes = 11});
        line = "A: B did not set the event\n";
    }
    SECTION("it ends when the event has been taken back") {
        SetEvent(b.event);
        b.send({.what = kind::finished, .bytes = 11});
        b.write_end.reset();
        b.receive();
        b.close();
        line = "A: B ended in the middle of the conversation\n";
    }
    b.write_end.reset();
    check_failed(*a.a, line);
}

TEST_CASE("B refuses numbers that are not the handles it expects") {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(suffix);
    ipc::test::program b({process_b, L"--name", suffix});
    a.connect();
    const anonymous_pipe pipe;
    const ipc::unique_handle event(CreateEventW(nullptr, FALSE, TRUE, nullptr));
    const std::uint64_t good_pipe = put_into(b, pipe.write_end.get(), 0, DUPLICATE_SAME_ACCESS);
    const std::uint64_t good_event = put_into(b, event.get(), EVENT_MODIFY_STATE, 0);
    const std::string no_pipe = "B: A sent a number that is no pipe in B\n";
    const std::string no_event = "B: A sent a number that is no event which B may only set\n";
    message sent{.what = kind::handles, .write_end = good_pipe, .event = good_event};
    std::string line;
    SECTION("no handle") {
        sent.write_end = 0;
        line = no_pipe;
    }
    SECTION("a number of the sender's own table") {
        sent.write_end = 0x7FFFFFF0;
        line = no_pipe;
    }
    SECTION("the pseudo handle of the process") {
        sent.write_end = ~std::uint64_t{0};
        line = no_pipe;
    }
    SECTION("an event instead of the pipe") {
        sent.write_end = good_event;
        line = no_pipe;
    }
    SECTION("no event") {
        sent.event = 0;
        line = no_event;
    }
    SECTION("the pseudo handle of the process instead of the event") {
        sent.event = ~std::uint64_t{0};
        line = no_event;
    }
    SECTION("an event with every right") {
        sent.event = put_into(b, event.get(), 0, DUPLICATE_SAME_ACCESS);
        line = no_event;
    }
    a.send(&sent, sizeof sent);
    check_failed(b, line);
}

TEST_CASE("B refuses garbage in one line, and an A that ends") {
    const std::wstring suffix = ipc::test::unique_suffix();
    auto a = std::make_unique<server>(suffix);
    ipc::test::program b({process_b, L"--name", suffix});
    a->connect();
    SECTION("garbage") {
        a->send("garbage", 7);
        check_failed(b, "B: A sent something that is not a message\n");
    }
    SECTION("silence") {
        check_failed(b, "B: A did not answer in time\n");
    }
    SECTION("the end") {
        a.reset();
        check_failed(b, "B: A ended in the middle of the conversation\n");
    }
}

TEST_CASE("B does not believe that a handle is gone") {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(suffix);
    ipc::test::program b({process_b, L"--name", suffix});
    a.connect();
    anonymous_pipe pipe;
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    message sent{.what = kind::handles,
                 .write_end = put_into(b, pipe.write_end.get(), 0, DUPLICATE_SAME_ACCESS),
                 .event = put_into(b, event.get(), EVENT_MODIFY_STATE, 0)};
    a.send(&sent, sizeof sent);
    sent = {.what = kind::taken_back};
    a.send(&sent, sizeof sent);
    check_failed(b, "B: A says that it took the event back, but the handle is there\n");
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0);
}

TEST_CASE("A ends with one line when B is killed, at any moment") {
    const ipc::test::temporary_folder folder;
    std::mt19937 random(22);
    for (int i = 0; i < 20; ++i) {
        const waiting_a a({L"--out", folder.file(L"out.bin")});
        const endless_input in;
        ipc::test::program b({process_b, L"--name", a.suffix, L"--in", in.name});
        // From the second line on nothing of A's can fail but the conversation.
        const bool has_handles = i % 2 != 0;
        REQUIRE(b.wait_for_output(has_handles ? "B: got two numbers" : "B: found A"));
        CHECK_FALSE(b.wait(random() % 60));
        b.kill();
        check_failed(*a.a, has_handles ? "A: B ended in the middle of the conversation\n" : "A: ");
    }
}

TEST_CASE("B ends with one line when A is killed, at any moment") {
    const ipc::test::temporary_folder folder;
    std::mt19937 random(23);
    for (int i = 0; i < 20; ++i) {
        const waiting_a a({L"--out", folder.file(L"out.bin")});
        const endless_input in;
        ipc::test::program b({process_b, L"--name", a.suffix, L"--in", in.name});
        REQUIRE(a.a->wait_for_output("A: B is connected"));
        CHECK_FALSE(a.a->wait(random() % 60));
        a.a->kill();
        check_failed(b, "B: A ended ");
    }
}

TEST_CASE("Ctrl+C ends A in order, whatever it waits for") {
    const waiting_a a;
    std::unique_ptr<client> b;
    SECTION("a client") {}
    SECTION("the client's hello") {
        b = std::make_unique<client>(a.suffix);
    }
    SECTION("the pipe") {
        b = std::make_unique<client>(a.suffix);
        b->get_handles();
        b->write("one line\n");
        REQUIRE(a.a->wait_for_output("A: | one line\n"));
    }
    SECTION("the end of the conversation") {
        b = std::make_unique<client>(a.suffix);
        b->get_handles();
        b->write_end.reset();
    }
    a.a->press_ctrl_c();
    REQUIRE(a.a->wait());
    a.a->wait_for_end_of_output();
    CHECK(a.a->exit_code() == 0);
    CHECK_THAT(a.a->output(), EndsWith("A: stopped by Ctrl+C\n"));
    CHECK(a.a->error_output().empty());
    CHECK_FALSE((b && is_lent_event(b->event))); // A took it back on its way out
}

TEST_CASE("A second B waits for its turn and finds nobody then") {
    const waiting_a a;
    client first(a.suffix);
    first.get_handles();
    ipc::test::program second({process_b, L"--name", a.suffix});
    CHECK_FALSE(second.wait(200));
    SetEvent(first.event);
    first.write_end.reset();
    first.send({.what = kind::finished});
    first.receive();
    first.send({.what = kind::gone});
    REQUIRE(a.a->wait());
    CHECK(a.a->exit_code() == 0);
    first.close();
    check_failed(second, "B: no server at ");
}

TEST_CASE("Pairs under different names do not disturb each other") {
    std::vector<std::unique_ptr<waiting_a>> all;
    std::vector<std::unique_ptr<ipc::test::program>> all_b;
    for (int i = 0; i < 5; ++i) {
        all.push_back(std::make_unique<waiting_a>());
    }
    for (const auto& a : all) {
        all_b.push_back(std::make_unique<ipc::test::program>(
            std::vector<std::wstring>{process_b, L"--name", a->suffix}));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        REQUIRE(all[i]->a->wait());
        REQUIRE(all_b[i]->wait());
        CHECK(all[i]->a->exit_code() == 0);
        CHECK(all_b[i]->exit_code() == 0);
    }
}

TEST_CASE("Files that cannot be opened are an error before anybody is met") {
    const ipc::test::result a = run({process_a, L"--out", L"C:\\no such folder\\x"});
    CHECK(a.exit_code == 1);
    CHECK(a.output.empty());
    CHECK_THAT(a.error_output, StartsWith("A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3): "));
    const ipc::test::result b = run({process_b, L"--in", L"C:\\no such file"});
    CHECK(b.exit_code == 1);
    CHECK(b.output.empty());
    CHECK_THAT(b.error_output, StartsWith("B: CreateFileW failed: ERROR_FILE_NOT_FOUND (2): "));
}

TEST_CASE("A handle number survives the way through 64 bits") {
    for (const std::intptr_t value : {0x4, 0x7FFFFFFC, -1, -2, -0x7FFFFFFC}) {
        const auto handle = reinterpret_cast<HANDLE>(value);
        const std::uint64_t number = duplicate_handle::to_number(handle);
        CHECK(duplicate_handle::to_handle(number) == handle);
        CHECK(static_cast<std::int64_t>(number) == value); // sign-extended
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"},      {process_a, L"--name", L""},
        {process_a, L"unexpected"},       {process_a, L"--in", L"x"}, {process_b, L"--in"},
        {process_b, L"unexpected"},       {process_b, L"--out", L"x"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs explain themselves with --help") {
    for (const std::wstring& program : {process_a, process_b}) {
        const ipc::test::result help = run({program, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
