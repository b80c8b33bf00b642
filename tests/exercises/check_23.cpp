// The checks of the exercises of pair 23.

#include "common/security.hpp"
#include "common/text.hpp"
#include "demos/23_dde/dde_parts.hpp"
#include "demos/23_dde/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <ddeml.h>

#include <cstddef>
#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// ---- exercise 23.1: processA [--name SUFFIX] serves until the command [exit]

HDDEDATA CALLBACK ignore_transaction(UINT, UINT, HCONV, HSZ, HSZ, HDDEDATA, ULONG_PTR, ULONG_PTR) {
    return nullptr;
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

// A client that can say what processB never says.
class client {
public:
    client(const trial& attempt, const std::wstring& suffix) {
        attempt.expect(DdeInitializeW(&instance_, ignore_transaction, APPCMD_CLIENTONLY, 0) ==
                           DMLERR_NO_ERROR,
                       "a DDE client starts", "DdeInitializeW fails");
        const string_handle service(instance_, ipc::object_name(protocol::service, suffix));
        const string_handle topic(instance_, protocol::topic);
        // DdeConnect asks every program on the desktop, and has no limit.
        const end_program_after guard(
            20'000, "some window on this desktop hangs: DdeConnect does not return");
        conversation_ = DdeConnect(instance_, service.get(), topic.get(), nullptr);
        attempt.expect(conversation_ != nullptr, "A lets a client connect", "it does not");
    }
    ~client() {
        DdeDisconnect(conversation_);
        DdeUninitialize(instance_);
    }
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    void poke(std::wstring text, std::size_t bytes, const wchar_t* item = protocol::item,
              UINT format = protocol::format) const {
        const string_handle item_handle(instance_, item);
        DdeClientTransaction(reinterpret_cast<BYTE*>(text.data()), static_cast<DWORD>(bytes),
                             conversation_, item_handle.get(), format, XTYP_POKE, limit_ms,
                             nullptr);
    }
    // Returns the text, or an empty one if A refuses. Once in a conversation: Wine acknowledges a request twice.
    std::wstring request(const wchar_t* item) const {
        const string_handle item_handle(instance_, item);
        const HDDEDATA data =
            DdeClientTransaction(nullptr, 0, conversation_, item_handle.get(), protocol::format,
                                 XTYP_REQUEST, limit_ms, nullptr);
        std::wstring text = data == nullptr ? L"" : read_text(data).value_or(L"");
        if (data != nullptr) {
            DdeFreeDataHandle(data);
        }
        return text;
    }
    void end_server() const {
        std::wstring command = protocol::exit_command;
        DdeClientTransaction(reinterpret_cast<BYTE*>(command.data()),
                             static_cast<DWORD>((command.size() + 1) * sizeof(wchar_t)),
                             conversation_, nullptr, 0, XTYP_EXECUTE, TIMEOUT_ASYNC, nullptr);
    }

private:
    static constexpr DWORD limit_ms = 5'000;
    DWORD instance_ = 0;
    HCONV conversation_ = nullptr;
};

program& start_server(trial& attempt, const std::wstring& suffix) {
    program& a = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(a, "A: the service is registered");
    return a;
}

// Handles messages until A has ended: A waits until its clients have answered.
void end_server(const trial& attempt, const client& other, program& a) {
    other.end_server();
    run_messages(a.process(), attempt.limit_ms(), [] { return false; });
    attempt.expect_exit_code(a, 0);
}

void give_temperature(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    start_server(attempt, suffix);
    const client other(attempt, suffix);
    attempt.expect(other.request(protocol::item) == L"20",
                   "a client that requests the temperature gets 20", "it does not");
}

void refuse_item(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    start_server(attempt, suffix);
    const client other(attempt, suffix);
    const std::wstring text = other.request(L"pressure");
    attempt.expect(text.empty(), "a client that requests the pressure gets nothing",
                   "it gets " + ipc::to_utf8(text));
}

void serve_client(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix);
    program& b = attempt.start_partner({L"--name", suffix, L"--exit"});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: request: the temperature is 23");
    attempt.expect_line(b, "B: advise: the temperature is 20");
    attempt.expect_exit_code(a, 0);
}

void refuse_poke(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix);
    {
        const client other(attempt, suffix);
        other.poke(L"31", 6, L"pressure");
        other.poke(L"32", 6, protocol::item, CF_TEXT);
        other.poke(L"33", 6, L"TEMPERATURE");
        end_server(attempt, other, a);
    }
    attempt.expect_no_line(a, "A: poke: the temperature is 31");
    attempt.expect_no_line(a, "A: poke: the temperature is 32");
    attempt.expect_line(a, "A: poke: the temperature is 33");
}

void refuse_text(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = start_server(attempt, suffix);
    {
        const client other(attempt, suffix);
        other.poke(L"34", 6);
        other.poke(L"hot", 8);
        other.poke(std::wstring(512 * 1024, L'1'), 1024 * 1024); // no terminating zero
        end_server(attempt, other, a);
    }
    int accepted = 0;
    for (const std::string& line : ipc::exercise::printed_lines(a)) {
        accepted += line.starts_with("A: poke: the temperature is ") ? 1 : 0;
    }
    attempt.expect(accepted == 1,
                   R"(A accepts "34", and neither "hot" nor a million digits without a zero)",
                   "A accepts " + std::to_string(accepted) + " of the three");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A gives the temperature to a client that requests it", give_temperature},
      {"A refuses the request of an item that it does not offer", refuse_item},
      {"B gets the temperature and its changes", serve_client},
      {"A refuses a poke of another item, and in another format", refuse_poke},
      {"A accepts a temperature, and refuses any other text", refuse_text}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
