#pragma once

// What A and B agree on: the names of the formats and objects, and the layout of an order.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace protocol {

// Registered formats. Windows keeps each name until the session ends, so no name has a changing
// part. The suffix of --name is in the order.
constexpr auto order_format = L"ipc_demos.22.order";
constexpr auto invoice_format = L"ipc_demos.22.invoice"; // a promised text; A asks for it
constexpr auto receipt_format = L"ipc_demos.22.receipt"; // a promised text; nobody asks for it

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

constexpr std::uint32_t version = 1;

// Returns the order in these bytes if it is for the pair with this suffix.
inline std::optional<order> read_order(const std::vector<std::byte>& bytes,
                                       const std::wstring& suffix) {
    order read{};
    if (bytes.size() < sizeof read) {
        return std::nullopt;
    }
    std::memcpy(&read, bytes.data(), sizeof read);
    const bool is_ours =
        read.version == version && read.suffix_bytes == suffix.size() * sizeof(wchar_t) &&
        read.suffix_bytes <= bytes.size() - sizeof read &&
        std::memcmp(bytes.data() + sizeof read, suffix.data(), read.suffix_bytes) == 0;
    return is_ours ? std::optional(read) : std::nullopt;
}

} // namespace protocol
