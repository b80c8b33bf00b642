#pragma once

// What both processes of demo 03 agree on: the names of the pipes, and how A's stream starts.

#include <windows.h>

#include <cstdint>

constexpr auto a_to_b_name = LR"(\\.\pipe\ipc_demos.03.a_to_b)";
constexpr auto b_to_a_name = LR"(\\.\pipe\ipc_demos.03.b_to_a)";

// A's stream starts with the number of bytes that follow. The end of a pipe looks the same whether
// the writer has closed it or has died. B's stream needs no length: it is as long as A's.
using stream_length = std::uint64_t;

constexpr DWORD buffer_bytes = 64 * 1024; // of each pipe, and of each read and write
