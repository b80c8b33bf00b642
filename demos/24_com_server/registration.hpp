#pragma once

// The registry entry that says which program is the server of the class.

#include "common/error.hpp"
#include "common/process.hpp"
#include "common/security.hpp"
#include "protocol.hpp"

#include <windows.h>

#include <shlobj.h>
#include <string>
#include <string_view>
#include <vector>

// COM ignores the entries of the user in a process with administrator rights: otherwise any program of the
// user could decide what an administrator starts.
inline HKEY registry_root() {
    return IsUserAnAdmin() ? HKEY_LOCAL_MACHINE : HKEY_CURRENT_USER; // FALSE without elevation
}

inline std::wstring class_key(std::wstring_view suffix) {
    wchar_t text[64] = {}; // {6A1D5C8E-...}: 38 characters
    StringFromGUID2(protocol::class_id(suffix), text, 64);
    return L"Software\\Classes\\CLSID\\" + std::wstring(text);
}

// How one of the two programs is started, with the quotes that its path and --name need.
inline std::wstring pair_command(std::wstring_view file, const wchar_t* mode, DWORD limit_seconds,
                                 const std::wstring& suffix) {
    std::vector<std::wstring> arguments = {ipc::beside_this_program(file), mode, L"--limit",
                                           std::to_wstring(limit_seconds)};
    if (!suffix.empty()) {
        arguments.insert(arguments.end(), {L"--name", suffix});
    }
    return ipc::command_line(arguments);
}

// ANCHOR: register
inline void write_default_value(const std::wstring& key, const std::wstring& value) {
    const auto bytes = static_cast<DWORD>((value.size() + 1) * sizeof(wchar_t)); // with the zero
    const LSTATUS error =
        RegSetKeyValueW(registry_root(), key.c_str(), nullptr, REG_SZ, value.c_str(), bytes);
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("RegSetKeyValueW", static_cast<DWORD>(error));
    }
}

inline void register_class(const std::wstring& suffix, DWORD limit_seconds) {
    const std::wstring key = class_key(suffix);
    write_default_value(key, ipc::object_name(L"ipc_demos.24.worker", suffix));
    // The path is in quotes. COM appends -Embedding.
    write_default_value(key + L"\\LocalServer32",
                        pair_command(L"processA.exe", L"--server", limit_seconds, suffix));
}
// ANCHOR_END: register

inline LSTATUS unregister_class(const std::wstring& suffix) {
    return RegDeleteTreeW(registry_root(), class_key(suffix).c_str());
}
