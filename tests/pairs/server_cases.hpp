#pragma once

// Test cases for every server whose requests and replies are one message each: pairs 05, 07 to 10, and 18.
// In these cases the test itself is the clients. A pair's test program includes a header that has the
// class raw_client of its transport, and then this file, once: server_suite.hpp does so for pipes, and
// socket_suite.hpp for sockets. It describes its server:
//
//     const ipc::test::tested_server ipc::test::tested = {L"05_overlapped_server", ...};
//
// Such a server takes --clients N, --limit SECONDS and --name SUFFIX. It prints its first line when
// clients can connect, and a line for each client whose connection has ended: "A: a client left;
// requests answered: 2", or "A: a client was dropped, idle for too long; ...", or "..., its message is
// too long; ...".
//
// Tags: [several] needs a server that holds several clients at the same time, [client] needs a
// processB that sends its arguments as requests.

#include "common/text.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <utility>

namespace ipc::test {

struct tested_server {
    std::wstring folder;              // of the pair
    std::wstring pipe;                // its name, or the path of its socket file, without a suffix
    int held = 0;                     // clients that can be connected at the same time
    std::vector<int> clients_at_once; // that the first case starts; more than held: they wait
    bool all_instances_made = false;  // at the start: then no other program can create one
    std::wstring reset_limit =
        L"60"; // --limit of a server whose clients leave without an orderly end
    std::size_t idle_client_bytes = 8 * 1024; // the limit of what a connected client may cost
};

extern const tested_server tested;

constexpr std::size_t mebibyte = 1 << 20;

inline std::size_t count(std::string_view text, std::string_view part) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; ++found) {
        at += part.size();
    }
    return found;
}

// A server with a name of its own, ready for clients.
class running_server {
public:
    explicit running_server(const std::vector<std::wstring>& options = {},
                            std::wstring name_suffix = unique_suffix())
        : suffix(std::move(name_suffix)), pipe(tested.pipe + L"." + suffix),
          a(command(options, suffix)) {
        REQUIRE(a.wait_for_output("A: "));
        REQUIRE(a.error_output().empty());
    }

    static std::vector<std::wstring> command(const std::vector<std::wstring>& options,
                                             const std::wstring& suffix) {
        // A limit that a busy machine does not exceed; the last --limit of a command line counts.
        std::vector<std::wstring> all = {program_path(tested.folder, L"processA.exe"), L"--name",
                                         suffix, L"--limit", L"60"};
        all.insert(all.end(), options.begin(), options.end());
        return all;
    }

    std::vector<std::wstring> client(const std::vector<std::wstring>& arguments) const {
        std::vector<std::wstring> all = {program_path(tested.folder, L"processB.exe"), L"--name",
                                         suffix};
        all.insert(all.end(), arguments.begin(), arguments.end());
        return all;
    }

    // Waits, within the limit, until the server has printed the text as often as expected. Returns
    // how often it has printed the text.
    std::size_t printed(std::string_view text, std::size_t expected) {
        const ULONGLONG end = GetTickCount64() + default_limit_ms;
        while (count(a.output(), text) < expected && GetTickCount64() < end && !a.wait(10)) {}
        return count(a.output(), text);
    }

    // The same for the lines that say that a connection has ended, and that continue with this text.
    std::size_t ended(std::string_view text, std::size_t expected) {
        const auto found = [&] {
            std::size_t all = 0;
            for (const std::string& line : raw_client::end_lines()) {
                all += count(a.output(), line + std::string(text));
            }
            return all;
        };
        const ULONGLONG end = GetTickCount64() + default_limit_ms;
        while (found() < expected && GetTickCount64() < end && !a.wait(10)) {}
        return found();
    }

    void stop() {
        a.press_ctrl_c();
        REQUIRE(a.wait());
        a.wait_for_end_of_output();
        CHECK(a.exit_code() == 0);
        CHECK(a.error_output().empty());
    }

    const std::wstring suffix;
    const std::wstring pipe;
    program a;
};

inline std::string upper_case(std::string text) {
    std::ranges::transform(text, text.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    return text;
}

inline std::string random_bytes(std::size_t bytes, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::string text(bytes, '\0');
    std::ranges::generate(text, [&] { return static_cast<char>(random()); });
    return text;
}

inline bool is_served(const std::wstring& pipe) {
    return raw_client(pipe).ask("are you there?") == "ARE YOU THERE?";
}

// Writes a file of lines that hold any bytes but line feeds. Returns its content.
inline std::string write_lines(const std::wstring& path, std::size_t lines, std::size_t bytes) {
    std::string content;
    for (std::size_t i = 0; i < lines; ++i) {
        std::string line = random_bytes(bytes, static_cast<unsigned>(i));
        std::ranges::replace(line, '\n', '-');
        content += line + '\n';
    }
    std::ofstream(std::filesystem::path(path), std::ios::binary) << content;
    return content;
}

// For a loop of connections. Windows keeps the port of each one for minutes, and has about 16,000 of them.
inline void save_ports() {
    if (raw_client::is_queued) {
        Sleep(1);
    }
}

// Waits until count_down was called that many times, as std::latch does; with MinGW's library, its wait now and then
// does not return.
class countdown {
public:
    explicit countdown(int count) : left_(count) {}
    void count_down() {
        if (--left_ == 0) {
            SetEvent(zero_.get());
        }
    }
    void wait() const { WaitForSingleObject(zero_.get(), INFINITE); }
    void arrive_and_wait() {
        count_down();
        wait();
    }

private:
    std::atomic<int> left_;
    ipc::unique_handle zero_{CreateEventW(nullptr, TRUE, FALSE, nullptr)};
};

// Starts n threads, each a client that asks a few times. Returns how many clients had only right
// replies.
inline int clients_served(const std::wstring& pipe, int n) {
    std::atomic<int> good = 0;
    countdown all_connected(std::min(n, tested.held));
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < n; ++i) {
            threads.emplace_back([&, i] {
                raw_client client(pipe);
                if (n <= tested.held) {
                    all_connected.arrive_and_wait(); // also if it could not connect
                }
                bool right = true;
                for (int j = 0; j < 5; ++j) {
                    const std::string request = "client " + std::to_string(i * 1000 + j);
                    right = right && client.ask(request) == upper_case(request);
                }
                good += right;
            });
        }
    }
    return good;
}

} // namespace ipc::test

namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::raw_client;
using ipc::test::running_server;

TEST_CASE("Clients at once all get their own replies") {
    running_server server;
    for (const int n : ipc::test::tested.clients_at_once) {
        INFO(n << " clients");
        CHECK(ipc::test::clients_served(server.pipe, n) == n);
    }
    server.stop();
}

TEST_CASE("When every place is taken, the next client waits until another one leaves") {
    running_server server({L"--limit", L"0"});
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < ipc::test::tested.held; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
        REQUIRE(clients.back()->ask("here") == "HERE");
    }
    raw_client one_more;
    if (raw_client::is_queued) {
        REQUIRE(one_more.try_connect(server.pipe));
        CHECK(one_more.send("nobody answers"));
        CHECK_FALSE(one_more.receive(300).has_value());
        one_more.close(); // or it would be the next one
    } else {
        CHECK_FALSE(one_more.try_connect(server.pipe));
        CHECK(one_more.is_busy());
    }
    std::optional<std::string> reply;
    std::atomic<bool> replied = false;
    std::jthread waiting([&] {
        reply = raw_client(server.pipe).ask("my turn");
        replied = true;
    });
    CHECK_FALSE(server.a.wait(300));
    CHECK_FALSE(replied);
    clients.erase(clients.begin() + ipc::test::tested.held / 2);
    waiting.join();
    CHECK(reply == "MY TURN");
    CHECK(ipc::test::is_served(server.pipe));
    server.stop();
    for (const auto& client : clients) {
        CHECK(client->is_dropped());
    }
}

TEST_CASE("Silent clients in every place keep the next one waiting only until the limit") {
    running_server server({L"--limit", L"1"});
    std::vector<std::unique_ptr<raw_client>> clients;
    for (int i = 0; i < ipc::test::tested.held; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
        REQUIRE(*clients.back());
    }
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("A message of any size up to 1 MiB and of any bytes is one request and one reply") {
    running_server server;
    raw_client client(server.pipe);
    for (const std::size_t bytes :
         std::vector<std::size_t>{0, 1, 2, 4095, 4096, 4097, 8192, 65536, 1048575, 1048576, 0, 5}) {
        INFO(bytes << " bytes");
        const std::string request = ipc::test::random_bytes(bytes);
        const std::optional<std::string> reply = client.ask(request);
        REQUIRE(reply.has_value());
        CHECK((reply == ipc::test::upper_case(request))); // or Catch2 prints 1 MiB
    }
    client.close();
    REQUIRE(server.a.wait_for_output("A: a client left; requests answered: 12\n"));
}

TEST_CASE("A client that sends more than 1 MiB is disconnected, and no other client is",
          "[several]") {
    running_server server;
    raw_client other(server.pipe);
    CHECK(other.ask(std::string(ipc::test::mebibyte, 'x')).has_value());
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    for (const std::size_t bytes : std::vector<std::size_t>{1048577, 2097152, 8388608}) {
        raw_client client(server.pipe);
        CHECK(client.ask("first") == "FIRST");
        CHECK_FALSE(client.ask(std::string(bytes, 'x')).has_value());
        CHECK(client.error() != ERROR_OPERATION_ABORTED); // the limit of this test
        CHECK(other.ask("still here") == "STILL HERE");
    }
    const std::string line =
        "A: a client was dropped, its message is too long; requests answered: 1\n";
    CHECK(server.printed(line, 3) == 3);
    server.stop();
    CHECK(server.a.peak_memory_bytes() < memory + 6 * ipc::test::mebibyte);
}

TEST_CASE("A silent client is dropped after the limit, a busy client is not", "[several]") {
    running_server server({L"--limit", L"1"});
    raw_client busy(server.pipe);
    std::atomic<bool> stop = false;
    std::atomic<int> wrong = 0;
    std::jthread asker([&] {
        while (!stop) {
            wrong += busy.ask("busy") != "BUSY";
        }
    });
    for (int i = 0; i < 2; ++i) { // twice: the busy client stays for longer than the limit
        raw_client silent(server.pipe);
        const ULONGLONG start = GetTickCount64();
        CHECK(silent.is_dropped());
        CHECK(GetTickCount64() - start >= 900); // a clock's step is about 16 ms
    }
    stop = true;
    asker.join();
    CHECK(wrong == 0);
    const std::string line = "A: a client was dropped, idle for too long; requests answered: 0\n";
    CHECK(server.printed(line, 2) == 2);
    CHECK(ipc::test::is_served(server.pipe));
    CHECK(ipc::test::count(server.a.output(), "dropped") == 2);
}

TEST_CASE("With --limit 0 no silent client is dropped, and Ctrl+C ends the server") {
    running_server server({L"--limit", L"0"});
    raw_client silent(server.pipe);
    CHECK_FALSE(silent.is_dropped(300));
    CHECK(silent.error() == ERROR_OPERATION_ABORTED); // the limit of this test
    CHECK(silent.ask("still here") == "STILL HERE");
    server.stop();
    CHECK(silent.is_dropped());
    CHECK_THAT(server.a.output(), !ContainsSubstring("dropped"));
}

TEST_CASE("A client that does not read its reply is dropped after the limit") {
    running_server server({L"--limit", L"1"});
    raw_client client(server.pipe);
    REQUIRE(client.send(std::string(ipc::test::mebibyte, 'x')));
    CHECK(ipc::test::is_served(server.pipe));
    CHECK(server.a.wait_for_output(
        "A: a client was dropped, idle for too long; requests answered: 0\n"));
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("A client that keeps sending and never reads is dropped after the limit") {
    running_server server({L"--limit", L"1"});
    raw_client client(server.pipe);
    // Wine 8 can keep a socket open that the server has closed while calls were pending: nobody tells the client.
    const bool may_stay_open = raw_client::is_queued && ipc::test::is_wine();
    const DWORD limit_ms = may_stay_open ? 5'000 : ipc::test::default_limit_ms;
    int sent = 0;
    while (sent < 1'000'000 && client.send(std::string(1000, 'x'), limit_ms)) {
        ++sent;
    }
    CHECK(sent < 1'000'000);
    CHECK((may_stay_open || client.error() != ERROR_OPERATION_ABORTED));
    CHECK(server.a.wait_for_output("A: a client was dropped, idle for too long; "));
    CHECK(ipc::test::is_served(server.pipe));
}

TEST_CASE("A client that leaves while its reply is being written affects no other client",
          "[several]") {
    running_server server({L"--limit", ipc::test::tested.reset_limit});
    raw_client other(server.pipe);
    for (int i = 0; i < 20; ++i) {
        raw_client client(server.pipe);
        REQUIRE(client.send(std::string(ipc::test::mebibyte, 'x')));
        CHECK(client.wait_for_reply() > 0); // the rest waits until the client reads
        client.close();                     // as the system does when a process is killed
        CHECK(other.ask("still here") == "STILL HERE");
    }
    CHECK(server.ended("requests answered: 0\n", 20) == 20);
    server.stop();
}

TEST_CASE("Thousands of clients that connect and leave cost neither handles nor memory") {
    running_server server;
    const auto connect_and_leave = [&](int times) {
        for (int i = 0; i < times; ++i) {
            raw_client client;
            while (!client.try_connect(server.pipe) && client.is_busy()) {
                raw_client::wait_for_place(server.pipe);
            }
            REQUIRE((client || client.error() == ERROR_SUCCESS));
        }
        REQUIRE(ipc::test::is_served(server.pipe));
    };
    connect_and_leave(500);
    const DWORD handles = ipc::test::handle_count(server.a.process());
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    connect_and_leave(2'000);
    CHECK(server.printed("A: a client left; requests answered: 0\n", 2'500) == 2'500);
    CHECK(ipc::test::handle_count(server.a.process()) <= handles + 10);
    // The threads that end at one moment can be some more than before; each keeps memory for a while.
    CHECK(ipc::test::memory_bytes(server.a.process()) < memory + ipc::test::mebibyte / 2);
    server.stop();
}

TEST_CASE("Clients that once sent 1 MiB do not keep the memory") {
    running_server server;
    std::vector<std::unique_ptr<raw_client>> clients;
    const std::string request(ipc::test::mebibyte, 'x');
    const std::string reply(ipc::test::mebibyte, 'X');
    for (int i = 0; i < std::min(ipc::test::tested.held, 62); ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
        REQUIRE(clients.back()->ask("short") == "SHORT");
    }
    const std::uint64_t memory = ipc::test::memory_bytes(server.a.process());
    for (const auto& client : clients) {
        REQUIRE((client->ask(request) == reply));
        client->ask("short"); // by now the server has freed the memory of the long reply
    }
    CHECK(ipc::test::memory_bytes(server.a.process()) < memory + 16 * ipc::test::mebibyte);
}

TEST_CASE("Connected clients cost the server little memory, and later clients use it again") {
    running_server server;
    const auto n = static_cast<std::size_t>(std::min(ipc::test::tested.held, 300));
    const std::uint64_t empty = ipc::test::memory_bytes(server.a.process());
    std::vector<std::uint64_t> full; // with n clients connected
    for (std::size_t round = 1; round <= 4; ++round) {
        std::vector<std::unique_ptr<raw_client>> clients;
        for (std::size_t i = 0; i < n; ++i) {
            clients.push_back(std::make_unique<raw_client>(server.pipe));
            REQUIRE(clients.back()->ask("here") == "HERE");
        }
        full.push_back(ipc::test::memory_bytes(server.a.process()));
        clients.clear();
        REQUIRE(server.printed("A: a client left; requests answered: 1\n", round * n) == round * n);
    }
    CAPTURE(empty, full);
    const std::uint64_t clients_bytes = n * ipc::test::tested.idle_client_bytes;
    // On a busy machine all threads of a server come into use, and take memory for their stacks.
    constexpr std::uint64_t stacks_bytes = 2 * ipc::test::mebibyte;
    CHECK(*std::ranges::max_element(full) < empty + clients_bytes + stacks_bytes);
    // The heap may take two rounds to settle. After that it does not grow any more.
    CHECK(full[3] < full[2] + full[2] / 64 + ipc::test::mebibyte / 8);
}

TEST_CASE("Busy clients do not starve the others", "[several]") {
    running_server server;
    constexpr std::size_t n = 8;
    std::vector<std::unique_ptr<raw_client>> clients;
    for (std::size_t i = 0; i < n; ++i) {
        clients.push_back(std::make_unique<raw_client>(server.pipe));
        REQUIRE(*clients.back());
    }
    // Each client sends ahead, so that a request of each always waits to be read.
    std::vector<std::atomic<int>> answered(n);
    std::atomic<bool> stop = false;
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < n; ++i) {
            threads.emplace_back([&, i] {
                for (int j = 0; j < 4; ++j) {
                    clients[i]->send("x");
                }
                while (!stop && clients[i]->receive()) {
                    clients[i]->send("x");
                    stop = ++answered[i] >= 1000 || stop;
                }
                stop = true;
            });
        }
    }
    const std::vector<int> counts(answered.begin(), answered.end());
    CAPTURE(counts);
    CHECK(*std::ranges::min_element(counts) >= 100);
}

TEST_CASE("Clients that send ahead delay neither new clients nor Ctrl+C", "[several]") {
    running_server server;
    // An event and not a countdown, because this wait has a limit.
    const ipc::unique_handle all_busy(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    std::atomic<int> busy = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) {
        threads.emplace_back([&] {
            raw_client client(server.pipe);
            for (int j = 0; j < 4; ++j) { // so that a request always waits to be read
                client.send("x");
            }
            if (++busy == 16) {
                SetEvent(all_busy.get());
            }
            while (client.receive()) {
                client.send("x");
            }
        });
    }
    CHECK(WaitForSingleObject(all_busy.get(), ipc::test::default_limit_ms) == WAIT_OBJECT_0);
    for (int i = 0; i < 20; ++i) {
        CHECK(ipc::test::is_served(server.pipe));
    }
    server.stop();
}

TEST_CASE("100 MB pass unchanged, and memory stays flat") {
    running_server server;
    raw_client client(server.pipe);
    const std::string request = ipc::test::random_bytes(500'000);
    const std::string reply = ipc::test::upper_case(request);
    for (int i = 0; i < 200; ++i) {
        REQUIRE((client.ask(request) == reply));
        REQUIRE(client.ask(std::to_string(i)) == std::to_string(i));
    }
    client.close();
    CHECK(server.a.wait_for_output("A: a client left; requests answered: 400\n"));
    CHECK(server.a.peak_memory_bytes() < 16 * ipc::test::mebibyte);
}

TEST_CASE("When a client is killed, at any moment, the server goes on", "[client]") {
    const ipc::test::temporary_folder folder;
    const std::string content = ipc::test::write_lines(folder.file(L"in"), 1, 1000) + "now\n" +
                                ipc::test::write_lines(folder.file(L"in"), 1, 300'000);
    {
        std::ofstream in(std::filesystem::path(folder.file(L"in")), std::ios::binary);
        for (int i = 0; i < 100; ++i) {
            in << content;
        }
    }
    running_server server({L"--limit", ipc::test::tested.reset_limit});
    std::mt19937 random(20);
    for (int i = 0; i < 12; ++i) {
        ipc::test::program b(server.client({L"--in", folder.file(L"in")}));
        REQUIRE(b.wait_for_output("B: NOW"));
        b.wait(random() % 30);
        b.kill();
        REQUIRE(b.wait());
        CHECK(ipc::test::is_served(server.pipe));
    }
    INFO(server.a.output());
    CHECK(server.ended("", 24) == 24);
    server.stop();
}

TEST_CASE("When the server is killed, at any moment, a client ends with one line",
          "[several][client]") {
    const ipc::test::temporary_folder folder;
    ipc::test::write_lines(folder.file(L"in"), 200'000, 50);
    std::mt19937 random(21);
    for (int i = 0; i < 12; ++i) {
        running_server server;
        raw_client idle(server.pipe);
        CHECK(idle.ask("x") == "X");
        ipc::test::program b(server.client({L"--limit", L"5", L"--in", folder.file(L"in")}));
        REQUIRE(b.wait_for_output("B: "));
        b.wait(random() % 30);
        server.a.kill();
        REQUIRE(b.wait());
        b.wait_for_end_of_output();
        CHECK(b.exit_code() == 1);
        CAPTURE(b.error_output());
        CHECK(std::ranges::count(raw_client::server_gone_lines(), b.error_output()) == 1);
        CHECK(idle.is_dropped());
    }
}

TEST_CASE("A reply that was written before the server ends still arrives") {
    running_server server;
    raw_client client(server.pipe);
    REQUIRE(client.send("last request"));
    REQUIRE(client.wait_for_reply() == 12);
    server.stop();
    CHECK(client.receive() == "LAST REQUEST");
    CHECK_FALSE(client.receive().has_value());
    CHECK(client.is_ended());
}

TEST_CASE("After --clients N, other clients can still read their replies", "[several]") {
    running_server server({L"--clients", L"1"});
    raw_client client(server.pipe);
    REQUIRE(client.send("last request"));
    REQUIRE(client.wait_for_reply() > 0);
    CHECK(ipc::test::is_served(server.pipe));
    REQUIRE(server.a.wait());
    CHECK(client.receive() == "LAST REQUEST");
    CHECK_FALSE(client.receive().has_value());
    CHECK(client.is_ended());
}

TEST_CASE("Ctrl+C ends a busy server, and the calls of its clients fail", "[several]") {
    running_server server;
    std::atomic<int> failed = 0;
    {
        std::vector<std::unique_ptr<raw_client>> idle; // the first does not read its reply
        for (int i = 0; i < 3; ++i) {
            idle.push_back(std::make_unique<raw_client>(server.pipe));
        }
        REQUIRE(idle[0]->send(std::string(ipc::test::mebibyte, 'x')));
        ipc::test::countdown busy(10);
        std::vector<std::jthread> threads;
        for (int i = 0; i < 10; ++i) {
            threads.emplace_back([&, i] {
                raw_client client(server.pipe);
                const std::string request(i % 2 == 0 ? 10 : ipc::test::mebibyte, 'x');
                client.ask(request);
                busy.count_down();
                while (client.ask(request)) {}
                failed += client.error() != ERROR_OPERATION_ABORTED;
            });
        }
        busy.wait();
        server.stop();
        CHECK(idle[1]->is_dropped());
        CHECK(idle[2]->is_dropped());
    }
    CHECK(failed == 10);
    CHECK_THAT(server.a.output(), ContainsSubstring("\nA: the end; clients served: "));
}

TEST_CASE("Ctrl+C ends a server while clients connect and leave") {
    for (int i = 0; i < 10; ++i) {
        running_server server;
        std::atomic<bool> stop = false;
        std::vector<std::jthread> threads;
        for (int j = 0; j < 4; ++j) {
            threads.emplace_back([&, j] {
                while (!stop) {
                    raw_client client;
                    if (client.try_connect(server.pipe) && j % 2 == 0) {
                        client.ask("x");
                    }
                    ipc::test::save_ports();
                }
            });
        }
        REQUIRE(server.a.wait_for_output("requests answered"));
        server.stop();
        stop = true;
    }
}

TEST_CASE("Ctrl+C ends a server that has had no client") {
    running_server server({L"--limit", L"1000000"}); // the longest limit
    server.stop();
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 0\n"));
}

TEST_CASE("A new server can use the name at once, after Ctrl+C and after a kill") {
    const std::wstring suffix = ipc::test::unique_suffix();
    std::vector<std::unique_ptr<raw_client>> left_over; // clients that keep their handles
    for (int i = 0; i < 4; ++i) {
        running_server server({}, suffix);
        CHECK(ipc::test::is_served(server.pipe));
        if (i % 2 == 0) {
            left_over.push_back(std::make_unique<raw_client>(server.pipe));
            CHECK(left_over.back()->ask("x") == "X");
            server.stop();
        } else {
            server.a.kill();
            REQUIRE(server.a.wait());
        }
    }
}

TEST_CASE("Clients that connect before the server waits for them are served, or have left again") {
    for (int i = 0; i < 6; ++i) {
        const std::wstring suffix = ipc::test::unique_suffix();
        std::atomic<bool> stop = false;
        std::atomic<int> not_served = 0;
        std::vector<std::jthread> threads;
        for (const bool leave_at_once : {false, true}) { // they connect as soon as the name exists
            threads.emplace_back([&, leave_at_once] {
                while (!stop) {
                    raw_client client;
                    if (client.try_connect(ipc::test::tested.pipe + L"." + suffix) &&
                        !leave_at_once) {
                        not_served += client.ask("x") != "X";
                    }
                    ipc::test::save_ports();
                }
            });
        }
        running_server server({}, suffix);
        stop = true;
        threads.clear();
        CHECK(not_served == 0);
        CHECK(ipc::test::is_served(server.pipe));
        server.stop();
        CHECK_THAT(server.a.output(), !ContainsSubstring("dropped"));
    }
}

TEST_CASE("A second server says that the name is taken") {
    if (ipc::test::is_wine() && !ipc::test::tested.all_instances_made) {
        SKIP("Wine ignores FILE_FLAG_FIRST_PIPE_INSTANCE");
    }
    const std::wstring suffix = ipc::test::unique_suffix();
    running_server first({}, suffix);
    raw_client client(first.pipe);
    const ipc::test::result second = ipc::test::run(running_server::command({}, suffix));
    CHECK(second.exit_code == 1);
    CHECK(second.output.empty());
    CHECK_THAT(second.error_output,
               StartsWith("A: the name ") && EndsWith(" is taken by another server\n"));
    CHECK(ipc::test::lines_of(second.error_output).size() == 1);
    CHECK(client.ask("still here") == "STILL HERE");
}

TEST_CASE("The server ends after --clients N") {
    running_server server({L"--clients", L"2"});
    CHECK(ipc::test::is_served(server.pipe));
    CHECK_FALSE(server.a.wait(50));
    CHECK(ipc::test::is_served(server.pipe));
    REQUIRE(server.a.wait());
    server.a.wait_for_end_of_output();
    CHECK(server.a.exit_code() == 0);
    CHECK_THAT(server.a.output(), EndsWith("A: the end; clients served: 2\n"));
}

TEST_CASE("The server refuses wrong usage with exit code 2 and one line, and explains itself") {
    const std::wstring a = ipc::test::program_path(ipc::test::tested.folder, L"processA.exe");
    const std::vector<std::vector<std::wstring>> wrong = {
        {a, L"--no-such-option"},    {a, L"--limit"},         {a, L"--limit", L"x"},
        {a, L"--limit", L"1000001"}, {a, L"--clients", L"x"}, {a, L"unexpected"}};
    for (const std::vector<std::wstring>& command : wrong) {
        const ipc::test::result refused = ipc::test::run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: processA"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
    const ipc::test::result help = ipc::test::run({a, L"--help"});
    CHECK(help.exit_code == 0);
    CHECK_THAT(help.output, StartsWith("usage: processA"));
}

} // namespace
