// Runs a program without a console window and captures what it prints, within a time limit.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 run_and_capture.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static run_and_capture.cpp -o run_and_capture.exe
// Run: run_and_capture LIMIT_MS COMMAND_LINE, for example: run_and_capture 5000 "cmd /c ver"

#include <windows.h>

#include <atomic>
#include <cstdio>
#include <cwchar>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace {

// ANCHOR: start
struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

struct list_deleter {
    using pointer = LPPROC_THREAD_ATTRIBUTE_LIST;
    void operator()(pointer list) const noexcept { DeleteProcThreadAttributeList(list); }
};

// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// Starts the program in the job from its first moment. It inherits the two handles and no others.
unique_handle start(std::wstring command_line, HANDLE job, HANDLE input, HANDLE output) {
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(nullptr, 2, 0, &size); // fails by design: returns the size
    std::vector<char> storage(size);
    STARTUPINFOEXW startup{};
    startup.lpAttributeList = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    check(InitializeProcThreadAttributeList(startup.lpAttributeList, 2, 0, &size),
          "InitializeProcThreadAttributeList");
    const std::unique_ptr<void, list_deleter> list(startup.lpAttributeList);
    HANDLE inherited[] = {input, output};
    check(UpdateProcThreadAttribute(list.get(), 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited,
                                    sizeof inherited, nullptr, nullptr),
          "UpdateProcThreadAttribute");
    check(UpdateProcThreadAttribute(list.get(), 0, PROC_THREAD_ATTRIBUTE_JOB_LIST, &job, sizeof job,
                                    nullptr, nullptr),
          "UpdateProcThreadAttribute");
    startup.StartupInfo.cb = sizeof startup;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = input;
    startup.StartupInfo.hStdOutput = startup.StartupInfo.hStdError = output;
    // CREATE_NO_WINDOW: a console without a window, which the program's children share.
    // DETACHED_PROCESS would be no console, and each of these children would open a window.
    PROCESS_INFORMATION started{};
    check(CreateProcessW(nullptr, command_line.data(), nullptr, nullptr, TRUE /* inherit */,
                         EXTENDED_STARTUPINFO_PRESENT | CREATE_NO_WINDOW, nullptr, nullptr,
                         &startup.StartupInfo, &started),
          "CreateProcessW");
    CloseHandle(started.hThread);
    return unique_handle(started.hProcess);
}
// ANCHOR_END: start

// ANCHOR: read_until
// Appends what comes through the pipe, until the pipe ends, stop is signalled or the time is over.
void read_until(HANDLE stop, ULONGLONG end_tick, HANDLE pipe, std::string& output) {
    const unique_handle read_done(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    check(read_done != nullptr, "CreateEventW");
    std::vector<char> buffer(64 * 1024);
    for (bool go_on = true; go_on;) {
        OVERLAPPED read{};
        read.hEvent = read_done.get();
        DWORD bytes = 0;
        BOOL done = ReadFile(pipe, buffer.data(), 64 * 1024, nullptr, &read);
        if (done || GetLastError() == ERROR_IO_PENDING) {
            // stop comes first: the wait reports the first of several signalled objects. left_ms
            // counts, too: the wait never times out if a program prints without a pause.
            const HANDLE objects[] = {stop, read_done.get()};
            const ULONGLONG now = GetTickCount64();
            const DWORD left_ms = now < end_tick ? static_cast<DWORD>(end_tick - now) : 0;
            const DWORD waited = WaitForMultipleObjects(2, objects, FALSE /* any */, left_ms);
            go_on = waited == WAIT_OBJECT_0 + 1 && left_ms != 0;
            if (!go_on) {
                CancelIoEx(pipe, &read); // a request: the read may still succeed
            }
            done = GetOverlappedResult(pipe, &read, &bytes, TRUE /* the kernel uses the buffer */);
        }
        if (!done && (GetLastError() == ERROR_BROKEN_PIPE || !go_on)) {
            return; // every write end is closed, or the read was cancelled
        }
        check(done, "ReadFile");
        output.append(buffer.data(), bytes);
    }
}
// ANCHOR_END: read_until

// ANCHOR: run_and_capture
struct captured {
    std::string output;             // the bytes of standard output and standard error, as they came
    std::optional<DWORD> exit_code; // empty: the program ran longer than the limit and was ended
};

// Runs a program until it ends, for up to limit_ms milliseconds (at most 49 days). Its standard input
// is empty. The caller's end, of whatever kind, ends the program, and so does an exception. When the
// program has ended, the processes that it has left behind are ended, too. The output is complete up
// to the program's end; nothing but the time limits its size. If a process outside the job holds the
// pipe, the call takes a second longer. Throws std::system_error if a call fails. Several threads may
// call this function at once. Give the program's full path, and quote it and its arguments.
captured run_and_capture(const std::wstring& command_line, DWORD limit_ms) {
    const unique_handle job(CreateJobObjectW(nullptr, nullptr));
    check(job != nullptr, "CreateJobObjectW");
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    check(SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits,
                                  sizeof limits),
          "SetInformationJobObject");
    // Not CreatePipe: its ends are not overlapped, so a read could not have a limit.
    static std::atomic<unsigned> calls = 0;
    const std::wstring name = L"\\\\.\\pipe\\run_and_capture." +
                              std::to_wstring(GetCurrentProcessId()) + L"." +
                              std::to_wstring(++calls);
    const unique_handle read_end(CreateNamedPipeW(
        name.c_str(), PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, 0, 64 * 1024, 0, nullptr));
    check(read_end.get() != INVALID_HANDLE_VALUE, "CreateNamedPipeW");
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    unique_handle write_end(CreateFileW(name.c_str(), GENERIC_WRITE | FILE_READ_ATTRIBUTES, 0,
                                        &inheritable, OPEN_EXISTING,
                                        SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
    check(write_end.get() != INVALID_HANDLE_VALUE, "CreateFileW");
    const unique_handle input(CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                          &inheritable, OPEN_EXISTING, 0, nullptr));
    check(input.get() != INVALID_HANDLE_VALUE, "CreateFileW");

    const ULONGLONG end_tick = GetTickCount64() + limit_ms;
    const unique_handle process = start(command_line, job.get(), input.get(), write_end.get());
    write_end.reset(); // or the pipe would not end before this process does
    captured result;
    read_until(process.get(), end_tick, read_end.get(), result.output);
    const ULONGLONG now = GetTickCount64(); // the output can end before the program does
    const DWORD left_ms = now < end_tick ? static_cast<DWORD>(end_tick - now) : 0;
    if (WaitForSingleObject(process.get(), left_ms) == WAIT_OBJECT_0) {
        DWORD exit_code = 0;
        check(GetExitCodeProcess(process.get(), &exit_code), "GetExitCodeProcess");
        result.exit_code = exit_code;
    }
    // The end of every process in the job closes the last write end: the rest is in the pipe.
    check(TerminateJobObject(job.get(), 1), "TerminateJobObject");
    const unique_handle never(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    check(never != nullptr, "CreateEventW");
    read_until(never.get(), GetTickCount64() + 1000, read_end.get(), result.output);
    return result;
}
// ANCHOR_END: run_and_capture

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* rest = nullptr;
    const unsigned long limit_ms = argc == 3 ? std::wcstoul(argv[1], &rest, 10) : 0;
    if (limit_ms == 0 || *rest != L'\0') {
        std::fputs("usage: run_and_capture LIMIT_MS COMMAND_LINE\n", stderr);
        return 2;
    }
    const captured result = run_and_capture(argv[2], limit_ms);
    DWORD written = 0; // WriteFile changes no byte, printf would
    check(WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), result.output.data(),
                    static_cast<DWORD>(result.output.size()), &written, nullptr),
          "WriteFile");
    if (!result.exit_code) {
        std::fputs("ended: it ran longer than the limit\n", stderr);
        return 1;
    }
    std::fprintf(stderr, "exit code %lu\n", *result.exit_code);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
