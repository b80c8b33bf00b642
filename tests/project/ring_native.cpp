// Runs both ends of pair 16's ring as threads, built by a native compiler with its ThreadSanitizer:
// tests/project/test_ring_native.cmake. The sanitizer reports an access that no acquire and release
// orders, and ends the program with its own exit code.

#include "tests/pairs/ring_threads.hpp"

#include <cstdint>
#include <cstdio>

int main() {
    std::uint32_t wrong = 0;
    for (const std::uint32_t batch_bytes : {0U, 512U}) {
        for (const int spin_looks : {0, 200}) {
            ring_threads::options what;
            what.start = 0U - 64 * 1024; // the position overflows on the way
            what.records = 20'000;
            what.batch_bytes = batch_bytes;
            what.spin_looks = spin_looks;
            const ring_threads::counts result = ring_threads::stream(what);
            std::printf("batch %u, spin %d: %u records, %u wrong, %u sleeps %s\n", batch_bytes,
                        spin_looks, result.records, result.wrong, result.sleeps,
                        result.problem.c_str());
            wrong += result.wrong;
            if (!result.problem.empty() || result.records != what.records) {
                ++wrong;
            }
        }
    }
    const unsigned overlooked = ring_threads::overlooked_wakeups(3'000);
    std::printf("%u overlooked wake-ups\n", overlooked);
    return wrong == 0 && overlooked == 0 ? 0 : 1;
}
