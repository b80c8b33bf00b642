// Demo 17, process A: the only instance of a program, and a lock whose owner may die.
//
// A creates a mutex with the program's name; a further copy finds this name and hands its arguments to A
// through a pipe. A real copy would end now; these go on, for the second lesson: they change a record
// that all share, and a second mutex guards it. When all copies have come, A waits for the end of each
// and checks the record. If the copy died as the owner of the lock, A repairs the record.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and N times processB

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

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cwchar>
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

// Takes the name for this process. It stays taken until the handle is closed, or this process ends.
ipc::unique_handle take_name(const std::wstring& name) {
    ipc::user_only_security security;
    // ANCHOR: take_name
    ipc::unique_handle instance(CreateMutexW(security.get(), FALSE /* no owner */, name.c_str()));
    const DWORD error = GetLastError(); // at once, and after success too
    if (instance && error != ERROR_ALREADY_EXISTS) {
        return instance; // the name was free
    }
    if (instance                            // the call has opened another copy's mutex
        || error == ERROR_ACCESS_DENIED     // a copy runs as another user, or as administrator
        || error == ERROR_INVALID_HANDLE) { // an object of another kind has this name
        throw std::runtime_error("the name is taken: another instance is running");
    }
    ipc::throw_error("CreateMutexW", error);
    // ANCHOR_END: take_name
}

ipc::unique_handle create_pipe_instance(const std::wstring& name, DWORD first_flag) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED |
            first_flag, // FILE_FLAG_FIRST_PIPE_INSTANCE, or 0
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES,    // one for each copy
        protocol::max_message_bytes, // for replies that the copy has not read
        protocol::max_message_bytes, // for messages that A has not read
        0,                           // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!pipe) {
        ipc::throw_create_pipe_error(name);
    }
    return pipe;
}

void wait_for_copy(HANDLE pipe, DWORD limit_ms) {
    ipc::overlapped_call call(pipe);
    const BOOL done = ConnectNamedPipe(pipe, call.get());
    const DWORD error = call.wait(done, limit_ms).error;
    if (error == WAIT_TIMEOUT) {
        throw std::runtime_error("no further copy came: start processB");
    }
    // ERROR_PIPE_CONNECTED: it connected before the call. ERROR_NO_DATA: it has even left again.
    if (error != ERROR_SUCCESS && error != ERROR_PIPE_CONNECTED && error != ERROR_NO_DATA) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// A program with a window would come to the front now.
void show_arguments(std::wstring arguments) {
    ipc::print_line("A: a further copy was started; its arguments: {}",
                    std::ranges::count(arguments, L'\0'));
    const auto is_control = [](wchar_t c) { return c != L'\0' && c < L' '; };
    std::ranges::replace_if(arguments, is_control, L'?');
    for (std::size_t at = 0; at < arguments.size(); at += std::wcslen(&arguments[at]) + 1) {
        ipc::print_line("A: | {}", &arguments[at]);
    }
}

// Returns ERROR_SUCCESS, or why the copy could not hand over its arguments.
DWORD receive_arguments(HANDLE pipe, DWORD limit_ms) {
    std::wstring arguments(protocol::max_message_bytes / sizeof(wchar_t), L'\0');
    ipc::overlapped_call call(pipe);
    BOOL done = ReadFile(pipe, arguments.data(), protocol::max_message_bytes, nullptr, call.get());
    const auto [error, bytes] = call.wait(done, limit_ms);
    if (error != ERROR_SUCCESS) {
        return error; // ERROR_MORE_DATA: longer than any command line
    }
    arguments.resize(bytes / sizeof(wchar_t));
    if (bytes % sizeof(wchar_t) != 0 || (bytes != 0 && arguments.back() != L'\0')) {
        return ERROR_INVALID_DATA;
    }
    show_arguments(arguments);
    done = WriteFile(pipe, "", 1, nullptr, call.get()); // the reply: one byte
    return call.wait(done, limit_ms).error;
}

// Returns the pipes to this number of copies, when each has handed over its arguments.
std::vector<ipc::unique_handle> receive_copies(const std::wstring& pipe_name, std::uint64_t count,
                                               DWORD limit_ms) {
    std::vector<ipc::unique_handle> copies;
    ipc::unique_handle pipe = create_pipe_instance(pipe_name, FILE_FLAG_FIRST_PIPE_INSTANCE);
    while (copies.size() < count) {
        wait_for_copy(pipe.get(), limit_ms);
        const DWORD error = receive_arguments(pipe.get(), limit_ms);
        if (error == ERROR_SUCCESS) {
            copies.push_back(std::move(pipe));
            pipe = create_pipe_instance(pipe_name, 0); // for the next copy
        } else {
            ipc::print_error_line("A: a copy did not hand over its arguments: {}",
                                  ipc::error_text(error));
            if (!DisconnectNamedPipe(pipe.get())) {
                ipc::throw_last_error("DisconnectNamedPipe");
            }
        }
    }
    return copies;
}

// A copy keeps its end of the pipe open. Windows closes it when the process ends, however it ends.
void wait_for_end(HANDLE pipe, DWORD limit_ms) {
    char unexpected = 0; // a copy sends nothing more, so the read waits until the pipe breaks
    ipc::overlapped_call call(pipe);
    const BOOL done = ReadFile(pipe, &unexpected, sizeof unexpected, nullptr, call.get());
    if (call.wait(done, limit_ms).error == WAIT_TIMEOUT) {
        throw std::runtime_error("a copy has not ended in time");
    }
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
    const auto lock = open_lock(name(protocol::lock_name));
    const auto mapping = open_mapping(name(protocol::record_name));
    protocol::record& record = *map_record(mapping.get());
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(&record); });

    ipc::print_line("A: the only instance; waiting for further copies");
    for (const auto& pipe :
         receive_copies(ipc::object_name(protocol::pipe_name(), suffix), count, limit.ms)) {
        wait_for_end(pipe.get(), limit.ms);
        const previous_owner owner = wait_for_lock(lock.get(), limit.ms);
        const ipc::scope_exit release([&] { ReleaseMutex(lock.get()); });
        repair_record(record, owner, "A");
        ipc::print_line("A: a copy has ended: {} sold, {} paid", record.sold.load(),
                        record.paid.load());
    }
    ipc::print_line("A: the lock was abandoned: {}; the record was repaired: {}",
                    record.abandonments.load(), record.repairs.load());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
