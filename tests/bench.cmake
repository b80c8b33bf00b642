# Sets up, builds and measures every server:    cmake -P tests/bench.cmake
# Only one of them:                              cmake -DONLY=09 -P tests/bench.cmake
# Only the streams, with the ring of pair 16:    cmake -DONLY=16 -P tests/bench.cmake
#
# The results of a whole run go to docs/benchmarks, and the documents then show them; those of one
# server, or of a quick run, go to <build>/benchmarks.
#
# Other options: -DSECONDS=1 for each point and -DROUNDS=3 of all points, -DQUICK=ON to see that
# everything works, -DOUT=folder for the results, -DPIN=OFF (see below), and what demos/run.cmake
# takes.
#
# Away from Windows everything runs on one processor. Under Wine each call passes through one process
# with one thread, wineserver: a second processor adds little but the time it takes to wake up, and
# figures that vary by a multiple with what happens to run where. -DPIN=OFF uses all processors. The ring
# passes through no other process: it is measured afterwards, with two processors.

cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../common/cmake/setup.cmake")

set(configure_options -DBUILD_TESTING=ON)
set(documents "${root}/docs/benchmarks")
set(fresh "${build}/benchmarks")
if(DEFINED OUT)
    cmake_path(ABSOLUTE_PATH OUT BASE_DIRECTORY "${root}" NORMALIZE)
elseif(ONLY OR QUICK)
    set(OUT "${fresh}")
else()
    set(OUT "${documents}")
endif()

function(build_benchmark)
    set(build_targets bench bench_ring wine_prefix)
    build()
    set(failure "${failure}" PARENT_SCOPE)
endfunction()

# -DONLY=09 measures that server, -DONLY=16 the streams, and without it both are measured.
set(with_servers ON)
set(with_ring ON)
if(ONLY EQUAL 16)
    set(with_servers OFF)
elseif(ONLY)
    set(with_ring OFF)
endif()

# Sets `pin` to the command in front of others that keeps them on one processor.
function(choose_processor)
    set(pin "")
    on_path(taskset taskset)
    if(NOT CMAKE_HOST_WIN32 AND taskset AND (PIN OR NOT DEFINED PIN))
        math(EXPR last "${cores} - 1") # the first one often has the interrupts
        set(pin "${taskset}" --cpu-list ${last})
    endif()
    set(pin "${pin}" PARENT_SCOPE)
endfunction()

# As start_wine() does it, with Wine's own processes on that processor, too.
function(start_pinned_wine)
    include("${settings}")
    if(wineserver)
        # One that another run has left ends by itself some seconds after its last program.
        execute_process(COMMAND ${wineserver} -w TIMEOUT 30 OUTPUT_QUIET ERROR_QUIET)
        set(EMULATOR ${pin} ${emulator})
        set(WINESERVER ${pin} ${wineserver})
        set(LOG "${build}/wine.log")
        include("${root}/common/cmake/start_wine.cmake")
    endif()
endfunction()

# What a reader has to know of the machine, and nothing that tells which one it is.
function(describe_machine out)
    cmake_host_system_information(RESULT processor QUERY PROCESSOR_DESCRIPTION)
    cmake_host_system_information(RESULT mebibytes QUERY TOTAL_PHYSICAL_MEMORY)
    cmake_host_system_information(RESULT system QUERY DISTRIB_PRETTY_NAME)
    if(NOT system)
        cmake_host_system_information(RESULT name QUERY OS_NAME)
        cmake_host_system_information(RESULT release QUERY OS_RELEASE)
        set(system "${name} ${release}")
    endif()
    string(STRIP "${processor}" processor)
    math(EXPR gibibytes "(${mebibytes} + 512) / 1024")
    set(used "")
    if(pin)
        set(used " (one of them used)")
    endif()
    set(${out}
        "${processor}, ${cores} logical processors${used}, ${gibibytes} GiB of memory, ${system}"
        PARENT_SCOPE)
endfunction()

function(run_benchmark)
    file(REMOVE_RECURSE "${fresh}")
    file(MAKE_DIRECTORY "${fresh}")
    if(NOT with_servers)
        return()
    endif()
    say("Measuring the servers")
    include("${settings}")
    choose_processor()
    start_pinned_wine()
    describe_machine(machine)
    cmake_path(GET run_pair PARENT_PATH folder)
    set(options "")
    if(SECONDS)
        list(APPEND options --seconds ${SECONDS})
    endif()
    if(ROUNDS)
        list(APPEND options --rounds ${ROUNDS})
    endif()
    if(QUICK)
        list(APPEND options --quick)
    endif()
    if(ONLY)
        list(APPEND options --only ${ONLY})
    endif()
    # From inside the folder: a path of Linux would mean something else to a program under Wine.
    execute_process(
        COMMAND ${pin} ${emulator} "${folder}/bench.exe" --out . --machine "${machine}" ${options}
        WORKING_DIRECTORY "${fresh}"
        RESULT_VARIABLE result ENCODING UTF8)
    if(NOT result EQUAL 0)
        set(failure "The benchmark failed: look at what it printed above. What it measured is in ${fresh}."
            PARENT_SCOPE)
    endif()
endfunction()

function(run_ring_benchmark)
    if(NOT with_ring)
        return()
    endif()
    say("Measuring the streams")
    include("${settings}")
    stop_wine()
    set(pin "")
    start_pinned_wine()
    describe_machine(machine)
    cmake_path(GET run_pair PARENT_PATH folder)
    set(options "")
    if(SECONDS)
        list(APPEND options --ms ${SECONDS}000)
    endif()
    if(ROUNDS)
        list(APPEND options --rounds ${ROUNDS})
    endif()
    if(QUICK)
        set(options --ms 100 --rounds 1)
    endif()
    execute_process(
        COMMAND ${emulator} "${folder}/bench_ring.exe" --out . --machine "${machine}" ${options}
        WORKING_DIRECTORY "${fresh}"
        RESULT_VARIABLE result ENCODING UTF8)
    if(NOT result EQUAL 0)
        set(failure "The benchmark of the streams failed: look at what it printed above." PARENT_SCOPE)
    endif()
endfunction()

function(keep_results)
    if(NOT OUT STREQUAL fresh)
        file(COPY "${fresh}/" DESTINATION "${OUT}")
    endif()
    if(OUT STREQUAL documents)
        if(with_servers)
            # The table's links are right in docs/, where the page stands that includes it.
            file(RENAME "${OUT}/table.md" "${root}/docs/server_table.md")
        endif()
        execute_process(COMMAND "${CMAKE_COMMAND}" -P "${root}/docs/update.cmake"
            RESULT_VARIABLE result ENCODING UTF8)
        if(NOT result EQUAL 0)
            set(failure "The documents could not be updated: see the list above." PARENT_SCOPE)
        endif()
    endif()
    say("The results are in ${OUT}")
endfunction()

foreach(step find_tools configure build_benchmark run_benchmark run_ring_benchmark keep_results)
    if(NOT failure)
        cmake_language(CALL ${step})
    endif()
endforeach()
stop_wine()

if(failure)
    message(FATAL_ERROR "${failure}")
endif()
say("Done")
