#pragma once

#include <windows.h>

namespace ipc::trace {

// Loads the tracer's DLL into a process that has been created suspended and has not run yet. The DLL leaves its
// file in the folder. Returns nullptr, or the call that failed, with its error in GetLastError(). The process can
// be resumed in both cases.
const char* inject(HANDLE process, DWORD process_id, const wchar_t* dll,
                   const wchar_t* folder) noexcept;

// inject() returns this for a 32-bit program.
inline constexpr char is_32_bit[] = "a 32-bit program cannot be traced";

// inject() returns this if the DLL has refused: it cannot write its file.
inline constexpr char refused[] = "LoadLibraryW in the program";

} // namespace ipc::trace
