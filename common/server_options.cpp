#include "common/server_options.hpp"

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"

namespace ipc {

server_options parse_server_options(int argc, wchar_t** argv) {
    constexpr auto usage = "processA [--clients N] [--idle SECONDS] [--name SUFFIX]\n"
                           "  --clients N     end after N clients (default: Ctrl+C ends it)\n"
                           "  --idle SECONDS  drop a client idle for 1 to 3600 s (default: 10)\n"
                           "  --name SUFFIX   appended to the pipe's name, to run several servers";
    server_options options;
    parse_arguments(argc, argv, usage,
                    {{L"--clients", &options.clients},
                     {L"--idle", &options.idle_seconds},
                     {L"--name", &options.suffix}});
    if (options.idle_seconds < 1 || options.idle_seconds > 3600) {
        throw usage_error("--idle needs 1 to 3600; usage: processA --idle SECONDS");
    }
    return options;
}

void print_client_end(DWORD error, std::uint64_t answered) {
    // Closed its handle or was killed; either way it wants nothing more.
    const bool left =
        error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA || error == ERROR_PIPE_NOT_CONNECTED;
    const std::string why = error == ERROR_MORE_DATA           ? "its message is too long"
                            : error == ERROR_OPERATION_ABORTED ? "idle for too long"
                                                               : error_text(error);
    print_line("A: a client {}; requests answered: {}", left ? "left" : "was dropped, " + why,
               answered);
}

} // namespace ipc
