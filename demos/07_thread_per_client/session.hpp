#pragma once

// One instance of the server's pipe with the thread that serves its client.

#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <atomic>
#include <exception>
#include <stdexcept>

constexpr DWORD first_bytes = 4 * 1024; // the buffer of a new session, and of its pipe
constexpr DWORD kept_bytes = 64 * 1024; // a larger one is given back after the reply
constexpr ULONGLONG no_limit_ms = ~0ULL;

struct server;

struct session {
    server& all;
    ipc::unique_handle pipe;
    ipc::unique_handle thread;
    std::atomic<ULONGLONG> end_ms{no_limit_ms}; // when the call under way has taken too long
    std::atomic<bool> ended{false};             // from then on the thread touches nothing here
    DWORD error = ERROR_SUCCESS;                // that ended the connection
    std::uint64_t answered = 0;
    std::exception_ptr failure;

    session(server& owner, const std::wstring& name, bool first);
};

inline session::session(server& owner, const std::wstring& name, bool first) : all(owner) {
    ipc::user_only_security security;
    pipe.reset(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_DUPLEX | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, first_bytes, first_bytes, 0 /* default time-out */,
        security.get()));
    if (!pipe) {
        const DWORD error_code = GetLastError();
        if (error_code == ERROR_ACCESS_DENIED || error_code == ERROR_PIPE_BUSY) {
            throw std::runtime_error("the name is taken, by another server? " + ipc::to_utf8(name));
        }
        ipc::throw_error("CreateNamedPipeW", error_code);
    }
}
