// Shares memory with a handshake: one process sends blocks of bytes, another one receives them.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 share_memory.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static share_memory.cpp -o share_memory.exe

#include <windows.h>

#include <cstdio>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

namespace {

// ANCHOR: shared_memory
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;
struct view_closer {
    void operator()(void* view) const noexcept { UnmapViewOfFile(view); }
};

// Throws for a call that failed: with the code error, or with GetLastError() if that is 0.
void check(bool succeeded, const char* call, DWORD error = 0) {
    if (!succeeded) {
        const auto code = static_cast<int>(error != 0 ? error : GetLastError());
        throw std::system_error(code, std::system_category(), call);
    }
}

struct shared_block { // starts with zeros
    volatile DWORD sender_id;
    volatile LONG receiver_id;
    volatile DWORD size;
    char bytes[64 * 1024];
};

struct shared_memory {
    unique_handle mapping;
    std::unique_ptr<shared_block, view_closer> block;
    unique_handle empty_event; // both are auto-reset events: the receiver has taken the block,
    unique_handle full_event;  // and the sender has filled it
    unique_handle partner;     // the other process
};

void map_block(shared_memory& memory) {
    memory.block.reset(static_cast<shared_block*>(MapViewOfFile(
        memory.mapping.get(), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, sizeof(shared_block))));
    check(memory.block != nullptr, "MapViewOfFile");
}

unique_handle open_partner(DWORD id) {
    unique_handle partner(OpenProcess(SYNCHRONIZE, FALSE, id));
    const DWORD error = GetLastError(); // ERROR_INVALID_PARAMETER: no process has this id any more
    check(partner != nullptr, "OpenProcess",
          error == ERROR_INVALID_PARAMETER ? ERROR_PROCESS_ABORTED : error);
    return partner;
}

// ANCHOR_END: shared_memory

// ANCHOR: create_and_open
// The sender calls this, and keeps the result until the receiver has everything. The names of the
// objects begin with name, such as L"Local\\name". Throws std::system_error: ERROR_ALREADY_EXISTS if
// another sender has the name, or the receiver of one.
shared_memory create_shared_memory(const std::wstring& name) {
    const std::wstring memory_name = name + L".memory";
    const std::wstring empty_name = name + L".empty";
    const std::wstring full_name = name + L".full";
    const auto check_new = [](HANDLE created, const char* call) {
        const DWORD error = GetLastError();
        unique_handle object(created);
        check(object && error != ERROR_ALREADY_EXISTS, call, error);
        return object;
    };
    shared_memory memory;
    memory.mapping = check_new(CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0,
                                                  sizeof(shared_block), memory_name.c_str()),
                               "CreateFileMappingW");
    map_block(memory);
    memory.block->sender_id = GetCurrentProcessId();
    memory.empty_event =
        check_new(CreateEventW(nullptr, FALSE, FALSE, empty_name.c_str()), "CreateEventW");
    // Last, because the receiver looks for it first.
    memory.full_event =
        check_new(CreateEventW(nullptr, FALSE, FALSE, full_name.c_str()), "CreateEventW");
    return memory;
}

// The receiver calls this. Throws std::system_error: ERROR_FILE_NOT_FOUND before the sender has
// created everything, ERROR_BUSY if another receiver came first, ERROR_PROCESS_ABORTED if the sender
// has ended.
shared_memory open_shared_memory(const std::wstring& name) {
    const std::wstring memory_name = name + L".memory";
    const std::wstring empty_name = name + L".empty";
    const std::wstring full_name = name + L".full";
    shared_memory memory;
    memory.full_event.reset(OpenEventW(SYNCHRONIZE, FALSE, full_name.c_str()));
    check(memory.full_event != nullptr, "OpenEventW");
    memory.empty_event.reset(OpenEventW(EVENT_MODIFY_STATE, FALSE, empty_name.c_str()));
    check(memory.empty_event != nullptr, "OpenEventW");
    memory.mapping.reset(
        OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, memory_name.c_str()));
    check(memory.mapping != nullptr, "OpenFileMappingW");
    map_block(memory);
    memory.partner = open_partner(memory.block->sender_id);
    const auto id = static_cast<LONG>(GetCurrentProcessId());
    const LONG other = InterlockedCompareExchange(&memory.block->receiver_id, id, 0);
    check(other == 0, "another receiver", ERROR_BUSY);
    check(SetEvent(memory.empty_event.get()), "SetEvent"); // the first block can come
    return memory;
}
// ANCHOR_END: create_and_open

// ANCHOR: send_and_receive
// Waits up to limit_ms milliseconds. If the event is set and the partner has ended, the event counts.
void wait_for_partner(const shared_memory& memory, HANDLE event, DWORD limit_ms) {
    const HANDLE objects[] = {event, memory.partner.get()};
    const DWORD waited = WaitForMultipleObjects(memory.partner ? 2 : 1, objects, FALSE, limit_ms);
    const DWORD error = GetLastError();
    check(waited != WAIT_TIMEOUT, "WaitForMultipleObjects", WAIT_TIMEOUT);
    check(waited != WAIT_OBJECT_0 + 1, "the other process", ERROR_PROCESS_ABORTED);
    check(waited == WAIT_OBJECT_0, "WaitForMultipleObjects", error);
}

// Both functions throw std::system_error: WAIT_TIMEOUT: the other process came or answered too late;
// ERROR_PROCESS_ABORTED: it has ended; ERROR_INVALID_DATA: too many bytes. limit_ms: milliseconds,
// or INFINITE. A shared_memory belongs to one thread at a time. send_block returns before the block
// has been received.
void send_block(shared_memory& memory, const std::string& content, DWORD limit_ms) {
    check(content.size() <= sizeof memory.block->bytes, "send_block", ERROR_INVALID_DATA);
    wait_for_partner(memory, memory.empty_event.get(), limit_ms);
    if (!memory.partner) { // before the first block
        memory.partner = open_partner(static_cast<DWORD>(memory.block->receiver_id));
    }
    std::memcpy(memory.block->bytes, content.data(), content.size());
    memory.block->size = static_cast<DWORD>(content.size());
    check(SetEvent(memory.full_event.get()), "SetEvent"); // a memory barrier, too
}

std::string receive_block(shared_memory& memory, DWORD limit_ms) {
    wait_for_partner(memory, memory.full_event.get(), limit_ms);
    const DWORD size = memory.block->size; // read once: the sender could change it after the check
    check(size <= sizeof memory.block->bytes, "receive_block", ERROR_INVALID_DATA);
    std::string content(memory.block->bytes, size);
    check(SetEvent(memory.empty_event.get()), "SetEvent");
    return content;
}
// ANCHOR_END: send_and_receive

} // namespace

// Sends each further argument as one block; an empty block is the end.
int wmain(int argc, wchar_t* argv[]) try {
    const std::wstring role = argc > 3 ? argv[1] : L"";
    const DWORD limit_ms = argc > 3 ? std::wcstoul(argv[3], nullptr, 10) : 0;
    if (role == L"send") {
        shared_memory memory = create_shared_memory(argv[2]);
        for (int i = 4; i < argc; ++i) {
            const std::u8string text = std::filesystem::path(argv[i]).u8string(); // UTF-8
            send_block(memory, std::string(text.begin(), text.end()), limit_ms);
        }
        send_block(memory, "", limit_ms);
        wait_for_partner(memory, memory.empty_event.get(), limit_ms); // everything was received
        std::puts("sent");
    } else if (role == L"receive" && argc == 4) {
        shared_memory memory = open_shared_memory(argv[2]);
        for (std::string text; !(text = receive_block(memory, limit_ms)).empty();) {
            std::printf("%zu bytes: %s\n", text.size(), text.c_str());
        }
        std::puts("end");
    } else {
        std::fputs("usage: share_memory send NAME LIMIT_MS TEXT...\n"
                   "       share_memory receive NAME LIMIT_MS\n",
                   stderr);
        return 2;
    }
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    return 1;
}
