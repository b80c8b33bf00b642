// Exercise 19.1, process A: a server whose address is a file.
//
// SOLUTION: The file of a crashed server looks like that of a running one, so something else has to tell them
// apart: a lock, which ends with the process that has it. The tag tells a socket from a file of the user.
// STARTER
//~ // A starts although a crashed server has left its file, and takes nothing away from others. Mend it.
// END
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and processB of pair 19

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "connections.hpp"
#include "sockets.hpp"
#include "unix_socket.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>

namespace {

// SOLUTION: the lock is taken first, and the caller keeps it until the server has ended.
ipc::unique_handle lock_path(const std::wstring& path) {
    ipc::unique_handle lock(CreateFileW((path + L".lock").c_str(), GENERIC_WRITE,
                                        FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_ALWAYS,
                                        FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!lock) {
        ipc::throw_last_error("CreateFileW");
    }
    OVERLAPPED first_byte{};
    if (!LockFileEx(lock.get(), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
                    &first_byte)) {
        const DWORD error = GetLastError();
        if (error != ERROR_LOCK_VIOLATION) {
            ipc::throw_error("LockFileEx", error);
        }
        throw std::runtime_error("another server has this path");
    }
    return lock;
}

// STARTER
// END
void remove_old_file(const std::wstring& path) {
    // SOLUTION: only a socket.
    WIN32_FIND_DATAW found{};
    const HANDLE search = FindFirstFileW(path.c_str(), &found);
    if (search == INVALID_HANDLE_VALUE) {
        return;
    }
    FindClose(search);
    if ((found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0 ||
        found.dwReserved0 != IO_REPARSE_TAG_AF_UNIX) {
        throw std::runtime_error("there is a file that is no socket");
    }
    // STARTER
    // END
    DeleteFileW(path.c_str()); // or bind would fail with WSAEADDRINUSE
}

unique_socket listen_on_path(const std::wstring& path) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    remove_old_file(path);
    const sockaddr_un address = make_address(path);
    unique_socket listener = create_unix_socket();
    const auto* const at = reinterpret_cast<const sockaddr*>(&address);
    if (bind(listener.get(), at, sizeof address) != 0) {
        throw_socket_error("bind");
    }
    if (listen(listener.get(), SOMAXCONN) != 0) {
        throw_socket_error("listen");
    }
    return listener;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server_state server;
    server.options = ipc::parse_server_options(argc, argv);
    const winsock library;
    const std::wstring path = socket_path(server.options.suffix);
    // SOLUTION: before the file is touched.
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    const ipc::unique_handle lock = lock_path(path);
    // STARTER
    // END
    {
        const ipc::scope_exit end([&] { stop(server); });
        ipc::ctrl_c_event();
        server.create_socket = create_unix_socket;
        server.listener = listen_on_path(path);
        start(server);
        ipc::print_line("A: waiting for clients");
        wait_for_end(server);
    }
    DeleteFileW(path.c_str());
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
