// Demo 06, process A: streams bytes to another process through memory that both share.
//
// A (the producer) creates a file mapping object and two auto-reset events, reads its input into
// the memory and sets block_full. B (the consumer) takes the bytes out of the memory and sets
// block_empty. The memory has two halves: while B empties one, A fills the other.
//
// Run: processA [--name SUFFIX] [--in FILE]

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/file.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "protocol.hpp"

#include <new>

namespace {

constexpr auto usage = "processA [--name SUFFIX] [--in FILE]\n"
                       "  --name SUFFIX  added to the objects' names: several pairs run at once\n"
                       "  --in FILE      what to stream (default: a few lines)";
constexpr DWORD connect_limit_ms = 10'000; // for a consumer to come
constexpr DWORD silence_limit_ms = 20'000; // for a consumer that is alive to empty its half
constexpr std::string_view lines[] = {"Shared memory is fast, but it is only memory.\n",
                                      "It cannot say when the bytes are complete.\n",
                                      "Two events say it.\n"};

// CreateFileMappingW and CreateEventW succeed also when they only open what is there already. Then
// it belongs to another A, or to a B that has outlived its A.
ipc::unique_handle require_new(HANDLE created, DWORD code, const char* call) {
    ipc::unique_handle object(created);
    if (!object) {
        ipc::throw_error(call, code);
    }
    if (code == ERROR_ALREADY_EXISTS) {
        throw std::runtime_error("the name is taken: another processA or its processB is running");
    }
    return object;
}

ipc::unique_handle create_mapping(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE mapping =
        CreateFileMappingW(INVALID_HANDLE_VALUE /* no file */, security.get(), PAGE_READWRITE, 0,
                           protocol::memory_bytes, name.c_str());
    return require_new(mapping, GetLastError(), "CreateFileMappingW");
}

ipc::unique_handle create_event(const std::wstring& name) {
    ipc::user_only_security security;
    const HANDLE event = CreateEventW(security.get(), FALSE /* auto-reset */, FALSE, name.c_str());
    return require_new(event, GetLastError(), "CreateEventW");
}

struct stopped {}; // thrown after Ctrl+C

// Waits for B to set block_empty. consumer is null as long as nobody has come.
void wait_for_empty(HANDLE block_empty, HANDLE consumer) {
    // Where several are signaled the first one counts: what B emptied before it ended is empty.
    const HANDLE objects[] = {ipc::ctrl_c_event(), block_empty, consumer};
    switch (WaitForMultipleObjects(consumer ? 3 : 2, objects, FALSE /* any of them */,
                                   consumer ? silence_limit_ms : connect_limit_ms)) {
    case WAIT_OBJECT_0: throw stopped();
    case WAIT_OBJECT_0 + 1: return;
    case WAIT_OBJECT_0 + 2:
        throw std::runtime_error("the consumer ended before it had taken everything");
    case WAIT_TIMEOUT:
        throw std::runtime_error(consumer ? "the consumer takes nothing"
                                          : "no consumer came: start processB");
    default: ipc::throw_last_error("WaitForMultipleObjects"); // WAIT_ABANDONED needs a mutex
    }
}

// B has left its process id. A wrong one would only delay the news of B's end: silence_limit_ms.
ipc::unique_handle open_consumer(const char* memory) {
    const LONG id = *reinterpret_cast<const volatile LONG*>(memory);
    ipc::unique_handle consumer(OpenProcess(SYNCHRONIZE, FALSE, static_cast<DWORD>(id)));
    if (!consumer) {
        ipc::throw_last_error("OpenProcess"); // ERROR_INVALID_PARAMETER: it has ended already
    }
    ipc::print_line("A: a consumer is there");
    return consumer;
}

// Fills a half and returns the number of bytes, 0 at the end of the input.
DWORD fill(char* half, HANDLE file, std::uint64_t number) {
    DWORD size = 0;
    if (file == nullptr) {
        const std::string_view line = number < std::size(lines) ? lines[number] : "";
        size = static_cast<DWORD>(line.copy(half, protocol::half_bytes));
    } else if (!ReadFile(file, half, protocol::half_bytes, &size, nullptr)) {
        ipc::throw_last_error("ReadFile");
    }
    return size;
}

// Returns the number of bytes, when B has taken them all.
std::uint64_t stream(HANDLE file, char* memory, HANDLE block_full, HANDLE block_empty) {
    char* block = memory + protocol::block_start;
    auto* header = reinterpret_cast<protocol::block_header*>(block);
    ipc::unique_handle consumer; // B's process, when it has come
    std::uint64_t total = 0;
    std::uint64_t number = 0;
    // ANCHOR: hand_over
    for (DWORD size = 1; size != 0; ++number) {
        const DWORD offset = number % 2 == 0 ? protocol::first_half : protocol::second_half;
        size = fill(block + offset, file, number); // while B has the other half
        wait_for_empty(block_empty, consumer.get());
        if (!consumer) {
            consumer = open_consumer(memory);
        }
        total += size;
        header->is_end = size == 0 ? 1 : 0;
        header->offset = offset;
        header->size = size;
        header->total = total;
        if (!SetEvent(block_full)) { // a memory barrier: B wakes up and sees all of the above
            ipc::throw_last_error("SetEvent");
        }
    }
    // ANCHOR_END: hand_over
    wait_for_empty(block_empty, consumer.get()); // a B that dies only now is noticed, too
    return total;
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    std::wstring suffix;
    std::wstring in;
    ipc::parse_arguments(argc, argv, usage, {{L"--name", &suffix}, {L"--in", &in}});
    const ipc::unique_handle file = in.empty() ? ipc::unique_handle() : ipc::open_input(in);
    const auto name = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    // Stays open: other processes find the memory by name as long as somebody has a handle to it.
    const auto mapping = create_mapping(name(protocol::memory_name));
    const auto memory = static_cast<char*>(MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 0));
    if (memory == nullptr) {
        ipc::throw_last_error("MapViewOfFile");
    }
    const ipc::scope_exit unmap([&] { UnmapViewOfFile(memory); });
    new (memory + protocol::block_start)
        protocol::block_header{.producer_id = GetCurrentProcessId()};
    const auto block_empty = create_event(name(protocol::block_empty_name));
    const auto block_full = create_event(name(protocol::block_full_name)); // last: B looks for it

    ipc::print_line("A: waiting for a consumer");
    ipc::print_line("A: the consumer has taken all {} bytes",
                    stream(file.get(), memory, block_full.get(), block_empty.get()));
    return 0;
} catch (const stopped&) {
    ipc::print_line("A: stopped by Ctrl+C");
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
