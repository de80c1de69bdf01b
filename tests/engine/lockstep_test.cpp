// SPDX-License-Identifier: GPL-2.0-or-later
// The engines against each other: random instructions of the whole table with random operands, in
// pieces of random length, and all state compared after each. Code changes itself, accesses are
// misaligned and meet devices, interrupts come in the middle.
//
// PERFVISOR_TEST_SEED=n: other sequences; PERFVISOR_FUZZ_CASES=n: so many (default 400 a test).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cstdlib>
#include <random>

#include "core/fpu/fpscr.h"
#include "guest_harness.h"

using namespace perfvisor;
using core::Total;
using engine::EngineKind;
using isa::Opcode;
using test::Guest;

namespace {

unsigned from_environment(const char* name, unsigned otherwise) {
    const char* text = std::getenv(name);
    return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 0)) : otherwise;
}

constexpr size_t kMemory = 0x80000;
constexpr uint32_t kCodeBytes = 0x2000;

// What differs between two cores, as text.
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
    compare("so", s.xer_so, t.xer_so);
    compare("ov", s.xer_ov, t.xer_ov);
    compare("ca", s.xer_ca, t.xer_ca);
    compare("msr", s.msr, t.msr);
    compare("fpscr", s.fpscr, t.fpscr);
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("f{}", n), s.fpr[n], t.fpr[n]);
    compare("reservation", s.reserve_size, t.reserve_size);
    compare("attention", s.attention.load(), t.attention.load());
    for (unsigned n = 0; n < core::kTotalCount; ++n)
        compare(fmt::format("total {}", n), s.totals.value[n], t.totals.value[n]);
    return text;
}

std::string register_differences(Guest& a, Guest& b) {
    std::string text;
    for (unsigned n = 0; n < 1024; ++n) {
        uint64_t x = 0, y = 0;
        a.core().get_spr(n, x);
        b.core().get_spr(n, y);
        if (x != y) text += fmt::format("  SPR {}: interpreter {:x}, translator {:x}\n", n, x, y);
    }
    if (std::memcmp(a.bytes(0), b.bytes(0), kMemory) != 0) text += "  memory\n";
    return text;
}

class Case {
  public:
    static constexpr unsigned kPieces = 40;

    Case(uint32_t seed, bool user) : random_(seed) {
        const auto words = code();
        for (Guest* guest : {&interpreter_, &translator_}) {
            guest->reset();
            prepare(*guest, words);
        }
        for (unsigned n = 0; n < 32; ++n) {
            const uint32_t value = interesting();
            const uint64_t real = interesting_double();
            for (Guest* guest : {&interpreter_, &translator_}) {
                guest->state().gpr[n] = value;
                guest->state().fpr[n] = real;
            }
        }
        const auto cr = static_cast<uint32_t>(random_());
        const uint32_t fpscr = below(2) ? 0 : static_cast<uint32_t>(random_()) & 0x020000ff;
        for (Guest* guest : {&interpreter_, &translator_}) {
            guest->state().cr.set_word(cr);
            guest->state().fpscr = core::fpu::summarize(fpscr);
            if (user) guest->core().set_msr(guest->state().msr | core::msr::kPR);
        }
    }

    // What differed, if anything, and behind how many instructions of which piece.
    struct Outcome {
        std::string differences;
        unsigned piece = 0;
        uint64_t length = 0;
    };
    // Runs piece by piece; the piece `last` is cut to `cut` instructions and is the last.
    Outcome run(unsigned last = kPieces, uint64_t cut = 0) {
        for (unsigned piece = 0; piece < kPieces; ++piece) {
            uint64_t length = 1 + (below(4) ? below(200) : below(4));
            if (piece == last) length = cut;
            start_ = interpreter_.state().pc;
            const std::string text = run_piece(length) + differences(interpreter_, translator_);
            if (!text.empty()) return {text, piece, length};
            if (interpreter_.core().halted() || piece == last) break;
        }
        return {register_differences(interpreter_, translator_), kPieces, 0};
    }
    // Where the last piece began, and where it ended.
    std::string place() {
        std::string text = fmt::format("piece from {:x}, now:\n", start_);
        for (unsigned n = 0; n < 8; ++n) {
            const uint64_t at = interpreter_.state().pc - 16 + 4 * uint64_t{n};
            if (at + 4 > kMemory) continue;
            const uint32_t word = interpreter_.read32(static_cast<uint32_t>(at));
            text += fmt::format("  {:08x}: {:08x} {}\n", at, word, isa::disassemble(word, at));
        }
        return text;
    }

  private:
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

    uint32_t interesting() {
        switch (below(6)) {
            case 0:
                return static_cast<uint32_t>(random_());
            case 1:
                return below(64);
            case 2:
                return 0u - below(64);
            case 3:
                return Guest::kCode + below(kCodeBytes);
            case 4:
                return static_cast<uint32_t>(kMemory) - 64 + below(128);  // memory's end: devices
            default:
                return Guest::kData + below(0x3000);
        }
    }
    uint64_t interesting_double() {
        const uint64_t bits = uint64_t{random_()} << 32 | random_();
        switch (below(8)) {
            case 0:
                return bits;
            case 1:
                return bits & 0xfff0000000000000;
            default:
                return (bits & 0x800fffffffffffff) | (1015 + bits % 16) << 52;
        }
    }

    bool too_wild(Opcode opcode) {
        switch (opcode) {
            case Opcode::Wait:  // ends the case
            case Opcode::Mtmsr:
            case Opcode::Rfi:
            case Opcode::Rfci:
            case Opcode::Rfdi:
            case Opcode::Rfmci:
            case Opcode::Tlbwe:
            case Opcode::Tlbivax:
            case Opcode::Tlbilx:
            case Opcode::Mtspr:
                return below(20) != 0;
            default:
                return false;
        }
    }

    // Compares and branches are what compilers write most and a table has few of.
    uint32_t instruction() {
        if (below(6) == 0) {
            static constexpr std::array kUsual = {Opcode::Cmp, Opcode::Cmpli, Opcode::Bc,
                                                  Opcode::Bc,  Opcode::Subf,  Opcode::Isel};
            const isa::Instruction& row = isa::describe(kUsual[below(kUsual.size())]);
            const uint32_t word = row.match | (static_cast<uint32_t>(random_()) & ~row.mask);
            return row.opcode == Opcode::Bc ? (word & 0xffff0000) | 4 * (1 + below(6)) : word;
        }
        for (;;) {
            const auto opcode =
                static_cast<Opcode>(1 + below(static_cast<unsigned>(Opcode::Count) - 1));
            const isa::Instruction& row = isa::describe(opcode);
            if (row.category == isa::Category::Sixty4Bit && below(50)) continue;
            if (row.category == isa::Category::MoveAssist && below(20)) continue;
            if (too_wild(opcode)) continue;
            uint32_t word = row.match | (static_cast<uint32_t>(random_()) & ~row.mask);
            if (below(8) == 0) return word;
            const bool has_displacement =
                (row.flags & (isa::kLoad | isa::kStore)) && row.pattern[31] == 'i';
            if (has_displacement) word = (word & 0xffff0000) | ((below(256) - 128) & 0xffff);
            if (opcode == Opcode::B) word = (word & 0xfc000001) | (below(64) << 2);
            if (opcode == Opcode::Bc)
                word = (word & 0xffff0001) | (((below(40) - 10) << 2) & 0xfffc);
            return word;
        }
    }

    std::vector<uint32_t> code() {
        std::vector<uint32_t> words;
        while (words.size() < kCodeBytes / 4)
            words.push_back(instruction());
        return words;
    }

    // Handlers that go on behind the instruction.
    static void prepare(Guest& guest, const std::vector<uint32_t>& words) {
        for (unsigned n = 0; n < static_cast<unsigned>(core::Interrupt::Count); ++n) {
            const uint32_t at = Guest::kVectors + (n << 8);
            const auto handler = test::assemble(
                "mtspr 272,r3\n mfspr r3,26\n addi r3,r3,4\n mtspr 26,r3\n mfspr r3,272\n rfi\n",
                at);
            for (size_t i = 0; i < handler.size(); ++i)
                guest.write32(at + static_cast<uint32_t>(4 * i), handler[i]);
        }
        guest.load(Guest::kCode, words);
    }

    std::string run_piece(uint64_t length) {
        const auto a = advance(interpreter_, length), b = advance(translator_, length);
        if (a == b) return "";
        return fmt::format(
            "  stops (0 budget, 1 attention, 2 device): interpreter {}, translator {}\n",
            fmt::join(a, " "), fmt::join(b, " "));
    }
    // As a vCPU does; what it stopped for, in order.
    static std::vector<unsigned> advance(Guest& guest, uint64_t length) {
        std::vector<unsigned> stops;
        const uint64_t end = guest.total(Total::Instructions) + length;
        for (unsigned rounds = 0; rounds < 400; ++rounds) {
            guest.core().deliver_pending_interrupt();
            if (guest.core().halted()) break;
            const uint64_t done = guest.total(Total::Instructions);
            if (done >= end) break;
            const auto stop = guest.engine().run(guest.core().instructions_to_deadline(end - done));
            stops.push_back(static_cast<unsigned>(stop));
            if (stop != engine::Stop::Mmio) continue;
            core::MmioAccess access = *guest.core().mmio_request();
            for (unsigned n = 0; n < access.size; ++n)
                access.data[n] = static_cast<uint8_t>(access.physical + n);
            guest.core().complete_mmio(access.data);
        }
        return stops;
    }

    std::mt19937 random_;
    uint64_t start_ = 0;
    Guest interpreter_{EngineKind::Interpreter, core::find_core_model("e500mc"), kMemory};
    Guest translator_{EngineKind::Translator, core::find_core_model("e500mc"), kMemory};
};

// The same case again, with its last piece cut to find the first instruction that differs.
void report(uint32_t seed, bool user, const Case::Outcome& outcome) {
    std::string before, text = outcome.differences;
    uint64_t length = 1;
    for (; length < outcome.length; ++length) {
        Case again(seed, user);
        const std::string cut = again.run(outcome.piece, length).differences;
        if (!cut.empty()) {
            text = cut;
            break;
        }
        before = again.place();
    }
    ADD_FAILURE() << "seed " << seed << ", behind " << length << " instructions of a " << before
                  << text;
}

void compare_engines(uint32_t seed, bool user) {
    seed += 1000000 * from_environment("PERFVISOR_TEST_SEED", 0);
    const unsigned cases = from_environment("PERFVISOR_FUZZ_CASES", 400);
    unsigned different = 0;
    for (uint32_t n = 0; n < cases && different < 3; ++n) {
        const Case::Outcome outcome = Case(seed + n, user).run();
        if (outcome.differences.empty()) continue;
        ++different;
        report(seed + n, user, outcome);
    }
    EXPECT_EQ(different, 0u);
}

}  // namespace

TEST(Lockstep, EnginesAgreeOnRandomSupervisorCode) {
    compare_engines(1, false);
}

TEST(Lockstep, EnginesAgreeOnRandomUserCode) {
    compare_engines(500000, true);
}
