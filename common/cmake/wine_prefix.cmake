# Creates the private Wine prefix. Run by the target wine_prefix, with
# PREFIX: the folder; WINE, WINESERVER: the commands that use it.

set(log "${PREFIX}.log")

function(run_wine)
    execute_process(
        COMMAND ${WINE} ${ARGN}
        TIMEOUT 120
        OUTPUT_FILE "${log}" ERROR_FILE "${log}"
        RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        execute_process(COMMAND ${WINESERVER} -k OUTPUT_QUIET ERROR_QUIET)
        list(JOIN ARGN " " what)
        message(FATAL_ERROR "Wine could not prepare ${PREFIX}: `wine ${what}` ended with ${result}. "
            "See ${log}; deleting ${PREFIX} and building again starts afresh.")
    endif()
endfunction()

if(EXISTS "${PREFIX}")
    execute_process(COMMAND ${WINESERVER} -k OUTPUT_QUIET ERROR_QUIET)
    file(REMOVE_RECURSE "${PREFIX}")
endif()
file(MAKE_DIRECTORY "${PREFIX}")

run_wine(wineboot --init)
# Windows without a display, and the Windows version that the programs are written for.
run_wine(reg add "HKCU\\Software\\Wine\\Drivers" /v Graphics /d null /f)
run_wine(reg add "HKCU\\Software\\Wine" /v Version /d win10 /f)

# The server writes the registry to disk when it ends; the next one reads the new settings.
execute_process(COMMAND ${WINESERVER} -k OUTPUT_QUIET ERROR_QUIET)
execute_process(COMMAND ${WINESERVER} -w OUTPUT_QUIET ERROR_QUIET)
file(STRINGS "${PREFIX}/user.reg" saved REGEX "\"Graphics\"=\"null\"|\"Version\"=\"win10\"")
list(LENGTH saved count)
if(NOT count EQUAL 2)
    message(FATAL_ERROR "Wine did not keep its settings in ${PREFIX}/user.reg. See ${log}.")
endif()
file(TOUCH "${PREFIX}/ready")
