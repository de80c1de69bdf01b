// SPDX-License-Identifier: GPL-2.0-or-later
// -gdb's spellings.
#include "vmm/gdb_server.h"

#include <gtest/gtest.h>

namespace perfvisor::vmm {
namespace {

void expect_tcp(const std::string& text, const std::string& host, uint16_t port) {
    const auto address = parse_gdb_address(text);
    ASSERT_TRUE(address) << address.error().message;
    EXPECT_EQ(address->host, host) << text;
    EXPECT_EQ(address->port, port) << text;
    EXPECT_EQ(address->path, "") << text;
}

TEST(GdbAddressTest, QemusSpellings) {
    expect_tcp("tcp::1234", "", 1234);
    expect_tcp("tcp:localhost:0", "localhost", 0);
    expect_tcp("tcp:[::1]:65535", "::1", 65535);
    expect_tcp("tcp::1234,server=on,wait=off", "", 1234);
    const auto unix_address = parse_gdb_address("unix:/run/a,b,server,nowait");
    ASSERT_TRUE(unix_address);
    EXPECT_EQ(unix_address->path, "/run/a,b");
}

TEST(GdbAddressTest, AnythingElseIsASentence) {
    for (const char* text : {"", "tcp", "tcp:", "tcp:1234", "tcp::", "tcp::65536", "tcp::x",
                             "tcp::-1", "unix:", "udp::1234", "1234", "tcp::1234,wait=on"}) {
        const auto address = parse_gdb_address(text);
        ASSERT_FALSE(address) << text;
        EXPECT_EQ(address.error().message.rfind("-gdb: ", 0), 0u) << address.error().message;
        EXPECT_NE(address.error().message.find("it takes"), std::string::npos)
            << address.error().message;
    }
}

}  // namespace
}  // namespace perfvisor::vmm
