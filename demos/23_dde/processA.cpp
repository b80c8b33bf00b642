// Demo 23, process A: a DDE server, written with DDEML as old programs are.
//
// A registers a service name. Clients find it by service and topic, and ask for an item: they request its
// value, poke a new one, or start an advise loop and get each new value. A client can also send a command to
// execute. All of this arrives in one callback function, while A handles its window messages. A ends at the
// command [exit], at Ctrl+C, or when no client has done anything for the limit.
//
// Run: processA [--limit SECONDS] [--name SUFFIX], and processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "dde_parts.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage =
    "processA [--limit SECONDS] [--name SUFFIX]\n"
    "  --limit SECONDS  how long to wait for a client's next step; 0: no limit (default 20)\n"
    "  --name SUFFIX    added to the service's name: several pairs run at once";
constexpr ipc::time_limit default_limit{20'000};

// DDEML passes no pointer of the program to the callback: it needs a global. One thread uses it.
struct server {
    DWORD instance = 0;
    HSZ service = nullptr;
    HSZ topic = nullptr;
    HSZ item = nullptr;
    int temperature = protocol::first_temperature;
    bool has_changed = false; // and the advise loops do not have the value yet
    std::uint64_t transactions = 0;
    bool told_to_exit = false;
    bool is_leaving = false;
    std::exception_ptr failure; // what the callback has thrown
};
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the only way into the callback
server office;

// The callback has one return type for everything: a data handle, TRUE, FALSE or a DDE_ flag.
HDDEDATA answer(ULONG_PTR value) {
    return reinterpret_cast<HDDEDATA>(value);
}

bool is_offered(HSZ topic, HSZ item, UINT format) {
    return is_same(topic, office.topic) && is_same(item, office.item) && format == protocol::format;
}

// DDEML frees the handle when the callback has returned it.
HDDEDATA create_value() {
    std::wstring text = std::to_wstring(office.temperature);
    const HDDEDATA data = DdeCreateDataHandle(
        office.instance, reinterpret_cast<BYTE*>(text.data()),
        static_cast<DWORD>((text.size() + 1) * sizeof(wchar_t)), // with the terminating zero
        0,                                                       // offset
        office.item, protocol::format,
        0); // DDEML owns the data, and frees them
    if (data == nullptr) {
        throw_dde_error("DdeCreateDataHandle", DdeGetLastError(office.instance));
    }
    return data;
}

void set_temperature(int value) {
    office.temperature = value;
    office.has_changed = true;
}

HDDEDATA handle_poke(HDDEDATA data) {
    const std::optional<int> value = read_temperature(data);
    if (!value) {
        ipc::print_line("A: poke: refused, it is no temperature");
        return answer(DDE_FNOTPROCESSED);
    }
    ipc::print_line("A: poke: the temperature is {}", *value);
    set_temperature(*value);
    return answer(DDE_FACK);
}

HDDEDATA handle_execute(HDDEDATA data) {
    const std::optional<std::wstring> command = read_text(data);
    if (command == protocol::reset_command) {
        ipc::print_line("A: execute [reset]");
        set_temperature(protocol::first_temperature);
    } else if (command == protocol::exit_command) {
        ipc::print_line("A: execute [exit]");
        office.told_to_exit =
            true; // when the callback has returned: the client waits for the answer
    } else {
        ipc::print_line("A: execute: refused, it is no command");
        return answer(DDE_FNOTPROCESSED);
    }
    return answer(DDE_FACK);
}

HDDEDATA CALLBACK on_transaction(UINT type, UINT format, HCONV, HSZ topic, HSZ item, HDDEDATA data,
                                 ULONG_PTR, ULONG_PTR) noexcept try {
    if (office.is_leaving) {
        return nullptr; // DdeUninitialize handles messages, too
    }
    ++office.transactions;
    // ANCHOR: callback
    switch (type) {
    case XTYP_CONNECT: return answer(is_same(topic, office.topic));
    case XTYP_CONNECT_CONFIRM: ipc::print_line("A: a client has connected"); return nullptr;
    case XTYP_ADVSTART: return answer(is_offered(topic, item, format));
    case XTYP_REQUEST: // the client asks
    case XTYP_ADVREQ:  // DDEML asks, for an advise loop
        return is_offered(topic, item, format) ? create_value() : nullptr;
    case XTYP_POKE:
        return is_offered(topic, item, format) ? handle_poke(data) : answer(DDE_FNOTPROCESSED);
    case XTYP_EXECUTE: return handle_execute(data);
    case XTYP_DISCONNECT: ipc::print_line("A: a client has left"); return nullptr;
    default: return nullptr; // also for what a later Windows may add
    }
    // ANCHOR_END: callback
} catch (...) {
    office.failure = std::current_exception(); // it must not pass through the code of Windows
    return nullptr;
}

// Returns when a client has told A to exit, or at Ctrl+C.
void serve(DWORD limit_ms) {
    while (!office.told_to_exit) {
        const std::uint64_t before = office.transactions; // each one starts the limit anew
        const DWORD result = run_messages(ipc::ctrl_c_event(), limit_ms,
                                          [&] { return office.transactions != before; });
        if (office.has_changed) { // after the callback: the answer to a poke goes first
            office.has_changed = false;
            // DDEML asks the callback for the value, with XTYP_ADVREQ, once for each advise loop.
            if (!DdePostAdvise(office.instance, office.topic, office.item)) {
                ipc::print_error_line("A: DdePostAdvise failed: {}",
                                      dde_error_text(DdeGetLastError(office.instance)));
            }
        }
        if (office.failure) {
            std::rethrow_exception(office.failure);
        }
        if (result == WAIT_OBJECT_0) {
            return; // Ctrl+C
        }
        if (result == WAIT_TIMEOUT) {
            throw std::runtime_error("no client has done anything within the limit");
        }
    }
}

// ANCHOR: leave
// Frees what A has made. The end of a conversation waits for the answer of the client, which can hang.
void leave() {
    office.is_leaving = true;
    const end_program_after guard(exit_limit_ms, "A: a client does not answer");
    DdeNameService(office.instance, office.service, nullptr, DNS_UNREGISTER);
    for (const HSZ handle : {office.service, office.topic, office.item}) {
        DdeFreeStringHandle(office.instance, handle);
    }
    DdeUninitialize(office.instance); // ends all conversations
}
// ANCHOR_END: leave

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event

    // ANCHOR: register
    const UINT error = DdeInitializeW(&office.instance, // 0: a new instance
                                      on_transaction,   // for all transactions
                                      CBF_SKIP_REGISTRATIONS |
                                          CBF_SKIP_UNREGISTRATIONS, // not for other servers' names
                                      0);
    if (error != DMLERR_NO_ERROR) {
        throw_dde_error("DdeInitializeW", error); // GetLastError says nothing here
    }
    const ipc::scope_exit leave_at_end(leave);
    office.service = create_string(office.instance, ipc::object_name(protocol::service, suffix));
    office.topic = create_string(office.instance, protocol::topic);
    office.item = create_string(office.instance, protocol::item);
    if (DdeNameService(office.instance, office.service, nullptr, DNS_REGISTER) == nullptr) {
        throw_dde_error("DdeNameService", DdeGetLastError(office.instance));
    }
    // ANCHOR_END: register
    ipc::print_line("A: the service is registered; waiting for clients");
    serve(limit.ms);
    ipc::print_line("A: leaving");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
