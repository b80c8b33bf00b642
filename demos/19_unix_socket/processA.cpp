// Demo 19, process A: a server on an AF_UNIX socket, for programs of the same user.
//
// A socket's address is a file here: A removes the one that a crash left behind, binds a new one in its user's folder
// for local data, and removes it at the end. connections.hpp serves all clients at a completion port; pair 18 has the
// same file. Each B is a client: it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

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

constexpr auto usage =
    "processA [--clients N] [--limit SECONDS] [--name SUFFIX]\n"
    "  --clients N      end after N clients (default: Ctrl+C ends it)\n"
    "  --limit SECONDS  drop a client that is silent for so long (default: 10; 0: never)\n"
    "  --name SUFFIX    added to the socket's name, to run several servers\n"
    "Exit codes: 0 done, 1 a failure, 2 wrong usage, 3 this system has no AF_UNIX sockets";
// When Windows unlocks the file of a crashed process depends on the "available system resources" (LockFileEx).
constexpr DWORD crash_ms = 1'000;
constexpr DWORD lock_again_ms = 50;

// Takes the path for one server. The lock ends with the handle, so with the process, however it ends. A file that
// is not shared would do the same, but then a virus scanner that opens it looks like a server.
ipc::unique_handle lock_path(const std::wstring& path) {
    ipc::unique_handle lock(
        CreateFileW((path + L".lock").c_str(), // stays: nobody needs it removed
                    GENERIC_WRITE,
                    FILE_SHARE_READ | FILE_SHARE_WRITE, // all open it, and one locks it
                    nullptr,                            // its rights come from the folder
                    OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr));
    if (!lock) {
        ipc::throw_last_error("CreateFileW (the lock of the path)");
    }
    // ANCHOR: lock_path
    constexpr DWORD exclusive = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    const ULONGLONG end_ms = GetTickCount64() + crash_ms;
    OVERLAPPED first_byte{};
    while (!LockFileEx(lock.get(), exclusive, 0, 1, 0, &first_byte)) {
        const DWORD error = GetLastError();
        if (error != ERROR_LOCK_VIOLATION) {
            ipc::throw_error("LockFileEx", error);
        }
        if (GetTickCount64() >= end_ms) {
            throw std::runtime_error("another server has this path: " + ipc::to_utf8(path));
        }
        Sleep(lock_again_ms); // nothing tells when the system has unlocked it
    }
    return lock; // it ends with the handle: when the process ends, however that is
    // ANCHOR_END: lock_path
}

// Removes the file of a server that has crashed. Only for the owner of the lock: the file of a server that
// runs looks the same, and Windows lets it be deleted.
void remove_stale_socket(const std::wstring& path) {
    WIN32_FIND_DATAW found{}; // CreateFileW could not open a socket: ERROR_CANT_ACCESS_FILE
    const HANDLE search = FindFirstFileW(path.c_str(), &found);
    if (search == INVALID_HANDLE_VALUE) {
        const DWORD error = GetLastError();
        if (error == ERROR_FILE_NOT_FOUND) {
            return; // the last server has ended in order
        }
        ipc::throw_error("FindFirstFileW", error);
    }
    FindClose(search);
    // ANCHOR: remove_stale_socket
    const bool is_socket = (found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 &&
                           found.dwReserved0 == IO_REPARSE_TAG_AF_UNIX;
    if (!is_socket) {
        throw std::runtime_error("not a socket, so it is not removed: " + ipc::to_utf8(path));
    }
    if (!DeleteFileW(path.c_str())) {
        ipc::throw_last_error("DeleteFileW");
    }
    // ANCHOR_END: remove_stale_socket
}

// ANCHOR: listen
unique_socket listen_at(const sockaddr_un& address) {
    unique_socket listener = create_unix_socket();
    if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        throw_socket_error("bind");
    }
    if (listen(listener.get(), SOMAXCONN) != 0) { // SOMAXCONN_HINT is only for TCP
        throw_socket_error("listen");
    }
    return listener;
}
// ANCHOR_END: listen

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const winsock library;
    server_state server;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--clients", &server.options.clients},
                          {L"--limit", &server.options.idle_limit},
                          {L"--name", &server.options.suffix}});
    if (!has_unix_sockets()) {
        ipc::print_error_line("A: {}", no_unix_sockets);
        return exit_left_out;
    }
    ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
    const std::wstring path = socket_path(server.options.suffix);
    const sockaddr_un address = make_address(path);
    // The socket's file, like each new file, gets its rights from its folder, and the folder from LOCALAPPDATA: all
    // rights for the user, the administrators and the system. Who may write to the file may connect.
    std::filesystem::create_directory(std::filesystem::path(path).parent_path());
    const ipc::unique_handle lock = lock_path(path); // from here on no other server uses the path
    remove_stale_socket(path);                       // or bind would fail with WSAEADDRINUSE
    server.create_socket = create_unix_socket;
    server.listener = listen_at(address);                                  // creates the file
    const ipc::scope_exit remove_file([&] { DeleteFileW(path.c_str()); }); // before the unlock
    {
        const ipc::scope_exit end([&] { stop(server); }); // closes the socket before the delete
        start(server);
        ipc::print_line("A: {} threads wait for clients of this user", worker_count);
        wait_for_end(server);
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
