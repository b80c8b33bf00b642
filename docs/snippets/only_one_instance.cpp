// Lets only one copy of a program run in a session.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 only_one_instance.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static only_one_instance.cpp -o only_one_instance.exe
// Run: only_one_instance NAME MS

#include <windows.h>

#include <cstdio>
#include <cwchar>
#include <memory>
#include <string>
#include <system_error>

namespace {

// ANCHOR: take_name
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// Returns the handle that keeps the name, or an empty one if the name is taken. Call it first of
// all, and keep the handle until the program ends. The name is free again when the last handle is
// closed, also after a crash: do not let children inherit the handle.
//
// The name is taken if another copy runs, perhaps as another user or as administrator, or if a
// stranger has created an object of this name, which stops your program from running (squatting).
// Your program cannot tell these cases apart, so say what happened, and do not end without a word.
//
// Start the name with your company and program; it has no backslash and up to 200 characters.
// Local\ means one copy in each session; for one copy on the computer use Global\, and a security
// descriptor that lets the other users open the mutex. Throws std::system_error if the call fails.
unique_handle take_name(const std::wstring& name) {
    const std::wstring full_name = L"Local\\" + name;
    // FALSE: nobody owns the mutex. Only its name counts, so no wait, and no abandoned mutex.
    unique_handle mutex(CreateMutexW(nullptr /* not inheritable */, FALSE, full_name.c_str()));
    const DWORD error = GetLastError(); // at once, and after success too
    switch (error) {
    case ERROR_ALREADY_EXISTS: // the call has opened another copy's mutex
    case ERROR_ACCESS_DENIED:  // the same, but this process may not open it
    case ERROR_INVALID_HANDLE: // an object of another kind has the name
        return nullptr;
    default: break;
    }
    if (mutex == nullptr) {
        throw std::system_error(static_cast<int>(error), std::system_category(), "CreateMutexW");
    }
    return mutex;
}
// ANCHOR_END: take_name

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* after_ms = nullptr;
    const DWORD ms = argc == 3 ? std::wcstoul(argv[2], &after_ms, 10) : 0;
    if (argc != 3 || argv[1][0] == L'\0' || after_ms == argv[2] || *after_ms != L'\0') {
        std::fputs("usage: only_one_instance NAME MS\n", stderr);
        return 2;
    }
    const unique_handle instance = take_name(argv[1]);
    if (instance == nullptr) {
        std::puts("another instance is running");
        return 1;
    }
    std::puts("the only instance");
    std::fflush(stdout);
    Sleep(ms); // the program's work
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
