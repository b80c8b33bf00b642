// SOLUTION: as long as a program has the clipboard open, nobody else can copy or paste: scope_exit closes it on every
// way out. While another program has it open, OpenClipboard fails with ERROR_ACCESS_DENIED, so A tries again for a while.
// STARTER
//~ // Exercise 22.1: when A runs, nobody can copy any more; and now and then A itself fails. Mend it.
// END
//
// A listens to the clipboard, reads one order, and ends. It ignores other content.
//
// Run: processA [--limit SECONDS] [--name SUFFIX], and the pair's processB

#include "clipboard.hpp"
#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processA [--limit SECONDS] [--name SUFFIX]";

// Only notes the change.
LRESULT CALLBACK listener_procedure(HWND window, UINT message, WPARAM wparam,
                                    LPARAM lparam) noexcept {
    if (message == WM_CLIPBOARDUPDATE) {
        *clipboard::state_of<bool>(window) = true;
        return 0;
    }
    return DefWindowProcW(window, message, wparam, lparam);
}

// Opens the clipboard. Throws std::runtime_error("the clipboard is in use") at the end of the time limit.
void open_clipboard(HWND window, [[maybe_unused]] const ipc::deadline& end) {
    // SOLUTION: the other program needs it for some milliseconds. The wait serves the window meanwhile.
    while (!OpenClipboard(window)) {
        const DWORD error = GetLastError();
        if (error != ERROR_ACCESS_DENIED) {
            ipc::throw_error("OpenClipboard", error);
        }
        if (end.is_over()) {
            throw std::runtime_error("the clipboard is in use");
        }
        clipboard::wait({}, std::min<DWORD>(end.left_ms(), 10));
    }
    // STARTER
    //~ if (!OpenClipboard(window)) {
    //~     ipc::throw_last_error("OpenClipboard");
    //~ }
    // END
}

// Returns whether there was an order.
bool read_order(HWND window, UINT format, const ipc::deadline& end) {
    if (!IsClipboardFormatAvailable(format)) {
        return false;
    }
    open_clipboard(window, end);
    // SOLUTION: this closes it on every way out, also after an exception.
    const ipc::scope_exit close([] { CloseClipboard(); });
    const auto bytes = clipboard::get(format, protocol::max_bytes);
    if (bytes.size() < sizeof(protocol::order)) {
        ipc::print_line("A: this is no order");
        return false;
    }
    protocol::order order{};
    std::memcpy(&order, bytes.data(), sizeof order);
    ipc::print_line("A: an order: coffees: {}, cakes: {}", order.coffees, order.cakes);
    // STARTER
    //~ const auto bytes = clipboard::get(format, protocol::max_bytes);
    //~ if (bytes.size() < sizeof(protocol::order)) {
    //~     ipc::print_line("A: this is no order");
    //~     return false;
    //~ }
    //~ protocol::order order{};
    //~ std::memcpy(&order, bytes.data(), sizeof order);
    //~ ipc::print_line("A: an order: coffees: {}, cakes: {}", order.coffees, order.cakes);
    //~ CloseClipboard();
    // END
    return true;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit{20'000};
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    const ipc::deadline end(limit.ms);
    const UINT format = clipboard::registered(protocol::order_format);
    bool changed = true; // look at what is there already
    const auto window = clipboard::create_window(protocol::listener_class,
                                                 ipc::object_name(protocol::listener_class, suffix),
                                                 listener_procedure, &changed);
    if (!AddClipboardFormatListener(window.get())) {
        ipc::throw_last_error("AddClipboardFormatListener");
    }
    const ipc::scope_exit remove([&] { RemoveClipboardFormatListener(window.get()); });
    ipc::print_line("A: listens to the clipboard");
    for (;;) {
        if (changed) {
            changed = false;
            if (read_order(window.get(), format, end)) {
                return 0;
            }
        } else if (clipboard::wait({}, end.left_ms()) == WAIT_TIMEOUT) {
            throw std::runtime_error("nobody has put an order on the clipboard");
        }
    }
} catch (...) {
    return ipc::report_exception("A");
}
