// Demo 23, process B: a DDE client, written with DDEML as old programs are.
//
// B finds A by service and topic. It requests the value of an item, starts an advise loop on it, pokes a new
// value and executes a command: the advise loop brings each change. An item that A does not offer is refused.
// Then B leaves; with --exit it tells A to end, and learns that A has left.
//
// Run: processB [--poke TEXT] [--execute COMMAND] [--exit] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "dde_parts.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

constexpr auto usage =
    "processB [--poke TEXT] [--execute COMMAND] [--exit] [--limit SECONDS] [--name SUFFIX]\n"
    "  --poke TEXT        the new temperature (default 23)\n"
    "  --execute COMMAND  the command to execute (default [reset])\n"
    "  --exit             tell A to end\n"
    "  --limit SECONDS    how long to wait for A, and for each of its answers; 0: no limit "
    "(default 10)\n"
    "  --name SUFFIX      the same as A's";
constexpr ipc::time_limit default_limit{10'000};
constexpr DWORD retry_ms = 250; // to connect again, unless a server is announced before
constexpr DWORD guard_delay_ms = 1'000;
constexpr DWORD longest_transaction_ms = 3'600'000;
constexpr auto server_left = "the server has left";

// DDEML passes no pointer of the program to the callback: it needs a global. One thread uses it.
struct client {
    DWORD instance = 0;
    bool server_announced = false;
    std::uint64_t updates = 0;
    std::optional<int> temperature; // of the last update
    bool command_refused = false;
    bool server_has_left = false;
    std::exception_ptr failure; // what the callback has thrown
};
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the only way into the callback
client watcher;

HDDEDATA CALLBACK on_transaction(UINT type, UINT, HCONV, HSZ, HSZ, HDDEDATA data, ULONG_PTR,
                                 ULONG_PTR) noexcept try {
    switch (type) {
    case XTYP_REGISTER: watcher.server_announced = true; return nullptr;
    case XTYP_ADVDATA: // B may be in the middle of another call, so only keep the value
        watcher.temperature = read_temperature(data); // DDEML frees the data
        ++watcher.updates;
        return reinterpret_cast<HDDEDATA>(ULONG_PTR{DDE_FACK});
    case XTYP_XACT_COMPLETE: watcher.command_refused = data == nullptr; return nullptr;
    case XTYP_DISCONNECT: watcher.server_has_left = true; return nullptr;
    default: return nullptr;
    }
} catch (...) {
    watcher.failure = std::current_exception(); // it must not pass through the code of Windows
    return nullptr;
}

// DdeConnect sends a message to every top-level window of the desktop. It has no limit of its own, and
// nothing cancels it: it can wait for a hung window of any other program. So this ends B instead.
class connect_guard {
public:
    explicit connect_guard(DWORD limit_ms)
        : connected_(CreateEventW(nullptr, TRUE, FALSE, nullptr)) {
        if (!connected_) {
            ipc::throw_last_error("CreateEventW");
        }
        thread_ = std::jthread([event = connected_.get(), limit_ms] {
            if (WaitForSingleObject(event, limit_ms) == WAIT_TIMEOUT) {
                ipc::print_error_line(
                    "B: DdeConnect does not return: some window on this desktop hangs");
                TerminateProcess(GetCurrentProcess(), 1);
            }
        });
    }
    ~connect_guard() { SetEvent(connected_.get()); } // and ~jthread waits for the thread
    connect_guard(const connect_guard&) = delete;
    connect_guard& operator=(const connect_guard&) = delete;

private:
    ipc::unique_handle connected_;
    std::jthread thread_;
};

// Broadcasts the two names until a server answers.
HCONV connect(const string_handle& service, const string_handle& topic, DWORD limit_ms) {
    const ULONGLONG start_ms = GetTickCount64();
    // Later than the limit: if DdeConnect returns, the function can say more.
    const bool without_limit = limit_ms == INFINITE; // --limit 0: Ctrl+C ends B
    const connect_guard guard(without_limit ? limit_ms : limit_ms + guard_delay_ms);
    for (;;) {
        watcher.server_announced = false;
        // ANCHOR: connect
        const HCONV conversation = DdeConnect(watcher.instance, service.get(), topic.get(),
                                              nullptr); // the default context
        // ANCHOR_END: connect
        if (conversation != nullptr) {
            return conversation;
        }
        const UINT error = DdeGetLastError(watcher.instance);
        if (error != DMLERR_NO_CONV_ESTABLISHED && error != DMLERR_NO_ERROR) {
            throw_dde_error("DdeConnect", error);
        }
        if (!without_limit && GetTickCount64() - start_ms >= limit_ms) {
            throw std::runtime_error("no server answers: start processA");
        }
        run_messages({}, retry_ms, [] { return watcher.server_announced; });
    }
}

// Opens the process of the server. Its end ends the waits of B, even if no message tells of it.
ipc::unique_handle open_server(HCONV conversation) {
    CONVINFO info{};
    info.cb = sizeof info;
    if (DdeQueryConvInfo(conversation, QID_SYNC, &info) == 0) {
        throw_dde_error("DdeQueryConvInfo", DdeGetLastError(watcher.instance));
    }
    DWORD process_id = 0;
    if (GetWindowThreadProcessId(info.hwndPartner, &process_id) == 0) {
        throw std::runtime_error(server_left);
    }
    ipc::unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, process_id));
    if (!process) {
        ipc::throw_last_error("OpenProcess");
    }
    return process;
}

// A conversation with a server that offers the item.
struct session {
    HCONV conversation;
    HANDLE server;
    HSZ item;
    DWORD limit_ms;
};

// Throws an exception that says why the call has failed, unless the server refused it.
void require_refusal(const session& with, const char* call) {
    const UINT error = DdeGetLastError(watcher.instance); // this also clears the error
    if (watcher.server_has_left || WaitForSingleObject(with.server, 0) == WAIT_OBJECT_0) {
        throw std::runtime_error(server_left);
    }
    if (error != DMLERR_NOTPROCESSED) {
        throw_dde_error(call, error);
    }
}

// TIMEOUT_ASYNC has the value of INFINITE: a limit of "none" would turn the call into another one.
DWORD transaction_limit(const session& with) {
    return std::min(with.limit_ms, longest_transaction_ms);
}

// Returns the value, or nothing if the server refuses.
std::optional<int> request_value(const session& with, HSZ item) {
    // ANCHOR: request
    const HDDEDATA data = DdeClientTransaction(
        nullptr, 0, // nothing to send
        with.conversation, item, protocol::format, XTYP_REQUEST,
        transaction_limit(with), // meanwhile, DDEML handles messages and can call the callback
        nullptr);
    if (data == nullptr) {
        require_refusal(with, "DdeClientTransaction (XTYP_REQUEST)");
        return std::nullopt;
    }
    const ipc::scope_exit free_data([&] { DdeFreeDataHandle(data); }); // ours to free
    const std::optional<int> value = read_temperature(data);
    // ANCHOR_END: request
    if (!value) {
        throw std::runtime_error("the server has sent something that is no temperature");
    }
    return value;
}

void start_advise_loop(const session& with) {
    if (DdeClientTransaction(nullptr, 0, with.conversation, with.item, protocol::format,
                             XTYP_ADVSTART, // each new value comes with its data: a hot link
                             transaction_limit(with), nullptr) == nullptr) {
        require_refusal(with, "DdeClientTransaction (XTYP_ADVSTART)");
        throw std::runtime_error("the server refuses the advise loop");
    }
}

// Returns whether the server has accepted the value.
bool poke_value(const session& with, std::wstring text) {
    DWORD flags = 0;
    const HDDEDATA done = DdeClientTransaction(
        reinterpret_cast<BYTE*>(text.data()),
        static_cast<DWORD>((text.size() + 1) * sizeof(wchar_t)), // with the terminating zero
        with.conversation, with.item, protocol::format, XTYP_POKE, transaction_limit(with),
        &flags); // DDE_FACK: accepted
    if (done == nullptr) {
        require_refusal(with, "DdeClientTransaction (XTYP_POKE)");
    }
    return done != nullptr && (flags & DDE_FACK) != 0;
}

// Does not wait for the acknowledgement: a command can take long, and its effect is what counts.
void execute(const session& with, std::wstring command) {
    const HDDEDATA started = DdeClientTransaction(
        reinterpret_cast<BYTE*>(command.data()),
        static_cast<DWORD>((command.size() + 1) * sizeof(wchar_t)), with.conversation,
        nullptr, // a command has no item
        0,       // and no format
        XTYP_EXECUTE,
        TIMEOUT_ASYNC, // XTYP_XACT_COMPLETE brings the acknowledgement to the callback
        nullptr);
    if (started == nullptr) {
        require_refusal(with, "DdeClientTransaction (XTYP_EXECUTE)");
    }
}

// Handles messages until done() is true. Returns false if the server has left before.
bool wait_for(const session& with, const char* what, const std::function<bool()>& done) {
    const DWORD result = run_messages({with.server}, with.limit_ms, [&] {
        return done() || watcher.server_has_left || watcher.command_refused || watcher.failure;
    });
    if (watcher.failure) {
        std::rethrow_exception(watcher.failure);
    }
    if (result == WAIT_TIMEOUT) {
        throw std::runtime_error(std::string(what) + " has not come in time");
    }
    if (watcher.command_refused) {
        throw std::runtime_error("the server refuses the command");
    }
    return done();
}

void show_update(const session& with, std::uint64_t updates_before) {
    if (!wait_for(with, "the new value", [&] { return watcher.updates != updates_before; })) {
        throw std::runtime_error(server_left);
    }
    if (!watcher.temperature) {
        throw std::runtime_error("the server has sent something that is no temperature");
    }
    ipc::print_line("B: advise: the temperature is {}", *watcher.temperature);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring new_value = L"23";
    std::wstring command = protocol::reset_command;
    bool with_exit = false;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--poke", &new_value},
                          {L"--execute", &command},
                          {L"--exit", &with_exit},
                          {L"--limit", &limit},
                          {L"--name", &suffix}});

    const UINT error = DdeInitializeW(&watcher.instance, on_transaction, APPCMD_CLIENTONLY, 0);
    if (error != DMLERR_NO_ERROR) {
        throw_dde_error("DdeInitializeW", error);
    }
    const ipc::scope_exit uninitialize([] { DdeUninitialize(watcher.instance); });
    const string_handle service(watcher.instance, ipc::object_name(protocol::service, suffix));
    const string_handle topic(watcher.instance, protocol::topic);
    const string_handle item(watcher.instance, protocol::item);
    const string_handle other_item(watcher.instance, L"pressure");

    const HCONV conversation = connect(service, topic, limit.ms);
    const ipc::scope_exit disconnect([&] { DdeDisconnect(conversation); });
    const ipc::unique_handle server = open_server(conversation);
    const session with{conversation, server.get(), item.get(), limit.ms};
    ipc::print_line("B: connected");
    start_advise_loop(with);
    std::uint64_t before = watcher.updates;
    if (!poke_value(with, new_value)) {
        throw std::runtime_error("the server refuses the value");
    }
    ipc::print_line("B: poke: the server has accepted the new value");
    show_update(with, before);
    if (!request_value(with, other_item.get())) {
        ipc::print_line("B: request: the server does not offer the pressure");
    }
    const std::optional<int> value = request_value(with, item.get());
    if (!value) {
        throw std::runtime_error("the server does not offer the temperature");
    }
    ipc::print_line("B: request: the temperature is {}", *value);
    before = watcher.updates;
    execute(with, command);
    ipc::print_line("B: execute: the command is on its way");
    show_update(with, before);
    if (with_exit) {
        execute(with, protocol::exit_command);
        wait_for(with, "the end of the server", [] { return watcher.server_has_left; });
        ipc::print_line("B: the server has left");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
