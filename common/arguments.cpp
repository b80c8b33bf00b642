#include "common/arguments.hpp"

#include "common/error.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cwchar>

namespace ipc {
namespace {

// Whether the text is a decimal number that fits.
bool read_number(const std::wstring& text, std::uint64_t& number) {
    errno = 0;
    number = std::wcstoull(text.c_str(), nullptr, 10);
    return errno == 0 && text.find_first_not_of(L"0123456789") == std::wstring::npos;
}

} // namespace

void parse_arguments(int argc, wchar_t** argv, std::string_view usage,
                     const std::vector<option>& options, std::vector<std::wstring>* rest) {
    const auto refuse = [&](const std::string& why) {
        throw usage_error(why + "; usage: " + std::string(usage.substr(0, usage.find('\n'))));
    };
    int next = 1;
    for (; next < argc && argv[next][0] == L'-'; ++next) {
        const std::wstring name = argv[next];
        if (name == L"--") {
            ++next;
            break;
        }
        if (name == L"--help") {
            print_line("usage: {}", usage);
            std::exit(0);
        }
        const auto known = std::ranges::find(options, name, &option::name);
        if (known == options.end()) {
            refuse("no such option: " + to_utf8(name));
            continue;
        }
        if (bool* const* flag = std::get_if<bool*>(&known->value)) {
            **flag = true;
            continue;
        }
        ++next;
        const std::wstring value = next < argc ? argv[next] : L"";
        if (value.empty()) {
            refuse(to_utf8(name) + " needs a value");
        }
        if (std::wstring* const* text = std::get_if<std::wstring*>(&known->value)) {
            **text = value;
        } else if (!read_number(value, **std::get_if<std::uint64_t*>(&known->value))) {
            refuse(to_utf8(name) + " needs a number, not " + to_utf8(value));
        }
    }
    const std::vector<std::wstring> others(argv + std::min(next, argc), argv + argc);
    if (rest != nullptr) {
        *rest = others;
    } else if (!others.empty()) {
        refuse("not expected: " + to_utf8(others.front()));
    }
}

} // namespace ipc
