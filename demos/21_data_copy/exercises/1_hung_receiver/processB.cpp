// Exercise 21.1: B never ends if the receiver hangs. Mend it.
//
// B sends a text to the window of A. It ends with exit code 0 if A has taken the text, and with 1 if A has not, or has
// not answered within the limit.
//
// Run: processB [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processB [--limit SECONDS] [--name SUFFIX]";
constexpr ipc::time_limit default_limit{10'000};

// Returns the receiver's answer.
LRESULT send_text(HWND receiver, std::string& text, [[maybe_unused]] DWORD limit_ms) {
    COPYDATASTRUCT data{};
    data.dwData = protocol::text_identifier;
    data.cbData = static_cast<DWORD>(text.size() + 1); // in bytes, with the terminating zero
    data.lpData = text.data();
    return SendMessageW(receiver, WM_COPYDATA, 0, reinterpret_cast<LPARAM>(&data));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--limit", &limit}, {L"--name", &suffix}});
    const HWND receiver = protocol::find_receiver(ipc::object_name(protocol::window_name, suffix));
    if (receiver == nullptr) {
        throw std::runtime_error("there is no receiver: start processA");
    }
    std::string text = "Hello from B";
    ipc::print_line("B: sending");
    if (send_text(receiver, text, limit.ms) != protocol::taken) {
        throw std::runtime_error("the receiver has not taken the text");
    }
    ipc::print_line("B: the receiver has taken the text");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
