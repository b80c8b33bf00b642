# Proves what tests/exercises/exercises.cmake and learner.cmake promise, on small exercises in a scratch folder:
#   cmake -DSCRATCH=<folder, emptied first> -P tests/project/test_exercises.cmake

cmake_minimum_required(VERSION 3.25)

cmake_path(SET project NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
string(REGEX REPLACE "/$" "" project "${project}")
if(NOT DEFINED SCRATCH)
    message(FATAL_ERROR "usage: cmake -DSCRATCH=<folder> -P tests/project/test_exercises.cmake")
endif()
include("${project}/tests/exercises/exercises.cmake")

set(exercise demos/01_pair/exercises/2_name)
set(solution_file tests/exercises/01.2_name/processA.cpp)

# Writes the bytes as they are, on Windows too; the text must end with a line end, or be empty.
function(put path text)
    string(REGEX REPLACE "\n$" "" text "${text}") # file(CONFIGURE) adds it
    file(CONFIGURE OUTPUT "${SCRATCH}/${path}" CONTENT "@text@" @ONLY NEWLINE_STYLE UNIX)
endfunction()

function(fail what)
    message("FAILED: ${case}: ${what}")
    set_property(GLOBAL APPEND PROPERTY failures "${case}")
endfunction()

function(expect_equal actual expected)
    if(NOT "x${actual}" STREQUAL "x${expected}")
        fail("\n${actual}--- instead of\n${expected}---")
    endif()
endfunction()

# The file has exactly these bytes. Hexadecimal, because reading as text would hide a CR.
function(expect_bytes path text)
    if(NOT EXISTS "${SCRATCH}/${path}")
        fail("${path} is missing")
        return()
    endif()
    file(READ "${SCRATCH}/${path}" actual HEX)
    string(HEX "${text}" expected)
    if(NOT actual STREQUAL expected)
        file(READ "${SCRATCH}/${path}" actual)
        fail("${path} holds\n${actual}--- instead of\n${text}---")
    endif()
endfunction()

set(page "# 01.2 A title\n\n| kind | file | you learn | minutes |\n|---|---|---|---|\n| mend | processA.cpp | why; [or] not | 10 |\n\nThe task.\n")
set(marked "// SOLUTION: why\nint one = 1;\n// STARTER\n//~ int one = 2;\n// END\nint two = 2;\n")
set(unmarked "int one = 2;\nint two = 2;\n")

# The exercise 01.2, as a learner finds it.
function(new_case name)
    set(case "${name}" PARENT_SCOPE)
    file(REMOVE_RECURSE "${SCRATCH}")
    put(${exercise}/README.md "${page}")
    put(${exercise}/processA.cpp "${unmarked}")
    put(${solution_file} "${marked}")
    foreach(file tests/run.cmake tests/report.cmake tests/exercises/exercises.cmake tests/exercises/learner.cmake)
        cmake_path(GET file PARENT_PATH folder)
        file(COPY "${project}/${file}" DESTINATION "${SCRATCH}/${folder}")
    endforeach()
    file(COPY "${project}/common/cmake" DESTINATION "${SCRATCH}/common")
endfunction()

# ---- the marks

# The starter made from the text is the other text.
function(expect_starter text expected)
    put(${solution_file} "${text}")
    make_starter("${SCRATCH}/${solution_file}")
    if(NOT problem STREQUAL "")
        fail("problem: ${problem}")
    endif()
    expect_equal("${starter}" "${expected}")
endfunction()

new_case("a starter has the common lines and its own, in their order")
expect_starter("${marked}" "${unmarked}")
expect_starter("first\n// SOLUTION: a\ns1\n// STARTER\n// END\nmiddle\n\n// SOLUTION: b\n// STARTER\n//~ t2\n//~\n//~ t3\n// END\nlast\n"
    "first\nmiddle\n\nt2\n\nt3\nlast\n")

new_case("indentation stays, of the marks it does not matter")
expect_starter("{\n    // SOLUTION: a\n    // more of the reason\n        s();\n  // STARTER\n    //~ if (x) {\n    //~     t();\n        //~ }\n // END\n}\n"
    "{\n    if (x) {\n        t();\n        }\n}\n")

# Every character CMake itself gives a meaning to.
string(CONCAT hard
    [==[auto list = "a;b;;c"; int array[] = {1, 2}; if (x[0]]) { }]==] "\n"
    [==[auto path = L"C:\\temp\\;\"${HOME}\" $ENV{PATH} $<0:x> @text@ @starter@ \n \\";]==] "\n"
    [==[	tab	'single' `backtick` #cmakedefine X [[bracket]] [=[ ]=], trailing backslash \]==] "\n"
    [==[äöü € 𝄞 “quoted”  two spaces at the end  ]==] "\n"
    ";\n]\n[\n[;\n];\\\n\\;\n// not a mark: STARTER\n// ENDING\n//END\n")
new_case("hard characters arrive unchanged, in common lines and in the starter's")
string(REGEX REPLACE "([^\n]*)\n" "//~ \\1\n" hard_starter "${hard}")
expect_starter("${hard}// SOLUTION: ; [ ] \\\n${hard}// STARTER\n${hard_starter}// END\n${hard}" "${hard}${hard}${hard}")

new_case("a solution with CRLF line ends makes the same starter")
file(CONFIGURE OUTPUT "${SCRATCH}/${solution_file}" CONTENT "${marked}" @ONLY NEWLINE_STYLE WIN32)
make_starter("${SCRATCH}/${solution_file}")
expect_equal("${problem}" "")
expect_equal("${starter}" "${unmarked}")

new_case("a last line without a line end")
file(WRITE "${SCRATCH}/${solution_file}" "${marked}int three = 3;")
make_starter("${SCRATCH}/${solution_file}")
expect_equal("${problem}" "")
expect_equal("${starter}" "${unmarked}int three = 3;\n")

new_case("a starter is written as it is")
put(${solution_file} "${hard}${marked}")
make_starter("${SCRATCH}/${solution_file}")
write_source("${SCRATCH}/starter.cpp" "${starter}")
expect_bytes(starter.cpp "${hard}${unmarked}")

function(expect_problem name text expected)
    new_case("${name}")
    put(${solution_file} "${text}")
    make_starter("${SCRATCH}/${solution_file}")
    expect_equal("${problem}" "${expected}")
endfunction()

set(order "SOLUTION, STARTER and END are not in this order")
expect_problem("no marks" "int one;\n" "nothing is marked with // SOLUTION:")
expect_problem("an empty file" "" "nothing is marked with // SOLUTION:")
expect_problem("a reason is missing" "${marked}// SOLUTION:\ns\n// STARTER\n// END\n" "line 9: ${order}")
expect_problem("no END" "// SOLUTION: a\ns\n// STARTER\n//~ t\n" "the last region has no END")
expect_problem("no STARTER and no END" "// SOLUTION: a\ns\n" "the last region has no END")
expect_problem("no STARTER" "x\n// SOLUTION: a\ns\n// END\n" "line 4: ${order}")
expect_problem("STARTER alone" "${marked}// STARTER\n//~ t\n// END\n" "line 7: ${order}")
expect_problem("no SOLUTION at all" "// STARTER\n//~ t\n// END\n" "nothing is marked with // SOLUTION:")
expect_problem("END alone" "${marked}  // END\n" "line 7: ${order}")
expect_problem("two SOLUTIONs" "// SOLUTION: a\n// SOLUTION: b\n// STARTER\n// END\n" "line 2: ${order}")
expect_problem("two STARTERs" "// SOLUTION: a\n// STARTER\n// STARTER\n// END\n" "line 3: ${order}")
expect_problem("two ENDs" "// SOLUTION: a\n// STARTER\n// END\n// END\n" "line 4: ${order}")
expect_problem("SOLUTION in a starter" "// SOLUTION: a\n// STARTER\n// SOLUTION: b\n// STARTER\n// END\n" "line 3: ${order}")
expect_problem("a line of the starter without //~" "// SOLUTION: a\ns; [\n// STARTER\nt\n// END\n"
    "line 4: a line of the starter has to begin with //~")

# ---- what a page says

new_case("the exercises are sorted by their numbers, and found")
put(demos/01_pair/exercises/10_late/README.md "${page}")
put(demos/01_pair/exercises/1_early/README.md "${page}")
put(demos/11_pair/exercises/1_other/README.md "${page}")
put(demos/01_pair/exercises/3_no_page/processA.cpp "x\n")
list_exercises("${SCRATCH}")
expect_equal("${ids}" "01.1;01.2;01.10;11.1")
find_exercise("${SCRATCH}" 01.2)
expect_equal("${pair} ${source} ${title} ${kind} ${learn} ${minutes}" "01_pair processA.cpp A title mend why; [or] not 10")
expect_equal("${folder} ${solution}" "${SCRATCH}/${exercise} ${SCRATCH}/${solution_file}")
find_exercise("${SCRATCH}" 01.10)
expect_equal("${pair}|${source}|${solution}" "01_pair||")
foreach(id 01.3 01.4 1.2 01 01.2x "")
    find_exercise("${SCRATCH}" "${id}")
    expect_equal("${pair}${folder}${source}${solution}${title}${kind}" "")
endforeach()
put(${exercise}/README.md "# 01.2 A title\n\n| kind | file | minutes |\n|---|---|---|\n| mend | processA.cpp | 10 |\n")
find_exercise("${SCRATCH}" 01.2)
expect_equal("${title}|${kind}|${minutes}" "A title||")
put(demos/01_pair/exercises/2_again/README.md "${page}")
find_exercise("${SCRATCH}" 01.2)
expect_equal("${pair}${folder}${title}" "")

function(expect_hint text expected)
    put(${exercise}/README.md "${text}")
    read_first_hint("${SCRATCH}/${exercise}/README.md")
    expect_equal("${hint}" "${expected}")
endfunction()

new_case("the first hint is the text of the first <details>")
expect_hint("${page}<details><summary>Hint 1</summary>\n\nWho; [closes] `a\\b`?\nWhen?\n\n</details>\n\n<details><summary>Hint 2</summary>\n\nB.\n\n</details>\n"
    "Who; [closes] `a\\b`?\nWhen?")
expect_hint("${page}" "")
expect_hint("${page}<details><summary>Hint 1</summary>\n\nNo end.\n" "")
expect_hint("${page}</details>\n" "")

# ---- the state of the learner's file

function(expect_state expected)
    read_state("${SCRATCH}" 01.2 "${SCRATCH}/build/exercises")
    expect_equal("${state}" "${expected}")
endfunction()

# What learner.cmake keeps after the checks.
function(put_result word)
    read_source("${SCRATCH}/${exercise}/processA.cpp" text)
    string(SHA256 hash "${text}")
    put(build/exercises/01.2.txt "${word} ${hash}\n")
endfunction()

new_case("untouched: the file is the starter, whatever its line ends and results are")
expect_state(untouched)
put_result(failing)
expect_state(untouched)
file(CONFIGURE OUTPUT "${SCRATCH}/${exercise}/processA.cpp" CONTENT "${unmarked}" @ONLY NEWLINE_STYLE WIN32)
expect_state(untouched)

new_case("changed, failing and passing: the result counts for the text that was checked")
put(${exercise}/processA.cpp "int one = 3; // [;\\\n")
expect_state(changed)
put_result(failing)
expect_state(failing)
put(${exercise}/processA.cpp "int one = 4; // [;\\\n")
expect_state(changed)
put_result(passing)
expect_state(passing)
put(${exercise}/processA.cpp "int one = 4;\n// [;\\\n")
expect_state(changed)
put(build/exercises/01.2.txt "passing\n")
expect_state(changed)

new_case("missing: the learner's file, or the exercise")
file(REMOVE "${SCRATCH}/${exercise}/processA.cpp")
expect_state(missing)
new_case("missing: the solution")
file(REMOVE "${SCRATCH}/${solution_file}")
expect_state(missing)

# ---- the learner's commands that build nothing

# Runs the scratch project's tests/run.cmake; sets `output`.
function(run expected_code)
    execute_process(COMMAND "${CMAKE_COMMAND}" ${ARGN} -P "${SCRATCH}/tests/run.cmake"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 20)
    if(NOT code EQUAL expected_code)
        fail("exit code ${code} instead of ${expected_code}\n${output}")
    endif()
    string(REGEX REPLACE "[ \n]+" " " output "${output}") # CMake breaks the lines of an error
    set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_output)
    foreach(sentence IN LISTS ARGN)
        string(FIND "${output}" "${sentence}" position)
        if(position EQUAL -1)
            fail("the output does not say: ${sentence}\n${output}")
        endif()
    endforeach()
endfunction()

new_case("a reset brings the starter back and keeps each of the learner's files")
set(mine "mine; [1] ${hard}")
put(${exercise}/processA.cpp "${mine}")
run(0 -DEXERCISE=01.2 -DRESET=ON)
expect_output("processA.mine.cpp" "the starter is back")
expect_bytes(${exercise}/processA.cpp "${unmarked}")
expect_bytes(${exercise}/processA.mine.cpp "${mine}")
run(0 -DEXERCISE=01.2 -DRESET=ON)
expect_output("your file is the starter already")
foreach(number 2 3)
    put(${exercise}/processA.cpp "mine ${number}\n")
    run(0 -DEXERCISE=01.2 -DRESET=ON)
    expect_output("processA.mine${number}.cpp")
    expect_bytes(${exercise}/processA.cpp "${unmarked}")
endforeach()
expect_bytes(${exercise}/processA.mine.cpp "${mine}")
expect_bytes(${exercise}/processA.mine2.cpp "mine 2\n")
expect_bytes(${exercise}/processA.mine3.cpp "mine 3\n")
file(GLOB kept "${SCRATCH}/${exercise}/*")
list(LENGTH kept count)
expect_equal("${count}" "5") # README.md too

new_case("a reset brings a missing file back")
file(REMOVE "${SCRATCH}/${exercise}/processA.cpp")
run(0 -DEXERCISE=01.2 -DRESET=ON)
expect_output("the starter is back")
expect_bytes(${exercise}/processA.cpp "${unmarked}")
if(EXISTS "${SCRATCH}/${exercise}/processA.mine.cpp")
    fail("a file was kept where none was")
endif()

new_case("the list shows each exercise with its state, and an unknown number and a missing file are explained")
put(${exercise}/processA.cpp "mine\n")
put_result(failing)
run(0 -DEXERCISE=list)
expect_output("EXERCISE" "A title")
if(NOT output MATCHES "01\\.2 +failing +mend +10 +A title")
    fail("no row for 01.2\n${output}")
endif()
run(1 -DEXERCISE=09.9)
expect_output("There is no exercise 09.9. The exercises are: 01.2.")
file(REMOVE "${SCRATCH}/${exercise}/processA.cpp")
run(1 -DEXERCISE=01.2)
expect_output("is missing. Bring the starter back: cmake -DEXERCISE=01.2")

file(REMOVE_RECURSE "${SCRATCH}")
get_property(failures GLOBAL PROPERTY failures)
if(failures)
    list(LENGTH failures count)
    message(FATAL_ERROR "${count} expectations failed")
endif()
message("the exercises' scripts do what they promise")
