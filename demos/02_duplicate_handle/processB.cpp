// Demo 02, process B: gets handles from a process that it did not start.
//
// B meets A at a named pipe and is told two numbers: handles that A has put into B's own table. B
// checks what they are, writes lines (or FILE) into the pipe, sets the event, and sees that A can
// take a handle back.
//
// Run: processB [--name SUFFIX] [--in FILE], and processA beside it

#include "common/arguments.hpp"
#include "common/file.hpp"
#include "common/text.hpp"
#include "control_pipe.hpp"

#include <string_view>

using namespace duplicate_handle;

namespace {

constexpr auto usage = "processB [--name SUFFIX] [--in FILE]\n"
                       "  --name SUFFIX  appended to the control pipe's name, the same as for A\n"
                       "  --in FILE      write FILE into the pipe, unchanged";
constexpr DWORD buffer_bytes = 64 * 1024;
constexpr std::string_view lines = "this came through a pipe that B never opened\n"
                                   "Grüße, 你好: bytes, here UTF-8\n"
                                   "the last line\n";

// Uses neither handle: a number that came over a pipe can be any of B's own handles.
void check_handles(HANDLE write_end, HANDLE event) {
    if (GetFileType(write_end) != FILE_TYPE_PIPE) {
        throw std::runtime_error("A sent a number that is no pipe in B");
    }
    // B may set the event and nothing else, so that even a wait that does not wait is refused.
    if (WaitForSingleObject(event, 0) != WAIT_FAILED || GetLastError() != ERROR_ACCESS_DENIED) {
        throw std::runtime_error("A sent a number that is no event which B may only set");
    }
    ipc::print_line("B: got two numbers: one is a pipe, waiting for the other is refused with "
                    "ERROR_ACCESS_DENIED (5)");
}

void write_all(HANDLE write_end, std::string_view bytes) {
    DWORD written = 0; // all of it: this waits until A has made room
    if (!WriteFile(write_end, bytes.data(), static_cast<DWORD>(bytes.size()), &written, nullptr)) {
        const DWORD error = GetLastError();
        if (error == ERROR_NO_DATA || error == ERROR_BROKEN_PIPE) {
            throw std::runtime_error("A ended before it had read everything");
        }
        ipc::throw_error("WriteFile", error);
    }
}

std::uint64_t write_file(HANDLE write_end, HANDLE file) {
    std::vector<char> buffer(buffer_bytes);
    for (std::uint64_t total = 0;;) {
        DWORD size = 0;
        if (!ReadFile(file, buffer.data(), buffer_bytes, &size, nullptr)) {
            ipc::throw_last_error("ReadFile");
        }
        if (size == 0) {
            return total;
        }
        write_all(write_end, {buffer.data(), size});
        total += size;
    }
}

void converse(const control_pipe& control, HANDLE file) {
    send(control, {.what = kind::hello});
    const message handles = receive(control, kind::handles);
    const HANDLE event = to_handle(handles.event); // stays A's: not for B to close
    check_handles(to_handle(handles.write_end), event);
    ipc::unique_handle write_end(to_handle(handles.write_end)); // is B's now

    std::uint64_t total = lines.size();
    if (file == nullptr) {
        write_all(write_end.get(), lines);
    } else {
        total = write_file(write_end.get(), file);
    }
    if (!SetEvent(event)) {
        ipc::throw_last_error("SetEvent");
    }
    write_end.reset(); // the end of the data, for A
    send(control, {.what = kind::finished, .bytes = total});
    ipc::print_line("B: wrote {} bytes, set the event, closed the write end", total);

    receive(control, kind::taken_back);
    DWORD flags = 0; // asks for nothing: the number might be another of B's handles by now
    if (GetHandleInformation(event, &flags) || GetLastError() != ERROR_INVALID_HANDLE) {
        throw std::runtime_error("A says that it took the event back, but the handle is there");
    }
    ipc::print_line("B: A took the event back, its number is ERROR_INVALID_HANDLE (6) now");
    send(control, {.what = kind::gone});
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring in;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--in", &in}});
    const ipc::unique_handle file = in.empty() ? ipc::unique_handle() : ipc::open_input(in);
    const control_pipe control = open_control_pipe(ipc::object_name(control_pipe_name, suffix));
    ipc::print_line("B: found A");
    converse(control, file ? file.get() : nullptr);
    return 0;
} catch (...) {
    return ipc::report_exception("B");
}
