#include "demos/15_windows_service/protocol.hpp"

#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cwchar>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::program;

namespace {

using arguments = std::vector<std::wstring>;

constexpr auto folder = L"15_windows_service";
constexpr std::size_t mebibyte = 1 << 20;
constexpr DWORD limit_ms = ipc::test::default_limit_ms;

arguments command(std::wstring_view file, const std::wstring& suffix, const arguments& more) {
    // A limit that a busy machine does not exceed; the last --limit of a command line counts.
    arguments all = {ipc::test::program_path(folder, file), L"--name", suffix, L"--limit", L"60"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

arguments a_command(const std::wstring& suffix, const arguments& more) {
    return command(L"processA.exe", suffix, more);
}

arguments b_command(const std::wstring& suffix, const arguments& more = {}) {
    return command(L"processB.exe", suffix, more);
}

bool may_install() {
    return static_cast<bool>(
        service_handle(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CREATE_SERVICE)));
}

// A closed console or a time limit of CTest can end a test in the middle: its service stays, because a
// service runs in no job object. Removes the services "...test123_4" of tests and "...run123" of
// processA --run whose process (123) has ended.
void remove_left_services() {
    const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_ENUMERATE_SERVICE));
    const std::wstring prefixes[] = {protocol::service_name(L"test"),
                                     protocol::service_name(L"run")};
    alignas(ENUM_SERVICE_STATUS_PROCESSW) static BYTE memory[256 * 1024]; // the most it takes
    DWORD needed = 0;
    DWORD count = 0;
    DWORD resume = 0;
    EnumServicesStatusExW(manager.get(), SC_ENUM_PROCESS_INFO, SERVICE_WIN32, SERVICE_STATE_ALL,
                          memory, sizeof memory, &needed, &count, &resume, nullptr);
    const auto* const services = reinterpret_cast<ENUM_SERVICE_STATUS_PROCESSW*>(memory);
    for (DWORD i = 0; i < count; ++i) {
        const std::wstring_view name = services[i].lpServiceName;
        std::size_t id = 0; // where the process id begins
        for (const std::wstring& prefix : prefixes) {
            id = name.starts_with(prefix) ? prefix.size() : id;
        }
        const DWORD owner = id == 0 ? 0 : std::wcstoul(name.data() + id, nullptr, 10);
        if (owner == 0) {
            continue; // another service
        }
        const ipc::unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, owner));
        if (process || GetLastError() != ERROR_INVALID_PARAMETER) {
            continue; // the test is running
        }
        const service_handle all(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
        const service_handle left(OpenServiceW(all.get(), name.data(), DELETE | SERVICE_STOP));
        SERVICE_STATUS status{};
        DeleteService(left.get());
        ControlService(left.get(), SERVICE_CONTROL_STOP, &status);
    }
}

// A test that needs a service calls it first. (CTest shows it as skipped.)
void skip_without_rights() {
    if (!may_install()) {
        SKIP("only an administrator can install a service");
    }
    remove_left_services();
    // Only a start shows whether LocalService may read the folder. Each test is a process of its own.
    static const bool is_left_out =
        !ipc::test::is_wine() &&
        ipc::test::run(a_command(ipc::test::unique_suffix(), {L"--run"})).output.find("left out") !=
            std::string::npos;
    if (is_left_out) {
        SKIP("LocalService may not read the build folder");
    }
}

service_handle open(const std::wstring& suffix, DWORD access) {
    const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CONNECT));
    return service_handle(
        OpenServiceW(manager.get(), protocol::service_name(suffix).c_str(), access));
}

bool is_installed(const std::wstring& suffix) {
    const service_handle service = open(suffix, SERVICE_QUERY_STATUS);
    return service || GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST;
}

// Waits: a service goes when the last handle of it is closed, and services.msc or an antivirus can have
// one for a moment.
bool is_gone(const std::wstring& suffix) {
    return poll_until(limit_ms, [&] { return !is_installed(suffix); });
}

// On Windows a service's process lets an administrator in only with this privilege.
void enable_debug_privilege() {
    ipc::unique_handle token;
    TOKEN_PRIVILEGES privileges{};
    privileges.PrivilegeCount = 1;
    privileges.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
    if (OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, token.put()) &&
        LookupPrivilegeValueW(nullptr, SE_DEBUG_NAME, &privileges.Privileges[0].Luid)) {
        AdjustTokenPrivileges(token.get(), FALSE, &privileges, 0, nullptr, nullptr);
    }
}

// The name of a service. Whatever happens, the destructor ends and removes the service: it runs in no
// job object of a test.
struct service_name {
    service_name() = default;
    service_name(const service_name&) = delete;
    service_name& operator=(const service_name&) = delete;
    ~service_name() {
        const service_handle service = open(suffix, DELETE | SERVICE_STOP | SERVICE_QUERY_STATUS);
        if (!service) {
            return;
        }
        DeleteService(service.get());
        SERVICE_STATUS status{};
        ControlService(service.get(), SERVICE_CONTROL_STOP, &status);
        enable_debug_privilege(); // without it, the stop has to do
        try {
            const DWORD id = query_status(service).dwProcessId;
            const ipc::unique_handle process(
                id == 0 ? nullptr : OpenProcess(PROCESS_TERMINATE | SYNCHRONIZE, FALSE, id));
            if (process) {
                TerminateProcess(process.get(), 1);
                WaitForSingleObject(process.get(), limit_ms);
            }
        } catch (const ipc::win32_error&) {
            return; // the service has gone
        }
    }

    std::wstring suffix = ipc::test::unique_suffix();
    std::wstring pipe = protocol::pipe_name(protocol::service_name(suffix));
};

void check_done(const arguments& a_or_b, const std::string& output) {
    const ipc::test::result done = ipc::test::run(a_or_b);
    CHECK(done.output == output);
    CHECK(done.error_output.empty());
    CHECK(done.exit_code == 0);
}

void check_failed(const ipc::test::result& failed, const std::string& line) {
    CHECK(failed.exit_code == 1);
    CHECK_FALSE(failed.timed_out);
    CHECK(failed.output.empty());
    CHECK_THAT(failed.error_output, StartsWith(line));
    CHECK(ipc::test::lines_of(failed.error_output).size() == 1);
}

ipc::test::result result_of(program& ended) {
    REQUIRE(ended.wait());
    ended.wait_for_end_of_output();
    return {ended.exit_code(), false, ended.output(), ended.error_output(), {}};
}

constexpr auto installed_line =
    "A: installed; the service's account is NT AUTHORITY\\LocalService\n";
constexpr auto running_line = "A: the service is running\n";
constexpr auto stopped_line = "A: the service has stopped\n";
constexpr auto removed_line = "A: the service is removed\n";
constexpr auto client_line = "B: the service is running, and its process has the pipe\n";

// Returns the last status of the service: in this state, or after the limit in another one.
SERVICE_STATUS_PROCESS wait_for_state(const std::wstring& suffix, DWORD state) {
    const service_handle service = open(suffix, SERVICE_QUERY_STATUS);
    SERVICE_STATUS_PROCESS status{};
    poll_until(limit_ms, [&] {
        status = query_status(service);
        return status.dwCurrentState == state;
    });
    return status;
}

// An installed service.
struct installed_service : service_name {
    installed_service() { check_done(a_command(suffix, {L"--install"}), installed_line); }

    void start() const { check_done(a_command(suffix, {L"--start"}), running_line); }
    void stop() const { check_done(a_command(suffix, {L"--stop"}), stopped_line); }

    SERVICE_STATUS_PROCESS status() const {
        return query_status(open(suffix, SERVICE_QUERY_STATUS));
    }

    // Returns the status when the service has stopped.
    SERVICE_STATUS_PROCESS wait_until_stopped() const {
        const SERVICE_STATUS_PROCESS last = wait_for_state(suffix, SERVICE_STOPPED);
        CHECK(last.dwCurrentState == SERVICE_STOPPED);
        return last;
    }

    ipc::unique_handle process(DWORD access = PROCESS_ALL_ACCESS) const {
        enable_debug_privilege();
        ipc::unique_handle found(OpenProcess(access, FALSE, status().dwProcessId));
        REQUIRE(found);
        return found;
    }

    void kill() const {
        const ipc::unique_handle running = process();
        CHECK(TerminateProcess(running.get(), 42));
        CHECK(WaitForSingleObject(running.get(), limit_ms) == WAIT_OBJECT_0);
    }

    // After kill(). Wine's service manager does not notice the end; its next start of the service does.
    void expect_killed() const {
        if (!ipc::test::is_wine()) {
            CHECK(wait_until_stopped().dwWin32ExitCode == ERROR_PROCESS_ABORTED);
        }
    }

    // Asks for the stop and does not wait for its end.
    void begin_stop() const {
        SERVICE_STATUS first{};
        CHECK(ControlService(open(suffix, SERVICE_STOP).get(), SERVICE_CONTROL_STOP, &first));
    }
};

// A client whose calls are steps of the test. Each has a limit. No call throws.
class raw_client {
public:
    explicit raw_client(const std::wstring& pipe) {
        const ULONGLONG end_ms = GetTickCount64() + limit_ms;
        try_to_connect(pipe);
        while (error_ == ERROR_PIPE_BUSY && GetTickCount64() < end_ms) {
            WaitNamedPipeW(pipe.c_str(), 100);
            try_to_connect(pipe);
        }
        DWORD mode = PIPE_READMODE_MESSAGE;
        if (handle_ && !SetNamedPipeHandleState(handle_.get(), &mode, nullptr, nullptr)) {
            error_ = GetLastError();
        }
    }

    DWORD error() const { return error_; } // of the last call
    HANDLE handle() const { return handle_.get(); }

    bool send(std::string_view text) {
        ipc::overlapped_call call(handle_.get());
        const BOOL done = WriteFile(handle_.get(), text.data(), static_cast<DWORD>(text.size()),
                                    nullptr, call.get());
        error_ = call.wait(done, limit_ms).error;
        return error_ == ERROR_SUCCESS;
    }

    std::optional<std::string> receive() {
        std::string text(2 * mebibyte, '\0');
        ipc::overlapped_call call(handle_.get());
        const BOOL done = ReadFile(handle_.get(), text.data(), static_cast<DWORD>(text.size()),
                                   nullptr, call.get());
        const ipc::call_result read = call.wait(done, limit_ms);
        error_ = read.error;
        return error_ == ERROR_SUCCESS ? std::optional(text.substr(0, read.bytes)) : std::nullopt;
    }

    std::optional<std::string> ask(std::string_view request) {
        return send(request) ? receive() : std::nullopt;
    }

    // Returns whether the server has closed this connection within the limit.
    bool is_dropped() {
        return !receive() && (error_ == ERROR_BROKEN_PIPE || error_ == ERROR_PIPE_NOT_CONNECTED);
    }

private:
    void try_to_connect(const std::wstring& pipe) {
        handle_.reset(CreateFileW(pipe.c_str(), protocol::client_access, 0, nullptr, OPEN_EXISTING,
                                  FILE_FLAG_OVERLAPPED, nullptr));
        error_ = handle_ ? ERROR_SUCCESS : GetLastError();
    }

    ipc::unique_handle handle_;
    DWORD error_ = ERROR_SUCCESS;
};

// A pipe of the service's name that the test has made.
ipc::unique_handle create_pipe(const std::wstring& name) {
    return ipc::unique_handle(CreateNamedPipeW(name.c_str(), PIPE_ACCESS_DUPLEX,
                                               PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
                                               PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, nullptr));
}

std::vector<BYTE> service_sid(const installed_service& service) {
    std::vector<BYTE> sid(SECURITY_MAX_SID_SIZE);
    wchar_t domain[256];
    auto sid_bytes = static_cast<DWORD>(sid.size());
    DWORD domain_length = 256;
    SID_NAME_USE use{};
    const std::wstring account = L"NT SERVICE\\" + protocol::service_name(service.suffix);
    REQUIRE(LookupAccountNameW(nullptr, account.c_str(), sid.data(), &sid_bytes, domain,
                               &domain_length, &use));
    return sid;
}

std::wstring sid_text(PSID sid) {
    wchar_t* text = nullptr;
    REQUIRE(ConvertSidToStringSidW(sid, &text));
    const ipc::scope_exit free([&] { LocalFree(text); });
    return text;
}

std::string replies() {
    return "B: HELLO\nB: ASCII LETTERS ONLY: GR\xC3\xBC\xC3\x9F"
           "E\nB: GOODBYE\n";
}

} // namespace

TEST_CASE("A service is installed, started, asked, stopped and removed") {
    skip_without_rights();
    const service_name name;
    check_done(a_command(name.suffix, {L"--install"}), installed_line);
    check_done(a_command(name.suffix, {L"--start"}), running_line);
    check_done(b_command(name.suffix), client_line + replies());
    check_done(a_command(name.suffix, {L"--stop"}), stopped_line);
    check_done(a_command(name.suffix, {L"--uninstall"}), removed_line);
    CHECK(is_gone(name.suffix));
}

TEST_CASE("The service's configuration: LocalService, a quoted path, no start at boot") {
    skip_without_rights();
    const installed_service service;
    const service_handle handle = open(service.suffix, SERVICE_QUERY_CONFIG);
    alignas(QUERY_SERVICE_CONFIGW) BYTE memory[8 * 1024];
    DWORD needed = 0;
    auto* const config = reinterpret_cast<QUERY_SERVICE_CONFIGW*>(memory);
    REQUIRE(QueryServiceConfigW(handle.get(), config, sizeof memory, &needed));
    CHECK(ipc::to_utf8(config->lpServiceStartName) == "NT AUTHORITY\\LocalService");
    CHECK(ipc::to_utf8(config->lpBinaryPathName) ==
          "\"" + ipc::to_utf8(ipc::test::program_path(folder, L"processA.exe")) + "\"");
    CHECK(config->dwServiceType == SERVICE_WIN32_OWN_PROCESS);
    CHECK(config->dwStartType == SERVICE_DEMAND_START);
}

TEST_CASE("The status while the service runs: it takes stop and shutdown, nothing is pending") {
    skip_without_rights();
    const installed_service service;
    service.start();
    const SERVICE_STATUS_PROCESS running = service.status();
    CHECK(running.dwCurrentState == SERVICE_RUNNING);
    CHECK(running.dwControlsAccepted == (SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN));
    CHECK(running.dwCheckPoint == 0);
    CHECK(running.dwWaitHint == 0);
    SERVICE_STATUS status{};
    const service_handle handle =
        open(service.suffix, SERVICE_INTERROGATE | SERVICE_PAUSE_CONTINUE);
    CHECK(ControlService(handle.get(), SERVICE_CONTROL_INTERROGATE, &status));
    CHECK(status.dwCurrentState == SERVICE_RUNNING);
    CHECK_FALSE(ControlService(handle.get(), SERVICE_CONTROL_PAUSE, &status));
    CHECK(GetLastError() == ERROR_INVALID_SERVICE_CONTROL);
    service.stop();
    const SERVICE_STATUS_PROCESS stopped = service.status();
    CHECK(stopped.dwWin32ExitCode == NO_ERROR);
    CHECK(stopped.dwControlsAccepted == 0);
}

TEST_CASE("The pipe's owner and DACL as they stand: the service, and no new instance for a user") {
    skip_without_rights();
    const installed_service service;
    service.start();
    const raw_client client(service.pipe);
    REQUIRE(client.error() == ERROR_SUCCESS);
    PSID owner = nullptr;
    PACL dacl = nullptr;
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    REQUIRE(GetSecurityInfo(client.handle(), SE_KERNEL_OBJECT,
                            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, nullptr,
                            &dacl, nullptr, &descriptor) == ERROR_SUCCESS);
    const ipc::scope_exit free([&] { LocalFree(descriptor); });
    REQUIRE(dacl != nullptr);
    const std::string own_sid = ipc::test::is_wine()
                                    ? "S-1-5-19" // LocalService
                                    : ipc::to_utf8(sid_text(service_sid(service).data()));
    CHECK(ipc::to_utf8(sid_text(owner)) == own_sid);
    std::vector<std::string> entries;
    for (DWORD i = 0; i < dacl->AceCount; ++i) {
        void* entry = nullptr;
        REQUIRE(GetAce(dacl, i, &entry));
        auto* const ace = static_cast<ACCESS_ALLOWED_ACE*>(entry);
        CHECK(ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE);
        entries.push_back(ipc::to_utf8(sid_text(&ace->SidStart)) + " " + std::to_string(ace->Mask));
    }
    REQUIRE(entries.size() == 3);
    const std::string use = std::to_string(protocol::client_access);
    CHECK(entries[0] == "S-1-5-4 " + use);      // INTERACTIVE
    CHECK(entries[1] == "S-1-5-32-544 " + use); // administrators
    CHECK_THAT(entries[2], StartsWith(own_sid + " "));
    CHECK((protocol::client_access & FILE_CREATE_PIPE_INSTANCE) == 0);
}

TEST_CASE("On Windows the service's own account and SID are in its token") {
    skip_without_rights();
    if (ipc::test::is_wine()) {
        SKIP("Wine starts each service as the current user, and has no SIDs of services");
    }
    const installed_service service;
    service.start();
    const ipc::unique_handle process = service.process(PROCESS_QUERY_LIMITED_INFORMATION);
    ipc::unique_handle token;
    REQUIRE(OpenProcessToken(process.get(), TOKEN_QUERY, token.put()));
    alignas(TOKEN_GROUPS) BYTE memory[16 * 1024];
    DWORD size = 0;
    REQUIRE(GetTokenInformation(token.get(), TokenUser, memory, sizeof memory, &size));
    CHECK(IsWellKnownSid(reinterpret_cast<TOKEN_USER*>(memory)->User.Sid, WinLocalServiceSid));
    REQUIRE(GetTokenInformation(token.get(), TokenGroups, memory, sizeof memory, &size));
    std::vector<BYTE> sid = service_sid(service);
    const auto* const groups = reinterpret_cast<TOKEN_GROUPS*>(memory);
    const auto* const end = groups->Groups + groups->GroupCount;
    CHECK(std::any_of(groups->Groups, end, [&](const SID_AND_ATTRIBUTES& group) {
        constexpr DWORD wanted = SE_GROUP_ENABLED | SE_GROUP_OWNER; // so it can own the pipe
        return EqualSid(group.Sid, sid.data()) && (group.Attributes & wanted) == wanted;
    }));
}

TEST_CASE("A second install and a second start fail with one line, and the service goes on") {
    skip_without_rights();
    const installed_service service;
    check_failed(ipc::test::run(a_command(service.suffix, {L"--install"})),
                 "A: CreateServiceW failed: error 1073: ");
    check_failed(ipc::test::run(a_command(service.suffix, {L"--run"})),
                 "A: CreateServiceW failed: error 1073: ");
    service.start();
    check_failed(ipc::test::run(a_command(service.suffix, {L"--start"})),
                 "A: StartServiceW failed: error 1056: ");
    check_done(b_command(service.suffix, {L"asked"}), std::string(client_line) + "B: ASKED\n");
}

TEST_CASE("Each command for a service that is not there fails with one line") {
    skip_without_rights();
    const service_name missing;
    for (const wchar_t* const option : {L"--start", L"--stop", L"--uninstall"}) {
        check_failed(ipc::test::run(a_command(missing.suffix, {option})),
                     "A: OpenServiceW failed: error 1060: ");
    }
    const installed_service service;
    service.stop(); // it does not run: that is what --stop wants
}

TEST_CASE("The uninstall of a running service stops it") {
    skip_without_rights();
    const installed_service service;
    service.start();
    check_done(a_command(service.suffix, {L"--uninstall"}), removed_line);
    CHECK(is_gone(service.suffix));
}

TEST_CASE("A deleted service that somebody holds open cannot be installed again") {
    skip_without_rights();
    const installed_service service;
    {
        const service_handle held = open(service.suffix, SERVICE_QUERY_STATUS);
        check_done(a_command(service.suffix, {L"--uninstall"}), removed_line);
        check_failed(ipc::test::run(a_command(service.suffix, {L"--install"})),
                     "A: CreateServiceW failed: error 1072: ");
    }
    check_done(a_command(service.suffix, {L"--install"}), installed_line);
}

TEST_CASE(
    "Without administrator rights the install fails with one line, and --run uses the console") {
    if (may_install()) {
        SKIP("the runner may install services: an administrator, or Wine");
    }
    const service_name name;
    check_failed(ipc::test::run(a_command(name.suffix, {L"--install"})),
                 "A: only an administrator can install a service: ERROR_ACCESS_DENIED (5): ");
    const ipc::test::result run = ipc::test::run(a_command(name.suffix, {L"--run"}));
    CHECK(run.exit_code == 0);
    CHECK_THAT(run.output, ContainsSubstring(replies()));
    CHECK_THAT(ipc::test::lines_of(run.output).back(), StartsWith("A: left out: the service; "));
}

// [alone]: under Wine a program that calls StartServiceCtrlDispatcherW takes the place of a service that is
// just starting, one of another test.
TEST_CASE("Without the service manager A says how it is started", "[alone]") {
    const ipc::test::result refused = ipc::test::run(a_command(L"unused", {}));
    CHECK(refused.exit_code == 2);
    CHECK_THAT(refused.error_output, ContainsSubstring("1063); usage: processA --run"));
    CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
}

TEST_CASE("A client can come before the service is installed, and before it runs") {
    skip_without_rights();
    const service_name name;
    program early(b_command(name.suffix));
    CHECK_FALSE(early.wait(150));
    check_done(a_command(name.suffix, {L"--install"}), installed_line);
    program waiting(b_command(name.suffix));
    CHECK_FALSE(early.wait(150));
    CHECK_FALSE(waiting.wait(0));
    check_done(a_command(name.suffix, {L"--start"}), running_line);
    for (program* const b : {&early, &waiting}) {
        CHECK(result_of(*b).output == client_line + replies());
        CHECK(b->exit_code() == 0);
    }
}

TEST_CASE("B gives up after its limit, and says what is missing") {
    skip_without_rights();
    const service_name missing;
    check_failed(ipc::test::run(b_command(missing.suffix, {L"--limit", L"1"})),
                 "B: the service is not installed: run processA --install\n");
    const installed_service service;
    check_failed(ipc::test::run(b_command(service.suffix, {L"--limit", L"1"})),
                 "B: the service is not running: run processA --start\n");
    check_failed(ipc::test::run(b_command(missing.suffix, {L"--console", L"--limit", L"1"})),
                 "B: no server at ");
}

TEST_CASE("A stop during a request: the client gets its reply, and the checkpoints count up") {
    skip_without_rights();
    const installed_service service;
    service.start();
    raw_client slow(service.pipe);
    raw_client silent(service.pipe); // is in no request, and delays nothing
    const std::string request(mebibyte, 'x');
    REQUIRE(slow.send(request));
    // The service has the request when a part of the reply waits in the pipe.
    DWORD waiting = 0;
    REQUIRE(poll_until(limit_ms, [&] {
        return !PeekNamedPipe(slow.handle(), nullptr, 0, nullptr, &waiting, nullptr) || waiting > 0;
    }));
    service.begin_stop();
    DWORD first = 0;
    SERVICE_STATUS_PROCESS status = service.status();
    while (status.dwCurrentState != SERVICE_STOPPED &&
           (first == 0 || status.dwCheckPoint <= first)) {
        if (first == 0 && status.dwCurrentState == SERVICE_STOP_PENDING) {
            first = status.dwCheckPoint;
            CHECK(status.dwWaitHint > 0);
            CHECK(status.dwControlsAccepted == 0);
        }
        Sleep(5);
        status = service.status();
    }
    CHECK(status.dwCurrentState == SERVICE_STOP_PENDING);
    CHECK(slow.receive() == std::string(mebibyte, 'X'));
    CHECK(slow.is_dropped());
    CHECK(silent.is_dropped());
    CHECK(service.wait_until_stopped().dwWin32ExitCode == NO_ERROR);
}

TEST_CASE("A client that does not read its reply cannot keep the service from stopping") {
    skip_without_rights();
    const installed_service service;
    service.start();
    raw_client hostile(service.pipe);
    REQUIRE(hostile.send(std::string(mebibyte, 'x')));
    const ULONGLONG start_ms = GetTickCount64();
    service.stop();
    const ULONGLONG took_ms = GetTickCount64() - start_ms;
    CHECK(took_ms >= 2'500); // it waits 3 s for the client to read
    CHECK(took_ms < 20'000);
}

TEST_CASE("A stop while clients ask without a pause ends the service, and each reply is right") {
    skip_without_rights();
    const installed_service service;
    service.start();
    std::atomic<int> answered = 0;
    std::atomic<bool> wrong = false;
    {
        std::vector<std::jthread> clients;
        for (int i = 0; i < 3; ++i) {
            clients.emplace_back([&] {
                raw_client client(service.pipe);
                while (const auto reply = client.ask("hello")) {
                    wrong = wrong || *reply != "HELLO";
                    ++answered;
                }
                wrong = wrong || client.error() == WAIT_TIMEOUT;
            });
        }
        while (answered < 100) {
            Sleep(1);
        }
        service.stop();
    }
    CHECK_FALSE(wrong);
}

TEST_CASE(
    "A service that is killed: its clients see the end, the manager too, and it starts again") {
    skip_without_rights();
    const installed_service service;
    service.start();
    raw_client waiting(service.pipe);
    std::optional<std::string> reply;
    std::jthread reader([&] { reply = waiting.receive(); }); // waits; no reply comes
    std::vector<std::unique_ptr<raw_client>> others;
    for (int i = 0; i < 3; ++i) {
        others.push_back(std::make_unique<raw_client>(service.pipe));
    }
    program b(b_command(service.suffix)); // waits for a free instance
    CHECK_FALSE(b.wait(200));
    service.kill();
    reader.join();
    CHECK_FALSE(reply);
    CHECK(waiting.error() == ERROR_BROKEN_PIPE);
    service.expect_killed();
    service.start();
    CHECK(result_of(b).output == client_line + replies());
    CHECK(b.exit_code() == 0);
}

TEST_CASE(
    "A service that is killed twenty times at random moments can be started again each time") {
    skip_without_rights();
    const installed_service service;
    std::mt19937 random(15);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(StartServiceW(open(service.suffix, SERVICE_START).get(), 0, nullptr));
        REQUIRE(wait_for_state(service.suffix, SERVICE_RUNNING).dwCurrentState == SERVICE_RUNNING);
        DWORD error = ERROR_SUCCESS;
        std::jthread client([&] {
            raw_client asking(service.pipe);
            while (asking.ask(std::string(100'000, 'x'))) {}
            error = asking.error();
        });
        Sleep(random() % 20); // the random moment
        service.kill();
        client.join();
        CHECK(error != WAIT_TIMEOUT); // of the test's client
        service.expect_killed();
    }
}

TEST_CASE("A client refuses another program that has the service's pipe") {
    skip_without_rights();
    const installed_service service;
    const ipc::unique_handle squatter = create_pipe(service.pipe);
    REQUIRE(squatter);
    if (!ipc::test::is_wine()) { // FILE_FLAG_FIRST_PIPE_INSTANCE
        check_failed(ipc::test::run(a_command(service.suffix, {L"--start"})),
                     "A: the service failed at its start: see the event log\n");
        return;
    }
    service.start();
    std::vector<std::unique_ptr<raw_client>> held;
    for (int of_service = 0; of_service < 4;) { // all of the service's instances
        held.push_back(std::make_unique<raw_client>(service.pipe));
        ULONG server_id = 0;
        REQUIRE(GetNamedPipeServerProcessId(held.back()->handle(), &server_id));
        of_service += server_id != GetCurrentProcessId();
    }
    const ipc::unique_handle another = create_pipe(service.pipe); // so one that is free
    REQUIRE(another);
    check_failed(ipc::test::run(b_command(service.suffix, {L"secret"})),
                 "B: another program than the service has the pipe: nothing was sent\n");
    for (const HANDLE pipe : {squatter.get(), another.get()}) {
        DWORD bytes = 0;
        PeekNamedPipe(pipe, nullptr, 0, nullptr, &bytes, nullptr); // fails if nobody is connected
        CHECK(bytes == 0);
    }
}

namespace {

// A folder with copies of programs. Not a temporary folder, which LocalService may not read.
struct folder_of_copies {
    folder_of_copies() { std::filesystem::create_directories(path); }
    folder_of_copies(const folder_of_copies&) = delete;
    folder_of_copies& operator=(const folder_of_copies&) = delete;
    ~folder_of_copies() {
        std::error_code ignored; // for example the service's process has not quite ended
        std::filesystem::remove_all(path, ignored);
    }

    void copy(std::wstring_view from, std::wstring_view file, std::wstring_view to) const {
        std::filesystem::copy_file(ipc::test::program_path(from, file), path / to);
    }

    std::filesystem::path path = ipc::test::program_path(folder, ipc::test::unique_suffix());
};

} // namespace

TEST_CASE("A run with a failure in a step leaves no service") {
    skip_without_rights();
    const service_name name;
    const folder_of_copies elsewhere;
    elsewhere.copy(folder, L"processA.exe", L"processA.exe");
    const arguments run = {elsewhere.path / L"processA.exe", L"--run", L"--name", name.suffix};
    ipc::test::result failed = ipc::test::run(run); // there is no processB.exe
    CHECK(failed.exit_code == 1);
    CHECK(failed.output == std::string(installed_line) + running_line + removed_line);
    CHECK(failed.error_output.starts_with("A: CreateProcessW failed: ERROR_FILE_NOT_FOUND (2): "));
    CHECK(is_gone(name.suffix));

    elsewhere.copy(L"tests", L"helper.exe", L"processB.exe"); // it fails: it has no such mode
    failed = ipc::test::run(run);
    CHECK(failed.exit_code == 1);
    CHECK_THAT(failed.error_output, ContainsSubstring("A: processB failed\n"));
    CHECK(is_gone(name.suffix));
}

TEST_CASE("A service that Windows cannot start is left out, and only if all the rest goes well") {
    skip_without_rights();
    const service_name name;
    const folder_of_copies elsewhere; // there is no processA.exe: StartServiceW fails
    elsewhere.copy(folder, L"processA.exe", L"runner.exe");
    elsewhere.copy(folder, L"processB.exe", L"processB.exe");
    const arguments run = {elsewhere.path / L"runner.exe", L"--run", L"--name", name.suffix};
    const ipc::test::result done = ipc::test::run(run);
    CHECK(done.exit_code == 0);
    CHECK(done.error_output.empty());
    CHECK_THAT(
        done.output,
        StartsWith(std::string(installed_line) + removed_line + "A: the server is running\n" +
                   replies() +
                   "A: the server has stopped\nA: left out: the service; LocalService must be "
                   "able to read this folder: ERROR_FILE_NOT_FOUND (2): "));
    CHECK(is_gone(name.suffix));

    std::filesystem::remove(elsewhere.path / L"processB.exe");
    const ipc::test::result failed = ipc::test::run(run);
    CHECK(failed.exit_code == 1);
    CHECK_THAT(failed.output, !ContainsSubstring("left out"));
    CHECK(is_gone(name.suffix));
}

TEST_CASE("Ctrl+C during a run leaves no service") {
    skip_without_rights();
    const service_name name;
    program run(a_command(name.suffix, {L"--run"}));
    REQUIRE(run.wait_for_output(running_line));
    try {
        run.press_ctrl_c();
    } catch (const ipc::win32_error&) {
        CHECK(run.wait()); // it was faster
    }
    const ipc::test::result ended = result_of(run);
    CHECK(ended.output.ends_with(removed_line));
    CHECK(is_gone(name.suffix));
}

TEST_CASE("A run whose service fails at its start leaves no service, and does not leave it out") {
    skip_without_rights();
    const service_name name;
    // One instance of another program: CreateNamedPipeW of the service fails, under Wine, too.
    const ipc::unique_handle squatter(CreateNamedPipeW(
        name.pipe.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 1, 4096, 4096, 0, nullptr));
    REQUIRE(squatter);
    const ipc::test::result failed = ipc::test::run(a_command(name.suffix, {L"--run"}));
    CHECK(failed.exit_code == 1);
    CHECK(failed.output == std::string(installed_line) + removed_line);
    CHECK(failed.error_output == "A: the service failed at its start: see the event log\n");
    CHECK(is_gone(name.suffix));

    const installed_service service;
    const ipc::unique_handle another(CreateNamedPipeW(
        service.pipe.c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE, 1, 4096, 4096, 0, nullptr));
    REQUIRE(another);
    check_failed(ipc::test::run(a_command(service.suffix, {L"--start"})),
                 "A: the service failed at its start: see the event log\n");
    CHECK(service.status().dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR);
    CHECK(service.status().dwServiceSpecificExitCode == 1);
}

TEST_CASE("A service that stops too slowly for the limit is removed all the same") {
    skip_without_rights();
    const installed_service service;
    service_handle held = open(service.suffix, SERVICE_QUERY_STATUS);
    for (const wchar_t* const option : {L"--stop", L"--uninstall"}) {
        service.start();
        raw_client hostile(service.pipe); // it does not read its reply: the stop takes 3 s
        REQUIRE(hostile.send(std::string(mebibyte, 'x')));
        DWORD waiting = 0;
        REQUIRE(poll_until(limit_ms, [&] {
            PeekNamedPipe(hostile.handle(), nullptr, 0, nullptr, &waiting, nullptr);
            return waiting > 0;
        }));
        check_failed(ipc::test::run(a_command(service.suffix, {option, L"--limit", L"1"})),
                     "A: the service did not stop in time\n");
        if (std::wstring_view(option) == L"--stop") { // a second stop waits for the first one
            service.stop();
        }
    }
    if (!ipc::test::is_wine()) { // Wine no longer finds a service that is marked for deletion
        check_done(a_command(service.suffix, {L"--uninstall"}), removed_line);
    }
    held.reset();
    CHECK(is_gone(service.suffix));
}

namespace {

// A service that takes 3 s for its start: this program, with the name of a hidden test as its argument.
struct slow_service {
    SERVICE_STATUS_HANDLE handle = nullptr;
    ipc::unique_handle stop{CreateEventW(nullptr, TRUE, FALSE, nullptr)};

    void report(DWORD state) const {
        SERVICE_STATUS status{};
        status.dwServiceType = SERVICE_WIN32_OWN_PROCESS;
        status.dwCurrentState = state;
        status.dwControlsAccepted = state == SERVICE_RUNNING ? SERVICE_ACCEPT_STOP : 0;
        status.dwWaitHint = state == SERVICE_START_PENDING ? 10'000 : 0;
        SetServiceStatus(handle, &status);
    }
};

DWORD WINAPI stop_slow_service(DWORD control, DWORD, void*, void* context) {
    if (control == SERVICE_CONTROL_STOP) {
        SetEvent(static_cast<slow_service*>(context)->stop.get());
    }
    return NO_ERROR;
}

void WINAPI slow_service_main(DWORD, wchar_t** names) {
    static slow_service service;
    service.handle = RegisterServiceCtrlHandlerExW(names[0], stop_slow_service, &service);
    service.report(SERVICE_START_PENDING);
    Sleep(3'000); // the slow start
    service.report(SERVICE_RUNNING);
    WaitForSingleObject(service.stop.get(), limit_ms);
    service.report(SERVICE_STOPPED);
}

} // namespace

TEST_CASE("This program as a service that starts slowly", "[.service]") {
    wchar_t name[] = L"";
    const SERVICE_TABLE_ENTRYW table[] = {{name, slow_service_main}, {nullptr, nullptr}};
    CHECK(StartServiceCtrlDispatcherW(table));
}

TEST_CASE("A service that starts too slowly for the limit can be stopped and removed") {
    skip_without_rights();
    const service_name name;
    {
        const service_handle manager(OpenSCManagerW(nullptr, nullptr, SC_MANAGER_CREATE_SERVICE));
        const std::wstring image = ipc::command_line(
            {ipc::beside_this_program(L"test_15_windows_service.exe"), L"[.service]"});
        const std::wstring own = protocol::service_name(name.suffix);
        const service_handle made(CreateServiceW(
            manager.get(), own.c_str(), own.c_str(), DELETE, SERVICE_WIN32_OWN_PROCESS,
            SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, image.c_str(), nullptr, nullptr, nullptr,
            L"NT AUTHORITY\\LocalService", L""));
        REQUIRE(made);
    }
    check_failed(ipc::test::run(a_command(name.suffix, {L"--start", L"--limit", L"1"})),
                 "A: the service did not start in time\n");
    check_done(a_command(name.suffix, {L"--uninstall"}), removed_line);
    CHECK(is_gone(name.suffix));
}

TEST_CASE("The next test removes the service of a test whose process has ended, and no other one") {
    skip_without_rights();
    const std::wstring left = L"test4294967292_1"; // a process id that no process has
    service_name other;
    other.suffix = L"class4294967292" + other.suffix;
    check_done(a_command(left, {L"--install"}), installed_line);
    check_done(a_command(other.suffix, {L"--install"}), installed_line);
    remove_left_services();
    CHECK(is_gone(left));
    CHECK(is_installed(other.suffix));
    check_done(a_command(other.suffix, {L"--uninstall"}), removed_line);
}

TEST_CASE("A run whose output nobody reads leaves no service") {
    skip_without_rights();
    const service_name name;
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    REQUIRE(CreatePipe(read_end.put(), write_end.put(), nullptr, 0));
    REQUIRE(SetHandleInformation(write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
    read_end.reset();
    std::wstring command = ipc::command_line(a_command(name.suffix, {L"--run"}));
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdOutput = write_end.get();
    startup.hStdError = write_end.get();
    PROCESS_INFORMATION started{};
    REQUIRE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                           &startup, &started));
    const ipc::unique_handle process(started.hProcess);
    const ipc::unique_handle thread(started.hThread);
    CHECK(ipc::wait_for_exit(process.get(), limit_ms) == 1);
    CHECK(is_gone(name.suffix));
}

TEST_CASE("The server drops a client that is silent for too long or sends too much") {
    const service_name name;
    program a(a_command(name.suffix, {L"--console", L"--limit", L"1"}));
    REQUIRE(a.wait_for_output("A: the server is running\n"));
    raw_client silent(name.pipe);
    CHECK(silent.is_dropped());
    raw_client large(name.pipe);
    CHECK(large.ask(std::string(mebibyte, 'x')) == std::string(mebibyte, 'X'));
    CHECK(large.ask("") == "");
    large.send(std::string(mebibyte + 1, 'x'));
    CHECK(large.is_dropped());
    raw_client next(name.pipe);
    CHECK(next.ask(std::string("\0a\xFF", 3)) == std::string("\0A\xFF", 3));
}

TEST_CASE("More clients at once than the service has instances: each gets its replies") {
    skip_without_rights();
    const installed_service service;
    service.start();
    std::vector<std::unique_ptr<program>> clients;
    for (int i = 0; i < 10; ++i) {
        const std::wstring request = L"client " + std::to_wstring(i);
        clients.push_back(
            std::make_unique<program>(b_command(service.suffix, {request, L"again"})));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        CHECK(result_of(*clients[i]).output ==
              client_line + ("B: CLIENT " + std::to_string(i)) + "\nB: AGAIN\n");
    }
}

namespace {

// Starts and stops the service. Returns whether each round went well.
bool start_and_stop(const installed_service& service, int rounds) {
    const service_handle handle =
        open(service.suffix, SERVICE_START | SERVICE_STOP | SERVICE_QUERY_STATUS);
    for (int i = 0; i < rounds; ++i) {
        SERVICE_STATUS status{};
        if (!StartServiceW(handle.get(), 0, nullptr) ||
            wait_for_state(service.suffix, SERVICE_RUNNING).dwCurrentState != SERVICE_RUNNING ||
            !ControlService(handle.get(), SERVICE_CONTROL_STOP, &status) ||
            wait_for_state(service.suffix, SERVICE_STOPPED).dwCurrentState != SERVICE_STOPPED) {
            return false;
        }
    }
    return true;
}

// Returns how many handles the service has open.
DWORD handles_of(const installed_service& service) {
    return ipc::test::handle_count(service.process().get());
}

} // namespace

namespace {

void check_no_leak(int rounds) {
    skip_without_rights();
    const installed_service service;
    REQUIRE(start_and_stop(service, 2));
    const DWORD before = ipc::test::handle_count(GetCurrentProcess());
    REQUIRE(start_and_stop(service, rounds));
    CHECK(ipc::test::handle_count(GetCurrentProcess()) < before + 15);
    CHECK_FALSE(WaitNamedPipeW(service.pipe.c_str(), 1));
    CHECK(GetLastError() == ERROR_FILE_NOT_FOUND); // no process has kept the pipe
    check_done(a_command(service.suffix, {L"--uninstall"}), removed_line);
}

} // namespace

TEST_CASE("Twenty starts and stops leak nothing") {
    check_no_leak(20); // a leaked handle in each round would be more than the margin
}

TEST_CASE("A hundred starts and stops leak nothing", "[.large]") {
    check_no_leak(100);
}

TEST_CASE("A hundred clients leave no handle open in the service") {
    skip_without_rights();
    const installed_service service;
    service.start();
    const auto ask = [&] { CHECK(raw_client(service.pipe).ask("hello") == "HELLO"); };
    for (int i = 0; i < 8; ++i) {
        ask();
    }
    const DWORD before = handles_of(service);
    for (int i = 0; i < 100; ++i) {
        ask();
    }
    CHECK(handles_of(service) < before + 20);
}

TEST_CASE("The console server answers the same client, until Ctrl+C") {
    const service_name name;
    program a(a_command(name.suffix, {L"--console"}));
    REQUIRE(a.wait_for_output("A: the server is running\n"));
    check_done(b_command(name.suffix, {L"--console"}), replies());
    check_done(b_command(name.suffix, {L"--console", L"", L"--limit"}), "B: \nB: --LIMIT\n");
    raw_client silent(name.pipe);
    CHECK(silent.error() == ERROR_SUCCESS);
    a.press_ctrl_c();
    CHECK(result_of(a).output == "A: the server is running\nA: the server has stopped\n");
    CHECK(a.exit_code() == 0);
    CHECK(silent.is_dropped());
}

TEST_CASE("B ends with one line when its server is slow, hostile or gone") {
    const service_name name;
    const std::wstring request(L"request");
    for (const std::string what : {"slow", "gone", "too long"}) {
        ipc::unique_handle pipe = create_pipe(name.pipe);
        REQUIRE(pipe);
        program b(b_command(name.suffix,
                            {L"--console", L"--limit", what == "slow" ? L"1" : L"60", request}));
        ConnectNamedPipe(pipe.get(), nullptr);
        char text[100];
        DWORD bytes = 0;
        REQUIRE(ReadFile(pipe.get(), text, sizeof text, &bytes, nullptr));
        CHECK(std::string_view(text, bytes) == "request");
        if (what == "slow") {
            check_failed(result_of(b), "B: the service did not answer in time\n");
        } else if (what == "gone") {
            pipe.reset();
            check_failed(result_of(b), "B: the service closed the connection\n");
        } else {
            const std::string reply(2 * mebibyte, 'x');
            WriteFile(pipe.get(), reply.data(), static_cast<DWORD>(reply.size()), &bytes, nullptr);
            check_failed(result_of(b), "B: the reply is longer than the protocol allows\n");
        }
    }
}

TEST_CASE(
    "Both programs refuse wrong usage with exit code 2 and one line, and explain themselves") {
    for (const wchar_t* const file : {L"processA.exe", L"processB.exe"}) {
        const bool is_a = std::wstring_view(file) == L"processA.exe";
        for (const arguments& wrong : {arguments{L"--no-such-option"},
                                       arguments{L"--limit", L"soon"}, arguments{L"--name"}}) {
            const ipc::test::result refused = ipc::test::run(command(file, L"unused", wrong));
            CHECK(refused.exit_code == 2);
            CHECK_THAT(refused.error_output, ContainsSubstring("; usage: process"));
            CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
        }
        const ipc::test::result help = ipc::test::run(command(file, L"unused", {L"--help"}));
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith(is_a ? "usage: processA" : "usage: processB"));
    }
    CHECK(ipc::test::run(a_command(L"unused", {L"--install", L"--start"})).exit_code == 2);
    CHECK(ipc::test::run(a_command(L"unused", {L"--console", L"more"})).exit_code == 2);
}
