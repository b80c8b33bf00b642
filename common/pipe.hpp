#pragma once

#include "common/unique_handle.hpp"

#include <windows.h>

#include <string>

namespace ipc {

// Opens a client's end of the named pipe. Waits up to limit_ms milliseconds (INFINITE: no limit) for
// a server to create the pipe and to have a free instance. access: GENERIC_READ, GENERIC_WRITE or
// both; flags: FILE_FLAG_OVERLAPPED or 0. The caller owns the handle, which starts in byte read mode.
// Throws std::runtime_error after the limit, win32_error for any other failure.
// https://learn.microsoft.com/windows/win32/ipc/named-pipe-client
unique_handle connect_to_pipe(const std::wstring& name, DWORD access, DWORD flags, DWORD limit_ms);

// For a CreateNamedPipeW that failed just now: throws std::runtime_error if another server has the
// name, and win32_error otherwise.
[[noreturn]] void throw_create_pipe_error(const std::wstring& name);

// Whether a read or write on a pipe failed because the other end is closed, by its owner's choice or
// by its death.
bool is_disconnected(DWORD error);

} // namespace ipc
