// SPDX-License-Identifier: GPL-2.0-or-later
// Loops that become traces, against the interpreter: random bodies with comparisons, carries, side
// exits, calls, self-made faults and pointers that walk, cut into runs of random length, all state
// compared after each.
//
// PERFVISOR_TEST_SEED=n: other programs; PERFVISOR_FUZZ_CASES=n: so many (default 300).
#include <fmt/format.h>

#include <cstdlib>
#include <random>

#include "guest_harness.h"

using namespace perfvisor;
using engine::EngineKind;
using test::Guest;

namespace {

unsigned from_environment(const char* name, unsigned otherwise) {
    const char* text = std::getenv(name);
    return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 0)) : otherwise;
}

// r1 and r29 point into memory, r30 to where nothing is mapped; the handler uses r25 to r27.
class Program {
  public:
    explicit Program(uint32_t seed) : random_(seed) {
        text_ = fmt::format("li r28,{}\nmtctr r28\nloop:\n", 20 + below(60));
        const unsigned length = 2 + below(24);
        for (unsigned n = 0; n < length; ++n)
            instruction();
        text_ += "bdnz loop\nwait 0\n";
        text_ += "function: add r3,r3,r4\ncmpw cr1,r3,r5\nbclr 12,6,0\nadd. r6,r6,r3\nblr\n";
    }
    const std::string& text() const { return text_; }

  private:
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    unsigned reg() { return below(3) ? 14 + below(10) : 2 + below(11); }
    void line(const std::string& text) { text_ += text + "\n"; }

    void instruction() {
        const unsigned d = reg(), a = reg(), b = reg();
        const int immediate = static_cast<int>(below(400)) - 200;
        switch (below(24)) {
            case 22: {  // neighbours from one base, at a page's end too
                const char* what = below(2) ? "lwz" : "stw";
                const unsigned base = below(2) ? 1 : 29;
                const unsigned from = 4 * below(16) + (below(6) ? 0 : 1);
                for (unsigned n = 3 + below(4); n-- > 0;)
                    line(fmt::format("{} r{},{}(r{})", what, reg(), from + 4 * below(8), base));
                return;
            }
            case 0:
                return line(fmt::format("add{} r{},r{},r{}", below(2) ? "." : "", d, a, b));
            case 1:
                return line(fmt::format("addi r{},r{},{}", d, a, immediate));
            case 2:
                return line(fmt::format("subf{} r{},r{},r{}", below(2) ? "." : "", d, a, b));
            case 3:
                return line(fmt::format("addic r{},r{},{}", d, a, immediate));
            case 4:
                return line(fmt::format("{} r{},r{},r{}", below(2) ? "adde" : "subfe", d, a, b));
            case 5:
                return line(fmt::format("addze r{},r{}", d, a));
            case 6:
                return line(fmt::format("subfc r{},r{},r{}", d, a, b));
            case 7:
                return line(
                    fmt::format("rlwinm r{},r{},{},{},{}", d, a, below(32), below(32), below(32)));
            case 8:
                return line(
                    fmt::format("srawi{} r{},r{},{}", below(2) ? "." : "", d, a, below(32)));
            case 9:
                return line(fmt::format("mullw r{},r{},r{}", d, a, b));
            case 10:
            case 11:
                return line(
                    fmt::format("{} cr{},r{},r{}", below(2) ? "cmpw" : "cmplw", below(3), a, b));
            case 12:
                return line(fmt::format("cmpwi cr{},r{},{}", below(3), a, immediate));
            case 13:
                return line(fmt::format("isel r{},r{},r{},{}", d, a, b, below(12)));
            case 14:
                return line(fmt::format("lwz r{},{}(r1)", d, 4 * below(32) + (below(8) ? 0 : 2)));
            case 15:
                return line(fmt::format("stw r{},{}(r1)", a, 4 * below(32) + (below(8) ? 0 : 1)));
            case 16:
                return line(fmt::format("lwzu r{},4(r29)", d));
            case 17:
                return line(fmt::format("stbu r{},1(r29)", a));
            case 18:
                return below(4) ? line("lhz r7,6(r29)") : line(fmt::format("lwz r{},0(r30)", d));
            case 19:
                return below(2) ? line("bl function") : line(fmt::format("mfcr r{}", d));
            default: {
                const std::string label = fmt::format("skip{}", labels_++);
                line(fmt::format("bc {},{},{}", below(2) ? 12 : 4, below(12), label));
                for (unsigned n = below(3) + 1; n-- > 0;)
                    instruction();
                return line(label + ":");
            }
        }
    }

    std::mt19937 random_;
    std::string text_;
    unsigned labels_ = 0;
};

std::string differences(Guest& a, Guest& b) {
    std::string text;
    const auto compare = [&](const std::string& name, uint64_t x, uint64_t y) {
        if (x != y) text += fmt::format("  {}: interpreter {:x}, translator {:x}\n", name, x, y);
    };
    const core::CpuState &s = a.state(), &t = b.state();
    compare("pc", s.pc, t.pc);
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("r{}", n), s.gpr[n], t.gpr[n]);
    compare("lr", s.lr, t.lr);
    compare("ctr", s.ctr, t.ctr);
    compare("cr", s.cr.word(), t.cr.word());
    compare("ca", s.xer_ca, t.xer_ca);
    for (unsigned n = 0; n < core::kTotalCount; ++n)
        compare(fmt::format("total {}", n), s.totals.value[n], t.totals.value[n]);
    return text;
}

void prepare(Guest& guest, const Program& program, uint32_t seed) {
    guest.reset();
    guest.handler(
        core::Interrupt::DataTlbError,
        "mfcr r27\n xor r25,r25,r27\n mfspr r26,26\n addi r26,r26,4\n mtspr 26,r26\n rfi");
    guest.program(program.text());
    std::mt19937 random(seed);
    for (unsigned n = 0; n < 32; ++n)
        guest.state().gpr[n] = random() % 3 ? random() % 100 : static_cast<uint32_t>(random());
    for (uint32_t n = 0; n < 0x2000; n += 4)
        guest.write32(Guest::kData + n, static_cast<uint32_t>(random()));
    guest.state().gpr[1] = Guest::kData;
    guest.state().gpr[29] = Guest::kData + 0xf80;  // walks into the next page
    guest.state().gpr[30] = 0x90000000;
    guest.state().xer_so = random() & 1;
}

}  // namespace

TEST(Trace, LoopsAgreeWithTheInterpreterHoweverTheyAreCut) {
    Guest interpreter(EngineKind::Interpreter), translator(EngineKind::Translator);
    const uint32_t first = from_environment("PERFVISOR_TEST_SEED", 1);
    for (uint32_t seed = first; seed < first + from_environment("PERFVISOR_FUZZ_CASES", 300);
         ++seed) {
        const Program program(seed);
        prepare(interpreter, program, seed);
        prepare(translator, program, seed);
        std::mt19937 random(seed);
        for (unsigned piece = 0; piece < 400; ++piece) {
            const uint64_t length = 1 + (random() % 4 ? random() % 300 : random() % 4);
            interpreter.engine().run(length);
            translator.engine().run(length);
            const std::string text = differences(interpreter, translator);
            ASSERT_EQ(text, "") << "seed " << seed << ", piece " << piece << " of " << length
                                << " instructions\n"
                                << program.text();
            if (interpreter.core().halted()) break;
        }
        ASSERT_EQ(std::memcmp(interpreter.bytes(0), translator.bytes(0), 0x80000), 0)
            << "memory, seed " << seed << "\n"
            << program.text();
    }
}

// A word that the interpreter executes while it records, and that is changed before the trace is
// made: no translated block holds it, as the round before changed it too.
TEST(Trace, IsNotMadeOfWordsThatChangedWhileItsPathWasRecorded) {
    for (unsigned after = 3; after < 9; ++after) {
        Guest guest(EngineKind::Lockstep, core::find_core_model("e500mc"), 0x200000, nullptr,
                    {.patience = 0, .trace_after = after});
        guest.program(R"(
            li32 r5,changing
            lwz r6,0(r5)
            lwz r7,-4(r5)
            mfmsr r9
            li r10,60
            loop: addi r3,r3,1
            b changing
            mtmsr r9
            changing: addi r4,r4,1
            mr r8,r6
            mr r6,r7
            mr r7,r8
            stw r6,0(r5)
            addi r10,r10,-1
            cmpwi r10,0
            bne loop
            wait 0)");
        ASSERT_TRUE(guest.run()) << guest.engine().failure();
        EXPECT_EQ(guest.state().gpr[4], 30u) << after;
    }
}
