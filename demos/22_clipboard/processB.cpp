// Demo 22, process B: puts an order on the clipboard, in several formats at once.
//
// The text is for every program, the order for A. Both are there at once. The invoice and the
// receipt are only promised: B renders the invoice when A asks (WM_RENDERFORMAT), and the receipt
// when it closes its window (WM_RENDERALLFORMATS). The clipboard belongs to the user, so B gives the
// former content back when A has ended, and says what it could not give back.
//
// Run: processB [--limit SECONDS] [--name SUFFIX], and processA

#include "clipboard.hpp"
#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]\n"
                       "  --limit SECONDS  how long to wait for A; 0: no limit (default 20)\n"
                       "  --name SUFFIX    the same as A's";
constexpr ipc::time_limit default_limit{20'000};

constexpr std::uint32_t coffees = 2;
constexpr std::uint32_t cakes = 1;
constexpr auto text = L"2 coffees and 1 cake, please";
constexpr protocol::amount price{protocol::version, 950};

// What the window procedure knows and notes.
struct owner_state {
    UINT invoice = clipboard::registered(protocol::invoice_format);
    UINT receipt = clipboard::registered(protocol::receipt_format);
    std::vector<UINT> promised; // and not yet rendered
    bool is_taken = false;      // B has emptied the clipboard
    bool is_replaced = false;   // and then another program has

    bool is_promised(UINT format) const {
        return std::ranges::find(promised, format) != promised.end();
    }
};

void render(owner_state& state, UINT format) {
    if (state.is_promised(format)) {
        clipboard::put(format, std::as_bytes(std::span(&price, 1)));
        std::erase(state.promised, format);
        ipc::print_line("B: renders the {}", format == state.invoice ? "invoice" : "receipt");
    }
}

void render_all(HWND window, owner_state& state) {
    if (state.promised.empty()) {
        return;
    }
    ipc::print_line("B: closes its window, and so renders what is left");
    const clipboard::session open(window);
    if (GetClipboardOwner() == window) { // else another program has replaced the content just now
        for (const UINT format : std::vector(state.promised)) {
            render(state, format);
        }
    }
}

// ANCHOR: owner_procedure
LRESULT CALLBACK owner_procedure(HWND window, UINT message, WPARAM wparam, LPARAM lparam) noexcept
    try {
    auto* state = clipboard::state_of<owner_state>(window);
    switch (message) {
    case WM_RENDERFORMAT: // in the GetClipboardData of a program that has the clipboard open
        render(*state, static_cast<UINT>(wparam));
        return 0;
    case WM_RENDERALLFORMATS: render_all(window, *state); return 0; // in our DestroyWindow
    case WM_DESTROYCLIPBOARD: // in somebody's EmptyClipboard: nobody will ask for the rest
        state->promised.clear();
        state->is_replaced = true;
        return 0;
    case WM_CLOSE: return 0; // anybody can post it, and the default is to destroy the window
    default: return DefWindowProcW(window, message, wparam, lparam);
    }
} catch (...) { // no exception may pass through a window procedure
    return ipc::report_exception("B");
}
// ANCHOR_END: owner_procedure

// Waits for the window of A, which may be started later, and opens its process.
ipc::unique_handle find_listener(const std::wstring& title, const clipboard::deadline& end) {
    HWND window = nullptr;
    while ((window = FindWindowExW(HWND_MESSAGE, nullptr, protocol::listener_class,
                                   title.c_str())) == nullptr) {
        if (end.left_ms() == 0) {
            throw std::runtime_error("nobody listens to the clipboard: start processA");
        }
        clipboard::wait({}, std::min<DWORD>(end.left_ms(), 20)); // nothing tells of a new window
    }
    DWORD id = 0;
    GetWindowThreadProcessId(window, &id);
    ipc::unique_handle listener(
        OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    if (!listener) {
        ipc::throw_last_error("OpenProcess");
    }
    return listener;
}

// Two programs that replace the clipboard's content at the same time disturb each other. All Bs
// agree on this mutex; other programs do not know it.
ipc::unique_handle take_turn(const clipboard::deadline& end) {
    ipc::user_only_security security;
    ipc::unique_handle turn(CreateMutexW(security.get(), FALSE, protocol::turn_name));
    if (!turn) {
        ipc::throw_last_error("CreateMutexW");
    }
    DWORD result = 0; // WAIT_ABANDONED_0: a B was killed, and has given nothing back; go on
    while ((result = clipboard::wait({turn.get()}, end.left_ms())) != WAIT_OBJECT_0 &&
           result != WAIT_ABANDONED_0) {
        if (result == WAIT_TIMEOUT) {
            throw std::runtime_error("another processB has kept the clipboard too long");
        }
    }
    return turn;
}

std::vector<std::byte> order_for(const std::wstring& suffix) {
    const auto suffix_bytes = static_cast<std::uint32_t>(suffix.size() * sizeof(wchar_t));
    const protocol::order order{protocol::version, coffees, cakes, suffix_bytes};
    std::vector<std::byte> bytes(sizeof order + suffix_bytes);
    std::memcpy(bytes.data(), &order, sizeof order);
    std::memcpy(bytes.data() + sizeof order, suffix.data(), suffix_bytes);
    return bytes;
}

void put_order(HWND window, owner_state& state, const std::wstring& suffix,
               clipboard::former_content& former) {
    const clipboard::session open(window);
    clipboard::require_answering_owner();
    former.save();
    // ANCHOR: put_order
    if (!EmptyClipboard()) { // the window becomes the owner; with a null window, nobody could put
        ipc::throw_last_error("EmptyClipboard");
    }
    state.is_taken = true;
    // The format that says most comes first: a reader takes the first one that it knows.
    clipboard::put(clipboard::registered(protocol::order_format), order_for(suffix));
    clipboard::put(CF_UNICODETEXT, clipboard::bytes_of(text));
    clipboard::put(clipboard::registered(protocol::no_history_format), clipboard::bytes_of(L""));
    clipboard::promise(state.invoice);
    clipboard::promise(state.receipt);
    state.promised = {state.invoice, state.receipt};
    // ANCHOR_END: put_order
}

void wait_for_end(HANDLE listener, const owner_state& state, clipboard::unique_window& window,
                  const clipboard::deadline& end) {
    for (;;) {
        const DWORD result = clipboard::wait({listener}, end.left_ms());
        if (result == WAIT_TIMEOUT) {
            throw std::runtime_error("A has not taken the order in time");
        }
        if (result == WAIT_OBJECT_0) {
            break;
        }
        if (state.is_replaced) {
            throw std::runtime_error("another program has replaced the order");
        }
        if (window && !state.is_promised(state.invoice)) {
            window.reset(); // as a program that ends; this runs WM_RENDERALLFORMATS
        }
    }
    const DWORD exit_code = ipc::wait_for_exit(listener, 0);
    if (exit_code != 0) {
        throw std::runtime_error("A ended with exit code " + ipc::exit_code_text(exit_code));
    }
}

// Returns whether the order is still on the clipboard, which is open.
bool has_order(const std::wstring& suffix) {
    const auto order = order_for(suffix);
    const auto there =
        clipboard::get(clipboard::registered(protocol::order_format), protocol::max_bytes);
    return there.size() >= order.size() && std::equal(order.begin(), order.end(), there.begin());
}

void give_back(const clipboard::former_content& former, owner_state& state,
               const std::wstring& suffix) {
    const auto window =
        clipboard::create_window(protocol::owner_class, L"", owner_procedure, &state);
    const clipboard::session open(window.get());
    if (state.is_replaced || !has_order(suffix)) {
        ipc::print_line("B: another program has changed the clipboard; it stays as it is");
        return;
    }
    if (!EmptyClipboard()) {
        ipc::throw_last_error("EmptyClipboard");
    }
    former.restore();
    if (former.lost().empty()) {
        ipc::print_line("B: the clipboard has its former content again");
    } else {
        ipc::print_line("B: given back, except for what cannot be copied: {}", former.lost());
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event, which ends the waits
    const clipboard::deadline end(limit.ms);
    owner_state state;
    const auto listener = find_listener(ipc::object_name(protocol::listener_class, suffix), end);
    const auto turn = take_turn(end);
    const ipc::scope_exit end_turn([&] { ReleaseMutex(turn.get()); });
    auto window = clipboard::create_window(protocol::owner_class, L"", owner_procedure, &state);

    clipboard::former_content former;
    const ipc::scope_exit restore([&] { // before the window is destroyed
        try {
            if (state.is_taken) {
                give_back(former, state, suffix);
            }
        } catch (...) {
            ipc::report_exception("B: the former content is not given back");
        }
    });
    put_order(window.get(), state, suffix, former);
    ipc::print_line("B: the clipboard has a text, an order, and two promises");
    wait_for_end(listener.get(), state, window, end);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
