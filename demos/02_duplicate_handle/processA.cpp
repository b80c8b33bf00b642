// Demo 02, process A: puts handles into a process that is already running.
//
// A meets B at a named pipe, opens B's process, and duplicates the write end of an anonymous pipe
// and an event into it. B gets two numbers and writes into a pipe that it never opened; A shows
// what arrives, or writes it to FILE. In the end A takes the event's handle back.
//
// Run: processA [--name SUFFIX] [--out FILE], and processB beside it

#include "common/arguments.hpp"
#include "common/file.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "control_pipe.hpp"

using namespace duplicate_handle;

namespace {

constexpr auto usage = "processA [--name SUFFIX] [--out FILE]\n"
                       "  --name SUFFIX  appended to the control pipe's name, the same as for B\n"
                       "  --out FILE     write what B sends to FILE, unchanged";
constexpr DWORD buffer_bytes = 64 * 1024;

ipc::unique_handle open_client(const control_pipe& control) {
    ULONG id = 0;
    if (!GetNamedPipeClientProcessId(control.handle.get(), &id)) {
        ipc::throw_last_error("GetNamedPipeClientProcessId");
    }
    ipc::unique_handle process(OpenProcess(PROCESS_DUP_HANDLE, FALSE, id));
    const DWORD error = process ? ERROR_SUCCESS : GetLastError();
    // Windows gives the id of a process that has ended to a new one. B is connected still, so the
    // process just opened is B; and as long as it is open, its id stays its own.
    check_still_connected(control);
    if (!process) {
        ipc::throw_error("OpenProcess", error);
    }
    return process;
}

// A handle in B's table that A answers for: taken back at the end, unless B was told that it is
// B's own. The number was told to A by Windows; none that B names is ever used.
class handle_in_b {
public:
    // ANCHOR: duplicate
    handle_in_b(HANDLE b, HANDLE of_a, DWORD access, DWORD options) : b_(b) {
        if (!DuplicateHandle(GetCurrentProcess(), of_a, b, &value_, access,
                             FALSE /* not inherited by B's children */, options)) {
            ipc::throw_last_error("DuplicateHandle");
        }
    }
    // ANCHOR_END: duplicate
    handle_in_b(const handle_in_b&) = delete;
    handle_in_b& operator=(const handle_in_b&) = delete;
    ~handle_in_b() { take_back(); }

    HANDLE value() const { return value_; }
    void give_away() { value_ = nullptr; }

    bool take_back() {
        ipc::unique_handle back; // moved into A's table, and closed there
        const HANDLE value = std::exchange(value_, nullptr);
        return value != nullptr &&
               DuplicateHandle(b_, value, GetCurrentProcess(), back.put(), 0, FALSE,
                               DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE);
    }

private:
    HANDLE b_;
    HANDLE value_ = nullptr;
};

// No limit: a silent B may be a busy one. The wait ends when B closes the write end, or dies.
std::uint64_t read_to_end(HANDLE read_end, HANDLE file) {
    std::vector<char> buffer(buffer_bytes);
    ipc::line_splitter lines([](std::string_view line) { ipc::print_line("A: | {}", line); });
    std::uint64_t total = 0;
    DWORD received = 0;
    while (ReadFile(read_end, buffer.data(), buffer_bytes, &received, nullptr)) {
        const std::string_view bytes(buffer.data(), received);
        file == nullptr ? lines.write(bytes) : ipc::write_file(file, bytes);
        total += received;
    }
    if (GetLastError() != ERROR_BROKEN_PIPE) {
        ipc::throw_last_error("ReadFile");
    }
    lines.finish();
    return total;
}

// Gives B its handles and returns when B has written everything and has closed the write end.
void converse(const control_pipe& control, HANDLE b, HANDLE file) {
    ipc::unique_handle read_end;
    ipc::unique_handle write_end;
    if (!CreatePipe(read_end.put(), write_end.put(), nullptr, buffer_bytes)) {
        ipc::throw_last_error("CreatePipe");
    }
    const ipc::unique_handle event(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    // ANCHOR: give
    handle_in_b given(b, write_end.get(), 0, DUPLICATE_SAME_ACCESS);
    handle_in_b lent(b, event.get(), EVENT_MODIFY_STATE, 0); // to set it, and nothing else
    send(control, {.what = kind::handles,
                   .write_end = to_number(given.value()),
                   .event = to_number(lent.value())});
    given.give_away(); // B closes it
    write_end.reset(); // or ReadFile would wait forever for A's own write end
    // ANCHOR_END: give
    ipc::print_line("A: put a pipe's write end and an event into B's handle table");

    const std::uint64_t total =
        cancelled_by(control.stop, [&] { return read_to_end(read_end.get(), file); });
    // A dead B closes its write end as well. Only this message says that B had come to its end.
    if (receive(control, kind::finished).bytes != total) {
        throw std::runtime_error("B wrote another number of bytes than arrived");
    }
    ipc::print_line("A: the pipe ended after {} bytes, and B says that this is all", total);
    if (WaitForSingleObject(event.get(), 0) != WAIT_OBJECT_0) {
        throw std::runtime_error("B did not set the event");
    }
    if (!lent.take_back()) {
        ipc::throw_last_error("DuplicateHandle");
    }
    ipc::print_line("A: B set the event; took B's handle to it back");
    send(control, {.what = kind::taken_back});
    receive(control, kind::gone);
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring out;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--out", &out}});
    const std::wstring name = ipc::object_name(control_pipe_name, suffix);
    const control_pipe control = create_control_pipe(name, ipc::ctrl_c_event());
    const ipc::unique_handle file = out.empty() ? ipc::unique_handle() : ipc::create_output(out);
    ipc::print_line("A: waiting for B");
    wait_for_client(control);
    receive(control, kind::hello);
    const ipc::unique_handle b = open_client(control);
    ipc::print_line("A: B is connected; opened its process with PROCESS_DUP_HANDLE only");
    converse(control, b.get(), file ? file.get() : nullptr);
    return 0;
} catch (const ipc::win32_error& error) {
    if (error.code() != ERROR_OPERATION_ABORTED) {
        return ipc::report_exception("A");
    }
    ipc::print_line("A: stopped by Ctrl+C"); // nothing else cancels what A does
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
