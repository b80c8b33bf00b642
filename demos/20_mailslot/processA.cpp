// Demo 20, process A: the reader of a mailslot, into which any number of programs write.
//
// A creates the mailslot and shows each message. Nobody is connected, and A cannot answer. A drops what
// is not of the protocol, and messages that arrive twice or too late, and says how many are missing
// (message_log.hpp).
// At Ctrl+C A shows the messages that already wait, because they are lost when A ends.
//
// Run: processA [--count N] [--limit SECONDS] [--name SUFFIX], and processB as often as you like

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "message_log.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage =
    "processA [--count N] [--limit SECONDS] [--name SUFFIX]\n"
    "  --count N        end after this number of messages (default 0: at Ctrl+C)\n"
    "  --limit SECONDS  how long to wait for the next message; 0: no limit (default 20)\n"
    "  --name SUFFIX    added to the mailslot's name: several pairs run at once";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD read_timeout_ms = 250;     // of one read; A then looks at its own limit
constexpr ULONGLONG rest_limit_ms = 1'000; // for the messages that wait at Ctrl+C

ipc::unique_handle create_mailslot(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: create
    ipc::unique_handle slot(CreateMailslotW(name.c_str(),
                                            protocol::max_message_bytes, // of one message
                                            read_timeout_ms,
                                            security.get())); // who may write
    if (!slot) {
        const DWORD error = GetLastError();
        if (error == ERROR_ALREADY_EXISTS) { // a mailslot has one reader
            throw std::runtime_error("the name is taken: another program reads this mailslot");
        }
        ipc::throw_error("CreateMailslotW", error);
    }
    // ANCHOR_END: create
    return slot;
}

// Returns the next message, or nothing if none came within the mailslot's read time-out or before the
// event stop was set.
std::optional<std::string> read_message(HANDLE slot, HANDLE stop) {
    // ANCHOR: read
    DWORD next_bytes = 0;
    if (!GetMailslotInfo(slot, nullptr, &next_bytes, nullptr, nullptr)) {
        ipc::throw_last_error("GetMailslotInfo");
    }
    if (next_bytes == MAILSLOT_NO_MESSAGE) { // the read waits for one, of any length that A allows
        next_bytes = protocol::max_message_bytes;
    }
    std::string message(next_bytes + 1, '\0'); // one more shows a message that is too long
    ipc::overlapped_call call(slot);           // CreateMailslotW always makes an overlapped handle
    const BOOL done = ReadFile(slot, message.data(), next_bytes + 1, nullptr, call.get());
    const ipc::call_result read = call.wait(done, INFINITE, stop); // the read time-out ends it
    switch (read.error) {
    case ERROR_SUCCESS: message.resize(read.bytes); return message;
    case ERROR_SEM_TIMEOUT:       // no message came
    case ERROR_OPERATION_ABORTED: // stop was set
    case ERROR_INSUFFICIENT_BUFFER: // the system allows more than A asked for; the next call knows the size
        return std::nullopt;
    case ERROR_BROKEN_PIPE: return ""; // Wine 8: an empty message; Windows reads 0 bytes
    default: ipc::throw_error("ReadFile", read.error);
    }
    // ANCHOR_END: read
}

// What is in the mailslot when the reader closes its handle is lost, and no writer is told.
void report_unread(HANDLE slot) {
    DWORD next_bytes = 0;
    DWORD count = 0; // Wine 8 never counts more than one
    if (!GetMailslotInfo(slot, nullptr, &next_bytes, &count, nullptr)) {
        ipc::throw_last_error("GetMailslotInfo");
    }
    if (next_bytes != MAILSLOT_NO_MESSAGE) {
        ipc::print_error_line("A: messages that nobody has read, and that are lost: {}", count);
    }
}

// Shows this number of messages (0: until Ctrl+C).
void read_messages(HANDLE slot, message_log& log, std::uint64_t count, DWORD limit_ms) {
    ipc::deadline next(limit_ms);
    std::uint64_t shown = 0;
    while (!ipc::ctrl_c_pressed() && (count == 0 || shown < count)) {
        const auto message = read_message(slot, ipc::ctrl_c_event());
        if (message && log.show(*message)) {
            ++shown;
            next = ipc::deadline(limit_ms); // a dropped message gives nobody more time
        } else if (next.is_over()) {
            report_unread(slot); // it can have come since the read ended
            throw std::runtime_error("no message came in time: start processB");
        }
    }
}

// Shows the messages that wait, within a limit: a writer that never pauses must not keep A here.
void read_rest(HANDLE slot, message_log& log) {
    // ANCHOR: rest
    if (!SetMailslotInfo(slot, 0)) { // from here on, a read does not wait
        ipc::throw_last_error("SetMailslotInfo");
    }
    const ipc::deadline end(rest_limit_ms);
    while (!end.is_over()) {
        const auto message = read_message(slot, nullptr);
        if (!message) {
            return;
        }
        log.show(*message);
    }
    // ANCHOR_END: rest
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 0;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--count", &count}, {L"--limit", &limit}, {L"--name", &suffix}});
    ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    const auto slot = create_mailslot(ipc::object_name(protocol::mailslot_name(L"."), suffix));
    ipc::print_line("A: the mailslot exists; waiting for messages");
    message_log log;
    read_messages(slot.get(), log, count, limit.ms);
    if (ipc::ctrl_c_pressed()) {
        read_rest(slot.get(), log);
    }
    report_unread(slot.get());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
