#pragma once

// What was on the clipboard before B: a demo gives it back. It is not part of the technique; a
// program that the user told to copy something just replaces the content.

#include "clipboard.hpp"

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

class former_content {
public:
    // Copies what can be copied. The clipboard is open. A format that its owner has promised is
    // rendered for that.
    void save() {
        UINT format = 0;
        while ((format = next_format(format)) != 0) {
            std::vector<std::byte> content;
            if (is_memory(format)) {
                content = clipboard::get(format, max_bytes);
            }
            if (content.empty()) {
                lost_.push_back(format);
            } else {
                saved_.emplace_back(format, std::move(content));
            }
        }
        // Windows makes these two from the picture that was saved.
        if (has(CF_DIB) || has(CF_DIBV5)) {
            std::erase(lost_, static_cast<UINT>(CF_BITMAP));
            std::erase(lost_, static_cast<UINT>(CF_PALETTE));
        }
    }

    // Puts the copies back. The clipboard is open, and empty.
    void restore() const {
        for (const auto& [format, content] : saved_) {
            clipboard::put(format, content);
        }
    }

    // Returns "CF_BITMAP, CF_ENHMETAFILE", or an empty text if everything could be copied.
    std::string lost() const {
        std::string names;
        for (const UINT format : lost_) {
            names += (names.empty() ? "" : ", ") + name_of(format);
        }
        return names;
    }

private:
    static constexpr std::size_t max_bytes = 256 * 1024 * 1024; // of one format

    static UINT next_format(UINT format) {
        SetLastError(ERROR_SUCCESS); // 0 is the end, and it is a failure
        const UINT next = EnumClipboardFormats(format);
        if (next == 0 && GetLastError() != ERROR_SUCCESS) {
            ipc::throw_last_error("EnumClipboardFormats");
        }
        return next;
    }

    // Whether the format is memory of GlobalAlloc. The others are handles of the graphics system,
    // or belong to the owner alone.
    static bool is_memory(UINT format) {
        switch (format) {
        case CF_BITMAP:
        case CF_METAFILEPICT:
        case CF_PALETTE:
        case CF_ENHMETAFILE: return false;
        default: return format <= CF_DIBV5 || format >= first_registered;
        }
    }

    static std::string name_of(UINT format) {
        switch (format) {
        case CF_BITMAP: return "CF_BITMAP";
        case CF_METAFILEPICT: return "CF_METAFILEPICT";
        case CF_PALETTE: return "CF_PALETTE";
        case CF_ENHMETAFILE: return "CF_ENHMETAFILE";
        case CF_OWNERDISPLAY: return "CF_OWNERDISPLAY";
        default: break;
        }
        wchar_t name[256] = L"";
        return GetClipboardFormatNameW(format, name, 256) > 0 ? ipc::to_utf8(name)
                                                              : "format " + std::to_string(format);
    }

    bool has(UINT format) const {
        return std::ranges::any_of(saved_, [&](const auto& one) { return one.first == format; });
    }

    static constexpr UINT first_registered = 0xC000;

    std::vector<std::pair<UINT, std::vector<std::byte>>> saved_;
    std::vector<UINT> lost_;
};
