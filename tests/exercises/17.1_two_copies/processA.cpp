// SOLUTION: CreateMutexW also succeeds if the mutex exists: it then opens it. Only GetLastError tells the first copy
// from the second, and only before the next call. Two failures mean the same: the name is taken.
// STARTER
//~ // Exercise 17.1: two copies of A run at the same time. Mend it.
// END
//
// The first copy runs until Ctrl+C. Each further one says that the name is taken, and ends with exit code 1.
//
// Run: processA [--name SUFFIX]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <stdexcept>
#include <string>

namespace {

constexpr auto usage = "processA [--name SUFFIX]";

// Takes the name for this process. Throws std::runtime_error("the name is taken") if somebody else has it.
ipc::unique_handle take_name(const std::wstring& name) {
    ipc::user_only_security security;
    ipc::unique_handle instance(CreateMutexW(security.get(), FALSE /* no owner */, name.c_str()));
    const DWORD error = GetLastError();
    // SOLUTION: the handle is closed when this function throws: an open handle would keep the name taken.
    if (error == ERROR_ALREADY_EXISTS || error == ERROR_ACCESS_DENIED ||
        error == ERROR_INVALID_HANDLE) {
        throw std::runtime_error("the name is taken");
    }
    if (!instance) {
        ipc::throw_error("CreateMutexW", error);
    }
    // STARTER
    //~ if (!instance) {
    //~     if (error == ERROR_ALREADY_EXISTS) {
    //~         throw std::runtime_error("the name is taken");
    //~     }
    //~     ipc::throw_error("CreateMutexW", error);
    //~ }
    // END
    return instance;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}});
    const HANDLE stop = ipc::ctrl_c_event(); // from here on, Ctrl+C sets this event
    const auto instance = take_name(ipc::object_name(protocol::instance_name, suffix));
    ipc::print_line("A: the only instance");
    if (WaitForSingleObject(stop, INFINITE) != WAIT_OBJECT_0) { // until Ctrl+C
        ipc::throw_last_error("WaitForSingleObject");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
