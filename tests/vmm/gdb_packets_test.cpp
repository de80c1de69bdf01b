// SPDX-License-Identifier: GPL-2.0-or-later
// gdb's framing: packets come in pieces, damaged, too long, or as anything at all.
#include "vmm/gdb_packets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace perfvisor::vmm {
namespace {

std::vector<std::string> packets(GdbPacketReader& reader, std::string_view bytes) {
    std::vector<std::string> list;
    for (const GdbInput& input : reader.receive(bytes))
        list.push_back(input.kind == GdbInput::Kind::Packet      ? input.data
                       : input.kind == GdbInput::Kind::Damaged   ? "<damaged>"
                       : input.kind == GdbInput::Kind::Interrupt ? "<interrupt>"
                                                                 : "<resend>");
    return list;
}

using testing::ElementsAre;
using testing::IsEmpty;

TEST(GdbPackets, ArrivesWhateverPiecesItComesIn) {
    GdbPacketReader reader;
    EXPECT_THAT(packets(reader, "+$m10"), IsEmpty());
    EXPECT_THAT(packets(reader, "00,4#"), IsEmpty());
    EXPECT_THAT(packets(reader, "8e$?#3f\x03-"),
                ElementsAre("m1000,4", "?", "<interrupt>", "<resend>"));
}

TEST(GdbPackets, WrongChecksumIsDamage) {
    GdbPacketReader reader;
    EXPECT_THAT(packets(reader, "$?#40$?#zz$?#3f"), ElementsAre("<damaged>", "<damaged>", "?"));
}

TEST(GdbPackets, PacketThatIsBrokenOffEndsWhereTheNextBegins) {
    GdbPacketReader reader;
    EXPECT_THAT(packets(reader, "$m1000$?#3f"), ElementsAre("?"));
}

TEST(GdbPackets, EscapesAreUndone) {
    GdbPacketReader reader;
    EXPECT_THAT(packets(reader, gdb_packet("a$b#c}d*")), ElementsAre("a$b#c}d*"));
}

TEST(GdbPackets, TooLongAPacketIsRefusedAndTheNextIsHeard) {
    GdbPacketReader reader;
    EXPECT_THAT(packets(reader, gdb_packet(std::string(kMostPacketBytes, 'x'))),
                ElementsAre(std::string(kMostPacketBytes, 'x')));
    EXPECT_THAT(packets(reader, gdb_packet(std::string(kMostPacketBytes + 1, 'x')) + "$?#3f"),
                ElementsAre("<damaged>", "?"));
}

TEST(GdbPackets, NumbersAndBytes) {
    std::string_view text = "1f,2";
    EXPECT_EQ(take_hex(text), 0x1fu);
    EXPECT_TRUE(take(text, ","));
    EXPECT_EQ(take_hex(text), 2u);
    EXPECT_EQ(take_hex(text), std::nullopt);
    text = "123456789abcdef01";
    EXPECT_EQ(take_hex(text), 0x123456789abcdef0u) << "no more than 16 digits";
    EXPECT_EQ(text, "1");
    const std::vector<uint8_t> bytes = {0, 0x7f, 0xff};
    EXPECT_EQ(to_hex(bytes), "007fff");
    EXPECT_EQ(from_hex("007FfF"), bytes);
    EXPECT_EQ(from_hex("0"), std::nullopt);
    EXPECT_EQ(from_hex("0g"), std::nullopt);
}

TEST(GdbPackets, AnyBytesAreTakenAndAPacketAfterThemIsHeard) {
    std::mt19937 random(1);
    GdbPacketReader reader;
    for (int round = 0; round < 2000; ++round) {
        std::string bytes(random() % 300, '\0');
        for (char& c : bytes)
            c = static_cast<char>(random() % 4 == 0 ? "$#}+-\x03"[random() % 6] : random());
        reader.receive(bytes);
        reader.receive("#00");  // ends what may be open
        ASSERT_THAT(packets(reader, "$?#3f"), ElementsAre("?")) << round;
    }
}

}  // namespace
}  // namespace perfvisor::vmm
