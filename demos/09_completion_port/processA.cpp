// Demo 09, process A: a few threads serve a thousand clients at one completion port.
//
// Every pipe instance is associated with the port. When an operation is complete, the port gets a
// packet. Any free worker thread takes it and starts the client's next operation; no thread belongs
// to a client. Each B is a client: it sends requests and gets them back in upper case.
//
// Run: processA [--clients N] [--limit SECONDS] [--name SUFFIX], and any number of processB

#include "common/error.hpp"
#include "common/overlapped.hpp"
#include "common/pipe.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/stop.hpp"
#include "common/text.hpp"
#include "pipe_instance.hpp"

#include <span>
#include <stdexcept>
#include <string>

namespace {

constexpr int worker_count = 4;
constexpr std::size_t listening_count = 8; // instances that wait for a client at the same time
constexpr DWORD pipe_buffer_bytes = 4 * 1024;
constexpr int most_results_in_a_row = 32; // of one client; then the other clients have a turn

// Puts a packet of this client at the end of the port's queue.
void post_packet(server_state& server, pipe_instance& client, DWORD bytes) {
    if (!PostQueuedCompletionStatus(server.port.get(), bytes, reinterpret_cast<ULONG_PTR>(&client),
                                    &client.overlapped)) {
        ipc::throw_last_error("PostQueuedCompletionStatus");
    }
}

void associate(server_state& server, pipe_instance& instance) {
    const HANDLE pipe = instance.pipe.get();
    // ANCHOR: associate
    const auto key = reinterpret_cast<ULONG_PTR>(&instance); // comes back with each packet
    const HANDLE port = CreateIoCompletionPort(pipe, server.port.get(), key, 0 /* not used here */);
    // ANCHOR_END: associate
    if (port == nullptr) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    // Windows documents that no packet comes after success at once. After ERROR_MORE_DATA at once none
    // comes either: libuv relies on it for datagrams (winsock.c, uv_wsarecv_workaround).
    if (!SetFileCompletionNotificationModes(pipe, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS)) {
        ipc::throw_last_error("SetFileCompletionNotificationModes");
    }
}

void start_connect(server_state& server, pipe_instance& instance) {
    const BOOL done = ConnectNamedPipe(instance.pipe.get(), &instance.overlapped);
    const DWORD error = done ? ERROR_SUCCESS : GetLastError();
    if (error == ERROR_PIPE_CONNECTED || error == ERROR_NO_DATA) {
        post_packet(server, instance, 0); // a client came before the call, and may have left again
    } else if (error != ERROR_IO_PENDING) {
        ipc::throw_error("ConnectNamedPipe", error);
    }
}

// With the mutex locked.
void create_instance(server_state& server) {
    const std::wstring name = ipc::object_name(protocol::pipe_name, server.options.suffix);
    const DWORD first_flag = server.instances.empty() ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0;
    std::list<pipe_instance> created(1);
    pipe_instance& instance = created.front();
    ipc::user_only_security security; // for the current user only
    instance.pipe.reset(CreateNamedPipeW(
        name.c_str(),
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED // read and write; no call on this handle blocks
            | first_flag,                         // FILE_FLAG_FIRST_PIPE_INSTANCE, or 0
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE // a WriteFile is a message, a ReadFile reads one
            | PIPE_WAIT                           // blocking mode
            | PIPE_REJECT_REMOTE_CLIENTS,         // for programs on this machine only
        PIPE_UNLIMITED_INSTANCES,                 // this program has a limit of its own
        pipe_buffer_bytes,                        // for replies that the client has not read
        pipe_buffer_bytes,                        // for requests that the server has not read
        0,                                        // default time-out of WaitNamedPipeW: 50 ms
        security.get()));
    if (!instance.pipe) {
        ipc::throw_create_pipe_error(name);
    }
    associate(server, instance);
    start_connect(server, instance);
    instance.position = created.begin();
    server.instances.splice(server.instances.end(), created);
    ++server.listening;
}

// With the mutex locked. If an instance cannot be created, the server goes on with fewer, and tries
// again when a client connects or leaves.
void listen(server_state& server) {
    try {
        while (server.listening < listening_count && server.instances.size() < most_clients) {
            create_instance(server);
        }
    } catch (...) {
        ipc::report_exception("A: one pipe instance fewer");
        if (server.instances.empty()) {
            SetEvent(server.finished_event.get());
        }
    }
}

void accept_client(server_state& server) {
    const std::lock_guard lock(server.mutex);
    --server.listening;
    listen(server); // before this client is served, so that the next one can connect
}

// No operation is pending on the instance.
void remove_client(server_state& server, pipe_instance& client) {
    const std::lock_guard lock(server.mutex);
    server.instances.erase(client.position); // closes the pipe
    listen(server);
    if (++server.served == server.options.clients) {
        SetEvent(server.finished_event.get());
    }
}

// ANCHOR: judge
// Returns the result of the call that returned done. ERROR_IO_PENDING: the port gets a packet, and
// another worker may use the client even now. With any other result, no packet comes.
ipc::call_result judge_call(pipe_instance& client, BOOL done) {
    ipc::call_result result{done ? ERROR_SUCCESS : GetLastError(), 0};
    if (result.error == ERROR_SUCCESS || result.error == ERROR_MORE_DATA) {
        GetOverlappedResult(client.pipe.get(), &client.overlapped, &result.bytes, FALSE);
    }
    return result;
}
// ANCHOR_END: judge

ipc::call_result start_read(pipe_instance& client) {
    client.current = operation::read;
    client.start_ms = GetTickCount64();
    const BOOL done = ReadFile(client.pipe.get(), client.buffer.free_space(),
                               client.buffer.free_bytes(), nullptr, &client.overlapped);
    return judge_call(client, done);
}

ipc::call_result start_reply(pipe_instance& client) {
    const std::span<char> message = client.buffer.message();
    protocol::make_reply(message);
    const auto bytes = static_cast<DWORD>(message.size());
    client.current = operation::reply;
    client.start_ms = GetTickCount64();
    const BOOL done =
        WriteFile(client.pipe.get(), message.data(), bytes, nullptr, &client.overlapped);
    return judge_call(client, done);
}

// The client's operation is complete: starts the next one. If that one is complete at once, no
// packet comes, and this loop handles its result too. Returns false if the client is to be removed.
bool handle_completion(server_state& server, pipe_instance& client, ipc::call_result result) {
    for (int results = 0; result.error != ERROR_IO_PENDING; ++results) {
        if (results >= most_results_in_a_row && result.error == ERROR_SUCCESS) {
            post_packet(server, client, result.bytes);
            return true;
        }
        if (client.current == operation::connect) {
            accept_client(server);
        } else if (client.current == operation::read) {
            client.buffer.add(result.bytes);
        }
        if (result.error == ERROR_MORE_DATA && client.buffer.grow()) {
            result = start_read(client); // the rest of the message
        } else if (result.error != ERROR_SUCCESS) {
            ipc::print_client_end(result.error, client.answered);
            return false;
        } else if (client.current == operation::read) {
            result = start_reply(client);
        } else {
            client.answered += client.current == operation::reply ? 1 : 0;
            client.buffer.clear();
            result = start_read(client); // the next request
        }
    }
    return true; // from here on, the client may belong to another worker
}

void work(server_state& server) {
    for (;;) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        // ANCHOR: packet
        const BOOL success =
            GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                      INFINITE); // ended by the packet that stop() posts
        // ANCHOR_END: packet
        const DWORD error = success ? ERROR_SUCCESS : GetLastError();
        if (overlapped == nullptr) {
            return; // that packet
        }
        auto& client = *reinterpret_cast<pipe_instance*>(key);
        bool keep = false;
        try {
            keep = handle_completion(server, client, {error, bytes});
        } catch (...) {
            ipc::report_exception("A"); // costs this client its connection, and no other one
        }
        if (!keep) {
            remove_client(server, client);
        }
    }
}

void start(server_state& server) {
    server.finished_event.reset(CreateEventW(nullptr, TRUE /* manual-reset */, FALSE, nullptr));
    if (!server.finished_event) {
        ipc::throw_last_error("CreateEventW");
    }
    // ANCHOR: port
    server.port.reset(CreateIoCompletionPort(INVALID_HANDLE_VALUE, // only create a port
                                             nullptr, 0,
                                             0)); // threads that run at once: one per processor
    // ANCHOR_END: port
    if (!server.port) {
        ipc::throw_last_error("CreateIoCompletionPort");
    }
    const std::lock_guard lock(server.mutex);
    create_instance(server); // throws if another server has the name
    listen(server);
    for (int i = 0; i < worker_count; ++i) {
        server.workers.emplace_back([&server] { work(server); });
    }
}

void wait_for_end(server_state& server) {
    const HANDLE events[] = {server.finished_event.get(), ipc::ctrl_c_event()};
    DWORD waited = WAIT_TIMEOUT;
    while (waited == WAIT_TIMEOUT) {
        waited = WaitForMultipleObjects(2, events, FALSE /* any */, cancel_overdue(server));
    }
    if (waited == WAIT_FAILED) {
        ipc::throw_last_error("WaitForMultipleObjects");
    }
}

// It is not enough to close the port: the kernel still writes into the OVERLAPPEDs of pending
// operations. When the workers have ended, each instance has exactly one packet to come.
void stop(server_state& server) {
    for (std::size_t i = 0; i < server.workers.size(); ++i) {
        PostQueuedCompletionStatus(server.port.get(), 0, 0, nullptr);
    }
    server.workers.clear(); // joins them
    for (pipe_instance& client : server.instances) {
        CancelIoEx(client.pipe.get(), &client.overlapped);
    }
    for (std::size_t i = 0; i < server.instances.size(); ++i) {
        DWORD bytes = 0;
        ULONG_PTR key = 0;
        OVERLAPPED* overlapped = nullptr;
        GetQueuedCompletionStatus(server.port.get(), &bytes, &key, &overlapped,
                                  INFINITE); // ended by the end of a cancelled operation
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    server_state server;
    server.options = ipc::parse_server_options(argc, argv);
    {
        const ipc::scope_exit end([&] { stop(server); });
        ipc::ctrl_c_event(); // from here on Ctrl+C ends the server cleanly
        start(server);
        ipc::print_line("A: {} threads wait for clients at one port", worker_count);
        wait_for_end(server);
    }
    if (server.instances.empty()) {
        throw std::runtime_error("no pipe instance is left");
    }
    ipc::print_line("A: the end; clients served: {}", server.served);
    return 0;
} catch (...) {
    return ipc::report_exception("A");
}
