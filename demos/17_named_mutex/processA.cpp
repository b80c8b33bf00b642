// Demo 17, process A: the only instance of a program, and a lock whose owner may die.
//
// A creates a mutex with the program's name; a further copy finds this name, hands its arguments to A
// through a pipe, and then works on a record that both share. A second mutex guards the record. When a
// copy has ended, A takes this lock. If the copy died as the owner, A repairs the record.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and N times processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "record_lock.hpp"

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto usage =
    "processA [--clients N] [--limit SECONDS] [--name SUFFIX]\n"
    "  --clients N      end after this number of further copies (default 1)\n"
    "  --limit SECONDS  how long to wait for a copy, and for its end; 0: no limit (default 20)\n"
    "  --name SUFFIX    added to the objects' names: several pairs run at once";
constexpr ipc::time_limit default_limit{20'000};

struct connection {
    ipc::unique_handle pipe;
    DWORD limit_ms = 0;
    ipc::overlapped_call call{pipe.get()}; // one call at a time
};

// Takes the name for this process. It stays taken until the handle is closed, or this process ends.
ipc::unique_handle take_name(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: take_name
    ipc::unique_handle instance(CreateMutexW(security.get(), FALSE /* no owner */, name.c_str()));
    const DWORD error = GetLastError();     // at once: success sets it, too
    if (error == ERROR_ALREADY_EXISTS       // another copy has created it, and this call opened it
        || error == ERROR_ACCESS_DENIED     // it belongs to another user
        || error == ERROR_INVALID_HANDLE) { // an object of another kind has this name
        throw std::runtime_error("the name is taken: another instance is running");
    }
    // ANCHOR_END: take_name
    if (!instance) {
        ipc::throw_error("CreateMutexW", error);
    }
    return instance;
}

// The other objects must be new, too: after A's death a processB may still have them.
ipc::unique_handle require_new(HANDLE created, DWORD code, const char* call) {
    ipc::unique_handle object(created);
    if (!object) {
        ipc::throw_error(call, code);
    }
    if (code == ERROR_ALREADY_EXISTS) {
        throw std::runtime_error("a processB of an earlier processA is still running");
    }
    return object;
}

ipc::unique_handle create_lock(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE lock = CreateMutexW(security.get(), FALSE /* no owner yet */, name.c_str());
    return require_new(lock, GetLastError(), "CreateMutexW");
}

ipc::unique_handle create_slots(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE slots = CreateSemaphoreW(security.get(),
                                          protocol::slots, // free at the start
                                          protocol::slots, // free at the most
                                          name.c_str());
    return require_new(slots, GetLastError(), "CreateSemaphoreW");
}

ipc::unique_handle create_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE,
                                              0, sizeof(protocol::record), name.c_str());
    return require_new(mapping, GetLastError(), "CreateFileMappingW");
}

ipc::unique_handle create_pipe(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
        protocol::max_message_bytes, protocol::max_message_bytes, 0, security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_copy(connection& copy) {
    const BOOL done = ConnectNamedPipe(copy.pipe.get(), copy.call.get());
    const DWORD error = copy.call.wait(done, copy.limit_ms).error;
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("no further copy came: start processB");
    }
    // ERROR_PIPE_CONNECTED: it connected before the call. ERROR_NO_DATA: it has even left again.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// Returns the error that ended the conversation, or ERROR_SUCCESS. Then process is the copy's process,
// and arguments is its message.
DWORD receive_arguments(connection& copy, std::wstring& arguments, ipc::unique_handle& process) {
    arguments.resize(protocol::max_message_bytes / sizeof(wchar_t));
    BOOL done = ReadFile(copy.pipe.get(), arguments.data(), protocol::max_message_bytes, nullptr,
                         copy.call.get());
    const auto [error, bytes] = copy.call.wait(done, copy.limit_ms);
    arguments.resize(bytes / sizeof(wchar_t));
    if (error != ERROR_SUCCESS) {
        return error; // ERROR_MORE_DATA: longer than any command line
    }
    if (bytes % sizeof(wchar_t) != 0 || (bytes != 0 && arguments.back() != L'\0')) {
        return ERROR_INVALID_DATA;
    }
    ULONG id = 0;
    if (!GetNamedPipeClientProcessId(copy.pipe.get(), &id)) {
        return GetLastError();
    }
    process.reset(OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id));
    if (!process) {
        return GetLastError(); // ERROR_INVALID_PARAMETER: it has ended already
    }
    done = WriteFile(copy.pipe.get(), &protocol::accepted, sizeof protocol::accepted, nullptr,
                     copy.call.get());
    const DWORD write_error = copy.call.wait(done, copy.limit_ms).error;
    // Waits until the copy closes its end: DisconnectNamedPipe discards a reply that is not read.
    char none = 0;
    done = ReadFile(copy.pipe.get(), &none, sizeof none, nullptr, copy.call.get());
    copy.call.wait(done, copy.limit_ms);
    return write_error;
}

// A program with a window would show it now.
void show_arguments(const std::wstring& arguments) {
    ipc::print_line("A: a further copy was started; its arguments: {}",
                    std::ranges::count(arguments, L'\0'));
    std::string lines = ipc::to_utf8(arguments);
    std::ranges::replace(lines, '\n', '?');
    std::ranges::replace(lines, '\0', '\n');
    ipc::byte_sink screen(L"", "A: | ");
    screen.write(lines);
    screen.finish();
}

// Returns the processes of this number of copies, when each has handed over its arguments.
std::vector<ipc::unique_handle> receive_copies(connection& copy, std::uint64_t count) {
    std::vector<ipc::unique_handle> copies;
    std::wstring arguments;
    while (copies.size() < count) {
        wait_for_copy(copy);
        ipc::unique_handle process;
        const DWORD error = receive_arguments(copy, arguments, process);
        if (error == ERROR_SUCCESS) {
            show_arguments(arguments);
            copies.push_back(std::move(process));
        } else {
            ipc::print_error_line("A: a copy did not hand over its arguments: {}",
                                  ipc::error_text(error));
        }
        if (!DisconnectNamedPipe(copy.pipe.get())) {
            ipc::throw_last_error("DisconnectNamedPipe");
        }
    }
    return copies;
}

// Returns how many slots of the semaphore are free.
LONG count_free_slots(HANDLE slots) {
    LONG free_slots = 0;
    while (WaitForSingleObject(slots, 0) == WAIT_OBJECT_0) {
        ++free_slots;
    }
    if (free_slots != 0 && !ReleaseSemaphore(slots, free_slots, nullptr)) {
        ipc::throw_last_error("ReleaseSemaphore");
    }
    return free_slots;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::uint64_t count = 1;
    ipc::time_limit limit = default_limit;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--clients", &count}, {L"--limit", &limit}, {L"--name", &suffix}});
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    const auto instance = take_name(name(protocol::instance_name));
    const auto lock = create_lock(name(protocol::lock_name));
    const auto slots = create_slots(name(protocol::slots_name));
    const auto mapping = create_mapping(name(protocol::record_name));
    protocol::record* memory = map_record(mapping.get());
    protocol::record& record = *new (memory) protocol::record;
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(&record); });
    connection copy{create_pipe(ipc::object_name(protocol::pipe_name(), suffix)),
                    limit.ms}; // last: B waits for it

    ipc::print_line("A: the only instance; waiting for further copies");
    for (const ipc::unique_handle& process : receive_copies(copy, count)) {
        ipc::wait_for_exit(process.get(), limit.ms);
        const last_owner owner = wait_for_lock(lock.get(), limit.ms);
        const ipc::scope_exit release([&] { ReleaseMutex(lock.get()); });
        make_whole(record, owner, "A");
        ipc::print_line("A: a copy has ended: {} left + {} sold", record.left.load(),
                        record.sold.load());
    }
    ipc::print_line("A: the lock was abandoned: {}; the record was repaired: {}",
                    record.abandonments.load(), record.repairs.load());
    ipc::print_line("A: free slots: {} of {}", count_free_slots(slots.get()), protocol::slots);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
