#pragma once

// For --byte: the same conversation through a byte-type pipe, both sides of it.

#include "common/security.hpp"
#include "common/text.hpp"
#include "pipe_end.hpp"
#include "protocol.hpp"

#include <fstream>
#include <string>
#include <vector>

namespace message_mode {

// Set when B has written everything. No byte-type pipe needs it: it keeps A's reads from coming in
// between, so that the run shows the same every time.
inline ipc::unique_handle written_event(const std::wstring& suffix) {
    ipc::user_only_security security;
    const std::wstring name = ipc::object_name(written_name, suffix);
    ipc::unique_handle event(CreateEventW(security.get(), TRUE /* manual-reset */, FALSE,
                                          name.c_str())); // or opens it: it does not matter who
    if (!event) {
        ipc::throw_last_error("CreateEventW");
    }
    return event;
}

// Whatever is in the pipe now, from however many writes.
inline DWORD read_bytes(pipe_end& end, void* at, std::size_t room) {
    const BOOL done = ReadFile(end.pipe.get(), at, static_cast<DWORD>(room), nullptr, start(end));
    const auto [code, received] = finish(end, done, "ReadFile");
    check(code, "ReadFile");
    return received;
}

inline void write_bytes(pipe_end& end, const void* at, std::size_t size) {
    const BOOL done = WriteFile(end.pipe.get(), at, static_cast<DWORD>(size), nullptr, start(end));
    check(finish(end, done, "WriteFile").first, "WriteFile");
}

// A stream may deliver a struct in pieces.
template <typename Struct> Struct read_struct(pipe_end& end) {
    Struct received{};
    for (std::size_t size = 0; size < sizeof received;) {
        size += read_bytes(end, reinterpret_cast<char*>(&received) + size, sizeof received - size);
    }
    return received;
}

// A's side.
inline void serve_bytes(pipe_end& end, std::ofstream& out, HANDLE written) {
    const auto first = read_struct<announcement>(end);
    const announcement announced = to_announcement(&first, sizeof first);
    const HANDLE events[] = {end.stop, written};
    // A client that knows nothing of the event is read when the time is over.
    const DWORD signalled = WaitForMultipleObjects(2, events, FALSE, peer_limit_ms);
    if (signalled == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
    if (signalled == WAIT_OBJECT_0) {
        throw stopped();
    }
    std::vector<char> buffer(byte_pipe_bytes);
    std::uint64_t total = 0;
    for (std::uint64_t reads = 1; total < announced.bytes; ++reads) {
        const DWORD received = read_bytes(end, buffer.data(), buffer.size());
        total += received;
        if (reads <= shown_messages) {
            ipc::print_line("A: read {}: {} bytes, where {} messages were announced", reads,
                            received, announced.messages);
        }
        out.write(buffer.data(), received);
    }
    if (total > announced.bytes) {
        throw std::runtime_error("the client sent more than it announced");
    }
    const answer all{verdict::received, 0, total};
    write_bytes(end, &all, sizeof all);
}

// B's side. The empty message is written as well, and is lost without an error.
inline void send_bytes(pipe_end& end, std::istream& lines, const announcement& all,
                       HANDLE written) {
    if (sizeof all + all.bytes > byte_pipe_bytes) {
        SetEvent(written); // does not fit into the pipe: A has to read while B writes
    }
    write_bytes(end, &all, sizeof all);
    for (std::string line; std::getline(lines, line);) {
        write_bytes(end, line.data(), line.size());
    }
    SetEvent(written);
    const auto received = read_struct<answer>(end);
    ipc::print_line("B: {} messages sent, one answer: A counts {} bytes", all.messages,
                    received.bytes);
    if (received.bytes != all.bytes) {
        throw std::runtime_error("the server did not receive everything");
    }
}

} // namespace message_mode
