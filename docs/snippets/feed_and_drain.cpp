// Sends data through a program: writes its standard input and reads its standard output on one thread.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 feed_and_drain.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static feed_and_drain.cpp -o feed_and_drain.exe
// Run: feed_and_drain LIMIT_MS INPUT_FILE COMMAND_LINE

#include <windows.h>

#include <atomic>
#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <io.h>

namespace {

struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

// Reads GetLastError after a failed call, so the call is the argument: nothing comes in between.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// ANCHOR: create_child_pipe
struct child_pipe {
    unique_handle ours;   // overlapped, not inheritable
    unique_handle childs; // not overlapped, inheritable: an ordinary program can use it
};

// CreatePipe makes no overlapped ends, so this makes a named pipe of one instance and connects to it. Our
// access is PIPE_ACCESS_OUTBOUND for the child's standard input, PIPE_ACCESS_INBOUND for its output.
// Throws std::system_error. Several threads may call it at once.
child_pipe create_child_pipe(DWORD our_access) {
    static std::atomic<unsigned> count = 0;
    const std::wstring name = L"\\\\.\\pipe\\child_pipe." + std::to_wstring(GetCurrentProcessId()) +
                              L"." + std::to_wstring(++count);
    child_pipe pipe;
    pipe.ours.reset(CreateNamedPipeW(
        name.c_str(), our_access | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, 64 * 1024, 64 * 1024, 0, nullptr));
    check(pipe.ours.get() != INVALID_HANDLE_VALUE, "CreateNamedPipeW");
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    // The same access as CreatePipe's ends have: some runtimes ask for the state of their pipe, or set it.
    const DWORD childs_access = our_access == PIPE_ACCESS_OUTBOUND
                                    ? GENERIC_READ | FILE_WRITE_ATTRIBUTES
                                    : GENERIC_WRITE | FILE_READ_ATTRIBUTES;
    pipe.childs.reset(CreateFileW(name.c_str(), childs_access, 0, &inheritable, OPEN_EXISTING,
                                  SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, nullptr));
    check(pipe.childs.get() != INVALID_HANDLE_VALUE,
          "CreateFileW"); // ERROR_PIPE_BUSY: another program was faster
    return pipe;
}
// ANCHOR_END: create_child_pipe

// ANCHOR: feed_and_drain
// Two chains of calls: each completion routine begins the next call of its direction. The routines run on
// the thread that began the calls, while it waits in SleepEx.
class child_streams {
public:
    // The pipes come from create_child_pipe, and this process has closed the child's ends of both.
    child_streams(unique_handle input_pipe, HANDLE output_pipe)
        : input_pipe_(std::move(input_pipe)), output_pipe_(output_pipe) {
        write_.hEvent = read_.hEvent = this; // ReadFileEx and WriteFileEx leave it to us
    }

    // Writes the input to the child, closes that pipe, and returns what the child writes until the end. A
    // child that does not read all of its input is no failure. Throws std::system_error, with the code
    // WAIT_TIMEOUT if the output has not ended within limit_ms milliseconds: then end the child. Call it
    // once. An exception that a routine throws (no memory) ends the process.
    std::string feed_and_drain(std::string_view input, DWORD limit_ms) {
        input_ = input;
        end_tick_ = GetTickCount64() + limit_ms;
        begin_write();
        begin_read();
        for (ULONGLONG now = 0; reading_ && (now = GetTickCount64()) < end_tick_;) {
            SleepEx(static_cast<DWORD>(end_tick_ - now), TRUE /* alertable: runs the routines */);
        }
        const DWORD error = reading_ ? WAIT_TIMEOUT : read_error_;
        stop_ = true;
        CancelIoEx(output_pipe_, nullptr); // requests: the calls may still succeed
        if (writing_) {
            CancelIoEx(input_pipe_.get(), nullptr);
        }
        while (reading_ || writing_) {
            SleepEx(INFINITE, TRUE); // until then the buffers belong to the kernel
        }
        if (error != ERROR_BROKEN_PIPE) { // the one end: every write end is closed
            throw std::system_error(static_cast<int>(error), std::system_category(), "ReadFileEx");
        }
        if (write_error_ != ERROR_SUCCESS) { // the child took a part of the input for all of it
            throw std::system_error(static_cast<int>(write_error_), std::system_category(),
                                    "WriteFileEx");
        }
        return std::move(output_);
    }
    // ANCHOR_END: feed_and_drain

    // ANCHOR: routines
private:
    void begin_write() {
        writing_ = false;
        DWORD error = ERROR_SUCCESS;
        if (!stop_ && !input_.empty()) {
            const auto size = static_cast<DWORD>(input_.size() < 65536 ? input_.size() : 65536);
            writing_ = WriteFileEx(input_pipe_.get(), input_.data(), size, &write_, end_write) != 0;
            error = writing_ ? ERROR_SUCCESS : GetLastError();
        }
        if (!writing_) {
            end_input(error);
        }
    }
    static void CALLBACK end_write(DWORD error, DWORD bytes, OVERLAPPED* write) {
        auto& self = *static_cast<child_streams*>(write->hEvent);
        if (error == ERROR_SUCCESS) {
            self.input_.remove_prefix(bytes);
            self.begin_write();
        } else {
            self.writing_ = false;
            self.end_input(error);
        }
    }
    void end_input(DWORD error) {
        // No failure: the child has closed its input or has ended, or feed_and_drain has cancelled.
        if (error != ERROR_NO_DATA && error != ERROR_BROKEN_PIPE &&
            error != ERROR_OPERATION_ABORTED) {
            write_error_ = error;
        }
        input_pipe_.reset(); // the child sees the end
    }
    void begin_read() {
        // SleepEx runs routines until none is left. A child that always has more to write could keep it from
        // returning, so the limit is here, too.
        const bool in_time = GetTickCount64() < end_tick_;
        reading_ = in_time && !stop_ &&
                   ReadFileEx(output_pipe_, buffer_.data(), 65536, &read_, end_read) != 0;
        read_error_ = reading_ ? ERROR_SUCCESS : in_time ? GetLastError() : WAIT_TIMEOUT;
    }
    static void CALLBACK end_read(DWORD error, DWORD bytes, OVERLAPPED* read) {
        auto& self = *static_cast<child_streams*>(read->hEvent);
        if (error == ERROR_SUCCESS) {
            self.output_.append(self.buffer_.data(), bytes);
            self.begin_read();
        } else {
            self.reading_ = false;
            self.read_error_ = error;
        }
    }
    unique_handle input_pipe_;
    HANDLE output_pipe_;
    std::string_view input_;
    std::string output_;
    std::vector<char> buffer_ = std::vector<char>(65536);
    OVERLAPPED write_{};
    OVERLAPPED read_{};
    ULONGLONG end_tick_ = 0;
    DWORD write_error_ = ERROR_SUCCESS;
    DWORD read_error_ = ERROR_SUCCESS;
    bool writing_ = false;
    bool reading_ = false;
    bool stop_ = false;
};
// ANCHOR_END: routines

// Starts the program with these standard handles, of which it inherits no other.
unique_handle start(std::wstring command_line, HANDLE input, HANDLE output) {
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &size); // fails by design: returns the size
    std::vector<char> storage(size);
    STARTUPINFOEXW startup{};
    startup.lpAttributeList = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    check(InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size),
          "InitializeProcThreadAttributeList");
    HANDLE inherited[] = {input, output};
    check(UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                    inherited, sizeof inherited, nullptr, nullptr),
          "UpdateProcThreadAttribute");
    startup.StartupInfo.cb = sizeof startup;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = input;
    startup.StartupInfo.hStdOutput = startup.StartupInfo.hStdError = output;
    PROCESS_INFORMATION started{};
    const BOOL done = CreateProcessW(nullptr, command_line.data(), nullptr, nullptr, TRUE,
                                     EXTENDED_STARTUPINFO_PRESENT, nullptr, nullptr,
                                     &startup.StartupInfo, &started);
    const DWORD error = GetLastError();
    DeleteProcThreadAttributeList(startup.lpAttributeList);
    SetLastError(error);
    check(done, "CreateProcessW");
    CloseHandle(started.hThread);
    return unique_handle(started.hProcess);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const unsigned long limit_ms = argc == 4 ? std::wcstoul(argv[1], nullptr, 10) : 0;
    std::ifstream file(std::filesystem::path(argc == 4 ? argv[2] : L""), std::ios::binary);
    if (limit_ms == 0 || !file) {
        std::fputs("usage: feed_and_drain LIMIT_MS INPUT_FILE COMMAND_LINE\n", stderr);
        return 2;
    }
    const std::string input{std::istreambuf_iterator<char>(file), {}};
    child_pipe to_child = create_child_pipe(PIPE_ACCESS_OUTBOUND);
    child_pipe from_child = create_child_pipe(PIPE_ACCESS_INBOUND);
    const unique_handle child = start(argv[3], to_child.childs.get(), from_child.childs.get());
    to_child.childs.reset();   // or a write would not fail when the child has ended
    from_child.childs.reset(); // or the output would not end
    try {
        child_streams streams(std::move(to_child.ours), from_child.ours.get());
        const std::string output = streams.feed_and_drain(input, limit_ms);
        _setmode(_fileno(stdout), _O_BINARY); // or each \n would become \r\n
        std::fwrite(output.data(), 1, output.size(), stdout);
    } catch (...) {
        TerminateProcess(child.get(), 1);
        throw;
    }
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
