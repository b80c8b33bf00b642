#pragma once

// What all copies agree on: the names of the objects, the message, and the layout of the record.

#include <windows.h>

#include <atomic>
#include <cstdint>
#include <string>

namespace protocol {

// Local\ names belong to one session. Objects of all kinds share one set of names.
constexpr auto instance_name = L"Local\\ipc_demos.17.instance"; // a mutex that nobody owns
constexpr auto lock_name = L"Local\\ipc_demos.17.lock";         // the mutex that guards the record
constexpr auto slots_name = L"Local\\ipc_demos.17.slots";       // the semaphore
constexpr auto record_name = L"Local\\ipc_demos.17.record";     // the file mapping object

// Pipe names are the same in all sessions, so the session's number makes this one Local\, too.
inline std::wstring pipe_name() {
    DWORD session = 0;
    ProcessIdToSessionId(GetCurrentProcessId(), &session); // cannot fail for the own process
    return L"\\\\.\\pipe\\ipc_demos.17.arguments." + std::to_wstring(session);
}

// The message: the arguments in UTF-16, and a zero character after each. No argument, no bytes. The
// longest command line has 32,767 characters. The reply is one byte.
constexpr DWORD max_message_bytes = 64 * 1024;

constexpr LONG slots = 2; // how many copies work at once

enum : std::uint32_t { whole, changing };

// Two numbers that must agree: sold == paid. Windows fills new memory with zeros, and all zeros is a
// whole record: nobody has to initialize it. A process can be killed between any two instructions.
// std::atomic keeps the stores in the order in which they are written here and in the programs, so
// what a killed process leaves can be judged.
struct record {
    std::atomic<std::uint32_t> state; // whole or changing
    std::atomic<std::uint64_t> sold;
    std::atomic<std::uint64_t> paid;
    std::atomic<std::uint64_t> undo_sold; // both, as they were before the change
    std::atomic<std::uint64_t> undo_paid;
    std::atomic<std::uint64_t> abandonments; // how often a WAIT_ABANDONED was handled
    std::atomic<std::uint64_t> repairs;      // how often the record was half changed
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free); // or its lock is in one process
static_assert(sizeof(record) == 56);

} // namespace protocol
