#pragma once

// Who may call the server: a program of the same user, on this computer, with signed and encrypted calls.

#include "common/scope_exit.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <rpc.h>

#include <array>
#include <cstddef>
#include <string_view>

// The user of a token, as GetTokenInformation gives it: a TOKEN_USER and its SID.
using token_user = std::array<std::byte, sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE>;

inline bool get_user(HANDLE token, token_user& user) {
    DWORD bytes = 0;
    return GetTokenInformation(token, TokenUser, user.data(), static_cast<DWORD>(user.size()),
                               &bytes);
}

// Whether the client runs as the user of this process. Returns the error, or RPC_S_OK.
inline RPC_STATUS check_user(RPC_BINDING_HANDLE client) {
    ipc::unique_handle client_token;
    const RPC_STATUS status = RpcImpersonateClient(client); // this thread only
    if (status != RPC_S_OK) {
        return status;
    }
    const BOOL opened = OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, client_token.put());
    if (RpcRevertToSelfEx(client) != RPC_S_OK) {
        TerminateProcess(GetCurrentProcess(), 1); // or the thread would go on as the client
    }
    ipc::unique_handle token;
    alignas(TOKEN_USER) token_user client_user{};
    alignas(TOKEN_USER) token_user user{};
    if (!opened || !OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, token.put()) ||
        !get_user(client_token.get(), client_user) || !get_user(token.get(), user) ||
        !EqualSid(reinterpret_cast<TOKEN_USER*>(client_user.data())->User.Sid,
                  reinterpret_cast<TOKEN_USER*>(user.data())->User.Sid)) {
        return ERROR_ACCESS_DENIED;
    }
    return RPC_S_OK;
}

// TCP listens on all addresses of the computer, so the client's address decides. Wine has no
// RpcServerInqCallAttributes, which would tell it, too.
inline bool is_local(RPC_BINDING_HANDLE client) {
    RPC_BINDING_HANDLE binding = nullptr;
    RPC_WSTR text = nullptr;
    if (RpcBindingServerFromClient(client, &binding) != RPC_S_OK) {
        return false;
    }
    const ipc::scope_exit free_binding([&] { RpcBindingFree(&binding); });
    if (RpcBindingToStringBindingW(binding, &text) != RPC_S_OK) {
        return false;
    }
    const ipc::scope_exit free_text([&] { RpcStringFreeW(&text); });
    const std::wstring_view address = reinterpret_cast<const wchar_t*>(text);
    return address.starts_with(L"ncalrpc:") || address.starts_with(L"ncacn_ip_tcp:127.0.0.1");
}

// ANCHOR: callback
// The runtime asks before it runs a client's call. Any result but RPC_S_OK refuses the client.
inline RPC_STATUS RPC_ENTRY check_client(RPC_IF_HANDLE /*interface_id*/, void* client) noexcept {
    unsigned long level = 0;
    const RPC_STATUS status =
        RpcBindingInqAuthClientW(client, nullptr, nullptr, &level, nullptr /* service */, nullptr);
    if (status != RPC_S_OK) {
        return status; // RPC_S_BINDING_HAS_NO_AUTH: TCP, and the client has not said who it is
    }
    if (level < RPC_C_AUTHN_LEVEL_PKT_PRIVACY || !is_local(client)) {
        return ERROR_ACCESS_DENIED;
    }
    return check_user(client);
}
// ANCHOR_END: callback
