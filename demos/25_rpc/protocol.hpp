#pragma once

#include <windows.h>

#include <rpc.h>

#include <string>

// What the server and its clients agree on, besides requests.idl.
namespace protocol {

// Where the server listens. With ncalrpc, the transport for one computer, an endpoint is a name.
constexpr auto endpoint = L"ipc_demos.25.requests";

} // namespace protocol

// The functions of RPC take texts of unsigned short in place of wchar_t, and do not change them.
inline RPC_WSTR rpc_text(const std::wstring& text) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
    return reinterpret_cast<RPC_WSTR>(const_cast<wchar_t*>(text.c_str()));
}
