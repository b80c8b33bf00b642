#pragma once

#include <utility>

namespace ipc {

// Runs a clean-up at the end of the scope, also when an exception or a return leaves it:
//     const ipc::scope_exit unmap([&] { UnmapViewOfFile(view); });
// The clean-up must not throw.
template <typename Cleanup> class scope_exit {
public:
    explicit scope_exit(Cleanup cleanup) : cleanup_(std::move(cleanup)) {}
    scope_exit(const scope_exit&) = delete;
    scope_exit& operator=(const scope_exit&) = delete;
    ~scope_exit() { cleanup_(); }

private:
    Cleanup cleanup_;
};

} // namespace ipc
