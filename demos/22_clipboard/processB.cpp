// Demo 22, process B: puts an order on the clipboard, in several formats at once.
//
// The text is for every program, the order for A. The invoice and the receipt are only promised.
// The order of events: A asks for the invoice, and B renders it (WM_RENDERFORMAT); B closes its
// window, and so renders the receipt (WM_RENDERALLFORMATS); A reads the receipt and ends; B gives
// the former content back, or says what it cannot give back: the clipboard belongs to the user.
//
// Run: processB [--limit SECONDS] [--name SUFFIX], and processA

#include "clipboard.hpp"
#include "common/arguments.hpp"
#include "common/deadline.hpp"
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
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]\n"
                       "  --limit SECONDS  how long to wait for A; 0: no limit (default 20)\n"
                       "  --name SUFFIX    the same as A's";

constexpr auto text = L"2 coffees and 1 cake, please";
constexpr auto price = L"9.50 euros";

// What the window procedure knows and notes.
struct owner_state {
    UINT invoice = clipboard::registered(protocol::invoice_format);
    UINT receipt = clipboard::registered(protocol::receipt_format);
    std::vector<UINT> promised; // and not yet rendered
    bool is_taken = false;      // B has emptied the clipboard
    bool is_replaced = false;   // and another program has done so after B
};

// The window procedure calls this one and the next: no C++ exception may pass through it.
void render(owner_state& state, UINT format) noexcept {
    try {
        if (std::ranges::find(state.promised, format) !=
            state.promised.end()) {                             // else a stranger's
            clipboard::put(format, clipboard::bytes_of(price)); // throws if the clipboard is closed
            std::erase(state.promised, format);
            ipc::print_line("B: renders the {}", format == state.invoice ? "invoice" : "receipt");
        }
    } catch (...) {
        ipc::report_exception("B");
    }
}

void render_all(HWND window, owner_state& state) noexcept {
    if (state.promised.empty()) { // Wine sends the message also then
        return;
    }
    try {
        ipc::print_line("B: closes its window, and so renders what is left");
        const clipboard::session open(window);
        if (GetClipboardOwner() == window) { // else another program has replaced the content
            render(state, state.invoice);
            render(state, state.receipt);
        }
    } catch (...) {
        ipc::report_exception("B");
    }
}

// ANCHOR: owner_procedure
LRESULT CALLBACK owner_procedure(HWND window, UINT message, WPARAM wparam, LPARAM lparam) noexcept {
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
}
// ANCHOR_END: owner_procedure

// Waits for the window of A, which may be started later, and opens its process.
ipc::unique_handle find_listener(const std::wstring& title, const ipc::deadline& end) {
    HWND window = nullptr;
    const auto is_there = [&] {
        window = FindWindowExW(HWND_MESSAGE, nullptr, protocol::listener_class, title.c_str());
        return window != nullptr;
    };
    clipboard::wait_until(is_there, end, "nobody listens to the clipboard: start processA");
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
ipc::unique_handle take_turn(const ipc::deadline& end) {
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
    const protocol::order order{protocol::version, 2, 1, suffix_bytes};
    std::vector<std::byte> bytes(sizeof order + suffix_bytes);
    std::memcpy(bytes.data(), &order, sizeof order);
    std::memcpy(bytes.data() + sizeof order, suffix.data(), suffix_bytes);
    return bytes;
}

void put_order(HWND window, owner_state& state, const std::wstring& suffix,
               clipboard::content& former) {
    clipboard::require_answering_owner();
    const clipboard::session open(window);
    former = clipboard::copy_content();
    // ANCHOR: put_order
    if (!EmptyClipboard()) { // makes the window of OpenClipboard the owner
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
                  const ipc::deadline& end) {
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
        if (state.promised.size() < 2) { // one is rendered, or both are
            window.reset();              // as in a program that ends: WM_RENDERALLFORMATS
        }
    }
    const DWORD exit_code = ipc::wait_for_exit(listener, 0);
    if (exit_code != 0) {
        throw std::runtime_error("A ended with exit code " + ipc::exit_code_text(exit_code));
    }
}

void give_back(const clipboard::content& former, owner_state& state, const std::wstring& suffix) {
    const auto window =
        clipboard::create_window(protocol::owner_class, L"", owner_procedure, &state);
    {
        const clipboard::session open(window.get());
        const UINT order_format = clipboard::registered(protocol::order_format);
        if (!protocol::read_order(clipboard::get(order_format, protocol::max_bytes), suffix)) {
            ipc::print_line("B: another program has changed the clipboard; it stays as it is");
            return;
        }
        if (!EmptyClipboard()) {
            ipc::throw_last_error("EmptyClipboard");
        }
        state.promised.clear(); // nothing is promised any more
        for (const auto& [format, bytes] : former) {
            if (!bytes.empty()) {
                clipboard::put(format, bytes);
            }
        }
    }
    const std::string lost = clipboard::missing_formats(former);
    ipc::print_line("B: the former content is back{}{}",
                    lost.empty() ? "" : ", except for what cannot be copied: ", lost);
}

// Returns the exit code.
int use_clipboard(HANDLE listener, const std::wstring& suffix, const ipc::deadline& end) {
    owner_state state;
    clipboard::content former;
    auto window = clipboard::create_window(protocol::owner_class, L"", owner_procedure, &state);
    int exit_code = 0;
    try {
        put_order(window.get(), state, suffix, former);
        ipc::print_line("B: the clipboard has a text, an order, and two promises");
        wait_for_end(listener, state, window, end);
    } catch (...) {
        exit_code = ipc::report_exception("B");
    }
    try {
        if (state.is_taken) {
            give_back(former, state, suffix);
        }
    } catch (...) {
        exit_code = ipc::report_exception("B: the former content is not given back");
    }
    // NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): with its last window, the pointer has gone
    return exit_code;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{20'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event, which ends the waits
    const ipc::deadline end(limit.ms);
    const auto listener = find_listener(ipc::object_name(protocol::listener_class, suffix), end);
    const auto turn = take_turn(end);
    const ipc::scope_exit end_turn([&] { ReleaseMutex(turn.get()); });
    ipc::print_line("B: takes the clipboard, and gives back what it can copy");
    return use_clipboard(listener.get(), suffix, end);
} catch (...) {
    return ipc::report_exception("B");
}
