# Rules of the project that no other tool knows:
#   - the visible entries at the top are the ones named here;
#   - common/ stays small: fewer than 400 lines of code, not counting comments, includes, braces;
#   - no test has a name that its program would take for an option;
#   - the servers that share pair 05's client have the same processB.cpp, but for the first line;
#   - demos/ has no Sleep and no INFINITE without a comment, on its line or above it, that says why.

cmake_minimum_required(VERSION 3.25)

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
set(entries_allowed CMakeLists.txt LICENSE README.md common demos docs tests)
set(build_folders "^(build|build-.*|cmake-build-.*|out)$")
set(common_limit 400)
set(failed FALSE)

macro(problem text)
    message("${text}")
    set(failed TRUE)
endmacro()

file(GLOB entries RELATIVE "${root}" "${root}/*")
foreach(entry IN LISTS entries)
    if(NOT entry IN_LIST entries_allowed AND NOT entry MATCHES "^\\." AND NOT entry MATCHES "${build_folders}")
        problem("${entry}: not an entry for the top of the project")
    endif()
endforeach()
foreach(entry IN LISTS entries_allowed)
    if(NOT entry IN_LIST entries)
        problem("${entry}: missing at the top of the project")
    endif()
endforeach()

# Code is read as one string and never as a list, which ; [ and ] in it would break.
set(total 0)
file(GLOB files "${root}/common/*.hpp" "${root}/common/*.cpp")
foreach(file IN LISTS files)
    file(READ "${file}" text)
    string(REGEX REPLACE "[ \t]+" "" text "\n${text}")
    string(REGEX REPLACE "\n//[^\n]*" "\n" text "${text}")
    string(REGEX REPLACE "\n#(include|pragma)[^\n]*" "\n" text "${text}")
    string(REGEX REPLACE "\n[{}();]+(//[^\n]*)?" "\n" text "${text}")
    string(REGEX REPLACE "\n+" "\n" text "${text}\n")
    string(REGEX REPLACE "[^\n]" "" text "${text}")
    string(LENGTH "${text}" lines)
    math(EXPR total "${total} + ${lines} - 1")
endforeach()
message(STATUS "common/: ${total} lines of code")
if(NOT total LESS common_limit)
    problem("common/: ${total} lines of code; it has to stay under ${common_limit}")
endif()

file(GLOB_RECURSE files RELATIVE "${root}" "${root}/demos/*.hpp" "${root}/demos/*.cpp")
foreach(file IN LISTS files)
    file(READ "${root}/${file}" rest)
    set(number 0)
    set(above "")
    while(rest MATCHES "\n")
        string(FIND "${rest}" "\n" length)
        string(SUBSTRING "${rest}" 0 ${length} line)
        math(EXPR length "${length} + 1")
        string(SUBSTRING "${rest}" ${length} -1 rest)
        math(EXPR number "${number} + 1")
        if(NOT line MATCHES "//|/\\*" AND NOT above MATCHES "^[ \t]*//")
            if(line MATCHES "(^|[^A-Za-z0-9_])(INFINITE|(Sleep|sleep_for|sleep_until)\\()")
                problem("${file}:${number}: ${CMAKE_MATCH_2} without a comment that says why")
            endif()
        endif()
        set(above "${line}")
    endwhile()
endforeach()

# A pair stands alone, so each server has its own copy of the client.
file(STRINGS "${root}/demos/05_overlapped_server/processB.cpp" client)
list(REMOVE_AT client 0)
foreach(pair 07_thread_per_client 08_completion_routines 09_completion_port)
    file(STRINGS "${root}/demos/${pair}/processB.cpp" copy)
    list(REMOVE_AT copy 0)
    if(NOT copy STREQUAL client)
        problem("demos/${pair}/processB.cpp: differs from pair 05's in more than its first line")
    endif()
endforeach()

# CTest passes a test's name to its program: one that begins with - would be taken for an option, and
# the program would end well without having tested anything.
file(GLOB files RELATIVE "${root}" "${root}/tests/*/*.[ch]pp")
foreach(file IN LISTS files)
    file(READ "${root}/${file}" text)
    if(text MATCHES "TEST_CASE\\([ \t\n]*\"(-[^\"]*)")
        problem("${file}: a test's name begins with -: ${CMAKE_MATCH_1}")
    endif()
endforeach()

if(failed)
    message(FATAL_ERROR "The rules listed above do not hold.")
endif()
