#pragma once

#include <windows.h>

#include <string>
#include <string_view>

namespace ipc {

// Security attributes for a new named object that the current user may use, and nobody else. The
// default for a named pipe is weaker: everyone may read from it.
// https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights
class user_only_security {
public:
    user_only_security(); // throws win32_error
    ~user_only_security() { LocalFree(attributes_.lpSecurityDescriptor); }
    user_only_security(const user_only_security&) = delete;
    user_only_security& operator=(const user_only_security&) = delete;

    // Valid as long as this object; the new object keeps a copy.
    SECURITY_ATTRIBUTES* get() { return &attributes_; }

private:
    SECURITY_ATTRIBUTES attributes_{sizeof attributes_, nullptr, FALSE /* not inheritable */};
};

// "name", or "name.suffix": the suffix lets several pairs run at once.
std::wstring object_name(std::wstring_view name, std::wstring_view suffix);

} // namespace ipc
