#include "tests/tracer/report.hpp"

#include "common/error.hpp"
#include "common/text.hpp"
#include "tests/tracer/record.hpp"

#include <windows.h>

#include <ddeml.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace ipc::trace {
namespace {

// ---- Words for numbers -------------------------------------------------------------------------

struct flag {
    std::uint64_t bits;
    const char* name;
};

// Returns "GENERIC_READ | GENERIC_WRITE"; bits without a name are left out.
std::string flags_text(std::uint64_t value, std::initializer_list<flag> flags) {
    std::string text;
    for (const flag& one : flags) {
        if (one.bits != 0 && (value & one.bits) == one.bits) {
            text += (text.empty() ? "" : " | ") + std::string(one.name);
        }
    }
    return text;
}

// The same bits mean other rights for another kind of object.
std::string access_text(std::string_view object, std::uint64_t value) {
    const auto is = [&](std::string_view noun) { return object.substr(0, noun.size()) == noun; };
    std::string text = flags_text(value, {{GENERIC_READ, "GENERIC_READ"},
                                          {GENERIC_WRITE, "GENERIC_WRITE"},
                                          {GENERIC_EXECUTE, "GENERIC_EXECUTE"}});
    const auto add = [&](std::initializer_list<flag> flags) {
        const std::string more = flags_text(value, flags);
        text += (text.empty() || more.empty() ? "" : " | ") + more;
    };
    if (is("process")) {
        add({{PROCESS_DUP_HANDLE, "PROCESS_DUP_HANDLE"},
             {PROCESS_TERMINATE, "PROCESS_TERMINATE"},
             {PROCESS_QUERY_LIMITED_INFORMATION, "PROCESS_QUERY_LIMITED_INFORMATION"}});
    } else if (is("event")) {
        add({{EVENT_MODIFY_STATE, "EVENT_MODIFY_STATE"}});
    } else if (is("semaphore")) {
        add({{SEMAPHORE_MODIFY_STATE, "SEMAPHORE_MODIFY_STATE"}});
    } else if (is("mapping")) {
        add({{FILE_MAP_READ, "FILE_MAP_READ"}, {FILE_MAP_WRITE, "FILE_MAP_WRITE"}});
        return text; // a view is nothing to wait for
    } else if (!is("mutex")) {
        add({{FILE_READ_DATA, "FILE_READ_DATA"},
             {FILE_WRITE_DATA, "FILE_WRITE_DATA"},
             {FILE_WRITE_ATTRIBUTES, "FILE_WRITE_ATTRIBUTES"}});
    }
    add({{SYNCHRONIZE, "SYNCHRONIZE"}});
    return text;
}

std::string disposition_text(std::uint64_t value) {
    constexpr std::array names{
        "", "CREATE_NEW", "CREATE_ALWAYS", "OPEN_EXISTING", "OPEN_ALWAYS", "TRUNCATE_EXISTING"};
    return value < names.size() ? names[static_cast<std::size_t>(value)] : "";
}

std::string file_flags_text(std::uint64_t value) {
    return flags_text(value, {{FILE_FLAG_OVERLAPPED, "FILE_FLAG_OVERLAPPED"},
                              {FILE_FLAG_DELETE_ON_CLOSE, "FILE_FLAG_DELETE_ON_CLOSE"}});
}

std::string pipe_open_mode_text(std::uint64_t value) {
    constexpr std::array directions{"", "PIPE_ACCESS_INBOUND", "PIPE_ACCESS_OUTBOUND",
                                    "PIPE_ACCESS_DUPLEX"};
    std::string text = directions[static_cast<std::size_t>(value & 3)];
    const std::string flags = file_flags_text(value);
    return flags.empty() ? text : text + " | " + flags;
}

std::string pipe_mode_text(std::uint64_t value) {
    return flags_text(value, {{PIPE_TYPE_MESSAGE, "PIPE_TYPE_MESSAGE"},
                              {PIPE_READMODE_MESSAGE, "PIPE_READMODE_MESSAGE"},
                              {PIPE_NOWAIT, "PIPE_NOWAIT"}});
}

std::string process_flags_text(std::uint64_t value) {
    return flags_text(value, {{CREATE_SUSPENDED, "CREATE_SUSPENDED"},
                              {CREATE_NO_WINDOW, "CREATE_NO_WINDOW"},
                              {CREATE_NEW_PROCESS_GROUP, "CREATE_NEW_PROCESS_GROUP"},
                              {DETACHED_PROCESS, "DETACHED_PROCESS"}});
}

std::string milliseconds(std::uint64_t value) {
    return (value & 0xFFFF'FFFF) == INFINITE ? "INFINITE"
                                             : std::to_string(value & 0xFFFF'FFFF) + " ms";
}

std::string pipe_wait_text(std::uint64_t value) {
    if ((value & 0xFFFF'FFFF) == NMPWAIT_WAIT_FOREVER) {
        return "NMPWAIT_WAIT_FOREVER";
    }
    return value == NMPWAIT_USE_DEFAULT_WAIT ? "NMPWAIT_USE_DEFAULT_WAIT" : milliseconds(value);
}

std::string message_text(std::uint64_t value) {
    switch (static_cast<UINT>(value)) {
    case WM_COPYDATA: return "WM_COPYDATA";
    case WM_CLOSE: return "WM_CLOSE";
    case WM_NULL: return "WM_NULL";
    default:
        return value >= WM_APP ? "WM_APP + " + std::to_string(value - WM_APP)
                               : std::to_string(value);
    }
}

std::string shutdown_text(std::uint64_t value) {
    switch (static_cast<int>(value)) {
    case 1: return "SD_SEND"; // this header has no sockets
    case 2: return "SD_BOTH";
    default: return "SD_RECEIVE";
    }
}

std::string transaction_text(std::uint64_t value) {
    switch (static_cast<UINT>(value)) {
    case XTYP_REQUEST: return "XTYP_REQUEST";
    case XTYP_POKE: return "XTYP_POKE";
    case XTYP_EXECUTE: return "XTYP_EXECUTE";
    case XTYP_ADVSTOP: return "XTYP_ADVSTOP";
    default:
        return (value & 0xFFF0) == (XTYP_ADVSTART & 0xFFF0) ? "XTYP_ADVSTART"
                                                            : std::to_string(value);
    }
}

std::string standard_name(std::uint64_t value) {
    switch (static_cast<DWORD>(value)) {
    case STD_INPUT_HANDLE: return "standard input";
    case STD_OUTPUT_HANDLE: return "standard output";
    default: return "standard error";
    }
}

// "ERROR_BROKEN_PIPE (109)"
std::string error_name(DWORD code) {
    const std::string text = error_text(code);
    return text.substr(0, text.find(':'));
}

std::string count_of_bytes(std::uint64_t count) {
    return std::to_string(count) + (count == 1 ? " byte" : " bytes");
}

// Object names lose what all of them have in common: "\\.\pipe\ipc_demos.03.a_to_b" is "a_to_b".
std::string short_name(std::string_view name) {
    for (;;) {
        for (const std::string_view prefix :
             {R"(\\.\pipe\)", R"(\\.\mailslot\)", R"(Local\)", R"(Global\)", "ipc_demos."}) {
            if (name.substr(0, prefix.size()) == prefix) {
                name.remove_prefix(prefix.size());
                if (prefix == "ipc_demos." && name.size() > 3 && name[2] == '.') {
                    name.remove_prefix(3);
                }
            }
        }
        const std::size_t slash = name.find_last_of("\\/");
        if (slash == std::string_view::npos) {
            return std::string(name);
        }
        name.remove_prefix(slash + 1);
    }
}

// Whether the bytes are UTF-8; the last character may be cut.
bool is_utf8(std::string_view bytes) {
    for (int cut = 0; cut < 4 && !bytes.empty(); ++cut) {
        if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, bytes.data(),
                                static_cast<int>(bytes.size()), nullptr, 0) != 0) {
            return true;
        }
        bytes.remove_suffix(1);
    }
    return bytes.empty();
}

// Returns the bytes as text, and an empty text for bytes that are no text.
std::string readable(std::string_view bytes) {
    constexpr std::size_t most = 60;
    std::string text;
    std::size_t strange = is_utf8(bytes) ? 0 : 1;
    for (const char c : bytes) {
        if (c == '\n' || c == '\r') {
            text += text.empty() || text.back() != ' ' ? " " : "";
        } else if (static_cast<unsigned char>(c) >= 0x80) {
            text += static_cast<unsigned char>(c) >= 0xC0 ? "?" : ""; // one for each character
        } else if (static_cast<unsigned char>(c) < 0x20) {
            ++strange;
        } else {
            text += c;
        }
    }
    if (strange > 0 || text.find_first_not_of(" ?") == std::string::npos) {
        return {};
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

// ---- Files -------------------------------------------------------------------------------------

struct raw_call {
    std::size_t process = 0;
    const record* from = nullptr;
};

struct raw_process {
    process words;
    std::vector<char> bytes;
};

std::optional<raw_process> read_process(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    raw_process read;
    read.bytes.assign(std::istreambuf_iterator<char>(file), {});
    if (read.bytes.size() < header_bytes) {
        return std::nullopt; // it has ended before it wrote anything
    }
    const auto& header = *reinterpret_cast<const file_header*>(read.bytes.data());
    if (header.magic != file_magic) {
        return std::nullopt;
    }
    process& words = read.words;
    words.id = header.process;
    words.parent = header.parent;
    words.program = to_utf8(std::filesystem::path(header.program.data()).filename().wstring());
    words.calls = header.calls;
    words.lost = header.lost;
    words.frequency = header.frequency;
    words.start = header.start;
    words.note = header.note.data();
    return read;
}

// ---- Handles -----------------------------------------------------------------------------------

// The numbers of windows and of services may be those of handles, too.
constexpr std::uint64_t window_tag = std::uint64_t{1} << 62;
constexpr std::uint64_t opaque_tag = std::uint64_t{1} << 61;

struct object {
    std::string name;
    int id = 0;             // a copy has the same
    std::size_t owner = 0;  // the process that made it
    bool has_owner = false; // its name says little without its owner
    bool inheritable = false;
    bool of_runtime = false;
    std::size_t process = 0; // 1 + the index of the process that it is
};

// A call while it is being put into words.
struct reading {
    call& words;
    const record& from;
    const function& which;
    std::vector<std::string> names; // the last one: the bytes that were moved
    std::size_t next_name = 0;
    std::size_t next_out = 0;
    bool inheritable = false;           // what the call makes
    std::vector<std::string> parts{};   // what it has been given
    std::vector<std::string> written{}; // what it has put into its parameters
};

class reader {
public:
    explicit reader(const std::vector<raw_process>& files) : files_(files), handles_(files.size()) {
        for (const raw_process& file : files) {
            result_.processes.push_back(file.words);
        }
        name_processes();
        counts_.resize(files.size());
        numbers_.resize(files.size());
        unknown_.resize(files.size());
        threads_.resize(files.size());
        thread_counts_.resize(files.size());
        numbers_.resize(files.size());
    }

    trace read();

private:
    using table = std::map<std::uint64_t, object>;

    std::vector<raw_call> raw_calls() const;

    void name_processes();
    void begin(call& words, const record& from);
    std::string argument_text(reading& at, std::size_t parameter);
    std::string handle_text(reading& at, std::uint64_t handle);
    std::string handles_text(reading& at, std::size_t parameter);
    std::string source_text(reading& at, std::size_t parameter);
    std::string overlapped_text(reading& at, std::uint64_t address);
    std::string tagged_text(reading& at, std::uint64_t handle);

    void end(call& words, const record& from);
    void read_result(reading& at);
    std::string wait_text(reading& at);
    std::string ended_by(reading& at, DWORD index);
    void keep_standard_handle(reading& at);
    void keep_new_object(reading& at);
    void keep_opened_process(reading& at);
    void read_written(reading& at, std::size_t parameter);
    void keep_pipe_end(reading& at, std::uint64_t handle, bool is_read_end);
    void keep_copy(reading& at, std::uint64_t handle);
    void keep_child(reading& at);
    static void read_data(reading& at);
    std::size_t process_of(std::size_t process, std::uint64_t handle) const;

    std::string name_of(std::size_t process, std::uint64_t handle);
    void forget(std::size_t process, std::uint64_t handle);
    void set_object(call& words, std::uint64_t handle);
    std::string numbered(std::size_t process, const std::string& noun);
    void keep(std::size_t process, std::uint64_t handle, object made);
    int thread_number(std::size_t process, std::uint32_t id, std::int64_t time);
    void new_thread(call& words, const record& from);
    void hide_runtime_threads();
    std::size_t calls_before_main(const std::vector<std::size_t>& calls) const;
    void hide_standard_handles(std::size_t process);
    std::size_t process_with_id(std::uint64_t id, std::int64_t after) const;
    object made_by(const call& words, const record& from, const std::vector<std::string>& names,
                   bool inheritable);
    void child_inherits(std::size_t parent, std::size_t child, bool all);

    const std::vector<raw_process>& files_;
    std::vector<table> handles_;
    std::vector<std::map<std::string, int>> counts_;
    std::vector<std::map<std::string, std::set<int>>>
        numbers_; // of objects without a name, that are in use
    std::vector<std::map<std::uint64_t, int>> unknown_;
    struct thread {
        int number = 0;
        std::int64_t first_seen = 0;
    };
    std::vector<std::map<std::uint32_t, thread>> threads_;
    std::vector<int> thread_counts_;
    int objects_ = 0;
    std::size_t current_ = 0;                      // the call that is being read
    std::map<int, std::vector<std::size_t>> uses_; // the calls that use an object
    // The overlapped calls of a process, by the address of their structure: "ReadFile(pipe (read end))".
    std::map<std::pair<std::size_t, std::uint64_t>, std::string> begun_;
    std::set<int> own_threads_; // objects: copies of GetCurrentThread()
    trace result_;
};

void reader::name_processes() {
    std::map<std::string, int> used;
    std::map<std::string, int> total;
    const auto base = [](const process& one) {
        if (one.program == "processA.exe") {
            return std::string("A");
        }
        if (one.program == "processB.exe") {
            return std::string("B");
        }
        return one.program.substr(0, one.program.rfind('.'));
    };
    for (const process& one : result_.processes) {
        ++total[base(one)];
    }
    for (process& one : result_.processes) {
        one.label = base(one);
        if (total[one.label] > 1) {
            const std::string name = one.label;
            one.label += " " + std::to_string(++used[name]);
        }
    }
}

std::size_t reader::process_with_id(std::uint64_t id, std::int64_t after) const {
    for (std::size_t i = 0; i < result_.processes.size(); ++i) {
        if (result_.processes[i].id == id && result_.processes[i].start >= after) {
            return i + 1;
        }
    }
    return 0;
}

// Objects without a name have numbers. The number of a closed object is free again, so that each turn of a loop reads
// the same.
std::string reader::numbered(std::size_t process, const std::string& noun) {
    std::set<int>& used = numbers_[process][noun];
    int number = 1;
    while (used.contains(number)) {
        ++number;
    }
    used.insert(number);
    return noun + " " + std::to_string(number);
}

void reader::forget(std::size_t process, std::uint64_t handle) {
    const auto found = handles_[process].find(handle);
    if (found == handles_[process].end()) {
        return;
    }
    const object closed = found->second;
    handles_[process].erase(found);
    for (const table& handles : handles_) {
        for (const auto& [number, other] : handles) {
            if (other.id == closed.id) {
                return; // another handle to it is open
            }
        }
    }
    const std::size_t space = closed.has_owner ? closed.name.rfind(' ') : std::string::npos;
    if (space != std::string::npos) {
        numbers_[closed.owner][closed.name.substr(0, space)].erase(
            std::atoi(closed.name.c_str() + space + 1));
    }
}

void reader::keep(std::size_t process, std::uint64_t handle, object made) {
    made.id = made.id == 0 ? ++objects_ : made.id;
    handles_[process][handle] = std::move(made);
    unknown_[process].erase(handle);
}

// The threads of a process have numbers in the order of their creation, the main thread has 1.
int reader::thread_number(std::size_t process, std::uint32_t id, std::int64_t time) {
    thread& known = threads_[process][id];
    if (known.number == 0) {
        known = {++thread_counts_[process], time};
    }
    return known.number;
}

void reader::new_thread(call& words, const record& from) {
    const std::size_t process = words.process;
    const auto id = static_cast<std::uint32_t>(from.outs[from.out_count - 1U]);
    const auto found = threads_[process].find(id);
    if (found != threads_[process].end() && found->second.first_seen < from.begin) {
        threads_[process].erase(found); // an ended thread had the same id
    }
    object made;
    made.owner = process;
    made.has_owner = true;
    made.name = "thread " + std::to_string(thread_number(process, id, from.end));
    words.result = made.name;
    words.object = made.name;
    keep(process, from.result, std::move(made));
}

// MinGW's C++ runtime copies GetCurrentThread() in each thread that it sees. Such a copy is of interest only if
// something else is done with it.
void reader::hide_runtime_threads() {
    for (const int id : own_threads_) {
        const std::vector<std::size_t>& calls = uses_[id];
        const bool only_runtime = std::all_of(calls.begin(), calls.end(), [&](std::size_t one) {
            const std::string_view name = functions[result_.calls[one].function].name;
            return name == "DuplicateHandle" || name == "CloseHandle";
        });
        for (const std::size_t one : calls) {
            result_.calls[one].shown = result_.calls[one].shown && !only_runtime;
        }
    }
}

// The static C++ runtime of Visual Studio asks for the three standard handles and their types before wmain. Returns
// the number of these calls, 0 for other runtimes.
std::size_t reader::calls_before_main(const std::vector<std::size_t>& calls) const {
    constexpr std::array order{STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    std::size_t asked = 0;
    std::size_t count = 0;
    bool type_may_follow = false;
    for (const std::size_t one : calls) {
        const std::string_view name = functions[result_.calls[one].function].name;
        if (name == "GetStdHandle" && asked < order.size() &&
            result_.calls[one].arguments == standard_name(order[asked])) {
            ++asked;
            type_may_follow = true;
        } else if (name == "GetFileType" && type_may_follow) {
            type_may_follow = false;
        } else {
            break;
        }
        ++count;
    }
    return asked == order.size() ? count : 0;
}

// Of the calls that ask for a standard handle, the first one of the program itself is of interest.
void reader::hide_standard_handles(std::size_t process) {
    std::vector<std::size_t> calls;
    for (std::size_t i = 0; i < result_.calls.size(); ++i) {
        if (result_.calls[i].process == process) {
            calls.push_back(i);
        }
    }
    const std::size_t before_main = calls_before_main(calls);
    std::set<std::string> asked;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        call& words = result_.calls[calls[i]];
        if (i < before_main) {
            words.shown = false;
        } else if (functions[words.function].name == "GetStdHandle") {
            words.shown = asked.insert(words.arguments).second && !words.result.empty();
        }
    }
}

// "event 1", or "event 1 of A" in another process.
std::string reader::name_of(std::size_t process, std::uint64_t handle) {
    if (handle == 0) {
        return "NULL";
    }
    if (handle == static_cast<std::uint64_t>(-1)) {
        return "this process";
    }
    if (handle == static_cast<std::uint64_t>(-2)) {
        return "this thread";
    }
    const auto found = handles_[process].find(handle);
    if (found == handles_[process].end()) {
        int& number = unknown_[process][handle];
        if (number == 0) {
            number = static_cast<int>(unknown_[process].size());
        }
        return "handle " + std::to_string(number);
    }
    const object& known = found->second;
    if (known.has_owner && known.owner != process) {
        return known.name + " of " + result_.processes[known.owner].label;
    }
    return known.name;
}

void reader::set_object(call& words, std::uint64_t handle) {
    words.object = name_of(words.process, handle);
    words.whole_object = words.object;
    words.unnamed = 0;
    const auto found = handles_[words.process].find(handle);
    if (found == handles_[words.process].end()) {
        words.whole_object += " of " + result_.processes[words.process].label;
    } else if (found->second.has_owner) {
        words.unnamed = found->second.id;
        words.whole_object =
            found->second.name + " of " + result_.processes[found->second.owner].label;
    }
}

std::string flags_of_bool(std::uint64_t value, const char* yes, const char* no) {
    return (value & 0xFFFF'FFFF) != 0 ? yes : no;
}

bool function_can_block(const function& which) {
    if (which.name == "ConnectNamedPipe" || which.name == "FlushFileBuffers" ||
        which.name == "GetMessageW") {
        return true;
    }
    return std::any_of(
        which.parameters.begin(), which.parameters.begin() + which.parameter_count, [](kind one) {
            return one == kind::wait || one == kind::pipe_wait || one == kind::may_wait ||
                   one == kind::data_in || one == kind::data_out;
        });
}

// Splits the text of a record into its names.
std::vector<std::string> names_of(const record& from) {
    std::vector<std::string> names;
    const function& which = functions[from.function];
    const char* at = from.text.data();
    const char* const end = at + from.text_count;
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        const bool is_name =
            which.parameters[i] == kind::name || which.parameters[i] == kind::command;
        if (is_name && from.arguments[i] != 0) {
            const char* const stop = std::find(at, end, '\0');
            names.emplace_back(at, stop);
            at = stop == end ? end : stop + 1;
        } else if (is_name) {
            names.emplace_back();
        }
    }
    names.emplace_back(at, end); // the rest: bytes that were moved
    return names;
}

// A parameter whose text needs nothing but its value, or nothing.
std::string text_of_value(kind which, std::uint64_t value) {
    switch (which) {
    case kind::shutdown_how: return shutdown_text(value);
    case kind::message: return message_text(value);
    case kind::clipboard_format:
        return (value & 0xFFFF'FFFF) == CF_UNICODETEXT ? "CF_UNICODETEXT" : "own format";
    case kind::transaction: return transaction_text(value);
    case kind::number: return std::to_string(static_cast<std::int32_t>(value));
    case kind::bytes: return count_of_bytes(value);
    case kind::inherited: return flags_of_bool(value, "inheritable", "");
    case kind::wait: return milliseconds(value);
    case kind::pipe_wait: return pipe_wait_text(value);
    case kind::may_wait: return flags_of_bool(value, "wait", "no wait");
    case kind::wait_all: return flags_of_bool(value, "all", "any");
    case kind::alertable: return flags_of_bool(value, "alertable", "");
    case kind::reset_kind: return flags_of_bool(value, "manual-reset", "auto-reset");
    case kind::initially_set: return flags_of_bool(value, "set", "");
    case kind::initially_owned: return flags_of_bool(value, "owned", "");
    case kind::standard_id: return standard_name(value);
    case kind::disposition: return disposition_text(value);
    case kind::file_flags: return file_flags_text(value);
    case kind::pipe_open_mode: return pipe_open_mode_text(value);
    case kind::pipe_mode: return pipe_mode_text(value);
    case kind::process_flags: return process_flags_text(value);
    case kind::duplicate_flags:
        return flags_text(value, {{DUPLICATE_CLOSE_SOURCE, "DUPLICATE_CLOSE_SOURCE"}});
    default: return {};
    }
}

std::string reader::handle_text(reading& at, std::uint64_t handle) {
    const std::size_t process = at.words.process;
    const auto found = handles_[process].find(handle);
    if (found != handles_[process].end()) {
        at.words.shown = at.words.shown && !found->second.of_runtime;
        uses_[found->second.id].push_back(current_);
        if (at.words.object.empty()) {
            at.words.partner = found->second.process;
        }
    }
    std::string name = name_of(process, handle);
    if (at.words.object.empty() && name != "this process") {
        set_object(at.words, handle);
    }
    return name;
}

std::string reader::handles_text(reading& at, std::size_t parameter) {
    constexpr std::size_t most_shown = 4;
    const std::uint64_t all = at.from.arguments[parameter - 1];
    const std::size_t recorded =
        std::min<std::size_t>(static_cast<std::size_t>(all), at.from.text_count / 8U);
    std::string text;
    for (std::size_t k = 0; k < (all > most_shown ? most_shown / 2 : recorded); ++k) {
        std::uint64_t one = 0;
        std::memcpy(&one, at.from.text.data() + k * 8, sizeof one);
        text += (k == 0 ? "" : ", ") + handle_text(at, one);
    }
    if (all > most_shown) {
        text += ", ... (" + std::to_string(all) + " objects)";
    }
    if (!at.parts.empty()) {
        at.parts.pop_back(); // their number
    }
    return text;
}

// A handle that belongs to the process in the parameter before it.
std::string reader::source_text(reading& at, std::size_t parameter) {
    const std::size_t process = at.words.process;
    const std::uint64_t handle = at.from.arguments[parameter];
    const auto holder = handles_[process].find(at.from.arguments[parameter - 1]);
    const std::size_t other = holder == handles_[process].end() ? 0 : holder->second.process;
    at.words.object = other == 0 ? name_of(process, handle) : name_of(other - 1, handle);
    return at.words.object;
}

std::string object_name_text(call& words, const std::string& name) {
    std::string text = name.empty() ? "" : short_name(name);
    if (words.object.empty()) {
        words.object = text;
        words.whole_object = text;
    }
    return text;
}

// The program and its arguments, without the folder that it is in.
std::string command_text(const std::string& command) {
    const std::size_t slash = command.find_last_of("\\/");
    std::string text = slash == std::string::npos ? command : command.substr(slash + 1);
    std::erase(text, '"');
    return text;
}

std::string reader::overlapped_text(reading& at, std::uint64_t address) {
    const std::size_t out = at.next_out++;
    if (address == 0) {
        return {};
    }
    at.words.overlapped = address;
    std::string text = "overlapped";
    if (out < at.from.out_count && at.from.outs[out] != 0) {
        const std::uint64_t event = at.from.outs[out] & ~std::uint64_t{1};
        text += ": " + name_of(at.words.process, event);
    }
    return text;
}

// A window or a service has a name only if the program has made it.
std::string reader::tagged_text(reading& at, std::uint64_t handle) {
    const table& known = handles_[at.words.process];
    return known.find(handle) == known.end() ? std::string() : handle_text(at, handle);
}

// "event", "process", ...: what the access of this call is about.
std::string noun_of_access(const reading& at) {
    const std::string_view name = at.which.name;
    return name == "OpenProcess"        ? "process"
           : name == "OpenEventW"       ? "event"
           : name == "OpenMutexW"       ? "mutex"
           : name == "OpenSemaphoreW"   ? "semaphore"
           : name == "OpenFileMappingW" ? "mapping"
           : name == "CreateFileW"      ? "file"
                                        : at.words.object;
}

std::string reader::argument_text(reading& at, std::size_t parameter) {
    const kind which = at.which.parameters[parameter];
    const std::uint64_t value = at.from.arguments[parameter];
    const auto unless = [&](bool none) { return none ? std::string() : handle_text(at, value); };
    switch (which) {
    case kind::closed:
        at.words.shown = handles_[at.words.process].find(value) != handles_[at.words.process].end();
        return handle_text(at, value);
    case kind::handle: return handle_text(at, value);
    case kind::window: return tagged_text(at, value | window_tag);
    case kind::opaque: return tagged_text(at, value | opaque_tag);
    case kind::source: return source_text(at, parameter);
    case kind::access: return access_text(noun_of_access(at), value);
    case kind::handles: return handles_text(at, parameter);
    case kind::port_file:
    case kind::mapped_file: return unless(value == static_cast<std::uint64_t>(-1));
    case kind::port_or_null: return unless(value == 0);
    case kind::name: return object_name_text(at.words, at.names[at.next_name++]);
    case kind::command: {
        const std::string& command = at.names[at.next_name++];
        return at.parts.empty() ? command_text(command) : std::string();
    }
    case kind::process_id: {
        const std::size_t other = process_with_id(value, 0);
        return other == 0 ? "" : "process " + result_.processes[other - 1].label;
    }
    case kind::overlapped: return overlapped_text(at, value);
    case kind::security: ++at.next_out; return {};
    case kind::pipe_mode_pointer: return pipe_mode_text(at.from.outs[at.next_out++]);
    case kind::handle_flags:
        return at.parts.size() == 1
                   ? flags_text(value, {{HANDLE_FLAG_INHERIT, "HANDLE_FLAG_INHERIT"}})
                   : flags_of_bool(value, "on", "off");
    default: return text_of_value(which, value);
    }
}

void reader::begin(call& words, const record& from) {
    const function& which = functions[from.function];
    reading at{words, from, which, names_of(from)};
    bool closes = false;
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        closes = closes || which.parameters[i] == kind::closed;
        const std::string text = argument_text(at, i);
        if (!text.empty()) {
            at.parts.push_back(text);
        }
    }
    for (const std::string& part : at.parts) {
        words.arguments += (words.arguments.empty() ? "" : ", ") + part;
    }
    words.shown =
        words.shown && which.result != result_kind::runtime_object &&
        which.result != result_kind::quiet && which.name != "DeleteProcThreadAttributeList" &&
        !(which.name == "Sleep" && from.arguments[0] == 0); // a runtime's, between threads
    if (words.overlapped != 0 && which.name.find("OverlappedResult") == std::string_view::npos &&
        which.name.find("Cancel") == std::string_view::npos) {
        begun_[{words.process, words.overlapped}] =
            std::string(which.name) + "(" + words.object + ")";
    }
    words.can_block = function_can_block(which);
    if (closes) {
        forget(words.process, from.arguments[0]);
    }
}

// The direction of a pipe's end: "a_to_b (read end)".
std::string end_name(const std::string& name, bool reads, bool writes, const char* both) {
    return name + (reads && writes ? both : reads ? " (read end)" : " (write end)");
}

object reader::made_by(const call& words, const record& from, const std::vector<std::string>& names,
                       bool inheritable) {
    const function& which = functions[from.function];
    object made;
    made.owner = words.process;
    made.inheritable = inheritable;
    std::string name;
    std::size_t next_name = 0;
    for (std::size_t i = 0; i < which.parameter_count; ++i) {
        if (which.parameters[i] == kind::name || which.parameters[i] == kind::command) {
            if (name.empty()) {
                name = names[next_name];
            }
            ++next_name;
        }
    }
    const auto called = [&](const char* noun) {
        if (name.empty()) {
            made.has_owner = true;
            made.name = numbered(words.process, noun);
        } else {
            made.name = noun + std::string(" ") + short_name(name);
        }
    };
    switch (which.result) {
    case result_kind::pipe_server: {
        const std::uint64_t mode = from.arguments[1];
        made.name = end_name(short_name(name), (mode & PIPE_ACCESS_INBOUND) != 0,
                             (mode & PIPE_ACCESS_OUTBOUND) != 0, " (server end)");
        const int number = ++counts_[words.process][made.name];
        if (number > 1) {
            made.name.insert(made.name.size() - 1, " " + std::to_string(number));
        }
        break;
    }
    case result_kind::file: {
        const std::uint64_t access = from.arguments[1];
        std::string lower = name.substr(0, 9);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](char c) { return c == '/' ? '\\' : c; });
        if (lower.find(R"(\pipe\)") <= 3) { // of a long name, the record has only the end
            made.name =
                end_name(short_name(name), (access & (GENERIC_READ | FILE_READ_DATA)) != 0,
                         (access & (GENERIC_WRITE | FILE_WRITE_DATA)) != 0, " (client end)");
        } else {
            made.name = (lower.find(R"(\mail)") <= 3 ? "mailslot " : "file ") + short_name(name);
            made.of_runtime = name == "CONIN$" || name == "CONOUT$";
        }
        break;
    }
    case result_kind::mailslot: called("mailslot"); break;
    case result_kind::job: called("job"); break;
    case result_kind::mapping: called("mapping"); break;
    case result_kind::event: called("event"); break;
    case result_kind::mutex: called("mutex"); break;
    case result_kind::semaphore: called("semaphore"); break;
    case result_kind::completion_port: called("completion port"); break;
    case result_kind::socket: called("socket"); break;
    case result_kind::new_window: called("window"); break;
    case result_kind::conversation: called("conversation"); break;
    case result_kind::service_manager: made.name = "service manager"; break;
    case result_kind::service: called("service"); break;
    case result_kind::runtime_object: made.of_runtime = true; break;
    case result_kind::process: {
        made.process = process_with_id(from.arguments[2], 0);
        made.name = made.process == 0 ? numbered(words.process, "process")
                                      : "process " + result_.processes[made.process - 1].label;
        break;
    }
    default: break;
    }
    return made;
}

void reader::child_inherits(std::size_t parent, std::size_t child, bool all) {
    for (const auto& [handle, known] : handles_[parent]) {
        if (all && known.inheritable) {
            handles_[child].emplace(handle, known);
        }
    }
}

// ---- Results -----------------------------------------------------------------------------------

bool has_failed(result_kind which, std::uint64_t result) {
    const auto low = static_cast<DWORD>(result);
    switch (which) {
    case result_kind::nothing:
    case result_kind::quiet:
    case result_kind::runtime_object: return false;
    case result_kind::boolean: return low == 0;
    case result_kind::count:
    case result_kind::socket_call:
    case result_kind::transferred:
    case result_kind::sockets_ready:
    case result_kind::wait_result: return low == 0xFFFF'FFFF; // SOCKET_ERROR, WAIT_FAILED
    case result_kind::status: return low != 0;
    case result_kind::hresult: return static_cast<std::int32_t>(low) < 0;
    case result_kind::socket:
    case result_kind::standard_handle:
    case result_kind::file:
    case result_kind::pipe_server:
    case result_kind::mailslot: return result == static_cast<std::uint64_t>(-1);
    default: return result == 0;
    }
}

const char* failure_name(const function& which) {
    switch (which.result) {
    case result_kind::file:
    case result_kind::pipe_server:
    case result_kind::mailslot:
    case result_kind::standard_handle: return "INVALID_HANDLE_VALUE";
    case result_kind::wait_result: return "WAIT_FAILED";
    case result_kind::socket: return "INVALID_SOCKET";
    case result_kind::socket_call:
    case result_kind::transferred:
    case result_kind::sockets_ready: return "SOCKET_ERROR";
    case result_kind::boolean: return "FALSE";
    default: return which.name == "CreateProcessW" ? "FALSE" : "NULL";
    }
}

std::string failure_text(const function& which, const record& from) {
    if (which.result == result_kind::status || which.result == result_kind::hresult) {
        return error_name(static_cast<DWORD>(from.result));
    }
    const std::string text = failure_name(which);
    return from.error == ERROR_SUCCESS ? text : text + ", " + error_name(from.error);
}

std::string file_type_text(DWORD type) {
    constexpr std::array names{"FILE_TYPE_UNKNOWN", "FILE_TYPE_DISK", "FILE_TYPE_CHAR",
                               "FILE_TYPE_PIPE"};
    return type < names.size() ? names[type] : "";
}

// The windows, services and conversations have numbers of their own.
std::uint64_t tag_of(result_kind which) {
    switch (which) {
    case result_kind::new_window: return window_tag;
    case result_kind::conversation:
    case result_kind::service_manager:
    case result_kind::service: return opaque_tag;
    default: return 0;
    }
}

// " + 1: event full", for a wait for several objects.
std::string reader::ended_by(reading& at, DWORD index) {
    std::size_t count = 1;
    for (std::size_t i = 0; i < at.which.parameter_count; ++i) {
        if (at.which.parameters[i] == kind::handles) {
            count = static_cast<std::size_t>(at.from.arguments[i - 1]);
        }
    }
    if (index == count) { // of MsgWaitForMultipleObjectsEx
        return " + " + std::to_string(index) + ": a message";
    }
    if (count == 1 || at.from.out_count == 0) {
        return {};
    }
    const std::size_t process = at.words.process;
    const std::uint64_t one = at.from.outs[at.from.out_count - 1U];
    set_object(at.words, one);
    const auto found = handles_[process].find(one);
    at.words.partner = found == handles_[process].end() ? 0 : found->second.process;
    return " + " + std::to_string(index) + ": " + name_of(process, one);
}

std::string reader::wait_text(reading& at) {
    const auto result = static_cast<DWORD>(at.from.result);
    if (result < MAXIMUM_WAIT_OBJECTS) {
        return "WAIT_OBJECT_0" + ended_by(at, result);
    }
    if (result >= WAIT_ABANDONED_0 && result < WAIT_ABANDONED_0 + MAXIMUM_WAIT_OBJECTS) {
        return "WAIT_ABANDONED_0" + ended_by(at, result - WAIT_ABANDONED_0);
    }
    return result == WAIT_TIMEOUT ? "WAIT_TIMEOUT" : "WAIT_IO_COMPLETION";
}

void reader::keep_standard_handle(reading& at) {
    const std::size_t process = at.words.process;
    const auto found = handles_[process].find(at.from.result);
    if (found == handles_[process].end()) {
        object made;
        made.name = standard_name(at.from.arguments[0]);
        keep(process, at.from.result, made);
    } else {
        at.words.result = name_of(process, at.from.result);
    }
}

void reader::keep_new_object(reading& at) {
    const std::size_t process = at.words.process;
    const std::uint64_t handle = at.from.result | tag_of(at.which.result);
    object made = made_by(at.words, at.from, at.names, at.inheritable);
    at.words.shown = at.words.shown && !made.of_runtime;
    keep(process, handle, std::move(made));
    set_object(at.words, handle);
    at.words.result = at.words.object;
    if (at.from.error == ERROR_ALREADY_EXISTS && at.which.result != result_kind::file) {
        at.words.result += ", ERROR_ALREADY_EXISTS (183)";
    }
}

void reader::keep_opened_process(reading& at) {
    const std::size_t process = at.words.process;
    object made = made_by(at.words, at.from, at.names, false);
    at.words.partner = made.process;
    keep(process, at.from.result, std::move(made));
    at.words.result = name_of(process, at.from.result);
}

void reader::read_result(reading& at) {
    const auto low = static_cast<DWORD>(at.from.result);
    call& words = at.words;
    switch (at.which.result) {
    case result_kind::wait_result: words.result = wait_text(at); break;
    case result_kind::sleep:
        words.result = low == WAIT_IO_COMPLETION ? "WAIT_IO_COMPLETION" : "";
        break;
    case result_kind::file_type: words.result = file_type_text(low); break;
    case result_kind::transferred: words.result = count_of_bytes(low); break;
    case result_kind::sockets_ready: words.result = std::to_string(low) + " ready"; break;
    case result_kind::thread: new_thread(words, at.from); break;
    case result_kind::standard_handle: keep_standard_handle(at); break;
    case result_kind::completion_port:
        if (at.from.arguments[1] == 0) { // or a file joins a port
            keep_new_object(at);
        }
        break;
    case result_kind::job:
    case result_kind::pipe_server:
    case result_kind::file:
    case result_kind::mailslot:
    case result_kind::mapping:
    case result_kind::event:
    case result_kind::mutex:
    case result_kind::semaphore:
    case result_kind::socket:
    case result_kind::new_window:
    case result_kind::conversation:
    case result_kind::service_manager:
    case result_kind::service:
    case result_kind::runtime_object: keep_new_object(at); break;
    case result_kind::process:
        if (at.which.name == "OpenProcess") {
            keep_opened_process(at);
        }
        break;
    default: break;
    }
}

// ---- What a call has written -------------------------------------------------------------------

void reader::keep_pipe_end(reading& at, std::uint64_t handle, bool is_read_end) {
    const std::string noun = is_read_end ? numbered(0, "pipe") : at.words.object;
    object made; // without an owner: all processes count them together
    made.owner = at.words.process;
    made.inheritable = at.inheritable;
    made.name = noun + (is_read_end ? " (read end)" : " (write end)");
    keep(at.words.process, handle, made);
    at.words.object = noun;
    at.words.whole_object = noun;
    at.words.result = noun;
}

// Returns the index of the process that a handle is for; `process` itself if it is not known.
std::size_t reader::process_of(std::size_t process, std::uint64_t handle) const {
    const auto found = handles_[process].find(handle);
    return found == handles_[process].end() || found->second.process == 0
               ? process
               : found->second.process - 1;
}

void reader::keep_copy(reading& at, std::uint64_t handle) {
    const std::size_t process = at.words.process;
    const std::uint64_t source = at.from.arguments[1];
    const std::size_t from_process = process_of(process, at.from.arguments[0]);
    const std::size_t to_process = process_of(process, at.from.arguments[2]);
    const auto found = handles_[from_process].find(source);
    if (source == static_cast<std::uint64_t>(-2)) {
        object made;
        made.owner = process;
        made.has_owner = true;
        made.name = "thread " + std::to_string(at.words.thread);
        made.id = ++objects_;
        own_threads_.insert(made.id);
        uses_[made.id].push_back(current_);
        keep(to_process, handle, made);
    } else if (source == static_cast<std::uint64_t>(-1)) {
        object made;
        made.process = from_process + 1;
        made.name = "process " + result_.processes[from_process].label;
        keep(to_process, handle, made);
    } else if (found != handles_[from_process].end() && handle != 0) {
        object copy = found->second;
        copy.inheritable = at.from.arguments[5] != 0;
        keep(to_process, handle, copy);
    }
    if ((at.from.arguments[6] & DUPLICATE_CLOSE_SOURCE) != 0) {
        handles_[from_process].erase(source);
    }
    if (from_process != to_process) {
        at.words.partner = (from_process == process ? to_process : from_process) + 1;
    }
}

void reader::keep_child(reading& at) {
    if (at.from.out_count < at.next_out + 3) {
        return;
    }
    const std::size_t process = at.words.process;
    const std::size_t child = process_with_id(at.from.outs[at.next_out + 2], at.from.begin);
    object made;
    made.process = child;
    made.owner = process;
    made.name =
        child == 0 ? numbered(process, "process") : "process " + result_.processes[child - 1].label;
    object main_thread = made;
    main_thread.process = 0;
    main_thread.name = "main thread of " + made.name.substr(made.name.find(' ') + 1);
    keep(process, at.from.outs[at.next_out], made);
    keep(process, at.from.outs[at.next_out + 1], main_thread);
    at.written.push_back(made.name);
    at.words.partner = child;
    if (child != 0) {
        child_inherits(process, child - 1, at.from.arguments[4] != 0);
    }
    at.next_out += 3;
}

std::string count_text(std::string_view function, std::uint64_t count) {
    if (function == "GetExitCodeProcess") {
        return count == STILL_ACTIVE ? "STILL_ACTIVE"
                                     : "exit code " + exit_code_text(static_cast<DWORD>(count));
    }
    if (function == "GetQueuedCompletionStatusEx") {
        return std::to_string(count) + " packets";
    }
    if (function == "GetMailslotInfo") {
        return std::to_string(count) + " messages";
    }
    return count_of_bytes(count);
}

void reader::read_written(reading& at, std::size_t parameter) {
    const kind which = at.which.parameters[parameter];
    if (which == kind::process_info) {
        keep_child(at);
        return;
    }
    if (which != kind::handle_out && which != kind::token_out && which != kind::count_out &&
        which != kind::process_id_out && which != kind::number_out &&
        which != kind::overlapped_out) {
        return;
    }
    const std::size_t process = at.words.process;
    const std::uint64_t value = at.next_out < at.from.out_count ? at.from.outs[at.next_out] : 0;
    ++at.next_out;
    if (which == kind::handle_out && at.which.name == "CreatePipe") {
        keep_pipe_end(at, value, parameter == 0);
    } else if (which == kind::handle_out && at.which.name == "DuplicateHandle") {
        keep_copy(at, value);
    } else if (which == kind::overlapped_out) {
        const auto begun = begun_.find({process, value});
        at.written.push_back(begun == begun_.end() ? "a posted packet" : "of " + begun->second);
    } else if (which == kind::token_out) {
        object made;
        made.name = "token";
        keep(process, value, made);
    } else if (which == kind::count_out && at.from.arguments[parameter] != 0 && value != not_read) {
        at.written.push_back(count_text(at.which.name, value));
    } else if (which == kind::process_id_out) {
        const std::size_t other = process_with_id(value, 0);
        at.written.push_back(other == 0 ? "another process"
                                        : "process " + result_.processes[other - 1].label);
    }
}

// What the call has read of its parameters comes first in a record, then what it has written.
void pass_what_was_read(reading& at) {
    for (std::size_t i = 0; i < at.which.parameter_count; ++i) {
        const kind which = at.which.parameters[i];
        if (which == kind::security) {
            at.inheritable = at.inheritable ||
                             (at.next_out < at.from.out_count && at.from.outs[at.next_out] != 0);
        }
        if (which == kind::security || which == kind::overlapped ||
            which == kind::pipe_mode_pointer) {
            ++at.next_out;
        }
    }
}

void reader::read_data(reading& at) {
    const function& which = at.which;
    const bool moves =
        std::any_of(which.parameters.begin(), which.parameters.begin() + which.parameter_count,
                    [](kind one) { return one == kind::data_in || one == kind::data_out; });
    if (moves && !at.names.empty()) {
        at.words.data = readable(at.names.back());
    }
    if (which.name == "WriteFile" && !at.written.empty()) {
        const bool all = at.written.front() == count_of_bytes(at.from.arguments[2]);
        at.words.result = all ? "" : at.words.result;
        at.words.prints =
            at.words.object == "standard output" || at.words.object == "standard error";
    }
}

void reader::end(call& words, const record& from) {
    const function& which = functions[from.function];
    reading at{words, from, which, names_of(from)};
    pass_what_was_read(at);
    words.failed = has_failed(which.result, from.result);
    if (words.failed) {
        words.result = failure_text(which, from);
        return;
    }
    read_result(at);
    for (std::size_t i = 0; i < which.parameter_count && at.next_out <= from.out_count; ++i) {
        read_written(at, i);
    }
    if (which.name == "SetHandleInformation") {
        const auto found = handles_[words.process].find(from.arguments[0]);
        if (found != handles_[words.process].end() &&
            (from.arguments[1] & HANDLE_FLAG_INHERIT) != 0) {
            found->second.inheritable = (from.arguments[2] & HANDLE_FLAG_INHERIT) != 0;
        }
    }
    for (const std::string& one : at.written) {
        words.result += (words.result.empty() ? "" : ", ") + one;
    }
    if (words.result.empty() && which.result == result_kind::boolean && words.can_block) {
        words.result = "TRUE";
    }
    read_data(at);
}

// The calls of all files, in the order in which they began.
std::vector<raw_call> reader::raw_calls() const {
    std::vector<raw_call> raw;
    for (std::size_t i = 0; i < files_.size(); ++i) {
        const std::vector<char>& bytes = files_[i].bytes;
        const std::uint64_t calls = files_[i].words.calls;
        for (std::uint64_t number = 0; number < calls; ++number) {
            const std::uint64_t offset = header_bytes + number / chunk_records * chunk_bytes +
                                         number % chunk_records * record_bytes;
            if (offset + record_bytes > bytes.size()) {
                break;
            }
            const auto* const from = reinterpret_cast<const record*>(bytes.data() + offset);
            if (from->state != record_state::unused && from->function < functions.size()) {
                raw.push_back({i, from});
            }
        }
    }
    std::stable_sort(raw.begin(), raw.end(), [](const raw_call& a, const raw_call& b) {
        return a.from->begin < b.from->begin;
    });
    return raw;
}

trace reader::read() {
    const std::vector<raw_call> raw = raw_calls();
    const auto ms = [&](std::int64_t counter) {
        const process& first = result_.processes.front();
        return static_cast<double>(counter - first.start) * 1000.0 /
               static_cast<double>(first.frequency);
    };
    // The names of handles depend on what happened before, in all processes: a handle is known when the call that
    // made it has returned, and forgotten when the call that closes it begins.
    struct moment {
        std::int64_t time;
        bool is_end;
        std::size_t call;
    };
    std::vector<moment> moments;
    for (std::size_t i = 0; i < raw.size(); ++i) {
        const record& from = *raw[i].from;
        call words;
        words.process = raw[i].process;
        words.function = from.function;
        words.begin_ms = ms(from.begin);
        words.returned = from.state == record_state::returned;
        words.end_ms = words.returned ? ms(from.end) : 0;
        result_.calls.push_back(std::move(words));
        moments.push_back({from.begin, false, i});
        if (result_.calls.back().returned) {
            moments.push_back({from.end, true, i});
        }
    }
    // At the same time, ends come before begins. But no call ends before it begins: the counter is coarse.
    const auto ends_older = [&](const moment& one) {
        return one.is_end && raw[one.call].from->begin < one.time;
    };
    std::stable_sort(moments.begin(), moments.end(), [&](const moment& a, const moment& b) {
        return a.time != b.time ? a.time < b.time : ends_older(a) && !ends_older(b);
    });
    for (const moment& one : moments) {
        current_ = one.call;
        if (!one.is_end) {
            const record& from = *raw[one.call].from;
            result_.calls[one.call].thread =
                thread_number(raw[one.call].process, from.thread, from.begin);
        }
        if (one.is_end) {
            end(result_.calls[one.call], *raw[one.call].from);
        } else {
            begin(result_.calls[one.call], *raw[one.call].from);
        }
    }
    hide_runtime_threads();
    for (std::size_t i = 0; i < files_.size(); ++i) {
        hide_standard_handles(i);
    }
    return std::move(result_);
}

} // namespace

trace read_trace(const std::wstring& folder) {
    std::vector<raw_process> files;
    std::error_code failed;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(folder), failed)) {
        if (entry.path().extension() == L".ipctrace") {
            if (std::optional<raw_process> file = read_process(entry.path())) {
                files.push_back(std::move(*file));
            }
        }
    }
    if (failed) {
        throw std::runtime_error("cannot read the folder " + to_utf8(folder) + ": " +
                                 failed.message());
    }
    std::sort(files.begin(), files.end(), [](const raw_process& a, const raw_process& b) {
        return a.words.start < b.words.start;
    });
    return reader(files).read();
}

} // namespace ipc::trace
