// Demo 24, process A: a COM local server, a program whose objects other programs use.
//
// The registry says that this program is the server of a class. When B asks COM for an object of the class,
// COM starts this program with -Embedding, unless it runs. B calls the methods of the object as if it were
// its own, and the object calls back. The server ends when its last client has left. --run enters the class
// in the registry, runs B, and removes the entry.
//
// Run: processA --register | --unregister | --server | --run [--limit SECONDS] [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/deadline.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"
#include "registration.hpp"

#include <windows.h>

#include <atomic>
#include <climits>
#include <cwchar>
#include <mutex>
#include <new>
#include <oleauto.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

constexpr auto usage =
    "processA --register | --unregister | --server | --run [--limit SECONDS] [--name SUFFIX]\n"
    "  --register       enter the class in the registry, with this program as its server\n"
    "  --unregister     remove the entry\n"
    "  --server         serve; COM starts the program with this, and with -Embedding\n"
    "  --run            register, run processB, unregister; if it is killed, its entry stays "
    "until\n"
    "                   the next --run or --unregister\n"
    "  --limit SECONDS  the server ends when no call has come for so long (default: 60; 0: no "
    "limit)\n"
    "  --name SUFFIX    a class of its own, for several pairs at once";

constexpr DWORD leave_ms = 3'000; // for calls that are under way at the end of the server

// Decides when the server ends: when its last object and its last lock are gone. From that moment on it makes
// no more objects, and COM starts a new server for the next client.
class server_life {
public:
    server_life(HANDLE stop, DWORD limit_ms) : stop_(stop), limit_ms_(limit_ms), idle_(limit_ms) {}

    // ANCHOR: life
    // For a new object or lock. false: the server is ending.
    bool add() {
        const std::scoped_lock lock(mutex_);
        if (!is_ending_) {
            CoAddRefServerProcess();
        }
        return !is_ending_;
    }
    void release() {
        const std::scoped_lock lock(mutex_);
        if (CoReleaseServerProcess() == 0) { // 0: COM has also suspended the class objects
            is_ending_ = true;
            SetEvent(stop_);
        }
    }
    // ANCHOR_END: life

    bool lock() {
        const bool is_locked = add();
        const std::scoped_lock lock(mutex_);
        locks_ += is_locked ? 1 : 0;
        return is_locked;
    }
    // Returns false if there is no lock: an object's reference must not go in its place.
    bool unlock() {
        {
            const std::scoped_lock lock(mutex_);
            if (locks_ == 0) {
                return false;
            }
            --locks_;
        }
        release();
        return true;
    }

    // Returns false if the last client has left before.
    bool end_now() {
        const std::scoped_lock lock(mutex_);
        CoSuspendClassObjects();
        SetEvent(stop_);
        return !std::exchange(is_ending_, true);
    }
    // Returns whether the server ended within this time.
    bool wait_for_end(DWORD ms) const { return WaitForSingleObject(stop_, ms) == WAIT_OBJECT_0; }

    void note_call() {
        const std::scoped_lock lock(mutex_);
        idle_ = ipc::deadline(limit_ms_);
    }
    DWORD idle_left_ms() {
        const std::scoped_lock lock(mutex_);
        return idle_.left_ms();
    }

private:
    HANDLE stop_;
    DWORD limit_ms_;
    std::mutex mutex_;
    bool is_ending_ = false;
    int locks_ = 0;
    ipc::deadline idle_; // starts again with each call
};

// Gives the caller a text besides the HRESULT. COM brings it to the other process.
void set_error_text(const wchar_t* text) {
    ICreateErrorInfo* created = nullptr;
    if (FAILED(CreateErrorInfo(&created))) {
        return; // the caller has the HRESULT
    }
    const com_ptr<ICreateErrorInfo> error(created);
    std::wstring copy = text;
    error->SetGUID(IID_IWorker);
    error->SetDescription(copy.data());
    IErrorInfo* info = nullptr;
    if (SUCCEEDED(error->QueryInterface(IID_IErrorInfo, reinterpret_cast<void**>(&info)))) {
        SetErrorInfo(0, info);
        info->Release();
    }
}

// The object. Each call comes on a thread of COM: in the multithreaded apartment, several at once.
class worker final : public IWorker, public ISupportErrorInfo {
public:
    explicit worker(server_life& life) : life_(life) {} // after life.add()

    STDMETHODIMP QueryInterface(REFIID iid, void** object) override {
        *object = nullptr;
        if (iid == IID_IUnknown || iid == IID_IWorker) {
            *object = static_cast<IWorker*>(this);
        } else if (iid == IID_ISupportErrorInfo) {
            *object = static_cast<ISupportErrorInfo*>(this);
        } else {
            return E_NOINTERFACE;
        }
        AddRef();
        return S_OK;
    }
    STDMETHODIMP_(ULONG) AddRef() override { return ++references_; }
    STDMETHODIMP_(ULONG) Release() override {
        const ULONG left = --references_;
        if (left == 0) {
            server_life& life = life_;
            delete this;
            life.release();
        }
        return left;
    }

    STDMETHODIMP InterfaceSupportsErrorInfo(REFIID iid) override {
        return iid == IID_IWorker ? S_OK : S_FALSE; // without it, COM brings no text to the client
    }

    STDMETHODIMP ToUpper(const WCHAR* text, ULONG* units, WCHAR** upper) override {
        count_call();
        *units = 0;
        *upper = nullptr;
        const std::size_t length = std::wcslen(text);
        if (length == 0 || length > protocol::max_text_units) {
            return length == 0 ? S_OK : E_INVALIDARG;
        }
        *upper = static_cast<WCHAR*>(CoTaskMemAlloc(length * sizeof(WCHAR))); // the stub frees it
        if (*upper == nullptr) {
            return E_OUTOFMEMORY;
        }
        *units = static_cast<ULONG>(length);
        LCMapStringEx(LOCALE_NAME_INVARIANT, LCMAP_UPPERCASE, text, static_cast<int>(length),
                      *upper, static_cast<int>(length), nullptr, nullptr, 0);
        return S_OK;
    }

    STDMETHODIMP CountCalls(long* calls) override {
        *calls = count_call();
        return S_OK;
    }

    STDMETHODIMP Divide(long dividend, long divisor, long* quotient) override {
        count_call();
        *quotient = 0;
        if (divisor == 0) {
            set_error_text(L"the divisor must not be 0");
            return protocol::divisor_is_zero;
        }
        if (dividend == LONG_MIN && divisor == -1) { // a processor exception would end the server
            return E_INVALIDARG;
        }
        *quotient = dividend / divisor;
        return S_OK;
    }

    STDMETHODIMP Work(long steps, long step_ms, IProgress* progress) override {
        count_call();
        if (progress == nullptr) {
            return E_POINTER;
        }
        for (long step = 1; step <= steps; ++step) {
            if (life_.wait_for_end(static_cast<DWORD>(step_ms))) {
                return CO_E_SERVER_STOPPING;
            }
            const HRESULT result = progress->Report(step); // a call into the client's process
            if (FAILED(result)) {
                return result; // the client wants no more, or has died
            }
            life_.note_call();
        }
        return S_OK;
    }

    STDMETHODIMP GetServerProcess(ULONG* id) override {
        count_call();
        *id = GetCurrentProcessId();
        return S_OK;
    }

private:
    long count_call() {
        life_.note_call();
        return ++calls_;
    }

    server_life& life_;
    std::atomic<ULONG> references_ = 1;
    std::atomic<long> calls_ = 0;
};

// The class object. COM asks it for objects of the class.
class class_factory final : public IClassFactory {
public:
    explicit class_factory(server_life& life) : life_(life) {}

    STDMETHODIMP QueryInterface(REFIID iid, void** object) override {
        const bool is_known = iid == IID_IUnknown || iid == IID_IClassFactory;
        *object = is_known ? this : nullptr;
        return is_known ? S_OK : E_NOINTERFACE;
    }
    STDMETHODIMP_(ULONG) AddRef() override { return 2; } // it lives as long as the server
    STDMETHODIMP_(ULONG) Release() override { return 1; }

    STDMETHODIMP CreateInstance(IUnknown* outer, REFIID iid, void** object) override {
        *object = nullptr;
        if (outer != nullptr) {
            return CLASS_E_NOAGGREGATION;
        }
        if (!life_.add()) {
            return CO_E_SERVER_STOPPING; // the client asks COM again, and COM starts a new server
        }
        life_.note_call();
        const com_ptr<worker> created(new (std::nothrow) worker(life_));
        if (!created) {
            life_.release();
            return E_OUTOFMEMORY;
        }
        return created->QueryInterface(iid, object);
    }

    // A client wants the server to stay. COM calls it, too, for a client that holds the class object.
    STDMETHODIMP LockServer(BOOL lock) override {
        if (lock) {
            return life_.lock() ? S_OK : CO_E_SERVER_STOPPING;
        }
        return life_.unlock() ? S_OK : E_UNEXPECTED;
    }

private:
    server_life& life_;
};

void wait_for_last_client(server_life& life) {
    DWORD left_ms = life.idle_left_ms();
    while (left_ms != 0 && !life.wait_for_end(left_ms)) {
        left_ms = life.idle_left_ms(); // a call has come meanwhile, or it is 0
    }
    const bool is_early = life.end_now();
    ipc::print_line("A: {}", !is_early      ? "the last client has left"
                             : left_ms == 0 ? "no call for too long: leaving"
                                            : "Ctrl+C: leaving");
}

// Ends the process, if it is still there.
void end_later() {
    std::thread([] {
        Sleep(leave_ms); // orders nothing: usually the process has ended long before
        ExitProcess(0);
    }).detach();
}

void serve(const std::wstring& suffix, DWORD limit_ms) {
    server_life life(ipc::ctrl_c_event(), limit_ms);
    class_factory factory(life);
    class_factory running_factory(life);     // COM counts the connections to each of the two
    const multithreaded_apartment apartment; // left before the factories go: no call comes later
    // The apartment waits for calls that are under way, and a client can hang in its Report.
    const ipc::scope_exit limit_the_end(end_later);

    // ANCHOR: serve
    initialize_security(EOAC_NO_CUSTOM_MARSHAL); // no caller makes us load a DLL of its choice
    register_proxies();

    const CLSID id = protocol::class_id(suffix);
    DWORD cookie = 0;
    check("CoRegisterClassObject",
          CoRegisterClassObject(id, &factory, CLSCTX_LOCAL_SERVER,
                                REGCLS_MULTIPLEUSE |  // for all clients
                                    REGCLS_SUSPENDED, // not before CoResumeClassObjects
                                &cookie));
    // The running object table: programs that must not start a server find this one there.
    DWORD running = 0;
    check("RegisterActiveObject",
          RegisterActiveObject(&running_factory, id, ACTIVEOBJECT_STRONG, // until it is revoked
                               &running));
    check("CoResumeClassObjects", CoResumeClassObjects()); // now clients come, on other threads
    ipc::print_line("A: the server is ready");
    // ANCHOR_END: serve

    wait_for_last_client(life);
    RevokeActiveObject(running, nullptr);
    CoRevokeClassObject(cookie);
}

struct command_options {
    ipc::time_limit limit{60'000};
    std::wstring suffix;
    // INFINITE comes from --limit 0.
    DWORD limit_seconds() const { return limit.ms == INFINITE ? 0 : limit.ms / 1'000; }
};

void run_client(const command_options& options) {
    std::wstring command =
        pair_command(L"processB.exe", L"--wait", options.limit_seconds(), options.suffix);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE /* inherit */, 0, nullptr,
                        nullptr, &startup, &started)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(started.hThread);
    const ipc::unique_handle process(started.hProcess);
    if (ipc::wait_for_exit(process.get(), INFINITE) != 0) { // each call of B has a limit
        throw std::runtime_error("processB failed");
    }
}

void show_unregistered(LSTATUS error) {
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("RegDeleteTreeW", static_cast<DWORD>(error));
    }
    ipc::print_line("A: the class is unregistered");
}

void run(const command_options& options) {
    ipc::ctrl_c_event(); // Ctrl+C in the console ends B, and A still removes the entry
    LSTATUS error = ERROR_SUCCESS;
    {
        const ipc::scope_exit unregister([&] { error = unregister_class(options.suffix); });
        register_class(options.suffix, options.limit_seconds());
        ipc::print_line("A: the class is registered");
        run_client(options);
    }
    show_unregistered(error);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    command_options options;
    bool is_register = false;
    bool is_unregister = false;
    bool is_server = false;
    bool is_started_by_com = false;
    bool is_run = false;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--register", &is_register},
                          {L"--unregister", &is_unregister},
                          {L"--server", &is_server},
                          {L"-Embedding", &is_started_by_com},
                          {L"--run", &is_run},
                          {L"--limit", &options.limit},
                          {L"--name", &options.suffix}});
    if (int{is_register} + int{is_unregister} + int{is_server} + int{is_run} != 1) {
        throw ipc::usage_error("one of --register, --unregister, --server and --run; or --help");
    }
    if (is_server) {
        serve(options.suffix, options.limit.ms);
    } else if (is_run) {
        run(options);
    } else if (is_register) {
        register_class(options.suffix, options.limit_seconds());
        ipc::print_line("A: the class is registered");
    } else {
        show_unregistered(unregister_class(options.suffix));
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
