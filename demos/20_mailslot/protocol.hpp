#pragma once

// What both programs agree on: the name of the mailslot, and what a message holds.

#include <windows.h>

#include <cstdint>
#include <string>

namespace protocol {

// computer: "." for this computer; the writer can also name another computer, a domain, or "*", the
// computer's primary domain. Names are the same in all sessions.
inline std::wstring mailslot_name(const std::wstring& computer) {
    return L"\\\\" + computer + L"\\mailslot\\ipc_demos.20.messages";
}

// On one computer a message can have any length that the reader allows. Between computers one
// message is one datagram.
constexpr DWORD max_message_bytes = 4'096;
constexpr DWORD max_remote_bytes = 424;

// A message is this header and a text in UTF-8, without a terminator: the message's length ends it.
// Messages can get lost, and can arrive twice. So each has the number of its writer, which is
// random, and its own number: 1, 2, 3 ...
struct header {
    std::uint32_t magic; // tells messages of this protocol from others: any program may write here
    std::uint32_t number;
    std::uint64_t writer;
};
static_assert(sizeof(header) == 16);         // no padding, so a message shows nothing of the memory
constexpr std::uint32_t magic = 0x3032'4950; // the bytes "PI20"

} // namespace protocol
