#pragma once

#include <windows.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ipc {

// How long a program waits, in milliseconds. INFINITE, from --limit 0: no limit.
struct time_limit {
    DWORD ms;
};

// An option and the variable for its value: bool for a switch, wstring for a text that is not empty
// (--out FILE), uint64_t for a decimal number (--bytes N), time_limit for whole seconds (--limit
// SECONDS; 0: no limit; at most 1,000,000).
struct option {
    std::wstring_view name;
    std::variant<bool*, std::wstring*, std::uint64_t*, time_limit*> value;
};

// Reads the options of a command line. They end at the first argument without a leading "-", or at
// "--". What follows is stored in rest, or refused if rest is nullptr. Throws usage_error, whose
// text ends with the first line of usage. --help prints usage and ends the program with exit code
// 0.
void parse_arguments(int argc, wchar_t** argv, std::string_view usage,
                     const std::vector<option>& options, std::vector<std::wstring>* rest = nullptr);

} // namespace ipc
