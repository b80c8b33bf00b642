#pragma once

// What both processes need: the id of the class, COM itself, and the proxies and stubs of the interfaces in
// worker.idl.

#include "common/error.hpp"

#include <windows.h>

#include <cstddef>
#include <memory>
#include <objbase.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <worker.h> // from worker.idl

namespace protocol {

constexpr std::size_t max_text_units = 1024 * 1024; // of ToUpper, in UTF-16 code units

// Divide returns it. FACILITY_ITF: its meaning belongs to the interface; codes from 0x200 on are free.
constexpr HRESULT divisor_is_zero = MAKE_HRESULT(SEVERITY_ERROR, FACILITY_ITF, 0x200);

// The id of the class whose objects the server makes. Usually this is one constant, from uuidgen. Here each
// --name gets a class of its own, so that several pairs can run at once.
inline CLSID class_id(std::wstring_view suffix) {
    CLSID id = {0x6A1D5C8E, 0x3F0B, 0x4B5E, {0x9B, 0x0A, 0x54, 0xB1, 0xA7, 0xC4, 0xD2, 0x00}};
    for (const wchar_t unit : suffix) {
        id.Data1 = id.Data1 * 31 + unit;
    }
    return id;
}

} // namespace protocol

// Owns one reference to an object, and releases it.
struct releaser {
    template <typename Interface> void operator()(Interface* object) const { object->Release(); }
};
template <typename Interface> using com_ptr = std::unique_ptr<Interface, releaser>;

// Returns "0x800706BA".
inline std::string result_text(HRESULT result) {
    return ipc::exit_code_text(
        static_cast<DWORD>(result)); // a failure is above 0x80000000, like a crash
}

// Throws if the call has failed.
inline void check(const char* call, HRESULT result) {
    if (FAILED(result)) {
        throw std::runtime_error(std::string(call) + " failed: " + result_text(result));
    }
}

// Puts this thread, and the threads that COM makes for calls, into the multithreaded apartment.
struct multithreaded_apartment {
    multithreaded_apartment() {
        check("CoInitializeEx", CoInitializeEx(nullptr, COINIT_MULTITHREADED));
    }
    ~multithreaded_apartment() { CoUninitialize(); }
    multithreaded_apartment(const multithreaded_apartment&) = delete;
    multithreaded_apartment& operator=(const multithreaded_apartment&) = delete;
};

// Only this user and Windows itself may call this process. Call it before anything that sends or receives
// an interface pointer: later, COM has chosen its own values (RPC_E_TOO_LATE).
inline void initialize_security(DWORD capabilities) {
    constexpr DWORD rights = COM_RIGHTS_EXECUTE | COM_RIGHTS_EXECUTE_LOCAL;
    alignas(SID) BYTE self[SECURITY_MAX_SID_SIZE]; // for COM: the user of this process
    alignas(SID) BYTE system[SECURITY_MAX_SID_SIZE];
    alignas(ACL) BYTE memory[256]; // enough for two entries
    DWORD self_bytes = sizeof self;
    DWORD system_bytes = sizeof system;
    ACL* const list = reinterpret_cast<ACL*>(memory);
    SECURITY_DESCRIPTOR descriptor{}; // in absolute form, with an owner and a group: COM wants both
    if (!CreateWellKnownSid(WinSelfSid, nullptr, self, &self_bytes) ||
        !CreateWellKnownSid(WinLocalSystemSid, nullptr, system, &system_bytes) ||
        !InitializeAcl(list, sizeof memory, ACL_REVISION) ||
        !AddAccessAllowedAce(list, ACL_REVISION, rights, self) ||
        !AddAccessAllowedAce(list, ACL_REVISION, rights, system) ||
        !InitializeSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION) ||
        !SetSecurityDescriptorOwner(&descriptor, system, FALSE) ||
        !SetSecurityDescriptorGroup(&descriptor, system, FALSE) ||
        !SetSecurityDescriptorDacl(&descriptor, TRUE, list, FALSE)) {
        ipc::throw_last_error("initialize_security");
    }
    check("CoInitializeSecurity",
          CoInitializeSecurity(
              &descriptor, -1, nullptr, nullptr, // COM chooses the authentication services
              RPC_C_AUTHN_LEVEL_PKT_PRIVACY, // know the caller; nobody reads or changes the bytes
              RPC_C_IMP_LEVEL_IDENTIFY,      // whom we call may ask who we are, but not act as us
              nullptr, capabilities, nullptr));
}

// In dlldata.c, which the IDL compiler makes for a DLL. The build adds proxy_ to the first name.
extern "C" {
// NOLINTNEXTLINE(readability-identifier-naming)
HRESULT STDAPICALLTYPE proxy_DllGetClassObject(REFCLSID class_id, REFIID iid, void** object);
// NOLINTNEXTLINE(readability-identifier-naming)
void RPC_ENTRY GetProxyDllInfo(const void*** files, const CLSID** class_id);
}

// ANCHOR: proxies
// Tells COM in this process where the proxies and stubs are: in this program. Both processes call it.
// Without it, COM looks for a DLL in the registry, under Interface\{IID}\ProxyStubClsid32.
inline void register_proxies() {
    const void** files = nullptr;
    const CLSID* proxies = nullptr; // a class whose objects make proxies and stubs
    GetProxyDllInfo(&files, &proxies);
    IUnknown* factory = nullptr;
    check("DllGetClassObject",
          proxy_DllGetClassObject(*proxies, IID_IUnknown, reinterpret_cast<void**>(&factory)));
    const com_ptr<IUnknown> owner(factory);
    DWORD cookie = 0; // not needed: it stays registered until the apartment ends
    check("CoRegisterClassObject", CoRegisterClassObject(*proxies, factory, CLSCTX_INPROC_SERVER,
                                                         REGCLS_MULTIPLEUSE, &cookie));
    for (const IID& iid : {IID_IWorker, IID_IProgress}) {
        check("CoRegisterPSClsid", CoRegisterPSClsid(iid, *proxies));
    }
}
// ANCHOR_END: proxies
