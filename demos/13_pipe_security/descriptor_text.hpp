#pragma once

// Security descriptors, accounts and access rights as text. Nothing here decides who may do what.

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <sddl.h>

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

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

// Returns "this user", "Everyone", "DOMAIN\name", or the SID itself if it has no name.
inline std::string account_name(const std::wstring& sid) {
    struct known_account {
        const wchar_t* sid;
        const char* name;
    };
    // The system's names of these accounts depend on its language.
    constexpr known_account known[] = {
        {L"S-1-1-0", "Everyone"},
        {L"S-1-5-2", "NETWORK"},
        {L"S-1-5-4", "INTERACTIVE"},
        {L"S-1-5-7", "ANONYMOUS LOGON"},
        {L"S-1-5-18", "SYSTEM"},
        {L"S-1-5-19", "LOCAL SERVICE"},
        {L"S-1-16-4096", "low"},
        {L"S-1-16-8192", "medium"},
        {L"S-1-16-12288", "high"},
        {L"S-1-5-11", "Authenticated Users"},
        {L"S-1-5-32-544", "Administrators"},
        {L"S-1-3-0", "CREATOR OWNER"},
    };
    if (sid == user_of_process(GetCurrentProcess())) {
        return "this user";
    }
    for (const known_account& account : known) {
        if (sid == account.sid) {
            return account.name;
        }
    }
    PSID binary = nullptr;
    const ipc::scope_exit free_sid([&] { LocalFree(binary); });
    wchar_t name[256] = {};
    wchar_t domain[256] = {};
    DWORD name_size = 256;
    DWORD domain_size = 256;
    SID_NAME_USE use = SidTypeUnknown;
    // The lookup may ask a domain controller. It can take seconds, and it can fail.
    if (!ConvertStringSidToSidW(sid.c_str(), &binary) ||
        !LookupAccountSidW(nullptr, binary, name, &name_size, domain, &domain_size, &use)) {
        return ipc::to_utf8(sid);
    }
    return ipc::to_utf8(std::wstring(domain) + L'\\' + name);
}

// Returns the descriptor's owner and DACL as SDDL.
inline std::wstring sddl_text(PSECURITY_DESCRIPTOR descriptor) {
    wchar_t* text = nullptr;
    const ipc::scope_exit free_text([&] { LocalFree(text); });
    if (!ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor, SDDL_REVISION_1, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &text, nullptr)) {
        ipc::throw_last_error("ConvertSecurityDescriptorToStringSecurityDescriptorW");
    }
    return text;
}

// Returns the SDDL, which begins with "O:", with <owner> in place of the owner's SID. That one differs from
// computer to computer.
inline std::string without_owner_sid(std::wstring sddl) {
    const std::size_t colon = sddl.find(L':', 2); // that of D: or G:
    if (sddl.substr(0, 2) != L"O:" || colon == std::wstring::npos) {
        return ipc::to_utf8(sddl);
    }
    const std::wstring sid = sddl.substr(2, colon - 3);
    const std::wstring in_entry = L";" + sid + L")";
    sddl.replace(2, sid.size(), L"<owner>");
    for (std::size_t at = 0; (at = sddl.find(in_entry, at)) != std::wstring::npos;) {
        sddl.replace(at, in_entry.size(), L";<owner>)");
    }
    return ipc::to_utf8(sddl);
}

// Returns the rights of a mask by name.
inline std::string rights_text(DWORD mask) {
    struct named_right {
        DWORD bits;
        const char* name;
    };
    constexpr named_right rights[] = {
        {FILE_READ_DATA, "read data"},
        {FILE_WRITE_DATA, "write data"},
        {FILE_CREATE_PIPE_INSTANCE, "create an instance"}, // the same bit as FILE_APPEND_DATA
        {FILE_READ_ATTRIBUTES | FILE_READ_EA, "read attributes"},
        {FILE_WRITE_ATTRIBUTES | FILE_WRITE_EA, "write attributes"},
        {DELETE, "delete"},
        {READ_CONTROL, "read the descriptor"},
        {WRITE_DAC, "change the DACL"},
        {WRITE_OWNER, "change the owner"},
        {SYNCHRONIZE, "wait"},
    };
    // ANCHOR: generic_mapping
    // What the generic rights mean for a pipe. Windows stores the specific rights on its own.
    GENERIC_MAPPING mapping{FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE,
                            FILE_ALL_ACCESS};
    MapGenericMask(&mask, &mapping);
    // ANCHOR_END: generic_mapping
    if (mask == FILE_ALL_ACCESS) {
        return "everything";
    }
    std::string text;
    for (const named_right& right : rights) {
        if ((mask & right.bits) != 0) {
            text += (text.empty() ? "" : ", ") + std::string(right.name);
        }
        mask &= ~right.bits;
    }
    char others[32] = {};
    std::snprintf(others, sizeof others, "%s0x%lx", text.empty() ? "" : ", ", mask);
    return mask == 0 && !text.empty() ? text : text + others;
}

inline std::string label_text(DWORD policy) {
    const bool write = (policy & SYSTEM_MANDATORY_LABEL_NO_WRITE_UP) != 0;
    const bool read = (policy & SYSTEM_MANDATORY_LABEL_NO_READ_UP) != 0;
    return read ? (write ? "read or write" : "read")
                : (write ? "write" : "do what no policy names");
}

// Returns one entry (ACE) in words: "allows Everyone: read data, read attributes".
inline std::string entry_text(const ACE_HEADER* header) {
    // The three types have the same layout.
    const auto* ace = reinterpret_cast<const ACCESS_ALLOWED_ACE*>(header);
    const auto account = [&] {
        return account_name(sid_text(const_cast<DWORD*>(&ace->SidStart))); // is only read
    };
    const bool inherit_only = (header->AceFlags & INHERIT_ONLY_ACE) != 0;
    const std::string end = inherit_only ? " (not here: inherit only)" : "";
    switch (header->AceType) {
    case ACCESS_ALLOWED_ACE_TYPE:
        return "allows " + account() + ": " + rights_text(ace->Mask) + end;
    case ACCESS_DENIED_ACE_TYPE: return "denies " + account() + ": " + rights_text(ace->Mask) + end;
    case SYSTEM_MANDATORY_LABEL_ACE_TYPE:
        return "label " + account() + ": a process of a lower level cannot " +
               label_text(ace->Mask);
    default: return "an entry of type " + std::to_string(header->AceType);
    }
}

// Returns the list (ACL) in words, one line for each entry.
inline std::vector<std::string> list_text(ACL* list) {
    std::vector<std::string> lines;
    bool allowed = false;
    for (DWORD i = 0; i < list->AceCount; ++i) {
        void* entry = nullptr;
        if (!GetAce(list, i, &entry)) {
            ipc::throw_last_error("GetAce");
        }
        const auto* header = static_cast<const ACE_HEADER*>(entry);
        const bool late = header->AceType == ACCESS_DENIED_ACE_TYPE && allowed;
        lines.push_back(entry_text(header) +
                        (late ? " (too late: behind an entry that allows)" : ""));
        allowed = allowed || header->AceType == ACCESS_ALLOWED_ACE_TYPE;
    }
    return lines;
}

// Returns the whole descriptor in words.
inline std::vector<std::string> descriptor_text(PSECURITY_DESCRIPTOR descriptor) {
    BOOL present = FALSE;
    BOOL defaulted = FALSE;
    PSID owner = nullptr;
    ACL* dacl = nullptr;
    ACL* sacl = nullptr; // has the label
    if (!GetSecurityDescriptorOwner(descriptor, &owner, &defaulted) ||
        !GetSecurityDescriptorSacl(descriptor, &present, &sacl, &defaulted) ||
        !GetSecurityDescriptorDacl(descriptor, &present, &dacl, &defaulted)) {
        ipc::throw_last_error("GetSecurityDescriptorDacl");
    }
    std::vector<std::string> lines;
    lines.push_back("owner: " + (owner == nullptr ? "none" : account_name(sid_text(owner))));
    // Without a list everything is allowed. An empty list allows nothing.
    std::vector<std::string> entries{"no DACL: everyone can do everything"};
    if (present && dacl != nullptr) {
        entries = list_text(dacl);
        if (entries.empty()) {
            entries = {"empty DACL: nobody can do anything, but the owner can change the DACL"};
        }
    }
    lines.insert(lines.end(), entries.begin(), entries.end());
    if (sacl != nullptr) {
        entries = list_text(sacl);
        lines.insert(lines.end(), entries.begin(), entries.end());
    }
    return lines;
}
