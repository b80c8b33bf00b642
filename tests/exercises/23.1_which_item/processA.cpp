// SOLUTION: one callback gets the transactions for all items and in all formats, and DDEML compares only the name of
// the service. So each transaction is compared with what A offers. The data come from another program: they may have
// no terminating zero, or name no temperature.
// STARTER
//~ // Exercise 23.1: A answers every question with the temperature. Mend it.
// END
//
// The callback handles each transaction. A ends at the command [exit], or at its limit.
//
// Run: processA [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "dde_parts.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <ddeml.h>

#include <cwchar>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD limit_ms = 60'000;

struct server {
    DWORD instance = 0;
    HSZ service = nullptr;
    HSZ topic = nullptr;
    HSZ item = nullptr;
    int temperature = protocol::first_temperature;
    bool has_changed = false;
    bool told_to_exit = false;
};
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the only way into the callback
server office;

HDDEDATA answer(ULONG_PTR value) {
    return reinterpret_cast<HDDEDATA>(value);
}

bool has_news() {
    return office.told_to_exit || office.has_changed;
}

HDDEDATA create_value() {
    std::wstring text = std::to_wstring(office.temperature);
    return DdeCreateDataHandle(office.instance, reinterpret_cast<BYTE*>(text.data()),
                               static_cast<DWORD>((text.size() + 1) * sizeof(wchar_t)), 0,
                               office.item, protocol::format, 0);
}

HDDEDATA handle_poke(HDDEDATA data) {
    // SOLUTION: looks for the zero within the size, and for nothing but a number before it.
    const std::optional<int> value = read_temperature(data);
    if (!value) {
        ipc::print_line("A: poke: refused");
        return answer(DDE_FNOTPROCESSED);
    }
    office.temperature = *value;
    // STARTER
    //~ const auto* const text = reinterpret_cast<const wchar_t*>(DdeAccessData(data, nullptr));
    //~ office.temperature = static_cast<int>(std::wcstol(text, nullptr, 10));
    //~ DdeUnaccessData(data);
    // END
    ipc::print_line("A: poke: the temperature is {}", office.temperature);
    office.has_changed = true;
    return answer(DDE_FACK);
}

HDDEDATA handle_execute(HDDEDATA data) {
    const std::optional<std::wstring> command = read_text(data);
    if (command == protocol::reset_command) {
        office.temperature = protocol::first_temperature;
        office.has_changed = true;
        return answer(DDE_FACK);
    }
    office.told_to_exit = command == protocol::exit_command;
    return answer(office.told_to_exit ? DDE_FACK : DDE_FNOTPROCESSED);
}

// SOLUTION: a name ignores upper and lower case, so the handles are compared with DdeCmpStringHandles.
bool is_offered(HSZ topic, HSZ item, UINT format) {
    return is_same(topic, office.topic) && is_same(item, office.item) && format == protocol::format;
}

HDDEDATA CALLBACK on_transaction(UINT type, UINT format, HCONV, HSZ topic, HSZ item, HDDEDATA data,
                                 ULONG_PTR, ULONG_PTR) noexcept {
    try {
        switch (type) {
        case XTYP_CONNECT: return answer(is_same(topic, office.topic));
        case XTYP_ADVSTART: return answer(is_offered(topic, item, format));
        case XTYP_REQUEST:
        case XTYP_ADVREQ: return is_offered(topic, item, format) ? create_value() : nullptr;
        case XTYP_POKE:
            return is_offered(topic, item, format) ? handle_poke(data) : answer(DDE_FNOTPROCESSED);
        case XTYP_EXECUTE: return handle_execute(data);
        default: return nullptr;
        }
    } catch (...) {
        return nullptr; // no exception may pass through the code of Windows
    }
}
// STARTER
//~ HDDEDATA CALLBACK on_transaction(UINT type, UINT, HCONV, HSZ topic, HSZ, HDDEDATA data, ULONG_PTR,
//~                                  ULONG_PTR) noexcept {
//~     try {
//~         switch (type) {
//~         case XTYP_CONNECT: return answer(is_same(topic, office.topic));
//~         case XTYP_ADVSTART: return answer(TRUE);
//~         case XTYP_REQUEST:
//~         case XTYP_ADVREQ: return create_value();
//~         case XTYP_POKE: return handle_poke(data);
//~         case XTYP_EXECUTE: return handle_execute(data);
//~         default: return nullptr;
//~         }
//~     } catch (...) {
//~         return nullptr; // no exception may pass through the code of Windows
//~     }
//~ }
// END

void leave() {
    for (const HSZ handle : {office.service, office.topic, office.item}) {
        DdeFreeStringHandle(office.instance, handle);
    }
    DdeUninitialize(office.instance);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const UINT error = DdeInitializeW(&office.instance, on_transaction,
                                      CBF_SKIP_REGISTRATIONS | CBF_SKIP_UNREGISTRATIONS, 0);
    if (error != DMLERR_NO_ERROR) {
        throw_dde_error("DdeInitializeW", error);
    }
    const ipc::scope_exit leave_at_end(leave);
    office.service = create_string(office.instance, ipc::object_name(protocol::service, suffix));
    office.topic = create_string(office.instance, protocol::topic);
    office.item = create_string(office.instance, protocol::item);
    if (DdeNameService(office.instance, office.service, nullptr, DNS_REGISTER) == nullptr) {
        throw_dde_error("DdeNameService", DdeGetLastError(office.instance));
    }
    ipc::print_line("A: the service is registered");
    while (!office.told_to_exit) {
        if (run_messages(nullptr, limit_ms, has_news) == WAIT_TIMEOUT) {
            throw std::runtime_error("nobody has told A to exit");
        }
        if (office.has_changed) {
            office.has_changed = false;
            DdePostAdvise(office.instance, office.topic, office.item);
        }
    }
    ipc::print_line("A: leaving");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
