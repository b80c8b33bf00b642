// A program that the tests of the tracer trace.
//
// Run: tracee calls THREADS CALLS | results | hang NAME | parent | number | before_main | cost CALLS

#include "common/error.hpp"
#include "common/process.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <winsock2.h> // before windows.h

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

ipc::unique_handle create_event() {
    ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

// Each thread makes this number of calls.
void make_calls(int threads, int calls) {
    const ipc::unique_handle event = create_event();
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) {
        running.emplace_back([&] {
            for (int k = 0; k < calls; ++k) {
                SetEvent(event.get());
            }
        });
    }
}

void show(const char* call, std::uint64_t result) {
    const DWORD error = GetLastError();
    ipc::print_line("{} {} {}", call, result, error);
}

constexpr DWORD untouched = 12345;

VOID CALLBACK routine(ULONG_PTR event) {
    SetEvent(reinterpret_cast<HANDLE>(event)); // a traced call within a traced call
}

// Calls that succeed and calls that fail, with what they return and leave in GetLastError().
void show_results() {
    const ipc::unique_handle event = create_event();
    SetLastError(untouched);
    show("WaitForSingleObject", WaitForSingleObject(event.get(), 0));
    SetLastError(untouched);
    show("SetEvent", static_cast<std::uint64_t>(SetEvent(event.get())));
    SetLastError(untouched);
    show("CloseHandle of nothing", static_cast<std::uint64_t>(CloseHandle(nullptr)));
    const ipc::unique_handle first(CreateEventW(nullptr, FALSE, FALSE, L"Local\\ipc_tracee.twice"));
    SetLastError(untouched);
    const ipc::unique_handle again(CreateEventW(nullptr, FALSE, FALSE, L"Local\\ipc_tracee.twice"));
    show("CreateEventW of a name that exists", again ? 1U : 0U);
    const ipc::unique_handle missing(OpenEventW(SYNCHRONIZE, FALSE, L"Local\\ipc_tracee.missing"));
    show("OpenEventW of a name that does not exist", missing ? 1U : 0U);
    const ipc::unique_handle pipe(CreateFileW(L"\\\\.\\pipe\\ipc_tracee.missing", GENERIC_READ, 0,
                                              nullptr, OPEN_EXISTING, 0, nullptr));
    show("CreateFileW of a pipe that does not exist", pipe ? 1U : 0U);
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    SetLastError(untouched);
    show("CreatePipe",
         static_cast<std::uint64_t>(CreatePipe(read_end.put(), write_end.put(), nullptr, 0)));
    DWORD count = 0;
    SetLastError(untouched);
    show("WriteFile",
         static_cast<std::uint64_t>(WriteFile(write_end.get(), "bytes", 5, &count, nullptr)));
    char bytes[16]{};
    SetLastError(untouched);
    show("ReadFile", static_cast<std::uint64_t>(
                         ReadFile(read_end.get(), bytes, sizeof bytes, &count, nullptr)));
    write_end.reset();
    show("ReadFile at the end", static_cast<std::uint64_t>(ReadFile(
                                    read_end.get(), bytes, sizeof bytes, &count, nullptr)));
    ResetEvent(event.get());
    QueueUserAPC(routine, GetCurrentThread(), reinterpret_cast<ULONG_PTR>(event.get()));
    SetLastError(untouched);
    show("SleepEx with a routine", SleepEx(1000, TRUE));
    show("the routine has run", WaitForSingleObject(event.get(), 0));
    const HANDLE both[] = {first.get(), event.get()};
    show("WaitForMultipleObjects", WaitForMultipleObjects(2, both, FALSE, 1000));
    SetLastError(untouched);
    show("a number of objects that is too large", WaitForMultipleObjects(65, both, FALSE, 0));
}

// Starts this program twice, the second time suspended.
void start_children() {
    const std::wstring program = ipc::beside_this_program(L"tracee.exe").wstring();
    for (const DWORD flags : {DWORD{0}, DWORD{CREATE_SUSPENDED}}) {
        std::wstring command = ipc::command_line({program, L"calls", L"1", L"10"});
        STARTUPINFOW startup{};
        startup.cb = sizeof startup;
        PROCESS_INFORMATION started{};
        if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, FALSE, flags, nullptr,
                            nullptr, &startup, &started)) {
            ipc::throw_last_error("CreateProcessW");
        }
        const ipc::unique_handle process(started.hProcess);
        const ipc::unique_handle thread(started.hThread);
        if (flags != 0) {
            ipc::print_line("suspended {} times", ResumeThread(thread.get()));
        }
        ipc::print_line("exit code {}", ipc::wait_for_exit(process.get(), 60'000));
    }
}

// What the static runtime of Visual Studio does before wmain; then the program itself asks.
void ask_as_runtime() {
#if defined(__MINGW32__) || defined(_DLL) // the static runtime of Visual Studio has done so
    for (const DWORD id : {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE}) {
        GetFileType(GetStdHandle(id));
    }
#endif
    GetFileType(GetStdHandle(STD_OUTPUT_HANDLE));
}

// Measures a call that does next to nothing.
void measure(int calls) {
    LARGE_INTEGER frequency;
    LARGE_INTEGER begin;
    LARGE_INTEGER end;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&begin);
    for (int i = 0; i < calls; ++i) {
        if (GetStdHandle(STD_OUTPUT_HANDLE) == INVALID_HANDLE_VALUE) {
            ipc::throw_last_error("GetStdHandle");
        }
    }
    QueryPerformanceCounter(&end);
    ipc::print_line("{} ns for a call",
                    (end.QuadPart - begin.QuadPart) * 1'000'000'000 / frequency.QuadPart / calls);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const std::vector<std::wstring> arguments(argv + 1, argv + argc);
    const std::wstring& mode = arguments.at(0);
    if (mode == L"calls") {
        make_calls(std::stoi(arguments.at(1)), std::stoi(arguments.at(2)));
    } else if (mode == L"results") {
        show_results();
    } else if (mode == L"hang") {
        const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, arguments.at(1).c_str()));
        ipc::print_line("waiting");
        WaitForSingleObject(event.get(), INFINITE);
    } else if (mode == L"parent") {
        start_children();
    } else if (mode == L"before_main") {
        ask_as_runtime();
    } else if (mode == L"number") {
        ipc::print_line("closesocket {}", closesocket(INVALID_SOCKET)); // imported by its number
    } else if (mode == L"cost") {
        measure(std::stoi(arguments.at(1)));
    } else {
        throw std::runtime_error("what is this mode?");
    }
    ipc::print_line("traced: {}", GetModuleHandleW(L"ipc_trace.dll") != nullptr ? 1 : 0);
    return 0;
} catch (...) {
    return ipc::report_exception("tracee");
}
