#include "tests/tracer/inject.hpp"

#include "tests/tracer/record.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cwchar>
#include <iterator>

namespace ipc::trace {
namespace {

constexpr DWORD load_limit_ms = 20'000; // for a virus scanner that looks at the DLL first

// Writes "Local\ipc_trace.1234".
void name_settings(wchar_t (&name)[64], DWORD process_id) noexcept {
    std::wmemcpy(name, settings_name, std::size(settings_name));
    wchar_t* end = name + std::size(settings_name) - 1;
    wchar_t digits[16];
    int count = 0;
    do {
        digits[count++] = static_cast<wchar_t>(L'0' + process_id % 10);
        process_id /= 10;
    } while (process_id != 0);
    while (count > 0) {
        *end++ = digits[--count];
    }
    *end = L'\0';
}

// Closes a handle at the end and keeps the error of the call that failed.
class closing {
public:
    explicit closing(HANDLE handle) : handle_(handle) {}
    ~closing() {
        const DWORD error = GetLastError();
        if (handle_ != nullptr) {
            CloseHandle(handle_);
        }
        SetLastError(error);
    }
    closing(const closing&) = delete;
    closing& operator=(const closing&) = delete;

    HANDLE get() const { return handle_; }

private:
    HANDLE handle_;
};

// The settings are in a mapping, so that neither the command line nor the environment of the program changes.
HANDLE leave_settings(DWORD process_id, const wchar_t* folder) noexcept {
    wchar_t name[64];
    name_settings(name, process_id);
    const HANDLE mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0,
                                              sizeof(settings), name);
    if (mapping == nullptr) {
        return nullptr;
    }
    auto* const view =
        static_cast<settings*>(MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, sizeof(settings)));
    if (view == nullptr) {
        const closing close(mapping);
        return nullptr;
    }
    view->parent = GetCurrentProcessId();
    std::copy_n(folder, std::min(std::wcslen(folder), view->folder.size() - 1),
                view->folder.begin()); // the mapping holds zeros
    UnmapViewOfFile(view);
    return mapping;
}

} // namespace

const char* inject(HANDLE process, DWORD process_id, const wchar_t* dll,
                   const wchar_t* folder) noexcept {
    BOOL is_wow64 = FALSE;
    if (IsWow64Process(process, &is_wow64) && is_wow64) {
        return is_32_bit;
    }
    const closing mapping(leave_settings(process_id, folder));
    if (mapping.get() == nullptr) {
        return "CreateFileMappingW";
    }
    const std::size_t bytes = (std::wcslen(dll) + 1) * sizeof(wchar_t);
    void* const there =
        VirtualAllocEx(process, nullptr, bytes, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (there == nullptr) {
        return "VirtualAllocEx";
    }
    if (!WriteProcessMemory(process, there, dll, bytes, nullptr)) {
        return "WriteProcessMemory";
    }
    // kernel32.dll has the same address in every process of the same kind.
    const auto load = reinterpret_cast<LPTHREAD_START_ROUTINE>(
        reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "LoadLibraryW")));
    const closing thread(CreateRemoteThread(process, nullptr, 0, load, there, 0, nullptr));
    if (thread.get() == nullptr) {
        return "CreateRemoteThread";
    }
    if (WaitForSingleObject(thread.get(), load_limit_ms) != WAIT_OBJECT_0) {
        SetLastError(ERROR_TIMEOUT); // the memory stays: the thread may still read it
        return refused;
    }
    VirtualFreeEx(process, there, 0, MEM_RELEASE);
    DWORD module = 0; // the lower half of the module's address
    if (!GetExitCodeThread(thread.get(), &module) || module == 0) {
        SetLastError(ERROR_DLL_INIT_FAILED);
        return refused;
    }
    return nullptr;
}

} // namespace ipc::trace
