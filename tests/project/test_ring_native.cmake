# Builds the ring of pair 16 for this system with a native compiler and its ThreadSanitizer, and runs it:
#   cmake -DSCRATCH=folder -P tests/project/test_ring_native.cmake
# No other part of the project needs that compiler. Without one, the test prints SKIPPED and the reason.

cmake_minimum_required(VERSION 3.25)

cmake_path(SET root NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
file(MAKE_DIRECTORY "${SCRATCH}")
set(program "${SCRATCH}/ring_native")
set(reasons "no g++ and no clang++")
foreach(compiler g++ clang++)
    unset(found)
    find_program(found NAMES ${compiler} NO_CACHE)
    if(NOT found)
        continue()
    endif()
    # A compiler can lack the sanitizer's library, and a system can refuse what it needs to start.
    file(WRITE "${SCRATCH}/probe.cpp" "#include <version>\n#ifndef __cpp_lib_span\n#error\n#endif\nint main() {}\n")
    set(options -std=c++20 -O1 -g -fsanitize=thread -pthread)
    execute_process(COMMAND "${found}" ${options} "${SCRATCH}/probe.cpp" -o "${SCRATCH}/probe"
        RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
    if(result EQUAL 0)
        execute_process(COMMAND "${SCRATCH}/probe" RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
    endif()
    if(NOT result EQUAL 0)
        string(APPEND reasons ", or ${compiler} without -fsanitize=thread")
        continue()
    endif()
    execute_process(
        COMMAND "${found}" ${options} -Wall -Wextra -Werror "-I${root}" "${root}/tests/project/ring_native.cpp"
            -o "${program}"
        COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND "${CMAKE_COMMAND}" -E env TSAN_OPTIONS=halt_on_error=1 "${program}"
        RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "The ring failed as a native program of ${compiler}: ${result}")
    endif()
    return()
endforeach()
message("SKIPPED: ${reasons}")
