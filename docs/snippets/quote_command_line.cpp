// Makes one command line out of a program and its arguments, and starts the program with it.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 quote_command_line.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static quote_command_line.cpp -o quote_command_line.exe
// Run: quote_command_line PROGRAM [ARGUMENT]...

#include <windows.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

// ANCHOR: quote_command_line
// Returns the command line that CommandLineToArgvW and Microsoft's C runtime split into exactly
// this program and these arguments. CreateProcessW needs the text writable: pass data(). Throws
// std::invalid_argument for what no command line can hold: a null character, a quote in the
// program's name, or more than 32,766 characters in all. The function has no state: every thread
// may call it. Not for cmd.exe and batch files, which read % ^ & | < > " by rules of their own.
std::wstring quote_command_line(const std::wstring& program,
                                const std::vector<std::wstring>& arguments) {
    // The program's name has the simplest rule: a quote ends it, and a backslash escapes nothing.
    if (program.empty() || program.find(L'"') != std::wstring::npos) {
        throw std::invalid_argument("no program can have this name");
    }
    std::wstring line = L'"' + program + L'"';
    for (const std::wstring& argument : arguments) {
        line += L' ';
        if (!argument.empty() && argument.find_first_of(L" \t\n\v\"") == std::wstring::npos) {
            line += argument; // backslashes mean themselves where no quote follows
            continue;
        }
        line += L'"';
        std::size_t backslashes = 0; // directly before the current character
        for (const wchar_t character : argument) {
            if (character == L'"') {
                line.append(backslashes + 1, L'\\'); // doubles them, and escapes the quote
            }
            backslashes = character == L'\\' ? backslashes + 1 : 0;
            line += character;
        }
        line.append(backslashes, L'\\'); // or the last one would escape the closing quote
        line += L'"';
    }
    if (line.size() > 32766 || line.find(L'\0') != std::wstring::npos) {
        throw std::invalid_argument("too long for a command line, or a null character in it");
    }
    return line;
}
// ANCHOR_END: quote_command_line

struct handle_closer {
    using pointer = HANDLE;
    void operator()(HANDLE handle) const noexcept {
        if (handle != nullptr && handle != INVALID_HANDLE_VALUE) {
            CloseHandle(handle);
        }
    }
};
using unique_handle = std::unique_ptr<HANDLE, handle_closer>;

constexpr DWORD limit_ms = 30'000;

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    if (argc < 2) {
        std::fputs("usage: quote_command_line PROGRAM [ARGUMENT]...\n", stderr);
        return 2;
    }
    std::wstring line = quote_command_line(argv[1], {argv + 2, argv + argc});
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, line.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr,
                        &startup, &started)) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(),
                                "CreateProcessW");
    }
    CloseHandle(started.hThread);
    const unique_handle process(started.hProcess);
    DWORD exit_code = 0;
    if (WaitForSingleObject(process.get(), limit_ms) != WAIT_OBJECT_0 ||
        !GetExitCodeProcess(process.get(), &exit_code)) {
        std::fputs("the program did not end within the limit\n", stderr);
        return 1;
    }
    std::printf("exit code %lu\n", exit_code);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
} catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
