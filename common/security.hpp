#pragma once

#include <windows.h>

#include <string>
#include <string_view>

namespace ipc {

// Security attributes for a new named object: processes of the current user can open it, and those
// of other users cannot (an administrator can change that). The default of a named pipe is weaker:
// everyone can read from it.
//
// One line decides this: the SDDL text in security.cpp. To let more users in, append an entry:
//     (A;;0x12019b;;;AU)  pipe: all users with an account; they can connect, read and write, but
//                         not create an instance of the pipe, which GENERIC_WRITE (GW) would allow
//     (A;;0x12019b;;;IU)  the same for users who are logged on at this computer: enough for a
//                         service, whose own account has the first entry, and its user's programs
//     (A;;GRGWGX;;;AU)    event, mutex or file mapping object: open, wait, set, map
// Programs on other computers stay out: the pipes are created with PIPE_REJECT_REMOTE_CLIENTS.
// https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights
// https://learn.microsoft.com/windows/win32/secauthz/ace-strings
class user_only_security {
public:
    user_only_security(); // throws win32_error
    ~user_only_security() { LocalFree(attributes_.lpSecurityDescriptor); }
    user_only_security(const user_only_security&) = delete;
    user_only_security& operator=(const user_only_security&) = delete;

    // The lpSecurityAttributes of a creating call. The pointer is valid as long as this object;
    // the new object keeps a copy of what it points to.
    SECURITY_ATTRIBUTES* get() { return &attributes_; }

private:
    SECURITY_ATTRIBUTES attributes_{sizeof attributes_, nullptr, FALSE /* not inheritable */};
};

// Returns "name", or "name.suffix" if there is a suffix (--name), so that several pairs can run at
// once.
std::wstring object_name(std::wstring_view name, std::wstring_view suffix);

} // namespace ipc
