# What the build, the run script, the documents and the tests know of the exercises.
#
# Exercise 01.2 consists of
#     demos/01_technique/exercises/2_name/README.md      the task, with hints
#                                         processA.cpp   the starter, which the learner changes (or processB.cpp)
#                                         symptom.txt    what the checks print of the starter
#     tests/exercises/01.2_name/processA.cpp             the solution; the starter is made from it
#     tests/exercises/check_01.cpp                       the checks, those of all exercises of the pair
#
# A solution marks what the starter does not have, and what the starter has in its place:
# ANCHOR: marks
#     // SOLUTION: the reason, in one or more lines of comment
#     code of the solution
#     // STARTER
#     //~ code of the starter
#     // END
# ANCHOR_END: marks
# Code is full of ; [ ] and \, which CMake lists do not survive: texts stay strings here.

# Sets `ids` to the numbers of all exercises, such as 01.2, in their order.
function(list_exercises root)
    set(ids "")
    file(GLOB readmes RELATIVE "${root}/demos" "${root}/demos/*/exercises/*/README.md")
    foreach(readme IN LISTS readmes)
        if(readme MATCHES "^([0-9][0-9])_[^/]*/exercises/([0-9]+)_")
            list(APPEND ids "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}")
        endif()
    endforeach()
    list(SORT ids COMPARE NATURAL)
    set(ids "${ids}" PARENT_SCOPE)
endfunction()

# Finds the exercise 01.2 and sets
#     pair         01_technique
#     folder       <root>/demos/01_technique/exercises/2_name
#     solution     <root>/tests/exercises/01.2_name/processA.cpp
#     source       processA.cpp, or processB.cpp
#     title, kind, file, learn, minutes   what its README.md says; empty if its table is wrong
# All are empty if there is no such exercise; source and solution if it has no solution.
function(find_exercise root id)
    foreach(name pair folder solution source title kind file learn minutes)
        set(${name} "" PARENT_SCOPE)
    endforeach()
    if(NOT id MATCHES "^([0-9][0-9])\\.([0-9]+)$")
        return()
    endif()
    file(GLOB found "${root}/demos/${CMAKE_MATCH_1}_*/exercises/${CMAKE_MATCH_2}_*/README.md")
    list(LENGTH found count)
    if(NOT count EQUAL 1)
        return()
    endif()
    cmake_path(GET found PARENT_PATH folder)
    set(folder "${folder}" PARENT_SCOPE)
    string(REGEX MATCH "/demos/([^/]*)/exercises/[0-9]+_([^/]*)$" match "${folder}")
    set(pair "${CMAKE_MATCH_1}" PARENT_SCOPE)
    set(name "${CMAKE_MATCH_2}")
    foreach(process A B)
        set(path "${root}/tests/exercises/${id}_${name}/process${process}.cpp")
        if(EXISTS "${path}")
            set(solution "${path}" PARENT_SCOPE)
            set(source "process${process}.cpp" PARENT_SCOPE)
        endif()
    endforeach()
    file(READ "${found}" text)
    set(cell "\\| *([^|\n]*[^|\n ]) *")
    if(text MATCHES "^# [0-9.]+ ([^\n]+)\n")
        set(title "${CMAKE_MATCH_1}" PARENT_SCOPE)
    endif()
    if(text MATCHES "\n\\| kind \\| file \\| you learn \\| minutes \\|\n\\|---\\|---\\|---\\|---\\|\n${cell}${cell}${cell}${cell}\\|\n")
        set(kind "${CMAKE_MATCH_1}" PARENT_SCOPE)
        set(file "${CMAKE_MATCH_2}" PARENT_SCOPE)
        set(learn "${CMAKE_MATCH_3}" PARENT_SCOPE)
        set(minutes "${CMAKE_MATCH_4}" PARENT_SCOPE)
    endif()
endfunction()

# Sets `hint` to the text of the first <details> of an exercise's README.md.
function(read_first_hint readme)
    file(READ "${readme}" text)
    set(hint "" PARENT_SCOPE)
    string(FIND "${text}" "</summary>" from)
    string(FIND "${text}" "</details>" to)
    if(NOT from EQUAL -1 AND to GREATER from)
        math(EXPR from "${from} + 10")
        math(EXPR length "${to} - ${from}")
        string(SUBSTRING "${text}" ${from} ${length} text)
        string(STRIP "${text}" text)
        set(hint "${text}" PARENT_SCOPE)
    endif()
endfunction()

# Reads a file into the variable `result`, whatever its line ends.
function(read_source path result)
    file(READ "${path}" text)
    string(REPLACE "\r\n" "\n" text "${text}")
    set(${result} "${text}" PARENT_SCOPE)
endfunction()

# Writes the text with LF line ends on Windows, too. file(CONFIGURE) replaces @text@ once, does not look into
# what it put there, and ends the file with the line end taken off here.
function(write_source path text)
    string(REGEX REPLACE "\n$" "" text "${text}")
    file(CONFIGURE OUTPUT "${path}" CONTENT "@text@" @ONLY NEWLINE_STYLE LF)
endfunction()

# Makes the starter from the solution, in the variable `starter`. `problem` says what is wrong with the marks.
function(make_starter solution)
    read_source("${solution}" rest)
    string(REGEX REPLACE "([^\n])$" "\\1\n" rest "${rest}") # or the last line would have no end
    set(text "")
    set(part common) # then: solution, starter
    set(number 0)
    set(regions 0)
    set(problem "")
    while(NOT rest STREQUAL "")
        string(FIND "${rest}" "\n" end)
        string(SUBSTRING "${rest}" 0 ${end} line)
        math(EXPR end "${end} + 1")
        string(SUBSTRING "${rest}" ${end} -1 rest)
        math(EXPR number "${number} + 1")
        set(next "${part}")
        if(line MATCHES "^ *// SOLUTION: ")
            set(next solution)
            set(allowed common)
            math(EXPR regions "${regions} + 1")
        elseif(line MATCHES "^ *// STARTER$")
            set(next starter)
            set(allowed solution)
        elseif(line MATCHES "^ *// END$")
            set(next common)
            set(allowed starter)
        elseif(part STREQUAL "common")
            string(APPEND text "${line}\n")
        elseif(part STREQUAL "starter")
            if(line MATCHES "^( *)//~ (.*)$")
                string(APPEND text "${CMAKE_MATCH_1}${CMAKE_MATCH_2}\n")
            elseif(line MATCHES "^ *//~$")
                string(APPEND text "\n")
            else()
                set(problem "line ${number}: a line of the starter has to begin with //~")
            endif()
        endif()
        if(NOT next STREQUAL part)
            if(NOT part STREQUAL allowed)
                set(problem "line ${number}: SOLUTION, STARTER and END are not in this order")
            endif()
            set(part "${next}")
        elseif(line MATCHES "^ *// (SOLUTION: |STARTER$|END$)")
            set(problem "line ${number}: SOLUTION, STARTER and END are not in this order")
        endif()
    endwhile()
    if(NOT part STREQUAL "common")
        set(problem "the last region has no END")
    elseif(regions EQUAL 0)
        set(problem "nothing is marked with // SOLUTION:")
    endif()
    set(starter "${text}" PARENT_SCOPE)
    set(problem "${problem}" PARENT_SCOPE)
endfunction()

# Sets `state` to what the learner has done: untouched, changed, failing, passing, or missing (the file is gone).
# `results` is the folder with the last result of each exercise.
function(read_state root id results)
    find_exercise("${root}" "${id}")
    set(state missing PARENT_SCOPE)
    if(source STREQUAL "" OR NOT EXISTS "${folder}/${source}")
        return()
    endif()
    make_starter("${solution}")
    read_source("${folder}/${source}" text)
    if("${text}" STREQUAL "${starter}")
        set(state untouched PARENT_SCOPE)
        return()
    endif()
    set(state changed PARENT_SCOPE)
    if(EXISTS "${results}/${id}.txt")
        file(STRINGS "${results}/${id}.txt" last LIMIT_COUNT 1)
        string(SHA256 hash "${text}")
        if(last MATCHES "^([a-z]+) ${hash}$")
            set(state "${CMAKE_MATCH_1}" PARENT_SCOPE)
        endif()
    endif()
endfunction()
