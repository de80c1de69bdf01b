// SPDX-License-Identifier: GPL-2.0-or-later
// What instructions read and write. One not named here may do anything.
#include "engine/translator/midend/effects.h"

namespace perfvisor::engine::translator {
namespace {

using isa::Opcode;

uint32_t bit(unsigned reg) {
    return 1u << reg;
}
// rA|0
uint32_t base(unsigned reg) {
    return reg == 0 ? 0 : bit(reg);
}
uint8_t field(unsigned n) {
    return static_cast<uint8_t>(1u << n);
}

enum class Kind : uint8_t {
    Unknown,
    Nothing,    // ordering, hints
    ToDFromA0,  // addi, addis
    ToDFromA,   // mulli, subfic, neg
    ToDFromAB,  // add
    ToAFromD,   // ori, rlwinm, extsb
    ToAFromDA,  // rlwimi
    ToAFromDB,  // and, slw
    CompareA,
    CompareAB,
    Select,
    Load,
    Store,
    StoreConditional,
    LoadMultiple,
    StoreMultiple,
    FloatLoad,
    FloatStore,
    Float,
    FloatCompare,
    Branch,
    FromSpr,
    ToSpr,
    InterruptEnable,
};

struct Shape {
    Kind kind = Kind::Unknown;
    bool reads_carry = false, writes_carry = false;
    bool records = false;  // always, as andi.
    bool indexed = false, update = false;
};

Shape shape_of(Opcode opcode) {
    constexpr bool kReads = true, kWrites = true, kRecords = true, kIndexed = true, kUpdate = true;
    switch (opcode) {
        case Opcode::Isync:
        case Opcode::Mbar:
        case Opcode::Sync:
        case Opcode::Dcbt:
        case Opcode::Dcbtst:
        case Opcode::Icbt:
        case Opcode::Dcba:
        case Opcode::Dcbal:
            return {Kind::Nothing};
        case Opcode::Addi:
        case Opcode::Addis:
            return {Kind::ToDFromA0};
        case Opcode::Mulli:
        case Opcode::Neg:
            return {Kind::ToDFromA};
        case Opcode::Addic:
        case Opcode::Subfic:
            return {Kind::ToDFromA, false, kWrites};
        case Opcode::AddicRc:
            return {Kind::ToDFromA, false, kWrites, kRecords};
        case Opcode::Addme:
        case Opcode::Addze:
        case Opcode::Subfme:
        case Opcode::Subfze:
            return {Kind::ToDFromA, kReads, kWrites};
        case Opcode::Add:
        case Opcode::Subf:
        case Opcode::Mullw:
        case Opcode::Mulhw:
        case Opcode::Mulhwu:
        case Opcode::Divw:
        case Opcode::Divwu:
            return {Kind::ToDFromAB};
        case Opcode::Addc:
        case Opcode::Subfc:
            return {Kind::ToDFromAB, false, kWrites};
        case Opcode::Adde:
        case Opcode::Subfe:
            return {Kind::ToDFromAB, kReads, kWrites};
        case Opcode::AndiRc:
        case Opcode::AndisRc:
            return {Kind::ToAFromD, false, false, kRecords};
        case Opcode::Ori:
        case Opcode::Oris:
        case Opcode::Xori:
        case Opcode::Xoris:
        case Opcode::Extsb:
        case Opcode::Extsh:
        case Opcode::Cntlzw:
        case Opcode::Rlwinm:
            return {Kind::ToAFromD};
        case Opcode::Srawi:
            return {Kind::ToAFromD, false, kWrites};
        case Opcode::Rlwimi:
            return {Kind::ToAFromDA};
        case Opcode::And:
        case Opcode::Andc:
        case Opcode::Or:
        case Opcode::Orc:
        case Opcode::Xor:
        case Opcode::Nand:
        case Opcode::Nor:
        case Opcode::Eqv:
        case Opcode::Slw:
        case Opcode::Srw:
        case Opcode::Rlwnm:
            return {Kind::ToAFromDB};
        case Opcode::Sraw:
            return {Kind::ToAFromDB, false, kWrites};
        case Opcode::Cmpi:
        case Opcode::Cmpli:
            return {Kind::CompareA};
        case Opcode::Cmp:
        case Opcode::Cmpl:
            return {Kind::CompareAB};
        case Opcode::Isel:
            return {Kind::Select};
        case Opcode::Lbz:
        case Opcode::Lhz:
        case Opcode::Lha:
        case Opcode::Lwz:
            return {Kind::Load};
        case Opcode::Lbzu:
        case Opcode::Lhzu:
        case Opcode::Lhau:
        case Opcode::Lwzu:
            return {Kind::Load, false, false, false, false, kUpdate};
        case Opcode::Lbzx:
        case Opcode::Lhzx:
        case Opcode::Lhax:
        case Opcode::Lwzx:
        case Opcode::Lhbrx:
        case Opcode::Lwbrx:
        case Opcode::Lwarx:
            return {Kind::Load, false, false, false, kIndexed};
        case Opcode::Lbzux:
        case Opcode::Lhzux:
        case Opcode::Lhaux:
        case Opcode::Lwzux:
            return {Kind::Load, false, false, false, kIndexed, kUpdate};
        case Opcode::Stb:
        case Opcode::Sth:
        case Opcode::Stw:
            return {Kind::Store};
        case Opcode::Stbu:
        case Opcode::Sthu:
        case Opcode::Stwu:
            return {Kind::Store, false, false, false, false, kUpdate};
        case Opcode::Stbx:
        case Opcode::Sthx:
        case Opcode::Stwx:
        case Opcode::Sthbrx:
        case Opcode::Stwbrx:
            return {Kind::Store, false, false, false, kIndexed};
        case Opcode::Stwcx:
            return {Kind::StoreConditional, false, false, false, kIndexed};
        case Opcode::Stbux:
        case Opcode::Sthux:
        case Opcode::Stwux:
            return {Kind::Store, false, false, false, kIndexed, kUpdate};
        case Opcode::Lmw:
            return {Kind::LoadMultiple};
        case Opcode::Stmw:
            return {Kind::StoreMultiple};
        case Opcode::Dcbz:
        case Opcode::Dcbzl:
            return {Kind::Store, false, false, false, kIndexed};
        case Opcode::Wrtee:
        case Opcode::Wrteei:
            return {Kind::InterruptEnable};
        case Opcode::Lfs:
        case Opcode::Lfd:
            return {Kind::FloatLoad};
        case Opcode::Lfsu:
        case Opcode::Lfdu:
            return {Kind::FloatLoad, false, false, false, false, kUpdate};
        case Opcode::Lfsx:
        case Opcode::Lfdx:
            return {Kind::FloatLoad, false, false, false, kIndexed};
        case Opcode::Lfsux:
        case Opcode::Lfdux:
            return {Kind::FloatLoad, false, false, false, kIndexed, kUpdate};
        case Opcode::Stfs:
        case Opcode::Stfd:
            return {Kind::FloatStore};
        case Opcode::Stfsu:
        case Opcode::Stfdu:
            return {Kind::FloatStore, false, false, false, false, kUpdate};
        case Opcode::Stfsx:
        case Opcode::Stfdx:
        case Opcode::Stfiwx:
            return {Kind::FloatStore, false, false, false, kIndexed};
        case Opcode::Stfsux:
        case Opcode::Stfdux:
            return {Kind::FloatStore, false, false, false, kIndexed, kUpdate};
        case Opcode::Fadd:
        case Opcode::Fadds:
        case Opcode::Fsub:
        case Opcode::Fsubs:
        case Opcode::Fmul:
        case Opcode::Fmuls:
        case Opcode::Fdiv:
        case Opcode::Fdivs:
        case Opcode::Fmadd:
        case Opcode::Fmadds:
        case Opcode::Fmsub:
        case Opcode::Fmsubs:
        case Opcode::Fnmadd:
        case Opcode::Fnmadds:
        case Opcode::Fnmsub:
        case Opcode::Fnmsubs:
        case Opcode::Frsp:
        case Opcode::Fmr:
        case Opcode::Fneg:
        case Opcode::Fabs:
        case Opcode::Fnabs:
        case Opcode::Fsel:
        case Opcode::Fctiw:
        case Opcode::Fctiwz:
            return {Kind::Float};
        case Opcode::Fcmpu:
        case Opcode::Fcmpo:
            return {Kind::FloatCompare};
        case Opcode::B:
        case Opcode::Bc:
        case Opcode::Bclr:
        case Opcode::Bcctr:
            return {Kind::Branch};
        case Opcode::Mfspr:
            return {Kind::FromSpr};
        case Opcode::Mtspr:
            return {Kind::ToSpr};
        default:
            return {};
    }
}

bool is_link_or_count(uint32_t word) {
    constexpr unsigned kLr = 8, kCtr = 9;
    return isa::spr(word) == kLr || isa::spr(word) == kCtr;
}

}  // namespace

Effects effects_of(const GuestInstruction& in) {
    const uint32_t w = in.word;
    const unsigned d = isa::rd(w), a = isa::ra(w), b = isa::rb(w);
    const Shape is = shape_of(in.opcode);
    Effects effects;
    if (in.refused || changes_summary_overflow(in.opcode, w)) return Effects::unknown();
    effects.reads_carry = is.reads_carry;
    effects.writes_carry = is.writes_carry;
    const bool immediate_only = in.opcode == Opcode::Addic || in.opcode == Opcode::Subfic ||
                                in.opcode == Opcode::Mulli || in.opcode == Opcode::Ori ||
                                in.opcode == Opcode::Oris || in.opcode == Opcode::Xori ||
                                in.opcode == Opcode::Xoris;
    const auto record = [&] {
        if (is.records || (isa::record(w) && !immediate_only)) effects.fields_written = field(0);
    };
    // The address of an access; with update rA is any register.
    const auto address = [&] {
        effects.reads |= is.update ? bit(a) : base(a);
        if (is.indexed) effects.reads |= bit(b);
        if (is.update) effects.writes |= bit(a);
        effects.may_leave = true;
    };
    switch (is.kind) {
        case Kind::Unknown:
            return Effects::unknown();
        case Kind::Nothing:
            break;
        case Kind::ToDFromA0:
            effects.reads = base(a);
            effects.writes = bit(d);
            break;
        case Kind::ToDFromA:
            effects.reads = bit(a);
            effects.writes = bit(d);
            record();
            break;
        case Kind::ToDFromAB:
            effects.reads = bit(a) | bit(b);
            effects.writes = bit(d);
            record();
            break;
        case Kind::ToAFromD:
            effects.reads = bit(d);
            effects.writes = bit(a);
            record();
            break;
        case Kind::ToAFromDA:
            effects.reads = bit(d) | bit(a);
            effects.writes = bit(a);
            record();
            break;
        case Kind::ToAFromDB:
            effects.reads = bit(d) | bit(b);
            effects.writes = bit(a);
            record();
            break;
        case Kind::CompareAB:
            effects.reads = bit(b);
            [[fallthrough]];
        case Kind::CompareA:
            effects.reads |= bit(a);
            effects.fields_written = field(isa::crfd(w));
            break;
        case Kind::Select:
            effects.reads = base(a) | bit(b);
            effects.writes = bit(d);
            effects.fields_read = field(isa::rc_field(w) / 4);
            break;
        case Kind::Load:
            address();
            effects.writes |= bit(d);
            break;
        case Kind::StoreConditional:
            effects.fields_written = field(0);
            [[fallthrough]];
        case Kind::Store:
            address();
            effects.reads |= bit(d);
            break;
        case Kind::LoadMultiple:
            address();
            effects.writes |= ~0u << d;
            break;
        case Kind::StoreMultiple:
            address();
            effects.reads |= ~0u << d;
            break;
        case Kind::FloatLoad:
        case Kind::FloatStore:
            address();
            break;
        case Kind::Float:
            if (isa::record(w)) return Effects::unknown();
            effects.may_leave = true;
            break;
        case Kind::FloatCompare:
            effects.may_leave = true;
            effects.fields_written = field(isa::crfd(w));
            break;
        case Kind::Branch:
            effects.may_leave = true;
            if (in.opcode != Opcode::B) effects.fields_read = field(a / 4);
            break;
        case Kind::FromSpr:
            if (!is_link_or_count(w)) return Effects::unknown();
            effects.writes = bit(d);
            break;
        case Kind::InterruptEnable:
            effects.reads = bit(d);
            effects.may_leave = true;
            break;
        case Kind::ToSpr:
            if (!is_link_or_count(w)) return Effects::unknown();
            effects.reads = bit(d);
            break;
    }
    return effects;
}

}  // namespace perfvisor::engine::translator
