# What demos/run.cmake and tests/run.cmake share: the tools, the build folder, Wine, the table.
#
# A step that cannot go on sets `failure` for its caller to a text that says what to look at. The
# scripts end with that text at their top level, where CMake shows it without a call stack.

cmake_path(SET root NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
string(REGEX REPLACE "/$" "" root "${root}")

# CMake itself takes -D only in front of -P; here it may also follow.
foreach(i RANGE 1 ${CMAKE_ARGC})
    if("${CMAKE_ARGV${i}}" MATCHES "^-D([A-Za-z_0-9]+)(:[A-Z]+)?=(.*)$")
        set(${CMAKE_MATCH_1} "${CMAKE_MATCH_3}")
    endif()
endforeach()

if(NOT BUILD_DIR)
    set(BUILD_DIR build)
endif()
if(NOT CONFIG)
    set(CONFIG Release)
endif()
cmake_path(ABSOLUTE_PATH BUILD_DIR BASE_DIRECTORY "${root}" NORMALIZE OUTPUT_VARIABLE build)
set(settings "${build}/run/${CONFIG}.cmake") # written by common/cmake/add_demo.cmake
if(DEFINED ENV{CI} AND NOT DEFINED IPC_WARNINGS_AS_ERRORS)
    set(IPC_WARNINGS_AS_ERRORS ON)
endif()
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
string(TIMESTAMP start "%s%f")

# ---- Printing ----------------------------------------------------------------------------------

# Tenths of a second since `since`, as text.
function(seconds_since since out)
    string(TIMESTAMP now "%s%f")
    math(EXPR tenths "(${now} - ${since} + 50000) / 100000")
    math(EXPR whole "${tenths} / 10")
    math(EXPR rest "${tenths} % 10")
    set(${out} "${whole}.${rest}" PARENT_SCOPE)
endfunction()

# message() would print to the error stream, or two dashes in front.
#
# ENCODING: on Windows execute_process() decodes what a program prints, by default from the console's
# code page (policy CMP0176). CMake and our programs print UTF-8; compilers print in the code page.
function(print text)
    execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${text}" ENCODING UTF8)
endfunction()

function(say text)
    seconds_since(${start} elapsed)
    print("[${elapsed} s] ${text}")
endfunction()

# Each row is one argument with its cells separated by |.
function(format_table out)
    foreach(row IN LISTS ARGN)
        string(REPLACE "|" ";" cells "${row}")
        set(column 0)
        foreach(cell IN LISTS cells)
            string(LENGTH "${cell}" length)
            if(NOT DEFINED width_${column} OR length GREATER width_${column})
                set(width_${column} ${length})
            endif()
            math(EXPR column "${column} + 1")
        endforeach()
    endforeach()
    set(text "")
    foreach(row IN LISTS ARGN)
        string(REPLACE "|" ";" cells "${row}")
        set(column 0)
        foreach(cell IN LISTS cells)
            string(LENGTH "${cell}" length)
            math(EXPR gap "${width_${column}} - ${length} + 2")
            string(REPEAT " " ${gap} spaces)
            string(APPEND text "${cell}${spaces}")
            math(EXPR column "${column} + 1")
        endforeach()
        string(APPEND text "\n")
    endforeach()
    set(${out} "${text}" PARENT_SCOPE)
endfunction()

function(print_table)
    format_table(text ${ARGN})
    print("\n${text}")
endfunction()

# A program that CMake starts sees a pipe, never the terminal; this tells it that colours are welcome.
function(allow_colours)
    if(EXISTS /proc/self/fd/1 AND NOT DEFINED ENV{NO_COLOR})
        file(READ_SYMLINK /proc/self/fd/1 output)
        if(output MATCHES "^/dev/(pts|tty)")
            set(ENV{CLICOLOR_FORCE} 1)
        endif()
    endif()
endfunction()

# ---- Step: the tools ---------------------------------------------------------------------------

# Looks for a program as a shell would: along PATH.
function(on_path out)
    find_program(found NAMES ${ARGN} NO_DEFAULT_PATH PATHS ENV PATH NO_CACHE)
    if(found)
        set(${out} "${found}" PARENT_SCOPE)
    else()
        set(${out} "" PARENT_SCOPE)
    endif()
endfunction()

# Which Debian packages are missing.
function(missing_packages out)
    set(packages "")
    on_path(gxx x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++)
    set(macros "")
    if(gxx)
        # With win32 threads, g++ may have no std::jthread.
        execute_process(COMMAND "${gxx}" -std=c++20 -x c++ -include version -dM -E /dev/null
            OUTPUT_VARIABLE macros ERROR_QUIET)
    endif()
    if(NOT macros MATCHES "__cpp_lib_jthread")
        list(APPEND packages g++-mingw-w64-x86-64-posix)
    endif()
    if(IPC_CLANG)
        on_path(clang clang++)
        on_path(lld ld.lld)
        if(NOT clang OR NOT lld)
            list(APPEND packages clang lld)
        endif()
    endif()
    on_path(widl x86_64-w64-mingw32-widl widl)
    if(NOT widl)
        list(APPEND packages mingw-w64-tools)
    endif()
    on_path(wine wine wine64)
    if(NOT wine)
        list(APPEND packages wine)
    endif()
    on_path(ninja ninja)
    if(NOT ninja AND NOT DEFINED ENV{CMAKE_GENERATOR})
        list(APPEND packages ninja-build)
    endif()
    set(${out} "${packages}" PARENT_SCOPE)
endfunction()

function(find_tools)
    if(CMAKE_HOST_WIN32)
        find_tools_on_windows()
    else()
        find_tools_elsewhere()
    endif()
    set(generator "${generator}" PARENT_SCOPE)
    set(platform "${platform}" PARENT_SCOPE)
    set(failure "${failure}" PARENT_SCOPE)
endfunction()

# Sets `generator` and `platform` to what CMake is told with -G and -A. CMake's own choice is not good
# enough: without a generator for the Visual Studio that is installed, it takes NMake and fails.
function(find_tools_on_windows)
    if(DEFINED ENV{CMAKE_GENERATOR})
        return()
    endif()
    visual_studio_generator(visual_studio unknown)
    on_path(gxx g++)
    on_path(ninja ninja)
    on_path(make mingw32-make)
    if(visual_studio)
        set(generator "${visual_studio}" PARENT_SCOPE)
        set(platform x64 PARENT_SCOPE)
    elseif(gxx AND ninja)
        set(generator Ninja PARENT_SCOPE)
    elseif(gxx AND make)
        set(generator "MinGW Makefiles" PARENT_SCOPE)
    elseif(unknown)
        set(failure "CMake ${CMAKE_VERSION} does not know Visual Studio ${unknown}, which is installed here: install a newer CMake (Visual Studio 2026, version 18, needs CMake 4.2), or run this in Visual Studio's own Developer Command Prompt, which has a CMake that fits."
            PARENT_SCOPE)
    elseif(gxx)
        set(failure "${gxx} was found, but neither ninja nor mingw32-make: put one of them on PATH, too (in MSYS2: pacman -S mingw-w64-ucrt-x86_64-ninja)."
            PARENT_SCOPE)
    else()
        set(failure "No C++ compiler was found: install Visual Studio 2022 with \"Desktop development with C++\", or put MinGW-w64 (g++ with posix threads, and ninja or mingw32-make) on PATH."
            PARENT_SCOPE)
    endif()
endfunction()

# Sets `out` to CMake's generator for the newest Visual Studio that is installed and that this CMake
# knows, or to nothing. `unknown` is then the version of one that it does not know, if there is one.
function(visual_studio_generator out unknown)
    set(${out} "" PARENT_SCOPE)
    set(${unknown} "" PARENT_SCOPE)
    set(program_files "ProgramFiles(x86)")
    set(vswhere "$ENV{${program_files}}/Microsoft Visual Studio/Installer/vswhere.exe")
    if(NOT EXISTS "${vswhere}")
        return()
    endif()
    # One version in each line, such as 17.14.36109.1, the newest first. 17.0 is Visual Studio 2022; what
    # is older has no complete C++20.
    execute_process(
        COMMAND "${vswhere}" -products * -version 17.0 -sort -property installationVersion
            -requires Microsoft.VisualStudio.Component.VC.Tools.x86.x64
        OUTPUT_VARIABLE versions OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    string(REGEX MATCHALL "[0-9.]+" versions "${versions}")
    execute_process(COMMAND "${CMAKE_COMMAND}" -E capabilities OUTPUT_VARIABLE capabilities)
    foreach(version IN LISTS versions)
        string(REGEX REPLACE "\\..*" "" major "${version}")
        if(capabilities MATCHES "\"(Visual Studio ${major} [0-9]+)\"")
            set(${out} "${CMAKE_MATCH_1}" PARENT_SCOPE)
            return()
        endif()
        set(${unknown} "${version}" PARENT_SCOPE)
    endforeach()
endfunction()

function(find_tools_elsewhere)
    if(NOT DEFINED ENV{CMAKE_GENERATOR})
        set(generator Ninja PARENT_SCOPE)
    endif()
    missing_packages(packages)
    if(NOT packages)
        return()
    endif()

    list(JOIN packages " " names)
    on_path(apt_get apt-get)
    execute_process(COMMAND id -u OUTPUT_VARIABLE user OUTPUT_STRIP_TRAILING_WHITESPACE)
    # Without an IDL compiler the pairs that need one are left out, and add_idl.cmake says so.
    if(names STREQUAL "mingw-w64-tools" AND NOT (apt_get AND user STREQUAL "0"))
        return()
    endif()
    if(NOT apt_get)
        set(failure "Some tools are missing: install MinGW-w64's g++ (posix threads) and widl, Wine and Ninja (Debian calls what is missing here ${names}), then run this again."
            PARENT_SCOPE)
        return()
    endif()
    if(NOT user STREQUAL "0")
        set(failure "Some packages are missing. Install them with this command, then run this again:\n  sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ${names}'"
            PARENT_SCOPE)
        return()
    endif()

    say("Installing ${names}")
    set(install "${CMAKE_COMMAND}" -E env DEBIAN_FRONTEND=noninteractive
        "${apt_get}" install -y --no-install-recommends)
    # A new machine, or a container, often has no package lists yet.
    execute_process(COMMAND ${install} --simulate ${packages}
        RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
    if(NOT result EQUAL 0)
        execute_process(COMMAND "${apt_get}" update)
    endif()
    execute_process(COMMAND ${install} ${packages} RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        # Old lists name package versions that the server no longer has.
        execute_process(COMMAND "${apt_get}" update)
        execute_process(COMMAND ${install} ${packages} RESULT_VARIABLE result)
    endif()
    if(NOT result EQUAL 0)
        set(failure "apt-get could not install ${names}: see its messages above." PARENT_SCOPE)
        return()
    endif()
    missing_packages(packages)
    if(packages)
        list(JOIN packages " " names)
        set(failure "${names} still cannot be found on PATH after the installation." PARENT_SCOPE)
    endif()
endfunction()

# ---- Step: the build folder --------------------------------------------------------------------

# configure_options: what the script adds.
function(configure)
    say("Configuring ${build}")
    set(options "-DCMAKE_BUILD_TYPE=${CONFIG}" ${configure_options})
    if(generator AND NOT EXISTS "${build}/CMakeCache.txt")
        list(APPEND options -G "${generator}")
        if(platform)
            list(APPEND options -A "${platform}")
        endif()
    endif()
    get_cmake_property(names VARIABLES)
    foreach(name IN LISTS names)
        if(name MATCHES "^IPC_")
            list(APPEND options "-D${name}=${${name}}")
        endif()
    endforeach()

    # The log takes what is of no interest as long as all is well; errors are seen at once.
    file(MAKE_DIRECTORY "${build}")
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -S "${root}" -B "${build}" ${options}
        OUTPUT_FILE "${build}/configure.log"
        RESULT_VARIABLE result ENCODING UTF8)
    if(NOT result EQUAL 0)
        set(failure "Configuring failed: see CMake's message above, and ${build}/configure.log. If the build folder is from another compiler or another place, delete it and run this again."
            PARENT_SCOPE)
    elseif(NOT EXISTS "${settings}")
        set(failure "${build} has no configuration named ${CONFIG}." PARENT_SCOPE)
    endif()
endfunction()

# Sets `selected` to the pairs to run: all of them, or the one that ONLY names.
function(select_pairs)
    include("${settings}")
    if(NOT DEFINED ONLY OR ONLY STREQUAL "")
        set(selected "${pairs}" PARENT_SCOPE)
        return()
    endif()
    foreach(pair IN LISTS pairs)
        string(SUBSTRING "${pair}" 0 2 number)
        if(ONLY STREQUAL number OR ONLY STREQUAL pair)
            set(selected "${pair}" PARENT_SCOPE)
            return()
        endif()
    endforeach()
    list(JOIN pairs "\n  " names)
    set(failure "There is no pair ${ONLY}. The pairs are:\n  ${names}" PARENT_SCOPE)
endfunction()

# build_targets: what to build; everything if empty. With KEEP_BUILD_OUTPUT, sets build_output to what the build prints.
function(build)
    say("Building")
    set(options --config "${CONFIG}" --parallel ${cores})
    if(build_targets)
        list(APPEND options --target ${build_targets})
    endif()
    set(keep "")
    if(KEEP_BUILD_OUTPUT)
        set(keep OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)
    endif()
    execute_process(COMMAND "${CMAKE_COMMAND}" --build "${build}" ${options}
        RESULT_VARIABLE result ENCODING AUTO ${keep})
    set(build_output "${output}" PARENT_SCOPE)
    if(NOT result EQUAL 0)
        set(failure "The build failed: look at the first error above." PARENT_SCOPE)
    endif()
endfunction()

# ---- Wine --------------------------------------------------------------------------------------

# Starting Wine takes longer than running a pair, so one start serves the whole run.
function(start_wine)
    include("${settings}")
    if(wineserver)
        set(EMULATOR "${emulator}")
        set(WINESERVER "${wineserver}")
        set(LOG "${build}/wine.log")
        include("${root}/common/cmake/start_wine.cmake")
    endif()
endfunction()

function(stop_wine)
    set(wineserver "")
    include("${settings}" OPTIONAL)
    if(wineserver AND IS_DIRECTORY "${build}/wine")
        execute_process(COMMAND ${wineserver} -k OUTPUT_QUIET ERROR_QUIET)
        execute_process(COMMAND ${wineserver} -w TIMEOUT 20 OUTPUT_QUIET ERROR_QUIET)
    endif()
endfunction()
