#pragma once

// What A and B agree on: the names of the formats and objects, and the layout of the formats.

#include <cstddef>
#include <cstdint>

namespace protocol {

// Registered formats: every program that registers the name gets the same number. No call takes a
// name back, and there are 16,384 numbers: never put a changing part into a name. The suffix of
// --name is therefore in the order.
constexpr auto order_format = L"ipc_demos.22.order";
constexpr auto invoice_format = L"ipc_demos.22.invoice"; // promised; A asks for it
constexpr auto receipt_format = L"ipc_demos.22.receipt"; // promised; nobody asks before B leaves

// Any data of this format keeps the whole content out of the history (Win+V) and the cloud.
constexpr auto no_history_format = L"ExcludeClipboardContentFromMonitorProcessing";

constexpr auto listener_class = L"ipc_demos.22.listener"; // A's window; its title has the suffix
constexpr auto owner_class = L"ipc_demos.22.owner";       // B's window

// A mutex. There is one clipboard, so the Bs of all pairs take turns: this name has no suffix.
constexpr auto turn_name = L"Local\\ipc_demos.22.turn";

constexpr std::size_t max_bytes = 1024 * 1024; // of one format that A reads

// Other programs, other versions and 32-bit programs read it, too: fixed sizes, no pointers, and
// the length of what follows. The block on the clipboard may be larger than its content.
struct order {
    std::uint32_t version;
    std::uint32_t coffees;
    std::uint32_t cakes;
    std::uint32_t suffix_bytes; // the suffix of --name, in UTF-16, follows
};
static_assert(sizeof(order) == 16);

struct amount { // an invoice, or a receipt
    std::uint32_t version;
    std::uint32_t cents;
};
static_assert(sizeof(amount) == 8);

constexpr std::uint32_t version = 1;

} // namespace protocol
