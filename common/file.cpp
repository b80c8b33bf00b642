#include "common/file.hpp"

#include "common/error.hpp"

namespace ipc {
namespace {

unique_handle open(const std::wstring& path, DWORD access, DWORD disposition) {
    unique_handle file(CreateFileW(path.c_str(), access, FILE_SHARE_READ, nullptr, disposition,
                                   FILE_FLAG_SEQUENTIAL_SCAN, nullptr));
    if (!file) {
        throw_last_error("CreateFileW");
    }
    return file;
}

} // namespace

unique_handle open_input(const std::wstring& path) {
    return open(path, GENERIC_READ, OPEN_EXISTING);
}

unique_handle create_output(const std::wstring& path) {
    return open(path, GENERIC_WRITE, CREATE_ALWAYS);
}

void write_file(HANDLE file, std::string_view bytes) {
    DWORD written = 0; // always all of it: a file on a disk takes everything or fails
    if (!WriteFile(file, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
        throw_last_error("WriteFile");
    }
}

} // namespace ipc
