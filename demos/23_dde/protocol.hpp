#pragma once

// What both programs agree on: the names of service, topic and item, the format, and the commands.

#include <windows.h>

namespace protocol {

constexpr auto service =
    L"ipc_demos.23.office";             // which program; classic names are Excel and Progman
constexpr auto topic = L"climate";      // which document, or which part of the program
constexpr auto item = L"temperature";   // which value
constexpr UINT format = CF_UNICODETEXT; // old programs offer CF_TEXT, in the user's code page

constexpr auto reset_command = L"[reset]"; // a command is a text in square brackets
constexpr auto exit_command = L"[exit]";

constexpr int first_temperature = 20;

// More characters than any value or command of this protocol needs, with its terminating zero.
constexpr int max_text_length = 128;

} // namespace protocol
