// Demo 19, process A: a server on an AF_UNIX socket, for programs of the same user.
//
// A socket's address is a file here: A removes the one that a crash left behind, binds a new one in a folder
// that only its user may use, and removes it at the end. From there on it is pair 18's server: a few threads
// serve all clients at a completion port. Each B is a client, whose requests come back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/server_options.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "connections.hpp"
#include "sockets.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

constexpr auto usage =
    "processA [--clients N] [--limit SECONDS] [--name SUFFIX]\n"
    "  --clients N      end after N clients (default: Ctrl+C ends it)\n"
    "  --limit SECONDS  drop a client that is silent for so long (default: 10; 0: never)\n"
    "  --name SUFFIX    added to the socket's name, to run several servers\n"
    "Exit codes: 0 done, 1 a failure, 2 wrong usage, 3 this system has no AF_UNIX sockets";
constexpr DWORD crash_ms = 1'000; // Windows may unlock the file of a crashed process somewhat later
constexpr DWORD lock_again_ms = 50;

ipc::server_options parse_options(int argc, wchar_t** argv) {
    ipc::server_options options;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--clients", &options.clients},
                          {L"--limit", &options.idle_limit},
                          {L"--name", &options.suffix}});
    return options;
}

// A security descriptor that files in the folder inherit. It counts for them, and not the folder's own rights:
// Windows does not check the folders on the way to a file. Who may write to the socket's file may connect.
void create_folder(const std::filesystem::path& folder) {
    // ANCHOR: create_folder
    ipc::user_only_security security; // one entry: all rights for this user
    BOOL present = FALSE;
    BOOL defaulted = FALSE;
    ACL* dacl = nullptr;
    void* entry = nullptr;
    if (!GetSecurityDescriptorDacl(security.get()->lpSecurityDescriptor, &present, &dacl,
                                   &defaulted) ||
        !GetAce(dacl, 0, &entry)) {
        ipc::throw_last_error("GetSecurityDescriptorDacl or GetAce");
    }
    static_cast<ACE_HEADER*>(entry)->AceFlags = OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE;
    if (!CreateDirectoryW(folder.c_str(), security.get())) {
        const DWORD error = GetLastError();
        if (error != ERROR_ALREADY_EXISTS) { // an earlier run has created it
            ipc::throw_error("CreateDirectoryW", error);
        }
    }
    // ANCHOR_END: create_folder
}

// Takes the path for one server. The lock ends with the handle, so with the process, however it ends.
ipc::unique_handle lock_path(const std::wstring& path) {
    ipc::unique_handle lock(CreateFileW(
        (path + L".lock").c_str(), // stays: a server that removes it could remove another one's
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

// The file of this server. The destructor removes it.
class socket_file {
public:
    explicit socket_file(std::wstring path)
        : path_(std::move(path)), address_(make_address(path_)) {
        create_folder(std::filesystem::path(path_).parent_path());
        lock_ = lock_path(path_); // from here on no other server uses the path
        remove_stale_socket(path_);
    }
    ~socket_file() {
        if (created_) {
            DeleteFileW(path_.c_str()); // if it fails, the next server removes the file
        }
    }
    socket_file(const socket_file&) = delete;
    socket_file& operator=(const socket_file&) = delete;

    // ANCHOR: listen
    unique_socket listen_here() {
        unique_socket listener = create_unix_socket();
        const auto* const address = reinterpret_cast<const sockaddr*>(&address_);
        if (bind(listener.get(), address, sizeof address_) != 0) { // creates the file
            throw_socket_error("bind");
        }
        created_ = true;
        if (listen(listener.get(), SOMAXCONN) != 0) {
            throw_socket_error("listen");
        }
        return listener;
    }
    // ANCHOR_END: listen

private:
    std::wstring path_;
    sockaddr_un address_;
    ipc::unique_handle lock_;
    bool created_ = false;
};

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const ipc::server_options options = parse_options(argc, argv);
    const winsock library;
    if (!has_unix_sockets()) {
        ipc::print_error_line("A: {}", no_unix_sockets);
        return exit_left_out;
    }
    socket_file file(socket_path(options.suffix)); // removed after the listening socket is closed
    server_state server;
    server.options = options;
    {
        const ipc::scope_exit end([&] { stop(server); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
        server.listener = file.listen_here();
        start(server);
        ipc::print_line("A: {} threads wait for clients of this user", worker_count);
        wait_for_end(server);
    }
    if (server.connections.empty()) {
        throw std::runtime_error("no socket is left");
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
