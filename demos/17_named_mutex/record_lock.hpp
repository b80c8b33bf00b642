#pragma once

// What every process does that uses the record: open the lock and the record, wait for the lock, and
// check the record. The first process creates both; they exist until the last one has ended.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>
#include <string_view>

enum class previous_owner { released_lock, died };

// Creates the mutex, or opens the one that another process has created.
inline ipc::unique_handle open_lock(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle lock(CreateMutexW(security.get(), FALSE /* no owner yet */, name.c_str()));
    if (!lock) {
        ipc::throw_last_error("CreateMutexW");
    }
    return lock;
}

// The same for the record. The name lives as long as a process keeps such a handle.
inline ipc::unique_handle open_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle mapping(CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(),
                                                  PAGE_READWRITE, 0, sizeof(protocol::record),
                                                  name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("CreateFileMappingW");
    }
    return mapping;
}

// Returns the record's memory. The caller unmaps it.
inline protocol::record* map_record(HANDLE mapping) {
    void* view = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, sizeof(protocol::record));
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<protocol::record*>(view);
}

// Waits for the mutex. After both results the calling thread owns it, and has to call ReleaseMutex.
inline previous_owner wait_for_lock(HANDLE lock, DWORD limit_ms) {
    // ANCHOR: wait_for_lock
    switch (WaitForSingleObject(lock, limit_ms)) {
    case WAIT_OBJECT_0: return previous_owner::released_lock;
    case WAIT_ABANDONED: return previous_owner::died; // reported once: the next wait succeeds
    case WAIT_TIMEOUT: throw std::runtime_error("another process has kept the lock too long");
    default: ipc::throw_last_error("WaitForSingleObject");
    }
    // ANCHOR_END: wait_for_lock
}

// Call it as the owner of the lock, before anything else: it undoes a half done change, and throws if
// the record is wrong all the same.
inline void repair_record(protocol::record& record, previous_owner owner, std::string_view role) {
    // ANCHOR: repair_record
    if (owner == previous_owner::died) {
        ++record.abandonments;
        ipc::print_line("{}: WAIT_ABANDONED: the owner of the lock has died", role);
    }
    if (record.state == protocol::changing) { // else the change is done, or was not begun
        ipc::print_line("{}: half changed: {} sold, {} paid; undoing the change", role,
                        record.sold.load(), record.paid.load());
        record.sold = record.undo_sold.load();
        record.paid = record.undo_paid.load();
        ++record.repairs;
        record.state = protocol::whole; // last: if this process dies before, the next one repairs
    }
    if (record.state != protocol::whole || record.sold != record.paid) {
        throw std::runtime_error("the record is damaged, and its undo copy does not help");
    }
    // ANCHOR_END: repair_record
}
