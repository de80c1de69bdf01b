// SPDX-License-Identifier: GPL-2.0-or-later
// gdb's packets and what they do, without gdb and without a guest.
#include "vmm/gdb_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "fake_gdb_target.h"

namespace perfvisor::vmm {
namespace {

using Course = GdbTarget::Course;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class GdbSessionTest : public testing::Test {
  protected:
    // What the session answers to a packet; its own framing and acknowledgement taken off.
    std::string ask(std::string_view packet) {
        std::string bytes = session.receive(gdb_packet(packet)).bytes;
        if (bytes.starts_with('+')) bytes.erase(0, 1);
        if (bytes.empty()) return "<nothing>";
        GdbPacketReader reader;
        const auto inputs = reader.receive(bytes);
        return inputs.size() == 1 && inputs[0].kind == GdbInput::Kind::Packet ? inputs[0].data
                                                                              : "<damaged>";
    }

    FakeGdbTarget target;
    GdbSession session{target};
};

TEST_F(GdbSessionTest, AcknowledgesUntilItNeedNot) {
    EXPECT_EQ(session.receive("$?#3f").bytes, "+$T05thread:01;#07");
    EXPECT_EQ(session.receive("-").bytes, "$T05thread:01;#07");
    EXPECT_EQ(session.receive("$?#00").bytes, "-");
    EXPECT_EQ(session.receive(gdb_packet("QStartNoAckMode")).bytes, "+$OK#9a");
    EXPECT_EQ(session.receive("$?#3f").bytes, "$T05thread:01;#07");
    EXPECT_EQ(session.receive("-").bytes, "");
}

TEST_F(GdbSessionTest, UnknownPacketsGetTheEmptyAnswer) {
    for (const char* packet : {"", "vMustReplyEmpty", "qOffsets", "!", "vFile:open:00", "Z9,0,4"})
        EXPECT_EQ(ask(packet), "") << packet;
}

TEST_F(GdbSessionTest, SaysWhatItCan) {
    const std::string supported = ask("qSupported:multiprocess+;swbreak+");
    EXPECT_THAT(supported, HasSubstr("PacketSize=4000"));
    EXPECT_THAT(supported, HasSubstr("qXfer:features:read+"));
    EXPECT_EQ(ask("vCont?"), "vCont;c;C;s;S");
    EXPECT_EQ(ask("qAttached"), "1");
}

TEST_F(GdbSessionTest, TargetDescriptionComesInPiecesAndNamesThePerformanceMonitor) {
    std::string text, piece;
    do {
        piece = ask(fmt::format("qXfer:features:read:target.xml:{:x},400", text.size()));
        ASSERT_TRUE(piece.starts_with('m') || piece.starts_with('l')) << piece;
        text += piece.substr(1);
    } while (piece.starts_with('m'));
    EXPECT_EQ(text, gdb_target_description());
    EXPECT_THAT(text, HasSubstr("powerpc:common"));
    EXPECT_THAT(text, HasSubstr("org.gnu.gdb.power.fpu"));
    EXPECT_THAT(text, HasSubstr("\"pmc0\""));
    EXPECT_EQ(ask("qXfer:features:read:target.xml:ffffffffffffffff,10"), "l");
    EXPECT_EQ(ask("qXfer:features:read:other.xml:0,10"), "");
}

TEST_F(GdbSessionTest, RegistersAreBigEndianAndOfTheSelectedThread) {
    target.registers[{0, 3}] = 0x12345678;
    target.registers[{1, 3}] = 0xdeadbeef;
    target.registers[{0, 33}] = 0x3ff0000000000000;
    EXPECT_EQ(ask("p3"), "12345678");
    EXPECT_EQ(ask("p21"), "3ff0000000000000");
    const std::string all = ask("g");
    EXPECT_EQ(all.size(), 32 * 8u + 32 * 16u + 7 * 8u);
    EXPECT_EQ(all.substr(3 * 8, 8), "12345678");
    EXPECT_EQ(ask("Hg2"), "OK");
    EXPECT_EQ(ask("p3"), "deadbeef");
    EXPECT_EQ(ask("P40=00001234"), "OK");
    EXPECT_EQ((target.registers[{1, 64}]), 0x1234u);
    EXPECT_EQ(ask("G" + all), "OK");
    EXPECT_EQ((target.registers[{1, 3}]), 0x12345678u);
    EXPECT_EQ((target.registers[{1, 33}]), 0x3ff0000000000000u);
    EXPECT_EQ(ask("P40=1234"), "E16") << "not the register's size";
    EXPECT_EQ(ask("pffff"), "E16");
    target.unreadable = 70;
    EXPECT_EQ(ask("p46"), "xxxxxxxx");
}

TEST_F(GdbSessionTest, Memory) {
    EXPECT_EQ(ask("M1000,4:01020304"), "OK");
    EXPECT_EQ(ask(std::string("X1004,3:") + std::string("\0$}", 3)), "OK");
    EXPECT_EQ(ask("m1000,7"), "0102030400247d");
    EXPECT_EQ(ask("m1ffe,8"), "0000") << "as far as there is some";
    EXPECT_EQ(ask("m2000,1"), "E0e");
    EXPECT_EQ(ask("M1fff,2:0000"), "E0e");
    EXPECT_EQ(ask("M1000,2:00"), "E16");
    EXPECT_EQ(ask("m1000"), "E16");
    EXPECT_EQ(ask("X1000,0:"), "OK");
    EXPECT_EQ(ask("m1000,ffffffffffffffff").size(), 2 * FakeGdbTarget::kSize);
}

TEST_F(GdbSessionTest, MemoryByPhysicalAddressAsInQemu) {
    EXPECT_EQ(ask("qqemu.PhyMemMode"), "0");
    EXPECT_EQ(ask("Qqemu.PhyMemMode:1"), "OK");
    EXPECT_EQ(ask("qqemu.PhyMemMode"), "1");
    ask("m1000,1");
    EXPECT_TRUE(target.was_physical);
    EXPECT_EQ(ask("Qqemu.PhyMemMode:2"), "E16");
}

TEST_F(GdbSessionTest, BreakpointsAndWatchpoints) {
    EXPECT_EQ(ask("Z0,1000,4"), "OK");
    EXPECT_EQ(ask("Z1,1004,4"), "OK");
    EXPECT_EQ(ask("Z2,1100,2"), "OK");
    EXPECT_EQ(ask("Z4,1200,8"), "OK");
    EXPECT_THAT(target.points, ElementsAre(DebugPoint{DebugPoint::Kind::Software, 0x1000, 4},
                                           DebugPoint{DebugPoint::Kind::Hardware, 0x1004, 4},
                                           DebugPoint{DebugPoint::Kind::Write, 0x1100, 2},
                                           DebugPoint{DebugPoint::Kind::Access, 0x1200, 8}));
    for (const char* packet : {"z0,1000,4", "z1,1004,4", "z2,1100,2", "z4,1200,8"})
        EXPECT_EQ(ask(packet), "OK");
    EXPECT_THAT(target.points, IsEmpty());
    EXPECT_EQ(ask("Z0,100000000,4"), "E16") << "beyond 32 bits";
    EXPECT_EQ(ask("Z2,1000,0"), "E16");
}

TEST_F(GdbSessionTest, Threads) {
    EXPECT_EQ(ask("qfThreadInfo"), "m01,02");
    EXPECT_EQ(ask("qsThreadInfo"), "l");
    EXPECT_EQ(ask("qC"), "QC01");
    EXPECT_EQ(ask("T2"), "OK");
    EXPECT_EQ(ask("T3"), "E03");
    EXPECT_EQ(ask("Hg3"), "E03");
    EXPECT_EQ(ask("Hc-1"), "OK");
    EXPECT_EQ(ask("qThreadExtraInfo,2"),
              "435055203120"
              "5b73746f707065645d");
}

TEST_F(GdbSessionTest, ContinueAnswersWhenTheGuestStops) {
    EXPECT_EQ(ask("vCont;c"), "<nothing>");
    EXPECT_TRUE(session.running());
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Run, Course::Run));
    EXPECT_THAT(session.stopped({1, 5, std::nullopt}), StartsWith("$T05thread:02;#"));
    EXPECT_FALSE(session.running());
    EXPECT_EQ(ask("?"), "T05thread:02;");
    EXPECT_EQ(ask("qC"), "QC02") << "the one that stopped is the selected one";
}

TEST_F(GdbSessionTest, StepsOneThreadWhileOthersRestOrRun) {
    ask("vCont;s:2");
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Rest, Course::Step));
    session.stopped({1, 5, std::nullopt});
    ask("vCont;s:1;c");
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Step, Course::Run));
    session.stopped({0, 5, std::nullopt});
    ask("vCont;C05:1;S05:-1");
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Run, Course::Step));
    session.stopped({0, 5, std::nullopt});
    ask("s");
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Step, Course::Rest));
    session.stopped({0, 5, std::nullopt});
    ask("c2000");
    EXPECT_THAT(target.last_courses, ElementsAre(Course::Run, Course::Run));
    EXPECT_EQ((target.registers[{0, kGdbPc}]), 0x2000u);
}

TEST_F(GdbSessionTest, NonsenseDoesNotSetTheGuestGoing) {
    for (const char* packet :
         {"vCont;", "vCont;x", "vCont;c:9", "vCont;C", "vCont;c;;", "cxyz", "C", "vCont;c:"})
        EXPECT_THAT(ask(packet), StartsWith("E")) << packet;
    EXPECT_EQ(target.resumes, 0);
    EXPECT_FALSE(session.running());
}

TEST_F(GdbSessionTest, InterruptStopsARunningGuestOnly) {
    EXPECT_EQ(session.receive("\x03").bytes, "");
    EXPECT_EQ(target.stops, 0);
    ask("c");
    EXPECT_THAT(session.receive("\x03").bytes, StartsWith("$T02thread:01;#"));
    EXPECT_EQ(target.stops, 1);
    EXPECT_FALSE(session.running());
}

TEST_F(GdbSessionTest, WatchpointStopNamesItsAddressAndKind) {
    ask("c");
    EXPECT_THAT(session.stopped({0, 5, DebugPoint{DebugPoint::Kind::Read, 0x1100, 4}}),
                StartsWith("$T05thread:01;rwatch:00001100;#"));
    ask("c");
    EXPECT_THAT(session.stopped({0, 5, DebugPoint{DebugPoint::Kind::Write, 0x1100, 4}}),
                StartsWith("$T05thread:01;watch:00001100;#"));
}

TEST_F(GdbSessionTest, DetachLetsGoAndKillKills) {
    const auto detached = session.receive(gdb_packet("D"));
    EXPECT_EQ(detached.bytes, "+$OK#9a");
    EXPECT_TRUE(detached.close);
    EXPECT_EQ(target.let_goes, 1);
    EXPECT_TRUE(session.receive(gdb_packet("k")).close);
    EXPECT_TRUE(session.receive(gdb_packet("vKill;1")).close);
    EXPECT_EQ(target.kills, 2);
}

TEST_F(GdbSessionTest, TheGuestsEndIsItsExitStatus) {
    ask("c");
    EXPECT_EQ(session.ended(3), gdb_packet("W03"));
}

TEST_F(GdbSessionTest, StepBitsAsInQemu) {
    EXPECT_EQ(ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4");
    EXPECT_EQ(ask("qqemu.sstep"), "0x1");
    EXPECT_EQ(ask("Qqemu.sstep=0x7"), "OK");
    EXPECT_TRUE(target.no_interrupts);
    EXPECT_EQ(ask("qqemu.sstep"), "0x7");
    EXPECT_EQ(ask("Qqemu.sstep=z"), "E16");
}

// A hostile client: packets with the right checksum and any content, and packets that were sensible
// before some bytes were changed. Whatever comes, an answer is at most a packet's length, and the
// session goes on to answer.
TEST_F(GdbSessionTest, AnyPacketIsSurvived) {
    const std::vector<std::string> sensible = {"g",
                                               "p3",
                                               "P40=00001234",
                                               "m1000,10",
                                               "M1000,2:0102",
                                               "X1000,2:ab",
                                               "Z0,1000,4",
                                               "z0,1000,4",
                                               "Z2,1100,8",
                                               "Hg1",
                                               "Hc-1",
                                               "T1",
                                               "qC",
                                               "qfThreadInfo",
                                               "qThreadExtraInfo,1",
                                               "qSupported:xmlRegisters=i386",
                                               "qXfer:features:read:target.xml:0,3fff",
                                               "vCont?",
                                               "vCont;c",
                                               "vCont;s:1;c",
                                               "vCont;C05:2",
                                               "s",
                                               "c1000",
                                               "S05;1000",
                                               "?",
                                               "G00",
                                               "Qqemu.PhyMemMode:1",
                                               "Qqemu.sstep=7",
                                               "qqemu.sstep",
                                               "vKill;1",
                                               "D",
                                               "k",
                                               "QStartNoAckMode"};
    std::mt19937 random(20260131);
    std::optional<GdbSession> hostile(std::in_place, target);
    for (int round = 0; round < 50000; ++round) {
        std::string packet = sensible[random() % sensible.size()];
        for (unsigned change = random() % 4; change > 0; --change) {
            const size_t at = random() % (packet.size() + 1);
            const char c = random() % 3 == 0 ? static_cast<char>(random())
                                             : "0123456789abcdef,;:-=qvZ"[random() % 24];
            switch (random() % 4) {
                case 0:
                    packet.insert(at, 1, c);
                    break;
                case 1:
                    packet.insert(at, random() % 200, c);
                    break;
                case 2:
                    if (at < packet.size()) packet[at] = c;
                    break;
                default:
                    packet.resize(at);
            }
        }
        const auto answer = hostile->receive(gdb_packet(packet));
        ASSERT_LE(answer.bytes.size(), 2 * kMostPacketBytes + 64) << packet;
        if (answer.close) hostile.emplace(target);
        if (random() % 8 == 0 && hostile->running()) hostile->stopped({1, 5, std::nullopt});
        if (random() % 64 == 0) hostile->receive("\x03");
    }
    hostile.emplace(target);
    EXPECT_EQ(hostile->receive(gdb_packet("vMustReplyEmpty")).bytes, "+$#00");
}

}  // namespace
}  // namespace perfvisor::vmm
