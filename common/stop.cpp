#include "common/stop.hpp"

#include "common/error.hpp"
#include "common/unique_handle.hpp"

namespace ipc {
namespace {

BOOL WINAPI on_control(DWORD control) {
    if (control != CTRL_C_EVENT && control != CTRL_BREAK_EVENT) {
        return FALSE; // a closed console or a log-off: Windows ends the program
    }
    SetEvent(ctrl_c_event()); // Windows runs this function on a thread of its own
    return TRUE;
}

} // namespace

HANDLE ctrl_c_event() {
    const DWORD last_error = GetLastError();
    static const unique_handle event(
        CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        throw_last_error("CreateEventW");
    }
    // nullptr, FALSE: a program inherits "ignore Ctrl+C" from its parent, or has it because it was
    // started with CREATE_NEW_PROCESS_GROUP. Then Windows calls no handler until this undoes it.
    static const BOOL installed =
        SetConsoleCtrlHandler(nullptr, FALSE) && SetConsoleCtrlHandler(on_control, TRUE);
    if (!installed) {
        throw_last_error("SetConsoleCtrlHandler");
    }
    SetLastError(last_error);
    return event.get();
}

bool ctrl_c_pressed() {
    return WaitForSingleObject(ctrl_c_event(), 0) == WAIT_OBJECT_0;
}

} // namespace ipc
