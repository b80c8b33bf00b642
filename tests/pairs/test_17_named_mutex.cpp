#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/17_named_mutex/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"17_named_mutex", L"processA.exe");
const std::wstring process_b = program_path(L"17_named_mutex", L"processB.exe");

using arguments = std::vector<std::wstring>;

constexpr auto a_is_ready = "A: the only instance; waiting for further copies\n";
constexpr auto name_is_taken = "A: the name is taken: another instance is running";
constexpr auto b_handed_over = "B: the first instance has the arguments\n";
constexpr auto owner_died = ": WAIT_ABANDONED: the owner of the lock has died\n";
constexpr auto kept_too_long = ": another process has kept the lock too long";
constexpr auto damaged = ": the record is damaged, and its undo copy does not help";

arguments a_with(const std::wstring& name, const arguments& more = {}) {
    arguments command = {process_a, L"--name", name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

arguments b_with(const std::wstring& name, const arguments& more = {}) {
    arguments command = {process_b, L"--name", name};
    command.insert(command.end(), more.begin(), more.end());
    return command;
}

// Runs a B and returns its output. It has to succeed.
std::string run_b(const std::wstring& name, const arguments& more = {}) {
    const ipc::test::result b = run(b_with(name, more));
    CHECK(b.exit_code == 0);
    CHECK(b.error_output.empty());
    return b.output;
}

std::size_t count_of(std::string_view text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos;
         at = text.find(part, at + part.size())) {
        ++count;
    }
    return count;
}

// A that waits for more copies than any test starts, so that its objects stay.
struct waiting_a {
    waiting_a() { REQUIRE(a.wait_for_output(a_is_ready)); }

    std::wstring name = ipc::test::unique_suffix();
    program a{a_with(name, {L"--clients", L"1000"})};
};

// The objects of a running A.
class shared_record {
public:
    explicit shared_record(const std::wstring& name)
        : lock_(
              OpenMutexW(SYNCHRONIZE, FALSE, ipc::object_name(protocol::lock_name, name).c_str())),
          mapping_(OpenFileMappingW(FILE_MAP_WRITE, FALSE,
                                    ipc::object_name(protocol::record_name, name).c_str())),
          view_(MapViewOfFile(mapping_.get(), FILE_MAP_WRITE, 0, 0, sizeof(protocol::record))) {
        REQUIRE(lock_);
        REQUIRE(view_ != nullptr);
    }
    ~shared_record() { UnmapViewOfFile(view_); }
    shared_record(const shared_record&) = delete;
    shared_record& operator=(const shared_record&) = delete;

    protocol::record* operator->() const { return static_cast<protocol::record*>(view_); }

    // Takes the lock, calls the function and returns the result of the wait.
    DWORD with_lock(const std::function<void(protocol::record&)>& function) const {
        const DWORD waited = WaitForSingleObject(lock_.get(), ipc::test::default_limit_ms);
        function(*static_cast<protocol::record*>(view_));
        ReleaseMutex(lock_.get());
        return waited;
    }

    // The same on a thread that ends as the owner of the lock: Windows takes it from a thread, as it does
    // from a process.
    void die_with_lock(const std::function<void(protocol::record&)>& function) const {
        const std::jthread owner([&] { // joined at the end
            WaitForSingleObject(lock_.get(), ipc::test::default_limit_ms);
            function(*static_cast<protocol::record*>(view_));
        });
    }

    HANDLE lock() const { return lock_.get(); }

private:
    ipc::unique_handle lock_;
    ipc::unique_handle mapping_;
    void* view_;
};

// Has the lock until the end of the scope.
class lock_owner {
public:
    explicit lock_owner(const shared_record& record) : lock_(record.lock()) {
        REQUIRE(WaitForSingleObject(lock_, ipc::test::default_limit_ms) == WAIT_OBJECT_0);
    }
    ~lock_owner() { ReleaseMutex(lock_); }
    lock_owner(const lock_owner&) = delete;
    lock_owner& operator=(const lock_owner&) = delete;

private:
    HANDLE lock_;
};

std::wstring pipe_of(const std::wstring& name) {
    return ipc::object_name(protocol::pipe_name(), name);
}

// This test in the role of B: a client that says what it wants.
ipc::unique_handle connect_to(const std::wstring& name) {
    for (int i = 0; i < 3'000; ++i) {
        ipc::unique_handle pipe(CreateFileW(pipe_of(name).c_str(), GENERIC_READ | GENERIC_WRITE, 0,
                                            nullptr, OPEN_EXISTING, 0, nullptr));
        if (pipe) {
            return pipe;
        }
        Sleep(20);
    }
    FAIL("A does not listen");
    return {};
}

// This test in the role of A, as somebody else who has taken the names.
class fake_a {
public:
    fake_a()
        : instance_(CreateMutexW(security_.get(), FALSE,
                                 ipc::object_name(protocol::instance_name, name_).c_str())),
          pipe_(CreateNamedPipeW(
              pipe_of(name_).c_str(), PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE,
              1, protocol::max_message_bytes, protocol::max_message_bytes, 0, security_.get())) {
        REQUIRE(instance_);
        REQUIRE(pipe_);
    }

    const std::wstring& name() const { return name_; }
    void close_pipe() { pipe_.reset(); }
    void give_name_up() { instance_.reset(); }

    // Waits for a B and returns its message.
    std::wstring receive() const {
        ConnectNamedPipe(pipe_.get(), nullptr); // a failure shows in the read
        std::wstring message(protocol::max_message_bytes / sizeof(wchar_t), L'\0');
        DWORD bytes = 0;
        REQUIRE(
            ReadFile(pipe_.get(), message.data(), protocol::max_message_bytes, &bytes, nullptr));
        message.resize(bytes / sizeof(wchar_t));
        return message;
    }

private:
    std::wstring name_ = ipc::test::unique_suffix();
    ipc::user_only_security security_;
    ipc::unique_handle instance_;
    ipc::unique_handle pipe_;
};

} // namespace

TEST_CASE("A copy hands over its arguments, sells its tickets, and A finds the record whole") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    program b(b_with(name, {L"--count", L"3", L"--slot", L"open", L"a letter.txt"}));
    check_succeeded(a, "A: a further copy was started; its arguments: 2\n"
                       "A: | open\n"
                       "A: | a letter.txt\n"
                       "A: a copy has ended: 3 sold, 3 paid\n"
                       "A: the lock was abandoned: 0; the record was repaired: 0");
    check_succeeded(b, "B: has a slot; at most 2 copies have one\n"
                       "B: sale 1 of 3 is done\n"
                       "B: sale 2 of 3 is done\n"
                       "B: sale 3 of 3 is done");
}

TEST_CASE("The next copy sees that the owner of the lock died, once, and repairs the record") {
    const waiting_a pair;
    const std::string dead = run_b(pair.name, {L"--count", L"5", L"--crash"});
    CHECK_THAT(dead, EndsWith("B: sale 4 of 5 is done\n"
                              "B: owns the lock, has changed half of the record, and dies\n"));
    CHECK_THAT(run_b(pair.name), EndsWith("B: WAIT_ABANDONED: the owner of the lock has died\n"
                                          "B: half changed: 5 sold, 4 paid; undoing the change\n"
                                          "B: sale 1 of 1 is done\n"));
    CHECK_THAT(run_b(pair.name), !ContainsSubstring("WAIT_ABANDONED"));
    const shared_record record(pair.name);
    CHECK(record->paid == 6);
    CHECK(record->sold == 6);
    CHECK(record->abandonments == 1);
    CHECK(record->repairs == 1);
}

TEST_CASE(
    "A record is repaired wherever its owner died: before, in and after a change or a repair") {
    using protocol::record;
    struct death {
        std::string output;
        std::uint64_t sold;
        std::vector<std::function<void(record&)>> stores;
    };
    const auto undo_sold = [](record& of) { of.undo_sold = of.sold.load(); };
    const auto undo_paid = [](record& of) { of.undo_paid = of.paid.load(); };
    const auto change = [](record& of) { of.state = protocol::changing; };
    const auto add_sold = [](record& of) { ++of.sold; };
    const auto add_paid = [](record& of) { ++of.paid; };
    const auto commit = [](record& of) { of.state = protocol::whole; };
    const auto restore_sold = [](record& of) { of.sold = of.undo_sold.load(); };
    const auto restore_paid = [](record& of) { of.paid = of.undo_paid.load(); };
    const std::vector<death> deaths = {
        {"B: sale 1", 0, {}},
        {"B: sale 1", 0, {undo_sold}},
        {"B: sale 1", 0, {undo_sold, undo_paid}},
        {"B: half changed: ", 0, {undo_sold, undo_paid, change}},
        {"B: half changed: ", 0, {undo_sold, undo_paid, change, add_sold}},
        {"B: half changed: ", 0, {undo_sold, undo_paid, change, add_sold, add_paid}},
        {"B: sale 1", 1, {undo_sold, undo_paid, change, add_sold, add_paid, commit}},
        {"B: half changed: ", 0, {undo_sold, undo_paid, change, add_sold, restore_sold}},
        {"B: half changed: ", 0, {undo_sold, undo_paid, change, add_sold, add_paid, restore_sold}},
        {"B: half changed: ",
         0,
         {undo_sold, undo_paid, change, add_sold, add_paid, restore_sold, restore_paid}},
    };
    const waiting_a pair;
    const shared_record record(pair.name);
    std::uint64_t sold = 0;
    std::uint64_t abandonments = 0;
    for (const death& at : deaths) {
        INFO("stores: " << at.stores.size());
        record.die_with_lock([&](protocol::record& of) {
            for (const auto& store : at.stores) {
                store(of);
            }
        });
        CHECK_THAT(run_b(pair.name), ContainsSubstring(std::string("B") + owner_died + at.output));
        sold += at.sold + 1;
        CHECK(record->sold == sold);
        CHECK(record->paid == sold);
        CHECK(record->abandonments == ++abandonments);
    }
}

TEST_CASE(
    "1000 sales by 20 processes with random kills: no committed sale is lost, each death is seen") {
    constexpr std::size_t crashing = 4;
    constexpr std::size_t killed = 8;
    std::mt19937 random(170);
    const waiting_a pair;
    const shared_record record(pair.name);
    std::vector<std::unique_ptr<program>> copies;
    {
        const lock_owner owner(record); // until all of them wait for the lock
        for (std::size_t i = 0; i < 20; ++i) {
            const bool crashes = i < crashing;
            copies.push_back(std::make_unique<program>(
                crashes ? b_with(pair.name, {L"--count", L"10", L"--crash"})
                        : b_with(pair.name, {L"--count", L"60"})));
        }
        for (const auto& copy : copies) {
            REQUIRE(copy->wait_for_output(b_handed_over));
        }
    }
    for (std::size_t i = 0; i < killed; ++i) {
        copies[crashing + i]->wait(random() % 12);
        copies[crashing + i]->kill();
    }
    std::size_t reported = 0; // sales that a copy has reported as done
    std::size_t seen = 0;
    for (const auto& copy : copies) {
        REQUIRE(copy->wait());
        REQUIRE(copy->wait_for_end_of_output());
        CHECK(copy->error_output().empty());
        reported += count_of(copy->output(), " is done\n");
        seen += count_of(copy->output(), owner_died);
    }
    CHECK(record->abandonments >= seen);
    CHECK(seen + 1 >= crashing); // the last of all deaths is seen by the next copy:
    seen += count_of(run_b(pair.name), owner_died);
    const std::uint64_t sold = record->sold;
    CAPTURE(reported, sold, seen, record->abandonments.load(), record->repairs.load());
    CHECK(sold > reported);
    CHECK(sold <= reported + 1 + killed); // a killed copy may not have reported its last sale
    CHECK(record->repairs >= crashing);
    CHECK(record->abandonments >= record->repairs);
    CHECK(record->abandonments <= crashing + killed);
    CHECK(seen >= crashing);
    REQUIRE(sold < 1'000);
    run_b(pair.name, {L"--count", std::to_wstring(1'000 - sold)});
    CHECK(record->sold == 1'000);
    CHECK(record->paid == 1'000);
    CHECK(record->state == protocol::whole);
}

TEST_CASE("A finds the record whole after each of 20 copies that are killed at random moments") {
    std::mt19937 random(171);
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name));
        REQUIRE(a.wait_for_output(a_is_ready));
        program b(b_with(name, {L"--count", L"1000000"}));
        REQUIRE(b.wait_for_output(b_handed_over));
        CHECK_FALSE(b.wait(random() % 20));
        b.kill();
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        CHECK(b.error_output().empty());
        const std::size_t reported = count_of(b.output(), " is done\n");
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        CHECK(a.error_output().empty());
        const std::string ended = "A: a copy has ended: ";
        REQUIRE(count_of(a.output(), ended) == 1);
        const std::string line = a.output().substr(a.output().find(ended) + ended.size());
        const std::uint64_t sold = std::stoull(line);
        CHECK_THAT(line,
                   StartsWith(std::to_string(sold) + " sold, " + std::to_string(sold) + " paid\n"));
        CHECK(sold >= reported);
        CHECK(sold <= reported + 1); // it may have died before it reported the last one
    }
}

TEST_CASE("Copies end by themselves when A is killed at any of 20 moments, and the next A starts") {
    std::mt19937 random(172);
    std::wstring name;
    for (int round = 0; round < 4; ++round) {
        std::vector<std::unique_ptr<program>> all;
        for (int i = 0; i < 5; ++i) { // at the same time, as most Bs wait for their limit
            name = ipc::test::unique_suffix();
            program& a = *all.emplace_back(std::make_unique<program>(a_with(name)));
            REQUIRE(a.wait_for_output(a_is_ready));
            all.push_back(
                std::make_unique<program>(b_with(name, {L"--count", L"100", L"--limit", L"1"})));
            a.wait(random() % 60);
            a.kill();
        }
        for (std::size_t i = 1; i < all.size(); i += 2) {
            program& b = *all[i];
            REQUIRE(b.wait());
            REQUIRE(b.wait_for_end_of_output());
            if (b.exit_code() == 0) {
                CHECK_THAT(b.output(), EndsWith("B: sale 100 of 100 is done\n"));
            } else {
                CHECK(b.exit_code() == 1);
                CHECK(ipc::test::lines_of(b.error_output()).size() == 1);
            }
        }
    }
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    run_b(name);
    check_succeeded(a, "A: a copy has ended: 1 sold, 1 paid\n"
                       "A: the lock was abandoned: 0; the record was repaired: 0");
}

TEST_CASE("A second A says that the name is taken, and the first one does not notice") {
    const waiting_a pair;
    for (int i = 0; i < 3; ++i) {
        program second(a_with(pair.name));
        check_failed(second, name_is_taken);
        CHECK(second.output().empty());
    }
    run_b(pair.name);
}

TEST_CASE("Of several As that start at once, exactly one is the only instance") {
    const std::wstring name = ipc::test::unique_suffix();
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 6; ++i) {
        all.push_back(std::make_unique<program>(a_with(name)));
    }
    std::size_t first = 0;
    for (const auto& a : all) { // the one that is left does not end before a copy comes
        while (!a->wait(20) && !a->wait_for_output(a_is_ready, 20)) {}
        if (a->wait(0)) {
            check_failed(*a, name_is_taken);
        } else {
            ++first;
        }
    }
    CHECK(first == 1);
    run_b(name);
}

TEST_CASE("A says that the name is taken if another user or an object of another kind has it") {
    const std::wstring name = ipc::test::unique_suffix();
    const std::wstring instance_name = ipc::object_name(protocol::instance_name, name);
    {
        const ipc::unique_handle event(CreateEventW(nullptr, TRUE, FALSE, instance_name.c_str()));
        REQUIRE(event);
        program a(a_with(name));
        check_failed(a, name_is_taken);
    }
    {
        SECURITY_ATTRIBUTES nobody{sizeof nobody, nullptr, FALSE};
        REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorW(
            L"D:P(A;;GA;;;BG)", SDDL_REVISION_1, &nobody.lpSecurityDescriptor, nullptr));
        const ipc::unique_handle mutex(CreateMutexW(&nobody, FALSE, instance_name.c_str()));
        LocalFree(nobody.lpSecurityDescriptor);
        REQUIRE(mutex);
        program a(a_with(name));
        check_failed(a, name_is_taken);
        if (!ipc::test::
                is_wine()) { // Wine gives an object's owner SYNCHRONIZE access, whatever the DACL
            program b(b_with(name));
            check_failed(b, "B: OpenMutexW failed: ERROR_ACCESS_DENIED (5)");
        }
    }
    program a(a_with(name)); // the name is free again
    REQUIRE(a.wait_for_output(a_is_ready));
    run_b(name);
    check_succeeded(a, "the record was repaired: 0");
}

TEST_CASE("A new A continues with the record that a copy of a killed A still has") {
    const std::wstring name = ipc::test::unique_suffix();
    program first(a_with(name, {L"--clients", L"2"}));
    REQUIRE(first.wait_for_output(a_is_ready));
    const shared_record record(name); // this test is the copy
    run_b(name, {L"--count", L"2", L"--crash"});
    first.kill();
    REQUIRE(first.wait());
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    CHECK_THAT(run_b(name), ContainsSubstring("B: half changed: 2 sold, 1 paid"));
    check_succeeded(a, "A: a copy has ended: 2 sold, 2 paid\n"
                       "A: the lock was abandoned: 1; the record was repaired: 1");
}

TEST_CASE("Without a partner, both end at their limits and say what is missing") {
    program a(a_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(a, "A: no further copy came: start processB");
    check_failed(b, "B: no server at ");
    CHECK_THAT(b.error_output(), ContainsSubstring(": start processA first"));
}

TEST_CASE("B may be started before A") {
    const std::wstring name = ipc::test::unique_suffix();
    program b(b_with(name));
    CHECK_FALSE(b.wait(300)); // it would end now if it did not wait for A
    program a(a_with(name));
    check_succeeded(a, "A: a copy has ended: 1 sold, 1 paid\n"
                       "A: the lock was abandoned: 0; the record was repaired: 0");
    check_succeeded(b, "B: sale 1 of 1 is done");
}

TEST_CASE("If somebody has the pipe but not the name, B hands nothing over") {
    fake_a stranger;
    stranger.give_name_up();
    program b(b_with(stranger.name(), {L"secret"}));
    check_failed(b, "B: there is no first instance: start processA");
    CHECK(b.output().empty());
}

TEST_CASE("Two copies at once both hand over their arguments and sell") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--clients", L"2"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    program first(b_with(name, {L"--count", L"200", L"first"}));
    program second(b_with(name, {L"--count", L"200", L"second"}));
    check_succeeded(first, "B: sale 200 of 200 is done");
    check_succeeded(second, "B: sale 200 of 200 is done");
    check_succeeded(a, "A: a copy has ended: 400 sold, 400 paid\n"
                       "A: the lock was abandoned: 0; the record was repaired: 0");
    CHECK_THAT(a.output(), ContainsSubstring("A: | first\n"));
    CHECK_THAT(a.output(), ContainsSubstring("A: | second\n"));
}

TEST_CASE("No process waits longer than its limit for a lock that another process keeps") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"3"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    const shared_record record(name);
    const lock_owner owner(record);
    program b(b_with(name, {L"--limit", L"1"}));
    check_failed(b, std::string("B") + kept_too_long);
    check_failed(a, std::string("A") + kept_too_long);
}

TEST_CASE("A does not wait longer than its limit for the end of a copy") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"1"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    const shared_record record(name);
    const lock_owner owner(record);
    program b(b_with(name)); // waits for the lock
    check_failed(a, "A: a copy has not ended in time");
}

TEST_CASE("A change is undone as well if its owner has released the lock in the middle") {
    const waiting_a pair;
    const shared_record record(pair.name);
    record.with_lock([](protocol::record& of) { // as an exception does that leaves the lock
        of.state = protocol::changing;
        ++of.sold;
    });
    const std::string output = run_b(pair.name);
    CHECK_THAT(output, !ContainsSubstring("WAIT_ABANDONED"));
    CHECK_THAT(output, EndsWith("B: half changed: 1 sold, 0 paid; undoing the change\n"
                                "B: sale 1 of 1 is done\n"));
    CHECK(record->sold == record->paid);
}

TEST_CASE("Nobody trusts a damaged record") {
    const auto damage = [](protocol::record& of) { of.sold += 5; };
    const auto damage_undo = [](protocol::record& of) {
        of.undo_sold = of.sold + 1;
        of.state = protocol::changing;
    };
    const auto leave_nonsense = [](protocol::record& of) { of.state = 77; };
    {
        const waiting_a pair;
        const shared_record record(pair.name);
        for (const auto& [wrong, dies] :
             std::vector<std::pair<std::function<void(protocol::record&)>, bool>>{
                 {damage, false},
                 {damage, true},
                 {damage_undo, true},
                 {leave_nonsense, false},
                 {leave_nonsense, true}}) {
            if (dies) {
                record.die_with_lock(wrong);
            } else {
                record.with_lock(wrong);
            }
            program b(b_with(pair.name));
            check_failed(b, std::string("B") + damaged);
            record.with_lock([](protocol::record& of) { new (&of) protocol::record; });
        }
        run_b(pair.name);
    }
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    const shared_record record(name);
    {
        const lock_owner owner(record);
        program b(b_with(name));
        REQUIRE(b.wait_for_output(b_handed_over));
        b.kill();
        record->sold = ~0ull;
    }
    check_failed(a, std::string("A") + damaged);
}

TEST_CASE("At most two copies have a slot at the same time, and each gives it back") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--clients", L"6"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    std::vector<std::unique_ptr<program>> copies;
    const auto with_slot = [&] {
        return std::ranges::count_if(copies, [](const auto& copy) {
            return copy->output().find("B: has a slot") != std::string::npos;
        });
    };
    {
        const shared_record record(name);
        const lock_owner owner(record); // whoever has a slot stops here
        for (int i = 0; i < 6; ++i) {
            copies.push_back(std::make_unique<program>(b_with(name, {L"--slot"})));
        }
        for (const auto& copy : copies) {
            REQUIRE(copy->wait_for_output(b_handed_over));
        }
        for (int i = 0; i < 3'000 && with_slot() < 2; ++i) {
            CHECK_FALSE(a.wait(20));
        }
        CHECK_FALSE(a.wait(300)); // time for a third, if it could
        CHECK(with_slot() == 2);
    }
    for (const auto& copy : copies) {
        check_succeeded(*copy, "B: has a slot; at most 2 copies have one\nB: sale 1 of 1 is done");
    }
    check_succeeded(a, "the record was repaired: 0");
}

TEST_CASE("A copy that dies keeps its slot, as long as somebody has the semaphore") {
    const waiting_a pair;
    {
        ipc::user_only_security security;
        const ipc::unique_handle slots(
            CreateSemaphoreW(security.get(), protocol::slots, protocol::slots,
                             ipc::object_name(protocol::slots_name, pair.name).c_str()));
        REQUIRE(slots);
        run_b(pair.name, {L"--slot"}); // gives its slot back
        run_b(pair.name, {L"--slot", L"--crash"});
        run_b(pair.name, {L"--slot", L"--crash"});
        program b(b_with(pair.name, {L"--slot", L"--limit", L"1"}));
        check_failed(b, "B: no slot was free in time");
    }
    run_b(pair.name, {L"--slot"}); // creates a new one
}

TEST_CASE("A refuses a copy that hands over nonsense, too much or nothing, and serves the next") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"3"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    std::size_t refused = 0;
    const auto check_refused = [&](const std::string& error) {
        ++refused;
        while (count_of(a.error_output(), "A: a copy did not hand over") < refused) {
            REQUIRE_FALSE(a.wait(10));
        }
        CHECK_THAT(ipc::test::lines_of(a.error_output()).back(),
                   StartsWith("A: a copy did not hand over its arguments: " + error));
    };
    const std::vector<std::pair<std::string, std::string>> messages = {
        {"odd", "ERROR_INVALID_DATA (13)"},
        {std::string("x\0\0\0y", 5), "ERROR_INVALID_DATA (13)"},
        {std::string("x\0y\0", 4), "ERROR_INVALID_DATA (13)"}, // no zero at the end
        {std::string(protocol::max_message_bytes + 2, '\0'), "ERROR_MORE_DATA (234)"},
    };
    for (const auto& [message, error] : messages) {
        INFO("bytes: " << message.size());
        const ipc::unique_handle pipe = connect_to(name);
        DWORD written = 0;
        WriteFile(pipe.get(), message.data(), static_cast<DWORD>(message.size()), &written,
                  nullptr);
        check_refused(error);
    }
    connect_to(name).reset(); // leaves at once
    check_refused("ERROR_BROKEN_PIPE (109)");
    const ipc::unique_handle silent = connect_to(name);
    check_refused("WAIT_TIMEOUT (258)"); // at the limit
    run_b(name, {L"after all"});
    REQUIRE(a.wait());
    CHECK(a.exit_code() == 0);
    CHECK_THAT(a.output(), ContainsSubstring("its arguments: 1\nA: | after all\n"));
}

TEST_CASE("A copy that reads A's reply late still gets it") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--limit", L"2"}));
    const ipc::unique_handle pipe = connect_to(name);
    DWORD bytes = 0;
    REQUIRE(WriteFile(pipe.get(), L"late", 5 * sizeof(wchar_t), &bytes, nullptr));
    while (PeekNamedPipe(pipe.get(), nullptr, 0, nullptr, &bytes, nullptr) && bytes == 0) {
        REQUIRE_FALSE(a.wait(10));
    }
    CHECK_FALSE(a.wait(300)); // A has the time to disconnect this copy
    char reply = 0;
    CHECK(ReadFile(pipe.get(), &reply, sizeof reply, &bytes, nullptr));
    CHECK(bytes == 1);
    check_failed(a,
                 "A: a copy has not ended in time"); // it is this test
}

TEST_CASE("Arguments arrive as they are: none, empty ones, long ones, every language") {
    const std::vector<arguments> cases = {
        {},
        {L""},
        {L"", L"", L""},
        {L"--", L"--name", L"x"}, // after "--" an option is an argument
        {L"Gr\u00FC\u00DFe", L"\u4F60\u597D", L"two words", L"\"quoted\\\""},
        arguments(300, L"many"),
        {std::wstring(30'000, L'x')},
    };
    for (const arguments& handed : cases) {
        INFO("arguments: " << handed.size());
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name));
        REQUIRE(a.wait_for_output(a_is_ready));
        run_b(name, handed);
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        const bool escaped = !handed.empty() && handed.front() == L"--";
        std::string expected =
            "its arguments: " + std::to_string(handed.size() - (escaped ? 1 : 0)) + "\n";
        if (handed.empty() || handed.front().size() < 4'000) { // a long line is shown in pieces
            for (std::size_t i = escaped ? 1 : 0; i < handed.size(); ++i) {
                expected += "A: | " + ipc::to_utf8(handed[i]) + "\n";
            }
            expected += "A: a copy has ended";
        }
        CHECK_THAT(a.output(), ContainsSubstring(expected));
        CHECK(count_of(a.output(), "x") >=
              (handed.empty() ? 0 : count_of(ipc::to_utf8(handed.front()), "x")));
    }
}

TEST_CASE("A shows no control character of an argument") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    run_b(name, {L"a\x1B[31mred\nA: forged\a"});
    check_succeeded(a, "the record was repaired: 0");
    CHECK_THAT(a.output(), ContainsSubstring("A: | a?[31mred?A: forged?\n"));
}

TEST_CASE("B says so if the owner of the name goes away or gives no reply") {
    const std::string not_taken = "B: the first instance did not take the arguments: ";
    {
        fake_a a;
        program b(b_with(a.name(), {L"open", L"x"}));
        CHECK(a.receive() == std::wstring(L"open\0x\0", 7));
        a.close_pipe();
        check_failed(b, not_taken + "ERROR_BROKEN_PIPE (109)");
    }
    {
        const fake_a a;
        program b(b_with(a.name(), {L"--limit", L"1"}));
        a.receive();
        check_failed(b, not_taken + "WAIT_TIMEOUT (258)");
    }
}

TEST_CASE("B sells nothing with --count 0, and 10000 tickets as well") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--clients", L"2"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    CHECK_THAT(run_b(name, {L"--count", L"0"}), EndsWith(b_handed_over));
    CHECK_THAT(run_b(name, {L"--count", L"10000"}), EndsWith("B: sale 10000 of 10000 is done\n"));
    check_succeeded(a, "A: a copy has ended: 10000 sold, 10000 paid\n"
                       "A: the lock was abandoned: 0; the record was repaired: 0");
}

TEST_CASE("Five pairs at once under different names do not disturb each other") {
    std::vector<std::unique_ptr<program>> all;
    for (int i = 0; i < 5; ++i) {
        const std::wstring name = ipc::test::unique_suffix();
        all.push_back(std::make_unique<program>(a_with(name)));
        REQUIRE(all.back()->wait_for_output(a_is_ready));
        all.push_back(std::make_unique<program>(b_with(name)));
    }
    for (std::size_t i = 0; i < all.size(); i += 2) {
        check_succeeded(*all[i], "A: a copy has ended: 1 sold, 1 paid\n"
                                 "A: the lock was abandoned: 0; the record was repaired: 0");
        check_succeeded(*all[i + 1], "B: sale 1 of 1 is done");
    }
}

TEST_CASE("Wrong usage ends with exit code 2 and one line") {
    const std::vector<arguments> wrong = {
        {process_a, L"--no-such-option"}, {process_a, L"--name"},
        {process_a, L"unexpected"},       {process_a, L"--clients", L"x"},
        {process_b, L"--no-such-option"}, {process_b, L"--name"},
        {process_b, L"--count", L"-1"},
    };
    for (const arguments& command : wrong) {
        const ipc::test::result refused = run(command);
        CHECK(refused.exit_code == 2);
        CHECK(refused.output.empty());
        CHECK_THAT(refused.error_output, ContainsSubstring("usage: process"));
        CHECK(ipc::test::lines_of(refused.error_output).size() == 1);
    }
}

TEST_CASE("Both programs show their usage with --help") {
    for (const std::wstring& path : {process_a, process_b}) {
        const ipc::test::result help = run({path, L"--help"});
        CHECK(help.exit_code == 0);
        CHECK_THAT(help.output, StartsWith("usage: process"));
        CHECK(help.error_output.empty());
    }
}
