# Proves tests/report.cmake, and the tables that docs/update.cmake makes of reports, with made-up results:
#   cmake -DSCRATCH=<folder, emptied first> -P tests/project/test_report.cmake

cmake_minimum_required(VERSION 3.25)

if(NOT DEFINED SCRATCH)
    message(FATAL_ERROR "usage: cmake -DSCRATCH=<folder> -P tests/project/test_report.cmake")
endif()
include("${CMAKE_CURRENT_LIST_DIR}/../../common/cmake/setup.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/../report.cmake")
set(project "${root}")
file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}")

function(fail what)
    message("FAILED: ${what}")
    set_property(GLOBAL APPEND PROPERTY failures "${what}")
endfunction()

function(expect_equal name actual expected)
    if(NOT actual STREQUAL expected)
        fail("${name}:\n${actual}\n--- instead of\n${expected}\n---")
    endif()
endfunction()

function(expect_part name text part)
    string(FIND "${text}" "${part}" position)
    if(position EQUAL -1)
        fail("${name}: no\n${part}\n--- in\n${text}\n---")
    endif()
endfunction()

function(put path text)
    string(REGEX REPLACE "\n$" "" text "${text}") # file(CONFIGURE) adds it
    file(CONFIGURE OUTPUT "${SCRATCH}/${path}" CONTENT "@text@" @ONLY NEWLINE_STYLE UNIX)
endfunction()

# ---- what is private

set(root "/home/jroe/src/ipc [1]+")
set(build "/home/jroe/src/ipc [1]+/build")
set(ENV{HOME} "/home/jroe")
set(ENV{USERPROFILE} "C:\\Users\\Jane Roe")
set(ENV{TEMP} "C:\\Users\\JANERO~1\\AppData\\Local\\Temp")
set(ENV{TMP} "")
set(ENV{TMPDIR} "/scratch/run7")
set(ENV{USERNAME} "Jane Roe")
set(ENV{USER} "jroe")
set(ENV{LOGNAME} "jroe")
set(ENV{COMPUTERNAME} "ROE-LAPTOP")
set(ENV{USERDOMAIN} "EXAMPLE")
find_private_texts()

function(expect_scrubbed text expected)
    scrub("${text}" actual)
    expect_equal("scrub(${text})" "${actual}" "${expected}")
endfunction()

expect_scrubbed("/home/jroe/src/ipc [1]+/tests/pairs/test_04.cpp:540: FAILED:" "tests/pairs/test_04.cpp:540: FAILED:")
expect_scrubbed("Z:\\home\\JROE\\src\\ipc [1]+\\tests\\a.cpp(7): error" "tests\\a.cpp(7): error")
expect_scrubbed("\"/home/jroe/src/ipc [1]+/build/bin\" and /home/jroe/src/ipc [1]+" "\"<build>/bin\" and <project>")
expect_scrubbed("in /scratch/run7/ipc_demos and /tmp/x, not /tmpfoo" "in <temp>/ipc_demos and <temp>/x, not /tmpfoo")
expect_scrubbed("c:/users/jane roe/a.txt; C:\\\\Users\\\\Jane Roe\\\\b" "<home>/a.txt; <home>\\\\b")
expect_scrubbed("C:\\Users\\JANERO~1\\AppData\\Local\\Temp\\ipc" "<temp>\\ipc")
expect_scrubbed("C:\\Program Files\\CMake\\bin\\cmake.exe says" "<path> says")
expect_scrubbed("'/usr/lib/wine/wineserver' (/opt/x/y)" "'<path>' (<path>)")
expect_scrubbed("jroe jroe JRoe, jroes, xjroe, Jane Roe." "<user> <user> <user>, jroes, xjroe, <user>.")
expect_scrubbed("EXAMPLE\\jane roe on ROE-LAPTOP" "<computer>\\<user> on <computer>")
expect_scrubbed("O:S-1-5-21-1004336348-1177238915-682003330-512D:(A;;FA;;;WD)" "O:<SID>D:(A;;FA;;;WD)")
expect_scrubbed("\\\\.\\pipe\\ipc_demos.04.suffix and/or 1/2 https://learn.microsoft.com/windows ; [ ] \\"
    "\\\\.\\pipe\\ipc_demos.04.suffix and/or 1/2 https://learn.microsoft.com/windows ; [ ] \\")
expect_scrubbed("" "")

# A name of one letter, and / or a drive as home folder, would take every such word and slash.
set(ENV{USER} "a")
set(ENV{LOGNAME} "")
set(ENV{USERNAME} "")
set(ENV{USERDOMAIN} "")
set(ENV{HOME} "/")
set(ENV{USERPROFILE} "C:\\")
find_private_texts()
expect_scrubbed("a word / a slash, drive C: is full" "a word / a slash, drive C: is full")
set(ENV{HOME} "/home/jroe")
set(ENV{USER} "user")
find_private_texts()
expect_scrubbed("user USER /home/jroe" "<user> <user> <home>")
set(ENV{USER} "jroe")
set(ENV{USERPROFILE} "C:\\Users\\Jane Roe")
find_private_texts()

# ---- CTest's results

set(before "Filters: \"x\"
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
test_04.exe is a Catch2 v3.7.1 host application.
-------------------------------------------------------------------------------
The name
-------------------------------------------------------------------------------
/home/jroe/src/ipc [1]+/tests/pairs/test_04.cpp:538
...............................................................................

/home/jroe/src/ipc [1]+/tests/pairs/test_04.cpp:540: ")
set(after "
===============================================================================
test cases: 1 | 1 of a kind

")
set(filler "")
foreach(i RANGE 1 30)
    string(APPEND filler "line ${i}\n")
endforeach()
put(results.xml "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuite name=\"(empty)\" tests=\"9\">
	<testcase name=\"04: One &lt;two&gt; &quot;three&quot; &amp;amp; [four]; \\\\.\\pipe\" classname=\"x\" time=\"1.25\" status=\"run\">
		<system-out>All tests passed; /home/jroe FAILED: SKIPPED: no
</system-out>
	</testcase>
	<testcase name=\"04: skipped by Catch2\" classname=\"x\" time=\"0.0248531\" status=\"notrun\">
		<skipped message=\"SKIP_RETURN_CODE=4\"/>
		<system-out>${before}SKIPPED:
explicitly with message:
  this system has no log-
  on sessions; [or] so, and jroe may not
  read /home/jroe/x
${after}</system-out>
	</testcase>
	<testcase name=\"19: skipped by run_pair\" classname=\"x\" time=\"0\" status=\"notrun\">
		<skipped message=\"SKIP_REGULAR_EXPRESSION_MATCHED\"/>
		<system-out>A: left out: no sockets
run_pair: left out: no sockets here
</system-out>
	</testcase>
	<testcase name=\"19: skipped by a script\" classname=\"x\" time=\"0\" status=\"notrun\">
		<skipped message=\"SKIP_REGULAR_EXPRESSION_MATCHED\"/>
		<system-out>SKIP: socat is not installed
</system-out>
	</testcase>
	<testcase name=\"19: skipped without a word\" classname=\"x\" time=\"0\" status=\"notrun\">
		<skipped message=\"SKIP_RETURN_CODE=4\"/>
	</testcase>
	<testcase name=\"20: failed in Catch2\" classname=\"x\" time=\"2.1\" status=\"fail\">
		<failure message=\"Failed\"/>
		<system-out>A: a line
${before}FAILED:
  CHECK( a &lt; b &amp;&amp; list[0]; )
with expansion:
  \"/home/jroe/src/ipc [1]+/build/x\" == \"C:\\Users\\Jane Roe\\x\"
${filler}${after}</system-out>
	</testcase>
	<testcase name=\"20: timed out\" classname=\"x\" time=\"120.04\" status=\"fail\">
		<failure message=\"Timeout\"/>
		<system-out>${filler}</system-out>
	</testcase>
	<testcase name=\"docs: not built\" classname=\"x\" time=\"0\" status=\"notrun\">
		<skipped message=\"Unable to find executable: /home/jroe/src/ipc [1]+/build/x\"/>
		<system-out></system-out>
	</testcase>
	<testcase name=\"docs: passed quickly\" classname=\"x\" time=\"0.01\" status=\"run\">
		<system-out></system-out>
	</testcase>
</testsuite>
")
read_results("${SCRATCH}/results.xml" REASONS)
expect_equal("test_count" "${test_count}" 9)

set(system "Wine 8.0 on Debian GNU/Linux 12")
set(compiler "MinGW-w64 GCC 12.0.0, 64-bit, Release")
set(cmake "3.25.1, Ninja")
set(processors 2)
set(date 2026-11-22)
set(commit 0123abcd)
set(part "")
set(result "3 tests failed")
set(build_seconds 61.2)
set(run_seconds 372.4)
set(build_output "")
write_report("${SCRATCH}/report.txt")
file(READ "${SCRATCH}/report.txt" text)
expect_equal("the report" "${text}" "Report of the tests of Win32 IPC in pairs

system: Wine 8.0 on Debian GNU/Linux 12
compiler: MinGW-w64 GCC 12.0.0, 64-bit, Release
cmake: 3.25.1, Ninja
processors: 2
date: 2026-11-22
commit: 0123abcd
result: 3 tests failed
passed tests: 2
failed tests: 3
skipped tests: 4
build seconds: 61.2
run seconds: 372.4

TESTS  PASSED  FAILED  SKIPPED  SECONDS
04     1       0       1        1.2
19     0       0       3        0.0
20     0       2       0        122.1
docs   1       1       0        0.0

failed: 20: failed in Catch2
  tests/pairs/test_04.cpp:540: FAILED:
    CHECK( a < b && list[0]; )
  with expansion:
    \"<build>/x\" == \"<home>\\x\"
  line 1
  line 2
  line 3
  line 4
  line 5
  line 6
failed: 20: timed out
  CTest: Timeout
  line 21
  line 22
  line 23
  line 24
  line 25
  line 26
  line 27
  line 28
  line 29
failed: docs: not built
  CTest: Unable to find executable: <build>/x

skipped: 04: skipped by Catch2
  this system has no log-on sessions; [or] so, and <user> may not read <home>/x
skipped: 19: skipped by run_pair
  no sockets here
skipped: 19: skipped by a script
  socat is not installed
skipped: 19: skipped without a word
  no reason was printed

passed: 04: One <two> \"three\" &amp; [four]; \\\\.\\pipe
passed: docs: passed quickly
")

# A long line is not cut within a character.
string(REPEAT "äöü " 60 long)
first_lines("${long}" 1 line)
string(REPEAT "äöü " 28 start)
expect_equal("a long line" "${line}" "  ${start} ...\n")

set(test_count 0)
set(build_output "/home/jroe/src/ipc [1]+/demos/a.cpp(3): error C2065: 'x': [undeclared]; \\")
set(result "the build failed")
set(part 04_message_mode)
write_report("${SCRATCH}/build_failed.txt")
file(READ "${SCRATCH}/build_failed.txt" text)
expect_part("a build that failed" "${text}" "\npart: 04_message_mode\nresult: the build failed\npassed tests: 0\n")
expect_part("a build that failed" "${text}"
    "\n\nThe build's first errors:\n  demos/a.cpp(3): error C2065: 'x': [undeclared]; \\\n")

# ---- reading a report

function(expect_problem file problem)
    read_report("${SCRATCH}/${file}")
    string(FIND "${report_problem}" "${problem}" position)
    if(position EQUAL -1 OR (problem STREQUAL "" AND NOT report_problem STREQUAL ""))
        fail("${file}: the problem is '${report_problem}' instead of '${problem}'")
    endif()
endfunction()

expect_problem(report.txt "")
expect_problem(build_failed.txt "")
read_report("${SCRATCH}/report.txt")
expect_equal("what was read" "${report_system}|${report_part}|${report_passed_tests}|${report_run_seconds}"
    "Wine 8.0 on Debian GNU/Linux 12||2|372.4")
file(READ "${SCRATCH}/report.txt" good)

# With `old` replaced by `new` the report has this problem.
function(expect_broken old new problem)
    string(REPLACE "${old}" "${new}" text "${good}")
    put(broken.txt "${text}")
    expect_problem(broken.txt "${problem}")
endfunction()

expect_broken("Report of" "A report of" "the first line")
expect_broken("compiler: " "compilers: " "there is no line 'compiler: ...'")
expect_broken("seconds: 61.2" "seconds: soon" "'build seconds' is no number")
expect_broken("passed: docs: passed quickly\n" "" "'passed tests' is 2, and 1 are listed")
expect_broken("failed tests: 3" "failed tests: 2" "'failed tests' is 2, and 3 are listed")
expect_broken("  no sockets here\n" "" "no reason is below 'skipped: 19: skipped by run_pair'")
expect_broken("line 5" "D:\\src\\a.cpp" "it holds D:\\src\\a.cpp")
expect_broken("line 5" "in /home/somebody/a.cpp" "it holds /home/somebody/a.cpp")
expect_broken("line 5" "S-1-5-21-100-200-300-1001" "it holds S-1-5-21-100-200-300-1001")

# ---- the tables of a document

set(text "# Platforms\n\n<!-- snippet: ./reports/*.txt#runs -->\n<!-- end snippet -->\n\n")
string(APPEND text "<!-- snippet: ./reports/*.txt#skips -->\n<!-- end snippet -->\n")
put(pages/docs/platforms.md "${text}")
put(pages/CMakeLists.txt "#\n")
put(pages/README.md "# Home\n")
put(pages/docs/choosing.md "[04](../demos/04_message_mode/README.md)\n")
put(pages/demos/04_message_mode/README.md "# 04\n\n[Home](../../README.md) [Which?](../../docs/choosing.md)\n")
put(pages/docs/reports/debian.txt "${good}")

macro(update)
    execute_process(COMMAND "${CMAKE_COMMAND}" "-DROOT=${SCRATCH}/pages" ${ARGN} -P "${project}/docs/update.cmake"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 20)
endmacro()

function(expect_page runs skips)
    update()
    file(READ "${SCRATCH}/pages/docs/platforms.md" text)
    expect_equal("the page" "${text}" "# Platforms

<!-- snippet: ./reports/*.txt#runs -->
| report | system | compiler | passed | failed | skipped | minutes to build, to test | date |
|---|---|---|---|---|---|---|---|
${runs}<!-- end snippet -->

<!-- snippet: ./reports/*.txt#skips -->
| pair | test | why it was skipped | passed in |
|---|---|---|---|
${skips}<!-- end snippet -->
")
    update(-DCHECK=ON)
    expect_equal("-DCHECK=ON, which prints ${output}" "${code}" 0)
endfunction()

set(debian "| [debian](reports/debian.txt) | Wine 8.0 on Debian GNU/Linux 12 | MinGW-w64 GCC 12.0.0, 64-bit, Release | 2 | 3 | 4 | 1.0, 6.2 | 2026-11-22 |\n")
set(skip_04 "| [04](../demos/04_message_mode/README.md) | skipped by Catch2 | this system has no log-on sessions; \\[or] so, and \\<user> may not read \\<home>/x |")
expect_page("${debian}\n**No report from Windows has been sent yet.**\n"
    "${skip_04} nowhere yet |
| 19 | skipped by a script | socat is not installed | nowhere yet |
| 19 | skipped by run_pair | no sockets here | nowhere yet |
| 19 | skipped without a word | no reason was printed | nowhere yet |
")

# Windows passes two of these tests and skips another. Four tests that share everything share a row.
put(pages/docs/reports/windows.txt "Report of the tests of Win32 IPC in pairs

system: Windows 11 Pro 23H2 (build 22631.3007)
compiler: MSVC 19.38.33133.0, 64-bit, Debug
cmake: 3.31.0, Visual Studio 17 2022
processors: 8
date: 2026-12-01
part: 04_message_mode
result: every test passed or was skipped
passed tests: 2
failed tests: 0
skipped tests: 5
build seconds: 0.4
run seconds: 30

skipped: 04: a | b
  the same
skipped: 04: b
  the same
skipped: 04: c
  the same
skipped: 04: d
  the same
skipped: 19: skipped without a word
  another reason

passed: 04: skipped by Catch2
passed: 19: skipped by run_pair
")
expect_page("${debian}| [windows](reports/windows.txt) | Windows 11 Pro 23H2 (build 22631.3007) | MSVC 19.38.33133.0, 64-bit, Debug | 2, only 04_message_mode | 0 | 5 | 0.0, 0.5 | 2026-12-01 |\n"
    "| [04](../demos/04_message_mode/README.md) | 4 tests | the same | nowhere yet |
${skip_04} windows |
| 19 | skipped by a script | socat is not installed | nowhere yet |
| 19 | skipped by run_pair | no sockets here | windows |
| 19 | skipped without a word | no reason was printed; another reason | nowhere yet |
")

file(READ "${SCRATCH}/pages/docs/reports/windows.txt" text)
string(REPLACE "passed: 19: skipped by run_pair" "passed: 04: a | b" text "${text}")
put(pages/docs/reports/windows.txt "${text}")
update(-DCHECK=ON)
expect_part("two tests with one name" "${output}"
    "docs/reports/windows.txt: it lists '04: a | b' as skipped and as passed: two tests have this name")

file(APPEND "${SCRATCH}/pages/docs/reports/windows.txt" "passed: 04: C:\\Users\\somebody\n")
update(-DCHECK=ON)
expect_equal("a report with a path" "${code}" 1)
expect_part("a report with a path" "${output}" "docs/reports/windows.txt: it holds C:\\Users\\somebody")

# ---- the systems

set(emulator "${CMAKE_COMMAND}" -E echo "wine-9.0 (a distribution's words)")
if(NOT CMAKE_HOST_WIN32)
    describe_system(system)
    if(NOT system MATCHES "^Wine 9\\.0 on [^()]+$")
        fail("the system is '${system}'")
    endif()
endif()

# Windows' registry, as CMake would read it.
function(cmake_host_system_information)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "RESULT;VALUE" "QUERY")
    set(${arg_RESULT} "${registry_${arg_VALUE}}" PARENT_SCOPE)
endfunction()

function(expect_windows product version number revision expected)
    set(CMAKE_HOST_WIN32 TRUE)
    set(registry_ProductName "${product}")
    set(registry_DisplayVersion "${version}")
    set(registry_CurrentBuildNumber "${number}")
    set(registry_UBR "${revision}")
    describe_system(system)
    expect_equal("the system" "${system}" "${expected}")
endfunction()

expect_windows("Windows 10 Pro" 22H2 19045 3803 "Windows 10 Pro 22H2 (build 19045.3803)")
expect_windows("Windows 10 Pro" 23H2 22631 3007 "Windows 11 Pro 23H2 (build 22631.3007)")
expect_windows("Windows Server 2022 Datacenter" 21H2 20348 2113 "Windows Server 2022 Datacenter 21H2 (build 20348.2113)")
expect_windows("Windows 10 Enterprise 2016 LTSB" "" 14393 6529 "Windows 10 Enterprise 2016 LTSB (build 14393.6529)")

# ---- tests/run.cmake refuses a report that it could not write, before it does anything else

function(expect_refused report sentence)
    execute_process(COMMAND "${CMAKE_COMMAND}" "-DREPORT=${report}" "-DBUILD_DIR=${SCRATCH}/build" -DONLY=01
            -P "${project}/tests/run.cmake" WORKING_DIRECTORY "${SCRATCH}"
        RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 20)
    string(REGEX REPLACE "[ \n]+" " " output "${output}") # message() breaks lines
    expect_equal("REPORT=${report}: the exit code" "${code}" 1)
    expect_part("REPORT=${report}" "${output}" "${sentence}")
    if(output MATCHES "Configuring" OR EXISTS "${SCRATCH}/build")
        fail("REPORT=${report}: the run began")
    endif()
endfunction()

expect_refused("missing/report.txt" "${SCRATCH}/missing/report.txt: does its folder exist")
expect_refused("report.txt/report.txt" "The report cannot be written to")
expect_refused("pages" "REPORT has to name a file")
expect_refused("" "REPORT has to name a file")

set(REPORT "${SCRATCH}/new.txt")
check_report_file()
if(EXISTS "${REPORT}" OR failure)
    fail("the trial left an empty report behind, or failed: ${failure}")
endif()

file(REMOVE_RECURSE "${SCRATCH}")
get_property(failures GLOBAL PROPERTY failures)
if(failures)
    message(FATAL_ERROR "The expectations above failed.")
endif()
message("reports say what happened, and name no user and no path")
