# Starts Wine's background processes. They end by themselves some seconds after the last program.
#
# The first program that runs starts them, and they inherit its output. If that is a pipe to CTest
# or CMake, these wait for its end for as long as the background processes live. So the first
# program is one whose output goes to a file.
#
# The first program that makes a window (MessageBeep does) starts one more, the desktop, which ends one second after
# the last program. So a program without work keeps it until CTest, the parent of the shell below, has ended.
execute_process(COMMAND ${WINESERVER} -p10 OUTPUT_FILE "${LOG}" ERROR_FILE "${LOG}")
execute_process(COMMAND ${EMULATOR} cmd /c "rundll32 user32.dll,MessageBeep & start notepad"
    OUTPUT_FILE "${LOG}" ERROR_FILE "${LOG}")
execute_process(COMMAND sh -c [[(while kill -0 $PPID; do sleep 1; done; "$@" taskkill /f /im notepad.exe) &]] sh ${EMULATOR}
    OUTPUT_FILE "${LOG}" ERROR_FILE "${LOG}")
