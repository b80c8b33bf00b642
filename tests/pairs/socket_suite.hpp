#pragma once

// The cases of server_cases.hpp for a server with a stream socket. The test program also defines
// connect_socket, as socket_client.hpp says.

#include "tests/pairs/socket_client.hpp"

#include "tests/pairs/server_cases.hpp"
