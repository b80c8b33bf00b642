// Demo 20, process B: a writer of the mailslot.
//
// B writes each of its arguments as one message and ends. A written message is in the mailslot, and
// whether A reads it, B never learns. With --twice B writes the first message twice, as a network with two
// protocols may deliver it.
//
// Run: processB [--to COMPUTER] [--twice] [--limit SECONDS] [--name SUFFIX] [TEXT...]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view usage =
    "processB [--to COMPUTER] [--twice] [--limit SECONDS] [--name SUFFIX] [TEXT...]\n"
    "  --to COMPUTER    another computer, a domain, or * for this computer's domain (default: .)\n"
    "  --twice          write the first message twice\n"
    "  --limit SECONDS  how long to wait for A on this computer, and for a write; 0: no limit "
    "(default 20)\n"
    "  --name SUFFIX    the same as A's\n"
    "  TEXT...          the messages (default: hello)";
constexpr std::string_view usage_line = usage.substr(0, usage.find('\n'));
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD poll_ms = 20;

ipc::unique_handle open_mailslot(const std::wstring& name, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    for (;;) {
        // ANCHOR: open
        ipc::unique_handle slot(
            CreateFileW(name.c_str(),
                        GENERIC_WRITE,                      // nobody can read by the name
                        FILE_SHARE_READ | FILE_SHARE_WRITE, // with A, and with other writers
                        nullptr,                            // not inherited
                        OPEN_EXISTING,
                        FILE_FLAG_OVERLAPPED, // so that a write can have a limit
                        nullptr));            // no template
        if (slot) {
            return slot;
        }
        const DWORD error = GetLastError();
        if (error != ERROR_FILE_NOT_FOUND) { // the name exists as soon as A has created it
            ipc::throw_error("CreateFileW", error);
        }
        // ANCHOR_END: open
        if (end.is_over()) {
            throw std::runtime_error("nobody reads the mailslot: start processA first");
        }
        Sleep(poll_ms); // no documented call waits for a mailslot
    }
}

std::string make_message(std::uint64_t writer, std::uint32_t number, const std::wstring& text) {
    const protocol::header header{protocol::magic, number, writer};
    std::string message(sizeof header, '\0');
    std::memcpy(message.data(), &header, sizeof header);
    return message + ipc::to_utf8(text);
}

void write_message(HANDLE slot, const std::string& message, DWORD limit_ms) {
    // ANCHOR: write
    ipc::overlapped_call call(slot);
    const auto bytes = static_cast<DWORD>(message.size());
    const BOOL done = WriteFile(slot, message.data(), bytes, nullptr, call.get());
    const ipc::call_result written = call.wait(done, limit_ms);
    if (written.error == WAIT_TIMEOUT) { // Wine 8's mailslots get full; Windows takes each message
        throw std::runtime_error("the write took too long");
    }
    if (written.error != ERROR_SUCCESS) {
        ipc::throw_error("WriteFile", written.error);
    }
    // ANCHOR_END: write
}

std::vector<std::string> make_messages(const std::vector<std::wstring>& texts, DWORD max_bytes) {
    std::random_device random;
    const std::uint64_t writer = std::uint64_t{random()} << 32 | random();
    std::vector<std::string> messages;
    for (const std::wstring& text : texts) {
        const auto number = static_cast<std::uint32_t>(messages.size() + 1);
        messages.push_back(make_message(writer, number, text));
        if (messages.back().size() > max_bytes) {
            throw ipc::usage_error("a text is longer than " +
                                   std::to_string(max_bytes - sizeof(protocol::header)) +
                                   " bytes; usage: " + std::string(usage_line));
        }
    }
    return messages;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring computer = L".";
    bool twice = false;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    std::vector<std::wstring> texts;
    ipc::parse_arguments(
        argc, argv, usage,
        {{L"--to", &computer}, {L"--twice", &twice}, {L"--limit", &limit}, {L"--name", &suffix}},
        &texts);
    if (texts.empty()) {
        texts = {L"hello"};
    }
    const auto messages = make_messages(texts, computer == L"." ? protocol::max_message_bytes
                                                                : protocol::max_remote_bytes);
    const auto name = ipc::object_name(protocol::mailslot_name(computer), suffix);
    // Only on this computer B waits for A to start: each look at another one is a question to the network.
    DWORD open_limit_ms = computer == L"." ? limit.ms : 0;
    std::uint64_t number = 0;
    for (const std::string& message : messages) {
        // Opened for each message: only this shows that A is still there.
        const auto slot = open_mailslot(name, open_limit_ms);
        open_limit_ms = 0; // A was there: if it is gone, B does not wait for another one
        write_message(slot.get(), message, limit.ms);
        if (twice && number == 0) {
            write_message(slot.get(), message, limit.ms);
        }
        ipc::print_line("B: message {} is written; nobody says whether it is read", ++number);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
