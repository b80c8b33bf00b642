#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/23_dde/dde_parts.hpp"
#include "demos/23_dde/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <ddeml.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"23_dde", L"processA.exe");
const std::wstring process_b = program_path(L"23_dde", L"processB.exe");

using arguments = std::vector<std::wstring>;

constexpr auto a_is_ready = "A: the service is registered; waiting for clients\n";
constexpr auto b_is_connected = "B: connected\n";
constexpr auto no_temperature = "B: the server has sent something that is no temperature";
constexpr auto whole_b = "B: connected\n"
                         "B: poke: the server has accepted the new value\n"
                         "B: advise: the temperature is 23\n"
                         "B: request: the temperature is 23\n"
                         "B: execute: the command is on its way\n"
                         "B: advise: the temperature is 20\n";
constexpr DWORD transaction_ms = 10'000;
constexpr DWORD window_ms = 5'000;

BOOL CALLBACK find_hung_window(HWND window, LPARAM) {
    SetLastError(ERROR_SUCCESS);
    return SendMessageTimeoutW(window, WM_NULL, 0, 0, SMTO_NORMAL, window_ms, nullptr) != 0 ||
           GetLastError() != ERROR_TIMEOUT;
}

// DdeConnect asks the windows of all programs, also those that are no part of the test. Tried once.
void require_desktop() {
    static const bool answers = [] {
        ipc::test::start_desktop();
        return EnumWindows(find_hung_window, 0) != FALSE || GetLastError() != ERROR_TIMEOUT;
    }();
    if (!answers) {
        SKIP("a window of another program on this desktop hangs");
    }
}

arguments command(const std::wstring& path, const std::wstring& name, const arguments& more) {
    require_desktop();
    arguments all = {path, L"--name", name};
    all.insert(all.end(), more.begin(), more.end());
    return all;
}
arguments a_with(const std::wstring& name, const arguments& more = {}) {
    return command(process_a, name, more);
}
arguments b_with(const std::wstring& name, const arguments& more = {}) {
    return command(process_b, name, more);
}

// While the test's own DDEML instance exists, the test has to handle messages: its windows would stop each
// DdeConnect on this desktop.
bool serve_until(const std::function<bool()>& done) {
    for (int i = 0; i < 6'000 && !done(); ++i) {
        run_messages(nullptr, 10, done);
    }
    return done();
}
void serve_until_end(const program& client) {
    REQUIRE(serve_until([&] { return client.wait(0); }));
}

struct waiting_a {
    waiting_a() { REQUIRE(a.wait_for_output(a_is_ready)); }

    // A serves one B as if nothing had happened.
    void check_alive() const {
        program b(b_with(name));
        serve_until_end(b);
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.exit_code() == 0);
        CHECK(b.output() == whole_b);
        CHECK(b.error_output().empty());
        CHECK_FALSE(a.wait(0));
    }

    std::wstring name = ipc::test::unique_suffix();
    program a{a_with(name, {L"--limit", L"60"})};
};

// What the test's own DDEML instance does for a transaction. One test runs at a time.
using handler = std::function<HDDEDATA(UINT type, HCONV conversation, HSZ item, HDDEDATA data)>;
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the only way into the callback
handler on_type;

HDDEDATA CALLBACK on_transaction(UINT type, UINT, HCONV conversation, HSZ, HSZ item, HDDEDATA data,
                                 ULONG_PTR, ULONG_PTR) noexcept {
    return on_type ? on_type(type, conversation, item, data) : nullptr;
}

void handle_with(handler function) {
    on_type = std::move(function);
}

HDDEDATA answer(ULONG_PTR value) {
    return reinterpret_cast<HDDEDATA>(value);
}

// The answer that accepts a transaction, each type in its own way. Other types want data, or nothing.
HDDEDATA accept(UINT type) {
    switch (type) {
    case XTYP_CONNECT:
    case XTYP_ADVSTART: return answer(TRUE);
    case XTYP_POKE:
    case XTYP_EXECUTE: return answer(DDE_FACK);
    default: return answer(0);
    }
}

class string_handle {
public:
    string_handle(DWORD instance, const std::wstring& text)
        : instance_(instance), handle_(create_string(instance, text)) {}
    ~string_handle() { DdeFreeStringHandle(instance_, handle_); }
    string_handle(const string_handle&) = delete;
    string_handle& operator=(const string_handle&) = delete;
    HSZ get() const { return handle_; }

private:
    DWORD instance_;
    HSZ handle_;
};

class dde_instance {
public:
    explicit dde_instance(DWORD flags) {
        require_desktop();
        REQUIRE(DdeInitializeW(&id_, on_transaction, flags, 0) == DMLERR_NO_ERROR);
    }
    ~dde_instance() {
        on_type =
            nullptr; // DdeUninitialize calls the callback, and the variables of the test are gone
        DdeUninitialize(id_);
    }
    dde_instance(const dde_instance&) = delete;
    dde_instance& operator=(const dde_instance&) = delete;
    DWORD id() const { return id_; }

private:
    DWORD id_ = 0;
};

// A client that sends what B never would.
class rough_client {
public:
    explicit rough_client(const std::wstring& name)
        : service_(instance_.id(), ipc::object_name(protocol::service, name)) {}
    ~rough_client() { leave(); }
    rough_client(const rough_client&) = delete;
    rough_client& operator=(const rough_client&) = delete;

    bool connect(const wchar_t* topic = protocol::topic) {
        const string_handle topic_handle(instance_.id(), topic);
        conversation_ = DdeConnect(instance_.id(), service_.get(), topic_handle.get(), nullptr);
        return conversation_ != nullptr;
    }
    // Connects to any service (nullptr) with any topic.
    bool connect_to_any_topic() {
        conversation_ = DdeConnect(instance_.id(), service_.get(), nullptr, nullptr);
        return conversation_ != nullptr;
    }
    void leave() {
        if (conversation_ != nullptr) {
            DdeDisconnect(conversation_);
            conversation_ = nullptr;
        }
    }

    bool transact(UINT type, std::wstring_view text = {}, std::size_t bytes = 0,
                  const wchar_t* item = protocol::item, UINT format = protocol::format) {
        const string_handle item_handle(instance_.id(), item);
        std::wstring copy(text);
        BYTE* const begin = type == XTYP_POKE || type == XTYP_EXECUTE
                                ? reinterpret_cast<BYTE*>(copy.data())
                                : nullptr;
        const HDDEDATA data =
            DdeClientTransaction(begin, static_cast<DWORD>(bytes), conversation_,
                                 type == XTYP_EXECUTE ? nullptr : item_handle.get(),
                                 type == XTYP_EXECUTE ? 0 : format, type,
                                 // under Wine, the acknowledgement of a command can be missing
                                 type == XTYP_EXECUTE ? TIMEOUT_ASYNC : transaction_ms, nullptr);
        error_ = DdeGetLastError(instance_.id());
        if (data != nullptr && type == XTYP_REQUEST) {
            DdeFreeDataHandle(data);
        }
        return data != nullptr;
    }
    // Sends a text with its terminating zero.
    bool send(UINT type, std::wstring_view text) {
        return transact(type, text, (text.size() + 1) * sizeof(wchar_t));
    }
    UINT error() const { return error_; }
    DWORD instance() const { return instance_.id(); }

private:
    dde_instance instance_{APPCMD_CLIENTONLY};
    string_handle service_;
    HCONV conversation_ = nullptr;
    UINT error_ = 0;
};

// A server that answers as the test says. It runs while the test calls serve_until.
class fake_server {
public:
    explicit fake_server(const std::wstring& name)
        : service_(instance_.id(), ipc::object_name(protocol::service, name)) {
        REQUIRE(DdeNameService(instance_.id(), service_.get(), nullptr, DNS_REGISTER) != nullptr);
    }
    HDDEDATA create_data(std::wstring_view text, std::size_t bytes) const {
        std::wstring copy(text);
        return DdeCreateDataHandle(instance_.id(), reinterpret_cast<BYTE*>(copy.data()),
                                   static_cast<DWORD>(bytes), 0, item_.get(), protocol::format, 0);
    }
    void post_advise() const { DdePostAdvise(instance_.id(), topic_.get(), item_.get()); }

private:
    dde_instance instance_{0};
    string_handle service_;
    string_handle topic_{instance_.id(), protocol::topic};
    string_handle item_{instance_.id(), protocol::item};
};

// Serves until B has ended. Announces a new value each time the callback has set has_news.
void serve_news(const fake_server& server, const program& b, bool& has_news) {
    while (run_messages(b.process(), ipc::test::default_limit_ms, [&] { return has_news; }) ==
           WAIT_OBJECT_0 + 1) {
        has_news = false;
        server.post_advise();
    }
}

// Starts this test program itself in one of the roles below.
program start_role(const std::wstring& role, const std::wstring& name) {
    SetEnvironmentVariableW(L"IPC_TEST_NAME", name.c_str());
    return program({program_path(L"tests", L"test_23_dde.exe"), role});
}
std::wstring name_from_environment() {
    std::wstring name(64, L'\0');
    name.resize(GetEnvironmentVariableW(L"IPC_TEST_NAME", name.data(), 64));
    return name;
}

} // namespace

// These three are no tests: the tests start them. The first is a server that accepts everything and announces no new
// value, the second a client that only connects.
TEST_CASE("a silent server", "[.silent_server]") {
    handle_with([](UINT type, HCONV, HSZ, HDDEDATA) { return accept(type); });
    const fake_server server(name_from_environment());
    ipc::print_line("silent server: ready");
    run_messages(nullptr, ipc::test::default_limit_ms, [] { return false; });
}
TEST_CASE("a silent client", "[.silent_client]") {
    rough_client client(name_from_environment());
    REQUIRE(client.connect());
    ipc::print_line("silent client: ready");
    run_messages(nullptr, ipc::test::default_limit_ms, [] { return false; });
}

// Announces the value when the event of its name is set.
TEST_CASE("a late server", "[.late_server]") {
    const std::wstring name = name_from_environment();
    const fake_server server(name);
    handle_with([&](UINT type, HCONV, HSZ, HDDEDATA) {
        return type == XTYP_ADVREQ ? server.create_data(L"23", 6) : accept(type);
    });
    const ipc::unique_handle told(CreateEventW(nullptr, TRUE, FALSE, name.c_str()));
    ipc::print_line("late server: ready");
    run_messages(told.get(), ipc::test::default_limit_ms, [] { return false; });
    server.post_advise();
    ipc::print_line("late server: done");
    run_messages(nullptr, ipc::test::default_limit_ms, [] { return false; });
}

TEST_CASE("B requests, pokes, executes, and hears of each change; A goes on for the next client") {
    waiting_a a;
    a.check_alive();
    a.check_alive();
    const ipc::test::result last = run(b_with(a.name, {L"--exit"}));
    CHECK(last.exit_code == 0);
    CHECK(last.output == std::string(whole_b) + "B: the server has left\n");
    check_succeeded(a.a, "A: execute [exit]\nA: leaving");
    CHECK_THAT(a.a.output(),
               ContainsSubstring("A: a client has left\nA: a client has connected\n"));
}

TEST_CASE("Without a server, B says so within its limit") {
    const ULONGLONG start_ms = GetTickCount64();
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(b, "B: no server answers: start processA");
    CHECK(GetTickCount64() - start_ms >= 1'000);
    CHECK(b.output().empty());
}

TEST_CASE("B may start before A") {
    const std::wstring name = ipc::test::unique_suffix();
    program b(b_with(name, {L"--limit", L"60"}));
    CHECK_FALSE(b.wait(500)); // it looks for a server
    program a(a_with(name));
    check_succeeded(b, "B: advise: the temperature is 20");
}

TEST_CASE("A ends when no client does anything for its limit, and at Ctrl+C") {
    program idle(a_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(idle, "A: no client has done anything within the limit");
    program stopped(a_with(ipc::test::unique_suffix(), {L"--limit", L"0"}));
    REQUIRE(stopped.wait_for_output(a_is_ready));
    stopped.press_ctrl_c();
    check_succeeded(stopped, "A: leaving");
}

TEST_CASE("Ctrl+C ends A also when a client never stops to poke, and the limit does not") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"1"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    rough_client client(name);
    REQUIRE(client.connect());
    const ULONGLONG start_ms = GetTickCount64();
    while (GetTickCount64() - start_ms < 1'500) {
        REQUIRE(client.send(XTYP_POKE, L"7"));
    }
    CHECK_FALSE(a.wait(0));
    a.press_ctrl_c();
    while (!a.wait(0) && GetTickCount64() - start_ms < ipc::test::default_limit_ms) {
        client.send(XTYP_POKE, L"7");
    }
    check_succeeded(a, "A: leaving");
}

TEST_CASE("Ctrl+C ends B while it looks for a server") {
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"0"}));
    CHECK_FALSE(b.wait(300));
    b.press_ctrl_c();
    REQUIRE(b.wait());
    CHECK(b.output().empty());
}

TEST_CASE("A accepts each whole number as a temperature, and refuses every other text") {
    waiting_a a;
    {
        rough_client client(a.name);
        REQUIRE(client.connect());
        for (const wchar_t* good : {L"-273", L"60", L"0", L"-0", L"007"}) {
            INFO(ipc::to_utf8(good));
            REQUIRE(client.send(XTYP_POKE, good));
        }
        // The values are read again at the end: under Wine, a refused poke looks accepted to its client.
        for (const std::wstring& bad :
             {std::wstring(L""), std::wstring(L"2147483648"), std::wstring(L"+5"),
              std::wstring(L"abc"), std::wstring(L" 5"), std::wstring(L"5 "), std::wstring(L"5-5"),
              std::wstring(L"-"), std::wstring(L"0x10"), std::wstring(L"99999999999999999999"),
              std::wstring(300, L'1'), std::wstring(L"5\x1B[31m")}) {
            INFO(ipc::to_utf8(bad));
            client.send(XTYP_POKE, bad);
        }
    }
    REQUIRE(a.a.wait_for_output("A: a client has left\n"));
    const std::vector<std::string> lines = ipc::test::lines_of(a.a.output());
    CHECK(std::ranges::count(lines, "A: poke: refused, it is no temperature") == 12);
    CHECK(std::ranges::count(lines, "A: poke: the temperature is 7") == 1);
    CHECK(lines.size() == 2 + 5 + 12 + 1);
    a.check_alive();
}

TEST_CASE("A refuses data with a wrong length") {
    waiting_a a;
    {
        rough_client client(a.name);
        REQUIRE(client.connect());
        const std::wstring whole(L"31");
        client.transact(XTYP_POKE, std::wstring(200, L'3'),
                        4); // no terminating zero: Windows may add one
        client.transact(XTYP_POKE, whole, 1);
        client.transact(XTYP_POKE, std::wstring(512 * 1024, L'3'), 1024 * 1024);
        client.transact(XTYP_EXECUTE, std::wstring(protocol::exit_command), 2); // "[" alone
        client.transact(XTYP_EXECUTE, std::wstring(protocol::exit_command), 5);
        client.transact(XTYP_EXECUTE, std::wstring(512 * 1024, L'['), 1024 * 1024);
    }
    CHECK_FALSE(a.a.wait(0));
    CHECK_THAT(a.a.output(), !ContainsSubstring("A: execute ["));
    CHECK_THAT(a.a.output(), !ContainsSubstring("A: poke: the temperature is 31"));
    a.check_alive();
}

TEST_CASE(
    "A serves its topic, its item and its format, in upper and lower case, and nothing else") {
    waiting_a a;
    {
        rough_client client(a.name);
        CHECK_FALSE(client.connect(L"System"));
        CHECK_FALSE(client.connect(L"climat"));
        CHECK_FALSE(client.connect_to_any_topic());
        REQUIRE(client.connect(L"CLIMATE"));
        CHECK_FALSE(client.transact(XTYP_REQUEST, {}, 0, L"temperatur"));
        CHECK(client.error() == DMLERR_NOTPROCESSED);
        CHECK_FALSE(client.transact(XTYP_REQUEST, {}, 0, protocol::item, CF_TEXT));
        CHECK_FALSE(client.transact(XTYP_REQUEST, {}, 0, protocol::item, CF_BITMAP));
        CHECK_FALSE(client.transact(XTYP_ADVSTART, {}, 0, L"temperatures"));
        CHECK_FALSE(client.transact(XTYP_ADVSTART, {}, 0, protocol::item, CF_TEXT));
        client.transact(XTYP_POKE, L"9", 4, L"pressure");
        client.transact(XTYP_POKE, L"9", 4, protocol::item, CF_TEXT);
        // The last one: Wine acknowledges a successful request twice, and the next transaction takes the second one.
        CHECK(client.transact(XTYP_REQUEST, {}, 0, L"Temperature"));
    }
    a.check_alive();
    CHECK_THAT(a.a.output(), !ContainsSubstring("the temperature is 9"));
}

TEST_CASE("Each client with an advise loop gets a value that another client pokes") {
    waiting_a a;
    int updates = 0;
    std::optional<int> last;
    rough_client client(a.name);
    handle_with([&](UINT type, HCONV, HSZ, HDDEDATA data) {
        if (type != XTYP_ADVDATA) {
            return answer(0);
        }
        last = read_temperature(data);
        ++updates;
        return answer(DDE_FACK);
    });
    REQUIRE(client.connect());
    REQUIRE(client.transact(XTYP_ADVSTART));
    program b(b_with(a.name));
    REQUIRE(serve_until([&] { return updates == 1; }));
    CHECK(last == 23);
    REQUIRE(serve_until([&] { return updates == 2; }));
    CHECK(last == protocol::first_temperature);
    serve_until_end(b);
    check_succeeded(b, "B: advise: the temperature is 20");
    REQUIRE(client.transact(XTYP_ADVSTOP));
    program further(b_with(a.name));
    serve_until_end(further);
    CHECK(updates == 2);
}

TEST_CASE("B says what the server refuses") {
    // A refused command reaches B by XTYP_XACT_COMPLETE, and not on each system.
    const std::vector<std::pair<UINT, std::string>> types = {{XTYP_ADVSTART, "ADVSTART"},
                                                             {XTYP_POKE, "POKE"},
                                                             {XTYP_REQUEST, "REQUEST"},
                                                             {XTYP_EXECUTE, "EXECUTE"}};
    for (const auto& [refused_type, name_of_type] : types) {
        const UINT refused = refused_type;
        CAPTURE(name_of_type);
        const std::wstring name = ipc::test::unique_suffix();
        const fake_server server(name);
        bool has_news = false;
        handle_with([&](UINT type, HCONV, HSZ, HDDEDATA) {
            if (type == refused) {
                return answer(0); // also DDE_FNOTPROCESSED
            }
            has_news = has_news || type == XTYP_POKE;
            if (type == XTYP_ADVREQ || type == XTYP_REQUEST) {
                return server.create_data(L"1", 4);
            }
            return accept(type);
        });
        program b(b_with(name, {L"--limit", L"5"}));
        serve_news(server, b, has_news);
        REQUIRE(b.wait_for_end_of_output());
        if (b.error_output() == "B: the new value has not come in time\n") {
            CHECK(refused == XTYP_EXECUTE);
            SKIP("the acknowledgement of a command does not reach the client here");
        }
        check_failed(b, "B: the server refuses XTYP_" + name_of_type);
    }
}

TEST_CASE("B trusts nothing that a server sends") {
    struct lie {
        std::wstring text;
        std::size_t bytes;
        bool in_update; // or in the answer to a request
    };
    const std::vector<lie> lies = {
        {L"", 2, false},      {L"20 ", 8, true},
        {L"warm", 10, false}, {L"5\x1B", 6, false},
        {L"x", 1, false},     {std::wstring(512 * 1024, L'1'), 1024 * 1024, true},
    };
    for (const lie& each : lies) {
        INFO("bytes: " << each.bytes);
        const std::wstring name = ipc::test::unique_suffix();
        const fake_server server(name);
        bool has_news = false;
        const auto value = [&](bool wrong) {
            return wrong ? server.create_data(each.text, each.bytes) : server.create_data(L"23", 6);
        };
        handle_with([&](UINT type, HCONV, HSZ, HDDEDATA) {
            switch (type) {
            case XTYP_CONNECT:
            case XTYP_ADVSTART: return answer(TRUE);
            case XTYP_POKE: has_news = true; return answer(DDE_FACK);
            case XTYP_ADVREQ: return value(each.in_update);
            case XTYP_REQUEST: return value(!each.in_update);
            default: return answer(0);
            }
        });
        program b(b_with(name));
        serve_news(server, b, has_news);
        check_failed(b, no_temperature);
    }
}

TEST_CASE("B waits for an answer within its limit") {
    const std::wstring name = ipc::test::unique_suffix();
    const fake_server server(name);
    handle_with([](UINT type, HCONV, HSZ, HDDEDATA) {
        return type == XTYP_CONNECT ? answer(TRUE) : CBR_BLOCK; // answers no transaction
    });
    program b(b_with(name, {L"--limit", L"2"}));
    serve_until_end(b);
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    // Windows does not document whether a conversation that is blocked answers at its end.
    CHECK((b.error_output() == "B: the server does not answer\n" ||
           b.error_output() == "B: DdeClientTransaction (XTYP_ADVSTART) failed: "
                               "DMLERR_ADVACKTIMEOUT (0x4000)\n"));
    CHECK(b.output() == b_is_connected);
}

TEST_CASE("B waits for a new value within its limit") {
    const std::wstring name = ipc::test::unique_suffix();
    const fake_server server(name);
    handle_with([](UINT type, HCONV, HSZ, HDDEDATA) { return accept(type); });
    program b(b_with(name, {L"--limit", L"2"}));
    serve_until_end(b);
    check_failed(b, "B: the new value has not come in time");
}

TEST_CASE("B notices at once that the server died while B waits for a new value") {
    const std::wstring name = ipc::test::unique_suffix();
    program silent = start_role(L"[.silent_server]", name);
    REQUIRE(silent.wait_for_output("silent server: ready"));
    program b(b_with(name, {L"--limit", L"0"}));
    REQUIRE(b.wait_for_output("B: poke: the server has accepted the new value\n"));
    const ULONGLONG start_ms = GetTickCount64();
    silent.kill();
    check_failed(b, "B: the server has left");
    CHECK(GetTickCount64() - start_ms < 10'000);
}

TEST_CASE(
    "A that stops for a while is not lost to B, and one that stays stopped ends B at its limit",
    "[alone]") {
    waiting_a a;
    {
        const ipc::test::suspended stopped(a.a);
        program b(b_with(a.name, {L"--limit", L"1"}));
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.exit_code() == 1);
        CHECK(ipc::test::lines_of(b.error_output()).size() == 1);
    }
    a.check_alive();
}

TEST_CASE("A ends at Ctrl+C although a connected client is stopped", "[alone]") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    program client = start_role(L"[.silent_client]", name);
    REQUIRE(client.wait_for_output("silent client: ready"));
    const ipc::test::suspended stopped(client);
    a.press_ctrl_c();
    REQUIRE(a.wait(20'000));
    REQUIRE(a.wait_for_end_of_output());
    CHECK_THAT(a.output(), EndsWith("A: leaving\n"));
    CHECK(a.error_output() == (a.exit_code() == 0 ? "" : "A: a client does not answer\n"));
}

TEST_CASE("B ends although its connected server is stopped", "[alone]") {
    const std::wstring name = ipc::test::unique_suffix();
    program server = start_role(L"[.silent_server]", name);
    REQUIRE(server.wait_for_output("silent server: ready"));
    program b(b_with(name, {L"--limit", L"2"}));
    REQUIRE(b.wait_for_output("B: poke: the server has accepted the new value\n"));
    const ipc::test::suspended stopped(server);
    const ULONGLONG start_ms = GetTickCount64();
    REQUIRE(b.wait(20'000));
    CHECK(GetTickCount64() - start_ms < 2'000 + exit_limit_ms + 3'000);
    REQUIRE(b.wait_for_end_of_output());
    CHECK(b.exit_code() == 1);
    CHECK((b.error_output() == "B: the server does not answer\n" ||
           b.error_output() == "B: the new value has not come in time\n"));
}

TEST_CASE("B takes a value that its server has sent before it died", "[alone]") {
    const std::wstring name = ipc::test::unique_suffix();
    const ipc::unique_handle tell(CreateEventW(nullptr, TRUE, FALSE, name.c_str()));
    program server = start_role(L"[.late_server]", name);
    REQUIRE(server.wait_for_output("late server: ready"));
    program b(b_with(name));
    REQUIRE(b.wait_for_output("B: poke: the server has accepted the new value\n"));
    {
        const ipc::test::suspended stopped(b);
        SetEvent(tell.get());
        REQUIRE(server.wait_for_output("late server: done"));
        server.kill();
    }
    check_failed(b, "B: the server has left");
    if (!ipc::test::is_wine() && !b.output().ends_with("B: advise: the temperature is 23\n")) {
        SKIP("this system drops what a program has sent when the program dies"); // no page says
    }
    CHECK_THAT(b.output(), EndsWith("B: advise: the temperature is 23\n"));
}

TEST_CASE(
    "A string handle is an atom of its process until it is freed; a run leaves no global atom") {
    const std::wstring name = ipc::test::unique_suffix();
    const std::wstring service = ipc::object_name(protocol::service, name);
    {
        const dde_instance instance(APPCMD_CLIENTONLY);
        {
            const string_handle handle(instance.id(), service);
            CHECK(FindAtomW(service.c_str()) != 0);
            CHECK(GlobalFindAtomW(service.c_str()) == 0);
        }
        CHECK(FindAtomW(service.c_str()) == 0);
    }
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    REQUIRE(run(b_with(name, {L"--exit"})).exit_code == 0);
    check_succeeded(a, "A: leaving");
    CHECK(GlobalFindAtomW(service.c_str()) == 0);
}

TEST_CASE("A serves on when clients are killed at any moment") {
    waiting_a a;
    std::mt19937 random(
        23); // NOLINT(bugprone-random-generator-seed): the same moments in every run
    for (int i = 0; i < 20; ++i) {
        program b(b_with(a.name));
        if (!b.wait(std::uniform_int_distribution<DWORD>(0, 60)(random))) {
            b.kill();
        }
        REQUIRE(b.wait());
    }
    a.check_alive();
}

TEST_CASE("B ends when A is killed at any moment") {
    std::mt19937 random(
        32); // NOLINT(bugprone-random-generator-seed): the same moments in every run
    struct pair {
        std::wstring name = ipc::test::unique_suffix();
        program a{a_with(name)};
        program b{b_with(name, {L"--limit", L"1"})};
    };
    for (int i = 0; i < 4; ++i) {
        pair all[5]; // five at once: B can take its whole limit
        for (const pair& each : all) {
            each.b.wait(std::uniform_int_distribution<DWORD>(0, 25)(random));
        }
        for (pair& each : all) {
            REQUIRE(each.a.wait_for_output(a_is_ready)); // and each.b is somewhere in its work
            each.a.kill();
        }
        for (pair& each : all) {
            REQUIRE(each.b.wait(20'000));
            REQUIRE(each.b.wait_for_end_of_output());
            CHECK(each.b.exit_code() <= 1);
            CHECK(ipc::test::lines_of(each.b.error_output()).size() == each.b.exit_code());
        }
    }
}

TEST_CASE("Five pairs at once under different names do not disturb each other") {
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 5; ++i) {
        const std::wstring name = ipc::test::unique_suffix();
        all.push_back(std::make_unique<program>(a_with(name)));
        REQUIRE(all.back()->wait_for_output(a_is_ready));
        all.push_back(std::make_unique<program>(b_with(name, {L"--exit"})));
    }
    for (std::size_t i = 0; i < all.size(); i += 2) {
        check_succeeded(*all[i], "A: poke: the temperature is 23"
                                 "\nA: execute [reset]\nA: execute [exit]\nA: leaving");
        CHECK(std::ranges::count(ipc::test::lines_of(all[i]->output()),
                                 "A: a client has connected") == 1);
        check_succeeded(*all[i + 1], "B: the server has left");
    }
}

TEST_CASE("A name can have two servers, and each client gets one of them") {
    waiting_a first;
    program second(a_with(first.name, {L"--limit", L"60"}));
    REQUIRE(second.wait_for_output(a_is_ready));
    const ipc::test::result b = run(b_with(first.name, {L"--exit"}));
    CHECK(b.exit_code == 0);
    const ipc::test::result other = run(b_with(first.name, {L"--exit"}));
    CHECK(other.exit_code == 0);
    check_succeeded(first.a, "A: leaving");
    check_succeeded(second, "A: leaving");
}

TEST_CASE("A name longer than an atom is refused with the name of the call") {
    const std::wstring name(300, L'x');
    program a(a_with(name));
    check_failed(a, "A: DdeCreateStringHandleW failed: ");
    program b(b_with(name));
    check_failed(b, "B: DdeCreateStringHandleW failed: ");
}

TEST_CASE("200 conversations with 1000 transactions leave no handle behind in A") {
    waiting_a a;
    const auto talk = [&](int conversations) {
        rough_client client(a.name);
        for (int i = 0; i < conversations; ++i) {
            REQUIRE(client.connect());
            REQUIRE(client.transact(XTYP_ADVSTART));
            REQUIRE(client.send(XTYP_POKE, std::to_wstring(i % 60)));
            client.transact(XTYP_REQUEST, {}, 0, L"pressure");
            client.transact(XTYP_ADVSTOP);
            client.send(XTYP_EXECUTE, protocol::reset_command);
            client.leave();
        }
    };
    talk(10);
    const DWORD handles = ipc::test::handle_count(a.a.process());
    talk(200);
    CHECK(ipc::test::handle_count(a.a.process()) <= handles + 5);
    a.check_alive();
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<arguments> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--name"},
        {process_a, L"unexpected"},       {process_a, L"--limit", L"x"},
        {process_b, L"--no-such-option"}, {process_b, L"--name"},
        {process_b, L"unexpected"},
    };
    for (const arguments& each : wrong) {
        const ipc::test::result refused = run(each);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs show their usage with --help") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
