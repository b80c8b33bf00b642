// Demo 25, process A: a server whose functions other programs call, by Windows RPC.
//
// A registers the interface of requests.idl and listens at an endpoint of ncalrpc, the transport for one
// computer. The runtime's threads call A's functions open_session, make_reply and close_session. Each B
// is a client: it opens a session, gets its requests back in upper case, and closes the session.
//
// Run: processA [--clients N] [--tcp PORT] [--mapper] [--limit SECONDS] [--name SUFFIX]

#include "client_check.hpp"
#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "rpc_status.hpp"

#include "requests.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#ifdef __MINGW32__ // in its library, and not in the headers of Debian 12
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" RPCRTAPI RPC_STATUS RPC_ENTRY RpcServerRegisterIf3(RPC_IF_HANDLE, UUID*, RPC_MGR_EPV*,
                                                              unsigned int, unsigned int,
                                                              unsigned int, RPC_IF_CALLBACK_FN*,
                                                              void*);
#endif

namespace {

constexpr auto usage =
    "processA [--clients N] [--tcp PORT] [--mapper] [--limit SECONDS] [--name SUFFIX]\n"
    "  --clients N      end after N clients (default: Ctrl+C ends it)\n"
    "  --tcp PORT       listen on this port, too, for clients on this computer\n"
    "  --mapper         let the system choose the endpoint, for clients with --mapper\n"
    "  --limit SECONDS  how long the end may wait for running calls (default: 10; 0: no limit)\n"
    "  --name SUFFIX    appended to the endpoint's name, to run several servers";

struct server_options {
    std::uint64_t clients = 0;
    std::uint64_t tcp_port = 0;
    bool mapper = false;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
};

// What a session_handle points to. The runtime runs one call of a session at a time.
struct client_session {
    std::uint64_t answered = 0;
};

// The functions that the runtime calls have no argument for it, so it is a variable of the program.
struct server_state {
    std::uint64_t clients = 0; // of --clients
    std::atomic<std::uint64_t> served = 0;
    ipc::unique_handle finished_event; // enough clients were served
};
server_state server; // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void end_session(session_handle handle, const char* how) noexcept {
    const auto* ended = static_cast<client_session*>(handle);
    try {
        ipc::print_line("A: a client {}; requests answered: {}", how, ended->answered);
    } catch (...) {
        ipc::report_exception("A");
    }
    delete ended;
    if (++server.served == server.clients) {
        SetEvent(server.finished_event.get());
    }
}

} // namespace

// The functions of requests.idl. Several threads run them at the same time. No C++ exception may leave
// them: the runtime cannot catch it.
error_status_t open_session(handle_t /*server*/, session_handle* session) {
    *session = nullptr;
    // Wine does not call check_client by itself. The null pointer means the client of this call.
    const RPC_STATUS refused = check_client(nullptr, nullptr);
    if (refused != RPC_S_OK) {
        return static_cast<error_status_t>(refused);
    }
    *session = new (std::nothrow) client_session;
    return *session == nullptr ? RPC_S_OUT_OF_MEMORY : RPC_S_OK;
}

// ANCHOR: make_reply
error_status_t make_reply(session_handle session, unsigned long request_bytes, const byte* request,
                          unsigned long* reply_bytes, byte** reply) {
    *reply_bytes = 0;
    *reply = static_cast<byte*>(midl_user_allocate(request_bytes)); // freed when the reply is sent
    if (*reply == nullptr) {
        return RPC_S_OUT_OF_MEMORY;
    }
    std::transform(request, request + request_bytes, *reply, [](byte letter) {
        return letter >= 'a' && letter <= 'z' ? static_cast<byte>(letter - 'a' + 'A') : letter;
    });
    *reply_bytes = request_bytes;
    ++static_cast<client_session*>(session)->answered;
    return RPC_S_OK;
}
// ANCHOR_END: make_reply

// ANCHOR: close
error_status_t close_session(session_handle* session) {
    if (*session == nullptr) { // [in, out] lets a null handle through, from a hostile client
        return RPC_X_SS_IN_NULL_CONTEXT;
    }
    end_session(*session, "left");
    *session = nullptr; // the runtime forgets the handle, and so does the client's stub
    return RPC_S_OK;
}

// The client has died, or its connection has, or A ends.
void __RPC_USER session_handle_rundown(session_handle handle) {
    end_session(handle, "did not close its session");
}
// ANCHOR_END: close

// The stubs get memory here.
void* __RPC_USER midl_user_allocate(std::size_t bytes) {
    return ::operator new(bytes, std::nothrow);
}
void __RPC_USER midl_user_free(void* memory) {
    ::operator delete(memory);
}

namespace {

// ANCHOR: listen
void listen_at_name(const std::wstring& name) {
    check_status("RpcServerUseProtseqEpW",
                 RpcServerUseProtseqEpW(rpc_text(L"ncalrpc"),           // clients on this computer
                                        RPC_C_PROTSEQ_MAX_REQS_DEFAULT, // only TCP uses it
                                        rpc_text(name),
                                        nullptr)); // all may connect: the callback decides
}
// ANCHOR_END: listen

// ANCHOR: register
void register_interface(bool tcp) {
    unsigned int flags = RPC_IF_SEC_NO_CACHE; // ask check_client before each call
    if (!tcp) {
        flags |= RPC_IF_ALLOW_LOCAL_ONLY; // it refuses all of TCP, from this computer, too
    }
    check_status("RpcServerRegisterIf3",
                 RpcServerRegisterIf3(requests_v1_0_s_ifspec, // from requests_s.c
                                      nullptr, nullptr, // the functions with requests.idl's names
                                      flags,
                                      RPC_C_LISTEN_MAX_CALLS_DEFAULT, // RpcServerListen's counts
                                      max_message_bytes + 4096, // the most bytes of a call over TCP
                                      check_client,             // the security callback
                                      nullptr)); // no descriptor: the callback decides
}
// ANCHOR_END: register

void listen_on_tcp(std::uint64_t port) {
    if (port > 65535) {
        throw ipc::usage_error("--tcp needs a port up to 65535; usage: processA --tcp PORT");
    }
    // Clients prove who they are by NTLM. Where it does not exist, as in Wine, check_client refuses all.
    const RPC_STATUS status =
        RpcServerRegisterAuthInfoW(nullptr, RPC_C_AUTHN_WINNT, nullptr, nullptr);
    if (status != RPC_S_UNKNOWN_AUTHN_SERVICE) {
        check_status("RpcServerRegisterAuthInfoW", status);
    }
    check_status("RpcServerUseProtseqEpW",
                 RpcServerUseProtseqEpW(rpc_text(L"ncacn_ip_tcp"), RPC_C_PROTSEQ_MAX_REQS_DEFAULT,
                                        rpc_text(std::to_wstring(port)), nullptr));
}

// The system chooses the endpoint. Clients find it by the interface, in the endpoint mapper. With several
// servers of the interface, a client gets any of them.
RPC_BINDING_VECTOR* listen_at_dynamic_endpoint() {
    check_status(
        "RpcServerUseProtseqW",
        RpcServerUseProtseqW(rpc_text(L"ncalrpc"), RPC_C_PROTSEQ_MAX_REQS_DEFAULT, nullptr));
    RPC_BINDING_VECTOR* bindings = nullptr; // which endpoint it is
    check_status("RpcServerInqBindings", RpcServerInqBindings(&bindings));
    check_status("RpcEpRegisterW", RpcEpRegisterW(requests_v1_0_s_ifspec, bindings, nullptr,
                                                  rpc_text(L"pair 25"))); // for the administrator
    return bindings;
}

void wait_for_end() {
    const HANDLE events[] = {server.finished_event.get(), ipc::ctrl_c_event()};
    if (WaitForMultipleObjects(2, events, FALSE /* any */, INFINITE /* until Ctrl+C */) ==
        WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
}

DWORD WINAPI wait_for_calls(void* /*unused*/) {
    return static_cast<DWORD>(RpcMgmtWaitServerListen());
}

// No new calls; those that run may end, and their clients get the replies.
void stop_listening(DWORD limit_ms) {
    check_status("RpcMgmtStopServerListening", RpcMgmtStopServerListening(nullptr));
    // RpcMgmtWaitServerListen has no time limit, so a thread of its own calls it.
    const ipc::unique_handle thread(CreateThread(nullptr, 0, wait_for_calls, nullptr, 0, nullptr));
    if (!thread) {
        ipc::throw_last_error("CreateThread");
    }
    const DWORD waited = WaitForSingleObject(thread.get(), limit_ms);
    if (waited == WAIT_TIMEOUT) {
        ipc::print_error_line("A: a call is still running at the end");
        TerminateProcess(GetCurrentProcess(), 1); // its thread uses this program's data
    }
    DWORD status = 0;
    if (waited == WAIT_FAILED || !GetExitCodeThread(thread.get(), &status)) {
        ipc::throw_last_error("the wait for the running calls");
    }
    check_status("RpcMgmtWaitServerListen", static_cast<RPC_STATUS>(status));
    // TRUE: open sessions run down now, while this program's data still exists. Wine runs none down.
    check_status("RpcServerUnregisterIfEx",
                 RpcServerUnregisterIfEx(requests_v1_0_s_ifspec, nullptr, TRUE));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server_options options;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--clients", &options.clients},
                          {L"--tcp", &options.tcp_port},
                          {L"--mapper", &options.mapper},
                          {L"--limit", &options.limit},
                          {L"--name", &options.suffix}});
    ipc::ctrl_c_event(); // from here on Ctrl+C sets this event and does not end the program
    server.clients = options.clients;
    server.finished_event.reset(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!server.finished_event) {
        ipc::throw_last_error("CreateEventW");
    }
    register_interface(options.tcp_port != 0);
    RPC_BINDING_VECTOR* mapped = nullptr;
    if (options.mapper) {
        mapped = listen_at_dynamic_endpoint();
    } else {
        listen_at_name(ipc::object_name(protocol::endpoint, options.suffix));
    }
    if (options.tcp_port != 0) {
        listen_on_tcp(options.tcp_port);
    }
    // ANCHOR: serve
    check_status("RpcServerListen", RpcServerListen(1, // thread at least
                                                    RPC_C_LISTEN_MAX_CALLS_DEFAULT, // at a time
                                                    TRUE)); // return at once
    // ANCHOR_END: serve
    ipc::print_line("A: the server waits for calls");
    wait_for_end();
    if (mapped != nullptr) { // first, so that no new client comes
        check_status("RpcEpUnregister", RpcEpUnregister(requests_v1_0_s_ifspec, mapped, nullptr));
        RpcBindingVectorFree(&mapped);
    }
    stop_listening(options.limit.ms);
    ipc::print_line("A: the end; clients served: {}", server.served.load());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
