// Prints UTF-8: as text to a console, whatever its code page is, and as bytes to a file or a pipe.
// cl /std:c++20 /EHsc /W4 /permissive- /utf-8 print_utf8.cpp
// x86_64-w64-mingw32-g++ -std=c++20 -municode -static print_utf8.cpp -o print_utf8.exe
// Run: print_utf8 TEXT [TIMES]

#include <windows.h>

#include <cstddef>
#include <cstdio>
#include <cwchar>
#include <string>
#include <string_view>
#include <system_error>

namespace {

// ANCHOR: print_utf8
// Pass the Win32 call itself, so that no other call comes between it and GetLastError.
void check(bool succeeded, const char* call) {
    if (!succeeded) {
        throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), call);
    }
}

// Prints all of the UTF-8 text to STD_OUTPUT_HANDLE or STD_ERROR_HANDLE. A file or a pipe gets the
// bytes unchanged; a console shows U+FFFD for bytes that are not UTF-8, and for the halves of a
// character that two calls share. A program without this handle, such as one without a console,
// prints nothing. Throws std::system_error if a call fails: with ERROR_NO_DATA or ERROR_BROKEN_PIPE
// if nobody reads the pipe any more. The call waits, without a limit, while a pipe is full or text
// is being selected in the console. Threads may print at once, but long texts can then mix.
// Call fflush(stdout) first if the program prints with the C or C++ library, too.
void print_utf8(DWORD standard_handle, std::string_view text) {
    const HANDLE output = GetStdHandle(standard_handle); // borrowed: never closed
    if (output == nullptr || output == INVALID_HANDLE_VALUE) {
        return;
    }
    DWORD mode = 0;
    const bool is_console = GetConsoleMode(output, &mode) != FALSE; // fails for all other files
    std::wstring wide;
    while (!text.empty()) {
        // Pieces, because some consoles refuse a long text. No piece ends within a character: bytes
        // 10xxxxxx go on a character, at most three of them.
        std::size_t size = text.size() < 8192 ? text.size() : 8192;
        for (int i = 0; i < 3 && size < text.size() && (text[size] & 0xC0) == 0x80; ++i) {
            --size;
        }
        auto length = static_cast<DWORD>(size);
        if (is_console) {
            wide.resize(size); // no character needs more UTF-16 units than UTF-8 bytes
            const int units = MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(size),
                                                  wide.data(), static_cast<int>(size));
            check(units != 0, "MultiByteToWideChar");
            length = static_cast<DWORD>(units);
        }
        DWORD done = 0; // a pipe or a console may take a piece in parts
        for (DWORD at = 0; at < length; at += done) {
            const BOOL written =
                is_console ? WriteConsoleW(output, wide.data() + at, length - at, &done, nullptr)
                           : WriteFile(output, text.data() + at, length - at, &done, nullptr);
            check(written, is_console ? "WriteConsoleW" : "WriteFile");
            if (done == 0) { // a pipe in the old mode PIPE_NOWAIT that is full
                throw std::system_error(ERROR_WRITE_FAULT, std::system_category(), "WriteFile");
            }
        }
        text.remove_prefix(size);
    }
}
// ANCHOR_END: print_utf8

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    wchar_t* rest = nullptr;
    const unsigned long times = argc == 3 ? std::wcstoul(argv[2], &rest, 10) : 1;
    if (argc < 2 || argc > 3 || (argc == 3 && (rest == argv[2] || *rest != L'\0'))) {
        print_utf8(STD_ERROR_HANDLE, "usage: print_utf8 TEXT [TIMES]\n");
        return 2;
    }
    const std::wstring argument = argv[1];
    std::string line(argument.size() * 3, '\0'); // no UTF-16 unit needs more than 3 bytes
    const int bytes = WideCharToMultiByte(
        CP_UTF8, 0, argument.data(), static_cast<int>(argument.size()), line.data(),
        static_cast<int>(line.size()), nullptr, nullptr); // 0 for the empty text
    line.resize(static_cast<std::size_t>(bytes));
    line += '\n';
    std::string text;
    for (unsigned long i = 0; i < times; ++i) {
        text += line;
    }
    print_utf8(STD_OUTPUT_HANDLE, text);
    return 0;
} catch (const std::system_error& error) {
    std::fprintf(stderr, "%s (%d)\n", error.what(), error.code().value());
    return 1;
}
