#pragma once

// Measures pair 16's ring between two processes, and beside it pair 06's two events, a byte pipe, TCP on loopback
// and memcpy.
// Nothing here is part of a lesson.

#include "tests/benchmark/ring_report.hpp"

#include <windows.h>

#include <memory>
#include <string>

namespace ipc::test {

// Two processes for one round: this one sends, and a second copy of this program receives.
class ring_load {
public:
    ring_load(); // starts the second process, with --receive NAME
    ~ring_load();
    ring_load(const ring_load&) = delete;
    ring_load& operator=(const ring_load&) = delete;

    // Measures a point for about so long, with a bare ping before and after it. Repeats it a few times until
    // both pings show the same distance of the processors. Throws if a record arrives changed.
    ring_figures measure(const ring_point& point, DWORD duration_ms);

private:
    struct session;
    std::unique_ptr<session> session_;
};

// The second process: carries out what the first one asks for, and returns when the first one ends.
void receive(const std::wstring& name);

} // namespace ipc::test
