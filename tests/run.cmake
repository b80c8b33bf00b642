# Sets up, builds and runs every test:     cmake -P tests/run.cmake
# Only those of one pair:                  cmake -DONLY=01 -P tests/run.cmake
# Check an exercise that you solve:        cmake -DEXERCISE=01.2 -P tests/run.cmake
# (docs/exercises.md lists them)           cmake -DEXERCISE=list -P tests/run.cmake
#
# Other options: as in demos/run.cmake.

cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../common/cmake/setup.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/exercises/exercises.cmake")

set(configure_options -DBUILD_TESTING=ON)
set(results "${build}/test_results.xml")

function(build_tests)
    if(ONLY)
        set(build_targets test_${selected})
    endif()
    build()
    set(failure "${failure}" PARENT_SCOPE)
endfunction()

function(run_tests)
    say("Testing")
    start_wine()
    set(filter "")
    if(ONLY)
        string(SUBSTRING "${selected}" 0 2 number)
        set(filter --tests-regex "^${number}: ")
    endif()
    # Many tests wait for a time limit of a program, and leave the processors to others.
    math(EXPR jobs "2 * ${cores}")
    # Wine fails to start a program about once in several thousand times: the program ends at once
    # and prints nothing. So a test that fails there runs once more, and its first failure is shown.
    set(repeat "")
    if(NOT CMAKE_HOST_WIN32)
        set(repeat --repeat until-pass:2)
    endif()
    file(REMOVE "${results}")
    execute_process(
        COMMAND "${CMAKE_CTEST_COMMAND}" --test-dir "${build}" -C "${CONFIG}" -j ${jobs}
            --output-on-failure --no-tests=error ${repeat} --output-junit "${results}" ${filter}
        RESULT_VARIABLE result ENCODING UTF8)
    if(NOT result EQUAL 0)
        set(failure "Some tests failed: look at their output above. To run one of them again:\n  ctest --test-dir \"${build}\" -C ${CONFIG} --output-on-failure -R \"the name\""
            PARENT_SCOPE)
    endif()
    if(EXISTS "${results}")
        print_results()
    endif()
endfunction()

# One row for each group of tests; a test's group stands in its name in front of the colon.
function(print_results)
    file(READ "${results}" xml)
    # These mean something in a CMake list.
    string(REGEX REPLACE "[][;]" " " xml "${xml}")
    string(REGEX MATCHALL "<testcase name=\"[^\"]*\"[^>]*>[^<]*(<skipped message=\"SKIP_)?" tests "${xml}")
    set(groups "")
    foreach(test IN LISTS tests)
        string(REGEX MATCH "name=\"([^\":]*)" match "${test}")
        set(group "${CMAKE_MATCH_1}")
        if(NOT group IN_LIST groups)
            list(APPEND groups "${group}")
            set(passed_${group} 0)
            set(failed_${group} 0)
            set(skipped_${group} 0)
            set(ms_${group} 0)
        endif()
        if(test MATCHES "status=\"run\"")
            set(outcome passed)
        elseif(test MATCHES "<skipped message=\"SKIP_")
            set(outcome skipped)
        else()
            set(outcome failed)
        endif()
        math(EXPR ${outcome}_${group} "${${outcome}_${group}} + 1")
        if(test MATCHES " time=\"([0-9]+)\\.?([0-9]*)")
            string(SUBSTRING "${CMAKE_MATCH_2}000" 0 3 fraction)
            math(EXPR ms_${group} "${ms_${group}} + ${CMAKE_MATCH_1} * 1000 + 1${fraction} - 1000")
        endif()
    endforeach()
    list(SORT groups)
    set(rows "TESTS|PASSED|FAILED|SKIPPED|SECONDS")
    foreach(group IN LISTS groups)
        math(EXPR whole "${ms_${group}} / 1000")
        math(EXPR tenth "${ms_${group}} / 100 % 10")
        list(APPEND rows
            "${group}|${passed_${group}}|${failed_${group}}|${skipped_${group}}|${whole}.${tenth}")
    endforeach()
    print_table(${rows})
endfunction()

# The tests use the starters as they were; what a learner has made of them is the learner's business.
function(report_changed_exercises)
    set(changed "")
    list_exercises("${root}")
    foreach(id IN LISTS ids)
        read_state("${root}" ${id} "${build}/exercises")
        if(NOT state STREQUAL "untouched")
            list(APPEND changed ${id})
        endif()
    endforeach()
    if(changed)
        list(JOIN changed ", " changed)
        print("You have changed these exercises: ${changed}. The tests used their starters instead of your files.")
    endif()
endfunction()

set(steps find_tools configure select_pairs build_tests run_tests)
if(DEFINED EXERCISE)
    include("${CMAKE_CURRENT_LIST_DIR}/exercises/learner.cmake")
endif()
foreach(step IN LISTS steps)
    if(NOT failure)
        cmake_language(CALL ${step})
    endif()
endforeach()
if(NOT DEFINED EXERCISE)
    # A learner may check a second exercise in another console: there Wine ends by itself.
    stop_wine()
    report_changed_exercises()
endif()

if(failure)
    message(FATAL_ERROR "${failure}")
endif()
say("Done")
