# add_demo(NN_technique [ALONE] [OWN_CLIPBOARD] [LIBRARIES library...] [RUN argument...])
#
# Builds demos/NN_technique/processA.cpp and processB.cpp, and the target NN_technique for both.
#   LIBRARIES  what both link to besides common/, for example ws2_32
#   ALONE      only A is started by the launcher; A starts B
#   OWN_CLIPBOARD  its test keeps off the user's clipboard, and is skipped if it cannot
#   RUN        what follows the pair's name in the launcher's command line: A's arguments, and
#              for each B to start a -- with its arguments. Without RUN: one B, no arguments.
function(add_demo pair)
    cmake_parse_arguments(PARSE_ARGV 1 arg "ALONE;OWN_CLIPBOARD" "" "LIBRARIES;RUN")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "add_demo(${pair}): what is ${arg_UNPARSED_ARGUMENTS}?")
    endif()
    string(SUBSTRING "${pair}" 0 2 number)
    foreach(process A B)
        if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${pair}/process${process}.cpp")
            message(FATAL_ERROR "add_demo(${pair}): demos/${pair}/process${process}.cpp is missing. "
                "See docs/adding_a_pair.md, \"The programs\".")
        endif()
    endforeach()

    add_custom_target(${pair})
    foreach(process A B)
        add_executable(${pair}_${process} ${pair}/process${process}.cpp)
        target_link_libraries(${pair}_${process} PRIVATE ipc_program ipc_common ${arg_LIBRARIES})
        set_target_properties(${pair}_${process} PROPERTIES
            OUTPUT_NAME process${process}
            RUNTIME_OUTPUT_DIRECTORY "${IPC_BIN}/${pair}"
            FOLDER "${pair}")
        add_dependencies(${pair} ${pair}_${process})
    endforeach()

    set(run ${arg_RUN})
    if(NOT arg_RUN AND NOT arg_ALONE)
        set(run --)
    endif()
    set_property(GLOBAL APPEND PROPERTY IPC_PAIRS ${pair})
    set_property(GLOBAL PROPERTY IPC_RUN_${pair} "${run}")

    if(BUILD_TESTING)
        set(test "${number}: the built-in run prints expected_output.txt")
        set(clipboard "")
        if(arg_OWN_CLIPBOARD)
            set(clipboard --own-clipboard)
        endif()
        add_test(NAME "${test}" COMMAND run_pair ${clipboard}
            --expect "${CMAKE_CURRENT_SOURCE_DIR}/${pair}/expected_output.txt" ${pair} ${run})
        # run_pair's line when this system cannot run the pair
        set_tests_properties("${test}" PROPERTIES TIMEOUT 120 SKIP_REGULAR_EXPRESSION "run_pair: left out: ")
        if(arg_OWN_CLIPBOARD)
            set_tests_properties("${test}" PROPERTIES RESOURCE_LOCK clipboard)
        endif()
    endif()
endfunction()

# Writes <build>/run/<Config>.cmake, where demos/run.cmake and tests/run.cmake read what there is
# to run and how.
function(write_run_settings)
    get_property(pairs GLOBAL PROPERTY IPC_PAIRS)
    set(content "# Written by CMake for the run scripts.\n")
    string(APPEND content "set(pairs [==[${pairs}]==])\n")
    foreach(pair IN LISTS pairs)
        get_property(run GLOBAL PROPERTY IPC_RUN_${pair})
        string(APPEND content "set(run_${pair} [==[${run}]==])\n")
    endforeach()
    string(APPEND content
        "set(run_pair [==[$<TARGET_FILE:run_pair>]==])\n"
        "set(emulator [==[${CMAKE_CROSSCOMPILING_EMULATOR}]==])\n"
        "set(wineserver [==[${IPC_WINESERVER_COMMAND}]==])\n"
        "set(has_tests ${BUILD_TESTING})\n")
    file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/run/$<CONFIG>.cmake" CONTENT "${content}")
endfunction()

# Writes the same for a test: a C++ header with one list of texts for each pair, the pair's name first.
function(write_pairs_header file)
    get_property(pairs GLOBAL PROPERTY IPC_PAIRS)
    set(content "// Written by CMake from demos/CMakeLists.txt.\n#include <string>\n#include <vector>\n\n")
    string(APPEND content "const std::vector<std::vector<std::wstring>> pairs = {\n")
    foreach(pair IN LISTS pairs)
        get_property(run GLOBAL PROPERTY IPC_RUN_${pair})
        string(APPEND content "    {LR\"(${pair})\"")
        foreach(argument IN LISTS run)
            string(APPEND content ", LR\"(${argument})\"")
        endforeach()
        string(APPEND content "},\n")
    endforeach()
    string(APPEND content "};\n")
    file(CONFIGURE OUTPUT "${file}" CONTENT "@content@" @ONLY)
endfunction()
