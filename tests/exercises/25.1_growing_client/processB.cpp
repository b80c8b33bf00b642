// Exercise 25.1: process B, a smaller client of pair 25. Process A is that of the pair. B sends each line
// of a file and prints how long the reply is.
//
// SOLUTION: The stub allocates the reply in the client, with midl_user_allocate. From the return of
// make_reply on, it belongs to B, also after an error, so B frees it when it leaves the scope.
// STARTER
//~ // B should work for days without growing.
// END
//
// Run: processB --in FILE [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
// SOLUTION: the owner of the reply
#include "common/scope_exit.hpp"
// STARTER
// END
#include "common/security.hpp"
#include "common/text.hpp"
#include "protocol.hpp"
#include "rpc_status.hpp"

#include "requests.h"

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processB --in FILE [--name SUFFIX]\n"
                       "  --in FILE      send the lines of FILE\n"
                       "  --name SUFFIX  appended to the endpoint's name, as with processA";

void send_line(session_handle session, const std::string& request) {
    unsigned long reply_bytes = 0;
    byte* reply = nullptr;
    // SOLUTION: a null pointer, if there is no reply, is right for midl_user_free, too
    const ipc::scope_exit free_reply([&] { midl_user_free(reply); });
    // STARTER
    // END
    const RPC_STATUS status = status_of([&] {
        return make_reply(session, static_cast<unsigned long>(request.size()),
                          reinterpret_cast<const byte*>(request.data()), &reply_bytes, &reply);
    });
    check_status("make_reply", status);
    ipc::print_line("B: a reply of {} bytes", reply_bytes);
}

} // namespace

// The stubs get memory here.
void* __RPC_USER midl_user_allocate(std::size_t bytes) {
    return ::operator new(bytes, std::nothrow);
}
void __RPC_USER midl_user_free(void* memory) {
    ::operator delete(memory);
}

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--in", &in}, {L"--name", &suffix}});
    std::ifstream file(std::filesystem::path(in), std::ios::binary);
    if (!file) {
        throw std::runtime_error("cannot open " + ipc::to_utf8(in));
    }
    const std::wstring text = L"ncalrpc:[" + ipc::object_name(protocol::endpoint, suffix) + L"]";
    RPC_BINDING_HANDLE server = nullptr;
    check_status("RpcBindingFromStringBindingW",
                 RpcBindingFromStringBindingW(rpc_text(text), &server));
    session_handle session = nullptr;
    check_status("open_session", status_of([&] { return open_session(server, &session); }));
    for (std::string line; std::getline(file, line);) {
        send_line(session, line);
    }
    check_status("close_session", status_of([&] { return close_session(&session); }));
    RpcBindingFree(&server);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
