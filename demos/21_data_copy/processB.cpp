// Demo 21, process B: sends texts to A's window with WM_COPYDATA.
//
// B finds the message-only window of A by its class and name, and sends each text with a time limit:
// SendMessageW would wait for a hung receiver without end. The answer says whether A has taken the text.
//
// Run: processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [TEXT...]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--limit SECONDS] [--name SUFFIX] [TEXT...]\n"
    "  --in FILE        send the content of FILE as one text\n"
    "  --limit SECONDS  how long to wait for A, and for each answer; 0: no limit "
    "(default 20)\n"
    "  --name SUFFIX    the same as A's\n"
    "  TEXT...          what to send (default: Hello from B)";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD retry_ms = 20;
constexpr DWORD busy_retry_ms = 100;

HWND wait_for_receiver(const std::wstring& name, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    for (;;) {
        const HWND receiver = protocol::find_receiver(name);
        if (receiver != nullptr) {
            return receiver;
        }
        if (end.is_over()) {
            throw std::runtime_error("there is no receiver: start processA");
        }
        Sleep(retry_ms); // Windows cannot tell B that a window of this name is created
    }
}

// A window of B, only to say who sends: A asks which process it belongs to. The caller destroys it.
HWND create_own_window() {
    const HWND window = CreateWindowExW(0, L"STATIC" /* a class of Windows */, nullptr, 0, 0, 0, 0,
                                        0, HWND_MESSAGE, nullptr, nullptr, nullptr);
    if (window == nullptr) {
        ipc::throw_last_error("CreateWindowExW");
    }
    return window;
}

// Throws what B knows of a text that A has not taken. answered: A has refused it, or is busy.
[[noreturn]] void throw_not_taken(HWND receiver, bool answered, DWORD error) {
    if (!IsWindow(receiver)) {
        throw std::runtime_error("the receiver has ended, with or without the text");
    }
    if (answered) {
        throw std::runtime_error("the receiver has refused the text");
    }
    if (error == ERROR_TIMEOUT || error == ERROR_SUCCESS) {
        throw std::runtime_error("the receiver did not answer in time; it may still get the text");
    }
    // ERROR_ACCESS_DENIED: the receiver runs at a higher integrity level
    throw std::runtime_error("the receiver cannot be reached: SendMessageTimeoutW failed: " +
                             ipc::error_text(error));
}

// Returns the receiver's answer: taken or busy.
LRESULT send_text(HWND receiver, HWND sender, std::string& text, DWORD limit_ms) {
    // ANCHOR: send_text
    COPYDATASTRUCT data{};
    data.dwData = protocol::text_identifier;
    data.cbData = static_cast<DWORD>(text.size() + 1); // in bytes, with the terminating zero
    data.lpData = text.data();
    DWORD_PTR result = protocol::refused;
    SetLastError(ERROR_SUCCESS); // a time-out need not set it
    const LRESULT sent = SendMessageTimeoutW(
        receiver, WM_COPYDATA,
        reinterpret_cast<WPARAM>(sender), // the sending window: a claim that nobody checks
        reinterpret_cast<LPARAM>(&data),
        SMTO_ABORTIFHUNG |                   // give up at once if the receiver hangs already
            SMTO_ERRORONEXIT,                // and if it ends meanwhile
        limit_ms == INFINITE ? 0 : limit_ms, // 0: no limit; INFINITE would be -1 ms
        &result);
    const DWORD error = GetLastError();
    const auto answer = static_cast<LRESULT>(result);
    if (sent == 0 || (answer != protocol::taken && answer != protocol::busy)) {
        throw_not_taken(receiver, sent != 0, error);
    }
    // ANCHOR_END: send_text
    return answer;
}

// A busy receiver has not taken the text, so a second try cannot double it. After a time-out it could.
void deliver_text(HWND receiver, HWND sender, std::string& text, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    while (send_text(receiver, sender, text, limit_ms) == protocol::busy) {
        if (end.is_over()) {
            throw std::runtime_error("the receiver is busy, and has not taken the text");
        }
        Sleep(busy_retry_ms); // a pause, or A gets no time to show texts
    }
}

std::string read_text(const std::wstring& file) {
    ipc::byte_source source(file, "Hello from B");
    std::string text(protocol::max_message_bytes, '\0'); // one byte more than fits
    std::size_t used = 0;
    while (const DWORD bytes = source.read({text.data() + used, text.size() - used})) {
        used += bytes;
    }
    if (used >= protocol::max_message_bytes) {
        throw std::runtime_error("the text is too long: a message has at most " +
                                 std::to_string(protocol::max_message_bytes) + " bytes");
    }
    text.resize(used);
    return text;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring file;
    std::wstring suffix;
    std::vector<std::wstring> arguments;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &file}, {L"--limit", &limit}, {L"--name", &suffix}},
                         &arguments);
    std::vector<std::string> texts;
    if (arguments.empty() || !file.empty()) {
        texts.push_back(read_text(file));
    }
    for (const std::wstring& argument : arguments) {
        texts.push_back(ipc::to_utf8(argument));
    }
    const HWND receiver =
        wait_for_receiver(ipc::object_name(protocol::window_name, suffix), limit.ms);
    const HWND window = create_own_window();
    const ipc::scope_exit destroy([&] { DestroyWindow(window); });
    for (std::string& text : texts) {
        deliver_text(receiver, window, text, limit.ms);
        ipc::print_line("B: the receiver has taken {} bytes", text.size());
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
