#include "common/overlapped.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/text.hpp"
#include "common/unique_handle.hpp"
#include "demos/20_mailslot/protocol.hpp"
#include "tests/harness/checks.hpp"
#include "tests/harness/launcher.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <sddl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using ipc::test::check_failed;
using ipc::test::check_succeeded;
using ipc::test::lines_of;
using ipc::test::program;
using ipc::test::program_path;
using ipc::test::run;

namespace {

const std::wstring process_a = program_path(L"20_mailslot", L"processA.exe");
const std::wstring process_b = program_path(L"20_mailslot", L"processB.exe");

using arguments = std::vector<std::wstring>;

constexpr auto a_is_ready = "A: the mailslot exists; waiting for messages\n";
constexpr auto name_is_taken = "A: the name is taken: another program reads this mailslot";
constexpr auto nothing_came = "A: no message came in time: start processB";
constexpr auto nobody_reads = "B: nobody reads the mailslot: start processA first";
constexpr auto too_slow = "B: the write took too long";
constexpr auto old_message = "A: a message is dropped: it comes again, or too late\n";
constexpr auto wrong_length = "A: a message is dropped: its length is wrong\n";
constexpr auto wrong_protocol = "A: a message is dropped: it is not of this protocol\n";
constexpr auto lost = "A: messages that nobody has read, and that are lost: ";

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

std::string b_wrote(std::size_t number) {
    return "B: message " + std::to_string(number) + " is written; nobody says whether it is read";
}

std::size_t count_of(std::string_view text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string_view::npos;
         at = text.find(part, at + part.size())) {
        ++count;
    }
    return count;
}

// An A that runs until the test ends it.
struct waiting_a {
    explicit waiting_a(const arguments& more = {L"--limit", L"0"}) : a(a_with(name, more)) {
        REQUIRE(a.wait_for_output(a_is_ready));
    }

    // Presses Ctrl+C and expects that A ends as it should. Returns its standard error.
    std::string stop() {
        a.press_ctrl_c();
        REQUIRE(a.wait());
        REQUIRE(a.wait_for_end_of_output());
        CHECK(a.exit_code() == 0);
        CHECK(a.job().process_ids().empty());
        return a.error_output();
    }

    std::wstring name = ipc::test::unique_suffix();
    program a;
};

std::wstring slot_name(const std::wstring& suffix) {
    return ipc::object_name(protocol::mailslot_name(L"."), suffix);
}

// This test in the role of B: a writer that says what it wants.
class raw_writer {
public:
    explicit raw_writer(const std::wstring& suffix)
        : slot_(CreateFileW(slot_name(suffix).c_str(), GENERIC_WRITE,
                            FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr, OPEN_EXISTING,
                            FILE_FLAG_OVERLAPPED, nullptr)) {
        REQUIRE(slot_);
    }

    // Returns the error, or WAIT_TIMEOUT.
    DWORD write(std::string_view bytes, DWORD limit_ms = ipc::test::default_limit_ms) const {
        ipc::overlapped_call call(slot_.get());
        const BOOL done = WriteFile(slot_.get(), bytes.data(), static_cast<DWORD>(bytes.size()),
                                    nullptr, call.get());
        return call.wait(done, limit_ms).error;
    }

private:
    ipc::unique_handle slot_;
};

std::string message_of(std::uint64_t writer, std::uint32_t number, std::string_view text,
                       std::uint32_t magic = protocol::magic) {
    const protocol::header header{magic, number, writer};
    std::string message(sizeof header, '\0');
    std::memcpy(message.data(), &header, sizeof header);
    return message.append(text);
}

// A mailslot of this test.
class own_mailslot {
public:
    explicit own_mailslot(DWORD read_timeout_ms = 0, SECURITY_ATTRIBUTES* security = nullptr)
        : slot_(CreateMailslotW(slot_name(name_).c_str(), 0, read_timeout_ms, security)) {
        REQUIRE(slot_);
    }

    const std::wstring& name() const { return name_; }
    HANDLE handle() const { return slot_.get(); }

    ipc::call_result read(std::string& into, DWORD limit_ms = ipc::test::default_limit_ms) const {
        ipc::overlapped_call call(slot_.get());
        const BOOL done = ReadFile(slot_.get(), into.data(), static_cast<DWORD>(into.size()),
                                   nullptr, call.get());
        return call.wait(done, limit_ms);
    }

    DWORD next_bytes() const {
        DWORD bytes = 0;
        REQUIRE(GetMailslotInfo(slot_.get(), nullptr, &bytes, nullptr, nullptr));
        return bytes;
    }

    DWORD count() const {
        DWORD count = 0;
        REQUIRE(GetMailslotInfo(slot_.get(), nullptr, nullptr, &count, nullptr));
        return count;
    }

private:
    std::wstring name_ = ipc::test::unique_suffix();
    ipc::unique_handle slot_;
};

// Whether GetMailslotInfo counts all messages that wait. Wine 8's counts one.
bool counts_all_messages() {
    const own_mailslot slot;
    const raw_writer writer(slot.name());
    REQUIRE(writer.write("one") == ERROR_SUCCESS);
    REQUIRE(writer.write("two") == ERROR_SUCCESS);
    return slot.count() == 2;
}

// Many texts for one command line: "1", "2" ...
arguments numbers(int count) {
    arguments texts;
    for (int i = 1; i <= count; ++i) {
        texts.push_back(std::to_wstring(i));
    }
    return texts;
}

// The numbers of the messages that A shows have to be 1, 2, 3 ... Returns the last.
std::size_t check_numbers(const std::string& output_of_a) {
    std::size_t number = 0;
    for (const std::string& line : lines_of(output_of_a)) {
        if (line.starts_with("A: message ")) {
            ++number;
            CHECK_THAT(line, StartsWith("A: message " + std::to_string(number) + ": "));
        }
    }
    return number;
}

} // namespace

TEST_CASE("Each text arrives as one message: an empty one, one with spaces, and the longest") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--count", L"4"}));
    REQUIRE(a.wait_for_output(a_is_ready));
    const std::size_t longest = protocol::max_message_bytes - sizeof(protocol::header);
    program b(
        b_with(name, {L"--", L"", L"two words", L"Gr\u00fc\u00dfe", std::wstring(longest, L'x')}));
    check_succeeded(a, std::string(a_is_ready) +
                           "A: message 1: \n"
                           "A: message 2: two words\n"
                           "A: message 3: Gr\xc3\xbc\xc3\x9f\x65\n"
                           "A: message 4: " +
                           std::string(longest, 'x'));
    check_succeeded(b, b_wrote(1) + "\n" + b_wrote(2) + "\n" + b_wrote(3) + "\n" + b_wrote(4));
}

TEST_CASE("A shows every message of eight writers that write at the same time") {
    constexpr int writers = 8;
    constexpr int messages = 25;
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name, {L"--count", std::to_wstring(writers * messages)}));
    REQUIRE(a.wait_for_output(a_is_ready));
    std::vector<std::unique_ptr<program>> all;
    for (int writer = 0; writer < writers; ++writer) {
        arguments texts;
        for (int i = 1; i <= messages; ++i) {
            texts.push_back(std::to_wstring(writer) + L"-" + std::to_wstring(i));
        }
        all.push_back(std::make_unique<program>(b_with(name, texts)));
    }
    for (const auto& b : all) {
        check_succeeded(*b, b_wrote(messages));
    }
    check_succeeded(a, ""); // it has shown as many as it was to show, and nothing was left
    for (int writer = 0; writer < writers; ++writer) {
        std::size_t at = 0;
        for (int i = 1; i <= messages; ++i) { // in the writer's order
            const std::string line = "A: message " + std::to_string(i) + ": " +
                                     std::to_string(writer) + "-" + std::to_string(i) + "\n";
            at = a.output().find(line, at);
            INFO(line);
            REQUIRE(at != std::string::npos);
        }
    }
    CHECK_THAT(a.output(), !ContainsSubstring("dropped"));
    CHECK_THAT(a.output(), !ContainsSubstring("missing"));
}

TEST_CASE("A message that arrives twice is shown once") {
    waiting_a reader;
    program b(b_with(reader.name, {L"--twice", L"one", L"two"}));
    check_succeeded(b, b_wrote(2));
    CHECK(reader.a.wait_for_output("A: message 2: two\n"));
    CHECK(reader.stop().empty());
    CHECK(reader.a.output() ==
          std::string(a_is_ready) + "A: message 1: one\n" + old_message + "A: message 2: two\n");
}

TEST_CASE("A says how many messages are missing, and drops one that comes late, for each writer") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    CHECK(writer.write(message_of(7, 1, "one")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(7, 4, "four")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(7, 3, "three")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(8, 1, "other")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(7, 5, "five")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(9, 0xffff'ffff, "last")) == ERROR_SUCCESS);
    CHECK(reader.a.wait_for_output(": last\n"));
    CHECK(reader.stop().empty());
    CHECK(reader.a.output() == std::string(a_is_ready) +
                                   "A: message 1: one\n"
                                   "A: messages that are missing: 2\n"
                                   "A: message 4: four\n" +
                                   old_message +
                                   "A: message 1: other\n"
                                   "A: message 5: five\n"
                                   "A: messages that are missing: 4294967294\n"
                                   "A: message 4294967295: last\n");
}

TEST_CASE("A drops what is not of the protocol, and goes on") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    CHECK(writer.write("") == ERROR_SUCCESS); // empty, and not the end
    CHECK(writer.write("x") == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 1, "").substr(1)) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 1, "magic", protocol::magic + 1)) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 0, "number")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 1, "good")) == ERROR_SUCCESS);
    CHECK(reader.a.wait_for_output(": good\n"));
    CHECK(reader.stop().empty());
    CHECK(reader.a.output() == std::string(a_is_ready) + wrong_length + wrong_length +
                                   wrong_length + wrong_protocol + wrong_protocol +
                                   "A: message 1: good\n");
}

TEST_CASE("A message that is too long is refused or dropped, and never shown in part") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    std::size_t taken = 0;
    for (const std::size_t more : {std::size_t{1}, std::size_t{1'000}, std::size_t{60'000}}) {
        std::string message = message_of(1, 1, "too long");
        message.resize(protocol::max_message_bytes + more, 'x');
        // Once while A waits, and once more while the first may still be in the mailslot.
        const DWORD first_error = writer.write(message);
        CHECK(writer.write(message) == first_error);
        taken += first_error == ERROR_SUCCESS ? 2 : 0;
    }
    CHECK(writer.write(message_of(2, 1, "good")) == ERROR_SUCCESS);
    CHECK(reader.a.wait_for_output(": good\n"));
    CHECK(reader.stop().empty());
    std::string expected = a_is_ready;
    for (std::size_t i = 0; i < taken; ++i) { // Windows takes none
        expected += wrong_length;
    }
    CHECK(reader.a.output() == expected + "A: message 1: good\n");
}

TEST_CASE("A shows no control character and no invalid UTF-8 of a message") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    using std::string_view_literals::operator""sv;
    CHECK(writer.write(message_of(1, 1, "a\nA: message 2: forged\x1b[2J\0|\xff|"sv)) ==
          ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 2, "|\x7f|\xc2\x80|\xc2\x9b|\xc2\xa0|")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 3, "end")) == ERROR_SUCCESS);
    CHECK(reader.a.wait_for_output(": end\n"));
    CHECK(reader.stop().empty());
    CHECK(reader.a.output() == std::string(a_is_ready) +
                                   "A: message 1: a?A: message 2: forged?[2J?|\xef\xbf\xbd|\n"
                                   "A: message 2: |?|?|?|\xc2\xa0|\n"
                                   "A: message 3: end\n");
}

TEST_CASE("Strangers cannot fill A's memory: of 1000 writers it forgets the numbers") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    CHECK(writer.write(message_of(1, 5, "first")) == ERROR_SUCCESS);
    for (std::uint64_t id = 2; id <= 1'001; ++id) {
        REQUIRE(writer.write(message_of(id, 1, "stranger")) == ERROR_SUCCESS);
    }
    CHECK(writer.write(message_of(1'001, 1, "known")) == ERROR_SUCCESS);
    CHECK(writer.write(message_of(1, 1, "forgotten")) == ERROR_SUCCESS);
    CHECK(reader.a.wait_for_output(": forgotten\n"));
    CHECK(reader.stop().empty());
    CHECK(count_of(reader.a.output(), ": stranger\n") == 1'000);
    CHECK(count_of(reader.a.output(), old_message) == 1);
    CHECK_THAT(reader.a.output(), !ContainsSubstring("known"));
}

TEST_CASE("A second reader is refused, and the first one goes on") {
    waiting_a reader;
    program second(a_with(reader.name));
    check_failed(second, name_is_taken);
    CHECK(second.output().empty());
    program b(b_with(reader.name, {L"still there"}));
    check_succeeded(b, b_wrote(1));
    CHECK(reader.a.wait_for_output("A: message 1: still there\n"));
    CHECK(reader.stop().empty());
}

TEST_CASE("Two pairs with names of their own do not mix") {
    waiting_a one;
    waiting_a two;
    program to_one(b_with(one.name, {L"for one"}));
    program to_two(b_with(two.name, {L"for two"}));
    CHECK(one.a.wait_for_output(": for one\n"));
    CHECK(two.a.wait_for_output(": for two\n"));
    CHECK_THAT(one.a.output(), !ContainsSubstring("two"));
    CHECK_THAT(two.a.output(), !ContainsSubstring("for one"));
    CHECK(one.stop().empty());
    CHECK(two.stop().empty());
}

TEST_CASE("Without a partner, A and B end at their limit") {
    program a(a_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    program b(b_with(ipc::test::unique_suffix(), {L"--limit", L"1"}));
    check_failed(a, nothing_came);
    check_failed(b, nobody_reads);
    CHECK(a.output() == a_is_ready);
    CHECK(b.output().empty());
}

TEST_CASE("B waits for an A that starts later") {
    const std::wstring name = ipc::test::unique_suffix();
    program b(b_with(name));
    CHECK_FALSE(b.wait(300));
    program a(a_with(name, {L"--count", L"1"}));
    check_succeeded(b, b_wrote(1));
    check_succeeded(a, "A: message 1: hello");
}

TEST_CASE("Messages that are dropped do not extend A's limit") {
    waiting_a reader({L"--limit", L"1"});
    const raw_writer writer(reader.name);
    const ULONGLONG start_ms = GetTickCount64();
    bool ended = false;
    while (!ended && GetTickCount64() - start_ms < 15'000) {
        writer.write("junk", 100); // fails when A has ended
        ended = reader.a.wait(50);
    }
    REQUIRE(ended);
    REQUIRE(reader.a.wait_for_end_of_output());
    CHECK(reader.a.exit_code() == 1);
    CHECK_THAT(reader.a.error_output(), ContainsSubstring(nothing_came)); // "lost" can be before it
    CHECK_THAT(reader.a.output(), ContainsSubstring(wrong_length));
}

TEST_CASE("At its limit A reports the messages that it has not read") {
    waiting_a reader({L"--limit", L"1"});
    const raw_writer writer(reader.name);
    {
        const ipc::test::suspended stopped(reader.a);
        CHECK_FALSE(reader.a.wait(1'500)); // the limit is over, and on Windows the read has ended
        CHECK(writer.write("junk") == ERROR_SUCCESS); // Wine 8's read goes on, and gets this one
        CHECK(writer.write(message_of(1, 1, "late")) == ERROR_SUCCESS);
    }
    REQUIRE(reader.a.wait());
    REQUIRE(reader.a.wait_for_end_of_output());
    CHECK(reader.a.exit_code() == 1);
    CHECK_THAT(reader.a.error_output(), StartsWith(lost) && ContainsSubstring(nothing_came));
}

TEST_CASE("Each message gives the next one the whole limit") {
    waiting_a reader({L"--limit", L"2", L"--count", L"4"});
    for (std::uint32_t number = 1; number <= 4; ++number) { // 3.6 s in all
        reader.a.wait(number == 1 ? 0 : 1'200);
        const raw_writer writer(reader.name);
        CHECK(writer.write(message_of(1, number, "in time")) == ERROR_SUCCESS);
        REQUIRE(reader.a.wait_for_output("A: message " + std::to_string(number) + ": "));
    }
    check_succeeded(reader.a, "A: message 4: in time");
}

TEST_CASE("Ctrl+C ends A at once if no message waits") {
    waiting_a reader;
    const ULONGLONG start_ms = GetTickCount64();
    CHECK(reader.stop().empty());
    CHECK(GetTickCount64() - start_ms < 5'000);
    CHECK(reader.a.output() == a_is_ready);
}

TEST_CASE("At Ctrl+C A shows the messages that wait, and nothing is lost") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    {
        const ipc::test::suspended stopped(reader.a);
        for (std::uint32_t number = 1; number <= 20; ++number) {
            CHECK(writer.write(message_of(1, number, "waits")) == ERROR_SUCCESS);
        }
        // The handler runs on a new thread, which is not stopped. It has run when this thread has ended.
        const std::size_t threads =
            ipc::test::threads_of(reader.a.id(), THREAD_QUERY_LIMITED_INFORMATION).size();
        reader.a.press_ctrl_c();
        const ULONGLONG start_ms = GetTickCount64();
        while (ipc::test::threads_of(reader.a.id(), THREAD_QUERY_LIMITED_INFORMATION).size() >
               threads) {
            REQUIRE(GetTickCount64() - start_ms < 20'000);
            Sleep(10);
        }
    }
    REQUIRE(reader.a.wait());
    REQUIRE(reader.a.wait_for_end_of_output());
    CHECK(reader.a.exit_code() == 0);
    CHECK(reader.a.error_output().empty());
    CHECK(check_numbers(reader.a.output()) == 20);
}

TEST_CASE("Ctrl+C ends A also while a writer never pauses") {
    waiting_a reader;
    constexpr std::uint32_t most = 50'000; // Windows keeps all of them in memory
    std::vector<std::unique_ptr<raw_writer>> writers;
    for (int i = 0; i < 8; ++i) { // enough that A hardly ever finds an empty mailslot
        writers.push_back(std::make_unique<raw_writer>(reader.name));
    }
    std::vector<std::jthread> floods; // after the writers, so that the threads end before them
    for (std::uint64_t id = 1; id <= writers.size(); ++id) {
        floods.emplace_back([&writer = *writers[id - 1], id](const std::stop_token& end) {
            for (std::uint32_t number = 1; number <= most && !end.stop_requested(); ++number) {
                writer.write(message_of(id, number, "flood"), 100);
            }
        });
    }
    CHECK(reader.a.wait_for_output("A: message 100: flood\n"));
    reader.a.press_ctrl_c();
    REQUIRE(reader.a.wait(10'000));
    REQUIRE(reader.a.wait_for_end_of_output());
    CHECK(reader.a.exit_code() == 0);
    const std::string errors = reader.a.error_output();
    CHECK((errors.empty() || errors.starts_with(lost)));
}

TEST_CASE("A that ends after its number of messages says what nobody has read") {
    waiting_a reader({L"--count", L"2"});
    const raw_writer writer(reader.name);
    {
        const ipc::test::suspended stopped(reader.a);
        for (std::uint32_t number = 1; number <= 5; ++number) {
            CHECK(writer.write(message_of(1, number, "text")) == ERROR_SUCCESS);
        }
    }
    REQUIRE(reader.a.wait());
    REQUIRE(reader.a.wait_for_end_of_output());
    CHECK(reader.a.exit_code() == 0);
    CHECK(check_numbers(reader.a.output()) == 2);
    CHECK(lines_of(reader.a.error_output()) ==
          std::vector<std::string>{lost + std::string(counts_all_messages() ? "3" : "1")});
}

TEST_CASE("A that does not read for a while misses nothing that B has written") {
    waiting_a reader;
    std::size_t written = 0;
    {
        const ipc::test::suspended stopped(reader.a);
        arguments command = numbers(2'000);
        command.insert(command.begin(), {L"--limit", L"1"});
        program b(b_with(reader.name, command));
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        written = lines_of(b.output()).size();
        if (written == 2'000) { // Windows takes each message at once
            CHECK(b.exit_code() == 0);
            CHECK(b.error_output().empty());
        } else { // Wine 8's mailslot gets full
            CHECK(b.exit_code() == 1);
            CHECK(lines_of(b.error_output()) == std::vector<std::string>{too_slow});
        }
        CHECK(written >= 10);
    }
    CHECK(reader.a.wait_for_output("A: message " + std::to_string(written) + ": "));
    CHECK(reader.stop().empty());
    CHECK(check_numbers(reader.a.output()) == written);
}

TEST_CASE("B ends when A is killed at any of 20 moments, and the next A starts") {
    std::mt19937 random(200);
    for (int i = 0; i < 20; ++i) {
        const std::wstring name = ipc::test::unique_suffix();
        program a(a_with(name));
        REQUIRE(a.wait_for_output(a_is_ready));
        arguments command = numbers(3'000);
        command.insert(command.begin(), {L"--limit", L"1"});
        program b(b_with(name, command));
        REQUIRE(b.wait_for_output(b_wrote(1) + "\n"));
        CHECK_FALSE(a.wait(random() % 20));
        a.kill();
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        if (lines_of(b.output()).size() < 3'000) { // A died before B's last message
            CHECK(b.exit_code() == 1);
            CHECK(lines_of(b.error_output()).size() == 1);
            // If A died between the open and the write, or during one of them, it is one of the others.
            CHECK((b.error_output().starts_with(nobody_reads) ||
                   b.error_output().starts_with(too_slow) ||
                   b.error_output().starts_with("B: CreateFileW failed: ") ||
                   b.error_output().starts_with("B: WriteFile failed: ")));
        } else {
            CHECK(b.exit_code() == 0);
        }
        REQUIRE(a.wait());
        program next(a_with(name, {L"--count", L"1"}));
        REQUIRE(next.wait_for_output(a_is_ready));
        program b_again(b_with(name));
        check_succeeded(next, "A: message 1: hello");
        check_succeeded(b_again, b_wrote(1));
    }
}

TEST_CASE(
    "A shows whole messages only, whenever a writer is killed, and the next writer is heard") {
    std::mt19937 random(201);
    waiting_a reader;
    std::size_t reported = 0;
    for (int i = 0; i < 20; ++i) {
        program b(b_with(reader.name, arguments(300, std::wstring(50, L'z'))));
        REQUIRE(b.wait_for_output(b_wrote(1) + "\n"));
        b.wait(random() % 20);
        b.kill();
        REQUIRE(b.wait());
        REQUIRE(b.wait_for_end_of_output());
        reported += count_of(b.output(), " is written;");
    }
    program last(b_with(reader.name, {L"last"}));
    check_succeeded(last, b_wrote(1));
    CHECK(reader.a.wait_for_output(": last\n"));
    CHECK(reader.stop().empty());
    const std::size_t shown = count_of(reader.a.output(), ": " + std::string(50, 'z') + "\n");
    CHECK(shown >= reported); // a killed writer may not have reported its last one
    CHECK(shown <= reported + 20);
    CHECK(lines_of(reader.a.output()).size() == shown + 2);
}

TEST_CASE("B notices at once that A has gone, long before its limit") {
    const std::wstring name = ipc::test::unique_suffix();
    program a(a_with(name));
    REQUIRE(a.wait_for_output(a_is_ready));
    arguments command = numbers(3'000);
    command.insert(command.begin(), {L"--limit", L"50"});
    program b(b_with(name, command));
    REQUIRE(b.wait_for_output(b_wrote(1) + "\n"));
    a.kill();
    REQUIRE(b.wait(20'000));
    REQUIRE(b.wait_for_end_of_output());
    if (lines_of(b.output()).size() < 3'000) { // A died before B's last message
        CHECK(b.exit_code() == 1);
        CHECK(lines_of(b.error_output()).size() == 1);
    } else {
        CHECK(b.exit_code() == 0);
    }
}

TEST_CASE("B that waits in a full mailslot ends at its limit when A is killed") {
    waiting_a reader;
    arguments command = numbers(2'000);
    command.insert(command.begin(), {L"--limit", L"2"});
    {
        const ipc::test::suspended stopped(reader.a);
        program b(b_with(reader.name, command));
        REQUIRE(b.wait_for_output(b_wrote(10) + "\n"));
        std::uint64_t seen = 0;
        while (!b.wait(300) &&
               b.output_bytes() != seen) { // until it waits, or has written everything
            seen = b.output_bytes();
        }
        reader.a.kill();
        REQUIRE(b.wait(20'000));
        REQUIRE(b.wait_for_end_of_output());
        if (b.exit_code() == 0) {
            CHECK(lines_of(b.output()).size() == 2'000);
            SKIP("this system takes every message: no mailslot gets full");
        }
        CHECK(b.exit_code() == 1);
        CHECK(lines_of(b.error_output()).size() == 1);
        CHECK((b.error_output().starts_with(too_slow) ||
               b.error_output().starts_with("B: WriteFile failed: ")));
    }
    CHECK(reader.a.wait());
}

TEST_CASE("A writer that does not share the mailslot does no harm, or B says so") {
    waiting_a reader;
    const ipc::unique_handle selfish(CreateFileW(slot_name(reader.name).c_str(), GENERIC_WRITE,
                                                 FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0,
                                                 nullptr));
    REQUIRE(selfish);
    program b(b_with(reader.name));
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    if (b.exit_code() == 0) { // Windows Vista and later
        CHECK(reader.a.wait_for_output("A: message 1: hello\n"));
    } else {
        CHECK_THAT(b.error_output(),
                   StartsWith("B: CreateFileW failed: ERROR_SHARING_VIOLATION (32): "));
    }
    CHECK(reader.stop().empty());
}

TEST_CASE("B refuses a text that does not fit into a message, and for another computer earlier") {
    const std::size_t local = protocol::max_message_bytes - sizeof(protocol::header);
    const std::size_t remote = protocol::max_remote_bytes - sizeof(protocol::header);
    const auto refused = [](const arguments& more, std::size_t most) {
        const ipc::test::result b = run(b_with(ipc::test::unique_suffix(), more));
        CHECK(b.exit_code == 2);
        CHECK(b.output.empty());
        CHECK_THAT(b.error_output, StartsWith("B: a text is longer than " + std::to_string(most) +
                                              " bytes; usage: processB "));
    };
    refused({L"fits", std::wstring(local + 1, L'x')}, local);
    refused({std::wstring(local / 2 + 1, L'\u00fc')}, local); // two bytes each
    refused({L"--to", L"somewhere", std::wstring(remote + 1, L'x')}, remote);
    refused({L"--to", L"*", std::wstring(remote + 1, L'x')}, remote);
}

TEST_CASE("B ends by itself when it writes to a computer that does not exist") {
    // RFC 6761 reserves ".invalid": no computer has such a name.
    const std::wstring longest(protocol::max_remote_bytes - sizeof(protocol::header), L'x');
    program b(b_with(ipc::test::unique_suffix(), {L"--to", L"ipc-demos.invalid", longest}));
    REQUIRE(b.wait());
    REQUIRE(b.wait_for_end_of_output());
    if (b.exit_code() != 0) { // without remote mailslots, or where the name has to be found
        CHECK(b.exit_code() == 1);
        CHECK(lines_of(b.error_output()).size() == 1);
        CHECK_THAT(b.error_output(), StartsWith("B: CreateFileW failed: ") ||
                                         StartsWith("B: WriteFile failed: ") ||
                                         StartsWith(nobody_reads) || StartsWith(too_slow));
    } else { // a datagram that nobody gets is no error
        CHECK_THAT(b.output(), EndsWith(b_wrote(1) + "\n"));
    }
}

TEST_CASE("Wrong arguments end both programs with exit code 2 and a usage line") {
    for (const arguments& more :
         {arguments{L"--nonsense"}, {L"--limit"}, {L"--limit", L"soon"}, {L"--name", L""}}) {
        for (const std::wstring& path : {process_a, process_b}) {
            arguments command = {path};
            command.insert(command.end(), more.begin(), more.end());
            const ipc::test::result ended = run(command);
            CHECK(ended.exit_code == 2);
            CHECK(ended.output.empty());
            CHECK_THAT(ended.error_output, ContainsSubstring("; usage: process"));
        }
    }
    CHECK(run({process_a, L"--count", L"-1"}).exit_code == 2);
    CHECK(run({process_a, L"text"}).exit_code == 2);
    CHECK(run({process_b, L"--to", L""}).exit_code == 2);
    CHECK(run({process_a, L"--help"}).exit_code == 0);
    CHECK(run({process_b, L"--help"}).exit_code == 0);
}

TEST_CASE("A needs no more handles after 500 messages than after one") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    REQUIRE(writer.write(message_of(1, 1, "text")) == ERROR_SUCCESS);
    REQUIRE(reader.a.wait_for_output("A: message 1: "));
    const DWORD before = ipc::test::handle_count(reader.a.process());
    for (std::uint32_t number = 2; number <= 500; ++number) {
        REQUIRE(writer.write(message_of(1, number, "text")) == ERROR_SUCCESS);
        REQUIRE(writer.write("junk") == ERROR_SUCCESS);
    }
    REQUIRE(reader.a.wait_for_output("A: message 500: "));
    CHECK(ipc::test::handle_count(reader.a.process()) <= before + 5);
    CHECK(reader.stop().empty());
}

TEST_CASE("A uses no processor time while it waits") {
    waiting_a reader;
    const std::uint64_t before_ms = ipc::test::processor_ms(reader.a.process());
    CHECK_FALSE(reader.a.wait(1'500));
    CHECK(ipc::test::processor_ms(reader.a.process()) - before_ms <= 100);
    CHECK(reader.stop().empty());
}

TEST_CASE("The mailslot does what the page says: order, next size, time-out, second reader") {
    const own_mailslot slot(100);
    std::string buffer(100, '\0');
    CHECK(slot.next_bytes() == MAILSLOT_NO_MESSAGE);
    const ULONGLONG start_ms = GetTickCount64();
    CHECK(slot.read(buffer).error == ERROR_SEM_TIMEOUT);
    CHECK(GetTickCount64() - start_ms >= 70); // the clock counts in steps of some 16 ms
    const raw_writer writer(slot.name());
    const raw_writer other(slot.name());
    REQUIRE(writer.write("first") == ERROR_SUCCESS);
    REQUIRE(other.write("next") == ERROR_SUCCESS);
    CHECK(slot.next_bytes() == 5);
    ipc::call_result read = slot.read(buffer);
    CHECK(read.error == ERROR_SUCCESS);
    CHECK(buffer.substr(0, read.bytes) == "first");
    CHECK(slot.next_bytes() == 4);
    read = slot.read(buffer);
    CHECK(buffer.substr(0, read.bytes) == "next");
    CHECK(slot.next_bytes() == MAILSLOT_NO_MESSAGE);
    const ipc::unique_handle second(CreateMailslotW(slot_name(slot.name()).c_str(), 0, 0, nullptr));
    const DWORD second_error = GetLastError();
    CHECK_FALSE(second);
    CHECK(second_error == ERROR_ALREADY_EXISTS);
}

TEST_CASE("A read that waits can be cancelled") {
    const own_mailslot slot(1'000);
    std::string buffer(100, '\0');
    const DWORD error = slot.read(buffer, 50).error;
    if (error == ERROR_SEM_TIMEOUT) {
        SKIP("a read blocks until the mailslot's read time-out (Wine 8)");
    }
    CHECK(error == WAIT_TIMEOUT);
}

TEST_CASE("The security descriptor of a mailslot decides who may write") {
    SECURITY_ATTRIBUTES security{sizeof security, nullptr, FALSE};
    REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorW(
        L"D:P(A;;FRWD;;;WD)", // everyone may read, which includes A, and change the descriptor
        SDDL_REVISION_1, &security.lpSecurityDescriptor, nullptr));
    const ipc::scope_exit free_descriptor([&] { LocalFree(security.lpSecurityDescriptor); });
    const own_mailslot slot(0, &security);
    const ipc::unique_handle writer(CreateFileW(slot_name(slot.name()).c_str(), GENERIC_WRITE,
                                                FILE_SHARE_READ | FILE_SHARE_WRITE, nullptr,
                                                OPEN_EXISTING, 0, nullptr));
    const DWORD error = GetLastError();
    if (writer && ipc::test::is_wine()) {
        SKIP("Wine 8 lets every writer open a mailslot");
    }
    CHECK_FALSE(writer);
    CHECK(error == ERROR_ACCESS_DENIED);
}

TEST_CASE("A read into a buffer that is too short fails, and the message stays") {
    const own_mailslot slot;
    const raw_writer writer(slot.name());
    REQUIRE(writer.write("a long message") == ERROR_SUCCESS);
    std::string buffer(6, '\0');
    if (slot.read(buffer).error == ERROR_SUCCESS) {
        SKIP("the message is cut off without an error (Wine 8)");
    }
    CHECK(slot.read(buffer).error == ERROR_INSUFFICIENT_BUFFER);
    CHECK(slot.next_bytes() == 14);
    buffer.resize(14);
    CHECK(slot.read(buffer).bytes == 14);
    CHECK(buffer == "a long message");
}

TEST_CASE("A mailslot refuses a message that is longer than it allows") {
    waiting_a reader;
    const raw_writer writer(reader.name);
    if (writer.write(std::string(4 * protocol::max_message_bytes, 'x')) == ERROR_SUCCESS) {
        SKIP("this system takes longer messages, too; A drops them");
    }
    CHECK(reader.stop().empty());
    CHECK(reader.a.output() == a_is_ready);
}
