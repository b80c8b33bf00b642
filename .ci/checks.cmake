# Every check of the project, one step after the other. A step that fails does not stop the others;
# the table at the end shows all of them, and the exit code is not 0 if one failed.
# The two commands of the README come first: they have to install what they need themselves.

cmake_minimum_required(VERSION 3.25)

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
string(TIMESTAMP started "%s")
set(table "")
set(failed "")

# step("name" <seconds allowed> [EXPECT <text that the output must hold>] [INPUT <file>] COMMAND ...)
# runs a command in the project's folder, shows its output as it comes, and notes the result.
function(step name limit)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "EXPECT;INPUT" "COMMAND")
    string(TIMESTAMP before "%s")
    math(EXPR elapsed "${before} - ${started}")
    message(STATUS "")
    message(STATUS "==== [${elapsed} s] ${name}")

    set(options "")
    if(arg_INPUT)
        list(APPEND options INPUT_FILE "${arg_INPUT}")
    endif()
    if(arg_EXPECT)
        list(APPEND options OUTPUT_VARIABLE output ERROR_VARIABLE output ECHO_OUTPUT_VARIABLE ECHO_ERROR_VARIABLE)
    endif()
    execute_process(COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${root}" TIMEOUT ${limit}
        RESULT_VARIABLE result ${options})

    string(TIMESTAMP after "%s")
    math(EXPR seconds "${after} - ${before}")
    if(NOT result STREQUAL "0")
        set(result "FAILED: ${result}") # an exit code, or a sentence such as "... due to timeout"
    else()
        set(result "passed")
        if(arg_EXPECT)
            string(FIND "${output}" "${arg_EXPECT}" position)
            if(position EQUAL -1)
                set(result "FAILED: no '${arg_EXPECT}' in its output")
            endif()
        endif()
    endif()
    note("${name}" "${result}" ${seconds})
    set(table "${table}" PARENT_SCOPE)
    set(failed "${failed}" PARENT_SCOPE)
endfunction()

# Adds a line to the table.
macro(note name result seconds)
    set(row "${name}                                        ")
    string(SUBSTRING "${row}" 0 40 row)
    set(time "     ${seconds}")
    string(LENGTH "${time}" length)
    math(EXPR length "${length} - 5")
    string(SUBSTRING "${time}" ${length} 5 time)
    string(APPEND table "${row}${time} s   ${result}\n")
    message(STATUS "==== ${name}: ${result} (${seconds} s)")
    if(NOT "${result}" STREQUAL "passed")
        list(APPEND failed "${name}")
    endif()
endmacro()

# ---- the two commands of the README, on the checkout as it is

step("README: run every pair" 900 COMMAND "${CMAKE_COMMAND}" -P demos/run.cmake)
step("README: run every test" 1800 EXPECT "100% tests passed" COMMAND "${CMAKE_COMMAND}" -P tests/run.cmake)

# ---- tools, and what reads the sources only

set(missing "")
foreach(package clang clang-format clang-tidy clangd cppcheck lld ninja-build socat)
    string(REGEX REPLACE "-build$" "" program "${package}")
    find_program(found_${program} NAMES ${program})
    if(NOT found_${program})
        list(APPEND missing ${package})
    endif()
endforeach()
if(missing)
    step("refresh the package list" 300 COMMAND apt-get update)
    step("install the checking tools" 600 COMMAND apt-get install -y --no-install-recommends ${missing})
endif()

file(GLOB sources RELATIVE "${root}" "${root}/common/*.[ch]pp" "${root}/demos/*/*.[ch]pp"
    "${root}/demos/*/exercises/*/*.[ch]pp" "${root}/docs/snippets/*.cpp" "${root}/tests/*/*.[ch]pp" "${root}/tests/exercises/*/*.cpp")
step("layout and rules" 20 COMMAND "${CMAKE_COMMAND}" -P .ci/rules.cmake)
step("clang-format" 60 COMMAND clang-format --dry-run -Werror ${sources})
step("cppcheck" 300 COMMAND cppcheck --quiet -j ${cores} --error-exitcode=1
    --enable=warning,style,performance,portability --inline-suppr
    --suppressions-list=.ci/cppcheck.txt --std=c++20 --platform=win64 --library=windows
    -DUNICODE -D_UNICODE -I . common demos docs tests)

# ---- Clang: another compiler's warnings, and the checks of .clang-tidy with the commands of its build

# Catch2 was downloaded for the tests above; each further build folder takes its archive from there.
file(GLOB archives "${root}/build/downloads/*.tar.gz")
foreach(folder build-clang build-ubsan)
    if(archives)
        file(COPY ${archives} DESTINATION "${root}/${folder}/downloads")
    endif()
endforeach()

file(REMOVE "${root}/build-clang/compile_commands.json")
# Without optimisation: nobody runs this build, and Clang's warnings are the same.
step("Clang: configure" 300 COMMAND "${CMAKE_COMMAND}" -B build-clang -G Ninja -DIPC_CLANG=ON
    -DIPC_WARNINGS_AS_ERRORS=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DCMAKE_CXX_FLAGS_RELEASE=-DNDEBUG)
if(EXISTS "${root}/build-clang/compile_commands.json")
    # The project's own files among the compile commands; Catch2's stand in the build folder.
    file(READ "${root}/build-clang/compile_commands.json" commands)
    string(JSON count LENGTH "${commands}")
    math(EXPR last "${count} - 1")
    set(files "")
    set(targets "")
    foreach(index RANGE ${last})
        string(JSON file GET "${commands}" ${index} file)
        string(JSON command GET "${commands}" ${index} command)
        # A starter is its solution but for a few lines, which are wrong on purpose.
        if(NOT file MATCHES "^${root}/(build|demos/[^/]*/exercises/)")
            list(APPEND files "${file}")
        endif()
        # Nobody runs the tests of this build, and clangd shows their warnings.
        string(REGEX REPLACE "^.*CMakeFiles/([^/]+)\\.dir/.*$" "\\1" target "${command}")
        if(NOT target MATCHES "^(test_|Catch2|exercise_|starter_)")
            list(APPEND targets "${target}")
        endif()
    endforeach()
    list(REMOVE_DUPLICATES files)
    list(REMOVE_DUPLICATES targets)
    step("Clang: build" 900 COMMAND "${CMAKE_COMMAND}" --build build-clang --target ${targets})

    # clang-tidy 14 applies every check to every declaration of the system's headers, too, and then drops what
    # it finds there. clangd applies the same checks (and the compiler's warnings) to the file alone: five times
    # as fast. It leaves out what needs the whole program: clang-analyzer-* and bugprone-use-after-move. So there
    # are three lists:
    #   clangd    every source, and every header as a file of its own
    #   analyze   those two, by clang-tidy, for all that is not a test
    #   tidy      all checks, by clang-tidy: a test whose header holds test cases (Catch2 counts them with
    #             __COUNTER__, which starts again behind the headers that clangd reads beforehand), and a test
    #             with NOLINTBEGIN, which clangd 14 does not know
    file(GLOB headers "${root}/common/*.hpp" "${root}/demos/*/*.hpp" "${root}/tests/*/*.hpp")
    set(clangd "")
    set(analyze "")
    set(tidy "")
    foreach(file IN LISTS files headers)
        file(SIZE "${file}" size)
        file(READ "${file}" content)
        set(entry "${size}|${file}")
        if(file MATCHES "\\.hpp$")
            if(NOT content MATCHES "catch2/|TEST_CASE") # read with the tests that include it
                list(APPEND clangd "${entry}")
            endif()
        elseif(content MATCHES "(server_suite|socket_suite|queued_requests)\\.hpp\"|NOLINTBEGIN")
            list(APPEND tidy "${entry}")
        else()
            list(APPEND clangd "${entry}")
            if(NOT file MATCHES "/(test|check)_[^/]*$")
                list(APPEND analyze "${entry}")
            endif()
        endif()
    endforeach()
    foreach(name clangd analyze tidy)
        # The largest first: no processor is left waiting for a large file at the end.
        list(SORT ${name} COMPARE NATURAL ORDER DESCENDING)
        list(TRANSFORM ${name} REPLACE "^[0-9]+\\|" "")
        list(JOIN ${name} "\n" lines)
        file(WRITE "${root}/build-clang/${name}.txt" "${lines}\n")
    endforeach()
    set(each xargs -d "\\n" -n 1 -P ${cores})
    set(clang_tidy clang-tidy --quiet --config-file=.clang-tidy -p build-clang
        # 8,000 lines of findings in the processor's intrinsic functions
        --extra-arg=-D__X86INTRIN_H)
    step("clangd" 1200 INPUT "${root}/build-clang/clangd.txt" COMMAND ${each}
        sh -c "clangd --check=\"$1\" --check-lines=1-1 --clang-tidy --compile-commands-dir=build-clang --log=error || { echo \"in $1\"; exit 1; }" clangd)
    step("clang-analyzer" 1200 INPUT "${root}/build-clang/analyze.txt" COMMAND ${each}
        ${clang_tidy} "--checks=-*,clang-analyzer-*,bugprone-use-after-move")
    step("clang-tidy" 900 INPUT "${root}/build-clang/tidy.txt" COMMAND ${each} ${clang_tidy})
else()
    note("Clang: build" "FAILED: not configured" 0)
    note("clangd" "FAILED: not configured" 0)
endif()

# ---- the tests once more, with programs that stop at undefined behaviour

step("UBSan: run every test" 1800 EXPECT "100% tests passed"
    COMMAND "${CMAKE_COMMAND}" -DBUILD_DIR=build-ubsan -DIPC_SANITIZE=ON -P tests/run.cmake)

string(TIMESTAMP ended "%s")
math(EXPR elapsed "${ended} - ${started}")
message("\n${table}")
if(failed)
    list(JOIN failed ", " failed)
    message(FATAL_ERROR "Failed after ${elapsed} s: ${failed}")
endif()
message("Everything passed in ${elapsed} s.")
