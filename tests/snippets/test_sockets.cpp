// Attacks docs/snippets/tcp_message.cpp.

#include "tests/harness/launcher.hpp"

#include <winsock2.h>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using ipc::test::program;
using ipc::test::program_path;

namespace {

// A server for one client, which gets these bytes, one call of send for each part.
class sender {
public:
    explicit sender(const wchar_t* ms) {
        WSADATA data{};
        REQUIRE(WSAStartup(MAKEWORD(2, 2), &data) == 0);
        const SOCKET listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int size = sizeof address;
        REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(listen(listener, 1) == 0);
        REQUIRE(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
        receiver_.emplace(std::vector<std::wstring>{program_path(L"snippets", L"tcp_message.exe"),
                                                    std::to_wstring(ntohs(address.sin_port)), ms});
        client_ = accept(listener, nullptr, nullptr);
        closesocket(listener);
        REQUIRE(client_ != INVALID_SOCKET);
    }
    ~sender() { closesocket(client_); }
    sender(const sender&) = delete;
    sender& operator=(const sender&) = delete;

    bool send_bytes(std::string_view bytes) const {
        return send(client_, bytes.data(), static_cast<int>(bytes.size()), 0) ==
               static_cast<int>(bytes.size());
    }
    void end() const { shutdown(client_, SD_SEND); }

    // Waits for the end of the program, and returns what it has printed.
    std::string outcome() {
        REQUIRE(receiver_->wait());
        receiver_->wait_for_end_of_output();
        const std::string text = receiver_->output() + receiver_->error_output();
        return text.substr(0, text.find_first_of("\r\n"));
    }
    bool is_running(DWORD ms) { return !receiver_->wait(ms); }

private:
    std::optional<program> receiver_;
    SOCKET client_ = INVALID_SOCKET;
};

} // namespace

TEST_CASE("tcp_message receives one message, in one piece or byte by byte") {
    sender at_once(L"60000");
    REQUIRE(at_once.send_bytes(std::string("\0\0\0\5hello and more", 18)));
    CHECK(at_once.outcome() == "5 bytes");
    sender slow(L"60000");
    const std::string bytes("\0\0\0\5hello", 9);
    for (const char one : bytes) {
        REQUIRE(slow.send_bytes({&one, 1}));
    }
    CHECK(slow.outcome() == "5 bytes");
    sender empty(L"60000");
    REQUIRE(empty.send_bytes(std::string(4, '\0')));
    CHECK(empty.outcome() == "0 bytes");
    sender large(L"60000");
    REQUIRE(large.send_bytes(std::string("\0\x10\0\0", 4) + std::string(1 << 20, 'x')));
    CHECK(large.outcome() == "1048576 bytes");
}

TEST_CASE("tcp_message tells the end of the stream from a message that is cut off") {
    sender nothing(L"60000");
    nothing.end();
    CHECK(nothing.outcome() == "the end");
    for (const std::size_t sent : {1U, 4U, 6U}) {
        sender cut(L"60000");
        REQUIRE(cut.send_bytes(std::string("\0\0\0\5hello", 9).substr(0, sent)));
        cut.end();
        CHECK(cut.outcome() == "error 10053"); // WSAECONNABORTED
    }
}

TEST_CASE("tcp_message refuses a length over its limit before it allocates anything") {
    for (const std::string& length :
         {std::string("\xff\xff\xff\xff"), std::string("\0\x10\0\1", 4)}) {
        sender liar(L"60000");
        REQUIRE(liar.send_bytes(length));
        CHECK(liar.outcome() == "error 10040"); // WSAEMSGSIZE
    }
}

TEST_CASE("tcp_message gives up when the time of the whole message is over") {
    sender silent(L"500");
    CHECK(silent.outcome() == "error 10060"); // WSAETIMEDOUT
    sender dribbling(L"500");
    REQUIRE(dribbling.send_bytes(std::string("\0\0\0\x40", 4)));
    int sent = 0;
    while (sent < 60 && dribbling.is_running(100) && dribbling.send_bytes("x")) {
        ++sent;
    }
    CHECK(dribbling.outcome() == "error 10060");
    CHECK(sent < 60);
}
