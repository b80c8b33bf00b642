#pragma once

// The texts that process A has taken, and how long it waits for more.

#include "common/deadline.hpp"
#include "common/stop.hpp"

#include <windows.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct text {
    std::string sender;
    std::string bytes;
};

// What A's window procedure and its message loop share; both run on the same thread.
struct inbox {
    static constexpr std::size_t max_waiting = 16;

    std::uint64_t most_texts = 1; // 0: any number
    DWORD limit_ms = 0;
    ipc::deadline end{INFINITE}; // for the next text; anew when A takes or shows one
    bool timed_out = false;
    std::uint64_t taken = 0;
    std::uint64_t refused = 0;
    std::vector<text> waiting; // taken, and not shown yet

    bool is_full() const { return waiting.size() >= max_waiting; }
    bool has_all() const { return most_texts != 0 && taken >= most_texts; }
    bool is_over() {
        if (has_all() || ipc::ctrl_c_pressed()) {
            return true;
        }
        timed_out = timed_out || end.is_over();
        return timed_out;
    }
};
