#pragma once

#include <windows.h>

namespace ipc {

// Returns a manual-reset event. After the first call, Ctrl+C and Ctrl+Break set the event and no
// longer end the program. So a server can wait for the event together with its work, and end
// cleanly. The event is never closed or reset. Throws win32_error. Does not change GetLastError, so
// that a call of this function can be an argument of overlapped_call::wait.
// https://learn.microsoft.com/windows/console/setconsolectrlhandler
HANDLE ctrl_c_event();

// Returns whether the event is set now. A loop whose calls may always succeed at once needs this:
// it never waits, so no wait would notice the event. Throws win32_error.
bool ctrl_c_pressed();

} // namespace ipc
