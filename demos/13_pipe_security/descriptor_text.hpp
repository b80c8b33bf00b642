#pragma once

// Accounts, access rights and security descriptors as text. Nothing here decides who may do what.

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <sddl.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

// Returns "ERROR_ACCESS_DENIED (5)", without the system's text.
inline std::string code_name(DWORD error) {
    const std::string text = ipc::error_text(error);
    return text.substr(0, text.find(':'));
}

inline std::wstring sid_text(PSID sid) {
    wchar_t* text = nullptr;
    const ipc::scope_exit free_text([&] { LocalFree(text); });
    if (!ConvertSidToStringSidW(sid, &text)) {
        ipc::throw_last_error("ConvertSidToStringSidW");
    }
    return text;
}

// Returns the SID of the user that the process runs as. The handle needs
// PROCESS_QUERY_LIMITED_INFORMATION.
inline std::wstring user_of_process(HANDLE process) {
    ipc::unique_handle token;
    if (!OpenProcessToken(process, TOKEN_QUERY, token.put())) {
        ipc::throw_last_error("OpenProcessToken");
    }
    std::vector<std::byte> memory(sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE);
    auto size = static_cast<DWORD>(memory.size());
    if (!GetTokenInformation(token.get(), TokenUser, memory.data(), size, &size)) {
        ipc::throw_last_error("GetTokenInformation");
    }
    return sid_text(reinterpret_cast<TOKEN_USER*>(memory.data())->User.Sid);
}

// Returns "this user", the name of a well-known SID such as "Everyone", or the SID itself.
// LookupAccountSidW knows more names. It may ask a domain controller, which can take seconds.
inline std::string account_name(const std::wstring& sid) {
    // From the system, these names would be in the user's language.
    // clang-format off
    static const std::map<std::wstring, std::string> known = {
        {L"S-1-1-0", "Everyone"}, {L"S-1-3-0", "CREATOR OWNER"}, {L"S-1-5-2", "NETWORK"},
        {L"S-1-5-4", "INTERACTIVE"}, {L"S-1-5-7", "ANONYMOUS LOGON"},
        {L"S-1-5-11", "Authenticated Users"}, {L"S-1-5-18", "SYSTEM"},
        {L"S-1-5-19", "LOCAL SERVICE"}, {L"S-1-5-32-544", "Administrators"},
        {L"S-1-16-4096", "low"}, {L"S-1-16-8192", "medium"}, {L"S-1-16-12288", "high"}};
    // clang-format on
    if (sid == user_of_process(GetCurrentProcess())) {
        return "this user";
    }
    const auto found = known.find(sid);
    return found != known.end() ? found->second : ipc::to_utf8(sid);
}

// Returns the names of the rights in a mask.
inline std::string rights_text(DWORD mask) {
    // What the generic rights mean for a pipe. Windows maps them when it creates the pipe; Wine does
    // not.
    GENERIC_MAPPING mapping{FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE,
                            FILE_ALL_ACCESS};
    MapGenericMask(&mask, &mapping);
    if (mask == FILE_ALL_ACCESS) {
        return "everything";
    }
    static const std::pair<DWORD, const char*> rights[] = {
        {FILE_READ_DATA, "read data"},
        {FILE_WRITE_DATA, "write data"},
        {FILE_CREATE_PIPE_INSTANCE, "create an instance"}, // the same bit as FILE_APPEND_DATA
        {FILE_READ_ATTRIBUTES | FILE_READ_EA, "read attributes"},
        {FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA, "write attributes"},
        {FILE_EXECUTE | FILE_DELETE_CHILD, "rights without a meaning for pipes"},
        {DELETE, "delete"},
        {READ_CONTROL, "read the descriptor"},
        {WRITE_DAC, "change the DACL"},
        {WRITE_OWNER, "change the owner"},
        {SYNCHRONIZE, "wait"}};
    std::string text;
    for (const auto& [bits, name] : rights) {
        text += (mask & bits) == 0 ? "" : std::string(text.empty() ? "" : ", ") + name;
    }
    return text.empty() ? "nothing" : text;
}

// Returns one entry (ACE) in words, such as "allows Everyone: read data, wait".
inline std::string entry_text(ACE_HEADER* header) {
    const BYTE type = header->AceType;
    if (type != ACCESS_ALLOWED_ACE_TYPE && type != ACCESS_DENIED_ACE_TYPE &&
        type != SYSTEM_MANDATORY_LABEL_ACE_TYPE) {
        return "an entry of type " + std::to_string(type);
    }
    auto* const entry = reinterpret_cast<ACCESS_ALLOWED_ACE*>(header); // one layout for the three
    const std::string account = account_name(sid_text(&entry->SidStart));
    if (type == SYSTEM_MANDATORY_LABEL_ACE_TYPE) {
        return "label " + account + ", a lower level cannot:" +
               ((entry->Mask & SYSTEM_MANDATORY_LABEL_NO_WRITE_UP) != 0 ? " write" : "") +
               ((entry->Mask & SYSTEM_MANDATORY_LABEL_NO_READ_UP) != 0 ? " read" : "");
    }
    return (type == ACCESS_DENIED_ACE_TYPE ? "denies " : "allows ") + account + ": " +
           rights_text(entry->Mask);
}

// Returns each entry of the list (ACL) in words, and nothing for no list.
inline std::vector<std::string> list_text(ACL* list) {
    std::vector<std::string> lines;
    for (DWORD i = 0; list != nullptr && i < list->AceCount; ++i) {
        void* entry = nullptr;
        if (!GetAce(list, i, &entry)) {
            ipc::throw_last_error("GetAce");
        }
        lines.push_back(entry_text(static_cast<ACE_HEADER*>(entry)));
    }
    return lines;
}
