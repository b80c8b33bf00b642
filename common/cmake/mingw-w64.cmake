# Toolchain file: how to build Windows programs on another system with MinGW-w64, and to run
# them with Wine. CMakeLists.txt uses it by itself when the machine is not a Windows machine.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

option(IPC_CLANG "Compile with Clang instead of GCC" OFF)
# CMake tries the compiler in small projects of their own; they read this file too.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES IPC_CLANG)

# Debian installs MinGW-w64 twice: "-posix" has std::jthread, the plain name may not.
find_program(IPC_MINGW_GXX NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++
    DOC "The MinGW-w64 C++ compiler")
find_program(IPC_MINGW_GCC NAMES x86_64-w64-mingw32-gcc-posix x86_64-w64-mingw32-gcc
    DOC "The MinGW-w64 C compiler, for what an IDL compiler generates")
find_program(IPC_MINGW_WINDRES NAMES x86_64-w64-mingw32-windres)
if(NOT IPC_MINGW_GXX)
    message(FATAL_ERROR "There is no MinGW-w64 C++ compiler (x86_64-w64-mingw32-g++) on this machine. "
        "Install it (Debian and Ubuntu: the package g++-mingw-w64-x86-64-posix), or run "
        "`cmake -P demos/run.cmake`, which says what is missing.")
endif()

if(IPC_CLANG)
    find_program(IPC_MINGW_CLANG NAMES clang++)
    find_program(IPC_MINGW_CLANG_C NAMES clang)
    find_program(IPC_MINGW_LLD NAMES ld.lld)
    if(NOT IPC_MINGW_CLANG OR NOT IPC_MINGW_LLD)
        message(FATAL_ERROR "IPC_CLANG needs clang++ and ld.lld "
            "(Debian and Ubuntu: the packages clang and lld).")
    endif()
    set(compiler "${IPC_MINGW_CLANG}")
    set(c_compiler "${IPC_MINGW_CLANG_C}")
    set(CMAKE_CXX_COMPILER_TARGET x86_64-w64-mingw32)
    set(CMAKE_C_COMPILER_TARGET x86_64-w64-mingw32)

    # Clang borrows GCC's C++ library, and has to be told where it is.
    execute_process(COMMAND "${IPC_MINGW_GXX}" -print-file-name=libstdc++.a
        OUTPUT_VARIABLE libstdcxx OUTPUT_STRIP_TRAILING_WHITESPACE)
    cmake_path(GET libstdcxx PARENT_PATH gcc_dir)
    set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES
        "${gcc_dir}/include/c++" "${gcc_dir}/include/c++/x86_64-w64-mingw32")
    # ... whose comparison of type_info is in the library. Without this, std::make_shared does not link.
    set(CMAKE_CXX_FLAGS_INIT "-D__GXX_TYPEINFO_EQUALITY_INLINE=0")
    set(CMAKE_EXE_LINKER_FLAGS_INIT "-fuse-ld=lld -pthread -L\"${gcc_dir}\"")
    set(CMAKE_MODULE_LINKER_FLAGS_INIT "-fuse-ld=lld -pthread -L\"${gcc_dir}\"")
else()
    set(compiler "${IPC_MINGW_GXX}")
    set(c_compiler "${IPC_MINGW_GCC}")
endif()
# In the cache, by force: an editor may have put the machine's own compiler there.
set(CMAKE_CXX_COMPILER "${compiler}" CACHE FILEPATH "The C++ compiler" FORCE)
set(CMAKE_C_COMPILER "${c_compiler}" CACHE FILEPATH "The C compiler" FORCE)
if(IPC_MINGW_WINDRES)
    set(CMAKE_RC_COMPILER "${IPC_MINGW_WINDRES}")
endif()

# Programs come from this machine; libraries and packages are taken for Windows only, so that a
# Catch2 installed for Linux is not mistaken for ours.
list(APPEND CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Wine in a folder of its own, without a display, debug output, menus, Mono and Gecko.
# CTest puts the emulator in front of each program that it runs.
find_program(IPC_WINE NAMES wine wine64 DOC "Runs Windows programs")
find_program(IPC_WINESERVER NAMES wineserver wineserver-stable PATHS /usr/lib/wine
    DOC "Wine's background process")
set(IPC_WINE_PREFIX "${CMAKE_BINARY_DIR}/wine")
set(wine_environment
    /usr/bin/env -u DISPLAY -u WAYLAND_DISPLAY
    "WINEPREFIX=${IPC_WINE_PREFIX}" WINEARCH=win64 WINEDEBUG=-all
    WINEDLLOVERRIDES=winedbg.exe,winemenubuilder.exe,mscoree,mshtml=d)
if(IPC_WINE)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${wine_environment} "${IPC_WINE}")
else()
    set(CMAKE_CROSSCOMPILING_EMULATOR ${wine_environment} wine)
endif()
set(IPC_WINESERVER_COMMAND ${wine_environment} "${IPC_WINESERVER}")
