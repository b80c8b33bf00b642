#include "common/server_options.hpp"

#include "common/error.hpp"
#include "common/pipe.hpp"
#include "common/text.hpp"

namespace ipc {

server_options parse_server_options(int argc, wchar_t** argv) {
    constexpr auto usage =
        "processA [--clients N] [--limit SECONDS] [--name SUFFIX]\n"
        "  --clients N      end after N clients (default: Ctrl+C ends it)\n"
        "  --limit SECONDS  drop a client that is silent for so long (default: 10; 0: never)\n"
        "  --name SUFFIX    appended to the server's name, to run several servers";
    server_options options;
    parse_arguments(argc, argv, usage,
                    {{L"--clients", &options.clients},
                     {L"--limit", &options.idle_limit},
                     {L"--name", &options.suffix}});
    return options;
}

void print_client_end(DWORD error, std::uint64_t answered) {
    const bool idle = error == WAIT_TIMEOUT || error == ERROR_OPERATION_ABORTED;
    const std::string why = error == ERROR_MORE_DATA ? "its message is too long"
                            : idle                   ? "idle for too long"
                                                     : error_text(error);
    print_line("A: a client {}; requests answered: {}",
               is_disconnected(error) ? "left" : "was dropped, " + why, answered);
}

} // namespace ipc
