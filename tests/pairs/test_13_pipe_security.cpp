#include "common/overlapped.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "demos/13_pipe_security/descriptor_text.hpp"
#include "demos/13_pipe_security/protocol.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::lines_of;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"13_pipe_security", L"processA.exe");
const std::wstring process_b = program_path(L"13_pipe_security", L"processB.exe");
constexpr DWORD client_access = GENERIC_READ | FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES;
constexpr DWORD client_rights = 0x12019b; // what A gives to clients of other users
const std::string no_answer = "A: a client without an answer: ";

std::wstring user_sid() {
    return user_of_process(GetCurrentProcess());
}

std::vector<std::wstring> join(std::vector<std::wstring> first,
                               const std::vector<std::wstring>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

// A pipe name of its own, with the programs that use it.
struct pair_name {
    std::vector<std::wstring> a(const std::vector<std::wstring>& options = {}) const {
        return join({process_a, L"--name", suffix, L"--limit", L"60"}, options);
    }
    std::vector<std::wstring> b(const std::vector<std::wstring>& options = {}) const {
        return join({process_b, L"--name", suffix, L"--limit", L"60"}, options);
    }

    // A client that is not process B.
    ipc::unique_handle connect(DWORD access = client_access) const {
        for (int i = 0; i < 100; ++i) {
            ipc::unique_handle pipe(CreateFileW(
                name.c_str(), access, 0, nullptr, OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
            if (pipe || GetLastError() != ERROR_PIPE_BUSY) {
                return pipe;
            }
            WaitNamedPipeW(name.c_str(), 1000);
        }
        return {};
    }

    // A server that is not process A, with a descriptor of the test's choice. Returns no
    // handle if the system does not let the test give its pipe to this owner.
    ipc::unique_handle create(const wchar_t* sddl, DWORD most_instances = 1) const {
        SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE};
        const ipc::scope_exit free_sd([&] { LocalFree(security.lpSecurityDescriptor); });
        REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr));
        ipc::unique_handle pipe(CreateNamedPipeW(
            name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, most_instances, 4096, 4096, 0, &security));
        const DWORD error = pipe ? ERROR_SUCCESS : GetLastError();
        CHECK((error == ERROR_SUCCESS || error == ERROR_INVALID_OWNER));
        return pipe;
    }

    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring name = ipc::object_name(protocol::pipe_name, suffix);
};

// A process A that is ready for clients.
struct server : pair_name {
    explicit server(const std::vector<std::wstring>& options = {}) {
        process = std::make_unique<program>(a(options));
        if (!process->wait_for_output("A: - owner: ")) {
            FAIL(process->error_output());
        }
    }
    void stop() const {
        process->press_ctrl_c();
        REQUIRE(process->wait());
        REQUIRE(process->wait_for_end_of_output());
        CHECK(process->exit_code() == 0);
        CHECK_THAT(process->output(), ContainsSubstring("A: stopped\n"));
    }
    void check_answered() const {
        REQUIRE(process->wait());
        REQUIRE(process->wait_for_end_of_output());
        CHECK(process->exit_code() == 0);
        CHECK_THAT(process->output(), ContainsSubstring("A: answered a request\n"));
        CHECK(process->error_output().empty());
    }
    // What B says of its three tries.
    std::string tries() const {
        return run(b({L"--try", L"read"})).output + run(b({L"--try", L"write"})).output +
               run(b({L"--try", L"instance"})).output;
    }
    std::unique_ptr<program> process;
};

DWORD write(const ipc::unique_handle& pipe, std::string_view bytes) {
    ipc::overlapped_call call(pipe.get());
    const BOOL done =
        WriteFile(pipe.get(), bytes.data(), static_cast<DWORD>(bytes.size()), nullptr, call.get());
    return call.wait(done, ipc::test::default_limit_ms).error;
}

std::string read(const ipc::unique_handle& pipe) {
    std::string bytes(8192, '\0');
    ipc::overlapped_call call(pipe.get());
    const BOOL done =
        ReadFile(pipe.get(), bytes.data(), static_cast<DWORD>(bytes.size()), nullptr, call.get());
    const ipc::call_result result = call.wait(done, ipc::test::default_limit_ms);
    bytes.resize(result.bytes);
    return result.error == ERROR_SUCCESS ? bytes : "error " + std::to_string(result.error);
}

// Each entry of a pipe's DACL as "type mask SID", as a client reads it from the pipe.
std::vector<std::string> stored_entries(HANDLE pipe) {
    ACL* dacl = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetSecurityInfo(pipe, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr, nullptr,
                            &dacl, nullptr, &descriptor) == ERROR_SUCCESS);
    const ipc::scope_exit free_sd([&] { LocalFree(descriptor); });
    REQUIRE(dacl != nullptr);
    std::vector<std::string> entries;
    for (DWORD i = 0; i < dacl->AceCount; ++i) {
        void* found = nullptr;
        REQUIRE(GetAce(dacl, i, &found));
        auto* ace = static_cast<ACCESS_ALLOWED_ACE*>(found);
        entries.push_back(std::to_string(ace->Header.AceType) + ' ' + std::to_string(ace->Mask) +
                          ' ' + ipc::to_utf8(sid_text(&ace->SidStart)));
    }
    return entries;
}

std::string allow(DWORD mask, const std::wstring& sid) {
    return "0 " + std::to_string(mask) + ' ' + ipc::to_utf8(sid);
}

// Lets clients connect and sends nothing to them.
class dismissing_server {
public:
    explicit dismissing_server(HANDLE pipe)
        : thread_([pipe](const std::stop_token& stop) {
              while (!stop.stop_requested()) {
                  DisconnectNamedPipe(pipe);
                  ipc::overlapped_call call(pipe);
                  BOOL done = ConnectNamedPipe(pipe, call.get());
                  if (call.wait(done, 50).error != WAIT_TIMEOUT) {
                      char first = 0;
                      done = ReadFile(pipe, &first, 1, nullptr, call.get());
                      call.wait(done, 10'000); // until the client leaves
                  }
              }
          }) {}

private:
    std::jthread thread_;
};

void check_failed(program& process, DWORD exit_code, std::string_view line) {
    REQUIRE(process.wait());
    REQUIRE(process.wait_for_end_of_output());
    CHECK(process.exit_code() == exit_code);
    CHECK_THAT(process.error_output(), ContainsSubstring(std::string(line)));
    CHECK(lines_of(process.error_output()).size() == 1);
}

} // namespace

TEST_CASE("Each word of --allow gives the pipe the entries that its page names") {
    struct word {
        const wchar_t* name;
        const wchar_t* sid;
        const char* account;
    };
    for (const word& allowed :
         {word{L"user", nullptr, nullptr}, word{L"service", L"S-1-5-4", "INTERACTIVE"},
          word{L"administrators", L"S-1-5-32-544", "Administrators"},
          word{L"everyone", L"S-1-1-0", "Everyone"}}) {
        INFO(ipc::to_utf8(allowed.name));
        const server s({L"--allow", allowed.name});
        std::vector<std::string> expected = {allow(FILE_ALL_ACCESS, user_sid())};
        if (allowed.sid != nullptr) {
            expected.push_back(allow(client_rights, allowed.sid));
            CHECK(s.process->wait_for_output(std::string("A: - allows ") + allowed.account +
                                             ": read data, write data, read attributes, "
                                             "write attributes, read the descriptor, wait\n"));
        }
        CHECK(stored_entries(s.connect().get()) == expected);
        CHECK(s.process->wait_for_output("A: - allows this user: everything\n"));
        CHECK(s.process->wait_for_output("A: - label medium, a lower level cannot: write\n"));
        s.stop();
    }
}

TEST_CASE("No word of --allow lets another user create an instance or change the pipe") {
    CHECK((client_rights & FILE_CREATE_PIPE_INSTANCE) == 0);
    CHECK((client_rights & (WRITE_DAC | WRITE_OWNER | DELETE)) == 0);
    CHECK((FILE_GENERIC_WRITE & FILE_CREATE_PIPE_INSTANCE) != 0); // why it is not GENERIC_WRITE
    DWORD needed = client_access;
    GENERIC_MAPPING mapping{FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE,
                            FILE_ALL_ACCESS};
    MapGenericMask(&needed, &mapping);
    CHECK((needed & ~client_rights) == 0); // and B asks for no more than this
}

TEST_CASE("No word of --allow denies anything to a user who is logged on over the network") {
    for (const bool remote : {false, true}) { // a shell over SSH is such a log-on
        const server s(remote ? std::vector<std::wstring>{L"--remote", L"--allow", L"everyone"}
                              : std::vector<std::wstring>{L"--allow", L"everyone"});
        CHECK(stored_entries(s.connect().get()) ==
              std::vector<std::string>{allow(FILE_ALL_ACCESS, user_sid()),
                                       allow(client_rights, L"S-1-1-0")});
        s.stop();
    }
}

TEST_CASE("An entry that denies comes first if the SDDL has it first, and is shown as what it is") {
    const server s({L"--allow", L"D:P(D;;FA;;;NU)(A;;FA;;;WD)"});
    s.stop();
    CHECK_THAT(s.process->output(), ContainsSubstring("A: - denies NETWORK: everything\n"
                                                      "A: - allows Everyone: everything\n"));
}

TEST_CASE("SDDL is used as it is, with this user as the owner if it names none") {
    const std::string generic_read_write =
        "read data, write data, create an instance, read attributes, "
        "write attributes, read the descriptor, wait";
    const server s({L"--allow", L"D:P(A;;GRGW;;;AU)(A;;FR;;;AN)(A;;0x100002;;;S-1-5-21-1-2-3-4)"
                                L"(A;;FA;;;<user>)S:(ML;;NWNR;;;LW)"});
    s.stop();
    const std::string output = s.process->output();
    CHECK_THAT(output,
               StartsWith("A: asked for: O:<user>D:P(A;;GRGW;;;AU)(A;;FR;;;AN)"
                          "(A;;0x100002;;;S-1-5-21-1-2-3-4)(A;;FA;;;<user>)S:(ML;;NWNR;;;LW)\n"
                          "A: the pipe has:\n"));
    const auto lines = lines_of(output.substr(output.find("A: - ")));
    CHECK(lines ==
          std::vector<std::string>{
              "A: - owner: this user", "A: - allows Authenticated Users: " + generic_read_write,
              "A: - allows ANONYMOUS LOGON: read data, read attributes, read the descriptor, wait",
              "A: - allows S-1-5-21-1-2-3-4: write data, wait", "A: - allows this user: everything",
              "A: - label low, a lower level cannot: write read", "A: stopped"});
}

TEST_CASE("An empty DACL is shown as what it is") {
    const server s({L"--allow", L"D:P", L"--remote"});
    s.stop();
    CHECK_THAT(s.process->output(),
               ContainsSubstring("A: - empty DACL: only the owner can change it\n"));
}

TEST_CASE("Rights have names, and other entries are not taken for one of the three") {
    CHECK(list_text(nullptr).empty());
    CHECK(rights_text(0) == "nothing");
    CHECK(rights_text(GENERIC_ALL) == "everything");
    CHECK(rights_text(GENERIC_WRITE) == rights_text(FILE_GENERIC_WRITE));
    CHECK_THAT(rights_text(GENERIC_WRITE), ContainsSubstring("create an instance"));
    CHECK(rights_text(0x60 | WRITE_DAC) == "rights without a meaning for pipes, change the DACL");
    ACE_HEADER other{SYSTEM_AUDIT_ACE_TYPE, 0, sizeof(ACE_HEADER)};
    CHECK(entry_text(&other) == "an entry of type 2");
}

TEST_CASE("An account is shown by its well-known name, and by its SID if it has none") {
    CHECK(account_name(user_sid()) == "this user");
    CHECK(account_name(L"S-1-1-0") == "Everyone");
    CHECK(account_name(L"S-1-5-21-1-2-3-4") == "S-1-5-21-1-2-3-4");
}

TEST_CASE("<user> is this user's SID, wherever it is in the SDDL") {
    const server s({L"--allow", L"O:<user>D:P(A;;FR;;;<user>)(A;;FW;;;<user>)"});
    CHECK(stored_entries(s.connect(GENERIC_READ).get()) ==
          std::vector<std::string>{allow(FILE_GENERIC_READ, user_sid()),
                                   allow(FILE_GENERIC_WRITE, user_sid())});
    s.stop();
    CHECK_THAT(s.process->output(), ContainsSubstring("A: - owner: this user\n"));
}

TEST_CASE("A descriptor of 400 entries is shown entry by entry") {
    std::wstring sddl = L"D:P";
    for (int i = 0; i < 399; ++i) {
        sddl += L"(A;;FR;;;WD)";
    }
    const server s({L"--allow", sddl + L"(A;;FR;;;AN)"});
    REQUIRE(s.process->wait_for_output("A: - allows ANONYMOUS LOGON: read data, "));
    s.stop();
    CHECK(lines_of(s.process->output()).size() == 404);
}

TEST_CASE("The default descriptor is asked for with --allow none") {
    const server s({L"--allow", L"none", L"--remote"});
    CHECK(s.process->wait_for_output("A: asked for: the default\nA: the pipe has:\n"));
    if (ipc::test::is_wine()) {
        CHECK(s.process->wait_for_output("A: - no DACL: everyone can do everything\n"));
    }
    s.stop();
}

TEST_CASE("The default descriptor lets Everyone and anonymous read, and only read") {
    if (ipc::test::is_wine()) {
        SKIP("Wine stores no descriptor for a pipe that is created without one");
    }
    const server s({L"--allow", L"none", L"--remote"});
    const std::string rights = ": read data, read attributes, read the descriptor, wait\n";
    CHECK(s.process->wait_for_output("A: - allows Everyone" + rights));
    CHECK(s.process->wait_for_output("A: - allows ANONYMOUS LOGON" + rights));
    CHECK(s.process->wait_for_output("A: - allows SYSTEM: everything\n"));
    CHECK(s.process->wait_for_output("A: - allows Administrators: everything\n"));
    s.stop();
}

TEST_CASE("The system enforces the descriptor: a right that it does not give is refused") {
    if (ipc::test::is_wine()) {
        SKIP("Wine stores the descriptor of a pipe and does not enforce it");
    }
    // ANCHOR: refused
    const server limited({L"--allow", L"D:P(A;;0x12019b;;;<user>)"});
    CHECK(limited.tries() == "B: open to read: allowed\n"
                             "B: open to write: allowed\n"
                             "B: create an instance: refused, ERROR_ACCESS_DENIED (5)\n");
    // ANCHOR_END: refused
    struct right {
        const wchar_t* mask;
        const char* read;
        const char* write;
        const char* instance;
    };
    const char* const allowed = "allowed\n";
    const char* const refused = "refused, ERROR_ACCESS_DENIED (5)\n";
    for (const right& given :
         {right{L"FA", allowed, allowed, allowed},
          right{L"GRGW", allowed, allowed, allowed}, // the common mistake
          right{L"FR", allowed, refused, refused}, right{L"0x100082", refused, allowed, refused}}) {
        INFO(ipc::to_utf8(given.mask));
        const server s({L"--allow", L"D:P(A;;" + std::wstring(given.mask) + L";;;<user>)"});
        CHECK(s.tries() == std::string("B: open to read: ") + given.read + "B: open to write: " +
                               given.write + "B: create an instance: " + given.instance);
    }
}

TEST_CASE("Each --try says that it was allowed where nothing forbids it") {
    const server s;
    for (const auto& [what, line] : {std::pair{L"read", "B: open to read: allowed\n"},
                                     std::pair{L"write", "B: open to write: allowed\n"},
                                     std::pair{L"instance", "B: create an instance: allowed\n"}}) {
        const auto result = run(s.b({L"--try", what}));
        CHECK(result.exit_code == 0);
        CHECK(result.output == line);
    }
    s.stop();
}

TEST_CASE("With --remote and without it A serves local clients, message by message") {
    for (const bool remote : {false, true}) {
        const server s(remote ? std::vector<std::wstring>{L"--remote"}
                              : std::vector<std::wstring>{});
        const ipc::unique_handle client = s.connect();
        DWORD flags = 0;
        REQUIRE(GetNamedPipeInfo(client.get(), &flags, nullptr, nullptr, nullptr));
        CHECK((flags & PIPE_TYPE_MESSAGE) != 0);
        s.stop();
    }
}

TEST_CASE("A does not serve if another program has created the pipe before") {
    const pair_name taken;
    const ipc::unique_handle squatter = taken.create(L"D:P(A;;FA;;;WD)"); // one instance
    REQUIRE(squatter);
    program a(taken.a());
    check_failed(a, 1, " is taken by another server");
    CHECK(a.output().empty());
}

TEST_CASE("A does not add an instance to the pipe of a squatter") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const pair_name taken;
    program squatter(taken.b({L"--try", L"squat"}));
    REQUIRE(squatter.wait_for_output("B: squat: allowed\n"));
    program a(taken.a());
    check_failed(a, 1, " is taken by another server");
    CHECK(a.output().empty());
}

TEST_CASE("A squatter comes too late when A serves") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const server s;
    const auto late = run(s.b({L"--try", L"squat"}));
    CHECK(late.exit_code == 0);
    CHECK(late.output == "B: squat: refused, ERROR_ACCESS_DENIED (5)\n");
    s.stop();
}

TEST_CASE(
    "A squatter gets the request of a client that checks nothing, and none of one that does") {
    const pair_name taken;
    program squatter(taken.b({L"--try", L"squat"}));
    REQUIRE(squatter.wait_for_output("B: squat: allowed\n"));
    const auto b = run(taken.b({L"--server", L"S-1-5-19"}));
    CHECK(b.exit_code == 1);
    CHECK_THAT(b.error_output, StartsWith("B: sent nothing: expected LOCAL SERVICE for both"));
    ipc::unique_handle client = taken.connect();
    REQUIRE(write(client, "secret") == ERROR_SUCCESS);
    REQUIRE(squatter.wait_for_output("B: a client sent 6 bytes to the squatter\n"));
    // B's tries to open and its check: three clients without a byte.
    const std::string nothing = "B: a client sent 0 bytes to the squatter\n";
    CHECK(squatter.output() == "B: squat: allowed\n" + nothing + nothing + nothing +
                                   "B: a client sent 6 bytes to the squatter\n");
}

TEST_CASE("A client sends nothing to a server that is not the expected account") {
    const server s;
    const auto result = run(s.b({L"--server", L"S-1-5-19"}));
    CHECK(result.exit_code == 1);
    CHECK_THAT(result.output, ContainsSubstring("B: the server's process runs as this user\n"
                                                "B: the pipe's owner is this user\n"));
    CHECK(result.error_output == "B: sent nothing: expected LOCAL SERVICE for both\n");
    CHECK(s.process->wait_for_output(no_answer + "ERROR_BROKEN_PIPE (109)\n"));
    s.stop();
    CHECK_THAT(s.process->output(), !ContainsSubstring("answered"));
}

TEST_CASE("A client sends nothing to a pipe that belongs to another account") {
    // Wine gives a pipe to any account. Windows gives it to a group of the token that may own: for an
    // elevated program that is Administrators.
    bool tried = false;
    for (const auto& [letters, sid, account] :
         {std::tuple{L"SY", L"S-1-5-18", "SYSTEM"},
          std::tuple{L"BA", L"S-1-5-32-544", "Administrators"}}) {
        const pair_name foreign;
        const std::wstring sddl = L"O:" + std::wstring(letters) + L"D:P(A;;FA;;;WD)";
        const ipc::unique_handle pipe =
            user_sid() == sid ? ipc::unique_handle() : foreign.create(sddl.c_str(), 2);
        if (!pipe) {
            continue;
        }
        tried = true;
        const dismissing_server dismiss(pipe.get());
        program b(foreign.b());
        check_failed(b, 1, "B: sent nothing: expected this user for both");
        CHECK(b.wait_for_output("B: the server's process runs as this user\n"));
        CHECK(b.wait_for_output(std::string("B: the pipe's owner is ") + account + '\n'));
        // The owner alone does not convince a client that expects this account.
        program c(foreign.b({L"--server", sid}));
        check_failed(c, 1, std::string("B: sent nothing: expected ") + account + " for both");
        CHECK(c.wait_for_output("B: the server's process runs as this user\n"));
    }
    if (!tried) {
        SKIP("only an elevated program can give its pipe to another account (ERROR_INVALID_OWNER)");
    }
}

TEST_CASE("A client sends nothing to a pipe without a known owner") {
    if (!ipc::test::is_wine()) {
        SKIP("only Wine makes pipes without an owner");
    }
    const server s({L"--allow", L"none"});
    program b(s.b());
    check_failed(b, 1, "B: sent nothing: ");
    CHECK_THAT(b.output(), ContainsSubstring("B: the pipe's owner is nobody\n"));
    s.stop();
}

TEST_CASE("A client sends nothing to a server whose process it may not open") {
    const server s;
    // As the process of another user has it: nobody may open A's process.
    ACL nobody{};
    REQUIRE(InitializeAcl(&nobody, sizeof nobody, ACL_REVISION));
    REQUIRE(SetSecurityInfo(s.process->process(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                            nullptr, nullptr, &nobody, nullptr) == ERROR_SUCCESS);
    const ipc::unique_handle opened(
        OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, s.process->id()));
    if (opened) {
        SKIP("this user has enabled SeDebugPrivilege, which opens every process");
    }
    program b(s.b());
    check_failed(b, 1,
                 "B: sent nothing: cannot tell who the server is: OpenProcess failed: "
                 "ERROR_ACCESS_DENIED (5)");
    CHECK(s.process->wait_for_output(no_answer + "ERROR_BROKEN_PIPE (109)\n"));
    s.stop();
    CHECK_THAT(s.process->output(), !ContainsSubstring("answered"));
}

TEST_CASE(
    "A returns each message as it is, from an empty one to the longest, and refuses a longer one") {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}}) {
        const server s;
        const ipc::unique_handle client = s.connect();
        REQUIRE(client);
        DWORD mode = PIPE_READMODE_MESSAGE;
        REQUIRE(SetNamedPipeHandleState(client.get(), &mode, nullptr, nullptr));
        const std::string message(size, 'x');
        REQUIRE(write(client, message) == ERROR_SUCCESS);
        s.check_answered(); // A has ended, and its answer is still there
        CHECK(read(client) == message);
    }
    for (const std::size_t size : {std::size_t{4097}, std::size_t{1} << 20}) {
        const server s;
        const ipc::unique_handle client = s.connect();
        write(client, std::string(size, 'x')); // may fail: A disconnects the client meanwhile
        CHECK(s.process->wait_for_output(no_answer + "ERROR_MORE_DATA (234)\n"));
        CHECK(run(s.b()).exit_code == 0);
        s.check_answered();
    }
}

TEST_CASE("A silent client is dropped after the limit, and the next one is served") {
    const server s({L"--limit", L"1"});
    const ipc::unique_handle silent = s.connect();
    REQUIRE(silent);
    CHECK(s.process->wait_for_output(no_answer + "WAIT_TIMEOUT (258)\n"));
    CHECK(run(s.b()).exit_code == 0);
    s.check_answered();
}

TEST_CASE("A client that dies is no problem for the next one") {
    const server s;
    s.connect().reset();
    s.connect(GENERIC_READ).reset();
    s.connect(FILE_WRITE_DATA).reset();
    CHECK(run(s.b()).exit_code == 0);
    s.check_answered();
}

TEST_CASE(
    "While A serves one client, another one waits within its limit, and the first is answered") {
    const server s;
    const ipc::unique_handle first = s.connect();
    REQUIRE(first);
    program second(s.b({L"--limit", L"1"}));
    check_failed(second, 1, " is busy with other clients");
    REQUIRE(write(first, "hello") == ERROR_SUCCESS);
    s.check_answered();
    CHECK(read(first) == "hello");
}

TEST_CASE("Without a server, B says so within its limit") {
    const pair_name nobody;
    program b(nobody.b({L"--limit", L"1"}));
    check_failed(b, 1, "B: no server at ");
}

TEST_CASE("Without a server, B creates no instance, and no pipe of its own") {
    const pair_name nobody;
    program b(nobody.b({L"--try", L"instance"}));
    check_failed(b, 1, "B: no server at ");
    CHECK(b.output().empty());
}

TEST_CASE("B tries to create an instance although A is busy with another client") {
    const server s;
    const ipc::unique_handle first = s.connect();
    REQUIRE(first);
    CHECK(run(s.b({L"--try", L"instance"})).output == "B: create an instance: allowed\n");
    s.stop();
}

TEST_CASE("Wherever one of the two is killed, the other ends or goes on") {
    std::mt19937 random(13);
    for (int round = 0; round < 20; ++round) {
        const bool kill_a = round % 2 == 0;
        INFO("round " << round);
        const server s;
        program b(s.b({L"--limit", L"1"}));
        b.wait(random() % 60);
        if (kill_a) {
            s.process->kill();
            REQUIRE(b.wait());
            REQUIRE(b.wait_for_end_of_output());
            CHECK(b.exit_code() <= 1);
            CHECK(lines_of(b.error_output()).size() == b.exit_code());
        } else {
            const bool started = b.wait_for_output("B: "); // or Wine can leave a process behind
            CHECK(started);
            b.kill();
            if (!s.process->wait(0)) {
                run(s.b({L"--limit", L"1"})); // fails if A has answered the killed one just now
            }
            s.check_answered();
        }
    }
}

TEST_CASE("Wrong arguments are refused in one line, before anything is created") {
    const std::wstring who = L"--allow";
    const std::vector<std::vector<std::wstring>> wrong = {
        {process_a, who, L"foo"},
        {process_a, who, L"User"},
        {process_a, who, L"D:P(A;;GA;;;nobody)"},
        {process_a, who, L"D:P(A;;FA;;;WD"},
        {process_a, who, L"D:P(A;;QQ;;;WD)"},
        {process_a, who, L"O:SY"},
        {process_a, who, L""},
        {process_a, who, std::wstring(20'000, L'x')},
        {process_a, who},
        {process_a, L"--remote", L"yes"},
        {process_a, L"--limit", L"x"},
        {process_b, L"--try", L"everything"},
        {process_b, L"--try"},
        {process_b, L"--server"},
        {process_b, L"more"},
    };
    for (const auto& arguments : wrong) {
        const auto result = run(arguments);
        INFO(ipc::to_utf8(arguments[1]) << ' ' << ipc::to_utf8(arguments.back().substr(0, 40)));
        CHECK(result.exit_code == 2);
        CHECK(result.output.empty());
        CHECK(lines_of(result.error_output).size() == 1);
        CHECK(result.error_output.size() < 400);
    }
}

TEST_CASE("A wrong --allow is shown as it was typed") {
    const auto result = run({process_a, L"--allow", L"D:P(A;;QQ;;;<user>)"});
    CHECK_THAT(result.error_output,
               StartsWith("A: --allow cannot take the value D:P(A;;QQ;;;<user>): neither"));
}

TEST_CASE("Both programs show their options with --help") {
    for (const std::wstring& process : {process_a, process_b}) {
        const auto result = run({process, L"--help"});
        CHECK(result.exit_code == 0);
        CHECK_THAT(result.output, StartsWith("usage: process"));
    }
}
