// Puts the same load on every server and writes figures, charts and a table. It also measures the
// floor: the same client with a server that has one pipe and makes blocking calls.
//
// Run: cmake -P tests/bench.cmake, which says how; or bench --out FOLDER
//
// A point is one server with one number of clients and one message size. Each round measures all
// points, so that a disturbance of the machine does not affect the figures of one server only.

#include "common/arguments.hpp"
#include "common/error.hpp"
#include "common/text.hpp"
#include "demos/19_unix_socket/unix_socket.hpp"
#include "tests/benchmark/chart.hpp"
#include "tests/benchmark/load.hpp"
#include "tests/benchmark/report.hpp"
#include "tests/harness/launcher.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace {

constexpr auto usage =
    "bench --out FOLDER [--seconds N] [--rounds N] [--quick] [--only NN] [--machine TEXT]\n"
    "  --out FOLDER    where to write the figures and charts\n"
    "  --seconds N     measure each point for so long (default: 1)\n"
    "  --rounds N      measure each point so many times (default: 3)\n"
    "  --quick         one round of half a second a point: to see that everything works\n"
    "  --only NN       of the servers, only this one, such as 09\n"
    "  --machine TEXT  describes the machine, for machine.txt\n"
    "  --floor-server NAME  what the benchmark starts itself as";

constexpr std::array<unsigned, 5> client_counts = {1, 16, 62, 255, 1000};
constexpr auto floor_name = "floor";

struct known_server {
    const char* folder = "";
    const wchar_t* pipe = L""; // its name; with TCP that of its socket file, with AF_UNIX not used
    std::size_t most_clients = 0; // of those above; more are not measured
    const char* most_clients_text = "";
    const char* choose_when = "";
    ipc::test::carrier over = ipc::test::carrier::pipe;
};

constexpr known_server known_servers[] = {
    {"05_overlapped_server", L"\\\\.\\pipe\\ipc_demos.05.requests", 62, "62",
     "62 clients are enough, and they share state that you do not want to lock"},
    {"07_thread_per_client", L"\\\\.\\pipe\\ipc_demos.07.requests", 1000, "1,024",
     "a request may block or take long, and clients are counted in tens"},
    {"08_completion_routines", L"\\\\.\\pipe\\ipc_demos.08.requests", 1000, "1,024",
     "there are many clients, each request is short, and one processor is enough"},
    {"09_completion_port", L"\\\\.\\pipe\\ipc_demos.09.requests", 1000, "1,024",
     "there are many clients, and their requests keep several processors busy"},
    {"18_tcp_loopback", L"ipc_demos.18.requests", 1000, "1,024",
     "its clients know only sockets, or it also runs on other systems", ipc::test::carrier::tcp},
    {"19_unix_socket", L"", 1000, "1,024", "as 18, and all clients are on one computer",
     ipc::test::carrier::unix_socket},
#ifdef IPC_HAS_RPC
    {"25_rpc", L"ipc_demos.25.requests", 62, "no fixed limit",
     "there are many different requests, and you do not want to write a protocol",
     ipc::test::carrier::rpc},
#endif
};

struct settings {
    std::wstring out;
    std::uint64_t seconds = 1;
    std::uint64_t rounds = 3;
    bool quick = false;
    std::wstring only;
    std::wstring machine;
    std::wstring floor_server; // not empty: this program is the floor's server

    DWORD duration_ms() const { return quick ? 500 : static_cast<DWORD>(seconds * 1000); }

    // The figures of a single client depend on the processors on which its two processes run. So each
    // round measures it several times, with new processes, for a part of the time each.
    std::uint64_t repeats_of_one() const { return quick ? 1 : 3; }
};

settings parse(int argc, wchar_t** argv) {
    settings all;
    ipc::parse_arguments(argc, argv, usage,
                         {{L"--out", &all.out},
                          {L"--seconds", &all.seconds},
                          {L"--rounds", &all.rounds},
                          {L"--quick", &all.quick},
                          {L"--only", &all.only},
                          {L"--machine", &all.machine},
                          {L"--floor-server", &all.floor_server}});
    if (all.out.empty() && all.floor_server.empty()) {
        throw ipc::usage_error("--out is missing; usage: bench --out FOLDER");
    }
    if (all.seconds < 1 || all.seconds > 60 || all.rounds < 1 || all.rounds > 99) {
        throw ipc::usage_error("--seconds needs 1 to 60, and --rounds 1 to 99");
    }
    if (all.quick) {
        all.rounds = 1;
    }
    return all;
}

// Returns the servers that are built. The first entry is the floor, which has no program of its own.
std::vector<const known_server*> servers_to_measure(const std::wstring& only) {
    std::vector<const known_server*> servers = {nullptr};
    for (const known_server& server : known_servers) {
        const std::wstring folder = ipc::to_utf16(server.folder);
        if (!only.empty() && !folder.starts_with(only)) {
            continue;
        }
        if (server.over == ipc::test::carrier::unix_socket && !has_unix_sockets()) {
            ipc::print_line("{}: {}", server.folder, no_unix_sockets);
        } else if (std::filesystem::exists(ipc::test::program_path(folder, L"processA.exe"))) {
            servers.push_back(&server);
        } else {
            ipc::print_line("{} is not built, and left out", server.folder);
        }
    }
    if (servers.size() == 1) {
        throw std::runtime_error("there is no server to measure");
    }
    return servers;
}

ipc::test::server_command command_for(const known_server* server) {
    const std::wstring suffix = ipc::test::unique_suffix();
    if (server == nullptr) {
        const std::wstring pipe = L"\\\\.\\pipe\\ipc_demos.bench.floor." + suffix;
        return {{ipc::test::program_path(L"tests", L"bench.exe"), L"--floor-server", pipe}, pipe};
    }
    std::wstring name = std::wstring(server->pipe) + L"." + suffix;
    if (server->over == ipc::test::carrier::tcp) {
        name = (std::filesystem::temp_directory_path() / name).wstring();
    }
    if (server->over == ipc::test::carrier::unix_socket) {
        name = socket_path(suffix);
    }
    return {{ipc::test::program_path(ipc::to_utf16(server->folder), L"processA.exe"), L"--name",
             suffix, L"--limit", L"3600"},
            name,
            server->over};
}

struct plan {
    std::vector<const known_server*> servers;
    ipc::test::report report;
};

plan make_plan(const std::wstring& only) {
    plan all{.servers = servers_to_measure(only), .report = {}};
    for (const known_server* server : all.servers) {
        all.report.servers.push_back(server == nullptr
                                         ? ipc::test::measured_server{floor_name, "1", ""}
                                         : ipc::test::measured_server{server->folder,
                                                                      server->most_clients_text,
                                                                      server->choose_when});
    }
    for (const DWORD bytes : {ipc::test::small_bytes, ipc::test::large_bytes}) {
        for (const unsigned clients : client_counts) {
            for (std::size_t i = 0; i < all.servers.size(); ++i) {
                const std::size_t most =
                    all.servers[i] == nullptr ? 1 : all.servers[i]->most_clients;
                if (clients <= most) {
                    all.report.points.push_back({i, clients, bytes, {}});
                }
            }
        }
    }
    return all;
}

std::string milliseconds(double us) {
    return ipc::test::number_text(us / 1000) + " ms";
}

std::string progress_text(const ipc::test::measurement& figures) {
    std::string text = ipc::fill("{} requests/s, median {}, 99% {}",
                                 {ipc::test::number_text(figures.requests_per_second),
                                  milliseconds(figures.median_us), milliseconds(figures.p99_us)});
    if (figures.not_served != 0) {
        text += "; clients without a reply: " + std::to_string(figures.not_served);
    }
    return text;
}

// Returns the points of one round in the order of measuring. The floor comes directly before the
// servers with a single client.
std::vector<ipc::test::measured_point*> steps_of_round(plan& all, const settings& wanted) {
    std::vector<ipc::test::measured_point*> steps;
    for (const DWORD bytes : {ipc::test::small_bytes, ipc::test::large_bytes}) {
        for (const unsigned clients : client_counts) {
            const std::uint64_t repeats = clients == 1 ? wanted.repeats_of_one() : 1;
            for (std::uint64_t i = 0; i < repeats; ++i) {
                for (ipc::test::measured_point& point : all.report.points) {
                    if (point.message_bytes == bytes && point.clients == clients) {
                        steps.push_back(&point);
                    }
                }
            }
        }
    }
    return steps;
}

DWORD duration_ms(const settings& wanted, const ipc::test::measured_point& point) {
    if (point.clients == 1) {
        return wanted.duration_ms() / static_cast<DWORD>(wanted.repeats_of_one());
    }
    // Hundreds of clients share the server: each one needs this time for several requests.
    return point.clients == client_counts.back() ? wanted.duration_ms() * 2 : wanted.duration_ms();
}

// Measures everything. Returns how many measurements failed.
unsigned run(plan& all, const settings& wanted) {
    const std::vector<ipc::test::measured_point*> steps = steps_of_round(all, wanted);
    const std::size_t count = steps.size() * static_cast<std::size_t>(wanted.rounds);
    unsigned failed = 0;
    for (std::size_t i = 0; i < count; ++i) {
        ipc::test::measured_point& point = *steps[i % steps.size()];
        std::string outcome;
        try {
            point.rounds.push_back(ipc::test::measure(command_for(all.servers[point.server]),
                                                      {.clients = point.clients,
                                                       .message_bytes = point.message_bytes,
                                                       .duration_ms = duration_ms(wanted, point)}));
            outcome = progress_text(point.rounds.back());
        } catch (const std::exception& problem) {
            ++failed;
            outcome = std::string("FAILED: ") + problem.what();
        }
        ipc::print_line("[{}/{}] {}, {} client{}, {}: {}", i + 1, count,
                        all.report.servers[point.server].name, point.clients,
                        point.clients == 1 ? "" : "s", ipc::test::size_text(point.message_bytes),
                        outcome);
    }
    return failed;
}

std::string system_text() {
    const HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    using wine_get_version = const char*(__cdecl*)();
    const auto wine_version = reinterpret_cast<wine_get_version>(
        reinterpret_cast<void*>(GetProcAddress(ntdll, "wine_get_version")));
    if (wine_version != nullptr) {
        return std::string("Wine ") + wine_version();
    }
    // Not GetVersionExW: without a manifest it returns the version of Windows 8.
    using rtl_get_version = LONG(WINAPI*)(OSVERSIONINFOW*);
    const auto get_version = reinterpret_cast<rtl_get_version>(
        reinterpret_cast<void*>(GetProcAddress(ntdll, "RtlGetVersion")));
    OSVERSIONINFOW version{};
    version.dwOSVersionInfoSize = sizeof version;
    if (get_version == nullptr || get_version(&version) != 0) {
        return "Windows";
    }
    return ipc::fill("Windows {}.{}.{}", {std::to_string(version.dwMajorVersion),
                                          std::to_string(version.dwMinorVersion),
                                          std::to_string(version.dwBuildNumber)});
}

std::string compiler_text() {
#if defined(__clang__)
    return "Clang " + std::to_string(__clang_major__);
#elif defined(__GNUC__)
    return "MinGW-w64 GCC " + std::to_string(__GNUC__);
#else
    return "MSVC " + std::to_string(_MSC_FULL_VER);
#endif
}

std::string date_text() {
    SYSTEMTIME now{};
    GetSystemTime(&now);
    const auto two_digits = [](WORD number) {
        return (number < 10 ? "0" : "") + std::to_string(number);
    };
    return std::to_string(now.wYear) + "-" + two_digits(now.wMonth) + "-" + two_digits(now.wDay);
}

std::string machine_text(const settings& wanted) {
    std::string text;
    if (!wanted.machine.empty()) {
        text += "machine:  " + ipc::to_utf8(wanted.machine) + "\n";
    }
    text += ipc::fill("system:   {}\ncompiler: {}\ndate:     {}\n",
                      {system_text(), compiler_text(), date_text()});
    text += ipc::fill("measured: {} round{}, {} ms of each point\n",
                      {std::to_string(wanted.rounds), wanted.rounds == 1 ? "" : "s",
                       std::to_string(wanted.duration_ms())});
    return text;
}

void write_files(const ipc::test::report& report, const settings& wanted) {
    std::vector<ipc::test::output_file> files = charts(report);
    files.push_back({"results.csv", csv_text(report)});
    files.push_back({"goals.txt", goals_text(report)});
    files.push_back({"table.md", table_text(report)});
    files.push_back({"machine.txt", machine_text(wanted)});
    const std::filesystem::path folder(wanted.out);
    std::filesystem::create_directories(folder);
    for (const ipc::test::output_file& one : files) {
        std::ofstream file(folder / one.name, std::ios::binary); // LF on Windows, too
        if (!(file << one.content << std::flush)) {
            throw std::runtime_error("cannot write " + one.name + " in " +
                                     ipc::to_utf8(wanted.out));
        }
    }
}

} // namespace

int wmain(int argc, wchar_t* argv[]) try {
    const settings wanted = parse(argc, argv);
    if (!wanted.floor_server.empty()) {
        ipc::test::run_floor_server(wanted.floor_server);
        return 0;
    }
    const winsock started_winsock;
    plan all = make_plan(wanted.only);
    const unsigned failed = run(all, wanted);
    write_files(all.report, wanted);
    ipc::print_line("\n{}", goals_text(all.report));
    if (failed != 0) {
        throw std::runtime_error(std::to_string(failed) + " measurements failed");
    }
    return 0;
} catch (...) {
    return ipc::report_exception("bench");
}
