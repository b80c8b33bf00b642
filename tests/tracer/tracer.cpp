// The tracer, a DLL that the launcher loads into a program before it runs. It replaces the functions of
// functions.inc in the import table of the program by wrappers, which call them and record the call. Its own calls
// are not recorded, because it has an import table of its own.
//
// A wrapper changes nothing for the program: the result and GetLastError() are those of the function. It allocates
// nothing and holds no lock while the function runs, so that the function may block, run routines that make traced
// calls themselves, or never return.

#include <winsock2.h> // before windows.h

#include <windows.h>

#include <mswsock.h>

#include <objbase.h>

#include <oleauto.h>

#include <aclapi.h>

#include <rpc.h>

#include <ddeml.h>

#include <process.h>

#include "tests/tracer/inject.hpp"
#include "tests/tracer/record.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <iterator>
#include <type_traits>

#ifdef __MINGW32__ // in its library, and not in the headers of Debian 12
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" RPCRTAPI RPC_STATUS RPC_ENTRY RpcServerRegisterIf3(RPC_IF_HANDLE, UUID*, RPC_MGR_EPV*,
                                                              unsigned int, unsigned int,
                                                              unsigned int, RPC_IF_CALLBACK_FN*,
                                                              void*);
#endif

namespace ipc::trace {
namespace {

// ---- The file ----------------------------------------------------------------------------------

struct state {
    HANDLE file = nullptr;
    file_header* header = nullptr;
    std::array<std::atomic<std::byte*>, most_chunks> chunks{};
    SRWLOCK growing = SRWLOCK_INIT;
    wchar_t folder[1024]{};
    wchar_t dll_path[1024]{};
    // The functions that the wrappers call: those that the import table held.
    std::array<std::atomic<void*>, function_count> originals{};
};

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): wrappers have no object to keep it in
constinit state tracer;

std::int64_t now() noexcept {
    LARGE_INTEGER counter;
    QueryPerformanceCounter(&counter);
    return counter.QuadPart;
}

// Makes the file longer and maps the new part. It writes zeros first: a mapped page for which the disk has no room
// would end the program with an exception, a failed write does not.
std::byte* map_more(std::uint64_t offset, std::size_t bytes) noexcept {
    static const std::array<std::byte, header_bytes> zeros{};
    for (std::size_t written = 0; written < bytes; written += zeros.size()) {
        OVERLAPPED position{};
        position.Offset = static_cast<DWORD>(offset + written);
        position.OffsetHigh = static_cast<DWORD>((offset + written) >> 32);
        DWORD count = 0;
        if (!WriteFile(tracer.file, zeros.data(), static_cast<DWORD>(zeros.size()), &count,
                       &position) ||
            count != zeros.size()) {
            return nullptr;
        }
    }
    const std::uint64_t end = offset + bytes;
    const HANDLE mapping =
        CreateFileMappingW(tracer.file, nullptr, PAGE_READWRITE, static_cast<DWORD>(end >> 32),
                           static_cast<DWORD>(end), nullptr);
    if (mapping == nullptr) {
        return nullptr;
    }
    void* const view = MapViewOfFile(mapping, FILE_MAP_WRITE, static_cast<DWORD>(offset >> 32),
                                     static_cast<DWORD>(offset), bytes);
    CloseHandle(mapping); // the view keeps it
    return static_cast<std::byte*>(view);
}

std::byte* chunk(std::size_t number) noexcept {
    std::byte* there = tracer.chunks[number].load(std::memory_order_acquire);
    if (there == nullptr) {
        AcquireSRWLockExclusive(&tracer.growing);
        there = tracer.chunks[number].load(std::memory_order_relaxed);
        if (there == nullptr) {
            there = map_more(header_bytes + std::uint64_t{number} * chunk_bytes, chunk_bytes);
            tracer.chunks[number].store(there, std::memory_order_release);
        }
        ReleaseSRWLockExclusive(&tracer.growing);
    }
    return there;
}

// Returns a record of its own for each call, or nullptr when there is no room for it.
record* new_record() noexcept {
    const std::uint64_t number = tracer.header->calls.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t in_chunk = number / chunk_records;
    std::byte* const there =
        in_chunk < most_chunks ? chunk(static_cast<std::size_t>(in_chunk)) : nullptr;
    if (there == nullptr) {
        tracer.header->lost.fetch_add(1, std::memory_order_relaxed);
        return nullptr;
    }
    return reinterpret_cast<record*>(there + number % chunk_records * record_bytes);
}

// ---- What a record keeps -----------------------------------------------------------------------

template <typename T> const T* pointer_to(std::uint64_t argument) noexcept {
    return reinterpret_cast<const T*>(static_cast<std::uintptr_t>(argument));
}

void add_out(record& call, std::uint64_t value) noexcept {
    if (call.out_count < most_outs) {
        call.outs[call.out_count++] = value;
    }
}

std::uint64_t bits_of(HANDLE handle) noexcept {
    return reinterpret_cast<std::uintptr_t>(handle);
}

void add_char(record& call, char c) noexcept {
    if (call.text_count < text_bytes) {
        call.text[call.text_count++] = c;
    }
}

// Keeps the end of a name that is too long: that is where names differ. Characters that are not ASCII become "?".
void add_name(record& call, const wchar_t* name) noexcept {
    constexpr std::size_t most = text_bytes / 2 - 1;
    const std::size_t length = std::wcslen(name);
    for (const wchar_t* c = name + (length > most ? length - most : 0); *c != L'\0'; ++c) {
        add_char(call, *c < 0x80 ? static_cast<char>(*c) : '?');
    }
    add_char(call, '\0');
}

// Keeps the first bytes of what was moved, if they fit.
void add_data(record& call, std::uint64_t data, std::uint64_t count) noexcept {
    const auto bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(count, text_bytes - call.text_count));
    if (data != 0) {
        std::memcpy(call.text.data() + call.text_count, pointer_to<char>(data), bytes);
        call.text_count = static_cast<std::uint8_t>(call.text_count + bytes);
    }
}

// Before the call. Win32 itself reads what these parameters point to in the program's own thread, so that a wrong
// pointer ends the program here as it would there.
void keep_inputs(record& call, const function& which) noexcept {
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        const std::uint64_t argument = call.arguments[i];
        switch (which.parameters[i]) {
        case kind::name:
        case kind::command:
            if (argument > 0xFFFF) {
                add_name(call, pointer_to<wchar_t>(argument));
            } else if (argument != 0) {
                add_char(call, '\0'); // the number of a window class
            }
            break;
        case kind::security:
            add_out(call, argument != 0 &&
                                  pointer_to<SECURITY_ATTRIBUTES>(argument)->bInheritHandle != FALSE
                              ? 1
                              : 0);
            break;
        case kind::overlapped:
            // CancelIoEx only compares the address: what was there may have been freed.
            add_out(call, argument == 0 || call.function == CancelIoEx_index
                              ? 0
                              : bits_of(pointer_to<OVERLAPPED>(argument)->hEvent));
            break;
        case kind::pipe_mode_pointer:
            add_out(call, argument == 0 ? 0 : *pointer_to<DWORD>(argument));
            break;
        case kind::data_in: add_data(call, argument, call.arguments[i + 1]); break;
        case kind::handles: {
            const std::uint64_t count = call.arguments[i - 1];
            const bool is_array = argument != 0 && count <= MAXIMUM_WAIT_OBJECTS;
            for (std::uint64_t k = 0; is_array && k < count && k < text_bytes / 8; ++k) {
                const std::uint64_t handle = bits_of(pointer_to<HANDLE>(argument)[k]);
                std::memcpy(call.text.data() + k * 8, &handle, sizeof handle);
                call.text_count = static_cast<std::uint8_t>((k + 1) * 8);
            }
            break;
        }
        default: break;
        }
    }
}

// Whether the call can end after it has returned.
bool is_overlapped(const record& call, const function& which) noexcept {
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        if (which.parameters[i] == kind::overlapped && call.arguments[i] != 0) {
            return which.name.find("OverlappedResult") == std::string_view::npos;
        }
    }
    return false;
}

// After the call. It has succeeded, or it has been there: so what the parameters point to can be read.
// NOLINTNEXTLINE(readability-function-cognitive-complexity): a line for each kind
void keep_outputs(record& call, const function& which) noexcept {
    // Another thread may have got the result of an overlapped call already, and freed what it points to.
    const bool goes_on = is_overlapped(call, which);
    bool sends = false; // then those bytes are in the record already
    std::uint64_t data = 0;
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        const std::uint64_t argument = call.arguments[i];
        switch (which.parameters[i]) {
        case kind::handle_out:
        case kind::token_out: {
            add_out(call, argument == 0 ? 0 : bits_of(*pointer_to<HANDLE>(argument)));
            break;
        }
        case kind::number_out:
            add_out(call, argument == 0 ? 0 : *pointer_to<ULONG_PTR>(argument));
            break;
        case kind::overlapped_out:
            add_out(call, argument == 0 ? 0 : bits_of(*pointer_to<HANDLE>(argument)));
            break;
        case kind::count_out:
        case kind::process_id_out: {
            const std::uint64_t count = argument == 0 ? 0
                                        : goes_on     ? not_read
                                                      : *pointer_to<DWORD>(argument);
            add_out(call, count);
            if (data != 0 && !goes_on && call.result != 0) {
                add_data(call, data, count);
            }
            data = 0;
            break;
        }
        case kind::data_in: sends = true; break;
        case kind::data_out: data = sends ? 0 : argument; break;
        case kind::handles: { // the one that has ended the wait
            const std::uint64_t index = call.result & 0x7F;
            if (argument != 0 && call.result < 2 * WAIT_ABANDONED_0 &&
                index < call.arguments[i - 1]) {
                add_out(call, bits_of(pointer_to<HANDLE>(argument)[index]));
            }
            break;
        }
        case kind::process_info:
            if (call.result != 0) {
                const auto& info = *pointer_to<PROCESS_INFORMATION>(argument);
                add_out(call, bits_of(info.hProcess));
                add_out(call, bits_of(info.hThread));
                add_out(call, info.dwProcessId);
            }
            break;
        default: break;
        }
    }
    if (data != 0 && which.result == result_kind::transferred &&
        static_cast<std::int32_t>(call.result) > 0) {
        add_data(call, data, call.result & 0xFFFF'FFFF);
    }
    if (which.result == result_kind::thread && call.result != 0) {
        add_out(call,
                GetThreadId(reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(call.result))));
    }
}

record* begin_call(std::size_t index, const std::uint64_t* arguments, std::size_t count) noexcept {
    const DWORD error = GetLastError();
    record* const call = new_record();
    if (call != nullptr) {
        const function& which = functions[index];
        call->function = static_cast<std::uint16_t>(index);
        call->thread = GetCurrentThreadId();
        std::copy_n(arguments, std::min(count, most_parameters), call->arguments.begin());
        keep_inputs(*call, which);
        call->begin = now();
        call->state.store(record_state::called, std::memory_order_release);
    }
    SetLastError(error);
    return call;
}

void end_call(record* call, std::uint64_t result) noexcept {
    if (call == nullptr) {
        return;
    }
    const DWORD error = GetLastError();
    call->end = now();
    call->result = result;
    call->error = error;
    keep_outputs(*call, functions[call->function]);
    call->state.store(record_state::returned, std::memory_order_release);
    SetLastError(error);
}

// ---- The wrappers ------------------------------------------------------------------------------

template <typename T> std::uint64_t to_bits(const T& value) noexcept {
    if constexpr (std::is_class_v<T>) {
        return reinterpret_cast<std::uintptr_t>(&value); // REFIID
    } else if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<std::uintptr_t>(value);
    } else {
        return static_cast<std::uint64_t>(value);
    }
}

template <typename F> F original(std::size_t index) noexcept {
    return reinterpret_cast<F>(tracer.originals[index].load(std::memory_order_relaxed));
}

template <std::size_t Index, typename F> struct wrapper;

template <std::size_t Index, typename R, typename... A> struct wrapper<Index, R(WINAPI*)(A...)> {
    static R WINAPI call(A... arguments) {
        const std::uint64_t bits[] = {0, to_bits(arguments)...};
        record* const recorded = begin_call(Index, bits + 1, sizeof...(A));
        const auto function = original<R(WINAPI*)(A...)>(Index);
        if constexpr (std::is_void_v<R>) {
            function(arguments...);
            end_call(recorded, 0);
        } else {
            const R result = function(arguments...);
            end_call(recorded, to_bits(result));
            return result;
        }
    }
};

// Gives a function its type without "does not throw" and "does not return", which it can have, too.
template <typename R, typename... A> constexpr auto plain(R(WINAPI* function)(A...)) {
    return function;
}

// "VirtualAllocEx, error 5"
void leave_note(const char* failed, DWORD error) noexcept {
    auto& note = tracer.header->note;
    if (failed == is_32_bit) {
        std::snprintf(note.data(), note.size(), "%s", failed);
    } else {
        std::snprintf(note.data(), note.size(), "%s, error %lu", failed, error);
    }
}

// Creates the child suspended, loads the tracer into it, and lets it run unless the program wants it suspended.
BOOL WINAPI create_process(LPCWSTR application, LPWSTR command,
                           LPSECURITY_ATTRIBUTES process_security,
                           LPSECURITY_ATTRIBUTES thread_security, BOOL inherit, DWORD flags,
                           LPVOID environment, LPCWSTR folder, LPSTARTUPINFOW startup,
                           LPPROCESS_INFORMATION started) {
    const std::uint64_t bits[] = {
        to_bits(application), to_bits(command), to_bits(process_security), to_bits(thread_security),
        to_bits(inherit),     to_bits(flags),   to_bits(environment),      to_bits(folder),
        to_bits(startup),     to_bits(started)};
    record* const recorded = begin_call(CreateProcessW_index, bits, std::size(bits));
    const auto create = original<decltype(&CreateProcessW)>(CreateProcessW_index);
    const BOOL created = create(application, command, process_security, thread_security, inherit,
                                flags | CREATE_SUSPENDED, environment, folder, startup, started);
    const DWORD error = GetLastError();
    end_call(recorded, to_bits(created));
    if (created) {
        const char* const failed =
            inject(started->hProcess, started->dwProcessId, tracer.dll_path, tracer.folder);
        if (failed != nullptr) {
            leave_note(failed, GetLastError());
        }
        if ((flags & CREATE_SUSPENDED) == 0) {
            ResumeThread(started->hThread);
        }
    }
    SetLastError(error);
    return created;
}

struct replacement {
    const char* name;
    void* wrapper;
};

template <typename F> void* address_of(F function) noexcept {
    return reinterpret_cast<void*>(function);
}

// clang-format off
const std::array<replacement, function_count> replacements = {{
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): a table that two lists are made of
#define TRACED(name, ...) {#name, address_of(&wrapper<name##_index, decltype(plain(&::name))>::call)},
#include "tests/tracer/functions.inc"
#undef TRACED
}};
// clang-format on

// ---- The import table --------------------------------------------------------------------------

void replace(void** slot, std::size_t index) noexcept {
    DWORD before = 0;
    if (VirtualProtect(slot, sizeof(void*), PAGE_READWRITE, &before)) {
        tracer.originals[index].store(*slot, std::memory_order_relaxed);
        *slot = index == CreateProcessW_index ? address_of(&create_process)
                                              : replacements[index].wrapper;
        VirtualProtect(slot, sizeof(void*), before, &before);
    }
}

// Returns the index of an imported function in the table, or function_count if it is not traced. An import has a name
// or, as those of ws2_32.dll can, only a number. Then its address tells which function it is. The loader and
// GetProcAddress() find the same address, also where a DLL passes a function on to another DLL.
std::size_t traced_function(const std::byte* base, const IMAGE_THUNK_DATA& import,
                            const void* address, HMODULE module) noexcept {
    const char* name = nullptr;
    if (!IMAGE_SNAP_BY_ORDINAL(import.u1.Ordinal)) {
        name = reinterpret_cast<const IMAGE_IMPORT_BY_NAME*>(base + import.u1.AddressOfData)->Name;
    } else if (module == nullptr) {
        return function_count;
    }
    for (std::size_t i = 0; i < replacements.size(); ++i) {
        if (name != nullptr ? std::strcmp(name, replacements[i].name) == 0
                            : address == address_of(GetProcAddress(module, replacements[i].name))) {
            return i;
        }
    }
    return function_count;
}

void replace_imports_of(std::byte* base, const IMAGE_IMPORT_DESCRIPTOR& library) noexcept {
    const char* const file = reinterpret_cast<const char*>(base + library.Name);
    if (_strnicmp(file, "cygwin", 6) == 0 || _strnicmp(file, "msys-", 5) == 0) {
        return; // their recv and send have the names of those of Windows, and other types
    }
    const HMODULE module = GetModuleHandleA(file);
    const DWORD names_at =
        library.OriginalFirstThunk != 0 ? library.OriginalFirstThunk : library.FirstThunk;
    const auto* import = reinterpret_cast<const IMAGE_THUNK_DATA*>(base + names_at);
    auto* slot = reinterpret_cast<void**>(base + library.FirstThunk);
    for (; import->u1.AddressOfData != 0; ++import, ++slot) {
        const std::size_t index = traced_function(base, *import, *slot, module);
        if (index != function_count) {
            replace(slot, index);
        }
    }
}

void replace_imports() noexcept {
    auto* const base = reinterpret_cast<std::byte*>(GetModuleHandleW(nullptr));
    const auto* const dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(base);
    const auto* const nt = reinterpret_cast<const IMAGE_NT_HEADERS*>(base + dos->e_lfanew);
    const IMAGE_DATA_DIRECTORY& directory =
        nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    if (directory.VirtualAddress == 0) {
        return;
    }
    const auto* library =
        reinterpret_cast<const IMAGE_IMPORT_DESCRIPTOR*>(base + directory.VirtualAddress);
    for (; library->Name != 0; ++library) {
        replace_imports_of(base, *library);
    }
}

// ---- The start ---------------------------------------------------------------------------------

bool read_settings(std::uint32_t& parent) noexcept {
    wchar_t name[64];
    std::swprintf(name, std::size(name), L"%ls%lu", settings_name, GetCurrentProcessId());
    const HANDLE mapping = OpenFileMappingW(FILE_MAP_READ, FALSE, name);
    if (mapping == nullptr) {
        return false;
    }
    const auto* const view =
        static_cast<const settings*>(MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, sizeof(settings)));
    if (view != nullptr) {
        parent = view->parent;
        std::copy(view->folder.begin(), view->folder.end() - 1, tracer.folder);
        UnmapViewOfFile(view);
    }
    CloseHandle(mapping);
    return view != nullptr;
}

bool start(HMODULE self) noexcept {
    std::uint32_t parent = 0;
    if (!read_settings(parent)) {
        return false;
    }
    GetModuleFileNameW(self, tracer.dll_path, static_cast<DWORD>(std::size(tracer.dll_path)));
    const std::int64_t started = now();
    wchar_t path[1100];
    std::swprintf(path, std::size(path), L"%ls\\%020llu_%lu.ipctrace", tracer.folder,
                  static_cast<unsigned long long>(started), GetCurrentProcessId());
    tracer.file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE,
                              FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                              CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (tracer.file == INVALID_HANDLE_VALUE) {
        return false;
    }
    tracer.header = reinterpret_cast<file_header*>(map_more(0, header_bytes));
    if (tracer.header == nullptr) {
        return false;
    }
    LARGE_INTEGER frequency;
    QueryPerformanceFrequency(&frequency);
    tracer.header->process = GetCurrentProcessId();
    tracer.header->parent = parent;
    tracer.header->frequency = frequency.QuadPart;
    tracer.header->start = started;
    GetModuleFileNameW(nullptr, tracer.header->program.data(),
                       static_cast<DWORD>(tracer.header->program.size()));
    tracer.header->magic = file_magic;
    replace_imports();
    return true;
}

} // namespace
} // namespace ipc::trace

// NOLINTNEXTLINE(readability-identifier-naming): Windows calls it by this name
BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID) {
    if (reason == DLL_PROCESS_ATTACH) {
        return ipc::trace::start(self) ? TRUE : FALSE;
    }
    return TRUE; // at the end of the process Windows writes the pages of the file
}
