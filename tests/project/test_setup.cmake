# Proves what common/cmake/setup.cmake chooses on Windows, with a vswhere, a CMake and compilers of our own:
#   cmake -DSCRATCH=<folder, emptied first> -P tests/project/test_setup.cmake
# Runs where a shell script is a program: not on Windows itself.

cmake_minimum_required(VERSION 3.25)

if(NOT DEFINED SCRATCH)
    message(FATAL_ERROR "usage: cmake -DSCRATCH=<folder> -P tests/project/test_setup.cmake")
endif()
include("${CMAKE_CURRENT_LIST_DIR}/../../common/cmake/setup.cmake")

function(put_program path text)
    file(WRITE "${path}" "#!/bin/sh\n${text}\n")
    file(CHMOD "${path}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()

# expect("name" [VISUAL_STUDIO version...] [CMAKE_KNOWS version...] [PATH program...]
#        [GENERATOR name] [PLATFORM name] [FAILURE text])
# What is not given: not installed, not known, not expected.
function(expect name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "GENERATOR;PLATFORM;FAILURE" "VISUAL_STUDIO;CMAKE_KNOWS;PATH")
    file(REMOVE_RECURSE "${SCRATCH}")
    file(MAKE_DIRECTORY "${SCRATCH}/bin")
    foreach(program IN LISTS arg_PATH)
        put_program("${SCRATCH}/bin/${program}" "exit 0")
    endforeach()
    if(arg_VISUAL_STUDIO)
        list(JOIN arg_VISUAL_STUDIO "\\r\\n" lines)
        put_program("${SCRATCH}/Microsoft Visual Studio/Installer/vswhere.exe" "printf '${lines}\\r\\n'")
    endif()
    set(generators "{\"name\":\"NMake Makefiles\"}")
    foreach(known IN LISTS arg_CMAKE_KNOWS)
        string(APPEND generators ",{\"name\":\"Visual Studio ${known}\"}")
    endforeach()
    put_program("${SCRATCH}/cmake" "echo '{\"generators\":[${generators}]}'")

    set(program_files "ProgramFiles(x86)")
    set(ENV{${program_files}} "${SCRATCH}")
    set(saved_path "$ENV{PATH}")
    set(ENV{PATH} "${SCRATCH}/bin")
    unset(ENV{CMAKE_GENERATOR})
    set(CMAKE_COMMAND "${SCRATCH}/cmake")
    find_tools_on_windows()
    set(ENV{PATH} "${saved_path}")

    if(NOT "${generator}" STREQUAL "${arg_GENERATOR}" OR NOT "${platform}" STREQUAL "${arg_PLATFORM}")
        message("FAILED: ${name}: -G '${generator}' -A '${platform}'")
        set_property(GLOBAL APPEND PROPERTY failures "${name}")
    endif()
    string(FIND "${failure}" "${arg_FAILURE}" position)
    if(position EQUAL -1 OR (NOT arg_FAILURE AND failure))
        message("FAILED: ${name}: failure is '${failure}'")
        set_property(GLOBAL APPEND PROPERTY failures "${name}")
    endif()
endfunction()

expect("Visual Studio 2022" VISUAL_STUDIO 17.14.36109.1 CMAKE_KNOWS "17 2022" "16 2019" PATH g++ ninja
    GENERATOR "Visual Studio 17 2022" PLATFORM x64)
expect("the newest that CMake knows" VISUAL_STUDIO 18.0.11205.157 17.14.36109.1 CMAKE_KNOWS "18 2026" "17 2022"
    GENERATOR "Visual Studio 18 2026" PLATFORM x64)
expect("an older one beside one that CMake does not know" VISUAL_STUDIO 18.0.11205.157 17.9.2
    CMAKE_KNOWS "17 2022" GENERATOR "Visual Studio 17 2022" PLATFORM x64)
expect("Visual Studio 2026 and an old CMake" VISUAL_STUDIO 18.0.11205.157 CMAKE_KNOWS "17 2022"
    FAILURE "does not know Visual Studio 18.0.11205.157")
expect("Visual Studio 2026, an old CMake, and MinGW-w64" VISUAL_STUDIO 18.0.11205.157 CMAKE_KNOWS "17 2022"
    PATH g++ ninja GENERATOR Ninja)
expect("MinGW-w64 with mingw32-make" PATH g++ mingw32-make GENERATOR "MinGW Makefiles")
expect("g++ alone" PATH g++ FAILURE "neither ninja nor mingw32-make")
expect("nothing" PATH ninja FAILURE "No C++ compiler was found")

file(REMOVE_RECURSE "${SCRATCH}")
get_property(failures GLOBAL PROPERTY failures)
if(failures)
    list(LENGTH failures count)
    message(FATAL_ERROR "${count} expectations failed")
endif()
message("setup.cmake chooses the right generator")
