#include "tests/harness/launcher.hpp"

#include "common/error.hpp"
#include "common/process.hpp"
#include "common/scope_exit.hpp"
#include "common/text.hpp"
#include "tests/tracer/inject.hpp"

#include <psapi.h>
#include <tlhelp32.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <functional>
#include <ios>
#include <iterator>
#include <mutex>
#include <random>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace ipc::test {
namespace {

struct pipe_ends {
    unique_handle read_end;
    unique_handle write_end;
};

pipe_ends create_output_pipe() {
    pipe_ends pipe;
    if (!CreatePipe(pipe.read_end.put(), pipe.write_end.put(), nullptr, 0)) {
        throw_last_error("CreatePipe");
    }
    if (!SetHandleInformation(pipe.write_end.get(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
        throw_last_error("SetHandleInformation");
    }
    return pipe;
}

unique_handle open_empty_input() {
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    unique_handle input(CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                    &inheritable, OPEN_EXISTING, 0, nullptr));
    if (!input) {
        throw_last_error("CreateFileW");
    }
    return input;
}

std::string file_name_of(DWORD process_id) {
    const unique_handle process(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id));
    std::wstring path(MAX_PATH * 4, L'\0');
    auto length = static_cast<DWORD>(path.size());
    if (!process || !QueryFullProcessImageNameW(process.get(), 0, path.data(), &length)) {
        return "process " + std::to_string(process_id);
    }
    path.resize(length);
    return to_utf8(std::filesystem::path(path).filename().wstring());
}

bool has_ended(DWORD process_id) {
    const unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, process_id));
    return !process || WaitForSingleObject(process.get(), 0) == WAIT_OBJECT_0;
}

// Wine does not count a process's handles, and its server can crash when it lists the handles of
// the whole system while a process ends. So this tries each number that can be a handle. Handles
// are multiples of 4, and Wine uses the lowest free number first.
DWORD count_by_trying(HANDLE process) {
    constexpr std::uintptr_t most_free_in_a_row = 1024;
    DWORD count = 0;
    std::uintptr_t last_used = 0;
    for (std::uintptr_t number = 4; number < last_used + 4 * most_free_in_a_row; number += 4) {
        unique_handle copy;
        if (DuplicateHandle(process, reinterpret_cast<HANDLE>(number), GetCurrentProcess(),
                            copy.put(), 0, FALSE, DUPLICATE_SAME_ACCESS)) {
            ++count;
            last_used = number;
        }
    }
    return count;
}

// Loads the tracer into a program that has not run yet. Without it the program runs just the same. One warning is
// enough.
void trace_program(const PROCESS_INFORMATION& started, const std::wstring& folder) {
    static std::atomic<bool> warned = false;
    const std::string why_not = load_tracer(started.hProcess, started.dwProcessId,
                                            program_path(L"tests", L"ipc_trace.dll"), folder);
    if (!why_not.empty() && !warned.exchange(true)) {
        print_error_line("trace: {} runs untraced: {}", file_name_of(started.dwProcessId), why_not);
    }
}

std::string first_difference(const std::string& program, const std::vector<std::string>& expected,
                             const std::vector<std::string>& actual) {
    for (std::size_t i = 0; i < std::max(expected.size(), actual.size()); ++i) {
        const std::string wanted = i < expected.size() ? "\"" + expected[i] + "\"" : "nothing more";
        const std::string got = i < actual.size() ? "\"" + actual[i] + "\"" : "nothing more";
        if (wanted != got) {
            return program + " printed " + got + " where " + wanted + " is expected";
        }
    }
    return {};
}

} // namespace

job::job() : job_(CreateJobObjectW(nullptr, nullptr)) {
    if (!job_) {
        throw_last_error("CreateJobObjectW");
    }
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!SetInformationJobObject(job_.get(), JobObjectExtendedLimitInformation, &limits,
                                 sizeof limits)) {
        throw_last_error("SetInformationJobObject");
    }
}

std::vector<DWORD> job::process_ids() const {
    constexpr std::size_t most = 4096;
    std::vector<ULONG_PTR> memory(most + 2);
    auto* list = reinterpret_cast<JOBOBJECT_BASIC_PROCESS_ID_LIST*>(memory.data());
    if (!QueryInformationJobObject(job_.get(), JobObjectBasicProcessIdList, list,
                                   static_cast<DWORD>(memory.size() * sizeof memory[0]), nullptr)) {
        throw_last_error("QueryInformationJobObject");
    }
    std::vector<DWORD> ids;
    for (DWORD i = 0; i < list->NumberOfProcessIdsInList; ++i) {
        const auto id = static_cast<DWORD>(list->ProcessIdList[i]);
        // The first program that has a window starts Wine's desktop, which is no process of this program.
        const bool is_desktop = is_wine() && file_name_of(id) == "explorer.exe";
        if (!is_desktop && !has_ended(id)) {
            ids.push_back(id);
        }
    }
    return ids;
}

std::vector<std::string> job::process_names() const {
    std::vector<std::string> names;
    for (const DWORD id : process_ids()) {
        names.push_back(file_name_of(id));
    }
    return names;
}

bool job::wait_until_empty(DWORD limit_ms) const {
    const ULONGLONG end = GetTickCount64() + limit_ms;
    for (;;) {
        const std::vector<DWORD> ids = process_ids();
        if (ids.empty()) {
            return true;
        }
        const ULONGLONG now = GetTickCount64();
        if (now >= end) {
            return false;
        }
        const unique_handle process(OpenProcess(SYNCHRONIZE, FALSE, ids.front()));
        if (process) {
            WaitForSingleObject(process.get(), static_cast<DWORD>(end - now));
        }
    }
}

void job::terminate() const noexcept {
    TerminateJobObject(job_.get(), 1);
}

void start_desktop() {
    if (!is_wine()) {
        return;
    }
    for (const DWORD which : {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE}) {
        SetHandleInformation(GetStdHandle(which), HANDLE_FLAG_INHERIT, 0);
    }
    SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
    const unique_handle nothing(CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                                            FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                                            OPEN_EXISTING, 0, nullptr));
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = startup.hStdOutput = startup.hStdError = nothing.get();
    std::wstring command = L"rundll32.exe user32.dll,MessageBeep"; // it creates a window
    PROCESS_INFORMATION started{};
    if (!CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr,
                        &startup, &started)) {
        throw_last_error("CreateProcessW");
    }
    const unique_handle thread(started.hThread);
    const unique_handle process(started.hProcess);
    WaitForSingleObject(process.get(), default_limit_ms);
    GetDesktopWindow(); // from here on, this program uses the desktop and keeps it
}

program::program(const std::vector<std::wstring>& arguments, const start_options& options) {
    const unique_handle input = open_empty_input();
    pipe_ends output = create_output_pipe();
    pipe_ends error = create_output_pipe();

    std::vector<HANDLE> inherited = options.inherited;
    inherited.insert(inherited.end(), {input.get(), output.write_end.get(), error.write_end.get()});
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &size);
    std::vector<std::byte> storage(size);
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage.data());
    if (!InitializeProcThreadAttributeList(attributes, 1, 0, &size)) {
        throw_last_error("InitializeProcThreadAttributeList");
    }
    const scope_exit delete_list([&] { DeleteProcThreadAttributeList(attributes); });
    if (!UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                   inherited.data(), inherited.size() * sizeof(HANDLE), nullptr,
                                   nullptr)) {
        throw_last_error("UpdateProcThreadAttribute");
    }
    STARTUPINFOEXW startup{};
    startup.StartupInfo.cb = sizeof startup;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = input.get();
    startup.StartupInfo.hStdOutput = output.write_end.get();
    startup.StartupInfo.hStdError = error.write_end.get();
    startup.lpAttributeList = attributes;
    std::wstring desktop = options.desktop;
    if (!desktop.empty()) {
        startup.StartupInfo.lpDesktop = desktop.data();
    }

    std::wstring command = command_line(arguments);
    PROCESS_INFORMATION started{};
    const auto create_process = [&] {
        // Suspended until it is in the job, so that none of its children can escape the job.
        const DWORD flags =
            EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED | options.creation_flags;
        return CreateProcessW(nullptr, command.data(), nullptr, nullptr, TRUE, flags, nullptr,
                              nullptr, &startup.StartupInfo, &started);
    };
    // Under Wine this fails with ERROR_INTERNAL_ERROR about once in some thousand processes while
    // other processes are being terminated. The program is not the reason, so a second try helps.
    int tries_left = 3;
    while (!create_process()) {
        if (GetLastError() != ERROR_INTERNAL_ERROR || --tries_left == 0) {
            throw_last_error("CreateProcessW");
        }
    }
    process_.reset(started.hProcess);
    const unique_handle main_thread(started.hThread);
    id_ = started.dwProcessId;
    if (!AssignProcessToJobObject(job_.handle(), process_.get())) {
        const DWORD code = GetLastError();
        TerminateProcess(process_.get(), 1);
        throw_error("AssignProcessToJobObject", code);
    }
    // Before the threads: they would wait for the program, which is suspended, if this threw.
    const std::wstring folder =
        options.trace_folder.empty() ? trace_folder() : options.trace_folder;
    if (!folder.empty()) {
        trace_program(started, std::filesystem::absolute(folder).make_preferred().wstring());
    }
    threads_.emplace_back([this, options, end = std::move(output.read_end)] {
        collect(end.get(), output_, options);
    });
    threads_.emplace_back([this, options, end = std::move(error.read_end)] {
        collect(end.get(), error_output_, options);
    });
    threads_.emplace_back([this] { watch_memory(); });
    ResumeThread(main_thread.get());
}

std::wstring trace_folder() {
    std::wstring folder(32'768, L'\0'); // the longest value
    folder.resize(
        GetEnvironmentVariableW(L"IPC_TRACE", folder.data(), static_cast<DWORD>(folder.size())));
    return folder;
}

void remove_traces(const std::wstring& folder) {
    std::error_code failed;
    for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
        if (entry.path().extension() == L".ipctrace") {
            std::filesystem::remove(entry.path(), failed);
        }
    }
}

std::string load_tracer(HANDLE process, DWORD id, const std::wstring& dll,
                        const std::wstring& folder) {
    const char* const failed = trace::inject(process, id, dll.c_str(), folder.c_str());
    const DWORD error = GetLastError();
    if (failed == nullptr) {
        return {};
    }
    if (failed == trace::is_32_bit) {
        return failed;
    }
    if (failed == trace::refused) {
        return "the tracer cannot write to the folder " + to_utf8(folder) +
               ", or the system does not let it be loaded";
    }
    return failed + std::string(" failed: ") + error_text(error) +
           "; does a virus scanner refuse it?";
}

program::~program() {
    job_.terminate();
}

void program::watch_memory() {
    constexpr DWORD pause_ms = 10;
    for (bool is_over = false;; is_over = wait(pause_ms)) {
        PROCESS_MEMORY_COUNTERS counters{};
        K32GetProcessMemoryInfo(process_.get(), &counters, sizeof counters);
        // Windows keeps the peak itself, also after the end of the process.
        const std::uint64_t most = std::max(counters.PagefileUsage, counters.PeakPagefileUsage);
        if (most > peak_memory_bytes_) {
            peak_memory_bytes_ = most;
        }
        if (is_over) {
            return;
        }
    }
}

void program::collect(HANDLE read_end, std::string& into, const start_options& options) {
    line_splitter lines([&](std::string_view line) {
        if (options.on_line) {
            options.on_line(line);
        }
    });
    std::vector<char> buffer(64 * 1024);
    DWORD received = 0;
    while (
        ReadFile(read_end, buffer.data(), static_cast<DWORD>(buffer.size()), &received, nullptr)) {
        const std::string_view bytes(buffer.data(), received);
        if (options.on_line) {
            lines.write(bytes);
        }
        output_bytes_ += received;
        const std::lock_guard lock(mutex_);
        const std::size_t most = options.most_output_bytes;
        into += most == 0 ? bytes : bytes.substr(0, most - into.size());
        changed_.notify_all();
    }
    lines.finish();
    const std::lock_guard lock(mutex_);
    --open_outputs_;
    changed_.notify_all();
}

bool program::wait(DWORD limit_ms) const {
    return WaitForSingleObject(process_.get(), limit_ms) == WAIT_OBJECT_0;
}

bool program::wait_for_output(std::string_view text, DWORD limit_ms) {
    std::unique_lock lock(mutex_);
    const auto appeared = [&] {
        return output_.find(text) != std::string::npos ||
               error_output_.find(text) != std::string::npos;
    };
    changed_.wait_for(lock, std::chrono::milliseconds(limit_ms),
                      [&] { return appeared() || open_outputs_ == 0; });
    return appeared();
}

bool program::wait_for_end_of_output(DWORD limit_ms) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(limit_ms),
                             [&] { return open_outputs_ == 0; });
}

void program::kill(UINT exit_code) const {
    TerminateProcess(process_.get(), exit_code);
}

void program::press_ctrl_c() const {
    // GenerateConsoleCtrlEvent needs a console that both programs share. A test that runs as a
    // service or under Wine without a terminal has none. So this does what the console does: it
    // starts a thread in the program at CtrlRoutine, which has the same address in every process.
    const auto routine = reinterpret_cast<LPTHREAD_START_ROUTINE>(reinterpret_cast<void*>(
        GetProcAddress(GetModuleHandleW(L"kernelbase.dll"), "CtrlRoutine")));
    if (routine == nullptr) {
        throw_last_error("GetProcAddress");
    }
    const unique_handle thread(CreateRemoteThread(process_.get(), nullptr, 0, routine,
                                                  nullptr /* CTRL_C_EVENT */, 0, nullptr));
    if (!thread) {
        throw_last_error("CreateRemoteThread");
    }
}

DWORD program::exit_code() const {
    DWORD code = 0;
    if (!GetExitCodeProcess(process_.get(), &code)) {
        throw_last_error("GetExitCodeProcess");
    }
    return code;
}

std::string program::output() {
    const std::lock_guard lock(mutex_);
    return output_;
}

std::string program::error_output() {
    const std::lock_guard lock(mutex_);
    return error_output_;
}

std::vector<unique_handle> threads_of(DWORD process_id, DWORD access) {
    const unique_handle snapshot(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
    if (!snapshot) {
        throw_last_error("CreateToolhelp32Snapshot");
    }
    std::vector<unique_handle> threads;
    THREADENTRY32 entry{};
    entry.dwSize = sizeof entry;
    for (BOOL more = Thread32First(snapshot.get(), &entry); more;
         more = Thread32Next(snapshot.get(), &entry)) {
        if (entry.th32OwnerProcessID == process_id) {
            unique_handle thread(OpenThread(access, FALSE, entry.th32ThreadID));
            if (thread) {
                threads.push_back(std::move(thread));
            }
        }
    }
    return threads;
}

suspended::suspended(const program& stopped) {
    for (unique_handle& thread :
         threads_of(stopped.id(), THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT)) {
        if (SuspendThread(thread.get()) != static_cast<DWORD>(-1)) {
            CONTEXT context{};
            context.ContextFlags = CONTEXT_CONTROL;
            GetThreadContext(thread.get(), &context); // SuspendThread does not wait, this does
            threads_.push_back(std::move(thread));
        } // or the thread has just ended
    }
}

suspended::~suspended() {
    for (const unique_handle& thread : threads_) {
        ResumeThread(thread.get());
    }
}

result run(const std::vector<std::wstring>& arguments, const start_options& options,
           DWORD limit_ms) {
    result ended;
    const ULONGLONG end = GetTickCount64() + limit_ms;
    const auto left_ms = [&] {
        const ULONGLONG now = GetTickCount64();
        return now < end ? static_cast<DWORD>(end - now) : 0;
    };
    program started(arguments, options);
    ended.timed_out = !started.wait(left_ms()) || !started.wait_for_end_of_output(left_ms());
    ended.left_running = started.job().process_names();
    started.job().terminate();
    started.wait();
    started.wait_for_end_of_output();
    ended.exit_code = started.exit_code();
    ended.output = started.output();
    ended.error_output = started.error_output();
    return ended;
}

std::string left_out_reason(program& ended) {
    constexpr std::string_view mark = ": left out: ";
    const std::string text = ended.error_output();
    if (ended.exit_code() != left_out_exit_code || text.find(mark) != 1) { // "A" or "B" in front
        return {};
    }
    return lines_of(text).front().substr(1 + mark.size());
}

std::wstring program_path(std::wstring_view folder, std::wstring_view file_name) {
    return (beside_this_program(L"").parent_path().parent_path() / folder / file_name).wstring();
}

std::uint64_t processor_ms(HANDLE process) {
    std::uint64_t total = 0; // in units of 100 ns
    for (const unique_handle& thread :
         threads_of(GetProcessId(process), THREAD_QUERY_LIMITED_INFORMATION)) {
        FILETIME created{};
        FILETIME ended{};
        FILETIME kernel{};
        FILETIME user{};
        if (GetThreadTimes(thread.get(), &created, &ended, &kernel, &user)) {
            for (const FILETIME& time : {kernel, user}) {
                total += std::uint64_t{time.dwHighDateTime} << 32 | time.dwLowDateTime;
            }
        }
    }
    return total / 10'000;
}

DWORD handle_count(HANDLE process) {
    DWORD count = 0;
    if (!GetProcessHandleCount(process, &count)) {
        throw_last_error("GetProcessHandleCount");
    }
    return count != 0 ? count : count_by_trying(process);
}

std::uint64_t memory_bytes(HANDLE process) {
    PROCESS_MEMORY_COUNTERS counters{};
    if (!K32GetProcessMemoryInfo(process, &counters, sizeof counters)) {
        throw_last_error("GetProcessMemoryInfo");
    }
    if (counters.PagefileUsage == 0) { // Wine's answer for a process that has ended
        throw std::runtime_error("a process that has ended has no memory to count");
    }
    return counters.PagefileUsage;
}

temporary_folder::temporary_folder()
    : path_(std::filesystem::temp_directory_path() / (L"ipc_demos." + unique_suffix())) {
    std::filesystem::create_directories(path_);
}

temporary_folder::~temporary_folder() {
    std::error_code ignored; // for example a program still has a file open
    std::filesystem::remove_all(path_, ignored);
}

void write_random_file(const std::wstring& path, std::uint64_t bytes, std::uint64_t seed) {
    std::ofstream file(std::filesystem::path(path), std::ios::binary);
    std::mt19937_64 random(seed);
    std::vector<std::uint64_t> chunk(128 * 1024);
    for (std::uint64_t done = 0; done < bytes;) {
        std::ranges::generate(chunk, std::ref(random)); // a copy would repeat the first chunk
        const std::uint64_t size =
            std::min<std::uint64_t>(bytes - done, chunk.size() * sizeof chunk[0]);
        file.write(reinterpret_cast<const char*>(chunk.data()), static_cast<std::streamsize>(size));
        done += size;
    }
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + to_utf8(path));
    }
}

bool same_content(const std::wstring& first, const std::wstring& second) {
    std::ifstream a(std::filesystem::path(first), std::ios::binary);
    std::ifstream b(std::filesystem::path(second), std::ios::binary);
    std::vector<char> from_a(1 << 20);
    std::vector<char> from_b(1 << 20);
    while (a && b) {
        a.read(from_a.data(), static_cast<std::streamsize>(from_a.size()));
        b.read(from_b.data(), static_cast<std::streamsize>(from_b.size()));
        const auto bytes = static_cast<std::size_t>(a.gcount());
        if (a.gcount() != b.gcount() ||
            std::string_view(from_a.data(), bytes) != std::string_view(from_b.data(), bytes)) {
            return false;
        }
    }
    return a.eof() && b.eof();
}

std::string read_file(const std::wstring& path) {
    std::ifstream file(std::filesystem::path(path), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool is_wine() {
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != nullptr;
}

std::wstring unique_suffix() {
    static std::atomic<int> calls = 0;
    return L"test" + std::to_wstring(GetCurrentProcessId()) + L"_" + std::to_wstring(++calls);
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        lines.emplace_back(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

std::string compare_output(const std::vector<std::string>& expected,
                           const std::vector<std::string>& lines_of_a,
                           const std::vector<std::vector<std::string>>& lines_of_each_b) {
    std::vector<std::string> expected_a;
    std::vector<std::string> expected_b;
    for (const std::string& line : expected) {
        if (!line.starts_with("A: ") && !line.starts_with("B: ")) {
            return "expected: a line that is neither A's nor B's: \"" + line + "\"";
        }
        (line.starts_with("A: ") ? expected_a : expected_b).push_back(line);
    }
    std::vector<std::string> a = lines_of_a;
    std::vector<std::string> b;
    for (const std::vector<std::string>& lines : lines_of_each_b) {
        b.insert(b.end(), lines.begin(), lines.end());
    }
    if (lines_of_each_b.empty()) { // A starts B, which can print to A's output
        const auto is_of_b = [](const std::string& line) { return line.starts_with("B: "); };
        std::ranges::copy_if(a, std::back_inserter(b), is_of_b);
        std::erase_if(a, is_of_b);
    }
    if (lines_of_each_b.size() > 1) {
        for (auto* lines : {&a, &b, &expected_a, &expected_b}) {
            std::ranges::sort(*lines);
        }
    }
    const std::string difference = first_difference("A", expected_a, a);
    return difference.empty() ? first_difference("B", expected_b, b) : difference;
}

} // namespace ipc::test
