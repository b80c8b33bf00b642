# Proves that the relay of pair 12 works between the pipes and sockets of Linux and a pipe server under Wine:
#   cmake "-DEMULATOR=command|arguments" -DPAIR=<folder of processA.exe and processB.exe> -DSCRATCH=<folder> -P tests/project/test_socat.cmake
# Prints SKIP where socat is missing.

cmake_minimum_required(VERSION 3.25)

find_program(socat socat)
if(NOT socat)
    message("SKIP: socat is not installed")
    return()
endif()
file(REMOVE_RECURSE "${SCRATCH}")
file(MAKE_DIRECTORY "${SCRATCH}")
string(RANDOM LENGTH 12 suffix)
set(pipe "//./pipe/ipc_demos.12.${suffix}")
string(REPLACE "|" ";" EMULATOR "${EMULATOR}")
list(JOIN EMULATOR "' '" wine)

# socat starts one program by its path, so the relay is a file.
file(CONFIGURE OUTPUT "${SCRATCH}/relay" CONTENT "#!/bin/sh
exec '${wine}' '${PAIR}/processA.exe' \"$@\" '${pipe}' 2>> '${SCRATCH}/errors.txt'
" @ONLY)
file(CHMOD "${SCRATCH}/relay" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)

# Runs B with these arguments and at the same time the shell's commands, in the scratch folder, and
# compares what the commands print.
function(check what b commands expected)
    string(REPLACE " " ";" b "${b}")
    # A pipeline starts its programs together. The shell reads B's first line, so that the pipe exists, and
    # in the end the others.
    execute_process(
        COMMAND ${EMULATOR} "${PAIR}/processB.exe" --limit 30 ${b} "${pipe}"
        COMMAND sh -c "read -r ready; ${commands}; cat > /dev/null"
        WORKING_DIRECTORY "${SCRATCH}" TIMEOUT 100
        OUTPUT_VARIABLE output RESULTS_VARIABLE results)
    if("${output}" STREQUAL "${expected}" AND "${results}" MATCHES "^0;0$")
        message("ok      ${what}")
    else()
        set(errors "")
        if(EXISTS "${SCRATCH}/errors.txt")
            file(READ "${SCRATCH}/errors.txt" errors)
        endif()
        message("FAILED  ${what}\n        expected: ${expected}\n        seen:     ${output}\n"
            "        exit codes of B and the shell: ${results}\n        ${errors}")
        set(failed ON PARENT_SCOPE)
    endif()
    file(REMOVE "${SCRATCH}/errors.txt")
endfunction()

check("a pipe of the shell at each end" "--message --upper"
    "printf 'one line\\n' | ./relay -s | cat; echo $?" "ONE LINE\n0\n")
check("an empty input" "--message --upper"
    "./relay -s < /dev/null; echo $?" "0\n")
check("a pipe server ends; the input is still open, and its read cannot be cancelled" "--message --half-close 5"
    "mkfifo open; sleep 60 > open & writer=$!; printf hello > open & ./relay -ep < open; echo \" $?\"; kill $writer && echo first"
    "hello 0\nfirst\n")
check("the reader of the output leaves" ""
    "yes | (./relay; echo $? > code) | head -c 4; cat code" "y\ny\n1\n")
# -t 5, -t 10: where other programs start under Wine at the same moment, now and then the relay's end of the socket stays
# open after the relay has ended, and socat waits for this time.
check("socat with a socket pair" "--message --upper"
    "printf 'one line\\n' | socat -t 5 - EXEC:./relay\\ -s; echo $?" "ONE LINE\n0\n")
# -t 2: with "pipes" socat 1.7 keeps its own copy of the end that the program writes to, so it never sees the end of
# the output, also with EXEC:cat,pipes, and waits for this time.
check("socat with pipes" "--message --upper"
    "printf 'one line\\n' | socat -t 2 - EXEC:./relay\\ -s,pipes; echo $?" "ONE LINE\n0\n")
check("a Unix socket for a pipe, as in WSL; 3 MB there and back" "--message"
    "head -c 3000000 /dev/urandom > in; socat -t 10 UNIX-LISTEN:socket EXEC:./relay\\ -s & while [ ! -S socket ]; do sleep 0.1; done; socat -t 10 - UNIX-CONNECT:socket < in > out; wait; cmp in out && echo same"
    "same\n")

file(REMOVE_RECURSE "${SCRATCH}")
if(failed)
    message(FATAL_ERROR "The relay does not do on Linux what it does on Windows.")
endif()
