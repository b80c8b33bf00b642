#pragma once

#include "common/unique_handle.hpp"

#include <windows.h>

#include <string>

namespace ipc {

// Opens a client's end of the named pipe. Waits up to limit_ms milliseconds (0: one try; INFINITE:
// no limit) for a server to create the pipe and to have a free instance. access: GENERIC_READ,
// GENERIC_WRITE or both; flags: FILE_FLAG_OVERLAPPED or 0. The caller owns the handle, which reads
// in byte mode until SetNamedPipeHandleState changes that. The server cannot impersonate the
// client. Throws std::runtime_error after the limit, and win32_error at once for any other failure.
// https://learn.microsoft.com/windows/win32/ipc/named-pipe-client
unique_handle connect_to_pipe(const std::wstring& name, DWORD access, DWORD flags, DWORD limit_ms);

// Call it right after a CreateNamedPipeW that failed, as it reads GetLastError. Throws
// std::runtime_error if another server has the name, and win32_error for any other failure.
[[noreturn]] void throw_create_pipe_error(const std::wstring& name);

// Whether this error of a read or write on a pipe means that the other end is gone: its process has
// closed it or has ended, or the server has disconnected this client.
bool is_disconnected(DWORD error);

} // namespace ipc
