# Proves docs/update.cmake on small documents in a scratch folder:
#   cmake -DSCRATCH=<folder, emptied first> -P tests/project/test_docs.cmake

cmake_minimum_required(VERSION 3.25)

cmake_path(SET project NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../..")
string(REGEX REPLACE "/$" "" project "${project}")
if(NOT DEFINED SCRATCH)
    message(FATAL_ERROR "usage: cmake -DSCRATCH=<folder> -P tests/project/test_docs.cmake")
endif()

# A project of one document and one source file.
function(new_case name body source)
    set(case "${name}" PARENT_SCOPE)
    file(REMOVE_RECURSE "${SCRATCH}")
    foreach(folder common demos/01_pair docs tests)
        file(MAKE_DIRECTORY "${SCRATCH}/${folder}")
    endforeach()
    put(CMakeLists.txt "# the scratch project\n")
    put(docs/guide.md "${body}")
    put(demos/01_pair/a.cpp "${source}")
endfunction()

# Writes the bytes as they are, on Windows too; the text must end with a line end, or be empty.
function(put path text)
    string(REGEX REPLACE "\n$" "" text "${text}") # file(CONFIGURE) adds it
    file(CONFIGURE OUTPUT "${SCRATCH}/${path}" CONTENT "@text@" @ONLY NEWLINE_STYLE UNIX)
endfunction()

function(fail what)
    message("FAILED: ${case}: ${what}")
    set_property(GLOBAL APPEND PROPERTY failures "${case}")
endfunction()

# Runs the tool with the given options; sets `code` and `output`.
macro(run)
    execute_process(COMMAND "${CMAKE_COMMAND}" "-DROOT=${SCRATCH}" ${ARGN} -P "${project}/docs/update.cmake"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 20)
endmacro()

# The tool fails, and says each of the sentences.
function(expect_problems options)
    run(${options})
    if(code EQUAL 0)
        fail("no failure")
    endif()
    foreach(sentence IN LISTS ARGN)
        string(FIND "${output}" "${sentence}" position)
        if(position EQUAL -1)
            fail("the output does not say: ${sentence}\n${output}")
        endif()
    endforeach()
endfunction()

function(expect_success options)
    run(${options})
    if(NOT code EQUAL 0)
        fail("unexpected failure\n${output}")
    endif()
endfunction()

# The file has exactly these bytes. Hexadecimal, because reading as text would hide a CR.
function(expect_bytes path text)
    file(READ "${SCRATCH}/${path}" actual HEX)
    string(HEX "${text}" expected)
    if(NOT actual STREQUAL expected)
        file(READ "${SCRATCH}/${path}" actual)
        fail("${path} holds\n${actual}--- instead of\n${text}---")
    endif()
endfunction()

set(region "// ANCHOR: one\nint one = 1;\n// ANCHOR_END: one\n")
set(block "```cpp\nint one = 1;\n```\n")
set(begin "<!-- snippet: demos/01_pair/a.cpp#one -->\n")
set(end "<!-- end snippet -->\n")

# ---- rewriting

new_case("a snippet is filled in, checked and not touched again" "# Guide\n\n${begin}${end}\nEnd.\n" "${region}")
expect_problems(-DCHECK=ON "docs/guide.md:3: snippet demos/01_pair/a.cpp#one differs from its file")
expect_bytes(docs/guide.md "# Guide\n\n${begin}${end}\nEnd.\n")
expect_success("")
expect_bytes(docs/guide.md "# Guide\n\n${begin}${block}${end}\nEnd.\n")
expect_success(-DCHECK=ON)
file(TIMESTAMP "${SCRATCH}/docs/guide.md" time_before "%s%f")
expect_success("")
file(TIMESTAMP "${SCRATCH}/docs/guide.md" time_after "%s%f")
if(NOT time_before STREQUAL time_after)
    fail("a document without differences was written again")
endif()

# Every character CMake itself gives a meaning to; \303\244 and so on as UTF-8.
set(hard [==[
auto list = "a;b;;c"; int array[] = {1, 2}; if (x[0]]) { }
auto path = L"C:\\temp\\;\"${HOME}\" $ENV{PATH} $<0:x> @text@ @ONLY \n \\";
	tab	inside, 'single', `backtick`, #cmakedefine X, [[bracket]] [=[ ]=], trailing backslash \
äöü € 𝄞 “quoted”  two spaces at the end  
/* ]]; ;[ */ ); ( # not a comment
;
]
[
]==])
new_case("hard characters arrive unchanged" "${begin}${end}"
    "before;[\n// ANCHOR: one\n${hard}// ANCHOR_END: one\nafter]\n")
expect_success("")
expect_bytes(docs/guide.md "${begin}```cpp\n${hard}```\n${end}")
expect_success(-DCHECK=ON)

new_case("hard characters around a snippet stay" "text ;[ \\ \${x} @body@ \\\n${begin}${end}; ] [ \\;\n\n" "${region}")
expect_success("")
expect_bytes(docs/guide.md "text ;[ \\ \${x} @body@ \\\n${begin}${block}${end}; ] [ \\;\n\n")

new_case("each change of one byte is a difference" "" "")
foreach(old "int one = 1; " "int one = 2;" "int one = 1" "int one = 1;;" "\tint one = 1;" "int one = 1;\n" "" "[")
    put(demos/01_pair/a.cpp "${region}")
    put(docs/guide.md "${begin}```cpp\n${old}\n```\n${end}")
    expect_problems(-DCHECK=ON "snippet demos/01_pair/a.cpp#one differs")
endforeach()

new_case("common indentation goes, blank lines stay, inner anchors go" "${begin}${end}<!-- snippet: demos/01_pair/a.cpp#two -->\n${end}"
    "    // ANCHOR: one\n    if (x) {\n\n        // ANCHOR: two\n        y();\n  \n    \t}\n    // ANCHOR_END: one\n  // ANCHOR_END: two\n")
expect_success("")
expect_bytes(docs/guide.md "${begin}```cpp\nif (x) {\n\n    y();\n\n\t}\n```\n${end}<!-- snippet: demos/01_pair/a.cpp#two -->\n```cpp\n    y();\n\n\t}\n```\n${end}")

new_case("CMake files, whole files, files beside the document, indented markers" "" "${region}")
put(CMakeLists.txt "# ANCHOR: build\nadd_demo(01_pair)\n# ANCHOR_END: build\n")
put(demos/01_pair/expected_output.txt "  A: one;two\n\nA: ``` fence\n// ANCHOR: kept\n")
put(docs/guide.md "- item\n\n  <!-- snippet: CMakeLists.txt#build -->\n  ${end}${begin}${end}")
put(demos/01_pair/notes.md "<!-- snippet: ./expected_output.txt -->\n${end}<!-- snippet: ./a.cpp -->\n${end}")
expect_success("")
expect_success(-DCHECK=ON)
expect_bytes(docs/guide.md "- item\n\n  <!-- snippet: CMakeLists.txt#build -->\n  ```cmake\n  add_demo(01_pair)\n  ```\n  ${end}${begin}${block}${end}")
expect_bytes(demos/01_pair/notes.md "<!-- snippet: ./expected_output.txt -->\n````text\n  A: one;two\n\nA: ``` fence\n// ANCHOR: kept\n````\n${end}<!-- snippet: ./a.cpp -->\n${block}${end}")

new_case("diagrams with their own comments, and longer than code may be" "" "${region}")
string(REPEAT "a->>b: x\n" 30 arrows)
put(demos/01_pair/calls.mmd "%% ANCHOR: diagram\nsequenceDiagram\n${arrows}%% ANCHOR_END: diagram\n%%   A: x\n")
put(docs/guide.md "Words.\n\n<!-- snippet: demos/01_pair/calls.mmd#diagram -->\n${end}${begin}${end}")
expect_success("")
expect_bytes(docs/guide.md "Words.\n\n<!-- snippet: demos/01_pair/calls.mmd#diagram -->\n```mermaid\nsequenceDiagram\n${arrows}```\n${end}${begin}${block}${end}")

new_case("CRLF compares equal and LF is written" "" "")
string(REPLACE "\n" "\r\n" crlf "${begin}${block}${end}")
string(REPLACE "\n" "\r\n" crlf_region "${region}")
put(docs/guide.md "${crlf}")
put(demos/01_pair/a.cpp "${crlf_region}")
expect_success(-DCHECK=ON)
expect_success("")
expect_bytes(docs/guide.md "${crlf}")
put(docs/guide.md "Text\r\n${begin}${end}")
expect_success("")
expect_bytes(docs/guide.md "Text\n${begin}${block}${end}")

new_case("a missing last line end is added" "${begin}" "")
file(APPEND "${SCRATCH}/demos/01_pair/a.cpp" "// ANCHOR: one\nint one = 1;\n// ANCHOR_END: one")
file(APPEND "${SCRATCH}/docs/guide.md" "<!-- end snippet -->")
expect_success("")
expect_bytes(docs/guide.md "${begin}${block}${end}")

new_case("a long .txt file is taken whole" "<!-- snippet: docs/long.txt -->\n${end}" "")
string(REPEAT "line\n" 30 lines)
put(docs/long.txt "${lines}")
expect_success("")
expect_bytes(docs/guide.md "<!-- snippet: docs/long.txt -->\n```text\n${lines}```\n${end}")

new_case("Markdown is put in as it is, and its links are checked where it is put" "<!-- snippet: docs/table.md -->\n${end}" "")
string(REPEAT "| [a](other.md) | `[b](none.md)` |\n" 30 lines)
put(docs/table.md "${lines}")
put(docs/other.md "# Other\n")
expect_success("")
expect_bytes(docs/guide.md "<!-- snippet: docs/table.md -->\n${lines}${end}")
expect_success(-DCHECK=ON)
put(docs/table.md "| [a](guide.md) |\n")
expect_problems(-DCHECK=ON "docs/guide.md:1: snippet docs/table.md differs from its file")
put(demos/01_pair/README.md "Text\n<!-- snippet: docs/table.md -->\n| [a](guide.md) |\n${end}")
put(docs/guide.md "nothing\n")
expect_success("")
expect_problems(-DCHECK=ON "demos/01_pair/README.md:2: link to guide.md: there is no such file")
put(docs/table.md "<!-- snippet: ./table.md -->\n${end}")
expect_problems("" "the text itself holds a snippet marker")

# ---- the table of pairs

set(home "[Home](../../README.md) [Which?](../../docs/choosing.md)")

# A README of a pair; `row` is the row of its table.
function(put_pair folder title row)
    put(demos/${folder}/README.md
        "# ${title}\n\nTwo sentences. ${home}\n\n| chapter | teaches | needs | minutes |\n|---|---|---|---|\n${row}\n\n## Run it\n")
endfunction()

function(new_pairs name)
    new_case("${name}" "nothing\n" "")
    set(case "${name}" PARENT_SCOPE)
    file(REMOVE_RECURSE "${SCRATCH}/demos/01_pair")
    put_pair(01_child "01 A child; <its> output" "| Start a child | when `ReadFile` ends; and why | - | 25 |")
    put_pair(02_handle "02 Handles" "| Handles | a handle is a number | - | 30 |")
    put_pair(03_pipe "03 Pipes" "| Pipes | two pipes | 01, 02 | 20 |")
    put_pair(04_input "04 Input" "| Start a child | its input | 01 | 5 |")
    put(README.md "# All\n\n<!-- snippet: demos/*/README.md -->\n<!-- end snippet -->\n")
    put(docs/choosing.md "[1](../demos/01_child/README.md) [2](../demos/02_handle/README.md)
[3](../demos/03_pipe/README.md) [4](../demos/04_input/README.md)\n")
endfunction()

set(head "| pair | what it teaches | needs | minutes |\n|---|---|---|---|\n")
new_pairs("the table of pairs comes from their READMEs, in chapters")
expect_problems(-DCHECK=ON "README.md:3: snippet demos/*/README.md differs from its file")
expect_success("")
string(CONCAT table "${head}"
    "| **Start a child** | | | |\n"
    "| [01](demos/01_child/README.md) A child; <its> output | when `ReadFile` ends; and why | - | 25 |\n"
    "| [04](demos/04_input/README.md) Input | its input | 01 | 5 |\n"
    "| **Handles** | | | |\n"
    "| [02](demos/02_handle/README.md) Handles | a handle is a number | - | 30 |\n"
    "| **Pipes** | | | |\n"
    "| [03](demos/03_pipe/README.md) Pipes | two pipes | 01, 02 | 20 |\n")
expect_bytes(README.md "# All\n\n<!-- snippet: demos/*/README.md -->\n${table}${end}")
expect_success(-DCHECK=ON)

# After a problem the old table stays.
function(expect_bad_pair name title row sentence)
    new_pairs("${name}")
    put_pair(03_pipe "${title}" "${row}")
    put(README.md "<!-- snippet: demos/*/README.md -->\nold\n${end}")
    expect_problems("" "${sentence}")
    expect_bytes(README.md "<!-- snippet: demos/*/README.md -->\nold\n${end}")
    expect_problems(-DCHECK=ON "${sentence}")
endfunction()

expect_bad_pair("a pair without a row" "03 Pipes" "" "demos/03_pipe/README.md: no table with the line '| chapter |")
expect_bad_pair("a row with a cell missing" "03 Pipes" "| Pipes | two pipes | 20 |" "demos/03_pipe/README.md: no table with the line '| chapter |")
expect_bad_pair("two rows" "03 Pipes" "| Pipes | a | - | 20 |\n| Pipes | b | - | 20 |" "demos/03_pipe/README.md: the table with the line '| chapter | ...' has more than one row")
expect_bad_pair("another number in the title" "04 Pipes" "| Pipes | a | - | 20 |" "demos/03_pipe/README.md:1: the first line has to be the number and the title, such as: # 03")
expect_bad_pair("no minutes" "03 Pipes" "| Pipes | a | - | soon |" "demos/03_pipe/README.md: minutes is 'soon'")
expect_bad_pair("needs that are no numbers" "03 Pipes" "| Pipes | a | pair 1 | 20 |" "demos/03_pipe/README.md: needs is 'pair 1'")
expect_bad_pair("a later pair is needed" "03 Pipes" "| Pipes | a | 01, 04 | 20 |" "demos/03_pipe/README.md: needs 04, which is no pair in front of this one")

new_pairs("a pair without a README")
file(REMOVE "${SCRATCH}/demos/03_pipe/README.md")
file(MAKE_DIRECTORY "${SCRATCH}/demos/03_pipe")
expect_problems("" "demos/03_pipe/README.md: missing")

new_pairs("the page of a pair leads home before its first table, and docs/choosing.md leads to it")
expect_success("")
foreach(target ../../README.md ../../docs/choosing.md)
    string(REPLACE "](${target})" "](processA.cpp)" lost "${home}")
    put(demos/03_pipe/processA.cpp "// code\n")
    put(demos/03_pipe/README.md "# 03 Pipes\n\n${lost}\n\n| chapter | teaches | needs | minutes |\n|---|---|---|---|\n| Pipes | two pipes | 01, 02 | 20 |\n\n${home}\n")
    expect_problems(-DCHECK=ON "demos/03_pipe/README.md: no link to ${target} in front of the first table")
endforeach()
put_pair(03_pipe "03 Pipes" "| Pipes | two pipes | 01, 02 | 20 |")
expect_success(-DCHECK=ON)
put(docs/choosing.md "[1](../demos/01_child/README.md) [2](../demos/02_handle/README.md) [4](../demos/04_input/README.md)\n")
expect_problems(-DCHECK=ON "docs/choosing.md: no link to demos/03_pipe/README.md")

# ---- a way through the pairs

new_pairs("a way through the pairs counts their minutes")
put(docs/guide.md "<!-- snippet: demos/{02,01}/README.md -->\n${end}\n<!-- snippet: demos/{03}/README.md -->\n${end}")
expect_success("")
set(head "| pair | what it teaches | minutes | minutes so far |\n|---|---|---|---|\n")
string(CONCAT text "<!-- snippet: demos/{02,01}/README.md -->\n${head}"
    "| [02](../demos/02_handle/README.md) Handles | a handle is a number | 30 | 30 |\n"
    "| [01](../demos/01_child/README.md) A child; <its> output | when `ReadFile` ends; and why | 25 | 55 |\n${end}"
    "\n<!-- snippet: demos/{03}/README.md -->\n${head}"
    "| [03](../demos/03_pipe/README.md) Pipes | two pipes | 20 | 75 |\n${end}")
expect_bytes(docs/guide.md "${text}")
expect_success(-DCHECK=ON)
put_pair(01_child "01 A child; <its> output" "| Start a child | when `ReadFile` ends; and why | - | 26 |")
expect_problems(-DCHECK=ON "docs/guide.md:1: snippet demos/{02,01}/README.md differs" "docs/guide.md:8: snippet demos/{03}/README.md differs")
put(docs/guide.md "<!-- snippet: demos/{01,03}/README.md -->\nold\n${end}")
expect_problems("" "docs/guide.md:1: pair 03 needs 02, which has not come yet")
put(docs/guide.md "<!-- snippet: demos/{01,09}/README.md -->\nold\n${end}")
expect_problems("" "docs/guide.md:1: there is no pair 09")
expect_bytes(docs/guide.md "<!-- snippet: demos/{01,09}/README.md -->\nold\n${end}")

# ---- the table of tasks

new_case("the table of tasks comes from docs/snippets.md" "<!-- snippet: docs/snippets/*.cpp -->\n${end}" "")
expect_problems("" "docs/guide.md:1: docs/snippets.md has no row")
put(docs/snippets/s.cpp "// code\n")
set(head "| task | file | pair |\n|---|---|---|\n")
set(tail "[s.cpp](snippets/s.cpp) | [01](../demos/01_pair/a.cpp) |\n")
put(docs/snippets.md "${head}| [One](#one) | ${tail}| [Two](#two) | ${tail}\n## One\n\n${head}| [Three](#three) | ${tail}\n## Two\n\n## Three\n")
expect_success("")
expect_bytes(docs/guide.md "<!-- snippet: docs/snippets/*.cpp -->\n| task | snippet | pair |\n|---|---|---|\n| [One](snippets.md#one) | ${tail}| [Two](snippets.md#two) | ${tail}| [Three](snippets.md#three) | ${tail}${end}")
expect_success(-DCHECK=ON)
put(docs/snippets.md "${head}| [Four](#four) | ${tail}\n## Four\n")
expect_problems(-DCHECK=ON "docs/guide.md:1: snippet docs/snippets/*.cpp differs")

# ---- the tables of exercises

# A README of an exercise, and its solution.
function(put_exercise pair name id title row source)
    put(demos/${pair}/exercises/${name}/README.md
        "# ${id} ${title}\n\n| kind | file | you learn | minutes |\n|---|---|---|---|\n${row}\n\nThe task.\n")
    string(REGEX REPLACE "^[0-9]+_" "" word "${name}")
    put(tests/exercises/${id}_${word}/${source} "// the solution\n")
endfunction()

function(new_exercises name)
    new_pairs("${name}")
    set(case "${name}" PARENT_SCOPE)
    put_exercise(01_child 2_tail 01.2 "The tail; lost" "| mend | processA.cpp | the `end`; and why | 15 |" processA.cpp)
    put_exercise(01_child 10_late 01.10 "Late" "| write | processB.cpp | the late one | 5 |" processB.cpp)
    put_exercise(03_pipe 1_rest 03.1 "The rest" "| mend | processA.cpp | the rest | 20 |" processA.cpp)
    put(README.md "nothing\n")
    put(docs/guide.md "<!-- snippet: demos/*/exercises/*/README.md -->\n${end}")
endfunction()

set(head "| exercise | kind | you learn | minutes |\n|---|---|---|---|\n")
new_exercises("the table of exercises comes from their READMEs, in the order of their numbers")
put(demos/01_child/README.md "# 01 Child\n\n${home}\n\n| chapter | teaches | needs | minutes |\n|---|---|---|---|\n| A | b | - | 1 |\n\n<!-- snippet: ./exercises/*/README.md -->\n${end}")
expect_success("")
string(CONCAT table "${head}"
    "| **[01](../demos/01_child/README.md) Child** | | | |\n"
    "| [01.2](../demos/01_child/exercises/2_tail/README.md) The tail; lost | mend | the `end`; and why | 15 |\n"
    "| [01.10](../demos/01_child/exercises/10_late/README.md) Late | write | the late one | 5 |\n"
    "| **[03](../demos/03_pipe/README.md) Pipes** | | | |\n"
    "| [03.1](../demos/03_pipe/exercises/1_rest/README.md) The rest | mend | the rest | 20 |\n")
expect_bytes(docs/guide.md "<!-- snippet: demos/*/exercises/*/README.md -->\n${table}${end}")
string(CONCAT table "${head}"
    "| [01.2](exercises/2_tail/README.md) The tail; lost | mend | the `end`; and why | 15 |\n"
    "| [01.10](exercises/10_late/README.md) Late | write | the late one | 5 |\n")
expect_bytes(demos/01_child/README.md "# 01 Child\n\n${home}\n\n| chapter | teaches | needs | minutes |\n|---|---|---|---|\n| A | b | - | 1 |\n\n<!-- snippet: ./exercises/*/README.md -->\n${table}${end}")
expect_success(-DCHECK=ON)
put(demos/01_child/exercises/2_tail/symptom.txt "FAILED\n")
expect_problems(-DCHECK=ON "demos/01_child/exercises/2_tail/symptom.txt: no document includes this output")

function(expect_bad_exercise name title row source sentence)
    new_exercises("${name}")
    put_exercise(03_pipe 1_rest 03.1 "The rest" "${row}" ${source})
    file(READ "${SCRATCH}/demos/03_pipe/exercises/1_rest/README.md" text)
    string(REPLACE "# 03.1 The rest" "${title}" text "${text}")
    put(demos/03_pipe/exercises/1_rest/README.md "${text}")
    put(docs/guide.md "<!-- snippet: demos/*/exercises/*/README.md -->\nold\n${end}")
    expect_problems("" "${sentence}")
    expect_bytes(docs/guide.md "<!-- snippet: demos/*/exercises/*/README.md -->\nold\n${end}")
endfunction()

expect_bad_exercise("another number in an exercise's title" "# 03.2 The rest" "| mend | processA.cpp | a | 20 |" processA.cpp
    "demos/03_pipe/exercises/1_rest/README.md:1: the first line has to be the number and the title: # 03.1")
expect_bad_exercise("an exercise of no known kind" "# 03.1 The rest" "| guess | processA.cpp | a | 20 |" processA.cpp
    "demos/03_pipe/exercises/1_rest/README.md: no table with the line '| kind |")
expect_bad_exercise("an exercise without a row" "# 03.1 The rest" "" processA.cpp
    "demos/03_pipe/exercises/1_rest/README.md: no table with the line '| kind |")
expect_bad_exercise("an exercise without minutes" "# 03.1 The rest" "| mend | processA.cpp | a | soon |" processA.cpp
    "demos/03_pipe/exercises/1_rest/README.md: no table with the line '| kind |")
expect_bad_exercise("an exercise with the solution of the other process" "# 03.1 The rest" "| mend | processB.cpp | a | 20 |" processA.cpp
    "demos/03_pipe/exercises/1_rest/README.md: the table names processB.cpp, but the solution in tests/exercises/ is 'processA.cpp'")

new_case("a pair without exercises" "nothing\n" "")
put(demos/01_pair/README.md "<!-- snippet: ./exercises/*/README.md -->\nold\n${end}")
expect_problems("" "demos/01_pair/README.md:1: snippet ./exercises/*/README.md: there is no exercise")

# ---- problems with snippets: told in both modes, and the old text stays

function(expect_rejected name body source)
    new_case("${name}" "${body}" "${source}")
    expect_problems("" ${ARGN})
    expect_bytes(docs/guide.md "${body}")
    expect_problems(-DCHECK=ON ${ARGN})
endfunction()

expect_rejected("unknown file" "x\n<!-- snippet: demos/none.cpp#one -->\nold\n${end}" "${region}"
    "docs/guide.md:2: snippet demos/none.cpp#one: there is no file demos/none.cpp")
expect_rejected("unknown anchor" "<!-- snippet: demos/01_pair/a.cpp#ten -->\nold\n${end}" "${region}"
    "docs/guide.md:1: snippet demos/01_pair/a.cpp#ten: demos/01_pair/a.cpp has no complete anchor ten")
expect_rejected("duplicated anchor" "${begin}${block}${end}" "${region}${region}"
    "demos/01_pair/a.cpp:4: anchor one is duplicated")
expect_rejected("anchor without end" "${begin}${block}${end}" "x\n// ANCHOR: one\nint one = 1;\n"
    "demos/01_pair/a.cpp:2: anchor one has no ANCHOR_END")
expect_rejected("anchor end without start" "${begin}${block}${end}" "${region}// ANCHOR_END: other\n"
    "demos/01_pair/a.cpp:4: ANCHOR_END other has no ANCHOR before it")
expect_rejected("malformed anchor" "${begin}${block}${end}" "${region}  // ANCHOR: two words\n"
    "demos/01_pair/a.cpp:4: malformed anchor line")
expect_rejected("marker without end" "${begin}old\n" "${region}"
    "docs/guide.md:1: snippet demos/01_pair/a.cpp#one has no line <!-- end snippet -->")
expect_rejected("marker without end before the next marker" "${begin}old\n${begin}${block}${end}" "${region}"
    "docs/guide.md:1: snippet demos/01_pair/a.cpp#one has no line <!-- end snippet -->")
expect_rejected("end marker alone" "x\n${end}" "${region}" "docs/guide.md:2: malformed or misplaced snippet marker")
expect_rejected("marker with text beside it" "See <!-- snippet: demos/01_pair/a.cpp#one -->\n" "${region}"
    "docs/guide.md:1: malformed or misplaced snippet marker")
expect_rejected("block without end" "```sh\nls\n" "" "docs/guide.md:1: the block that starts here has no end")
new_case("a function of docs/snippets/ may be longer" "<!-- snippet: docs/snippets/s.cpp#one -->\n${end}" "")
string(REPEAT "f();\n" 80 lines)
put(docs/snippets/s.cpp "// ANCHOR: one\n${lines}// ANCHOR_END: one\n")
expect_success("")
expect_success(-DCHECK=ON)
string(REPEAT "f();\n" 81 lines)
put(docs/snippets/s.cpp "// ANCHOR: one\n${lines}// ANCHOR_END: one\n")
expect_problems("" "snippet docs/snippets/s.cpp#one: 81 lines, more than 80")
string(REPEAT "f();\n" 21 lines)
expect_rejected("long region" "${begin}old\n${end}" "// ANCHOR: one\n${lines}// ANCHOR_END: one\n"
    "docs/guide.md:1: snippet demos/01_pair/a.cpp#one: 21 lines, more than 20")
expect_rejected("marker in the code" "${begin}old\n${end}" "// ANCHOR: one\n${end}// ANCHOR_END: one\n"
    "snippet demos/01_pair/a.cpp#one: the text itself holds a snippet marker")

new_case("one problem does not stop the others" "${begin}${end}<!-- snippet: gone.cpp -->\nold\n${end}" "${region}")
expect_problems("" "docs/guide.md:3: snippet gone.cpp: there is no file gone.cpp")
expect_bytes(docs/guide.md "${begin}${block}${end}<!-- snippet: gone.cpp -->\nold\n${end}")

# ---- problems that only the check tells

new_case("unused anchors and outputs" "nothing\n" "${region}")
put(common/x.hpp "// ANCHOR: in_header\n// ANCHOR_END: in_header\n")
put(demos/01_pair/expected_output.txt "A\n")
expect_success("")
expect_problems(-DCHECK=ON "demos/01_pair/a.cpp: no document uses anchor one"
    "common/x.hpp: no document uses anchor in_header" "demos/01_pair/expected_output.txt: no document includes this output")

new_case("hand-written code and output" "```cpp\nint x;\n```\n\n```text\nA: 1\n```\n\n```\nA: 1\n```\n\n~~~c++\nx\n~~~\n" "")
expect_problems(-DCHECK=ON "docs/guide.md:1: hand-written block 'cpp'" "docs/guide.md:5: hand-written block 'text'"
    "docs/guide.md:9: hand-written block ''" "docs/guide.md:13: hand-written block 'c++'")

new_case("commands and diagrams may be written by hand, markers in them are text"
    "Words.\n\n```sh\nls;[\n```\n\nWords.\n\n```mermaid\na->>b: x\n```\n````markdown\n```cpp\n${begin}${end}```\n````\n`<!-- end snippet -->`\n" "")
expect_success(-DCHECK=ON)

new_case("dead links" "[a](none.md) and [b](../demos/01_pair/a.cpp), ![c](c.png)\n[d](other.md#no-heading) [e](#guide)\n\n[f]: g.md\n[h](../../outside.md)\n" "")
put(docs/other.md "# Other\n")
expect_problems(-DCHECK=ON "docs/guide.md:1: link to none.md" "docs/guide.md:1: link to c.png"
    "docs/guide.md:2: link to other.md#no-heading: there is no such heading" "docs/guide.md:2: link to #guide"
    "docs/guide.md:4: link to g.md" "docs/guide.md:5: link to ../../outside.md")

new_case("live links" "# A guide; to `pipes`\n[a](other.md) [b](#a-guide-to-pipes) [c](other.md#two-1 \"title\")\n[d](../demos/01_pair/) [e](https://example.com/none.md)\n`[f](none.md)`\n```sh\n[g](none.md)\n# Not a heading\n```\n[h]: other.md#two\n[^1]: A footnote.\n[i](other.md#error_x-5--a)\n" "")
put(docs/other.md "## Two\n\n## [Two](guide.md)\n\n## ERROR_X (5) · a\n")
expect_success(-DCHECK=ON)

new_case("a picture has words" "![](a.svg)\n[![ ](a.svg)](a.svg)\n<img src=\"a.svg\">\n" "")
put(docs/a.svg "<svg/>\n")
expect_problems(-DCHECK=ON "docs/guide.md:1: a picture needs words" "docs/guide.md:2: a picture needs words"
    "docs/guide.md:3: a picture needs words")
put(docs/guide.md "![The rate](a.svg)\n`![](a.svg)`\n")
expect_success(-DCHECK=ON)

# Words before the diagram, after it, or nowhere near it.
new_case("a diagram has words before or after it" "" "")
set(diagram "\n```mermaid\na->>b: x\n```\n")
foreach(body "Words.\n${diagram}" "# Title\n${diagram}\n- Words.\n" "| a |\n${diagram}\nWords.\n" "Words.\n${diagram}${diagram}\nWords.\n")
    put(docs/guide.md "${body}")
    expect_success(-DCHECK=ON)
endforeach()
foreach(body "# Title\n${diagram}" "# Title\n${diagram}\n## Next\n\nWords.\n" "Words.\n\n| a |\n${diagram}\n| b |\n" "Words.\n\n# Title\n${diagram}${diagram}\nWords.\n")
    put(docs/guide.md "${body}")
    expect_problems(-DCHECK=ON ": no words before or after the diagram")
endforeach()

file(REMOVE_RECURSE "${SCRATCH}")
get_property(failures GLOBAL PROPERTY failures)
if(failures)
    list(LENGTH failures count)
    message(FATAL_ERROR "${count} expectations failed")
endif()
message("docs/update.cmake does what it promises")
