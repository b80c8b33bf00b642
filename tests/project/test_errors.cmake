# Proves that docs/errors.md has a card for each error code that a program of a pair, a helper or a snippet names, and
# that each test whose sentence a card quotes exists:
#   cmake -P tests/project/test_errors.cmake
# The numbers are checked by test_errors.cpp, the links by docs/update.cmake.

cmake_minimum_required(VERSION 3.25)

cmake_path(SET ROOT NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
set(codes "(ERROR_|WSAE|WSANOT|RPC_S_|RPC_X_|RPC_E_|EPT_S_|CO_E_|MK_E_|CLASS_E_|REGDB_E_|DMLERR_)[A-Z0-9_]*[A-Z0-9]")
set(no_failures ERROR_SUCCESS RPC_S_OK DMLERR_NO_ERROR
    DMLERR_FIRST DMLERR_LAST) # the limits of DDE's numbers
set(problems "")

file(READ "${ROOT}/docs/errors.md" page)
file(GLOB sources RELATIVE "${ROOT}" "${ROOT}/demos/*/*.[ch]pp" "${ROOT}/demos/*/*.idl" "${ROOT}/common/*.[ch]pp"
    "${ROOT}/docs/snippets/*.cpp")
set(count 0)
foreach(source IN LISTS sources)
    file(READ "${ROOT}/${source}" text)
    # A list of CMake cannot hold code, but it can hold the names that the code contains.
    string(REGEX MATCHALL "[A-Za-z0-9_]+" names "${text}")
    list(FILTER names INCLUDE REGEX "^${codes}$")
    list(REMOVE_DUPLICATES names)
    foreach(name IN LISTS names)
        math(EXPR count "${count} + 1")
        if(NOT name IN_LIST no_failures AND NOT page MATCHES "\n## [0-9A-Fx]+ ${name}\n")
            string(APPEND problems "${source}: docs/errors.md has no card for ${name}\n")
        endif()
    endforeach()
endforeach()
if(count LESS 100)
    string(APPEND problems "only ${count} names of codes were found: the search is wrong\n")
endif()

# [test](../tests/pairs/test_01_name.cpp) "Its sentence", on one line or on two
string(REGEX REPLACE "\n +" " " page "${page}")
set(quoted 0)
while(page MATCHES "\\[test\\]\\(\\.\\./([a-z0-9_/.]+)\\) \"([^\"]+)\"(.*)")
    set(file "${CMAKE_MATCH_1}")
    set(sentence "${CMAKE_MATCH_2}")
    set(page "${CMAKE_MATCH_3}")
    math(EXPR quoted "${quoted} + 1")
    set(text "")
    if(EXISTS "${ROOT}/${file}")
        file(READ "${ROOT}/${file}" text)
        string(REGEX REPLACE "\"[ \n]+\"" "" text "${text}") # a long name takes two literals
    endif()
    string(FIND "${text}" "\"${sentence}\"" position)
    if(position EQUAL -1)
        string(APPEND problems "docs/errors.md: ${file} has no test \"${sentence}\"\n")
    endif()
endwhile()
if(quoted LESS 40)
    string(APPEND problems "only ${quoted} quoted tests were found: the search is wrong\n")
endif()

if(NOT problems STREQUAL "")
    message("${problems}")
    message(FATAL_ERROR "docs/errors.md does not show what the programs and the tests are.")
endif()
message("each of ${count} uses of a code has a card; ${quoted} quoted tests exist")
