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
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--limit SECONDS] [--name SUFFIX]\n"
    "  --limit SECONDS  how long to wait for B; 0: no limit (default 20)\n"
    "  --name SUFFIX    only read orders of a B with this suffix: several pairs run at once";
constexpr ipc::time_limit default_limit{20'000};
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

struct formats {
    UINT order = clipboard::registered(protocol::order_format);
    UINT invoice = clipboard::registered(protocol::invoice_format);
    UINT receipt = clipboard::registered(protocol::receipt_format);
};

std::wstring text_of(const std::vector<std::byte>& bytes) {
    std::wstring text(bytes.size() / sizeof(wchar_t), L'\0');
    std::memcpy(text.data(), bytes.data(), text.size() * sizeof(wchar_t));
    text.resize(std::min(text.find(L'\0'), text.size())); // a hostile text may have no zero
    text.resize(std::min(text.size(), longest_shown));
    const auto is_control = [](wchar_t c) { return c < L' ' || (c >= 0x7F && c < 0xA0); };
    std::ranges::replace_if(text, is_control, L'?');
    return text;
}

// Whether the order is for an A with this suffix.
bool is_for(const std::wstring& suffix, const std::vector<std::byte>& bytes) {
    if (bytes.size() < sizeof(protocol::order)) {
        return false;
    }
    const auto order = clipboard::content_of<protocol::order>(bytes);
    return order.version == protocol::version &&
           order.suffix_bytes == suffix.size() * sizeof(wchar_t) &&
           order.suffix_bytes <= bytes.size() - sizeof order &&
           std::memcmp(bytes.data() + sizeof order, suffix.data(), order.suffix_bytes) == 0;
}

std::string euros(const std::vector<std::byte>& bytes) {
    const auto amount = clipboard::content_of<protocol::amount>(bytes);
    if (amount.version != protocol::version) {
        throw std::runtime_error("an amount has an unknown version");
    }
    const std::string cents = std::to_string(100 + amount.cents % 100).substr(1);
    return std::to_string(amount.cents / 100) + "." + cents + " euros";
}

// Opens the process of the clipboard's owner, to notice its end. Nobody owns it any more if the
// process has ended.
ipc::unique_handle open_owner() {
    DWORD id = 0;
    GetWindowThreadProcessId(GetClipboardOwner(), &id);
    if (id == 0) {
        throw std::runtime_error("B has ended and has not rendered the invoice");
    }
    ipc::unique_handle owner(OpenProcess(SYNCHRONIZE, FALSE, id));
    if (!owner) {
        ipc::throw_last_error("OpenProcess");
    }
    return owner;
}

struct taken_order {
    ipc::unique_handle owner; // the process
    DWORD number = 0;         // the sequence number of the content
};

// Reads the order if it is for this A, else returns no owner.
taken_order take_order(HWND window, const formats& format, const std::wstring& suffix) {
    if (!IsClipboardFormatAvailable(format.order)) { // needs no open clipboard
        return {};
    }
    const clipboard::session open(window);
    const std::vector<std::byte> bytes = clipboard::get(format.order, protocol::max_bytes);
    if (!is_for(suffix, bytes)) {
        return {};
    }
    const auto order = clipboard::content_of<protocol::order>(bytes);
    const auto text = clipboard::get(CF_UNICODETEXT, protocol::max_bytes);
    ipc::print_line("A: a text: {}", text.empty() ? L"none, or too long" : text_of(text));
    ipc::print_line("A: an order: coffees: {}, cakes: {}", order.coffees, order.cakes);

    ipc::unique_handle owner = open_owner();
    clipboard::require_answering_owner(); // the next line waits until B has rendered the invoice
    ipc::print_line("A: the invoice, which B renders now: {}",
                    euros(clipboard::get(format.invoice, protocol::max_bytes)));
    return {std::move(owner), GetClipboardSequenceNumber()};
} // closes the clipboard

taken_order wait_for_order(HWND window, bool& changed, const formats& format,
                           const std::wstring& suffix, const clipboard::deadline& end) {
    // ANCHOR: wait_for_order
    DWORD seen = GetClipboardSequenceNumber() - 1; // so the first look is at what is there already
    for (;;) {
        changed = false; // before the look: a change during it is seen in the next round
        const DWORD number = GetClipboardSequenceNumber();
        if (number != seen) { // the same number: the same content, so nobody has to open it
            seen = number;
            taken_order order = take_order(window, format, suffix);
            if (order.owner) {
                return order;
            }
        }
        while (!changed) { // WM_CLIPBOARDUPDATE sets it
            if (clipboard::wait({}, end.left_ms()) == WAIT_TIMEOUT) {
                throw std::runtime_error(
                    "nobody has put an order on the clipboard: start processB");
            }
        }
    }
    // ANCHOR_END: wait_for_order
}

// B renders the receipt when it closes its window. That is a change, too.
void wait_for_receipt(HWND window, const formats& format, const std::wstring& suffix,
                      const taken_order& order, const clipboard::deadline& end) {
    DWORD result = WAIT_TIMEOUT;
    while (GetClipboardSequenceNumber() == order.number && result != WAIT_OBJECT_0) {
        result = clipboard::wait({order.owner.get()}, end.left_ms());
        if (result == WAIT_TIMEOUT) {
            throw std::runtime_error("B has not closed its window in time");
        }
    }
    const clipboard::session open(window);
    if (!is_for(suffix, clipboard::get(format.order, protocol::max_bytes))) {
        throw std::runtime_error("another program has replaced the order");
    }
    if (!IsClipboardFormatAvailable(format.receipt)) {
        throw std::runtime_error("B has ended and has not rendered the receipt");
    }
    ipc::print_line("A: the receipt, which B left: {}",
                    euros(clipboard::get(format.receipt, protocol::max_bytes)));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event, which ends the waits
    const formats format;
    bool changed = false;
    const auto window = clipboard::create_window(protocol::listener_class,
                                                 ipc::object_name(protocol::listener_class, suffix),
                                                 listener_procedure, &changed);
    if (!AddClipboardFormatListener(window.get())) {
        ipc::throw_last_error("AddClipboardFormatListener");
    }
    const ipc::scope_exit remove([&] { RemoveClipboardFormatListener(window.get()); });

    ipc::print_line("A: listens to the clipboard");
    const clipboard::deadline end(limit.ms);
    const taken_order order = wait_for_order(window.get(), changed, format, suffix, end);
    wait_for_receipt(window.get(), format, suffix, order, end);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
