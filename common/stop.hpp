#pragma once

#include <windows.h>

namespace ipc {

// A manual-reset event that Ctrl+C and Ctrl+Break set, instead of ending the program on the spot,
// so that a server can wait for it beside its work and end in order. Stays owned by this function.
// Keeps GetLastError, so that it can be an argument of overlapped_call::wait.
// https://learn.microsoft.com/windows/console/setconsolectrlhandler
HANDLE ctrl_c_event();

// Whether the event is set now: for a loop whose calls may never have to wait.
bool ctrl_c_pressed();

} // namespace ipc
