#include "tests/server_suite.hpp"

const ipc::test::tested_server ipc::test::tested = {
    .folder = L"07_thread_per_client",
    .pipe = LR"(\\.\pipe\ipc_demos.07.requests)",
    .held = 1024,
    .clients_at_once = {1, 16, 62, 255, 1000},
};
