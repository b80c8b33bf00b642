#pragma once

// What the server and its clients agree on. One WriteFile is one message:
//
// - A request is the full path of a file, in UTF-16, without a zero at the end.
// - Its reply is a reply_header and, if its error is ERROR_SUCCESS, the content of the file.
//
// A client reads the reply before it sends the next request, and closes its handle to leave. The
// server disconnects a client that sends a longer request.

#include "common/error.hpp"

#include <windows.h>

#include <string>

namespace protocol {

constexpr auto pipe_name = L"\\\\.\\pipe\\ipc_demos.14.files";
constexpr DWORD max_request_bytes = 32'767 * sizeof(wchar_t); // no path of Windows is longer
constexpr DWORD max_content_bytes = 64 * 1024;                // the server refuses a longer file

struct reply_header {
    DWORD error; // why the server has refused, or ERROR_SUCCESS
};

// Returns "ERROR_FILE_NOT_FOUND (2)", without the system's text, which depends on the language.
inline std::string error_name(DWORD error) {
    const std::string text = ipc::error_text(error);
    return text.substr(0, text.find(": "));
}

} // namespace protocol
