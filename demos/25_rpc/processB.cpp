// Demo 25, process B: a client that calls functions of process A.
//
// B makes a binding, which says where the server is and how both prove who they are. It opens a session
// and calls make_reply for each request: its arguments, or the lines of a file. To B a remote call looks
// like any other, but it can fail in ways of its own, and it needs a time limit.
//
// Run: processB [--in FILE] [--tcp PORT] [--mapper] [--limit SECONDS] [--name SUFFIX] [REQUEST...]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "rpc_status.hpp"

#include "requests.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr auto usage =
    "processB [--in FILE] [--tcp PORT] [--mapper] [--limit SECONDS] [--name SUFFIX] [REQUEST...]\n"
    "  --in FILE        send the lines of FILE instead of REQUESTs (default: three requests)\n"
    "  --tcp PORT       call the server at this port of 127.0.0.1\n"
    "  --mapper         call the server that the endpoint mapper knows\n"
    "  --limit SECONDS  how long B waits for the server, and for each call (default: 10; 0: no "
    "limit)\n"
    "  --name SUFFIX    appended to the endpoint's name, as with processA";
constexpr DWORD cancel_ms = 1000; // for a cancelled call to return
constexpr DWORD retry_ms = 10;    // until B looks for the server again

struct client_options {
    std::wstring in;
    std::uint64_t tcp_port = 0;
    bool mapper = false;
    ipc::time_limit limit{10'000};
    std::wstring suffix;
};

// Returns what the remote call returns, or the code of its failure. Throws if the limit is over, even if the call has
// ended well just then: it may have been cancelled.
template <typename Call> RPC_STATUS call_within(DWORD limit_ms, const Call& call);

// ANCHOR: binding
RPC_BINDING_HANDLE make_binding(const client_options& options) {
    // transport : address [ endpoint ]; without an endpoint, the runtime asks the endpoint mapper
    std::wstring text = L"ncalrpc:[" + ipc::object_name(protocol::endpoint, options.suffix) + L"]";
    if (options.tcp_port != 0) {
        text = L"ncacn_ip_tcp:127.0.0.1[" + std::to_wstring(options.tcp_port) + L"]";
    } else if (options.mapper) {
        text = L"ncalrpc:";
    }
    RPC_BINDING_HANDLE binding = nullptr;
    check_status("RpcBindingFromStringBindingW",
                 RpcBindingFromStringBindingW(rpc_text(text), &binding));
    return binding;
}
// ANCHOR_END: binding

// Tries again, within the limit, while no server is there, or none has a place for one more client.
void open(RPC_BINDING_HANDLE server, session_handle& session, DWORD limit_ms) {
    const ipc::deadline end(limit_ms);
    for (;;) {
        const RPC_STATUS status =
            call_within(limit_ms, [&] { return open_session(server, &session); });
        if ((status != RPC_S_SERVER_UNAVAILABLE && status != RPC_S_SERVER_TOO_BUSY) ||
            end.is_over()) {
            check_status("open_session", status);
            return;
        }
        Sleep(retry_ms); // nothing tells when a server comes
    }
}

void send_requests(RPC_BINDING_HANDLE server, const std::vector<std::wstring>& requests,
                   std::ifstream& file, DWORD limit_ms) {
    session_handle session = nullptr;
    open(server, session, limit_ms);
    // After a failure B forgets the session, and its end tells the server. A program that goes on has
    // to call close_session.
    const ipc::scope_exit forget([&] {
        if (session != nullptr) {
            RpcSmDestroyClientContext(&session);
        }
    });
    ipc::byte_sink screen(L"", "B: ");
    const auto show_reply = [&](std::string_view request) {
        if (request.size() > max_message_bytes) {
            throw std::runtime_error("a request is longer than the protocol allows");
        }
        // ANCHOR: call
        unsigned long reply_bytes = 0;
        byte* reply = nullptr;
        const ipc::scope_exit free_reply([&] { midl_user_free(reply); });
        const RPC_STATUS status = call_within(limit_ms, [&] { // a function of the server
            return make_reply(session, static_cast<unsigned long>(request.size()),
                              reinterpret_cast<const byte*>(request.data()), &reply_bytes, &reply);
        });
        check_status("make_reply", status);
        screen.write({reinterpret_cast<const char*>(reply), reply_bytes});
        screen.write("\n");
        // ANCHOR_END: call
    };
    for (const std::wstring& request : requests) {
        show_reply(ipc::to_utf8(request));
    }
    for (std::string line; std::getline(file, line);) {
        show_reply(line);
    }
    check_status("close_session", call_within(limit_ms, [&] { return close_session(&session); }));
}

// ANCHOR: auth
// The server learns who this client is, and cannot act as its user.
void authenticate(RPC_BINDING_HANDLE binding, bool tcp) {
    RPC_SECURITY_QOS quality{};
    quality.Version = RPC_C_SECURITY_QOS_VERSION;
    quality.Capabilities = RPC_C_QOS_CAPABILITIES_DEFAULT;
    quality.IdentityTracking = RPC_C_QOS_IDENTITY_STATIC;
    quality.ImpersonationType = RPC_C_IMP_LEVEL_IDENTIFY;
    const RPC_STATUS status =
        RpcBindingSetAuthInfoExW(binding, nullptr,
                                 RPC_C_AUTHN_LEVEL_PKT_PRIVACY, // signed and encrypted
                                 RPC_C_AUTHN_WINNT,             // NTLM
                                 nullptr,                       // as the user who is logged on
                                 RPC_C_AUTHZ_NONE, &quality);
    // Wine has no NTLM of its own. ncalrpc needs none: the system tells the server who the client is.
    if (tcp || status != RPC_S_UNKNOWN_AUTHN_SERVICE) {
        check_status("RpcBindingSetAuthInfoExW", status);
    }
}
// ANCHOR_END: auth

// A time limit for the remote calls of this thread, as long as the object exists.
class call_limit {
public:
    explicit call_limit(DWORD limit_ms) {
        const HANDLE self = GetCurrentProcess();
        if (!DuplicateHandle(self, GetCurrentThread(), self, thread_.put(), 0, FALSE,
                             DUPLICATE_SAME_ACCESS)) {
            ipc::throw_last_error("DuplicateHandle");
        }
        timer_ = CreateThreadpoolTimer(cancel_call, this, nullptr);
        if (timer_ == nullptr) {
            ipc::throw_last_error("CreateThreadpoolTimer");
        }
        if (limit_ms != INFINITE) { // INFINITE: the timer never starts
            ULARGE_INTEGER due;     // in units of 100 ns; negative: from now on
            due.QuadPart = static_cast<ULONGLONG>(-10'000LL * limit_ms);
            FILETIME first_time{due.LowPart, due.HighPart};
            SetThreadpoolTimer(timer_, &first_time, cancel_ms, 0);
        }
    }
    call_limit(const call_limit&) = delete;
    call_limit& operator=(const call_limit&) = delete;
    ~call_limit() {
        stop();
        CloseThreadpoolTimer(timer_);
    }

    // Afterwards nothing is cancelled any more. Returns whether the limit was over.
    bool stop() {
        SetThreadpoolTimer(timer_, nullptr, 0, 0);
        WaitForThreadpoolTimerCallbacks(timer_, TRUE /* drop those that have not started */);
        return is_over_;
    }

private:
    // ANCHOR: cancel
    static void CALLBACK cancel_call(PTP_CALLBACK_INSTANCE, void* self, PTP_TIMER) {
        auto& limit = *static_cast<call_limit*>(self);
        if (!limit.is_over_.exchange(true)) {
            RpcCancelThreadEx(limit.thread_.get(), 0); // the call fails, whatever the server does
        } else {
            ipc::print_error_line("B: the server did not answer in time; the cancel had no effect");
            TerminateProcess(GetCurrentProcess(), 1);
        }
    }
    // ANCHOR_END: cancel

    ipc::unique_handle thread_;
    PTP_TIMER timer_ = nullptr;
    std::atomic<bool> is_over_ = false;
};

template <typename Call> RPC_STATUS call_within(DWORD limit_ms, const Call& call) {
    call_limit limit(limit_ms);
    const RPC_STATUS status = status_of(call);
    if (limit.stop()) {
        throw std::runtime_error("the server did not answer in time");
    }
    return status;
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
    client_options options;
    std::vector<std::wstring> requests;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--in", &options.in},
                          {L"--tcp", &options.tcp_port},
                          {L"--mapper", &options.mapper},
                          {L"--limit", &options.limit},
                          {L"--name", &options.suffix}},
                         &requests);
    if (!options.in.empty() && !requests.empty()) {
        throw ipc::usage_error("--in or REQUEST, not both; usage: processB --in FILE");
    }
    if (options.in.empty() && requests.empty()) {
        requests = {L"hello", L"ASCII letters only: Gr\u00FC\u00DFe", L"goodbye"};
    }
    if (options.tcp_port > 65535) {
        throw ipc::usage_error("--tcp needs a port up to 65535; usage: processB --tcp PORT");
    }
    std::ifstream file;
    if (!options.in.empty()) {
        file.open(std::filesystem::path(options.in), std::ios::binary);
        if (!file) {
            throw std::runtime_error("cannot open " + ipc::to_utf8(options.in));
        }
    }
    RPC_BINDING_HANDLE server = make_binding(options);
    const ipc::scope_exit free_binding([&] { RpcBindingFree(&server); });
    authenticate(server, options.tcp_port != 0);
    send_requests(server, requests, file, options.limit.ms);
    if (file.bad()) {
        throw std::runtime_error("cannot read " + ipc::to_utf8(options.in));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
