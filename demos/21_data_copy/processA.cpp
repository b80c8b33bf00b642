// Demo 21, process A: receives texts with WM_COPYDATA in a message-only window.
//
// A creates a window that nobody sees and waits for messages, Ctrl+C and the end of its limit. Its window
// procedure checks each message, copies the text and answers; the sender waits only for that. A shows the
// text afterwards, with the program that the sender claims to be.
//
// Run: processA [--count N] [--allow-lower] [--out FILE] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "inbox.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr auto usage =
    "processA [--count N] [--allow-lower] [--out FILE] [--limit SECONDS] [--name SUFFIX]\n"
    "  --count N        end after this number of texts; 0: at Ctrl+C (default 1)\n"
    "  --allow-lower    take texts from programs of a lower integrity level, too\n"
    "  --out FILE       write the texts to FILE and do not show them\n"
    "  --limit SECONDS  how long to wait for a text; 0: no limit (default 20)\n"
    "  --name SUFFIX    added to the window's name: several pairs run at once";
constexpr ipc::time_limit default_limit{20'000};

// Not a pointer in GWLP_USERDATA: other programs of the user can change that, with SetWindowLongPtrW.
inbox& received() {
    static inbox box;
    return box;
}

// Returns the program that the window belongs to. Ask while the sender waits, or the window may be gone.
// The sender chooses the handle, so the result is a hint and no proof.
std::string program_of(HWND window) {
    // ANCHOR: program_of
    DWORD process_id = 0;
    if (GetWindowThreadProcessId(window, &process_id) == 0) {
        return "nobody"; // no window: nullptr, or an invented handle
    }
    const ipc::unique_handle process(
        OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id));
    std::wstring path(32'768, L'\0');
    auto length = static_cast<DWORD>(path.size());
    if (!process || !QueryFullProcessImageNameW(process.get(), 0, path.data(), &length)) {
        return "a program that A may not ask"; // for example another user's
    }
    // ANCHOR_END: program_of
    path.resize(length);
    return ipc::to_utf8(std::filesystem::path(path).filename().wstring());
}

// Returns the answer. The sender waits for it.
LRESULT receive_text(HWND sender, const COPYDATASTRUCT* data, inbox& box) {
    // ANCHOR: receive_text
    if (data == nullptr || data->dwData != protocol::text_identifier) {
        return protocol::refused; // it is for another program
    }
    if (data->lpData == nullptr || data->cbData == 0 ||
        data->cbData > protocol::max_message_bytes) {
        return protocol::refused;
    }
    const std::string_view message(static_cast<const char*>(data->lpData), data->cbData);
    if (message.back() != '\0') {
        return protocol::refused; // strlen would read beyond the end
    }
    if (box.is_full()) {
        return protocol::busy; // A's memory has a limit, however fast the senders are
    }
    // A copy: lpData is valid only until the window procedure returns.
    box.waiting.push_back({program_of(sender), std::string(message.substr(0, message.size() - 1))});
    // ANCHOR_END: receive_text
    ++box.taken;
    box.end = ipc::deadline(box.limit_ms);
    return protocol::taken;
}

// Windows calls this function for each message, sent or posted.
LRESULT CALLBACK handle_message(HWND window, UINT message, WPARAM wparam, LPARAM lparam) noexcept {
    if (message == WM_DESTROY) {
        PostQuitMessage(0); // ends the message loop
        return 0;
    }
    if (message != WM_COPYDATA) {
        return DefWindowProcW(window, message, wparam, lparam); // WM_CLOSE: DestroyWindow
    }
    inbox& box = received();
    LRESULT answer = protocol::refused;
    try {
        // ANCHOR: handle_message
        if (box.is_over()) { // the loop does not notice it while one message follows the other
            DestroyWindow(window);
            return protocol::busy;
        }
        answer = receive_text(reinterpret_cast<HWND>(wparam),
                              reinterpret_cast<const COPYDATASTRUCT*>(lparam), box);
        // ANCHOR_END: handle_message
    } catch (...) { // such as no memory: Windows cannot pass a C++ exception on
        answer = protocol::refused;
    }
    box.refused += answer == protocol::refused ? 1U : 0U;
    return answer;
}

// The caller destroys the window.
HWND create_window(const std::wstring& name) {
    const HINSTANCE program = GetModuleHandleW(nullptr);
    WNDCLASSEXW window_class{};
    window_class.cbSize = sizeof window_class;
    window_class.lpfnWndProc = handle_message;
    window_class.hInstance = program;
    window_class.lpszClassName = protocol::window_class;
    // ANCHOR: create_window
    if (RegisterClassExW(&window_class) == 0) {
        ipc::throw_last_error("RegisterClassExW");
    }
    const HWND window = CreateWindowExW(0,                      // no extended style
                                        protocol::window_class, // belongs to this process
                                        name.c_str(), // any number of windows can have this name
                                        0,            // no style
                                        0, 0, 0, 0,   // no place, no size
                                        HWND_MESSAGE, // message-only: never visible
                                        nullptr,      // no menu
                                        program,
                                        nullptr); // nothing for WM_CREATE
    if (window == nullptr) {
        ipc::throw_last_error("CreateWindowExW");
    }
    // ANCHOR_END: create_window
    return window;
}

void require_no_receiver(const std::wstring& name, HWND own = nullptr) {
    HWND found = protocol::find_receiver(name);
    if (found == own) {
        found = protocol::find_receiver(name, own);
    }
    if (found != nullptr) {
        throw std::runtime_error("the window's name is taken: another receiver is running");
    }
}

void show_texts(inbox& box, ipc::byte_sink& sink) {
    for (const text& next : box.waiting) {
        ipc::print_line("A: {} bytes; the sender's window belongs to {}", next.bytes.size(),
                        next.sender);
        sink.write(next.bytes);
        sink.finish();
        box.end = ipc::deadline(box.limit_ms);
    }
    box.waiting.clear();
}

void receive_texts(inbox& box, ipc::byte_sink& sink) {
    // ANCHOR: receive_texts
    const HANDLE stop = ipc::ctrl_c_event();
    MSG message{};
    while (message.message != WM_QUIT && !box.is_over()) {
        const DWORD wait =
            MsgWaitForMultipleObjectsEx(1, &stop, box.end.left_ms(),
                                        QS_ALLINPUT,          // sent and posted messages
                                        MWMO_INPUTAVAILABLE); // also one that came before this call
        if (wait == WAIT_FAILED) {
            ipc::throw_last_error("MsgWaitForMultipleObjectsEx");
        }
        // Calls handle_message for each sent message, and returns after that. Only posted messages
        // need DispatchMessageW.
        if (PeekMessageW(&message, nullptr, 0, 0, PM_REMOVE)) {
            DispatchMessageW(&message);
        }
        show_texts(box, sink); // no sender waits for this
    }
    // ANCHOR_END: receive_texts
    if (box.timed_out && !box.has_all()) {
        throw std::runtime_error("no text came in time: start processB");
    }
}

void allow_lower_senders(HWND window) {
    // ANCHOR: allow_lower_senders
    if (!ChangeWindowMessageFilterEx(window, WM_COPYDATA, MSGFLT_ALLOW, nullptr)) {
        ipc::throw_last_error("ChangeWindowMessageFilterEx");
    }
    // ANCHOR_END: allow_lower_senders
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    inbox& box = received();
    ipc::time_limit limit = default_limit;
    bool with_lower = false;
    std::wstring file;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--count", &box.most_texts},
                          {L"--allow-lower", &with_lower},
                          {L"--out", &file},
                          {L"--limit", &limit},
                          {L"--name", &suffix}});
    box.limit_ms = limit.ms;
    const auto name = ipc::object_name(protocol::window_name, suffix);
    ipc::byte_sink sink(file, "A: | ");
    require_no_receiver(name); // or B could find the window of a second A first
    const HWND window = create_window(name);
    const ipc::scope_exit destroy([&] { DestroyWindow(window); });
    require_no_receiver(name, window); // for As that start at the same moment
    if (with_lower) {
        allow_lower_senders(window);
    }
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets an event
    ipc::print_line("A: waiting for texts");
    box.end = ipc::deadline(box.limit_ms);
    receive_texts(box, sink);
    ipc::print_line("A: texts taken: {}, messages refused: {}", box.taken, box.refused);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
