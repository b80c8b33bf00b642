// The checks of the exercises of pair 16.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/16_shared_ring/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <cstdint>
#include <string>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

// Exercise 16.1: processA --name SUFFIX COUNT sends COUNT lines.
void send_lines(trial& attempt, std::uint64_t count) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const std::wstring out = attempt.file(L"out.txt");
    program& a = attempt.start_learner({L"--name", suffix, std::to_wstring(count)});
    program& b = attempt.start_partner({L"--name", suffix, L"--out", out, L"--limit", L"0"});
    attempt.expect_exit_code(a, 0);
    attempt.expect_exit_code(b, 0);
    std::string expected;
    for (std::uint64_t i = 1; i <= count; ++i) {
        expected += "line " + std::to_string(i) + "\n";
    }
    attempt.expect(ipc::test::read_file(out) == expected,
                   "B has received all " + std::to_string(count) + " lines", "something else");
    attempt.expect_line(a, "A: B has received everything");
}

void send_three_lines(trial& attempt) {
    send_lines(attempt, 3);
}

void send_many_lines(trial& attempt) {
    send_lines(attempt, 300'000);
}

// B is killed while it waits for records that A has not shown, or has received everything.
void lose_the_consumer(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix, L"1000000000"});
    program& b = attempt.start_partner(
        {L"--name", suffix, L"--out", attempt.file(L"out.txt"), L"--limit", L"0"});
    attempt.expect_output(b, "B: the producer is there");
    b.kill();
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: the other process ended: the stream is incomplete");
}

// The check plays a B that sleeps from the beginning, as the number in its half says.
void wake_a_sleeping_consumer(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix, L"3"});
    const auto named = [&](const wchar_t* base) { return ipc::object_name(base, suffix); };
    ipc::unique_handle wake_a; // A creates it last
    for (DWORD waited_ms = 0; !wake_a && waited_ms < attempt.limit_ms() && !a.wait(10);
         waited_ms += 10) {
        wake_a.reset(OpenEventW(EVENT_MODIFY_STATE, FALSE, named(protocol::wake_a_name).c_str()));
    }
    const ipc::unique_handle wake_b(
        OpenEventW(SYNCHRONIZE, FALSE, named(protocol::wake_b_name).c_str()));
    const ipc::unique_handle mapping(OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE,
                                                      named(protocol::memory_name).c_str()));
    char* memory = static_cast<char*>(
        MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, 2 * protocol::half_bytes));
    attempt.expect(wake_a && wake_b && memory != nullptr,
                   "A creates the memory and the events of the pair", "one of them does not exist");
    auto& b = *reinterpret_cast<protocol::half*>(memory + protocol::half_bytes);
    b.sleep.value = 1;
    b.process_id = GetCurrentProcessId();
    SetEvent(wake_a.get());
    const bool woken = WaitForSingleObject(wake_b.get(), attempt.limit_ms()) == WAIT_OBJECT_0;
    UnmapViewOfFile(memory);
    attempt.expect(woken, "A sets the event wake_b, because B says that it sleeps",
                   "A does not set it");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"three lines arrive", send_three_lines},
      {"300,000 lines arrive", send_many_lines},
      {"A ends when B is killed", lose_the_consumer},
      {"A wakes a B that sleeps", wake_a_sleeping_consumer}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
