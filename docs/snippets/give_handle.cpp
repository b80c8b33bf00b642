// Gives a running process a handle to an object of this one, with no more rights than it needs.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 give_handle.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static give_handle.cpp -o give_handle.exe
// Run: give_handle take, which prints its process id; then, in a second console: give_handle ID,
// which prints a number; type this number in the first console

#include <windows.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace {

// ANCHOR: give_handle
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// Puts a handle to the object into the receiver's handle table, and calls deliver with its number,
// which has a meaning in the receiver only. deliver must send the number, for example through a
// pipe, and throw if the number cannot arrive any more: then this function takes the handle back and
// throws the exception on. After deliver has returned, the receiver owns the handle and closes it.
// Throws std::system_error if the duplication fails. Every thread may call this function.
//   receiver  a handle to the process with PROCESS_DUP_HANDLE access. The right allows its holder
//             everything with that process: so the more privileged side gives, and the other takes
//   object    a handle of this process. It stays the caller's
//   access    the receiver's rights, for example EVENT_MODIFY_STATE to set an event and no more
template <typename Deliver>
void give_handle(HANDLE receiver, HANDLE object, DWORD access, Deliver deliver) {
    HANDLE number = nullptr;
    check(DuplicateHandle(GetCurrentProcess(), object, receiver, &number, access,
                          FALSE /* the receiver's children do not inherit it */,
                          0 /* DUPLICATE_SAME_ACCESS would ignore access */),
          "DuplicateHandle");
    try {
        deliver(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(number)));
    } catch (...) {
        // The receiver does not know the number, so it would keep the handle until its end. The copy
        // is for Wine, which closes no source without one. An ended receiver has no handles left.
        HANDLE copy = nullptr;
        if (DuplicateHandle(receiver, number, GetCurrentProcess(), &copy, 0, FALSE,
                            DUPLICATE_CLOSE_SOURCE | DUPLICATE_SAME_ACCESS)) {
            CloseHandle(copy);
        }
        throw;
    }
}

// In the receiver: the handle of a number that came from a process that it trusts. Any other number
// could be one of its own handles. Call it once for each number: the result owns the handle.
unique_handle take_handle(std::uint64_t number) {
    unique_handle taken(reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(number)));
    DWORD flags = 0;
    if (!GetHandleInformation(taken.get(), &flags)) {
        const DWORD error = GetLastError();
        static_cast<void>(taken.release()); // not a handle here: there is nothing to close
        throw std::system_error(static_cast<int>(error), std::system_category(), "take_handle");
    }
    return taken;
}
// ANCHOR_END: give_handle

constexpr DWORD limit_ms = 30'000;

void print_line(std::string_view text) {
    DWORD written = 0;
    check(WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text.data(), static_cast<DWORD>(text.size()),
                    &written, nullptr),
          "WriteFile");
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* rest = nullptr;
    if (argc == 2 && std::wstring_view(argv[1]) == L"take") {
        print_line("process id: " + std::to_string(GetCurrentProcessId()) + "\n");
        char line[32] = {};
        const std::uint64_t number =
            std::fgets(line, sizeof line, stdin) != nullptr ? std::strtoull(line, nullptr, 10) : 0;
        if (number == 0) {
            std::fputs("no number came\n", stderr);
            return 1;
        }
        const unique_handle event = take_handle(number);
        check(SetEvent(event.get()), "SetEvent");
        print_line("the event is set\n");
        return 0;
    }
    const DWORD id = argc == 2 ? std::wcstoul(argv[1], &rest, 10) : 0;
    if (id == 0 || *rest != L'\0') {
        std::fputs("usage: give_handle take | PROCESS_ID\n", stderr);
        return 2;
    }
    // A parent uses the handle that CreateProcessW returned. The server of a pipe asks
    // GetNamedPipeClientProcessId for the id.
    const unique_handle receiver(OpenProcess(PROCESS_DUP_HANDLE | SYNCHRONIZE, FALSE, id));
    check(receiver != nullptr, "OpenProcess");
    const unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    check(event != nullptr, "CreateEventW");
    give_handle(receiver.get(), event.get(), EVENT_MODIFY_STATE,
                [](std::uint64_t number) { print_line(std::to_string(number) + "\n"); });
    const HANDLE objects[] = {event.get(), receiver.get()};
    switch (WaitForMultipleObjects(2, objects, FALSE, limit_ms)) {
    case WAIT_OBJECT_0: print_line("the receiver has set the event\n"); return 0;
    case WAIT_OBJECT_0 + 1: print_line("the receiver has ended\n"); return 1;
    default: print_line("the receiver did nothing within the limit\n"); return 1;
    }
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
