// Exercise 19.1, process A: a server whose address is a file.
//
// A starts although a crashed server has left its file, and takes nothing away from others. Mend it.
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

void remove_old_file(const std::wstring& path) {
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
