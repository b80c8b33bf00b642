#include "tests/pairs/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"09_completion_port",
    .pipe = LR"(\\.\pipe\ipc_demos.09.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
};
