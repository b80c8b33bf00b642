# Starts Wine's background processes. They end by themselves some seconds after the last program.
#
# The first program that runs starts them, and they inherit its output. If that is a pipe to CTest
# or CMake, these wait for its end for as long as the background processes live. So the first
# program is one whose output goes to a file.
execute_process(COMMAND ${WINESERVER} -p10 OUTPUT_FILE "${LOG}" ERROR_FILE "${LOG}")
execute_process(COMMAND ${EMULATOR} cmd /c exit OUTPUT_FILE "${LOG}" ERROR_FILE "${LOG}")
