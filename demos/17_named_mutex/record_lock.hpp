#pragma once

// What every process does that uses the record: map it, wait for the lock, and look at the record.

#include "common/error.hpp"
#include "common/text.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string_view>

enum class last_owner { released_lock, died };

// Returns the record's memory. The caller unmaps it.
inline protocol::record* map_record(HANDLE mapping) {
    void* view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, sizeof(protocol::record));
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<protocol::record*>(view);
}

// Waits for the mutex. After both results the calling thread owns it, and has to call ReleaseMutex.
inline last_owner wait_for_lock(HANDLE lock, DWORD limit_ms) {
    // ANCHOR: wait_for_lock
    switch (WaitForSingleObject(lock, limit_ms)) {
    case WAIT_OBJECT_0: return last_owner::released_lock;
    case WAIT_ABANDONED: return last_owner::died; // reported once: the next wait succeeds
    case WAIT_TIMEOUT: throw std::runtime_error("another process has kept the lock too long");
    default: ipc::throw_last_error("WaitForSingleObject");
    }
    // ANCHOR_END: wait_for_lock
}

// Call it as the owner of the lock, before anything else: it repairs what the last owner has left, and
// throws if the record is wrong all the same.
inline void make_whole(protocol::record& record, last_owner owner, std::string_view role) {
    // ANCHOR: make_whole
    if (owner == last_owner::died) {
        ++record.abandonments;
        ipc::print_line("{}: WAIT_ABANDONED: the owner of the lock has died", role);
    }
    if (record.state == protocol::changing) { // else the change is done, or was not begun
        ipc::print_line("{}: half changed: {} left + {} sold", role, record.left.load(),
                        record.sold.load());
        record.left = record.undo_left.load();
        record.sold = record.undo_sold.load();
        ++record.repairs;
        record.state = protocol::whole; // last: if this process dies before, the next one repairs
        ipc::print_line("{}: repaired: {} left + {} sold", role, record.left.load(),
                        record.sold.load());
    }
    if (record.state != protocol::whole || record.left + record.sold != protocol::tickets) {
        throw std::runtime_error("the record is damaged, and its undo copy does not help");
    }
    // ANCHOR_END: make_whole
}
