#pragma once

#include <windows.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ipc {

// How long a program waits, in milliseconds; INFINITE for --limit 0.
struct time_limit {
    DWORD ms;
};

// An option and where its value goes: bool for a switch, a text (--out FILE), a decimal
// number (--bytes N), or a time limit in seconds (--limit SECONDS).
struct option {
    std::wstring_view name;
    std::variant<bool*, std::wstring*, std::uint64_t*, time_limit*> value;
};

// Reads the options, which end at the first other argument or at "--"; what follows goes to rest,
// or is refused where there is no rest. Throws usage_error, with the usage text's first line.
// --help prints the usage text and ends the program with exit code 0.
void parse_arguments(int argc, wchar_t** argv, std::string_view usage,
                     const std::vector<option>& options, std::vector<std::wstring>* rest = nullptr);

} // namespace ipc
