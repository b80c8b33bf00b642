// Demo 03, process A: the server of two one-way named pipes, one for each direction.
//
// A creates both pipes and waits for one B that opens both. Then one thread sends A's input while
// another receives what B returns: the same bytes, with the letters a to z in upper case. Neither
// thread waits for the other, so both pipes may be full at the same time.
//
// Run: processA [--in FILE] [--out FILE] [--name SUFFIX], and processB beside it

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "files.hpp"
#include "io_thread.hpp"
#include "protocol.hpp"

namespace {

constexpr auto usage = "processA [--in FILE] [--out FILE] [--name SUFFIX]\n"
                       "  --in FILE      what to send (default: three lines)\n"
                       "  --out FILE     where to write what comes back (default: the screen)\n"
                       "  --name SUFFIX  add .SUFFIX to the names of the pipes";
constexpr std::string_view three_lines = "out through one pipe, back through the other\n"
                                         "only a to z change: \xC3\xA4 and 7 do not\n"
                                         "the third line is the last\n";
constexpr auto b_ended_early = "B has ended or closed a pipe before everything had come back";
constexpr DWORD connect_limit_ms = 10'000; // for a client to open both pipes

ipc::unique_handle create_pipe(const std::wstring& name, DWORD access) {
    ipc::user_only_security security;
    ipc::unique_handle pipe(CreateNamedPipeW(
        name.c_str(), access | FILE_FLAG_FIRST_PIPE_INSTANCE,
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        1 /* instance */, buffer_bytes /* out */, buffer_bytes /* in */,
        0 /* default time-out: 50 ms */, security.get()));
    if (pipe) {
        return pipe;
    }
    if (GetLastError() == ERROR_ACCESS_DENIED || GetLastError() == ERROR_PIPE_BUSY) {
        throw std::runtime_error("another server has the name " + ipc::to_utf8(name));
    }
    ipc::throw_last_error("CreateNamedPipeW");
}

// The process that has opened the pipe, as the system knows it; 0 if there is none.
DWORD client_of(HANDLE pipe) {
    ULONG process_id = 0;
    return GetNamedPipeClientProcessId(pipe, &process_id) ? process_id : 0;
}

// Waits until one client has opened both pipes, or for Ctrl+C.
ending connect_both(HANDLE outbound, HANDLE inbound) {
    ending how{};
    {
        const io_thread connecting([&](const std::atomic<bool>&) {
            for (const HANDLE pipe : {outbound, inbound}) {
                // Blocks until a client has opened the pipe. Two failures are none: a client was
                // faster than this call, or has even gone again, which the first read will tell.
                if (!ConnectNamedPipe(pipe, nullptr) && GetLastError() != ERROR_PIPE_CONNECTED &&
                    GetLastError() != ERROR_NO_DATA) {
                    ipc::throw_last_error("ConnectNamedPipe");
                }
            }
        });
        how = wait_for({&connecting}, connect_limit_ms);
    } // the thread has ended: or client_of would wait for the call that blocks on the pipe
    const bool one_client = client_of(outbound) == client_of(inbound);
    if (how == ending::time_out) {
        throw std::runtime_error(one_client ? "nobody has opened the pipes: start processB"
                                            : "refused: a program has opened only one pipe");
    }
    if (!one_client && how == ending::done) {
        throw std::runtime_error("refused: two programs have opened one pipe each");
    }
    return how;
}

void write_all(HANDLE outbound, const void* bytes, DWORD count) {
    DWORD written = 0; // always all of it: WriteFile blocks until there was room
    if (!WriteFile(outbound, bytes, count, &written, nullptr)) {
        if (other_end_is_gone(GetLastError())) {
            throw std::runtime_error(b_ended_early);
        }
        ipc::throw_last_error("WriteFile");
    }
}

void send(HANDLE outbound, byte_source& input, const std::atomic<bool>& stop) {
    const stream_length length = input.length();
    write_all(outbound, &length, sizeof length);
    std::vector<char> buffer(buffer_bytes);
    while (const DWORD count = stop ? 0 : input.read(buffer)) {
        write_all(outbound, buffer.data(), count);
    }
}

void receive(HANDLE inbound, stream_length length, byte_sink& output,
             const std::atomic<bool>& stop) {
    std::vector<char> buffer(buffer_bytes);
    stream_length received = 0;
    DWORD count = 0;
    while (!stop && ReadFile(inbound, buffer.data(), buffer_bytes, &count, nullptr)) {
        received += count;
        if (received > length) {
            throw std::runtime_error("B has returned more than it was sent");
        }
        output.write({buffer.data(), count});
    }
    if (!other_end_is_gone(GetLastError())) {
        ipc::throw_last_error("ReadFile");
    }
    if (received < length) { // the pipe ends in the same way if B is done and if it was killed
        throw std::runtime_error(b_ended_early);
    }
    output.finish();
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring in;
    std::wstring out;
    std::wstring name;
    ipc::parse_arguments(argc, argv, usage, {{L"--in", &in}, {L"--out", &out}, {L"--name", &name}});
    byte_source input(in, three_lines);
    byte_sink output(out);
    auto outbound = create_pipe(ipc::object_name(a_to_b_name, name), PIPE_ACCESS_OUTBOUND);
    const auto inbound = create_pipe(ipc::object_name(b_to_a_name, name), PIPE_ACCESS_INBOUND);
    ipc::ctrl_c_event(); // from here on Ctrl+C sets it
    ipc::print_line("A: waiting for B to open both pipes");
    ending how = connect_both(outbound.get(), inbound.get());
    if (how == ending::done) {
        // ANCHOR: threads
        const io_thread sender([&](const std::atomic<bool>& stop) {
            send(outbound.get(), input, stop);
            outbound.reset(); // ends this direction only: B reads what the pipe still holds
        });
        const io_thread receiver([&](const std::atomic<bool>& stop) {
            receive(inbound.get(), input.length(), output, stop);
        });
        // INFINITE: B may take its time. Both threads end when it closes the pipes, or dies.
        how = wait_for({&sender, &receiver}, INFINITE);
        // ANCHOR_END: threads
    }
    how == ending::ctrl_c
        ? ipc::print_line("A: stopped by Ctrl+C before everything had come back")
        : ipc::print_line("A: sent {} bytes, and as many came back", input.length());
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
