// Demo 17, process B: a further copy of the program, which may die as the owner of a lock.
//
// B finds the program's name taken, hands its arguments to the first instance, and sells tickets: each
// sale changes two numbers of the record, under the lock. With --crash B ends between the two changes
// of its last sale, and the next owner of the lock has to repair the record.
//
// Run: processB [--count N] [--crash] [--slot] [--limit SECONDS] [--name SUFFIX] [ARGUMENT...]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "record_lock.hpp"

#include <windows.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--count N] [--crash] [--slot] [--limit SECONDS] [--name SUFFIX] [ARGUMENT...]\n"
    "  --count N        how many tickets to sell (default 1)\n"
    "  --crash          end in the middle of the last sale, as a killed process does\n"
    "  --slot           take a slot of the semaphore first\n"
    "  --limit SECONDS  how long to wait for A, the lock and a slot; 0: no limit (default 20)\n"
    "  --name SUFFIX    the same as A's\n"
    "  ARGUMENT...      what to hand to the first instance";
constexpr ipc::time_limit default_limit{20'000};
constexpr DWORD retry_pause_ms = 20;

// A real program does what A does, and CreateMutexW tells the second copy that it is the second. B is
// always the second: it only opens the name, because it must not take it before A does.
void wait_for_first_instance(const std::wstring& name, DWORD limit_ms) {
    const ULONGLONG start_ms = GetTickCount64();
    for (;;) {
        const ipc::unique_handle instance(OpenMutexW(SYNCHRONIZE, FALSE, name.c_str()));
        if (instance) {
            return; // closes the handle: as long as it is open, it would keep the name taken
        }
        if (GetLastError() != ERROR_FILE_NOT_FOUND) {
            ipc::throw_last_error("OpenMutexW");
        }
        if (limit_ms != INFINITE /* --limit 0 */ && GetTickCount64() - start_ms >= limit_ms) {
            throw std::runtime_error("there is no first instance: start processA");
        }
        Sleep(retry_pause_ms); // Windows cannot notify a program of a new name
    }
}

void check(const char* call, const ipc::call_result& result) {
    if (result.error == WAIT_TIMEOUT) {
        throw std::runtime_error("the first instance does not take the arguments");
    }
    if (ipc::is_disconnected(result.error)) {
        throw std::runtime_error("the first instance has refused the arguments, or has ended");
    }
    if (result.error != ERROR_SUCCESS) {
        ipc::throw_error(call, result.error);
    }
}

void hand_over(const std::vector<std::wstring>& arguments, const std::wstring& pipe_name,
               DWORD limit_ms) {
    std::wstring message;
    for (const std::wstring& argument : arguments) {
        message += argument + L'\0';
    }
    const auto bytes = message.size() * sizeof(wchar_t);
    if (bytes > protocol::max_message_bytes) {
        throw std::runtime_error("the arguments are too long");
    }
    const ipc::unique_handle pipe = ipc::connect_to_pipe(pipe_name, GENERIC_READ | GENERIC_WRITE,
                                                         FILE_FLAG_OVERLAPPED, limit_ms);
    DWORD reply = 0;
    ipc::overlapped_call call(pipe.get());
    BOOL done =
        WriteFile(pipe.get(), message.data(), static_cast<DWORD>(bytes), nullptr, call.get());
    check("WriteFile", call.wait(done, limit_ms));
    done = ReadFile(pipe.get(), &reply, sizeof reply, nullptr, call.get());
    const ipc::call_result read = call.wait(done, limit_ms);
    check("ReadFile", read);
    if (read.bytes != sizeof reply || reply != protocol::accepted) {
        throw std::runtime_error("the owner of the name does not behave like processA");
    }
}

ipc::unique_handle open_lock(const std::wstring& name) {
    ipc::unique_handle lock(
        OpenMutexW(SYNCHRONIZE /* to wait and to release */, FALSE, name.c_str()));
    if (!lock) {
        ipc::throw_last_error("OpenMutexW");
    }
    return lock;
}

ipc::unique_handle open_mapping(const std::wstring& name) {
    ipc::unique_handle mapping(OpenFileMappingW(FILE_MAP_WRITE, FALSE, name.c_str()));
    if (!mapping) {
        ipc::throw_last_error("OpenFileMappingW");
    }
    return mapping;
}

ipc::unique_handle take_slot(const std::wstring& name, DWORD limit_ms) {
    // ANCHOR: take_slot
    ipc::unique_handle slots(
        OpenSemaphoreW(SYNCHRONIZE | SEMAPHORE_MODIFY_STATE, FALSE, name.c_str()));
    if (!slots) {
        ipc::throw_last_error("OpenSemaphoreW");
    }
    switch (WaitForSingleObject(slots.get(), limit_ms)) {
    case WAIT_OBJECT_0: return slots;
    case WAIT_TIMEOUT: throw std::runtime_error("no slot was free in time");
    default: ipc::throw_last_error("WaitForSingleObject"); // WAIT_ABANDONED needs a mutex
    }
    // ANCHOR_END: take_slot
}

// Call it as the owner of the lock.
void sell_ticket(protocol::record& record, bool crash_in_the_middle) {
    if (record.left == 0) {
        throw std::runtime_error("all tickets are sold");
    }
    // ANCHOR: sell_ticket
    record.undo_left = record.left.load();
    record.undo_sold = record.sold.load();
    record.state = protocol::changing; // from here on, a death means: undo
    --record.left;
    if (crash_in_the_middle) {
        ipc::print_line("B: owns the lock, has changed half of the record, and dies");
        TerminateProcess(GetCurrentProcess(), 0); // as if killed: nothing is cleaned up
    }
    ++record.sold;
    record.state = protocol::whole; // the commit: from here on, the sale is done
    // ANCHOR_END: sell_ticket
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 1;
    bool with_crash = false;
    bool with_slot = false;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    std::vector<std::wstring> arguments;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--count", &count},
                          {L"--crash", &with_crash},
                          {L"--slot", &with_slot},
                          {L"--limit", &limit},
                          {L"--name", &suffix}},
                         &arguments);
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    wait_for_first_instance(name(protocol::instance_name), limit.ms);
    ipc::print_line("B: the name is taken: another copy is running");
    hand_over(arguments, ipc::object_name(protocol::pipe_name(), suffix), limit.ms);
    ipc::print_line("B: the first instance has the arguments");

    const auto lock = open_lock(name(protocol::lock_name));
    const auto mapping = open_mapping(name(protocol::record_name));
    protocol::record& record = *map_record(mapping.get());
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(&record); });
    ipc::unique_handle slots;
    if (with_slot) {
        slots = take_slot(name(protocol::slots_name), limit.ms);
        ipc::print_line("B: has a slot; at most {} copies have one", protocol::slots);
    }
    const ipc::scope_exit give_slot_back([&] {
        if (slots) {
            ReleaseSemaphore(slots.get(), 1, nullptr);
        }
    });
    for (std::uint64_t sale = 1; sale <= count; ++sale) {
        {
            const last_owner owner = wait_for_lock(lock.get(), limit.ms);
            const ipc::scope_exit release([&] { ReleaseMutex(lock.get()); });
            make_whole(record, owner, "B");
            sell_ticket(record, with_crash && sale == count);
        }
        ipc::print_line("B: sale {} of {} is done", sale, count);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
