#include "tests/pairs/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"08_completion_routines",
    .pipe = LR"(\\.\pipe\ipc_demos.08.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
};
