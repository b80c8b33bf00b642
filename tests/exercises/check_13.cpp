// The checks of the exercises of pair 13.

#include "common/error.hpp"
#include "common/scope_exit.hpp"
#include "common/security.hpp"
#include "common/unique_handle.hpp"
#include "demos/13_pipe_security/descriptor_text.hpp"
#include "demos/13_pipe_security/protocol.hpp"
#include "tests/exercises/check.hpp"
#include "tests/exercises/pipe_end.hpp"

#include <windows.h>

#include <aclapi.h>

#include <algorithm>
#include <string>
#include <vector>

namespace {

using ipc::exercise::trial;
using ipc::test::program;

constexpr auto everyone = L"S-1-1-0";
constexpr auto every_account = L"S-1-5-11";
constexpr auto guests = L"S-1-5-32-546";

// Returns the rights that the pipe's DACL gives to a process with these SIDs. The system reads the
// entries in their order: the first one that names a right decides.
DWORD rights_of(HANDLE pipe, const std::vector<std::wstring>& sids) {
    PSECURITY_DESCRIPTOR descriptor = nullptr;
    ACL* dacl = nullptr;
    const DWORD error = GetSecurityInfo(pipe, SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, nullptr,
                                        nullptr, &dacl, nullptr, &descriptor);
    const ipc::scope_exit free_descriptor([&] { LocalFree(descriptor); });
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("GetSecurityInfo", error);
    }
    if (dacl == nullptr) {
        return FILE_ALL_ACCESS;
    }
    GENERIC_MAPPING mapping{FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE,
                            FILE_ALL_ACCESS};
    DWORD allowed = 0;
    DWORD denied = 0;
    for (DWORD i = 0; i < dacl->AceCount; ++i) {
        void* found = nullptr;
        if (!GetAce(dacl, i, &found)) {
            ipc::throw_last_error("GetAce");
        }
        auto* const ace = static_cast<ACCESS_ALLOWED_ACE*>(found);
        if (std::ranges::find(sids, sid_text(&ace->SidStart)) == sids.end()) {
            continue;
        }
        DWORD mask = ace->Mask;
        MapGenericMask(&mask, &mapping);
        if (ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE) {
            allowed |= mask & ~denied;
        } else if (ace->Header.AceType == ACCESS_DENIED_ACE_TYPE) {
            denied |= mask & ~allowed;
        }
    }
    return allowed;
}

// Exercise 13.1. Starts A, and expects rights of a process with these SIDs.
void expect_rights(trial& attempt, const std::vector<std::wstring>& sids, DWORD needed,
                   DWORD forbidden, const std::string& expected) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    ipc::exercise::pipe_end client(attempt, ipc::object_name(protocol::pipe_name, suffix),
                                   GENERIC_READ);
    client.expect_connection(a);
    const DWORD rights = rights_of(client.handle(), sids);
    attempt.expect((rights & needed) == needed && (rights & forbidden) == 0, expected,
                   "the pipe's descriptor gives: " + rights_text(rights));
}

constexpr DWORD sender_rights = FILE_WRITE_DATA | SYNCHRONIZE | FILE_READ_ATTRIBUTES;

void let_accounts_in(trial& attempt) {
    expect_rights(attempt, {everyone, every_account}, sender_rights, 0,
                  "other users can open the pipe to write data");
}

void keep_the_pipe(trial& attempt) {
    expect_rights(attempt, {everyone, every_account}, 0,
                  FILE_READ_DATA | FILE_CREATE_PIPE_INSTANCE | DELETE | WRITE_DAC | WRITE_OWNER,
                  "other users can neither read data, nor create an instance, nor change the pipe");
}

void keep_guests_out(trial& attempt) {
    expect_rights(attempt, {everyone, guests}, 0, FILE_ALL_ACCESS, "guests can do nothing");
}

void keep_own_rights(trial& attempt) {
    expect_rights(attempt, {user_of_process(GetCurrentProcess()), everyone, every_account},
                  FILE_ALL_ACCESS, 0, "this user can do everything");
}

void answer_client(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_learner({L"--name", suffix});
    program& b = attempt.start_partner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: the server has answered");
    attempt.expect_exit_code(a, 0);
}

// Exercise 13.2. The pair's A prints whether it got a request.
constexpr auto got_nothing = "A: a client without an answer: ERROR_BROKEN_PIPE (109)";

void ask_expected_server(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 0);
    attempt.expect_line(b, "B: the server has answered");
    attempt.expect_exit_code(a, 0);
}

void refuse_other_account(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    program& b = attempt.start_learner({L"--server", L"S-1-5-19", L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_output(a, got_nothing);
}

void refuse_unknown_process(trial& attempt) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner({L"--name", suffix});
    attempt.expect_output(a, "A: - owner: "); // Windows has opened what it needs of A's process
    ACL nobody{}; // may open A's process, as if another user had started it
    InitializeAcl(&nobody, sizeof nobody, ACL_REVISION);
    const DWORD error = SetSecurityInfo(a.process(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION,
                                        nullptr, nullptr, &nobody, nullptr);
    if (error != ERROR_SUCCESS) {
        ipc::throw_error("SetSecurityInfo", error);
    }
    if (ipc::unique_handle(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, a.id()))) {
        return; // SeDebugPrivilege opens every process
    }
    program& b = attempt.start_learner({L"--name", suffix});
    attempt.expect_exit_code(b, 1);
    attempt.expect_output(a, got_nothing);
}

// Expects that B refuses a server whose process is this user's and whose pipe has this owner. Returns false if the
// system does not let this user give a pipe to the owner.
bool refuse_owner(trial& attempt, const std::wstring& letters,
                  const std::vector<std::wstring>& options) {
    const std::wstring suffix = ipc::test::unique_suffix();
    program& a = attempt.start_partner(
        {L"--allow", L"O:" + letters + L"D:P(A;;FA;;;WD)", L"--name", suffix});
    if (!a.wait_for_output("A: - owner: ", attempt.limit_ms())) {
        attempt.expect_output(a, "1307"); // ERROR_INVALID_OWNER, and no other failure
        return false;
    }
    std::vector<std::wstring> arguments = {L"--name", suffix};
    arguments.insert(arguments.end(), options.begin(), options.end());
    program& b = attempt.start_learner(arguments);
    attempt.expect_exit_code(b, 1);
    attempt.expect_output(a, got_nothing);
    return true;
}

// Wine gives a pipe to any account, and Windows gives that of an elevated program to Administrators. A program without
// elevation cannot give its pipe away: then this checks nothing.
void refuse_other_owner(trial& attempt) {
    const bool any = refuse_owner(attempt, L"SY", {});
    const std::wstring letters = any ? L"SY" : L"BA";
    const std::wstring sid = any ? L"S-1-5-18" : L"S-1-5-32-544";
    if (any || refuse_owner(attempt, letters, {})) {
        refuse_owner(attempt, letters, {L"--server", sid}); // now the process is of another account
    }
}

const ipc::exercise::checks_of_pair exercises = {
    {1,
     {{"A answers the pair's B", answer_client},
      {"other users can write to the pipe", let_accounts_in},
      {"other users can neither read from the pipe nor act as A's server", keep_the_pipe},
      {"guests can do nothing", keep_guests_out},
      {"this user keeps every right", keep_own_rights}}},
    {2,
     {{"B asks a server of the expected account", ask_expected_server},
      {"B sends nothing to a server of another account", refuse_other_account},
      {"B sends nothing to a server whose process it may not open", refuse_unknown_process},
      {"B sends nothing if only one of the two, the process and the pipe, is the expected "
       "account's",
       refuse_other_owner}}},
};

} // namespace

int wmain(int argc, wchar_t* argv[]) {
    return ipc::exercise::check_main(argc, argv, exercises);
}
