// Exercise 17.2: now and then a ticket is sold and not paid. Mend it.
//
// B sells one ticket. The record has sold == paid, whenever nobody owns the lock.
//
// Run: the pair's processA, and then processB [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processB [--name SUFFIX]";
constexpr DWORD lock_limit_ms = 20'000;

protocol::record* map_record(const std::wstring& name) {
    const ipc::unique_handle mapping(OpenFileMappingW(FILE_MAP_WRITE, FALSE, name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    void* view = MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, sizeof(protocol::record));
    if (view == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    return static_cast<protocol::record*>(view);
}

// Waits until this thread owns the lock of the record.
void take_lock(HANDLE lock) {
    switch (WaitForSingleObject(lock, lock_limit_ms)) {
    case WAIT_OBJECT_0:
    case WAIT_ABANDONED: break;
    case WAIT_TIMEOUT: throw std::runtime_error("another process has kept the lock too long");
    default: ipc::throw_last_error("WaitForSingleObject");
    }
}

// Call it as the owner of the lock.
void sell_ticket(protocol::record& record) {
    record.undo_sold = record.sold.load();
    record.undo_paid = record.paid.load();
    record.state.store(protocol::changing);
    ++record.sold;
    ++record.paid;
    record.state.store(protocol::whole);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const ipc::unique_handle lock(
        OpenMutexW(SYNCHRONIZE, FALSE, ipc::object_name(protocol::lock_name, suffix).c_str()));
    if (!lock) {
        ipc::throw_last_error("OpenMutexW");
    }
    protocol::record& record = *map_record(ipc::object_name(protocol::record_name, suffix));
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(&record); });
    take_lock(lock.get());
    const ipc::scope_exit release([&] { ReleaseMutex(lock.get()); });
    sell_ticket(record);
    ipc::print_line("B: {} sold, {} paid", record.sold.load(), record.paid.load());
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
