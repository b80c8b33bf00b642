// The checks of the exercises of pair 17.

#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/17_named_mutex/protocol.hpp"
#include "tests/exercises/check.hpp"

#include <windows.h>

#include <functional>
#include <string>
#include <string_view>
#include <thread>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

constexpr auto only_instance = "A: the only instance";

// ---- exercise 17.1: processA [--name SUFFIX] runs until Ctrl+C, unless the name is taken

program& start_first(trial& attempt, const std::wstring& suffix) {
    program& first = attempt.start_learner({L"--name", suffix});
    attempt.expect_output(first, only_instance);
    return first;
}

void expect_refused(trial& attempt, const std::wstring& suffix, std::string_view who) {
    program& a = attempt.start_learner({L"--name", suffix});
    const ULONGLONG start_ms = GetTickCount64();
    while (!a.wait(20) && GetTickCount64() - start_ms < attempt.limit_ms() &&
           a.output().find(only_instance) == std::string::npos) {}
    const std::string expected = "A says that the name is taken, because " + std::string(who);
    attempt.expect(a.output().find(only_instance) == std::string::npos, expected,
                   std::string("A prints \"") + only_instance + "\"");
    attempt.expect_exit_code(a, 1);
    attempt.expect_line(a, "A: the name is taken");
}

void refuse_second_copy(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const program& first = start_first(attempt, suffix);
    expect_refused(attempt, suffix, "another copy is running");
    attempt.expect(!first.wait(0), "the first copy goes on", "it has ended");
}

void free_name(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    {
        program& first = start_first(attempt, suffix);
        expect_refused(attempt, suffix, "another copy is running");
        first.kill();
        attempt.expect_end(first);
    }
    start_first(attempt, suffix);
}

void refuse_other_kind(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    const ipc::unique_handle event(CreateEventW(
        nullptr, TRUE, FALSE, ipc::object_name(protocol::instance_name, suffix).c_str()));
    expect_refused(attempt, suffix, "an event has this name");
}

// ---- exercise 17.2: processB [--name SUFFIX] sells a ticket

// The lock and the record of the pair's processA, and an owner that dies.
class office {
public:
    explicit office(trial& attempt) : attempt_(attempt) {
        program& a = attempt.start_partner({L"--name", suffix_, L"--limit", L"0"});
        attempt.expect_output(a, "A: the only instance");
        lock_.reset(
            OpenMutexW(SYNCHRONIZE, FALSE, ipc::object_name(protocol::lock_name, suffix_).c_str()));
        const ipc::unique_handle mapping(OpenFileMappingW(
            FILE_MAP_WRITE, FALSE, ipc::object_name(protocol::record_name, suffix_).c_str()));
        view_ = MapViewOfFile(mapping.get(), FILE_MAP_WRITE, 0, 0, sizeof(protocol::record));
        attempt.expect(lock_ && view_ != nullptr, "the pair's processA has its objects",
                       "they cannot be opened");
    }
    ~office() { UnmapViewOfFile(view_); }
    office(const office&) = delete;
    office& operator=(const office&) = delete;

    // Takes the lock and ends as its owner, after these changes.
    void die(const std::function<void(protocol::record&)>& change) {
        const std::jthread owner([&] { // joined at the end
            WaitForSingleObject(lock_.get(), attempt_.limit_ms());
            change(*static_cast<protocol::record*>(view_));
        });
    }

    void expect_sale(std::string_view line) {
        program& b = attempt_.start_learner({L"--name", suffix_});
        attempt_.expect_exit_code(b, 0);
        attempt_.expect_line(b, line);
        const DWORD waited = WaitForSingleObject(lock_.get(), attempt_.limit_ms());
        attempt_.expect(waited == WAIT_OBJECT_0, "B releases the lock",
                        waited == WAIT_TIMEOUT ? "nobody else gets it" : "B has abandoned it");
        const auto& record = *static_cast<protocol::record*>(view_);
        const bool whole = record.state == protocol::whole;
        ReleaseMutex(lock_.get());
        attempt_.expect(whole, "the record's state is whole", "it is not");
    }

private:
    trial& attempt_;
    std::wstring suffix_ = ipc::test::unique_suffix();
    ipc::unique_handle lock_;
    void* view_ = nullptr;
};

void change_half(protocol::record& record) {
    record.undo_sold = record.sold.load();
    record.undo_paid = record.paid.load();
    record.state = protocol::changing;
    ++record.sold;
}

void sell(trial& attempt) {
    office tickets(attempt);
    tickets.expect_sale("B: 1 sold, 1 paid");
    tickets.expect_sale("B: 2 sold, 2 paid");
}

void undo_half(trial& attempt) {
    office tickets(attempt);
    tickets.die(change_half);
    tickets.expect_sale("B: 1 sold, 1 paid");
    tickets.expect_sale("B: 2 sold, 2 paid");
}

void undo_before_commit(trial& attempt) {
    office tickets(attempt);
    tickets.expect_sale("B: 1 sold, 1 paid");
    tickets.die([](protocol::record& record) {
        change_half(record);
        ++record.paid;
    });
    tickets.expect_sale("B: 2 sold, 2 paid");
}

void keep_committed(trial& attempt) {
    office tickets(attempt);
    tickets.die([](protocol::record& record) {
        change_half(record);
        ++record.paid;
        record.state = protocol::whole;
    });
    tickets.expect_sale("B: 2 sold, 2 paid");
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"a second copy says that the name is taken, and ends", refuse_second_copy},
      {"when the first copy has been killed, the name is free", free_name},
      {"an object of another kind takes the name, too", refuse_other_kind}}},
    {2,
     {{"B sells a ticket", sell},
      {"each ticket is paid, also after the owner of the lock died in the middle of a sale",
       undo_half},
      {"a sale is undone if the owner died before the commit", undo_before_commit},
      {"a sale is kept if the owner died after the commit", keep_committed}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
