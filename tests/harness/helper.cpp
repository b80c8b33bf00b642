// A small program with many modes. The tests start it as a child, or as a partner that behaves
// badly.
//
// Run: helper MODE [ARGS...]

#include "common/error.hpp"
#include "common/process.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <shellapi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using arguments = std::vector<std::wstring>;

constexpr DWORD limit_ms = 60'000; // for each wait of a mode

void write_bytes(std::string_view bytes) {
    DWORD written = 0;
    if (!WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), bytes.data(), static_cast<DWORD>(bytes.size()),
                   &written, nullptr)) {
        ipc::throw_last_error("WriteFile");
    }
}

HANDLE handle_from(const std::wstring& number) {
    return reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(std::stoull(number)));
}

void wait_for_event(const std::wstring& name) {
    const ipc::unique_handle event(OpenEventW(SYNCHRONIZE, FALSE, name.c_str()));
    if (!event || WaitForSingleObject(event.get(), limit_ms) != WAIT_OBJECT_0) {
        throw std::runtime_error("the event was never set");
    }
}

// Prints each argument and a line break.
int echo_arguments(const arguments& args) {
    for (const std::wstring& arg : args) {
        write_bytes(ipc::to_utf8(arg) + "\n");
    }
    return 0;
}

// Does the same with the arguments that CommandLineToArgvW finds in the command line, where the C
// runtime has its own rules.
int split_command_line(const arguments&) {
    int count = 0;
    LPWSTR* const found = CommandLineToArgvW(GetCommandLineW(), &count);
    if (found == nullptr) {
        ipc::throw_last_error("CommandLineToArgvW");
    }
    const arguments all(found, found + count);
    LocalFree(found);
    return echo_arguments({all.begin() + 2, all.end()});
}

// Prints every byte value, 0 to 255, a hundred times.
int binary(const arguments&) {
    std::string bytes;
    for (int i = 0; i < 256 * 100; ++i) {
        bytes += static_cast<char>(i % 256);
    }
    write_bytes(bytes);
    return 0;
}

// Prints without a pause, until nobody reads any more.
int flood(const arguments&) {
    const std::string block(64 * 1024, 'x');
    for (;;) {
        write_bytes(block);
    }
}

int silent(const arguments&) {
    return 0;
}

// Reads its standard input to the end.
int read_input(const arguments&) {
    char buffer[4096];
    DWORD bytes = 0;
    std::size_t total = 0;
    do {
        if (!ReadFile(GetStdHandle(STD_INPUT_HANDLE), buffer, sizeof buffer, &bytes, nullptr)) {
            ipc::throw_last_error("ReadFile");
        }
        total += bytes;
    } while (bytes != 0);
    ipc::print_line("input: {} bytes", total);
    return 0;
}

// Prints one line of this many bytes, without a line break.
int long_line(const arguments& args) {
    write_bytes(std::string(std::stoul(args.at(0)), 'x'));
    return 0;
}

// Copies its standard input to its standard output in text mode, as a C program does by default.
int text_copy(const arguments&) {
    for (int character = std::getchar(); character != EOF; character = std::getchar()) {
        std::putchar(character);
    }
    return 0;
}

// Reads one byte, closes its standard input, and writes this many bytes.
int close_input(const arguments& args) {
    const HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    char byte_read = 0;
    DWORD bytes = 0;
    if (!ReadFile(input, &byte_read, 1, &bytes, nullptr)) {
        ipc::throw_last_error("ReadFile");
    }
    CloseHandle(input);
    return long_line(args);
}

// Writes this many bytes, and only then reads its standard input, which it copies to its standard
// error.
int write_first(const arguments& args) {
    long_line(args);
    std::vector<char> buffer(64 * 1024);
    DWORD bytes = 0;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), buffer.data(),
                    static_cast<DWORD>(buffer.size()), &bytes, nullptr)) {
        WriteFile(GetStdHandle(STD_ERROR_HANDLE), buffer.data(), bytes, &bytes, nullptr);
    }
    return 0;
}

// Writes this many bytes to its standard error.
int write_errors(const arguments& args) {
    SetStdHandle(STD_OUTPUT_HANDLE, GetStdHandle(STD_ERROR_HANDLE));
    return long_line(args);
}

// Gives its standard output to the process with this id and ends. No job of the helper ends that process.
int give_output_away(const arguments& args) {
    const ipc::unique_handle process(
        OpenProcess(PROCESS_DUP_HANDLE, FALSE, static_cast<DWORD>(std::stoul(args.at(0)))));
    HANDLE given = nullptr;
    if (!process || !DuplicateHandle(GetCurrentProcess(), GetStdHandle(STD_OUTPUT_HANDLE),
                                     process.get(), &given, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
        ipc::throw_last_error("DuplicateHandle");
    }
    return 0;
}

// Closes its standard output and error, so that their reader sees the end. Then waits for an event
// and ends with exit code 5.
int close_output(const arguments& args) {
    write_bytes("closing\n");
    CloseHandle(GetStdHandle(STD_OUTPUT_HANDLE));
    CloseHandle(GetStdHandle(STD_ERROR_HANDLE));
    wait_for_event(args.at(0));
    return 5;
}

int crash(const arguments&) {
    write_bytes("about to crash\n");
    SetErrorMode(SEM_NOGPFAULTERRORBOX); // no dialog, because nobody would close it
    RaiseException(static_cast<DWORD>(EXCEPTION_ACCESS_VIOLATION), EXCEPTION_NONCONTINUABLE, 0,
                   nullptr);
    return 0;
}

// Starts a second helper with these arguments. The second helper inherits the standard output.
void start_helper(const arguments& args) {
    arguments program_and_args = args;
    program_and_args.insert(program_and_args.begin(),
                            ipc::beside_this_program(L"helper.exe").wstring());
    std::wstring command = ipc::command_line(program_and_args);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                        &startup, &started)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(started.hThread);
    CloseHandle(started.hProcess);
}

// Run: helper show-console PROGRAM [ARGS...] Starts the program with this helper's console as its
// standard output. Then it prints what the console shows, one line for each row up to the cursor.
int show_console(const arguments& args) {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const ipc::unique_handle screen(CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE,
                                                FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                                                OPEN_EXISTING, 0, nullptr));
    if (!screen || !SetConsoleOutputCP(437)) { // this code page has few letters
        ipc::throw_last_error("CreateFileW or SetConsoleOutputCP");
    }
    std::wstring command = ipc::command_line(args);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdOutput = startup.hStdError = screen.get();
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                        &startup, &started)) {
        ipc::throw_last_error("CreateProcessW");
    }
    CloseHandle(started.hThread);
    const ipc::unique_handle process(started.hProcess);
    const DWORD exit_code = ipc::wait_for_exit(process.get(), limit_ms);
    CONSOLE_SCREEN_BUFFER_INFO info{};
    GetConsoleScreenBufferInfo(screen.get(), &info);
    for (SHORT y = 0; y < info.dwCursorPosition.Y; ++y) {
        std::wstring row(static_cast<std::size_t>(info.dwSize.X), L' ');
        DWORD bytes = 0;
        ReadConsoleOutputCharacterW(screen.get(), row.data(), static_cast<DWORD>(row.size()),
                                    {0, y}, &bytes);
        row.erase(row.find_last_not_of(L' ') + 1);
        write_bytes(ipc::to_utf8(row) + "\n");
    }
    write_bytes("end of console\n");
    return static_cast<int>(exit_code);
}

// Starts "helper wait-then-write EVENT" and ends at once.
int grandchild(const arguments& args) {
    start_helper({L"wait-then-write", args.at(0)});
    write_bytes("child done\n");
    return 6;
}

int wait_then_write(const arguments& args) {
    wait_for_event(args.at(0));
    write_bytes("grandchild done\n");
    return 0;
}

// Run: helper wait-then-echo READY EVENT [ARGS...] Sets the first event, waits for the second one,
// and then prints the arguments, each with a WriteFile of its own.
int wait_then_echo(const arguments& args) {
    const ipc::unique_handle ready(OpenEventW(EVENT_MODIFY_STATE, FALSE, args.at(0).c_str()));
    SetEvent(ready.get());
    wait_for_event(args.at(1));
    return echo_arguments({args.begin() + 2, args.end()});
}

// Sets the event with this handle value. Fails if this process has no such handle.
int set_event_handle(const arguments& args) {
    if (!SetEvent(handle_from(args.at(0)))) {
        ipc::throw_last_error("SetEvent");
    }
    return 0;
}

// Starts "helper hang", which inherits the standard output, and ends at once.
int start_and_leave(const arguments&) {
    start_helper({L"hang"});
    return 0;
}

int print(const arguments&) {
    ipc::print_line("{} {} {} {}", 12u, -3, "narrow", L"wide");
    ipc::print_error_line("on standard {}", std::string("error"));
    return 0;
}

// Ends with exit code 3 when Ctrl+C is pressed, and with 1 if that does not happen.
int wait_for_ctrl_c(const arguments&) {
    const HANDLE pressed = ipc::ctrl_c_event();
    write_bytes("waiting\n");
    return WaitForSingleObject(pressed, limit_ms) == WAIT_OBJECT_0 ? 3 : 1;
}

// Does the same with ctrl_c_pressed(), as a busy loop does.
int poll_for_ctrl_c(const arguments&) {
    bool pressed = ipc::ctrl_c_pressed();
    write_bytes(pressed ? "pressed too early\n" : "polling\n");
    for (DWORD waited_ms = 0; !pressed && waited_ms < limit_ms; waited_ms += 10) {
        Sleep(10); // stands for the work of the loop
        pressed = ipc::ctrl_c_pressed();
    }
    return pressed ? 3 : 1;
}

int throw_usage_error(const arguments&) {
    throw ipc::usage_error("wrong");
}

int throw_win32_error(const arguments&) {
    ipc::throw_error("TheCall", ERROR_NO_DATA);
}

int hang(const arguments&) {
    write_bytes("hanging\n");
    Sleep(INFINITE); // until the test ends this process
    return 0;
}

// Sets the event of this name and then hangs: the event says that the program runs.
int announce(const arguments& args) {
    const ipc::unique_handle event(OpenEventW(EVENT_MODIFY_STATE, FALSE, args.at(0).c_str()));
    if (!event || !SetEvent(event.get())) {
        ipc::throw_last_error("SetEvent");
    }
    return hang({});
}

// Uses this many MiB of memory until the test ends this process.
int take_memory(const arguments& args) {
    const std::string memory(std::size_t{std::stoul(args.at(0))} << 20, 'x');
    return hang({});
}

// Run: helper bad-server PIPE N wrong|short|hang|leave Sends one client N correct replies. Then it
// sends a wrong or too short reply, sends none and hangs, or leaves by closing the connection.
int bad_server(const arguments& args) {
    const ipc::unique_handle pipe(CreateNamedPipeW(args.at(0).c_str(), PIPE_ACCESS_DUPLEX,
                                                   PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1,
                                                   4096, 4096, 0, nullptr));
    if (!pipe) {
        ipc::throw_last_error("CreateNamedPipeW");
    }
    write_bytes("ready\n");
    ConnectNamedPipe(pipe.get(), nullptr); // a failure shows in the first read
    char message[4096];
    DWORD bytes = 0;
    for (unsigned long correct_left = std::stoul(args.at(1));
         ReadFile(pipe.get(), message, sizeof message, &bytes, nullptr); --correct_left) {
        const std::wstring then = correct_left == 0 ? args.at(2) : L"";
        if (then == L"leave" || then == L"hang") {
            return then == L"leave" ? 0 : hang({});
        }
        std::transform(message, message + bytes, message, [](char letter) {
            return static_cast<char>(letter - 'a' + 'A'); // the benchmark sends a to z
        });
        if (then == L"wrong") {
            message[0] = '?';
        }
        WriteFile(pipe.get(), message, then == L"short" ? bytes - 1 : bytes, &bytes, nullptr);
    }
    return 0;
}

// Prints the second argument on standard error and ends with the first one as its exit code.
int end_with(const arguments& args) {
    ipc::print_error_line("{}", args.at(1));
    return std::stoi(args.at(0));
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const std::map<std::wstring, int (*)(const arguments&)> modes = {
        {L"echo-arguments", echo_arguments},
        {L"split-command-line", split_command_line},
        {L"binary", binary},
        {L"flood", flood},
        {L"silent", silent},
        {L"read-input", read_input},
        {L"long-line", long_line},
        {L"text-copy", text_copy},
        {L"close-input", close_input},
        {L"write-first", write_first},
        {L"write-errors", write_errors},
        {L"give-output-away", give_output_away},
        {L"close-output", close_output},
        {L"crash", crash},
        {L"grandchild", grandchild},
        {L"wait-then-write", wait_then_write},
        {L"wait-then-echo", wait_then_echo},
        {L"set-event-handle", set_event_handle},
        {L"hang", hang},
        {L"announce", announce},
        {L"show-console", show_console},
        {L"start-and-leave", start_and_leave},
        {L"print", print},
        {L"wait-for-ctrl-c", wait_for_ctrl_c},
        {L"poll-for-ctrl-c", poll_for_ctrl_c},
        {L"take-memory", take_memory},
        {L"bad-server", bad_server},
        {L"end-with", end_with},
        {L"throw-usage-error", throw_usage_error},
        {L"throw-win32-error", throw_win32_error},
    };
    const arguments args(argv + 1, argv + argc);
    return modes.at(args.at(0))({args.begin() + 1, args.end()});
} catch (...) {
    return ipc::report_exception("helper");
}
