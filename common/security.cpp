#include "common/security.hpp"

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/unique_handle.hpp"

#include <sddl.h>

#include <cstddef>
#include <vector>

namespace ipc {
namespace {

// Returns the SID of this process's user as text: "S-1-5-21-...".
std::wstring current_user_sid() {
    unique_handle token;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put())) {
        throw_last_error("OpenProcessToken");
    }
    std::vector<std::byte> memory(sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE);
    auto size = static_cast<DWORD>(memory.size());
    if (!GetTokenInformation(token.get(), TokenUser, memory.data(), size, &size)) {
        throw_last_error("GetTokenInformation");
    }
    wchar_t* text = nullptr;
    const scope_exit free_text([&] { LocalFree(text); });
    if (!ConvertSidToStringSidW(reinterpret_cast<TOKEN_USER*>(memory.data())->User.Sid, &text)) {
        throw_last_error("ConvertSidToStringSidW");
    }
    return text;
}

} // namespace

user_only_security::user_only_security() {
    // D: is the DACL, P: it inherits nothing, A: allow, GA: all access. Who is not named has none.
    const std::wstring sddl = L"D:P(A;;GA;;;" + current_user_sid() + L")";
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.c_str(), SDDL_REVISION_1, &attributes_.lpSecurityDescriptor, nullptr)) {
        throw_last_error("ConvertStringSecurityDescriptorToSecurityDescriptorW");
    }
}

std::wstring object_name(std::wstring_view name, std::wstring_view suffix) {
    std::wstring result(name);
    return suffix.empty() ? result : result.append(L".").append(suffix);
}

} // namespace ipc
