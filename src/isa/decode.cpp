// SPDX-License-Identifier: GPL-2.0-or-later
// The decoder: a table by primary and extended opcode, made from instructions.inc.
#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "isa/instruction.h"

namespace perfvisor::isa {
namespace {

constexpr unsigned kOpcodes = static_cast<unsigned>(Opcode::Count);

constexpr uint32_t bits_of(const char* pattern, bool mask) {
    uint32_t bits = 0;
    for (unsigned i = 0; i < 32; ++i) {
        const bool fixed = pattern[i] == '0' || pattern[i] == '1';
        bits = bits << 1 | (mask ? fixed : pattern[i] == '1');
    }
    return bits;
}

#define INST(name, mnemonic, pattern, category, flags)                          \
    static_assert(sizeof(pattern) == 33, "a pattern has 32 fields: " mnemonic); \
    static_assert(bits_of(pattern, true) >> 26 == 63, "primary opcode not fixed: " mnemonic);
#include "isa/instructions.inc"
#undef INST

constexpr std::array<Instruction, kOpcodes> kInstructions = {{
    {Opcode::Invalid, ".long", "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii", 0, 0, Category::Base,
     kEndsBlock},
#define INST(name, mnemonic, pattern, category, flags)                                       \
    {Opcode::name,       mnemonic, pattern, bits_of(pattern, true), bits_of(pattern, false), \
     Category::category, flags},
#include "isa/instructions.inc"
#undef INST
}};

// The candidates for a word, most fixed bits first, by primary opcode and bits 21-30.
class Decoder {
  public:
    Decoder() {
        std::vector<Opcode> order;
        for (unsigned i = 1; i < kOpcodes; ++i)
            order.push_back(static_cast<Opcode>(i));
        std::stable_sort(order.begin(), order.end(), [](Opcode a, Opcode b) {
            return std::popcount(describe(a).mask) > std::popcount(describe(b).mask);
        });
        for (unsigned primary = 0; primary < 64; ++primary)
            add_primary(primary, order);
    }

    Opcode decode(uint32_t word) const {
        const Primary& primary = primaries_[word >> 26];
        const uint16_t* candidate =
            &candidates_[buckets_[primary.first + ((word >> 1) & primary.extended_mask)]];
        for (;; ++candidate) {
            const Instruction& row = kInstructions[*candidate];
            if ((word & row.mask) == row.match) return row.opcode;  // row 0 matches every word
        }
    }

  private:
    static constexpr uint32_t kExtended = 0x3ff;
    struct Primary {
        uint32_t first = 0;  // of its buckets: one, or one for each extended opcode
        uint32_t extended_mask = 0;
    };

    void add_primary(unsigned number, const std::vector<Opcode>& order) {
        std::vector<Opcode> rows;
        for (Opcode opcode : order)
            if (describe(opcode).match >> 26 == number) rows.push_back(opcode);
        Primary& primary = primaries_[number];
        primary.first = static_cast<uint32_t>(buckets_.size());
        primary.extended_mask = rows.size() > 1 ? kExtended : 0;
        std::vector<std::vector<uint16_t>> buckets(primary.extended_mask + 1);
        for (Opcode opcode : rows) {
            const uint32_t mask = describe(opcode).mask >> 1 & primary.extended_mask;
            const uint32_t match = describe(opcode).match >> 1 & primary.extended_mask;
            // Every extended opcode whose fixed bits are those of the row.
            const uint32_t free = primary.extended_mask & ~mask;
            uint32_t subset = 0;
            do {
                buckets[match | subset].push_back(static_cast<uint16_t>(opcode));
                subset = (subset - free) & free;
            } while (subset != 0);
        }
        for (const std::vector<uint16_t>& bucket : buckets) {
            buckets_.push_back(static_cast<uint16_t>(candidates_.size()));
            candidates_.insert(candidates_.end(), bucket.begin(), bucket.end());
            candidates_.push_back(static_cast<uint16_t>(Opcode::Invalid));
        }
    }

    std::array<Primary, 64> primaries_{};
    std::vector<uint16_t> buckets_;     // where a bucket's candidates begin
    std::vector<uint16_t> candidates_;  // each bucket's end with Invalid
};

// Special purpose registers whose writing changes nothing but themselves: no context, timer or
// condition (e500mc manual, table 2-2).
bool plain_to_write(unsigned spr) {
    switch (spr) {
        case 1:    // XER
        case 8:    // LR
        case 9:    // CTR
        case 26:   // SRR0
        case 27:   // SRR1
        case 58:   // CSRR0
        case 59:   // CSRR1
        case 61:   // DEAR
        case 62:   // ESR
        case 256:  // USPRG0
        case 604:  // SPRG8
        case 605:  // SPRG9
        case 944:  // MAS7
            return true;
        default:
            return (spr >= 272 && spr <= 279)      // SPRG0-7
                   || (spr >= 570 && spr <= 575)   // MCSRR0 MCSRR1 MCSR MCAR DSRR0 DSRR1
                   || (spr >= 624 && spr <= 630);  // MAS0-4, MAS6
    }
}

// Special purpose registers that count time.
bool timed(unsigned spr) {
    switch (spr) {
        case 22:   // DEC
        case 268:  // TBL
        case 269:  // TBU
        case 336:  // TSR
        case 526:  // ATBL
        case 527:  // ATBU
            return true;
        default:
            return false;
    }
}

bool moves_plain_spr(Opcode opcode, uint32_t word) {
    return (opcode == Opcode::Mfspr && !timed(spr(word))) ||
           (opcode == Opcode::Mtspr && plain_to_write(spr(word)));
}

}  // namespace

const Instruction& describe(Opcode opcode) {
    return kInstructions[static_cast<unsigned>(opcode)];
}

Opcode decode(uint32_t word) {
    static const Decoder decoder;
    return decoder.decode(word);
}

bool ends_block(const Instruction& instruction, uint32_t word) {
    return (instruction.flags & kEndsBlock) && !moves_plain_spr(instruction.opcode, word);
}

bool reads_totals(const Instruction& instruction, uint32_t word) {
    return (instruction.flags & kReadsTotals) && !moves_plain_spr(instruction.opcode, word);
}

}  // namespace perfvisor::isa
