// SOLUTION: the calls for an object of a single-threaded apartment come as messages of its thread. This thread waits
// for the end of the work, and the work waits for the callback, which waits for this thread: a deadlock, unless the
// wait handles messages. CoWaitForMultipleHandles does.
// STARTER
//~ // Exercise 24.1: the server calls B back, and nothing moves any more. Mend B.
// END
//
// B's main thread is a single-threaded apartment, as that of a program with windows has to be. A second thread calls
// the server, so that the main thread is free. The server reports each step to an object of the main thread.
//
// Run: processB [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <oleauto.h>
#include <string>
#include <thread>

namespace {

// Lives as long as wmain: it need not count.
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
            ipc::print_line("B: step {}", step);
        } catch (...) {
            return E_FAIL;
        }
        return S_OK;
    }
};

com_ptr<IWorker> find_worker(const std::wstring& suffix) {
    IUnknown* found = nullptr;
    check("GetActiveObject", GetActiveObject(protocol::class_id(suffix), nullptr, &found));
    const com_ptr<IUnknown> owner(found);
    IClassFactory* factory = nullptr;
    check("QueryInterface",
          found->QueryInterface(IID_IClassFactory, reinterpret_cast<void**>(&factory)));
    const com_ptr<IClassFactory> factory_owner(factory);
    IWorker* worker = nullptr;
    check("CreateInstance",
          factory->CreateInstance(nullptr, IID_IWorker, reinterpret_cast<void**>(&worker)));
    return com_ptr<IWorker>(worker);
}

// A pointer belongs to its apartment. A stream brings it to another thread.
IStream* pack(REFIID iid, IUnknown* object) {
    IStream* stream = nullptr;
    check("CoMarshalInterThreadInterfaceInStream",
          CoMarshalInterThreadInterfaceInStream(iid, object, &stream));
    return stream;
}

// On the second thread.
HRESULT work(IStream* worker_stream, IStream* progress_stream) {
    const multithreaded_apartment apartment;
    register_proxies();
    IWorker* worker = nullptr;
    check("CoGetInterfaceAndReleaseStream",
          CoGetInterfaceAndReleaseStream(worker_stream, IID_IWorker,
                                         reinterpret_cast<void**>(&worker)));
    const com_ptr<IWorker> worker_owner(worker);
    IProgress* report = nullptr;
    check("CoGetInterfaceAndReleaseStream",
          CoGetInterfaceAndReleaseStream(progress_stream, IID_IProgress,
                                         reinterpret_cast<void**>(&report)));
    const com_ptr<IProgress> report_owner(report);
    return worker->Work(3, 10, report);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, "processB [--name SUFFIX]", {{L"--name", &suffix}});
    progress report; // the apartment is left first: no call comes later
    check("CoInitializeEx", CoInitializeEx(nullptr, COINIT_APARTMENTTHREADED));
    const ipc::scope_exit uninitialize(CoUninitialize);
    register_proxies();
    const com_ptr<IWorker> worker = find_worker(suffix);
    ipc::print_line("B: connected");

    IStream* const worker_stream = pack(IID_IWorker, worker.get());
    IStream* const progress_stream = pack(IID_IProgress, &report);
    const ipc::unique_handle done(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    HRESULT result = E_FAIL;
    std::jthread caller([&] {
        try {
            result = work(worker_stream, progress_stream);
        } catch (...) {
            ipc::report_exception("B");
        }
        SetEvent(done.get());
    });
    // SOLUTION: it handles calls for this apartment while it waits
    HANDLE handle = done.get();
    DWORD index = 0;
    check("CoWaitForMultipleHandles",
          CoWaitForMultipleHandles(COWAIT_DEFAULT, INFINITE, 1, &handle, &index));
    // STARTER
    //~ WaitForSingleObject(done.get(), INFINITE); // Work has a limited number of steps
    // END
    caller.join();
    check("Work", result);
    ipc::print_line("B: the work is done");
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
