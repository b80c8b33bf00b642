#pragma once

// What the lines of functions.inc mean. The DLL and the report share it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ipc::trace {

constexpr std::size_t most_parameters = 12; // of a call that are recorded

// What a parameter is, and so how the record keeps it and the report shows it.
enum class kind : std::uint8_t {
    hidden, // says little: it is recorded and not shown
    handle,
    closed,      // a handle that is not valid after the call
    source,      // a handle of the process in the parameter before it
    handles,     // an array, its length in the parameter before it
    handle_out,  // the address of a handle
    port_file,   // INVALID_HANDLE_VALUE: no file
    mapped_file, // INVALID_HANDLE_VALUE: the paging file
    port_or_null,
    name,
    command,
    number,
    number_out,
    bytes,
    count_out,
    process_id,
    process_id_out,
    data_in,  // bytes; the result says how many were used
    data_out, // likewise
    overlapped,
    overlapped_out,
    security, // SECURITY_ATTRIBUTES
    inherited,
    process_info,
    wait, // milliseconds
    pipe_wait,
    may_wait,
    wait_all,
    alertable,
    reset_kind,
    initially_set,
    initially_owned,
    standard_id,
    access,
    disposition,
    file_flags,
    pipe_open_mode,
    pipe_mode,
    pipe_mode_pointer,
    process_flags,
    duplicate_flags,
    handle_flags,
    token_out,
    shutdown_how,
    window, // of these two, the numbers are not those of handles
    opaque,
    message,
    clipboard_format,
    transaction,
};

// What a result is, and so which values mean a failure and what a new handle is called.
enum class result_kind : std::uint8_t {
    nothing,
    boolean,
    quiet, // FALSE is of no interest
    count,
    wait_result,
    sleep,
    file_type,
    standard_handle,
    view,
    process, // CreateProcessW and OpenProcess
    job,
    pipe_server,
    file,
    mailslot,
    completion_port,
    mapping,
    event,
    mutex,
    semaphore,
    runtime_object,
    thread,
    socket,
    socket_call,   // SOCKET_ERROR
    transferred,   // SOCKET_ERROR, or the number of bytes
    sockets_ready, // SOCKET_ERROR, or how many
    new_window,
    value, // 0 is a failure; another value says nothing
    quiet_value,
    status, // the error itself
    hresult,
    conversation,
    service_manager,
    service,
};

struct function {
    std::string_view name;
    result_kind result{};
    std::array<kind, most_parameters> parameters{};
    std::size_t parameter_count = 0;
};

template <typename... Kinds>
constexpr function make_function(std::string_view name, result_kind result, Kinds... kinds) {
    return {name, result, {kinds...}, sizeof...(kinds)};
}

// The numbers of the functions: ReadFile_index, ...
enum : std::size_t {
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): a table that two lists are made of
#define TRACED(name, ...) name##_index,
#include "tests/tracer/functions.inc"
#undef TRACED
    function_count
};

constexpr std::array<function, function_count> make_functions() {
    using enum kind;
    using enum result_kind;
    return {
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): a table that two lists are made of
#define TRACED(name, ...) make_function(#name, __VA_ARGS__),
#include "tests/tracer/functions.inc"
#undef TRACED
    };
}

inline constexpr std::array<function, function_count> functions = make_functions();

} // namespace ipc::trace
