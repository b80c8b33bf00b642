#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/02_duplicate_handle/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <windows.h>

#include <aclapi.h>
#include <winternl.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;
using ipc::test::suspended;

namespace {

const std::wstring process_a = program_path(L"02_duplicate_handle", L"processA.exe");
const std::wstring process_b = program_path(L"02_duplicate_handle", L"processB.exe");

constexpr auto b_ended_early = "A: B ended before it had written everything\n";

std::wstring pipe_name(const std::wstring& suffix) {
    return ipc::object_name(control_pipe_name, suffix);
}

// Checks that the program ended by itself, with exit code 1 and a single line on standard error.
void check_failed(program& failed, const std::string& line) {
    REQUIRE(failed.wait());
    failed.wait_for_end_of_output();
    CHECK(failed.exit_code() == 1);
    CHECK_THAT(failed.error_output(), StartsWith(line));
    CHECK(ipc::test::lines_of(failed.error_output()).size() == 1);
}

void check_succeeded(program& ended) {
    REQUIRE(ended.wait());
    ended.wait_for_end_of_output();
    INFO(ended.output() << ended.error_output());
    CHECK(ended.exit_code() == 0);
    CHECK(ended.error_output().empty());
}

// An A under a name of its own that waits for B.
struct waiting_a {
    explicit waiting_a(const std::vector<std::wstring>& options = {}) {
        std::vector<std::wstring> arguments = {process_a, L"--name", suffix};
        arguments.insert(arguments.end(), options.begin(), options.end());
        a = std::make_unique<program>(arguments);
        REQUIRE(a->wait_for_output("A: waiting for B\n"));
    }
    std::wstring suffix = ipc::test::unique_suffix();
    std::unique_ptr<program> a;
};

// The test in the role of B: a client of A's control pipe.
class client {
public:
    explicit client(const std::wstring& suffix) {
        pipe_.reset(CreateFileW(pipe_name(suffix).c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                OPEN_EXISTING, 0, nullptr));
        REQUIRE(pipe_);
        DWORD mode = PIPE_READMODE_MESSAGE;
        REQUIRE(SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr));
    }

    void send(std::string_view bytes) {
        DWORD written = 0;
        REQUIRE(WriteFile(pipe_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written,
                          nullptr));
    }

    message receive() {
        message received;
        DWORD size = 0;
        REQUIRE(ReadFile(pipe_.get(), &received, sizeof received, &size, nullptr));
        REQUIRE(size == sizeof received);
        return received;
    }

    void receive_handles() {
        const message numbers = receive();
        write_end.reset(to_handle(numbers.write_end));
        event = to_handle(numbers.event);
    }

    void write(std::string_view text) const {
        DWORD written = 0;
        REQUIRE(WriteFile(write_end.get(), text.data(), static_cast<DWORD>(text.size()), &written,
                          nullptr));
    }

    // Ends the conversation in the same way as process B.
    void finish() {
        CHECK(SetEvent(event));
        write_end.reset();
        const message taken_back = receive();
        CHECK(taken_back.write_end == 0);
        CHECK(taken_back.event == 0);
    }

    void close() { pipe_.reset(); }

    ipc::unique_handle write_end;
    HANDLE event = nullptr;

private:
    ipc::unique_handle pipe_;
};

// Returns whether the number is an event that this process may only set. A valid handle alone proves
// less: another thread of the test may already have the number of a handle that was closed.
bool is_lent_event(HANDLE number) {
    return WaitForSingleObject(number, 0) == WAIT_FAILED && GetLastError() == ERROR_ACCESS_DENIED;
}

// The test in the role of A: a server that sends B two numbers of its choice.
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
    }
    void send(const void* bytes, DWORD size) {
        DWORD written = 0;
        REQUIRE(WriteFile(pipe_.get(), bytes, size, &written, nullptr));
    }

private:
    ipc::unique_handle pipe_;
};

// Puts a handle of the test into the program, and returns its number there.
std::uint64_t put_into(const program& receiver, HANDLE handle, DWORD access, DWORD options) {
    const ipc::unique_handle process(OpenProcess(PROCESS_DUP_HANDLE, FALSE, receiver.id()));
    HANDLE there = nullptr;
    REQUIRE(DuplicateHandle(GetCurrentProcess(), handle, process.get(), &there, access, FALSE,
                            options));
    return to_number(there);
}

// A pipe that the test fills without end, for B's --in.
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
    ~endless_input() { // if B never came, this client ends the wait for one
        ipc::unique_handle(
            CreateFileW(name.c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr));
    }
    endless_input(const endless_input&) = delete;
    endless_input& operator=(const endless_input&) = delete;

    std::uint64_t bytes() const { return bytes_; } // how many bytes B has read or can read

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

// Returns a function of ntdll. Win32 has no function that does the same.
template <typename Function> Function ntdll_function(const char* name) {
    return reinterpret_cast<Function>(
        reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name)));
}

// Returns what the owner of this handle may do with the object.
ACCESS_MASK granted_access(HANDLE handle) {
    using query_function = LONG(WINAPI*)(HANDLE, int, void*, ULONG, ULONG*);
    PUBLIC_OBJECT_BASIC_INFORMATION information{};
    REQUIRE(ntdll_function<query_function>("NtQueryObject")(handle, 0 /* ObjectBasicInformation */,
                                                            &information, sizeof information,
                                                            nullptr) == 0);
    return information.GrantedAccess;
}

// A process with the privilege SeDebugPrivilege can open every other process. A inherits the
// privileges of the test, so the test gives this one up.
void remove_debug_privilege() {
    ipc::unique_handle token;
    REQUIRE(OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, token.put()));
    TOKEN_PRIVILEGES privileges{};
    privileges.PrivilegeCount = 1;
    privileges.Privileges[0].Attributes = SE_PRIVILEGE_REMOVED;
    REQUIRE(LookupPrivilegeValueW(nullptr, L"SeDebugPrivilege", &privileges.Privileges[0].Luid));
    // Succeeds with ERROR_NOT_ALL_ASSIGNED if the test does not have the privilege.
    REQUIRE(AdjustTokenPrivileges(token.get(), FALSE, &privileges, 0, nullptr, nullptr));
}

} // namespace

TEST_CASE("100 MB of random bytes arrive unchanged, and memory stays flat") {
    const ipc::test::temporary_folder folder;
    const std::wstring in = folder.file(L"in.bin");
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(in, 100'000'000);
    const waiting_a a({L"--out", out});
    program b({process_b, L"--name", a.suffix, L"--in", in});
    check_succeeded(*a.a);
    check_succeeded(b);
    CHECK_THAT(a.a->output(), ContainsSubstring("A: the pipe ended after 100000000 bytes"));
    CHECK(ipc::test::same_content(in, out));
    CHECK(a.a->peak_memory_bytes() > 0); // or it was not measured at all
    CHECK(a.a->peak_memory_bytes() < 20 << 20);
    CHECK(b.peak_memory_bytes() > 0);
    CHECK(b.peak_memory_bytes() < 20 << 20);
}

TEST_CASE("Neither program opens more handles as more bytes cross the pipe") {
    const ipc::test::temporary_folder folder;
    const waiting_a a({L"--out", folder.file(L"out.bin")});
    const endless_input in;
    const program b({process_b, L"--name", a.suffix, L"--in", in.name});
    const auto wait_for_bytes = [&](std::uint64_t bytes) {
        while (in.bytes() < bytes) {
            REQUIRE_FALSE(a.a->wait(10));
        }
    };
    wait_for_bytes(1'000'000);
    const DWORD before_a = ipc::test::handle_count(a.a->process());
    const DWORD before_b = ipc::test::handle_count(b.process());
    wait_for_bytes(50'000'000); // 64 KiB at a time: a leak would be hundreds of handles by now
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
    check_succeeded(*a.a);
    CHECK(ipc::test::same_content(in, out));
}

TEST_CASE("B may be started first, and --limit 0 waits without limit") {
    const std::wstring suffix = ipc::test::unique_suffix();
    program b({process_b, L"--name", suffix, L"--limit", L"0"});
    CHECK_FALSE(b.wait(300)); // long enough to look for A in vain
    const ipc::test::result a = run({process_a, L"--name", suffix, L"--limit", L"0"});
    CHECK(a.exit_code == 0);
    CHECK(a.error_output.empty());
    check_succeeded(b);
}

TEST_CASE("Each program ends after the limit if its partner is missing, and says what to start") {
    const waiting_a a({L"--limit", L"1"});
    const std::wstring suffix = ipc::test::unique_suffix();
    program b({process_b, L"--name", suffix, L"--limit", L"1"});
    check_failed(b,
                 "B: no server at " + ipc::to_utf8(pipe_name(suffix)) + ": start processA first\n");
    CHECK(b.output().empty());
    check_failed(*a.a, "A: no B came: start processB beside this program\n");
}

TEST_CASE("A second A under the same name says that the name is taken") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out.bin");
    ipc::test::write_random_file(out, 100);
    const waiting_a first;
    const ipc::test::result second = run({process_a, L"--name", first.suffix, L"--out", out});
    CHECK(second.exit_code == 1);
    CHECK(second.output.empty());
    CHECK(second.error_output ==
          "A: the name " + ipc::to_utf8(pipe_name(first.suffix)) + " is taken by another server\n");
    CHECK(ipc::test::read_file(out).size() == 100); // not emptied
    CHECK_FALSE(first.a->wait(0));
    CHECK(run({process_b, L"--name", first.suffix}).exit_code == 0);
}

TEST_CASE("A refuses a name that another program serves already, whatever its instances") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const ipc::unique_handle other(CreateNamedPipeW(pipe_name(suffix).c_str(), PIPE_ACCESS_DUPLEX,
                                                    PIPE_TYPE_MESSAGE, 2, 4096, 4096, 0, nullptr));
    REQUIRE(other);
    CHECK(run({process_a, L"--name", suffix}).exit_code == 1);
}

TEST_CASE("A puts a pipe's write end into B, and an event that B may only set") {
    const waiting_a a;
    client b(a.suffix);
    b.receive_handles();
    CHECK(GetFileType(b.write_end.get()) == FILE_TYPE_PIPE);
    char content = 0;
    DWORD size = 0;
    CHECK_FALSE(ReadFile(b.write_end.get(), &content, 1, &size, nullptr));
    CHECK(GetLastError() == ERROR_ACCESS_DENIED);
    CHECK(granted_access(b.write_end.get()) == (FILE_WRITE_DATA | SYNCHRONIZE));
    CHECK(granted_access(b.event) == EVENT_MODIFY_STATE);
    for (const HANDLE handle : {b.write_end.get(), b.event}) {
        DWORD flags = 0;
        CHECK(GetHandleInformation(handle, &flags));
        CHECK((flags & HANDLE_FLAG_INHERIT) == 0);
    }
    CHECK(is_lent_event(b.event));
    b.write("hello");
    b.finish();
    CHECK_FALSE(is_lent_event(b.event));
    check_succeeded(*a.a);
}

TEST_CASE("No handle is left in B after a conversation, complete or broken off") {
    const auto converse = [](bool complete) {
        const waiting_a a;
        client b(a.suffix);
        b.receive_handles();
        if (complete) {
            b.finish();
        } else {
            b.write_end.reset();
        }
        REQUIRE(a.a->wait());
        CHECK(a.a->exit_code() == (complete ? 0 : 1));
    };
    constexpr DWORD repeats = 8;
    for (const bool complete : {true, false}) {
        converse(complete); // now the system has opened what it opens only once
        const DWORD before = ipc::test::handle_count(GetCurrentProcess());
        for (DWORD i = 0; i < repeats; ++i) {
            converse(complete);
        }
        // The system may open or close one or two handles; a leak would be one in each conversation.
        CHECK(ipc::test::handle_count(GetCurrentProcess()) < before + repeats / 2);
    }
}

TEST_CASE("A uses no handle number that B sends") {
    const waiting_a a;
    client b(a.suffix);
    b.receive_handles();
    const ipc::unique_handle other(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    const message numbers{to_number(other.get()), to_number(other.get())};
    b.send({reinterpret_cast<const char*>(&numbers), sizeof numbers});
    b.finish();
    DWORD flags = 0;
    CHECK(GetHandleInformation(other.get(), &flags));
    CHECK_FALSE(is_lent_event(b.event));
    check_succeeded(*a.a);
}

TEST_CASE("A gives no handles to a client that has sent data or has ended") {
    const waiting_a a;
    std::string line = "A: refused: B sends data through the control pipe\n";
    std::unique_ptr<client> b;
    {
        const suspended stop(*a.a); // so that A sees all of this at once
        REQUIRE_FALSE(stop.empty());
        b = std::make_unique<client>(a.suffix);
        SECTION("one byte") {
            b->send("x");
        }
        SECTION("an empty message") {
            b->send("");
        }
        SECTION("an empty message of a client that has ended") {
            b->send("");
            b->close();
        }
        SECTION("a message of the right size") {
            b->send(std::string(sizeof(message), '\0'));
        }
        SECTION("much data") {
            b->send(std::string(3000, 'x'));
        }
        SECTION("data of a client that has ended") {
            b->send("x");
            b->close();
        }
        SECTION("nothing from a client that has ended") {
            b->close();
            line = b_ended_early;
        }
    }
    check_failed(*a.a, line);
    CHECK_THAT(a.a->output(), !ContainsSubstring("connected"));
}

TEST_CASE("A drops a B that does nothing, after the limit") {
    const waiting_a silent({L"--limit", L"1"});
    const waiting_a half_done({L"--limit", L"1"});
    const waiting_a not_closed({L"--limit", L"1"});
    std::vector<std::unique_ptr<client>> clients;
    for (const waiting_a* a : {&silent, &half_done, &not_closed}) {
        clients.push_back(std::make_unique<client>(a->suffix));
        clients.back()->receive_handles();
    }
    clients[1]->write("half a line");
    SetEvent(clients[2]->event); // but the write end stays open
    for (const waiting_a* a : {&silent, &half_done, &not_closed}) {
        check_failed(*a->a, "A: B did nothing for too long\n");
    }
    for (const auto& b : clients) {
        CHECK_FALSE(is_lent_event(b->event)); // taken back
    }
}

TEST_CASE("A says so if it may not open B's process") {
    remove_debug_privilege();
    // An empty list lets nobody open the test's process until the old list is back.
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
    const client b(a.suffix);
    check_failed(*a.a, "A: OpenProcess failed: ERROR_ACCESS_DENIED (5)");
}

TEST_CASE("A does not take a B that ends before it sets the event for a finished one") {
    const waiting_a a;
    client b(a.suffix);
    b.receive_handles();
    b.write("half a line");
    SECTION("the control pipe stays open") {}
    SECTION("both pipes are closed") {
        b.close();
    }
    b.write_end.reset();
    check_failed(*a.a, b_ended_early);
    CHECK_THAT(a.a->output(), EndsWith("A: | half a line\n"));
}

TEST_CASE("A says so if B is killed before A has taken the event back") {
    const ipc::test::temporary_folder folder;
    const std::wstring out = folder.file(L"out.bin");
    const waiting_a a({L"--out", out});
    const std::wstring name = L"\\\\.\\pipe\\" + ipc::test::unique_suffix();
    const ipc::unique_handle input(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_OUTBOUND,
                                                    PIPE_TYPE_MESSAGE, 1, 4096, 4096, 0, nullptr));
    REQUIRE(input);
    program b({process_b, L"--name", a.suffix, L"--in", name});
    REQUIRE(b.wait_for_output("B: got two numbers"));
    {
        const suspended stop(*a.a);
        REQUIRE_FALSE(stop.empty());
        DWORD written = 0;
        REQUIRE(WriteFile(input.get(), "all", 3, &written, nullptr));
        REQUIRE(FlushFileBuffers(input.get())); // or one read of B could take both messages
        REQUIRE(WriteFile(input.get(), "", 0, &written, nullptr)); // read as the end of the file
        REQUIRE(b.wait_for_output("B: wrote 3 bytes"));
        b.kill();
        REQUIRE(b.wait());
    }
    check_failed(*a.a, "A: B ended or closed the event before A took it back\n");
    CHECK(ipc::test::read_file(out) == "all");
}

TEST_CASE("B refuses numbers that are not the handles it expects") {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(suffix);
    program b({process_b, L"--name", suffix});
    a.connect();
    const anonymous_pipe pipe;
    const ipc::unique_handle event(CreateEventW(nullptr, FALSE, TRUE, nullptr));
    message numbers{put_into(b, pipe.write_end.get(), 0, DUPLICATE_SAME_ACCESS),
                    put_into(b, event.get(), EVENT_MODIFY_STATE, 0)};
    const std::string no_pipe = "B: A sent a number that is not a pipe in B\n";
    const std::string no_event = "B: A sent a number that is not an event which B may only set\n";
    std::string line;
    SECTION("no handle") {
        numbers.write_end = 0;
        line = no_pipe;
    }
    SECTION("a number that is not in B's table") {
        numbers.write_end = 0x7FFFFFF0;
        line = no_pipe;
    }
    SECTION("the pseudo handle of the process") {
        numbers.write_end = ~std::uint64_t{0};
        line = no_pipe;
    }
    SECTION("an event instead of the pipe") {
        numbers.write_end = numbers.event;
        line = no_pipe;
    }
    SECTION("no event") {
        numbers.event = 0;
        line = no_event;
    }
    SECTION("the pseudo handle of the process instead of the event") {
        numbers.event = ~std::uint64_t{0};
        line = no_event;
    }
    SECTION("an event with every right") {
        numbers.event = put_into(b, event.get(), 0, DUPLICATE_SAME_ACCESS);
        line = no_event;
    }
    a.send(&numbers, sizeof numbers);
    check_failed(b, line);
}

TEST_CASE("B ends with one line if A sends garbage, sends nothing, or ends") {
    const std::wstring suffix = ipc::test::unique_suffix();
    auto a = std::make_unique<server>(suffix);
    program b({process_b, L"--name", suffix, L"--limit", L"1"});
    a->connect();
    const std::string nonsense = "B: A sent something that is not a message\n";
    const std::string bytes(sizeof(message) + 1, '\0');
    SECTION("a message that is too short") {
        a->send(bytes.data(), sizeof(message) - 1);
        check_failed(b, nonsense);
    }
    SECTION("a message that is too long") {
        a->send(bytes.data(), sizeof(message) + 1);
        check_failed(b, nonsense);
    }
    SECTION("an empty message") {
        a->send(bytes.data(), 0);
        check_failed(b, nonsense);
    }
    SECTION("nothing") {
        check_failed(b, "B: A sent nothing for too long\n");
    }
    SECTION("the end") {
        a.reset();
        check_failed(b, "B: A ended in the middle of the conversation\n");
    }
}

TEST_CASE("B checks that A has taken the event back") {
    const std::wstring suffix = ipc::test::unique_suffix();
    server a(suffix);
    program b({process_b, L"--name", suffix});
    a.connect();
    const anonymous_pipe pipe;
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    message sent{put_into(b, pipe.write_end.get(), 0, DUPLICATE_SAME_ACCESS),
                 put_into(b, event.get(), EVENT_MODIFY_STATE, 0)};
    a.send(&sent, sizeof sent);
    sent = {};
    a.send(&sent, sizeof sent);
    check_failed(b, "B: A did not take the event back\n");
    CHECK(WaitForSingleObject(event.get(), 0) == WAIT_OBJECT_0);
}

TEST_CASE("A ends with one line when B is killed at any moment") {
    const ipc::test::temporary_folder folder;
    std::mt19937 random(22);
    for (int i = 0; i < 12; ++i) {
        const waiting_a a({L"--out", folder.file(L"out.bin")});
        const endless_input in;
        program b({process_b, L"--name", a.suffix, L"--in", in.name});
        const bool has_handles = i % 2 != 0;
        REQUIRE(b.wait_for_output(has_handles ? "B: got two numbers" : "B: found A"));
        CHECK_FALSE(b.wait(random() % 40));
        b.kill();
        // Before B has its handles, another call of A may be the one that fails.
        check_failed(*a.a, has_handles ? b_ended_early : "A: ");
    }
}

TEST_CASE("B ends with one line when A is killed at any moment") {
    const ipc::test::temporary_folder folder;
    std::mt19937 random(23);
    for (int i = 0; i < 12; ++i) {
        const waiting_a a({L"--out", folder.file(L"out.bin")});
        const endless_input in;
        program b({process_b, L"--name", a.suffix, L"--in", in.name});
        REQUIRE(a.a->wait_for_output("A: B is connected"));
        CHECK_FALSE(a.a->wait(random() % 40));
        a.a->kill();
        check_failed(b, "B: A ended ");
    }
}

TEST_CASE("Ctrl+C ends A in order, whatever it waits for") {
    const waiting_a a; // writes to the screen, which is slower than B: the pipe is always full
    std::unique_ptr<client> b;
    std::unique_ptr<endless_input> in;
    std::unique_ptr<program> busy_b;
    SECTION("for a client") {}
    SECTION("for data") {
        b = std::make_unique<client>(a.suffix);
        b->receive_handles();
    }
    SECTION("for nothing, because there is always data") {
        in = std::make_unique<endless_input>();
        busy_b = std::make_unique<program>(
            std::vector<std::wstring>{process_b, L"--name", a.suffix, L"--in", in->name});
        while (in->bytes() < 1'000'000) {
            REQUIRE_FALSE(a.a->wait(10));
        }
    }
    a.a->press_ctrl_c();
    check_succeeded(*a.a);
    CHECK_THAT(a.a->output(), EndsWith("A: stopped by Ctrl+C\n"));
    CHECK_FALSE((b && is_lent_event(b->event))); // A took it back on its way out
    if (busy_b) {
        check_failed(*busy_b, "B: A ended before it had read everything\n");
    }
}

TEST_CASE("A second B waits for its turn, and ends when there is no server any more") {
    const waiting_a a;
    client first(a.suffix);
    first.receive_handles();
    program second({process_b, L"--name", a.suffix, L"--limit", L"1"});
    CHECK_FALSE(second.wait(200));
    first.finish();
    check_succeeded(*a.a);
    first.close();
    check_failed(second, "B: no server at ");
}

TEST_CASE("Pairs under different names do not disturb each other") {
    std::vector<std::unique_ptr<waiting_a>> servers;
    std::vector<std::unique_ptr<program>> clients;
    for (int i = 0; i < 5; ++i) {
        servers.push_back(std::make_unique<waiting_a>());
    }
    for (const auto& a : servers) {
        clients.push_back(
            std::make_unique<program>(std::vector<std::wstring>{process_b, L"--name", a->suffix}));
    }
    for (const auto& a : servers) {
        check_succeeded(*a->a);
    }
    for (const auto& b : clients) {
        check_succeeded(*b);
    }
}

TEST_CASE("A file that cannot be opened is an error before a partner is looked for") {
    const ipc::test::result a = run({process_a, L"--out", L"C:\\no such folder\\x"});
    CHECK(a.exit_code == 1);
    CHECK(a.output.empty());
    CHECK_THAT(a.error_output, StartsWith("A: CreateFileW failed: ERROR_PATH_NOT_FOUND (3): "));
    const ipc::test::result b = run({process_b, L"--in", L"C:\\no such file"});
    CHECK(b.exit_code == 1);
    CHECK(b.output.empty());
    CHECK_THAT(b.error_output, StartsWith("B: CreateFileW failed: ERROR_FILE_NOT_FOUND (2): "));
}

TEST_CASE("A handle number is the same after its way through 64 bits") {
    for (const std::intptr_t value : {0x4, 0x7FFFFFFC, -1, -2, -0x7FFFFFFC}) {
        const auto handle = reinterpret_cast<HANDLE>(value);
        const std::uint64_t number = to_number(handle);
        CHECK(to_handle(number) == handle);
        CHECK(static_cast<std::int64_t>(number) == value); // sign-extended
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--out"},
        {process_a, L"--name", L""},      {process_a, L"--limit", L"soon"},
        {process_a, L"--in", L"x"},       {process_b, L"--in"},
        {process_b, L"unexpected"},       {process_b, L"--limit", L"-1"}};
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
