include("${CMAKE_CURRENT_LIST_DIR}/add_idl.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/precompiled.cmake")

# add_demo(NN_technique [ALONE] [OWN_CLIPBOARD] [IDL COM|RPC] [LIBRARIES library...] [RUN argument...]
#          [CALLS argument...])
#
# Builds demos/NN_technique/processA.cpp and processB.cpp, and the target NN_technique for both.
#   LIBRARIES  what both link to besides common/, for example ws2_32
#   IDL        its folder has an .idl file: A and B get the code that add_idl() makes from it. Without an IDL
#              compiler, the pair is left out.
#   ALONE      only A is started by the launcher; A starts B
#   OWN_CLIPBOARD  its test keeps off the user's clipboard, and is skipped if it cannot
#   RUN        what follows the pair's name in the launcher's command line: A's arguments, and
#              for each B to start a -- with its arguments. Without RUN: one B, no arguments.
#   CALLS      the same for the run whose calls are recorded in calls.mmd, if it is another
function(add_demo pair)
    cmake_parse_arguments(PARSE_ARGV 1 arg "ALONE;OWN_CLIPBOARD" "IDL" "LIBRARIES;RUN;CALLS")
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

    set(stub_A "")
    set(stub_B "")
    if(arg_IDL)
        find_idl_compiler(compiler)
        if(NOT compiler)
            return()
        endif()
        add_idl(${pair} ${arg_IDL})
        if(arg_IDL STREQUAL "COM")
            set(stub_A ${pair}_proxy)
            set(stub_B ${pair}_proxy)
        else()
            set(stub_A ${pair}_server)
            set(stub_B ${pair}_client)
        endif()
    endif()

    add_custom_target(${pair})
    foreach(process A B)
        add_executable(${pair}_${process} ${pair}/process${process}.cpp)
        target_link_libraries(${pair}_${process} PRIVATE ipc_program ipc_common ${stub_${process}} ${arg_LIBRARIES})
        use_precompiled(${pair}_${process} program_headers)
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
    set(calls ${arg_CALLS})
    if(NOT arg_CALLS)
        set(calls ${run})
    endif()
    set_property(GLOBAL PROPERTY IPC_CALLS_${pair} "${calls}")

    if(BUILD_TESTING)
        set(clipboard "")
        set(locks pair_${number}) # both tests use the names that the pair has without --name
        if(arg_OWN_CLIPBOARD)
            set(clipboard --own-clipboard)
            list(APPEND locks clipboard)
        endif()
        set(tests "${number}: the built-in run prints expected_output.txt")
        add_test(NAME "${tests}" COMMAND run_pair ${clipboard}
            --expect "${CMAKE_CURRENT_SOURCE_DIR}/${pair}/expected_output.txt" ${pair} ${run})
        set(calls_file "${CMAKE_CURRENT_SOURCE_DIR}/${pair}/calls.mmd")
        if(EXISTS "${calls_file}" AND NOT IPC_SANITIZE)
            list(APPEND tests "${number}: the programs make the calls that are recorded in calls.mmd")
            list(GET tests 1 test)
            add_test(NAME "${test}" COMMAND run_pair ${clipboard} --trace "${PROJECT_BINARY_DIR}/trace/${pair}.test"
                --calls "${calls_file}" ${pair} ${calls})
        endif()
        # run_pair's line when this system cannot run the pair
        set_tests_properties(${tests} PROPERTIES TIMEOUT 120 RESOURCE_LOCK "${locks}"
            SKIP_REGULAR_EXPRESSION "run_pair: left out: ")
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
        get_property(calls GLOBAL PROPERTY IPC_CALLS_${pair})
        string(APPEND content "set(calls_${pair} [==[${calls}]==])\n")
    endforeach()
    # For the report of a test run.
    set(compiler "${CMAKE_CXX_COMPILER_ID}")
    if(compiler STREQUAL "GNU")
        set(compiler GCC)
    endif()
    if(MINGW)
        string(PREPEND compiler "MinGW-w64 ")
    endif()
    math(EXPR bits "8 * ${CMAKE_SIZEOF_VOID_P}")
    string(APPEND compiler " ${CMAKE_CXX_COMPILER_VERSION}, ${bits}-bit, $<CONFIG>")
    if(IPC_SANITIZE)
        string(APPEND compiler ", stops at undefined behaviour")
    endif()
    string(APPEND content
        "set(compiler [==[${compiler}]==])\n"
        "set(cmake_generator [==[${CMAKE_GENERATOR}]==])\n"
        "set(run_pair [==[$<TARGET_FILE:run_pair>]==])\n"
        "set(trace_report [==[$<TARGET_FILE:trace_report>]==])\n"
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
