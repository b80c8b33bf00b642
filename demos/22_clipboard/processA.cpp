// Demo 22, process A: hears of each change of the clipboard, and reads what B puts there.
//
// A's window is a clipboard format listener: Windows posts WM_CLIPBOARDUPDATE to it after each
// change. A looks whether the content is an order from B, and reads two formats of it, the text and
// the order. B has only promised the invoice, and renders it when A asks. The receipt is there when
// B has closed its window. Everything is copied and checked: any program can put anything there.
//
// Run: processA [--limit SECONDS] [--name SUFFIX], and processB

#include "clipboard.hpp"
#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--limit SECONDS] [--name SUFFIX]\n"
    "  --limit SECONDS  how long to wait for B; 0: no limit (default 20)\n"
    "  --name SUFFIX    only read orders of a B with this suffix: several pairs run at once";
constexpr std::size_t longest_shown = 200; // characters of the text

// Only notes the change. Reading may have to wait for another program, and may throw, and no C++
// exception may pass through a window procedure.
LRESULT CALLBACK listener_procedure(HWND window, UINT message, WPARAM wparam,
                                    LPARAM lparam) noexcept {
    switch (message) {
    case WM_CLIPBOARDUPDATE: *clipboard::state_of<bool>(window) = true; return 0;
    case WM_CLOSE: return 0; // anybody can post it, and the default is to destroy the window
    default: return DefWindowProcW(window, message, wparam, lparam);
    }
}

// Reads a text. Any program can have put it there: it may have no zero character at its end, be
// long, and hold control characters.
std::wstring read_text(UINT format) {
    const std::vector<std::byte> bytes = clipboard::get(format, protocol::max_bytes);
    if (bytes.empty()) {
        throw std::runtime_error("a text is missing, or too long");
    }
    std::wstring text(bytes.size() / sizeof(wchar_t), L'\0');
    std::memcpy(text.data(), bytes.data(), text.size() * sizeof(wchar_t));
    text.resize(std::min({text.find(L'\0'), text.size(), longest_shown}));
    const auto is_control = [](wchar_t c) { return c < L' ' || (c >= 0x7F && c < 0xA0); };
    std::ranges::replace_if(text, is_control, L'?');
    return text;
}

// Reads the order if it is for this A. Returns its owner, which is null if B has closed its window.
std::optional<HWND> take_order(HWND window, const std::wstring& suffix) {
    const UINT order_format = clipboard::registered(protocol::order_format);
    const UINT invoice_format = clipboard::registered(protocol::invoice_format);
    if (!IsClipboardFormatAvailable(order_format)) { // needs no open clipboard
        return std::nullopt;
    }
    clipboard::require_answering_owner(); // each get may wait until it renders
    const clipboard::session open(window);
    const auto order =
        protocol::read_order(clipboard::get(order_format, protocol::max_bytes), suffix);
    if (!order) {
        return std::nullopt;
    }
    ipc::print_line("A: a text: {}", read_text(CF_UNICODETEXT));
    ipc::print_line("A: an order: coffees: {}, cakes: {}", order->coffees, order->cakes);

    if (!IsClipboardFormatAvailable(invoice_format)) { // the promise has ended with B
        throw std::runtime_error("B has ended and has not rendered the invoice");
    }
    const HWND owner = GetClipboardOwner();
    ipc::print_line("A: the invoice, which B renders now: {}", read_text(invoice_format));
    return owner;
} // closes the clipboard

HWND wait_for_order(HWND window, bool& changed, const std::wstring& suffix,
                    const ipc::deadline& end) {
    // ANCHOR: wait_for_order
    std::optional<DWORD> seen; // nothing yet: the first look is at what is there already
    for (;;) {
        changed = false; // before the look: a change during it is seen in the next round
        const DWORD number = GetClipboardSequenceNumber();
        if (number != seen) { // the same number: the same content, so nobody has to open it
            seen = number;
            if (const std::optional<HWND> owner = take_order(window, suffix)) {
                return *owner;
            }
        }
        while (!changed) { // WM_CLIPBOARDUPDATE sets it
            if (clipboard::wait({}, end.left_ms()) == WAIT_TIMEOUT) {
                throw std::runtime_error("nobody has put an order there: start processB");
            }
        }
    }
    // ANCHOR_END: wait_for_order
}

// B renders the receipt when it closes its window. No message says so if another program has asked
// for the receipt before.
void wait_for_receipt(HWND window, HWND owner, const std::wstring& suffix,
                      const ipc::deadline& end) {
    clipboard::wait_until([&] { return owner == nullptr || GetClipboardOwner() != owner; }, end,
                          "B has not closed its window in time");
    const clipboard::session open(window);
    const UINT order_format = clipboard::registered(protocol::order_format);
    const UINT receipt_format = clipboard::registered(protocol::receipt_format);
    if (!protocol::read_order(clipboard::get(order_format, protocol::max_bytes), suffix)) {
        throw std::runtime_error("another program has replaced the order");
    }
    if (!IsClipboardFormatAvailable(receipt_format)) {
        throw std::runtime_error("B has ended and has not rendered the receipt");
    }
    ipc::print_line("A: the receipt, which B left: {}", read_text(receipt_format));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{20'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event, which ends the waits
    bool changed = false;
    const auto window = clipboard::create_window(protocol::listener_class,
                                                 ipc::object_name(protocol::listener_class, suffix),
                                                 listener_procedure, &changed);
    if (!AddClipboardFormatListener(window.get())) {
        ipc::throw_last_error("AddClipboardFormatListener");
    }
    const ipc::scope_exit remove([&] { RemoveClipboardFormatListener(window.get()); });

    ipc::print_line("A: listens to the clipboard");
    const ipc::deadline end(limit.ms);
    const HWND owner = wait_for_order(window.get(), changed, suffix, end);
    wait_for_receipt(window.get(), owner, suffix, end);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
