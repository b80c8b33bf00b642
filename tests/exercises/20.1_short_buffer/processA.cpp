// SOLUTION: GetMailslotInfo says the size of the next message, and the buffer has to be as long. Into a shorter one
// Windows reads nothing (ERROR_INSUFFICIENT_BUFFER); Wine 8 cuts it off. There is one reader, so the next
// message stays the same between the two calls.
// STARTER
//~ // Exercise 20.1: A does not show long messages. Mend it.
// END
//
// A shows the text of each message, whatever its length, until Ctrl+C.
//
// Run: processA [--name SUFFIX], and the pair's processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <string>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";
constexpr DWORD poll_ms = 20; // the pair's A lets the read wait; here each read finds a message

ipc::unique_handle create_mailslot(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle slot(CreateMailslotW(name.c_str(),
                                            0, // a message can have any length
                                            0, // a read does not wait
                                            security.get()));
    if (!slot) {
        ipc::throw_last_error("CreateMailslotW");
    }
    return slot;
}

void show_messages(HANDLE slot) {
    while (!ipc::ctrl_c_pressed()) {
        DWORD next_bytes = 0;
        if (!GetMailslotInfo(slot, nullptr, &next_bytes, nullptr, nullptr)) {
            ipc::throw_last_error("GetMailslotInfo");
        }
        if (next_bytes == MAILSLOT_NO_MESSAGE) {
            WaitForSingleObject(ipc::ctrl_c_event(), poll_ms);
            continue;
        }
        // SOLUTION: as long as the message.
        std::string message(next_bytes, '\0');
        // STARTER
        //~ std::string message(512, '\0');
        // END
        const auto bytes = static_cast<DWORD>(message.size());
        ipc::overlapped_call call(slot);
        const BOOL done = ReadFile(slot, message.data(), bytes, nullptr, call.get());
        const ipc::call_result read = call.wait(done, INFINITE); // a message is there: no wait
        if (read.error != ERROR_SUCCESS) {
            ipc::throw_error("ReadFile", read.error);
        }
        if (read.bytes >= sizeof(protocol::header)) {
            message.resize(read.bytes);
            ipc::print_line("A: {}", message.substr(sizeof(protocol::header)));
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    const auto slot = create_mailslot(ipc::object_name(protocol::mailslot_name(L"."), suffix));
    ipc::print_line("A: the mailslot exists");
    show_messages(slot.get());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
