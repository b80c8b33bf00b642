// Demo 23, process B: a DDE client, written with DDEML as old programs are.
//
// B finds A by service and topic. It starts an advise loop on an item, pokes a new value, requests the value and
// executes a command: the advise loop brings each change. Then B leaves; with --exit it tells A to end, and
// learns that A has left.
//
// Run: processB [--exit] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "dde_parts.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

constexpr auto usage = "processB [--exit] [--limit SECONDS] [--name SUFFIX]\n"
                       "  --exit           tell A to end\n"
                       "  --limit SECONDS  how long to wait for A, and for each of its answers; 0: "
                       "no limit (default 10)\n"
                       "  --name SUFFIX    the same as A's";
constexpr ipc::time_limit default_limit{10'000};
// TIMEOUT_ASYNC has the value of INFINITE: without a limit, each call would become another one. So: 24 days.
constexpr DWORD longest_limit_ms = USER_TIMER_MAXIMUM;
constexpr DWORD retry_ms = 500;
constexpr DWORD last_messages_ms = 100;
constexpr auto server_left = "the server has left";
constexpr auto no_temperature = "the server has sent something that is no temperature";

// DDEML passes no pointer of the program to the callback: it needs a global. One thread uses it.
struct client {
    DWORD instance = 0;
    HSZ service = nullptr;
    HSZ topic = nullptr;
    HSZ item = nullptr;
    HCONV conversation = nullptr;
    ipc::unique_handle server; // its process
    DWORD limit_ms = 0;        // of each wait
    bool server_announced = false;
    bool has_update = false;
    std::optional<int> temperature; // of the last update
    bool command_refused = false;
    bool server_has_left = false;
};
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the only way into the callback
client watcher;

// noexcept: no exception may pass through the code of Windows.
HDDEDATA CALLBACK on_transaction(UINT type, UINT, HCONV, HSZ, HSZ, HDDEDATA data, ULONG_PTR,
                                 ULONG_PTR) noexcept {
    switch (type) {
    case XTYP_REGISTER: watcher.server_announced = true; return nullptr;
    case XTYP_ADVDATA: // B may be in the middle of another call, so only keep the value
        watcher.temperature = read_temperature(data); // DDEML frees the data
        watcher.has_update = true;
        return reinterpret_cast<HDDEDATA>(ULONG_PTR{DDE_FACK});
    case XTYP_XACT_COMPLETE: watcher.command_refused = data == nullptr; return nullptr;
    case XTYP_DISCONNECT: // when this call returns, the handle of the conversation is invalid
        watcher.server_has_left = true;
        watcher.conversation = nullptr;
        return nullptr;
    default: return nullptr;
    }
}

// Asks every top-level window of the desktop for the two names. Returns whether a server has answered.
bool try_to_connect() {
    const end_program_after guard(
        watcher.limit_ms, "B: DdeConnect does not return: some window on this desktop hangs");
    // ANCHOR: connect
    watcher.conversation = DdeConnect(watcher.instance, watcher.service, watcher.topic,
                                      nullptr); // the default context
    // ANCHOR_END: connect
    if (watcher.conversation == nullptr) {
        const UINT error = DdeGetLastError(watcher.instance);
        if (error != DMLERR_NO_CONV_ESTABLISHED && error != DMLERR_NO_ERROR) {
            throw_dde_error("DdeConnect", error);
        }
    }
    return watcher.conversation != nullptr;
}

// Tries again when a server announces itself. Wine announces it a moment before it answers, so also after a time.
void connect() {
    const ipc::deadline end(watcher.limit_ms);
    while (!try_to_connect()) {
        if (end.is_over()) {
            throw std::runtime_error("no server answers: start processA");
        }
        run_messages(nullptr, retry_ms,
                     [] { return std::exchange(watcher.server_announced, false); });
    }
}

// Opens the process of the server. Its end ends the waits of B, even if no message tells of it.
ipc::unique_handle open_server() {
    CONVINFO info{};
    info.cb = sizeof info;
    if (DdeQueryConvInfo(watcher.conversation, QID_SYNC, &info) == 0) {
        throw_dde_error("DdeQueryConvInfo", DdeGetLastError(watcher.instance));
    }
    DWORD process_id = 0;
    if (GetWindowThreadProcessId(info.hwndPartner, &process_id) == 0) {
        throw std::runtime_error(server_left);
    }
    ipc::unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, process_id));
    const DWORD error = process ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_INVALID_PARAMETER) { // there is no such process any more
        throw std::runtime_error(server_left);
    }
    if (error != ERROR_SUCCESS && error != ERROR_ACCESS_DENIED) { // denied: another user's
        ipc::throw_error("OpenProcess", error);                   // then only messages tell B
    }
    return process;
}

bool server_is_gone() {
    return watcher.server_has_left ||
           (watcher.server && WaitForSingleObject(watcher.server.get(), 0) == WAIT_OBJECT_0);
}

[[noreturn]] void throw_transaction_error(const std::string& type) {
    const UINT error = DdeGetLastError(watcher.instance); // this also clears the error
    if (error == DMLERR_SERVER_DIED || server_is_gone()) {
        throw std::runtime_error(server_left);
    }
    if (error == DMLERR_NOTPROCESSED) {
        throw std::runtime_error("the server refuses " + type);
    }
    throw_dde_error("DdeClientTransaction (" + type + ")", error);
}

int request_value() {
    // ANCHOR: request
    const HDDEDATA data = DdeClientTransaction(
        nullptr, 0, // nothing to send
        watcher.conversation, watcher.item, protocol::format, XTYP_REQUEST,
        watcher.limit_ms, // meanwhile, DDEML handles messages and can call the callback
        nullptr);
    if (data == nullptr) {
        throw_transaction_error("XTYP_REQUEST");
    }
    const std::optional<int> value = read_temperature(data);
    DdeFreeDataHandle(data); // ours to free
    // ANCHOR_END: request
    if (!value) {
        throw std::runtime_error(no_temperature);
    }
    return *value;
}

void start_advise_loop() {
    if (DdeClientTransaction(nullptr, 0, watcher.conversation, watcher.item, protocol::format,
                             XTYP_ADVSTART, // each new value comes with its data: a hot link
                             watcher.limit_ms, nullptr) == nullptr) {
        throw_transaction_error("XTYP_ADVSTART");
    }
}

void poke_value(std::wstring text) {
    watcher.has_update = false; // from here on
    DWORD flags = 0;
    const HDDEDATA done = DdeClientTransaction(
        reinterpret_cast<BYTE*>(text.data()),
        static_cast<DWORD>((text.size() + 1) * sizeof(wchar_t)), // with the terminating zero
        watcher.conversation, watcher.item, protocol::format, XTYP_POKE, watcher.limit_ms,
        &flags); // DDE_FACK: accepted
    if (done == nullptr) {
        throw_transaction_error("XTYP_POKE");
    }
    if ((flags & DDE_FACK) == 0) {
        throw std::runtime_error("the server refuses XTYP_POKE");
    }
}

// Does not wait for the acknowledgement: a command can take long, and its effect is what counts.
void execute(std::wstring command) {
    watcher.has_update = false;
    const HDDEDATA started = DdeClientTransaction(
        reinterpret_cast<BYTE*>(command.data()),
        static_cast<DWORD>((command.size() + 1) * sizeof(wchar_t)), watcher.conversation,
        nullptr, // a command has no item
        0,       // and no format
        XTYP_EXECUTE,
        TIMEOUT_ASYNC, // XTYP_XACT_COMPLETE brings the acknowledgement to the callback
        nullptr);
    if (started == nullptr) {
        throw_transaction_error("XTYP_EXECUTE");
    }
}

// Waits for two things: messages, and the end of the server's process. Returns when done() is true.
void wait_for(const std::string& what, const std::function<bool()>& done) {
    const auto is_over = [&] {
        return done() || watcher.server_has_left || watcher.command_refused;
    };
    run_messages(watcher.server.get(), watcher.limit_ms, is_over);
    if (!is_over() && server_is_gone()) {
        run_messages(nullptr, last_messages_ms, is_over); // what the server has sent before its end
    }
    if (done()) {
        return;
    }
    if (watcher
            .command_refused) { // a server that dies looks the same, a moment before its process ends
        run_messages(watcher.server.get(), last_messages_ms, server_is_gone);
    }
    if (server_is_gone()) {
        throw std::runtime_error(server_left);
    }
    throw std::runtime_error(watcher.command_refused ? "the server refuses XTYP_EXECUTE"
                                                     : what + " has not come in time");
}

void show_update() {
    wait_for("the new value", [] { return watcher.has_update; });
    if (!watcher.temperature) {
        throw std::runtime_error(no_temperature);
    }
    ipc::print_line("B: advise: the temperature is {}", *watcher.temperature);
}

// Ends the conversation and frees what B has made. This waits for the answer of the server, which can hang.
void leave() {
    const end_program_after guard(exit_limit_ms, "B: the server does not answer");
    if (watcher.conversation != nullptr) {
        DdeDisconnect(watcher.conversation);
    }
    for (const HSZ handle : {watcher.service, watcher.topic, watcher.item}) {
        DdeFreeStringHandle(watcher.instance, handle);
    }
    DdeUninitialize(watcher.instance);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    bool with_exit = false;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--exit", &with_exit}, {L"--limit", &limit}, {L"--name", &suffix}});
    watcher.limit_ms = std::min<DWORD>(limit.ms, longest_limit_ms);

    const UINT error = DdeInitializeW(&watcher.instance, on_transaction, APPCMD_CLIENTONLY, 0);
    if (error != DMLERR_NO_ERROR) {
        throw_dde_error("DdeInitializeW", error);
    }
    const ipc::scope_exit leave_at_end(leave);
    watcher.service = create_string(watcher.instance, ipc::object_name(protocol::service, suffix));
    watcher.topic = create_string(watcher.instance, protocol::topic);
    watcher.item = create_string(watcher.instance, protocol::item);
    connect();
    watcher.server = open_server();
    ipc::print_line("B: connected");
    start_advise_loop();
    poke_value(L"23");
    ipc::print_line("B: poke: the server has accepted the new value");
    show_update();
    ipc::print_line("B: request: the temperature is {}", request_value());
    execute(protocol::reset_command);
    ipc::print_line("B: execute: the command is on its way");
    show_update();
    if (with_exit) {
        execute(protocol::exit_command);
        wait_for("the end of the server", server_is_gone);
        ipc::print_line("B: the server has left");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
