// Security attributes for a named object: for the current user, or for a service and its users.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 allow_user_or_service.cpp advapi32.lib
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static allow_user_or_service.cpp -o allow_user_or_service.exe

#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

namespace {

// ANCHOR: own_account
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;
struct local_deleter {
    void operator()(void* memory) const noexcept { LocalFree(memory); }
};

// Throws for a call that failed: with the code error, or with GetLastError() if that is 0.
void check(bool succeeded, const char* call, DWORD error = 0) {
    if (!succeeded) {
        const auto code = static_cast<int>(error != 0 ? error : GetLastError());
        throw std::system_error(code, std::system_category(), call);
    }
}

// SDDL that gives an object to the account of this process, the user or the account of a service,
// and to nobody else. Both functions throw std::system_error and are thread-safe.
std::wstring own_account_sddl() {
    HANDLE opened = nullptr;
    check(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &opened), "OpenProcessToken");
    const unique_handle token(opened);
    alignas(TOKEN_USER) std::byte user[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    DWORD size = sizeof user;
    check(GetTokenInformation(opened, TokenUser, user, size, &size), "GetTokenInformation");
    wchar_t* sid = nullptr;
    const PSID user_sid = reinterpret_cast<TOKEN_USER*>(user)->User.Sid;
    check(ConvertSidToStringSidW(user_sid, &sid), "ConvertSidToStringSidW");
    const std::unique_ptr<wchar_t, local_deleter> free_sid(sid);
    // D: the list of who may do what; P: it inherits nothing; A: allow; GA: everything
    return std::wstring(L"D:P(A;;GA;;;") + sid + L")";
}

// The same for a service and its users. users: L"IU" for everyone logged on at this computer, L"AU"
// for every account, or a SID, L"S-1-5-21-...". rights: what a user can do with the object:
//   L"0x12019b"   pipe: connect, read, write, but not create an instance and act as the server
//   L"0x100002"   event: wait, set
//   L"0x6"        file mapping object: read, write; L"0x4": read
std::wstring service_sddl(const std::wstring& users, const std::wstring& rights) {
    return own_account_sddl() + L"(A;;" + rights + L";;;" + users + L")";
}
// ANCHOR_END: own_account

// ANCHOR: security_attributes
// get() is for the lpSecurityAttributes of a creating call, while this object lives; the created
// object keeps a copy. An object that exists already keeps its own security, so refuse
// ERROR_ALREADY_EXISTS. Throws std::system_error, for example if users is not an account.
class security_attributes {
public:
    explicit security_attributes(const std::wstring& sddl) {
        const BOOL converted = ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.c_str(), SDDL_REVISION_1, &attributes_.lpSecurityDescriptor, nullptr);
        check(converted, "ConvertStringSecurityDescriptorToSecurityDescriptorW");
        free_descriptor_.reset(attributes_.lpSecurityDescriptor);
    }
    SECURITY_ATTRIBUTES* get() { return &attributes_; }

private:
    SECURITY_ATTRIBUTES attributes_{sizeof(SECURITY_ATTRIBUTES), nullptr,
                                    FALSE /* not inheritable */};
    std::unique_ptr<void, local_deleter> free_descriptor_;
};
// ANCHOR_END: security_attributes

} // namespace

// Creates an event, and shows the SDDL of the new object as Windows has stored it.
int wmain(int argc, wchar_t* argv[]) try {
    if (argc != 2 && argc != 4) {
        std::fputs("usage: allow_user_or_service EVENT [USERS RIGHTS]\n", stderr);
        return 2;
    }
    const std::wstring sddl = argc == 4 ? service_sddl(argv[2], argv[3]) : own_account_sddl();
    security_attributes security(sddl);
    const unique_handle event(CreateEventW(security.get(), TRUE, FALSE, argv[1]));
    const DWORD error = GetLastError();
    check(event && error != ERROR_ALREADY_EXISTS, "CreateEventW", error);
    PSECURITY_DESCRIPTOR stored = nullptr;
    const DWORD code = GetSecurityInfo(event.get(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                                       nullptr, nullptr, nullptr, nullptr, &stored);
    check(code == ERROR_SUCCESS, "GetSecurityInfo", code);
    const std::unique_ptr<void, local_deleter> free_stored(stored);
    wchar_t* text = nullptr;
    const BOOL converted = ConvertSecurityDescriptorToStringSecurityDescriptorW(
        stored, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text, nullptr);
    check(converted, "ConvertSecurityDescriptorToStringSecurityDescriptorW");
    const std::unique_ptr<wchar_t, local_deleter> free_text(text);
    std::printf("asked for: %ls\nstored: %ls\n", sddl.c_str(), text);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    return 1;
}
