#include "common/unique_handle.hpp"
#include "tests/harness/launcher.hpp"
#include "tests/harness/thread_tokens.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <windows.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using ipc::test::program;

namespace {

const std::wstring server_path = ipc::test::program_path(L"snippets", L"impersonate_client.exe");
constexpr DWORD act_as_me = SECURITY_SQOS_PRESENT | SECURITY_IMPERSONATION;

// Starts the snippet, sends the path, and waits for its end. A weaker client has not the rights of Everyone.
std::string answer_of_server(const std::wstring& path, DWORD sqos = act_as_me,
                             bool is_weaker = false) {
    const std::wstring name = LR"(\\.\pipe\ipc_demos.snippets.)" + ipc::test::unique_suffix();
    program server({server_path, name});
    ipc::unique_handle client;
    while (!client && !server.wait(2)) { // until it has created the pipe
        std::optional<ipc::test::everyone_denied> rights;
        if (is_weaker) {
            rights.emplace();
        }
        client.reset(
            CreateFileW(name.c_str(), GENERIC_WRITE, 0, nullptr, OPEN_EXISTING, sqos, nullptr));
    }
    REQUIRE(client);
    DWORD bytes = 0;
    CHECK(WriteFile(client.get(), path.data(), static_cast<DWORD>(path.size() * sizeof(wchar_t)),
                    &bytes, nullptr));
    REQUIRE(server.wait());
    REQUIRE(server.wait_for_end_of_output());
    CHECK(server.exit_code() == (server.error_output().empty() ? 0 : 1));
    return server.output() + server.error_output();
}

std::wstring write_file(const ipc::test::temporary_folder& folder) {
    std::wstring path = folder.file(L"file.txt");
    std::ofstream(std::filesystem::path(path), std::ios::binary) << "content";
    return path;
}

} // namespace

TEST_CASE("impersonate_client explains wrong usage and ends with exit code 2") {
    const ipc::test::result result = ipc::test::run({server_path});
    CHECK(result.exit_code == 2);
    CHECK_THAT(result.error_output, StartsWith("usage: "));
}

TEST_CASE("impersonate_client opens a file, and says why it cannot") {
    const ipc::test::temporary_folder folder;
    const std::wstring file = write_file(folder);
    CHECK_THAT(answer_of_server(file), StartsWith("7 bytes"));
    CHECK_THAT(answer_of_server(file, act_as_me, true), StartsWith("7 bytes"));
    CHECK_THAT(answer_of_server(file + L"x"), ContainsSubstring("(error 2)"));
    CHECK_THAT(answer_of_server(std::filesystem::path(file).parent_path().wstring()),
               ContainsSubstring("(error 5)"));
}

TEST_CASE("impersonate_client refuses a path that does not begin with a drive") {
    for (const std::wstring path : {L"C:", L"C:file", L"file", LR"(\\.\NUL)", LR"(\:\file)",
                                    LR"(\\?\C:\file)", LR"(\\server\share\file)"}) {
        CHECK_THAT(answer_of_server(path), ContainsSubstring("(error 161)"));
    }
    const ipc::test::temporary_folder folder;
    const std::wstring file = write_file(folder);
    CHECK_THAT(answer_of_server(file + L'\0' + L"x"), ContainsSubstring("(error 161)"));
}

TEST_CASE("impersonate_client refuses a device") {
    const ipc::test::temporary_folder folder;
    const std::string answer = answer_of_server(folder.file(L"NUL"));
    // Some versions of Windows may take NUL in a folder for a file that does not exist.
    const bool not_found = answer.find("(error 2)") != std::string::npos;
    CHECK((not_found || answer.find("(error 50)") != std::string::npos));
    CHECK_FALSE((not_found && ipc::test::is_wine()));
}

TEST_CASE("impersonate_client opens nothing for a client that allows only identification") {
    if (ipc::test::is_wine()) {
        SKIP("Wine lets a server impersonate its client, whatever the client allows");
    }
    const ipc::test::temporary_folder folder;
    const std::wstring file = write_file(folder);
    CHECK_THAT(answer_of_server(file, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION),
               ContainsSubstring("(error 1346)"));
    CHECK_THAT(answer_of_server(file, SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS),
               ContainsSubstring("(error 13")); // 1346 or 1347
}

TEST_CASE("impersonate_client opens nothing that its own user may read and its client may not") {
    if (ipc::test::is_wine()) {
        SKIP("Wine checks no file's DACL, and gives the server its own token");
    }
    const ipc::test::temporary_folder folder;
    const std::wstring file = write_file(folder);
    const ipc::test::file_for_everyone entry(file);
    CHECK_THAT(answer_of_server(file), StartsWith("7 bytes"));
    CHECK_THAT(answer_of_server(file, act_as_me, true), ContainsSubstring("(error 5)"));
}
