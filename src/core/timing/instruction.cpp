// SPDX-License-Identifier: GPL-2.0-or-later
// Instructions as the timing model sees them. Latencies: docs/timing.md, "Units and latencies".
#include "core/timing/instruction.h"

#include "isa/register_use.h"

namespace perfvisor::core::timing {
namespace {

using isa::Opcode;

constexpr uint8_t kLoadLatency = 3, kFloatLoadLatency = 4, kStoreLatency = 3;
constexpr uint8_t kMultiplyLatency = 4, kDivideLatency = 14;
constexpr uint8_t kFloatLatency = 8, kDoubleMultiplyLatency = 10, kSingleDivideLatency = 36,
                  kDoubleDivideLatency = 66;

// CRn at the most significant bits first, as CRM has it.
uint8_t as_mask(uint8_t fields) {
    uint8_t mask = 0;
    for (unsigned n = 0; n < 8; ++n)
        if (fields & 1u << n) mask |= static_cast<uint8_t>(0x80u >> n);
    return mask;
}

// Registers are entered one by one.
class Registers {
  public:
    explicit Registers(Instruction& in) : in_(in) {}
    void read(uint8_t reg) {
        for (uint8_t& source : in_.sources)
            if (source == kNoRegister) {
                source = reg;
                return;
            }
    }
    void write(uint8_t reg) {
        for (uint8_t& result : in_.results)
            if (result == kNoRegister) {
                result = reg;
                return;
            }
    }
    void enter(const isa::RegisterUse& use) {
        for_each(use.reads, kGpr, &Registers::read);
        for_each(use.float_reads, kFpr, &Registers::read);
        for_each(use.writes, kGpr, &Registers::write);
        for_each(use.float_writes, kFpr, &Registers::write);
    }

  private:
    void for_each(uint32_t registers, unsigned first, void (Registers::*act)(uint8_t)) {
        for (; registers != 0; registers &= registers - 1)
            (this->*act)(static_cast<uint8_t>(first + __builtin_ctz(registers)));
    }

    Instruction& in_;
};

constexpr uint8_t gpr(unsigned n) {
    return static_cast<uint8_t>(kGpr + n);
}
constexpr uint8_t fpr(unsigned n) {
    return static_cast<uint8_t>(kFpr + n);
}

MemoryUse cache_use(Opcode opcode) {
    switch (opcode) {
        case Opcode::Dcbt:
        case Opcode::Dcbtep:
            return MemoryUse::Touch;
        case Opcode::Dcbtst:
        case Opcode::Dcbtstep:
            return MemoryUse::TouchForStore;
        case Opcode::Dcba:
        case Opcode::Dcbal:
        case Opcode::Dcbz:
        case Opcode::Dcbzl:
        case Opcode::Dcbzep:
        case Opcode::Dcbzlep:
            return MemoryUse::Allocate;
        case Opcode::Dcbst:
        case Opcode::Dcbstep:
            return MemoryUse::Clean;
        case Opcode::Dcbf:
        case Opcode::Dcbfep:
        case Opcode::Dcbi:
            return MemoryUse::Flush;
        case Opcode::Icbi:
        case Opcode::Icbiep:
            return MemoryUse::InvalidateCode;
        case Opcode::Dcbtls:
        case Opcode::Dcbtstls:
            return MemoryUse::LockData;
        case Opcode::Dcblc:
            return MemoryUse::UnlockData;
        case Opcode::Icbtls:
            return MemoryUse::LockCode;
        case Opcode::Icblc:
            return MemoryUse::UnlockCode;
        default:
            return MemoryUse::None;
    }
}

// By the mnemonic's letter behind "l" or "st": b h w d; f s and f d of floating ones.
uint8_t access_size(const char* mnemonic) {
    const char* rest = mnemonic + (mnemonic[0] == 'l' ? 1 : 2);
    if (*rest == 'f') ++rest;
    switch (*rest) {
        case 'b':
            return 1;
        case 'h':
            return 2;
        case 'd':
            return 8;
        default:  // w, s (single), i (stfiwx), m and s (multiple, string)
            return 4;
    }
}

// dcbtls and the others: CT is 0 for the L1, else the L2 (EREF, cache locking).
void describe_cache(Instruction& in, uint32_t word) {
    in.size = 1;
    if (isa::ra(word) != 0) in.base = gpr(isa::ra(word));
    in.index = gpr(isa::rb(word));
    in.to_l2 = in.use >= MemoryUse::LockData && (isa::rd(word) & 0x1f) != 0;
    in.latency = kStoreLatency;
}

void describe_memory(Instruction& in, const isa::Instruction& row, uint32_t word,
                     const isa::RegisterUse& use) {
    Registers registers(in);
    in.unit = Unit::LoadStore;
    in.external = row.category == isa::Category::ExternalPid;
    in.use = cache_use(row.opcode);
    if (in.use != MemoryUse::None) {
        registers.enter(use);
        describe_cache(in, word);
        return;
    }
    if (row.opcode == Opcode::Dsn || row.opcode == Opcode::Icbt) return;  // no access of its own
    const bool load = row.flags & isa::kLoad, floating = row.flags & isa::kFloat;
    in.use = load ? MemoryUse::Load : MemoryUse::Store;
    in.size = access_size(row.mnemonic);
    in.latency = !load ? kStoreLatency : floating ? kFloatLoadLatency : kLoadLatency;
    if (row.category == isa::Category::Decorated) {
        in.base = gpr(isa::rb(word));
    } else {
        const bool indexed =
            row.match >> 26 == 31 && !(row.flags & isa::kMultiple && row.opcode != Opcode::Lswx &&
                                       row.opcode != Opcode::Stswx);
        if (isa::ra(word) != 0 || (row.flags & isa::kUpdate)) in.base = gpr(isa::ra(word));
        if (indexed) in.index = gpr(isa::rb(word));
        if (row.match >> 26 != 31) in.displacement = isa::si(word);
    }
    if (row.flags & isa::kMultiple) {
        registers.read(in.base);
        registers.read(in.index);
        in.first = gpr(isa::rd(word));
        if (row.opcode == Opcode::Lmw || row.opcode == Opcode::Stmw)
            in.ops = static_cast<uint8_t>(32 - isa::rd(word));
        else if (row.opcode == Opcode::Lswi || row.opcode == Opcode::Stswi)
            in.ops = static_cast<uint8_t>(((isa::rb(word) ? isa::rb(word) : 32) + 3) / 4);
        else
            in.ops = 0;
        return;
    }
    registers.enter(use);
    if (row.flags & isa::kUpdate) in.ops = 2;
    in.serializes = row.opcode == Opcode::Lwarx || row.opcode == Opcode::Stwcx;
}

void describe_branch(Instruction& in, Opcode opcode, uint32_t word) {
    Registers registers(in);
    in.unit = Unit::Branch;
    in.branch = true;
    const unsigned bo = isa::rd(word);
    if (opcode != Opcode::B) {
        in.conditional = (bo & 20) != 20;
        if (!(bo & 4) || opcode == Opcode::Bcctr) registers.read(kCounter);
        if (!(bo & 4) && opcode != Opcode::Bcctr) registers.write(kCounter);
    }
    in.indirect = opcode == Opcode::Bclr || opcode == Opcode::Bcctr;
    if (opcode == Opcode::Bclr) registers.read(kLink);
    if (isa::lk(word)) registers.write(kLink);
}

void describe_unit(Instruction& in, const isa::Instruction& row) {
    if ((row.flags & isa::kConditionLogic) || row.opcode == Opcode::Mcrf) in.unit = Unit::Branch;
    switch (row.opcode) {
        case Opcode::Mulli:
        case Opcode::Mullw:
        case Opcode::Mulhw:
        case Opcode::Mulhwu:
            in.unit = Unit::Multiple;
            in.latency = kMultiplyLatency;
            break;
        case Opcode::Divw:
        case Opcode::Divwu:
            in.unit = Unit::Multiple;
            in.latency = in.occupancy = kDivideLatency;
            in.divides = true;
            break;
        case Opcode::Fmul:
        case Opcode::Fmadd:
        case Opcode::Fmsub:
        case Opcode::Fnmadd:
        case Opcode::Fnmsub:
            in.latency = kDoubleMultiplyLatency;
            break;
        case Opcode::Fdivs:
            in.latency = in.occupancy = kSingleDivideLatency;
            break;
        case Opcode::Fdiv:
            in.latency = in.occupancy = kDoubleDivideLatency;
            break;
        default:
            break;
    }
}

// Moves to and from special registers but LR, CTR and XER are executed alone.
void describe_move(Instruction& in, Opcode opcode, uint32_t word) {
    constexpr unsigned kXer = 1, kLr = 8, kCtr = 9;
    Registers registers(in);
    const unsigned number = isa::spr(word);
    const bool plain = number == kXer || number == kLr || number == kCtr;
    if (!plain || (opcode != Opcode::Mfspr && opcode != Opcode::Mtspr)) {
        in.serializes = true;
        return;
    }
    const uint8_t reg = number == kLr ? kLink : number == kCtr ? kCounter : kCarry;
    if (opcode == Opcode::Mfspr)
        registers.read(reg);
    else
        registers.write(reg);
}

bool serializes(Opcode opcode) {
    switch (opcode) {
        case Opcode::Sync:
        case Opcode::Mbar:
        case Opcode::Isync:
        case Opcode::Tlbsync:
        case Opcode::Mfmsr:
        case Opcode::Mtfsf:
        case Opcode::Mtfsfi:
        case Opcode::Mtfsb0:
        case Opcode::Mtfsb1:
        case Opcode::Mffs:
        case Opcode::Mcrfs:
        case Opcode::Mcrxr:
            return true;
        default:
            return false;
    }
}

}  // namespace

Instruction describe(uint32_t word) {
    const isa::Instruction& row = isa::describe(isa::decode(word));
    const isa::RegisterUse use = isa::register_use(row, word);
    Instruction in;
    in.reads_cr = as_mask(use.fields_read);
    in.writes_cr = as_mask(use.fields_written);
    if (row.flags & (isa::kLoad | isa::kStore)) {
        describe_memory(in, row, word, use);
        return in;
    }
    if (row.flags & isa::kBranch) {
        describe_branch(in, row.opcode, word);
        return in;
    }
    if (row.flags & isa::kFloat) {
        in.unit = Unit::Float;
        in.latency = kFloatLatency;
    }
    describe_unit(in, row);
    Registers registers(in);
    registers.enter(use);
    if (row.flags & isa::kReadsCarry) registers.read(kCarry);
    if (row.flags & isa::kWritesCarry) registers.write(kCarry);
    switch (row.opcode) {
        case Opcode::Mfspr:
        case Opcode::Mtspr:
        case Opcode::Mftb:
        case Opcode::Mfpmr:
        case Opcode::Mtpmr:
            describe_move(in, row.opcode, word);
            break;
        default:
            // What ends a block changes the context of what follows it.
            in.refetches = isa::ends_block(row, word);
            in.serializes = in.refetches || serializes(row.opcode);
            in.drains = row.opcode == Opcode::Sync || row.opcode == Opcode::Mbar;
    }
    return in;
}

}  // namespace perfvisor::core::timing
