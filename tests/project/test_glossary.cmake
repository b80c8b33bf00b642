# Checks docs/glossary.md and its use:    cmake -P tests/project/test_glossary.cmake
#
#   - its entries are sorted, and none is there twice;
#   - a page that uses a term in its prose links the entry at the first use, or before it.
#
# The pages are those of the pairs, and those of docs/. A term is a heading of the glossary; its plural and capital
# letters count, too. Prose is what is in no code, table, heading, picture or link, and neither bold nor quoted: a
# link in one of them counts, a use does not.
#
# Texts stay strings here, always quoted: [ ] and ; in them would break a list.

cmake_minimum_required(VERSION 3.25)

if(NOT DEFINED ROOT) # a scratch folder, to see that the check finds something
    cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH ROOT)
    cmake_path(GET ROOT PARENT_PATH ROOT)
endif()

# Not for reading from top to bottom, or made from other files.
set(other_pages glossary.md exercises.md snippets.md server_table.md)

# Words that every page uses, and that say on their own what they mean.
set(common_words client server cancel launcher)

# How a term is used, where it is not its heading or the plural of it. "Handles" is often a verb, a message is viewed,
# and so on.
set(uses_of_apartment apartment apartments mta sta)
set(uses_of_atomic atomic atomics)
set(uses_of_auto-reset-event "auto-reset event" "auto-reset events" auto-reset)
set(uses_of_bstr-and-variant bstr variant)
set(uses_of_com com)
set(uses_of_completion-port "completion port" "completion ports" iocp)
set(uses_of_dde dde ddeml)
set(uses_of_elevated elevated elevation uac)
set(uses_of_fin-and-rst fin rst)
set(uses_of_guid guid guids clsid iid)
set(uses_of_handle "a handle" "the handle" "this handle" "its handle" "one handle" "each handle" "every handle"
    "no handle" "last handle" "open handles" "the handles" "all handles" "two handles" "its handles" "inherited handles"
    "handle of" "handles of" "handle for" "handles for" "handle is" "handles are" "handle value")
set(uses_of_impersonation impersonation impersonate impersonates impersonated)
set(uses_of_manual-reset-event "manual-reset event" "manual-reset events" manual-reset)
set(uses_of_marshaling marshaling marshaler marshalers)
set(uses_of_memory-barrier "memory barrier" "memory barriers" barrier barriers)
set(uses_of_overlapped-io "overlapped i/o" overlapped)
set(uses_of_registry registry hklm hkcu)
set(uses_of_release-and-acquire "release and acquire" "acquire and release")
set(uses_of_sequential-consistency "sequential consistency" "sequentially consistent")
set(uses_of_service "a service" "the service" services "service account")
set(uses_of_service-control-manager "service control manager" scm)
set(uses_of_session "a session" "the session" "session 0" "one session" "other session" "same session")
set(uses_of_signaled signaled non-signaled)
set(uses_of_squatting squatting squatter squatters)
set(uses_of_view "a view" "the view" "its view" "one view" "two views" "views of" "view of the mapping")
set(uses_of_write-end-read-end "write end" "read end" "write ends" "read ends")

# What contains a term and is something else.
set(other_words "event log")

# Pages on which a word means something else.
set(not_on_page_09_completion_port port) # the completion port
set(not_on_page_21_data_copy handle) # of a window
set(not_on_page_22_clipboard handle) # of a picture
set(not_on_page_23_dde handle service) # of data; a name in DDE
set(not_on_page_24_com_server mutex) # one of the process
set(not_on_page_25_rpc session) # what pair 25 calls one
set(not_on_page_errors.md port session) # the completion port; what pair 25 calls a session
set(not_on_page_teaching.md session) # a lesson

set(problems "")
macro(problem text)
    string(APPEND problems "${text}\n")
endmacro()

# ---- the glossary

function(slug_of heading out)
    string(TOLOWER "${heading}" slug)
    string(REGEX REPLACE "[,/:().]" "" slug "${slug}")
    string(REPLACE " " "-" slug "${slug}")
    set(${out} "${slug}" PARENT_SCOPE)
endfunction()

file(STRINGS "${ROOT}/docs/glossary.md" headings REGEX "^## " ENCODING UTF-8)
list(TRANSFORM headings REPLACE "^## " "")
set(slugs "")
set(before "")
foreach(heading IN LISTS headings)
    slug_of("${heading}" slug)
    if(slug IN_LIST slugs)
        problem("docs/glossary.md: there are two entries ${heading}")
    endif()
    list(APPEND slugs "${slug}")
    string(TOLOWER "${heading}" lower)
    if(lower STRLESS before)
        problem("docs/glossary.md: ${heading} has to come before the entry above it")
    endif()
    set(before "${lower}")
endforeach()

# The uses of all terms, as "number of letters:use:slug", the longest first: "auto-reset event" is no use of "event".
set(uses "")
foreach(heading slug IN ZIP_LISTS headings slugs)
    if(slug IN_LIST common_words)
        continue()
    endif()
    if(DEFINED uses_of_${slug})
        set(forms ${uses_of_${slug}})
    else()
        string(TOLOWER "${heading}" form)
        set(forms "${form}")
        if(form MATCHES "(s|x|ch|sh)$")
            list(APPEND forms "${form}es")
        elseif(form MATCHES "^(.*[^aeiou])y$")
            list(APPEND forms "${CMAKE_MATCH_1}ies")
        else()
            list(APPEND forms "${form}s")
        endif()
    endif()
    foreach(form IN LISTS forms)
        string(LENGTH "${form}" length)
        math(EXPR length "${length} + 100") # three digits, to sort by
        list(APPEND uses "${length}:${form}:${slug}")
    endforeach()
endforeach()
foreach(form IN LISTS other_words)
    string(LENGTH "${form}" length)
    math(EXPR length "${length} + 100")
    list(APPEND uses "${length}:${form}:")
endforeach()
list(SORT uses ORDER DESCENDING)

# ---- the pages

# Removes from the variable `text` what is between start and end, with both.
macro(remove_between text start end)
    string(FIND "${${text}}" "${start}" from)
    while(NOT from EQUAL -1)
        string(SUBSTRING "${${text}}" 0 ${from} head)
        string(SUBSTRING "${${text}}" ${from} -1 tail)
        string(LENGTH "${start}" skip)
        string(SUBSTRING "${tail}" ${skip} -1 tail)
        string(FIND "${tail}" "${end}" to)
        if(to EQUAL -1)
            set(tail "")
        else()
            string(LENGTH "${end}" skip)
            math(EXPR to "${to} + ${skip}")
            string(SUBSTRING "${tail}" ${to} -1 tail)
        endif()
        set(${text} "${head} + ${tail}")
        string(FIND "${${text}}" "${start}" from)
    endwhile()
endmacro()

# The words of a page in small letters, each with a space before and after it, and for a link to an entry of the
# glossary @ and the name of the entry.
function(read_words path out)
    file(READ "${path}" text)
    set(text "\n${text}\n")
    remove_between(text "\n```" "\n```")
    remove_between(text "<!--" "-->")
    string(REGEX REPLACE "`[^`]*`" " + " text "${text}")
    string(REGEX REPLACE "\n#+ [^\n]*" "\n + " text "${text}")
    string(TOLOWER "${text}" text)
    string(REGEX REPLACE "[@{}]" " " text "${text}")
    string(REGEX REPLACE "!\\[[^]]*\\]\\([^)]*\\)" " + " text "${text}")
    string(REGEX REPLACE "\\[[^]]*\\]\\([^)]*glossary\\.md#([^)]*)\\)" " @\\1 " text "${text}")
    string(REGEX REPLACE "\\[[^]]*\\]\\([^)]*\\)" " + " text "${text}")
    string(REGEX REPLACE "\n *\\|[^@\n]*\n" "\n + \n" text "${text}") # rows of tables
    while(text MATCHES "\n *\\|[^\n]*")
        set(row "${CMAKE_MATCH_0}")
        string(REGEX MATCHALL "@[a-z0-9_-]+" links "${row}")
        list(JOIN links " " links)
        string(REPLACE "${row}" "\n + ${links} " text "${text}")
    endwhile()
    string(REGEX REPLACE "\\*\\*([^*]*)\\*\\*" " {\\1} " text "${text}")
    string(REGEX REPLACE "{[^{}@]*}" " + " text "${text}") # bold, without a link
    string(REGEX REPLACE "\"([^\"]*)\"" " {\\1} " text "${text}")
    string(REGEX REPLACE "{[^{}@]*}" " + " text "${text}") # what is quoted, such as the name of a test
    string(REGEX REPLACE "[^a-z0-9@_/+.-]+" " " text "${text}")
    string(REGEX REPLACE "\\.+ " " " text "${text} ") # the end of a sentence, not clipboard.c
    set(${out} " ${text} " PARENT_SCOPE)
endfunction()

function(check_page path)
    cmake_path(RELATIVE_PATH path BASE_DIRECTORY "${ROOT}" OUTPUT_VARIABLE name)
    string(REGEX REPLACE "^demos/|^docs/|/README\\.md$" "" key "${name}")
    read_words("${path}" words)
    set(reported "")
    foreach(use IN LISTS uses)
        string(REGEX MATCH "^[0-9]+:(.*):([^:]*)$" use "${use}")
        set(form "${CMAKE_MATCH_1}")
        set(slug "${CMAKE_MATCH_2}")
        string(FIND "${words}" " ${form} " use_at)
        if(use_at EQUAL -1)
            continue()
        endif()
        string(LENGTH "${form}" length)
        string(FIND "${words}" " @${slug} " link_at)
        math(EXPR last_place "${use_at} + ${length} + 1") # "service control manager ([SCM](...))" has its link
        if((link_at EQUAL -1 OR link_at GREATER last_place) AND NOT slug STREQUAL ""
            AND NOT slug IN_LIST reported AND NOT slug IN_LIST not_on_page_${key})
            list(APPEND reported "${slug}")
            math(EXPR from "${use_at} - 40")
            if(from LESS 0)
                set(from 0)
            endif()
            string(SUBSTRING "${words}" ${from} 100 around)
            set_property(GLOBAL APPEND_STRING PROPERTY missing
                "${name}: no link to docs/glossary.md#${slug} at \"${form}\" or before it: ...${around}...\n")
        endif()
        # The shorter terms in it are no uses. Its letters stay: positions on the page are compared.
        string(REPEAT "." ${length} dots)
        string(REPLACE " ${form} " " ${dots} " words "${words}")
    endforeach()
endfunction()

file(GLOB pages "${ROOT}/demos/[0-9][0-9]_*/README.md" "${ROOT}/docs/*.md")
set(count 0)
foreach(page IN LISTS pages)
    cmake_path(GET page FILENAME file)
    if(NOT file IN_LIST other_pages)
        check_page("${page}")
        math(EXPR count "${count} + 1")
    endif()
endforeach()

get_property(missing GLOBAL PROPERTY missing)
string(APPEND problems "${missing}")
if(NOT problems STREQUAL "")
    message("${problems}")
    message(FATAL_ERROR "The glossary and its links have the problems listed above.")
endif()
list(LENGTH headings entries)
message("${entries} entries, linked from ${count} pages")
