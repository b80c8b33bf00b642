# Sets up, builds and runs the pairs:      cmake -P demos/run.cmake
# Only one of them:                        cmake -DONLY=01 -P demos/run.cmake
# Record its expected_output.txt:          cmake -DONLY=01 -DRECORD=ON -P demos/run.cmake
# See the calls of both programs:          cmake -DONLY=01 -DTRACE=ON -P demos/run.cmake
# Record them and draw its diagram again:  cmake -DONLY=01 -DTRACE=ON -DRECORD=ON -P demos/run.cmake
# (calls.mmd; -DMORE=ON keeps the diagram, and adds these runs to those that the file knows)
#
# Other options: -DBUILD_DIR=folder (default: build), -DCONFIG=Debug (default: Release), and what
# CMakeLists.txt offers, such as -DIPC_WARNINGS_AS_ERRORS=ON.

cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../common/cmake/setup.cmake")

# The pairs do not need Catch2. A folder that has the tests already keeps them.
set(has_tests OFF)
include("${settings}" OPTIONAL)
if(NOT has_tests)
    set(configure_options -DIPC_DEMOS_ONLY=ON)
endif()

function(build_demos)
    set(build_targets demos)
    if(ONLY)
        set(build_targets ${selected} run_pair wine_prefix)
    endif()
    build()
    set(failure "${failure}" PARENT_SCOPE)
endfunction()

function(run_demos)
    include("${settings}")
    start_wine()
    allow_colours()
    set(rows "PAIR|RESULT|SECONDS")
    set(failed "")
    foreach(pair IN LISTS selected)
        say("Running ${pair}")
        set(runs 1)
        set(options "")
        set(arguments ${run_${pair}})
        if(TRACE)
            set(options --trace "${build}/trace/${pair}")
        endif()
        if(RECORD AND TRACE)
            set(runs 12) # which calls are the same in all of them?
            set(file "${root}/demos/${pair}/calls.mmd")
            list(APPEND options --record-calls "${file}")
            set(arguments ${calls_${pair}})
            if(NOT MORE)
                file(REMOVE "${file}")
            endif()
        elseif(RECORD)
            set(options --record "${root}/demos/${pair}/expected_output.txt")
        endif()
        string(TIMESTAMP pair_start "%s%f")
        set(result 0)
        foreach(run RANGE 1 ${runs})
            if(result EQUAL 0)
                execute_process(COMMAND ${emulator} "${run_pair}" ${options} ${pair} ${arguments}
                    RESULT_VARIABLE result ENCODING UTF8)
            endif()
        endforeach()
        seconds_since(${pair_start} seconds)
        if(result EQUAL 0)
            list(APPEND rows "${pair}|ok|${seconds}")
        elseif(result EQUAL 4) # this system cannot run it; run_pair has shown the reason
            list(APPEND rows "${pair}|left out|${seconds}")
        else()
            list(APPEND rows "${pair}|FAILED|${seconds}")
            list(APPEND failed ${pair})
        endif()
    endforeach()
    print_table(${rows})
    if(failed)
        list(JOIN failed ", " names)
        set(failure "These pairs failed: ${names}. Look at what they printed above." PARENT_SCOPE)
    endif()
endfunction()

foreach(step find_tools configure select_pairs build_demos run_demos)
    if(NOT failure)
        cmake_language(CALL ${step})
    endif()
endforeach()
stop_wine()

if(failure)
    message(FATAL_ERROR "${failure}")
endif()
say("Done")
