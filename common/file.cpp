#include "common/file.hpp"

#include "common/error.hpp"

#include <utility>

namespace ipc {
namespace {

unique_handle open(const std::wstring& path, DWORD access, DWORD disposition) {
    if (path.empty()) {
        return {};
    }
    unique_handle file(CreateFileW(path.c_str(), access, FILE_SHARE_READ, nullptr, disposition,
                                   FILE_FLAG_SEQUENTIAL_SCAN, nullptr));
    if (!file) {
        throw_last_error("CreateFileW");
    }
    return file;
}

} // namespace

byte_source::byte_source(const std::wstring& path, std::string_view text)
    : file_(open(path, GENERIC_READ, OPEN_EXISTING)), text_(text) {}

std::uint64_t byte_source::length() const {
    if (!file_) {
        return text_.size();
    }
    LARGE_INTEGER length{};
    if (!GetFileSizeEx(file_.get(), &length)) {
        throw_last_error("GetFileSizeEx");
    }
    return static_cast<std::uint64_t>(length.QuadPart);
}

DWORD byte_source::read(std::span<char> buffer) {
    auto count = static_cast<DWORD>(buffer.size());
    if (!file_) {
        count = static_cast<DWORD>(text_.copy(buffer.data(), buffer.size()));
        text_.remove_prefix(count);
    } else if (!ReadFile(file_.get(), buffer.data(), count, &count, nullptr)) {
        throw_last_error("ReadFile");
    }
    return count;
}

byte_sink::byte_sink(const std::wstring& path, std::string prefix)
    : file_(open(path, GENERIC_WRITE, CREATE_ALWAYS)), prefix_(std::move(prefix)) {}

void byte_sink::write(std::string_view bytes) {
    if (!file_) {
        lines_.write(bytes);
        return;
    }
    DWORD written = 0; // equals the length: a disk file takes all bytes or fails
    if (!WriteFile(file_.get(), bytes.data(), static_cast<DWORD>(bytes.size()), &written,
                   nullptr)) {
        throw_last_error("WriteFile");
    }
}

void byte_sink::finish() {
    lines_.finish();
}

} // namespace ipc
