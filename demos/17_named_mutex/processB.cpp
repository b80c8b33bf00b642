// Demo 17, process B: a further copy of the program, which may die as the owner of a lock.
//
// B finds the program's name taken and hands its arguments to the first instance. A real copy would end
// now. B goes on and sells tickets: each sale changes two numbers of the record, under the lock. With
// --crash B ends between the two changes of its last sale, and the next owner of the lock repairs the
// record.
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

// A real program calls CreateMutexW, as A does, and ERROR_ALREADY_EXISTS tells the second copy that
// it is the second. B only opens the name, because it is never the first.
void require_first_instance(const std::wstring& name) {
    const ipc::unique_handle instance(OpenMutexW(SYNCHRONIZE, FALSE, name.c_str()));
    if (!instance) {
        const DWORD error = GetLastError();
        if (error == ERROR_FILE_NOT_FOUND) {
            throw std::runtime_error("there is no first instance: start processA");
        }
        ipc::throw_error("OpenMutexW", error);
    }
} // closes the handle: an open one would keep the name taken after A's end

void hand_over(HANDLE pipe, const std::vector<std::wstring>& arguments, DWORD limit_ms) {
    std::wstring message;
    for (const std::wstring& argument : arguments) {
        message += argument + L'\0';
    }
    const auto bytes = static_cast<DWORD>(message.size() * sizeof(wchar_t));
    char reply = 0; // one byte, and only its arrival counts
    ipc::overlapped_call call(pipe);
    BOOL done = WriteFile(pipe, message.data(), bytes, nullptr, call.get());
    DWORD error = call.wait(done, limit_ms).error;
    if (error == ERROR_SUCCESS) {
        done = ReadFile(pipe, &reply, sizeof reply, nullptr, call.get());
        error = call.wait(done, limit_ms).error;
    }
    if (error != ERROR_SUCCESS) {
        throw std::runtime_error("the first instance did not take the arguments: " +
                                 ipc::error_text(error));
    }
}

ipc::unique_handle take_slot(const std::wstring& name, DWORD limit_ms) {
    ipc::user_only_security security;
    // ANCHOR: take_slot
    ipc::unique_handle slots(CreateSemaphoreW( // or opens the one of another copy
        security.get(),
        protocol::slots, // free at the start
        protocol::slots, // free at the most
        name.c_str()));
    if (!slots) {
        ipc::throw_last_error("CreateSemaphoreW");
    }
    switch (WaitForSingleObject(slots.get(), limit_ms)) {
    case WAIT_OBJECT_0: return slots;
    case WAIT_TIMEOUT: throw std::runtime_error("no slot was free in time");
    default: ipc::throw_last_error("WaitForSingleObject"); // WAIT_ABANDONED needs a mutex
    }
    // ANCHOR_END: take_slot
}

void sell_ticket(HANDLE lock, protocol::record& record, bool crash_in_the_middle, DWORD limit_ms) {
    const previous_owner owner = wait_for_lock(lock, limit_ms);
    const ipc::scope_exit release([&] { ReleaseMutex(lock); });
    repair_record(record, owner, "B");
    // ANCHOR: sell_ticket
    record.undo_sold = record.sold.load();
    record.undo_paid = record.paid.load();
    record.state = protocol::changing; // from here on, a death means: undo
    ++record.sold;
    if (crash_in_the_middle) {
        ipc::print_line("B: owns the lock, has changed half of the record, and dies");
        TerminateProcess(GetCurrentProcess(), 0); // as if killed: nothing is cleaned up
    }
    ++record.paid;
    record.state = protocol::whole; // from here on, the sale is done
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
    // B may be started before A. It waits for A's pipe, which A creates after the mutex, and keeps its
    // end open: A waits until it breaks.
    const auto pipe =
        ipc::connect_to_pipe(ipc::object_name(protocol::pipe_name(), suffix),
                             GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED, limit.ms);
    require_first_instance(name(protocol::instance_name));
    ipc::print_line("B: the name is taken: another copy is running");
    hand_over(pipe.get(), arguments, limit.ms);
    ipc::print_line("B: the first instance has the arguments");

    // A real further copy would end now. This one goes on, for the second lesson.
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
        sell_ticket(lock.get(), record, with_crash && sale == count, limit.ms);
        ipc::print_line("B: sale {} of {} is done", sale, count);
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
