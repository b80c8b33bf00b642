# Makes Catch2::Catch2WithMain and catch_discover_tests() available: an installed Catch2 3, or
# else its source archive, which is downloaded once and kept in the build folder.

# With MSVC an installed Catch2 is of no use: it links to the runtime library's DLLs, and our
# programs hold the runtime library inside. The linker refuses the mixture (error LNK2038).
if(NOT MSVC)
    find_package(Catch2 3 CONFIG QUIET)
endif()
if(Catch2_FOUND)
    message(STATUS "Using the installed Catch2 ${Catch2_VERSION}")
    return()
endif()

set(catch2_version 3.7.1)
set(catch2_sha256 c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c)
set(catch2_url "https://github.com/catchorg/Catch2/archive/refs/tags/v${catch2_version}.tar.gz")
set(downloads "${PROJECT_BINARY_DIR}/downloads")
set(catch2_archive "${downloads}/catch2-${catch2_version}.tar.gz")
set(catch2_source "${downloads}/catch2-${catch2_version}")

# Keeps `file` as the archive if its bytes are the right ones, and deletes it if not.
function(accept_catch2 file origin)
    if(NOT EXISTS "${file}")
        return()
    endif()
    file(SHA256 "${file}" sha256)
    if("${sha256}" STREQUAL "${catch2_sha256}")
        file(RENAME "${file}" "${catch2_archive}")
    else()
        file(REMOVE "${file}")
        message(WARNING "What came as Catch2 from ${origin} has the wrong SHA-256 and was deleted: ${sha256}")
    endif()
endfunction()

function(download_catch2)
    message(NOTICE "Downloading Catch2 ${catch2_version}")
    file(DOWNLOAD "${catch2_url}" "${catch2_archive}.part"
        INACTIVITY_TIMEOUT 10 TIMEOUT 60 STATUS status)
    list(GET status 0 code)
    if(code EQUAL 0)
        accept_catch2("${catch2_archive}.part" "github.com")
    else()
        file(REMOVE "${catch2_archive}.part")
    endif()
endfunction()

# Debian's source package holds the same bytes. apt-get is asked with lists and folders of our own,
# so that neither root's rights nor changes to the machine's package sources are needed.
function(download_catch2_with_apt)
    find_program(IPC_APT_GET apt-get)
    if(NOT IPC_APT_GET OR NOT EXISTS /etc/os-release)
        return()
    endif()
    message(NOTICE "github.com did not give Catch2; asking the machine's package sources")

    file(STRINGS /etc/os-release line REGEX "^VERSION_CODENAME=")
    string(REGEX REPLACE "^VERSION_CODENAME=\"?([^\"]*)\"?$" "\\1" codename "${line}")
    set(suites ${codename}-backports ${codename} trixie sid)
    list(REMOVE_DUPLICATES suites)

    execute_process(
        COMMAND "${IPC_APT_GET}" indextargets --format "$(REPO_URI)" "Created-By: Packages"
        OUTPUT_VARIABLE mirrors OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    string(REPLACE "\n" ";" mirrors "${mirrors}")
    list(REMOVE_DUPLICATES mirrors)

    set(apt "${downloads}/apt")
    set(options
        -qq
        -o "Dir::Etc::sourcelist=${apt}/sources.list"
        -o "Dir::Etc::sourceparts=/dev/null"
        -o "Dir::State=${apt}/state"
        -o "Dir::State::status=/var/lib/dpkg/status"
        -o "Dir::Cache=${apt}/cache"
        -o "APT::Sandbox::User=root"
        -o "APT::Get::List-Cleanup=0"
        -o "Acquire::Retries=1"
        -o "Acquire::http::Timeout=15"
        -o "Acquire::https::Timeout=15"
        -o "Acquire::Languages=none")
    foreach(suite IN LISTS suites)
        foreach(mirror IN LISTS mirrors)
            file(REMOVE_RECURSE "${apt}")
            file(MAKE_DIRECTORY "${apt}/state/lists/partial" "${apt}/cache/archives/partial")
            # trusted=yes: a newer suite may be signed with a key that this machine does not have
            # yet. Nothing depends on it, because the SHA-256 is checked.
            file(WRITE "${apt}/sources.list" "deb-src [trusted=yes] ${mirror} ${suite} main universe\n")
            execute_process(COMMAND "${IPC_APT_GET}" ${options} update
                TIMEOUT 120 RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
            if(result EQUAL 0)
                execute_process(COMMAND "${IPC_APT_GET}" ${options} source --download-only catch2
                    WORKING_DIRECTORY "${apt}" TIMEOUT 120 OUTPUT_QUIET ERROR_QUIET)
                accept_catch2("${apt}/catch2_${catch2_version}.orig.tar.gz" "${suite}")
            endif()
            if(EXISTS "${catch2_archive}")
                file(REMOVE_RECURSE "${apt}")
                return()
            endif()
        endforeach()
    endforeach()
    file(REMOVE_RECURSE "${apt}")
endfunction()

if(NOT EXISTS "${catch2_source}/CMakeLists.txt")
    file(MAKE_DIRECTORY "${downloads}")
    # An archive that a reader put there by hand is checked like any other.
    if(EXISTS "${catch2_archive}")
        accept_catch2("${catch2_archive}" "${downloads}")
    endif()
    if(NOT EXISTS "${catch2_archive}")
        download_catch2()
    endif()
    if(NOT EXISTS "${catch2_archive}")
        download_catch2_with_apt()
    endif()
    if(NOT EXISTS "${catch2_archive}")
        message(FATAL_ERROR "Catch2 could not be downloaded; save ${catch2_url} as ${catch2_archive}, "
            "or configure with -DBUILD_TESTING=OFF to build without the tests.")
    endif()
    # Extracted beside its place and then renamed: an interruption leaves no half-filled folder.
    file(REMOVE_RECURSE "${catch2_source}.part" "${catch2_source}")
    file(ARCHIVE_EXTRACT INPUT "${catch2_archive}" DESTINATION "${catch2_source}.part")
    file(RENAME "${catch2_source}.part/Catch2-${catch2_version}" "${catch2_source}")
    file(REMOVE_RECURSE "${catch2_source}.part")
endif()

# SYSTEM: no warnings from its headers. C++20 as in our tests, because what Catch2 offers (printing
# a std::string_view, for one) depends on the language version that it was compiled with.
#
# Catch2 has more source files than this project, and a test spends its time in the programs that it
# starts. Joined into two large files and compiled with -O1, Catch2 builds in a quarter of the time. (Without optimisation
# it would have so many sections that the linker needs 20 seconds for each test.)
function(add_catch2)
    set(CMAKE_CXX_STANDARD 20)
    set(CMAKE_UNITY_BUILD ON)
    set(CMAKE_UNITY_BUILD_BATCH_SIZE 60)
    add_subdirectory("${catch2_source}" "${PROJECT_BINARY_DIR}/Catch2" SYSTEM EXCLUDE_FROM_ALL)
    if(NOT MSVC)
        target_compile_options(Catch2 PRIVATE $<$<CONFIG:Release>:-O1>)
    endif()
endfunction()
add_catch2()
list(APPEND CMAKE_MODULE_PATH "${catch2_source}/extras")
