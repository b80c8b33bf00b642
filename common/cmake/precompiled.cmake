# GCC compiles the headers of Windows and of C++ once for many programs; in a small program they take half of the
# time. Clang does not: its build shows an #include that is missing.

# add_precompiled(name HEADERS header... LIBRARIES library... [LEVEL -O1]): headers for programs that link these
# libraries and are compiled at this level of optimisation (without it: at that of the configuration).
function(add_precompiled name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "LEVEL" "HEADERS;LIBRARIES")
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        set(source "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp")
        file(CONFIGURE OUTPUT "${source}" CONTENT "// Carries the precompiled headers.\n")
        add_library(${name} OBJECT "${source}")
        target_link_libraries(${name} PRIVATE ${arg_LIBRARIES})
        target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:${arg_LEVEL}>)
        target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
    endif()
endfunction()

function(use_precompiled target name)
    if(TARGET ${name})
        target_precompile_headers(${target} REUSE_FROM ${name})
    endif()
endfunction()
