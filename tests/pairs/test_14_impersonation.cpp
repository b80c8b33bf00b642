#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "demos/14_impersonation/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/harness/thread_tokens.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <aclapi.h>
#include <winioctl.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::everyone_denied;
using ipc::test::impersonating_threads;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

bool this_thread_impersonates() {
    ipc::unique_handle token;
    return OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, token.put()) ||
           GetLastError() != ERROR_NO_TOKEN;
}

// The pair's header is tested with calls that can fail when the test wants it, and that are counted.
struct watched_calls {
    bool impersonation_fails = false;
    bool revert_fails = false;
    bool is_anonymous = false;
    std::optional<SECURITY_IMPERSONATION_LEVEL> level; // instead of the token's
    int impersonations = 0;
    int reverts = 0;
    int opens = 0;
    int opens_as_client = 0;
};

watched_calls& calls() {
    static watched_calls made;
    return made;
}

BOOL impersonate(HANDLE pipe) {
    ++calls().impersonations;
    if (calls().impersonation_fails) {
        SetLastError(ERROR_CANNOT_IMPERSONATE);
        return FALSE;
    }
    return ImpersonateNamedPipeClient(pipe);
}

BOOL revert() {
    ++calls().reverts;
    return !calls().revert_fails && RevertToSelf() ? TRUE : FALSE;
}

BOOL open_token(HANDLE thread, DWORD access, BOOL as_self, HANDLE* token) {
    if (calls().is_anonymous) {
        SetLastError(ERROR_CANT_OPEN_ANONYMOUS);
        return FALSE;
    }
    return OpenThreadToken(thread, access, as_self, token);
}

BOOL get_information(HANDLE token, TOKEN_INFORMATION_CLASS what, void* buffer, DWORD size,
                     DWORD* bytes) {
    const BOOL done = GetTokenInformation(token, what, buffer, size, bytes);
    if (done && calls().level) {
        std::memcpy(buffer, &*calls().level, sizeof *calls().level);
    }
    return done;
}

HANDLE open_file(const wchar_t* path, DWORD access, DWORD share, SECURITY_ATTRIBUTES* security,
                 DWORD disposition, DWORD flags, HANDLE model) {
    ++calls().opens;
    calls().opens_as_client += this_thread_impersonates() ? 1 : 0;
    return CreateFileW(path, access, share, security, disposition, flags, model);
}

} // namespace

// NOLINTBEGIN(readability-identifier-naming): names of Windows
#define ImpersonateNamedPipeClient impersonate
#define RevertToSelf revert
#define OpenThreadToken open_token
#define GetTokenInformation get_information
#define CreateFileW open_file
// NOLINTEND(readability-identifier-naming)
#include "demos/14_impersonation/impersonation.hpp"
#undef ImpersonateNamedPipeClient
#undef RevertToSelf
#undef OpenThreadToken
#undef GetTokenInformation
#undef CreateFileW

namespace {

const std::wstring process_a = program_path(L"14_impersonation", L"processA.exe");
const std::wstring process_b = program_path(L"14_impersonation", L"processB.exe");

constexpr DWORD anonymous = SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS;
constexpr DWORD identification = SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
constexpr DWORD own_identity = SECURITY_SQOS_PRESENT | SECURITY_IMPERSONATION;

// A client whose calls are steps of the test. Each call has a limit, and none throws.
class raw_client {
public:
    raw_client(const std::wstring& name, DWORD sqos) {
        const ULONGLONG end = GetTickCount64() + ipc::test::default_limit_ms;
        while (!try_connect(name, sqos) && error_ == ERROR_PIPE_BUSY && GetTickCount64() < end) {
            WaitNamedPipeW(name.c_str(), 1000);
        }
        DWORD mode = PIPE_READMODE_MESSAGE;
        SetNamedPipeHandleState(pipe_.get(), &mode, nullptr, nullptr);
    }

    explicit operator bool() const { return static_cast<bool>(pipe_); }
    DWORD error() const { return error_; } // of the last call
    HANDLE handle() const { return pipe_.get(); }
    void close() { pipe_.reset(); }

    bool send(std::string_view bytes) {
        ipc::overlapped_call call(pipe_.get());
        const BOOL done = WriteFile(pipe_.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, call.get());
        error_ = call.wait(done, ipc::test::default_limit_ms).error;
        return error_ == ERROR_SUCCESS;
    }

    std::optional<std::string> receive(DWORD limit_ms = ipc::test::default_limit_ms) {
        std::string message(1 << 20, '\0');
        ipc::overlapped_call call(pipe_.get());
        const BOOL done = ReadFile(pipe_.get(), message.data(), static_cast<DWORD>(message.size()),
                                   nullptr, call.get());
        const auto [error, bytes] = call.wait(done, limit_ms);
        error_ = error;
        message.resize(bytes);
        return error == ERROR_SUCCESS ? std::optional(message) : std::nullopt;
    }

    bool is_dropped() {
        return !receive() && (error_ == ERROR_BROKEN_PIPE || error_ == ERROR_PIPE_NOT_CONNECTED);
    }

    struct reply {
        DWORD error = ERROR_SUCCESS;
        std::string content;
        bool operator==(const reply&) const = default;
    };

    // Returns the reply to the bytes of a request. Without a reply its error is WAIT_TIMEOUT.
    reply ask(std::string_view bytes) {
        const std::optional<std::string> message = send(bytes) ? receive() : std::nullopt;
        reply result{WAIT_TIMEOUT, ""};
        if (message && message->size() >= sizeof(protocol::reply_header)) {
            std::memcpy(&result.error, message->data(), sizeof result.error);
            result.content = message->substr(sizeof(protocol::reply_header));
        }
        return result;
    }

    reply ask(const std::wstring& path) { return ask(bytes_of(path)); }

    bool send_path(const std::wstring& path) { return send(bytes_of(path)); }

    static std::string bytes_of(const std::wstring& path) {
        std::string bytes(path.size() * sizeof(wchar_t), '\0');
        std::memcpy(bytes.data(), path.data(), bytes.size());
        return bytes;
    }

private:
    bool try_connect(const std::wstring& name, DWORD sqos) {
        pipe_.reset(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                OPEN_EXISTING, FILE_FLAG_OVERLAPPED | sqos, nullptr));
        error_ = pipe_ ? ERROR_SUCCESS : GetLastError();
        return error_ == ERROR_SUCCESS;
    }

    ipc::unique_handle pipe_;
    DWORD error_ = ERROR_SUCCESS;
};

using reply = raw_client::reply;

// A process A with a name of its own, ready for clients.
struct server {
    explicit server(const std::vector<std::wstring>& options = {},
                    std::wstring name_suffix = ipc::test::unique_suffix())
        : suffix(std::move(name_suffix)), a(command(options, suffix)) {
        REQUIRE(a.wait_for_output("A: waiting for clients\n"));
        REQUIRE(a.error_output().empty());
    }

    static std::vector<std::wstring> command(const std::vector<std::wstring>& options,
                                             const std::wstring& suffix) {
        // A limit that a busy machine does not exceed; the last --limit of a command line counts.
        std::vector<std::wstring> all = {process_a, L"--name", suffix, L"--limit", L"60"};
        all.insert(all.end(), options.begin(), options.end());
        return all;
    }

    std::vector<std::wstring> b(const std::vector<std::wstring>& arguments) const {
        std::vector<std::wstring> all = {process_b, L"--name", suffix};
        all.insert(all.end(), arguments.begin(), arguments.end());
        return all;
    }

    std::wstring pipe() const { return ipc::object_name(protocol::pipe_name, suffix); }
    raw_client client(DWORD sqos = own_identity) const { return {pipe(), sqos}; }

    void stop() {
        a.press_ctrl_c();
        REQUIRE(a.wait());
        a.wait_for_end_of_output();
        CHECK(a.exit_code() == 0);
        CHECK(a.error_output().empty());
    }

    std::wstring suffix;
    program a;
};

// A file of the test, with this content.
class test_file {
public:
    explicit test_file(std::string_view content, const std::wstring& name = L"file.txt")
        : path(folder_.file(name)) {
        std::ofstream file(std::filesystem::path(path), std::ios::binary);
        file << content;
        REQUIRE(file.flush());
    }

private:
    ipc::test::temporary_folder folder_;

public:
    const std::wstring path;
};

void check_served(const server& s) {
    const test_file file("content");
    CHECK(s.client().ask(file.path) == reply{ERROR_SUCCESS, "content"});
}

// Both ends of a pipe in this process.
struct connected_pipe {
    explicit connected_pipe(DWORD sqos) {
        const std::wstring name =
            ipc::object_name(LR"(\\.\pipe\ipc_demos.14.test)", ipc::test::unique_suffix());
        server_end.reset(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 1,
                                          100, 100, 0, nullptr));
        client_end.reset(CreateFileW(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                     OPEN_EXISTING, sqos, nullptr));
        REQUIRE(client_end);
    }

    void send_and_read() const {
        DWORD bytes = 0;
        char byte = 'x';
        REQUIRE(WriteFile(client_end.get(), &byte, 1, &bytes, nullptr));
        REQUIRE(ReadFile(server_end.get(), &byte, 1, &bytes, nullptr));
    }

    ipc::unique_handle server_end;
    ipc::unique_handle client_end;
};

// A drive letter of this log-on that leads to the named pipes of this computer.
class pipe_drive {
public:
    pipe_drive() {
        for (wchar_t letter = L'Z'; letter >= L'D' && name_.empty(); --letter) {
            const std::wstring name = std::wstring(1, letter) + L':';
            wchar_t old[MAX_PATH] = {};
            if (QueryDosDeviceW(name.c_str(), old, MAX_PATH) == 0 &&
                DefineDosDeviceW(DDD_RAW_TARGET_PATH | DDD_NO_BROADCAST_SYSTEM, name.c_str(),
                                 target)) {
                name_ = name;
            }
        }
    }
    ~pipe_drive() {
        if (*this) {
            DefineDosDeviceW(DDD_REMOVE_DEFINITION | DDD_RAW_TARGET_PATH |
                                 DDD_EXACT_MATCH_ON_REMOVE | DDD_NO_BROADCAST_SYSTEM,
                             name_.c_str(), target);
        }
    }
    pipe_drive(const pipe_drive&) = delete;
    pipe_drive& operator=(const pipe_drive&) = delete;

    explicit operator bool() const { return !name_.empty(); }
    std::wstring root() const { return name_ + L'\\'; }

private:
    static constexpr auto target = LR"(\Device\NamedPipe)";
    std::wstring name_;
};

bool can_read(const std::wstring& path) {
    return static_cast<bool>(ipc::unique_handle(CreateFileW(
        path.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
        OPEN_EXISTING, 0, nullptr)));
}

const std::vector<std::wstring> short_limit = {L"--limit", L"1"};

} // namespace

// The guard

TEST_CASE("The guard reverts on every way out of its scope") {
    const connected_pipe pipe(own_identity);
    pipe.send_and_read();
    const auto leave = [&](int way) {
        const impersonation client(pipe.server_end.get());
        CHECK(this_thread_impersonates());
        CHECK(impersonating_threads(GetCurrentProcessId()) == 1); // so that function can tell
        if (way == 0) {
            return;
        }
        if (way == 1) {
            throw std::runtime_error("a failure");
        }
    };
    for (int way = 0; way < 3; ++way) {
        if (way == 1) {
            CHECK_THROWS_AS(leave(way), std::runtime_error);
        } else {
            leave(way);
        }
        CHECK_FALSE(this_thread_impersonates());
        CHECK(impersonating_threads(GetCurrentProcessId()) == 0);
    }
}

TEST_CASE("The guard throws if the impersonation fails, and then there is nothing to revert") {
    const connected_pipe pipe(own_identity);
    calls().impersonation_fails = true;
    calls().reverts = 0;
    bool went_on = false;
    DWORD code = ERROR_SUCCESS;
    try {
        const impersonation client(pipe.server_end.get());
        went_on = true;
    } catch (const ipc::win32_error& error) {
        code = error.code();
    }
    calls().impersonation_fails = false;
    CHECK_FALSE(went_on);
    CHECK(code == ERROR_CANNOT_IMPERSONATE);
    CHECK(calls().reverts == 0);
}

TEST_CASE("The file is opened only while the thread acts as its client, and only if it may") {
    const connected_pipe pipe(own_identity);
    pipe.send_and_read();
    const test_file file("content");
    struct expectation {
        const char* level;
        DWORD error;
        int opens;
        int impersonations;
    };
    const auto check_open = [&](const std::wstring& path, const watched_calls& outcome,
                                const expectation& expected) {
        calls() = outcome;
        const client_file opened = open_as_client(pipe.server_end.get(), path);
        const watched_calls made = std::exchange(calls(), {});
        CHECK(opened.level == std::string(expected.level));
        CHECK(opened.error == expected.error);
        CHECK(made.opens == expected.opens);
        CHECK(made.opens_as_client == made.opens);
        CHECK(made.impersonations == expected.impersonations);
        CHECK(made.reverts == (outcome.impersonation_fails ? 0 : made.impersonations));
        CHECK_FALSE(this_thread_impersonates());
    };
    const watched_calls real;
    check_open(file.path, real, {"level impersonation", ERROR_SUCCESS, 1, 1});
    check_open(file.path + L"x", real, {"level impersonation", ERROR_FILE_NOT_FOUND, 1, 1});
    check_open(L"relative", real, {"not impersonated", ERROR_BAD_PATHNAME, 0, 0});
    watched_calls failing;
    failing.impersonation_fails = true;
    check_open(file.path, failing, {"not impersonated", ERROR_CANNOT_IMPERSONATE, 0, 1});
    watched_calls without_token;
    without_token.is_anonymous = true;
    check_open(file.path, without_token, {"no token", ERROR_CANT_OPEN_ANONYMOUS, 0, 1});
    watched_calls low;
    low.level = SecurityIdentification;
    check_open(file.path, low, {"level identification", ERROR_BAD_IMPERSONATION_LEVEL, 0, 1});
    low.level = SecurityAnonymous;
    check_open(file.path, low, {"level anonymous", ERROR_BAD_IMPERSONATION_LEVEL, 0, 1});
    low.level = SecurityDelegation;
    check_open(file.path, low, {"level delegation", ERROR_SUCCESS, 1, 1});
}

// Not a test: the next case runs it in a process of its own.
TEST_CASE("The process whose revert fails", "[.revert_fails]") {
    const connected_pipe pipe(own_identity);
    pipe.send_and_read();
    calls().revert_fails = true;
    ipc::print_line("before");
    { const impersonation client(pipe.server_end.get()); }
    ipc::print_line("after");
}

TEST_CASE("If the thread cannot revert, the guard ends the process at once") {
    const ipc::test::result ended =
        run({program_path(L"tests", L"test_14_impersonation.exe"), L"[.revert_fails]"});
    CHECK(ended.exit_code == 1);
    CHECK_THAT(ended.output, ContainsSubstring("before\n") && !ContainsSubstring("after"));
    CHECK_THAT(ended.output, !ContainsSubstring("assertion")); // Catch2 had no time for its summary
}

// What Windows says

TEST_CASE("Before the first read a client without SQOS flags cannot be impersonated") {
    const connected_pipe pipe(0);
    if (ipc::test::is_wine()) {
        SKIP("Wine lets a server impersonate before it has read");
    }
    const BOOL early = ImpersonateNamedPipeClient(pipe.server_end.get());
    const DWORD error = GetLastError();
    RevertToSelf(); // a surprise must not reach the later cases
    CHECK_FALSE(early);
    CHECK(error == ERROR_CANNOT_IMPERSONATE);
    pipe.send_and_read();
    CHECK(ImpersonateNamedPipeClient(pipe.server_end.get()));
    CHECK(RevertToSelf());
}

TEST_CASE("At each level the server gets what the client allows, and no more") {
    if (ipc::test::is_wine()) {
        SKIP("Wine gives every server the level impersonation, and the server's own token");
    }
    const server s;
    const test_file file("content");
    CHECK(s.client(anonymous).ask(file.path) == reply{ERROR_CANT_OPEN_ANONYMOUS, ""});
    CHECK(s.client(identification).ask(file.path) == reply{ERROR_BAD_IMPERSONATION_LEVEL, ""});
    CHECK(s.client(own_identity).ask(file.path) == reply{ERROR_SUCCESS, "content"});
    CHECK(s.client(0).ask(file.path) == reply{ERROR_SUCCESS, "content"});
    CHECK(s.client(SECURITY_SQOS_PRESENT | SECURITY_DELEGATION).ask(file.path) ==
          reply{ERROR_SUCCESS, "content"});
    CHECK(s.client(identification | SECURITY_CONTEXT_TRACKING).ask(file.path) ==
          reply{ERROR_BAD_IMPERSONATION_LEVEL, ""});
}

TEST_CASE("B asks for the level that --sqos names") {
    const test_file file("content");
    const std::vector<std::pair<std::wstring, std::string>> levels = {
        {L"anonymous", "refused, ERROR_CANT_OPEN_ANONYMOUS (1347)\n"},
        {L"identification", "refused, ERROR_BAD_IMPERSONATION_LEVEL (1346)\n"},
        {L"impersonation", "7 bytes\nB: | content\n"},
        {L"delegation", "7 bytes\nB: | content\n"},
        {L"none", "7 bytes\nB: | content\n"}};
    const server s;
    for (const auto& [level, outcome] : levels) {
        const ipc::test::result b = run(s.b({L"--sqos", level, file.path}));
        CHECK(b.exit_code == 0);
        CHECK(b.output ==
              "B: file.txt: " + (ipc::test::is_wine() ? levels.back().second : outcome));
    }
}

TEST_CASE("A file that the server may read and its client may not stays closed") {
    const server s;
    // Without SECURITY_CONTEXT_TRACKING a client's identity is fixed at its connect; without any flag, each message
    // brings the identity of its moment.
    for (const DWORD sqos : {own_identity, DWORD{0}}) {
        INFO(sqos);
        const test_file file("secret");
        std::optional<raw_client> weaker;
        const auto ask = [&] {
            std::optional<everyone_denied> rights;
            if (sqos == 0) {
                rights.emplace();
            }
            return weaker->ask(file.path);
        };
        {
            const everyone_denied rights;
            weaker.emplace(s.client(sqos));
        }
        CHECK(ask() == reply{ERROR_SUCCESS, "secret"}); // as long as the file is its user's
        if (ipc::test::is_wine()) {
            continue;
        }
        const ipc::test::file_for_everyone entry(file.path);
        {
            const everyone_denied rights;
            CHECK_FALSE(can_read(file.path));
        }
        CHECK(can_read(file.path));
        CHECK(ask() == reply{ERROR_ACCESS_DENIED, ""});
        weaker.reset();
        CHECK(s.client(sqos).ask(file.path) == reply{ERROR_SUCCESS, "secret"});
    }
    if (ipc::test::is_wine()) {
        SKIP("Wine checks no file's DACL, and gives the server its own token");
    }
}

// The server

TEST_CASE("After every request, served or refused, no thread of the server acts as its client") {
    server s;
    const test_file file("content");
    const test_file long_file(std::string(protocol::max_content_bytes + 1, 'x'));
    const std::wstring folder = std::filesystem::path(file.path).parent_path().wstring();
    raw_client client = s.client();
    const std::vector<std::pair<std::wstring, DWORD>> requests = {
        {file.path, ERROR_SUCCESS},
        {file.path + L".missing", ERROR_FILE_NOT_FOUND},
        {folder + L"\\missing\\file", ERROR_PATH_NOT_FOUND},
        {folder, ERROR_ACCESS_DENIED},
        {long_file.path, ERROR_FILE_TOO_LARGE},
        {L"relative", ERROR_BAD_PATHNAME}};
    for (const auto& [path, error] : requests) {
        CHECK(client.ask(path) == reply{error, error == ERROR_SUCCESS ? "content" : ""});
        CHECK(impersonating_threads(s.a.id()) == 0);
    }
    client.close();
    CHECK(s.a.wait_for_output("A: a client left; requests answered: 6\n"));
    CHECK(impersonating_threads(s.a.id()) == 0);
    s.stop();
    CHECK_THAT(s.a.output(), ContainsSubstring("request 1: level impersonation; 7 bytes\n"));
    CHECK_THAT(s.a.output(), ContainsSubstring("request 6: not impersonated; refused"));
}

TEST_CASE("A path that does not begin with a drive is refused") {
    const server s;
    const test_file file("content");
    raw_client client = s.client();
    using namespace std::string_literals;
    for (const std::wstring& path : {
             L""s,
             L"C"s,
             L"C:"s,
             L"C:\\"s,
             L"C:file.txt"s,
             L"file.txt"s,
             L"\\file.txt"s,
             LR"(\:\file.txt)"s,
             L"/:\\file.txt"s,
             L"1:\\file.txt"s,
             L"[:\\file.txt"s,
             LR"(\\.\NUL)"s,
             LR"(\\?\)" + file.path,
             LR"(\\server\share\file.txt)"s,
             LR"(\??\)" + file.path,
             file.path + L'\0',
             file.path + L'\0' + L".txt",
         }) {
        INFO(ipc::to_utf8(path));
        CHECK(client.ask(path) == reply{ERROR_BAD_PATHNAME, ""});
    }
    CHECK(client.ask(raw_client::bytes_of(file.path) + "x") == reply{ERROR_BAD_PATHNAME, ""});
    CHECK(client.ask(file.path) == reply{ERROR_SUCCESS, "content"});
}

TEST_CASE("The server does not connect to a pipe that its client names") {
    const server s;
    const std::wstring name =
        ipc::object_name(LR"(\\.\pipe\ipc_demos.14.test)", ipc::test::unique_suffix());
    const ipc::unique_handle trap(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, 0, 1, 100, 100, 0, nullptr));
    REQUIRE(trap);
    ipc::overlapped_call call(trap.get());
    const BOOL done = ConnectNamedPipe(trap.get(), call.get());
    const DWORD error = GetLastError();
    CHECK(s.client().ask(name) == reply{ERROR_BAD_PATHNAME, ""});
    check_served(s); // by now, a connection would be there
    SetLastError(error);
    CHECK(call.wait(done, 0).error == WAIT_TIMEOUT);
}

TEST_CASE("A device that has the name of a file gives nothing") {
    const server s;
    const test_file file("content");
    const auto nul = std::filesystem::path(file.path).replace_filename(L"NUL");
    const reply got = s.client().ask(nul.wstring());
    // Some versions of Windows may take NUL in a folder for a file that does not exist.
    CHECK((got.error == ERROR_NOT_SUPPORTED || got.error == ERROR_FILE_NOT_FOUND));
    CHECK((got.error == ERROR_NOT_SUPPORTED || !ipc::test::is_wine()));
    CHECK(got.content.empty());
}

TEST_CASE("A drive letter that leads to a pipe gives nothing, and the pipe's server no identity") {
    if (ipc::test::is_wine()) {
        SKIP("Wine's drive letters lead to folders only");
    }
    const server s;
    const std::wstring name = ipc::object_name(L"ipc_demos.14.test", ipc::test::unique_suffix());
    const ipc::unique_handle trap(CreateNamedPipeW((LR"(\\.\pipe\)" + name).c_str(),
                                                   PIPE_ACCESS_DUPLEX, 0, 1, 100, 100, 0, nullptr));
    REQUIRE(trap);
    const pipe_drive drive;
    if (!drive) {
        SKIP("no drive letter can be defined here that leads to the named pipes");
    }
    CHECK(s.client().ask(drive.root() + name) == reply{ERROR_NOT_SUPPORTED, ""});
    const BOOL impersonates = ImpersonateNamedPipeClient(trap.get());
    ipc::unique_handle token;
    const BOOL opened = OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, token.put());
    RevertToSelf();
    CHECK_FALSE((impersonates && opened)); // the server has allowed SECURITY_ANONYMOUS only
}

TEST_CASE("A client can hold the server's open with a lock, and the server goes on afterwards") {
    if (ipc::test::is_wine()) {
        SKIP("Wine has no opportunistic locks");
    }
    const server s;
    const test_file file("content");
    raw_client client = s.client();
    ipc::unique_handle owner(CreateFileW(file.path.c_str(), GENERIC_READ,
                                         FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                         nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr));
    REQUIRE(owner);
    ipc::overlapped_call lock(owner.get());
    const BOOL locked = DeviceIoControl(owner.get(), FSCTL_REQUEST_BATCH_OPLOCK, nullptr, 0,
                                        nullptr, 0, nullptr, lock.get());
    if (locked || GetLastError() != ERROR_IO_PENDING) {
        SKIP("this file system grants no opportunistic lock");
    }
    REQUIRE(client.send_path(file.path));
    SetLastError(ERROR_IO_PENDING);
    CHECK(lock.wait(FALSE, ipc::test::default_limit_ms).error == ERROR_SUCCESS); // A's open waits
    CHECK_FALSE(client.receive(200));
    CHECK(client.error() == WAIT_TIMEOUT);
    owner.reset();
    const std::optional<std::string> message = client.receive();
    REQUIRE(message);
    CHECK_THAT(*message, EndsWith("content"));
}

TEST_CASE("Files of 0 to 65,536 bytes arrive unchanged, longer files are refused") {
    const server s;
    raw_client client = s.client();
    const ipc::test::temporary_folder folder;
    for (const std::uint64_t bytes :
         std::vector<std::uint64_t>{0, 1, 4096, 65535, 65536, 65537, 16777216}) {
        const std::wstring path = folder.file(L"file");
        ipc::test::write_random_file(path, bytes);
        const reply got = client.ask(path);
        CHECK(got.error ==
              (bytes <= protocol::max_content_bytes ? ERROR_SUCCESS : ERROR_FILE_TOO_LARGE));
        CHECK(got.content ==
              (bytes <= protocol::max_content_bytes ? ipc::test::read_file(path) : ""));
    }
    CHECK(s.a.peak_memory_bytes() < (std::uint64_t{10} << 20));
}

TEST_CASE("The server's handle does not keep others from changing or deleting the file") {
    const server s;
    const test_file file("content");
    const ipc::unique_handle writer(
        CreateFileW(file.path.c_str(), GENERIC_WRITE | DELETE,
                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr, OPEN_EXISTING,
                    0, nullptr));
    REQUIRE(writer);
    CHECK(s.client().ask(file.path) == reply{ERROR_SUCCESS, "content"});
}

TEST_CASE("The longest path is a request; a longer message costs the client its connection") {
    server s;
    for (const DWORD bytes :
         {protocol::max_request_bytes, protocol::max_request_bytes + 2, DWORD{1} << 20}) {
        INFO(bytes);
        raw_client client = s.client();
        const std::wstring path = L"C:\\" + std::wstring(bytes / sizeof(wchar_t) - 3, L'x');
        if (bytes <= protocol::max_request_bytes) {
            const reply got = client.ask(path);
            CHECK(got.error != WAIT_TIMEOUT);
            CHECK(got.error != ERROR_SUCCESS);
        } else {
            CHECK(client.ask(path).error == WAIT_TIMEOUT);
            CHECK(client.error() != WAIT_TIMEOUT); // dropped, not silent
            CHECK(s.a.wait_for_output(
                "A: a client was dropped, its message is too long; requests answered: 0\n"));
        }
        client.close();
        check_served(s);
    }
}

TEST_CASE("Clients that say nothing, leave at once or do not read do not stop the server") {
    server s(short_limit);
    raw_client silent = s.client();
    REQUIRE(silent);
    check_served(s); // after the limit
    CHECK(silent.is_dropped());
    for (int i = 0; i < 20; ++i) {
        raw_client leaves = s.client(i % 2 == 0 ? 0 : own_identity);
        if (i % 4 < 2) {
            leaves.send("nonsense");
        }
    }
    check_served(s);
    const test_file file(std::string(protocol::max_content_bytes, 'x'));
    raw_client deaf = s.client();
    for (int i = 0; i < 4; ++i) { // the replies do not fit into the pipe
        const std::string bytes = raw_client::bytes_of(file.path);
        ipc::overlapped_call call(deaf.handle());
        const BOOL done = WriteFile(deaf.handle(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, call.get());
        call.wait(done, 50);
    }
    check_served(s);
    CHECK_THAT(s.a.output(), ContainsSubstring("A: a client was dropped, idle for too long"));
    s.stop();
}

TEST_CASE("Five hundred requests, served and refused, leave no handle open") {
    const server s;
    const test_file file("content");
    raw_client client = s.client();
    const auto ask_often = [&](int times) {
        for (int i = 0; i < times; ++i) {
            CHECK(client.ask(file.path).error == ERROR_SUCCESS);
            CHECK(client.ask(file.path + L"x").error == ERROR_FILE_NOT_FOUND);
            CHECK(client.ask(L"x").error == ERROR_BAD_PATHNAME);
        }
    };
    ask_often(5);
    const DWORD before = ipc::test::handle_count(s.a.process());
    ask_often(166);
    CHECK(ipc::test::handle_count(s.a.process()) < before + 20);
}

TEST_CASE("Ctrl+C ends the server without a client, with a silent one and with a busy one") {
    const test_file file("content");
    for (const int clients : {0, 1, 2}) {
        INFO(clients);
        server s;
        std::optional<raw_client> client;
        if (clients > 0) {
            client.emplace(s.client());
            CHECK(client->ask(file.path).error == ERROR_SUCCESS);
        }
        std::jthread asker;
        if (clients == 2) {
            asker = std::jthread([&] {
                while (client->ask(file.path).error == ERROR_SUCCESS) {}
            });
        }
        s.stop();
        CHECK_THAT(s.a.output(), EndsWith("A: the end; clients served: 0\n"));
    }
}

TEST_CASE("The server ends after --clients N, and its last reply still arrives") {
    server s({L"--clients", L"2"});
    check_served(s);
    CHECK_FALSE(s.a.wait(50));
    check_served(s);
    REQUIRE(s.a.wait());
    s.a.wait_for_end_of_output();
    CHECK(s.a.exit_code() == 0);
    CHECK_THAT(s.a.output(), EndsWith("A: the end; clients served: 2\n"));
}

TEST_CASE("A second server says that the name is taken, and does not disturb the first") {
    const server first;
    const ipc::test::result second = run(server::command({}, first.suffix));
    CHECK(second.exit_code == 1);
    CHECK(second.output.empty());
    CHECK_THAT(second.error_output,
               StartsWith("A: the name ") && EndsWith(" is taken by another server\n"));
    check_served(first);
}

TEST_CASE("The server does not add an instance to the pipe of another program") {
    if (ipc::test::is_wine()) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    const ipc::unique_handle squatter(
        CreateNamedPipeW(ipc::object_name(protocol::pipe_name, suffix).c_str(), PIPE_ACCESS_DUPLEX,
                         PIPE_TYPE_MESSAGE, PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, nullptr));
    REQUIRE(squatter);
    const ipc::test::result refused = run(server::command({}, suffix));
    CHECK(refused.exit_code == 1);
    CHECK_THAT(refused.error_output, ContainsSubstring(" is taken by another server"));
}

TEST_CASE("The pipe is for the current user only") {
    const server s;
    const raw_client client = s.client();
    ACL* list = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetSecurityInfo(client.handle(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                            nullptr, &list, nullptr, &descriptor) == ERROR_SUCCESS);
    REQUIRE(list != nullptr);
    CHECK(list->AceCount == 1);
    LocalFree(descriptor);
}

TEST_CASE("The server serves the next client when B is killed, at any moment") {
    server s;
    const test_file file("content");
    std::mt19937 random(14);
    std::vector<std::wstring> arguments(300, file.path);
    for (int i = 0; i < 20; ++i) {
        program b(s.b(arguments));
        REQUIRE(b.wait_for_output("B: file.txt: 7 bytes\n"));
        b.wait(random() % 5);
        b.kill();
        REQUIRE(b.wait());
        check_served(s);
        CHECK(impersonating_threads(s.a.id()) == 0);
    }
    s.stop();
    CHECK_THAT(s.a.output(), !ContainsSubstring("dropped"));
}

// The client

TEST_CASE("B ends with one line when the server is killed, at any moment") {
    const test_file file("content");
    std::mt19937 random(15);
    const std::vector<std::wstring> arguments(300, file.path);
    for (int i = 0; i < 20; ++i) {
        const server s;
        program b(s.b(arguments));
        REQUIRE(b.wait_for_output("B: file.txt: 7 bytes\n"));
        b.wait(random() % 5);
        s.a.kill();
        REQUIRE(b.wait());
        b.wait_for_end_of_output();
        INFO(b.error_output());
        if (b.exit_code() != 0) { // else it was done before
            check_failed(b, "B: the server closed the connection\n");
        }
    }
}

TEST_CASE("Several Bs at once wait for each other and get the same") {
    server s;
    const test_file file("content");
    std::vector<std::unique_ptr<program>> clients;
    for (int i = 0; i < 6; ++i) {
        clients.push_back(
            std::make_unique<program>(s.b({file.path, L"--no-option-here", file.path})));
    }
    for (const auto& b : clients) {
        REQUIRE(b->wait());
        b->wait_for_end_of_output();
        CHECK(b->exit_code() == 0);
        CHECK(b->output() == "B: file.txt: 7 bytes\nB: | content\n"
                             "B: --no-option-here: refused, ERROR_FILE_NOT_FOUND (2)\n"
                             "B: file.txt: 7 bytes\nB: | content\n");
    }
    s.stop();
    CHECK_THAT(s.a.output(), EndsWith("A: the end; clients served: 6\n"));
}

TEST_CASE("B can be started before the server") {
    const std::wstring suffix = ipc::test::unique_suffix();
    const test_file file("content");
    program b({process_b, L"--name", suffix, file.path});
    CHECK_FALSE(b.wait(200));
    const server s({}, suffix);
    REQUIRE(b.wait());
    CHECK(b.exit_code() == 0);
}

TEST_CASE("B gives up after its limit if there is no server, or one that stays busy") {
    program alone({process_b, L"--name", ipc::test::unique_suffix(), L"--limit", L"1", L"x"});
    const server s;
    const raw_client client = s.client();
    REQUIRE(client);
    program waiting(s.b({L"--limit", L"1", L"x"}));
    check_failed(alone, "B: there is no server: start processA first\n");
    check_failed(waiting, "B: the server is busy with other clients\n");
}

TEST_CASE("B shows any content safely, and files with any name") {
    const server s;
    const test_file file("one\ttwo\x1b[2Jthree\r\nGr\xc3\xbc\xc3\x9f\x65", L"Gr\u00fc\u00df e.txt");
    const ipc::test::result b = run(s.b({file.path}));
    CHECK(b.exit_code == 0);
    CHECK_THAT(b.output, StartsWith("B: Gr\xc3\xbc\xc3\x9f e.txt: "));
    CHECK_THAT(b.output, !ContainsSubstring("\x1b"));
    CHECK_THAT(b.output, EndsWith("B: | Gr\xc3\xbc\xc3\x9f\x65\n"));
}

TEST_CASE("B ends with one line when a server does not answer as it should") {
    const std::string header(sizeof(protocol::reply_header), '\0');
    const std::vector<std::pair<std::optional<std::string>, std::string>> answers = {
        {std::nullopt, "B: the server is too slow for ReadFile\n"},
        {"", "B: what the server sent is not a reply\n"},
        {"xyz", "B: what the server sent is not a reply\n"},
        {header + std::string(protocol::max_content_bytes + 1, 'x'),
         "B: what the server sent is not a reply\n"}};
    for (const auto& [answer, line] : answers) {
        const std::wstring suffix = ipc::test::unique_suffix();
        const ipc::unique_handle pipe(CreateNamedPipeW(
            ipc::object_name(protocol::pipe_name, suffix).c_str(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1,
            1 << 20, 1 << 20, 0, nullptr));
        REQUIRE(pipe);
        program b({process_b, L"--name", suffix, L"--limit", answer ? L"60" : L"1", L"x"});
        ipc::overlapped_call call(pipe.get());
        const BOOL connected = ConnectNamedPipe(pipe.get(), call.get());
        call.wait(connected, ipc::test::default_limit_ms, b.process());
        if (answer) {
            const BOOL written = WriteFile(pipe.get(), answer->data(),
                                           static_cast<DWORD>(answer->size()), nullptr, call.get());
            call.wait(written, ipc::test::default_limit_ms, b.process());
        }
        check_failed(b, line);
        CHECK(b.output().empty());
    }
}

TEST_CASE(
    "Both programs refuse wrong usage with exit code 2 and one line, and explain themselves") {
    const std::vector<std::vector<std::wstring>> wrong = {{process_a, L"--no-such-option"},
                                                          {process_a, L"--limit"},
                                                          {process_a, L"--clients", L"x"},
                                                          {process_a, L"unexpected"},
                                                          {process_b},
                                                          {process_b, L"--sqos", L"all", L"x"},
                                                          {process_b, L"--sqos"},
                                                          {process_b, L"--limit", L"x", L"x"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
    }
}
