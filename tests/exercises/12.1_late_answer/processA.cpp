// SOLUTION: the end of the input says nothing about the server's answer. The relay ends when the server closes the
// pipe, so the receiving thread reads until ERROR_BROKEN_PIPE.
// STARTER
//~ // Exercise 12.1: A relays a file to a pipe server and the answer to another file. The answer gets lost: mend it.
// END
//
// Run: processA IN OUT PIPE

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"

#include <windows.h>

#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr auto usage = "processA IN OUT PIPE";
constexpr DWORD connect_limit_ms = 10'000;

void send_input(HANDLE pipe, ipc::byte_source& input) {
    char buffer[4096];
    ipc::overlapped_call call(pipe);
    DWORD size = 0;
    do { // the last write has 0 bytes: an empty message, after which nothing follows
        size = input.read(buffer);
        const BOOL done = WriteFile(pipe, buffer, size, nullptr, call.get());
        const DWORD error = call.wait(done, INFINITE).error; // until the server reads it, or ends
        if (ipc::is_disconnected(error)) {
            return; // the other thread sees it, too
        }
        if (error != ERROR_SUCCESS) {
            ipc::throw_error("WriteFile", error);
        }
    } while (size != 0);
    ipc::print_line("A: the input has been sent");
}

// Writes what the server sends to the sink.
void receive_output(HANDLE pipe, ipc::byte_sink& sink, HANDLE input_sent) {
    char buffer[4096];
    ipc::overlapped_call call(pipe);
    for (;;) {
        const BOOL done = ReadFile(pipe, buffer, sizeof buffer, nullptr, call.get());
        // SOLUTION: INFINITE: nothing but data or the end of the server ends this wait
        const auto [error, size] = call.wait(done, INFINITE);
        static_cast<void>(input_sent);
        // STARTER
        //~ // INFINITE: data, the end of the server or the event ends the wait
        //~ const auto [error, size] = call.wait(done, INFINITE, input_sent);
        //~ if (error == ERROR_OPERATION_ABORTED) {
        //~     return;
        //~ }
        // END
        if (ipc::is_disconnected(error)) {
            return;
        }
        if (error != ERROR_SUCCESS && error != ERROR_MORE_DATA) {
            ipc::throw_error("ReadFile", error);
        }
        sink.write(std::string_view(buffer, size));
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::vector<std::wstring> files;
    ipc::parse_arguments(argc, argv, usage, {}, &files);
    if (files.size() != 3) {
        throw ipc::usage_error("three arguments are needed; usage: processA IN OUT PIPE");
    }
    ipc::byte_source input(files[0], "");
    ipc::byte_sink output(files[1], "A: | ");
    const ipc::unique_handle pipe = ipc::connect_to_pipe(files[2], GENERIC_READ | GENERIC_WRITE,
                                                         FILE_FLAG_OVERLAPPED, connect_limit_ms);
    const ipc::unique_handle input_sent(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!input_sent) {
        ipc::throw_last_error("CreateEventW");
    }
    std::exception_ptr failure;
    {
        const std::jthread receiver([&] {
            try {
                receive_output(pipe.get(), output, input_sent.get());
            } catch (...) {
                failure = std::current_exception();
            }
        }); // its destructor waits
        send_input(pipe.get(), input);
        SetEvent(input_sent.get());
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
    ipc::print_line("A: done");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
