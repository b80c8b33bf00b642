// Demo 24, process B: the client of the COM server.
//
// B asks COM for an object of the class. COM starts the server if it does not run. B calls the methods of
// the object, and the object calls back. If the server dies, B asks for a new object. With --running, B uses
// only a server that runs already: it finds it in the running object table.
//
// Run: processB [--running] [--steps N] [--wait] [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <cstdint>
#include <memory>
#include <oleauto.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr auto usage =
    "processB [--running] [--steps N] [--wait] [--limit SECONDS] [--name SUFFIX]\n"
    "  --running        use a server that runs: COM does not start one\n"
    "  --steps N        how many times the server calls back, 50 ms apart "
    "(default: 3, at most 1000)\n"
    "  --wait           at the end, wait until the server has ended\n"
    "  --limit SECONDS  how long each call may take (default: 10; 0: no limit)\n"
    "  --name SUFFIX    the class that processA has with this --name";

constexpr DWORD cancel_ms = 3'000; // for a cancelled call to return
constexpr long step_ms = 50;
constexpr int max_attempts = 10;
constexpr DWORD retry_ms = 50;

// B's own object, which the server calls. The calls come on threads of COM.
// It lives as long as wmain: it need not count.
class progress final : public IProgress {
public:
    STDMETHODIMP QueryInterface(REFIID iid, void** object) override {
        const bool is_known = iid == IID_IUnknown || iid == IID_IProgress;
        *object = is_known ? this : nullptr;
        return is_known ? S_OK : E_NOINTERFACE;
    }
    STDMETHODIMP_(ULONG) AddRef() override { return 2; }
    STDMETHODIMP_(ULONG) Release() override { return 1; }
    STDMETHODIMP Report(long step) override {
        try {
            ipc::print_line("B: the server calls back: step {}", step);
            return S_OK;
        } catch (...) {
            return E_FAIL; // no exception may leave: the caller is COM
        }
    }
};

[[noreturn]] void end_without_answer() {
    try {
        ipc::print_error_line("B: the server does not answer, and the call cannot be cancelled");
    } catch (...) { // the exit code has to be enough
    }
    ExitProcess(1);
}

// While it lives, a call of this thread that takes longer than the limit is cancelled: it returns
// RPC_E_CALL_CANCELED. A call of COM has no limit of its own, and a server can hang.
class call_limit {
public:
    explicit call_limit(DWORD limit_ms) {
        if (!done_) {
            ipc::throw_last_error("CreateEventW");
        }
        watcher_ = std::jthread(
            [this, limit_ms, caller = GetCurrentThreadId()] { watch(caller, limit_ms); });
    }
    ~call_limit() { SetEvent(done_.get()); } // and the thread ends
    call_limit(const call_limit&) = delete;
    call_limit& operator=(const call_limit&) = delete;

private:
    // ANCHOR: cancel
    void watch(DWORD caller, DWORD limit_ms) const {
        if (WaitForSingleObject(done_.get(), limit_ms) == WAIT_OBJECT_0) {
            return;
        }
        CoCancelCall(caller, 0); // at once; fails if there is nothing to cancel now
        if (WaitForSingleObject(done_.get(), cancel_ms) != WAIT_OBJECT_0) {
            end_without_answer();
        }
    }
    // ANCHOR_END: cancel

    ipc::unique_handle done_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
    std::jthread watcher_; // the last member: its thread uses the other one
};

// Releases the object of the server. This is a call into the server as well, and it has the limit, too.
struct limited_release {
    DWORD limit_ms;
    void operator()(IWorker* worker) const {
        const call_limit guard(limit_ms);
        worker->Release();
    }
};
using worker_ptr = std::unique_ptr<IWorker, limited_release>;

struct command_options {
    ipc::time_limit limit{10'000};
    std::wstring suffix;
    std::uint64_t steps = 3;
    bool is_running_only = false;
    bool is_waiting = false;
};

bool has_server_gone(HRESULT result) {
    switch (result) {
    case CO_E_SERVER_STOPPING:
    case RPC_E_DISCONNECTED:
    case RPC_E_SERVER_DIED:     // during the call
    case RPC_E_SERVER_DIED_DNE: // before it: the call did not execute
    case HRESULT_FROM_WIN32(RPC_S_SERVER_UNAVAILABLE):
    case HRESULT_FROM_WIN32(RPC_S_CALL_FAILED):
    case HRESULT_FROM_WIN32(RPC_S_CALL_FAILED_DNE): return true;
    default: return false;
    }
}

// ANCHOR: connect
// Asks COM for a new object. A server that is just ending refuses; the next one serves.
worker_ptr create_worker(const command_options& options) {
    const call_limit guard(options.limit.ms);
    IWorker* worker = nullptr;
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
        const HRESULT result = CoCreateInstance(protocol::class_id(options.suffix),
                                                nullptr,             // not a part of another object
                                                CLSCTX_LOCAL_SERVER, // in another process
                                                IID_IWorker, reinterpret_cast<void**>(&worker));
        if (SUCCEEDED(result)) {
            return {worker, limited_release{options.limit.ms}};
        }
        if (!has_server_gone(result)) {
            check("CoCreateInstance", result);
        }
        Sleep(retry_ms); // orders nothing: the next attempt decides
    }
    throw std::runtime_error("no server lives long enough to make an object");
}
// ANCHOR_END: connect

// Asks the server that is in the running object table, and starts none.
worker_ptr find_worker(const command_options& options) {
    const call_limit guard(options.limit.ms);
    IUnknown* found = nullptr;
    const HRESULT result = GetActiveObject(protocol::class_id(options.suffix), nullptr, &found);
    if (result == MK_E_UNAVAILABLE) {
        throw std::runtime_error("no server is running");
    }
    check("GetActiveObject", result);
    const com_ptr<IUnknown> owner(found);
    IClassFactory* factory = nullptr; // this is what A has entered in the table
    check("QueryInterface",
          found->QueryInterface(IID_IClassFactory, reinterpret_cast<void**>(&factory)));
    const com_ptr<IClassFactory> factory_owner(factory);
    IWorker* worker = nullptr;
    check("CreateInstance",
          factory->CreateInstance(nullptr, IID_IWorker, reinterpret_cast<void**>(&worker)));
    return {worker, limited_release{options.limit.ms}};
}

void print_upper(IWorker& worker, const wchar_t* text) {
    wchar_t* upper = nullptr;
    ULONG units = 0;
    check("ToUpper", worker.ToUpper(text, &units, &upper)); // the proxy allocates upper
    const ipc::scope_exit free_upper([&] { CoTaskMemFree(upper); });
    ipc::print_line("B: ToUpper: {}", std::wstring_view(upper, units));
}

// Returns the text that the server has given for its last error. Without one, as under Wine 8, the text is B's own.
std::string error_text(HRESULT result) {
    IErrorInfo* info = nullptr;
    if (GetErrorInfo(0, &info) == S_OK) { // S_FALSE: there is none
        const com_ptr<IErrorInfo> owner(info);
        BSTR text = nullptr;
        if (SUCCEEDED(info->GetDescription(&text)) && text != nullptr) {
            const ipc::scope_exit free_text([&] { SysFreeString(text); });
            return ipc::to_utf8(text);
        }
    }
    return result == protocol::divisor_is_zero ? "the divisor must not be 0" : result_text(result);
}

void print_quotient(IWorker& worker, long dividend, long divisor) {
    long quotient = 0;
    const HRESULT result = worker.Divide(dividend, divisor, &quotient);
    if (FAILED(result)) {
        ipc::print_line("B: Divide: {} / {}: {}", dividend, divisor, error_text(result));
    } else {
        ipc::print_line("B: Divide: {} / {} = {}", dividend, divisor, quotient);
    }
}

HRESULT work(IWorker& worker, const command_options& options, IProgress& report) {
    const call_limit guard(options.limit.ms);
    return worker.Work(static_cast<long>(options.steps), step_ms, &report);
}

// The server tells its process id, so that B can see its end. A client usually need not know.
ipc::unique_handle open_server(IWorker& worker) {
    ULONG id = 0;
    check("GetServerProcess", worker.GetServerProcess(&id));
    ipc::unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, id));
    if (!process) {
        ipc::throw_last_error("OpenProcess");
    }
    return process;
}

// Returns the process of the server.
ipc::unique_handle use_server(const command_options& options, IProgress& report) {
    worker_ptr worker = options.is_running_only ? find_worker(options) : create_worker(options);
    ipc::print_line("B: the server has made an object");
    {
        const call_limit guard(options.limit.ms);
        print_upper(*worker, L"hello, Gr\u00FC\u00DFe");
        print_quotient(*worker, 7, 2);
        print_quotient(*worker, 7, 0);
    }
    HRESULT result = work(*worker, options, report);
    if (has_server_gone(result) && !options.is_running_only) {
        ipc::print_line("B: the server has gone: {}; asking for a new object", result_text(result));
        worker =
            create_worker(options); // COM starts a new server: what the old object knew is lost
        result = work(*worker, options, report);
    }
    check("Work", result);
    const call_limit guard(options.limit.ms);
    long calls = 0;
    check("CountCalls", worker->CountCalls(&calls));
    ipc::print_line("B: CountCalls: {}", calls);
    return open_server(*worker);
} // worker releases the object

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    command_options options;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--running", &options.is_running_only},
                          {L"--steps", &options.steps},
                          {L"--wait", &options.is_waiting},
                          {L"--limit", &options.limit},
                          {L"--name", &options.suffix}});
    if (options.steps > 1000) {
        throw ipc::usage_error("at most 1000 steps");
    }
    progress report; // the apartment is left first: no call comes later
    const multithreaded_apartment apartment;
    initialize_security(EOAC_NONE);
    register_proxies();
    check("CoEnableCallCancellation", CoEnableCallCancellation(nullptr)); // for this thread
    const ipc::unique_handle server = use_server(options, report);
    if (options.is_waiting) {
        if (WaitForSingleObject(server.get(), options.limit.ms) != WAIT_OBJECT_0) {
            throw std::runtime_error("the server has not ended");
        }
        ipc::print_line("B: the server has ended");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
