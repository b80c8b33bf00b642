#pragma once

#include <windows.h>

namespace ipc {

// Returns a manual-reset event. The first call changes what Ctrl+C and Ctrl+Break do: they no
// longer end the program, they set the event. So a server can wait for the event beside its work,
// and end in order. The event is never closed or reset. Throws win32_error.
// Keeps GetLastError, so that it can be an argument of overlapped_call::wait.
// https://learn.microsoft.com/windows/console/setconsolectrlhandler
HANDLE ctrl_c_event();

// Returns whether the event is set now. A loop needs this if its calls may always succeed at once:
// then it never waits, and so would never notice the event. Throws win32_error.
bool ctrl_c_pressed();

} // namespace ipc
