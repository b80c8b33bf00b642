#pragma once

#include "common/unique_handle.hpp"

#include <string>
#include <string_view>

namespace ipc {

// The files of --in and --out. Others may read such a file meanwhile, but not write to it. The
// caller owns the handle. All of them throw win32_error.
unique_handle open_input(const std::wstring& path);
unique_handle create_output(const std::wstring& path); // empties a file that exists

// Writes all the bytes, at most 4 GiB at once. For files; a pipe's WriteFile belongs to its lesson.
void write_file(HANDLE file, std::string_view bytes);

} // namespace ipc
