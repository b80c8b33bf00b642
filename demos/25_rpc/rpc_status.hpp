#pragma once

#include "common/error.hpp"

#include <windows.h>

#include <rpc.h>

#include <stdexcept>
#include <string>

// When a remote call fails, its stub raises an exception of Windows (SEH), which is no C++ exception.
// status_of(call) returns its code, or else what the call returns: RPC_S_OK or the server's own error.
// The call is a lambda, and does nothing but the remote call:
//
//     status_of([&] { return open_session(server, &session); })

#ifdef _MSC_VER

// ANCHOR: msvc
template <typename Call> RPC_STATUS status_of(const Call& call) {
    RPC_STATUS status = RPC_S_OK;
    RpcTryExcept {
        status = static_cast<RPC_STATUS>(call());
    }
    RpcExcept(RpcExceptionFilter(RpcExceptionCode())) { // not for a crash, such as a wild pointer
        status = static_cast<RPC_STATUS>(RpcExceptionCode());
    }
    RpcEndExcept return status;
}
// ANCHOR_END: msvc

#else

// You can skip this half: it does for GCC what RpcTryExcept does above.
//
// GCC and Clang for MinGW do not know __try, which RpcTryExcept needs. But the system's unwinder calls
// a handler for each function that names one with .seh_handler (x64 only). This handler removes the
// frames of the failed call, and their own handlers clean up, as __except does it. Then the call in
// call_guarded returns the code of the exception. A vectored handler with longjmp would skip that
// clean-up and leak, and the ACF attributes comm_status and fault_status are unknown to widl.
extern "C" [[gnu::used]] inline EXCEPTION_DISPOSITION return_exception_code(
    EXCEPTION_RECORD* exception, void* frame, CONTEXT* /*context*/, void* dispatcher) {
    constexpr DWORD unwinding = 0x66; // EXCEPTION_UNWIND: the frames are being removed already
    if ((exception->ExceptionFlags & unwinding) == 0 &&
        I_RpcExceptionFilter(exception->ExceptionCode) == EXCEPTION_EXECUTE_HANDLER) {
        auto* found = static_cast<DISPATCHER_CONTEXT*>(dispatcher);
        RtlUnwindEx(frame, reinterpret_cast<void*>(found->ControlPc), // go on behind the call,
                    exception, // as if it had returned this value:
                    reinterpret_cast<void*>(ULONG_PTR{exception->ExceptionCode}),
                    found->ContextRecord, found->HistoryTable);
    }
    return ExceptionContinueSearch;
}

[[gnu::noinline]] inline RPC_STATUS call_guarded(RPC_STATUS (*call)(const void*),
                                                 const void* argument) {
    asm volatile(".seh_handler return_exception_code, @except");
    RPC_STATUS (*volatile hidden)(const void*) = call; // or the compiler could do without the call
    const RPC_STATUS status = hidden(argument);
    asm volatile(
        "nop"); // the handler does not count for a call that is a function's last instruction
    return status;
}

template <typename Call> RPC_STATUS status_of(const Call& call) {
    return call_guarded(
        [](const void* argument) {
            return static_cast<RPC_STATUS>((*static_cast<const Call*>(argument))());
        },
        &call);
}

#endif

// Throws "open_session failed: RPC_S_SERVER_UNAVAILABLE (1722): <system text>" unless it is RPC_S_OK.
inline void check_status(const char* call, RPC_STATUS status) {
    struct named_status {
        RPC_STATUS status;
        const char* name;
    };
    constexpr named_status names[] = {
        {RPC_S_SERVER_UNAVAILABLE, "RPC_S_SERVER_UNAVAILABLE"}, // no server has the endpoint
        {RPC_S_SERVER_TOO_BUSY, "RPC_S_SERVER_TOO_BUSY"},
        {RPC_S_CALL_FAILED, "RPC_S_CALL_FAILED"}, // the server may have run it, or a part of it
        {RPC_S_CALL_FAILED_DNE, "RPC_S_CALL_FAILED_DNE"}, // "did not execute"
        {RPC_S_INVALID_BOUND, "RPC_S_INVALID_BOUND"},     // [range]
        {RPC_X_BAD_STUB_DATA, "RPC_X_BAD_STUB_DATA"},
        {RPC_X_SS_IN_NULL_CONTEXT, "RPC_X_SS_IN_NULL_CONTEXT"},
        {RPC_X_SS_CONTEXT_MISMATCH, "RPC_X_SS_CONTEXT_MISMATCH"}, // no such session
        {RPC_S_DUPLICATE_ENDPOINT, "RPC_S_DUPLICATE_ENDPOINT"},
        {RPC_S_BINDING_HAS_NO_AUTH, "RPC_S_BINDING_HAS_NO_AUTH"},
        {RPC_S_UNKNOWN_AUTHN_SERVICE, "RPC_S_UNKNOWN_AUTHN_SERVICE"},
        {RPC_S_SEC_PKG_ERROR, "RPC_S_SEC_PKG_ERROR"},               // NTLM failed or is forbidden
        {RPC_S_CANT_CREATE_ENDPOINT, "RPC_S_CANT_CREATE_ENDPOINT"}, // another program has the port
        {EPT_S_NOT_REGISTERED, "EPT_S_NOT_REGISTERED"}, // the endpoint mapper knows no such server
    };
    for (const named_status& known : names) {
        if (known.status == status) { // "error 1722: <system text>" becomes "RPC_S_... (1722): ..."
            const std::string text = ipc::error_text(static_cast<DWORD>(status));
            throw std::runtime_error(std::string(call) + " failed: " + known.name + " (" +
                                     std::to_string(status) + ")" + text.substr(text.find(": ")));
        }
    }
    if (status != RPC_S_OK) {
        ipc::throw_error(call, static_cast<DWORD>(status));
    }
}
