// SPDX-License-Identifier: GPL-2.0-or-later
// The program of a fuzzer's case: snippets, each a few instructions that mean something together.
#include <algorithm>
#include <array>

#include "fuzz_case.h"

namespace perfvisor::test {

using isa::Opcode;

namespace {

constexpr uint32_t kIsync = 0x4c00012c, kTlbwe = 0x7c0007a4, kTlbre = 0x7c000764;

constexpr uint32_t d_form(uint32_t primary, unsigned d, unsigned a, uint32_t immediate) {
    return primary << 26 | d << 21 | a << 16 | (immediate & 0xffff);
}
constexpr uint32_t x_form(unsigned d, unsigned a, unsigned b, unsigned extended) {
    return 31u << 26 | d << 21 | a << 16 | b << 11 | extended << 1;
}
constexpr uint32_t spr_form(unsigned reg, unsigned spr, unsigned extended) {
    return 31u << 26 | reg << 21 | (spr & 31) << 16 | (spr >> 5) << 11 | extended << 1;
}
constexpr uint32_t mtspr(unsigned spr, unsigned reg) {
    return spr_form(reg, spr, 467);
}
constexpr uint32_t mfspr(unsigned reg, unsigned spr) {
    return spr_form(reg, spr, 339);
}
constexpr uint32_t mtpmr(unsigned pmr, unsigned reg) {
    return spr_form(reg, pmr, 462);
}
constexpr uint32_t mfpmr(unsigned reg, unsigned pmr) {
    return spr_form(reg, pmr, 334);
}

}  // namespace

// ---- values ----

uint32_t Fuzzer::data_address() {
    switch (below(8)) {
        case 0:  // across a page's end
            return Guest::kData + 0x1000 * (1 + below(8)) - below(12);
        case 1:  // across memory's end, to devices
            return kMemory - below(40);
        case 2:
            return kMemory + below(0x100);
        default:
            return Guest::kData + below(0x8000);
    }
}

uint32_t Fuzzer::code_address() {
    return Guest::kCode + 4 * below(kCodeBytes / 4);
}

uint32_t Fuzzer::value() {
    switch (below(10)) {
        case 0:
            return random();
        case 1:
            return below(64);
        case 2:
            return 0u - below(64);
        case 3:
            return 0x80000000 + below(5) - 2;
        case 4:
            return code_address();
        case 5:
            return 0x400000 + data_address();  // little-endian, where that is mapped
        default:
            return data_address();
    }
}

uint64_t Fuzzer::real() {
    const uint64_t bits = uint64_t{random_()} << 32 | random_();
    switch (below(10)) {
        case 0:
            return bits;
        case 1:
            return bits & 0xfff0000000000000;
        case 2:  // near the bounds of single precision
            return (bits & 0x800fffffffffffff) | (one_in(2) ? 870 + bits % 30 : 1145 + bits % 16)
                                                     << 52;
        case 3:  // exact in single precision
            return (bits & 0x800fffffe0000000) | (1000 + bits % 40) << 52;
        case 4:  // near the bounds of double precision
            return (bits & 0x800fffffffffffff) | (one_in(2) ? bits % 60 : 2040 + bits % 8) << 52;
        default:
            return (bits & 0x800fffffffffffff) | (1015 + bits % 16) << 52;
    }
}

uint32_t Fuzzer::plausible_msr() {
    using namespace core::msr;
    uint32_t msr = kME | (one_in(3) ? 0 : kFP);
    msr |= random() & (kEE | kCE | kFE0 | kFE1 | kPMM | kRI);
    if (one_in(3)) msr |= kPR;
    if (one_in(6)) msr |= kDE;
    if (one_in(6)) msr |= kIS;
    if (one_in(6)) msr |= kDS;
    return msr;
}

// ---- pieces ----

void Fuzzer::add_li32(unsigned reg, uint32_t value) {
    add(d_form(15, reg, 0, value >> 16));
    add(d_form(24, reg, reg, value));
}

void Fuzzer::add_spr(unsigned spr, unsigned reg) {
    add(mtspr(spr, reg));
}

// A random word of this row, tamed so that not every branch leaves the program.
uint32_t Fuzzer::row_word(Opcode opcode) {
    const isa::Instruction& row = isa::describe(opcode);
    uint32_t word = row.match | (random() & ~row.mask);
    if (one_in(16)) return word;
    const bool has_displacement =
        (row.flags & (isa::kLoad | isa::kStore)) && row.pattern[31] == 'i';
    if (has_displacement) word = (word & 0xffff0000) | ((below(256) - 128) & 0xffff);
    if (opcode == Opcode::B) word = (word & 0xfc000001) | (below(64) << 2);
    if (opcode == Opcode::Bc) word = (word & 0xffff0001) | (((below(40) - 10) << 2) & 0xfffc);
    return word;
}

void Fuzzer::add_any() {
    if (one_in(40)) {
        add(random());
        return;
    }
    for (;;) {
        const auto opcode =
            static_cast<Opcode>(1 + below(static_cast<unsigned>(Opcode::Count) - 1));
        const isa::Instruction& row = isa::describe(opcode);
        if (row.category == isa::Category::Sixty4Bit && !one_in(50)) continue;
        if (row.category == isa::Category::MoveAssist && !one_in(20)) continue;
        switch (opcode) {  // those that lead away for good
            case Opcode::Wait:
            case Opcode::Mtmsr:
            case Opcode::Rfi:
            case Opcode::Rfci:
            case Opcode::Rfdi:
            case Opcode::Rfmci:
            case Opcode::Mtspr:
                if (!one_in(20)) continue;
                break;
            default:
                break;
        }
        add(row_word(opcode));
        return;
    }
}

void Fuzzer::add_ordinary() {
    for (;;) {
        const auto opcode =
            static_cast<Opcode>(1 + below(static_cast<unsigned>(Opcode::Count) - 1));
        const isa::Instruction& row = isa::describe(opcode);
        if ((row.flags & isa::kPrivileged) || opcode == Opcode::Wait || opcode == Opcode::Dnh ||
            !core::find_core_model("e500mc")->has(row.category))
            continue;
        if ((opcode == Opcode::Sc || row.category == isa::Category::MoveAssist) && !one_in(8))
            continue;
        add(row_word(opcode));
        return;
    }
}

// Accesses with a base that leads somewhere.
void Fuzzer::add_memory() {
    const unsigned base = 1 + below(31), index = below(32);
    add_li32(base, data_address());
    if (one_in(2)) add(d_form(14, index, 0, one_in(3) ? random() : below(64)));
    for (unsigned n = 1 + below(4); n > 0; --n) {
        const isa::Instruction* row;
        do
            row = &isa::describe(
                static_cast<Opcode>(1 + below(static_cast<unsigned>(Opcode::Count) - 1)));
        while (!(row->flags & (isa::kLoad | isa::kStore)) ||
               !core::find_core_model("e500mc")->has(row->category) ||
               ((row->flags & isa::kPrivileged) && !one_in(8)));
        uint32_t word = row->match | (random() & ~row->mask);
        word = (word & ~(31u << 16)) | base << 16;
        if (row->pattern[31] == 'i')
            word = (word & 0xffff0000) | ((below(64) - 32) & 0xffff);
        else if (one_in(2))
            word = (word & ~(31u << 11)) | index << 11;
        add((word & ~row->mask) | row->match);
    }
}

// A store to the program, near by or anywhere, and sometimes what the architecture asks for
// behind it.
void Fuzzer::add_self_change() {
    const unsigned at = 2 + below(14), with = 16 + below(16);
    const auto here = Guest::kCode + static_cast<uint32_t>(4 * words_.size());
    const uint32_t near = here + 4 * below(24);
    add_li32(at, one_in(3) ? code_address() : near);
    add_li32(with, one_in(3) ? row_word(Opcode::Addi)
                             : x_form(below(32), below(32), below(32), one_in(2) ? 266 : 444));
    switch (below(5)) {
        case 0:
            add(x_form(with, 0, at, 662));  // stwbrx
            break;
        case 1:
            add(d_form(44, with, at, 2));  // sth
            break;
        case 2:
            add(x_form(0, 0, at, 1014));  // dcbz
            break;
        case 3:
            add(d_form(47, 28 + below(4), at, 0));  // stmw
            break;
        default:
            add(d_form(36, with, at, 0));  // stw
    }
    if (one_in(2)) add(x_form(0, 0, at, 982));  // icbi
    if (one_in(2)) add(kIsync);
}

void Fuzzer::add_tlb() {
    const unsigned r = 2 + below(30);
    switch (below(8)) {
        case 0: {  // a whole entry
            const bool tlb1 = one_in(3);
            add_li32(r, (tlb1 ? 0x10000000 | (4 + below(8)) << 16 : below(4) << 16) | below(4));
            add(mtspr(624, r));
            add_li32(r, (one_in(6) ? 0 : 0x80000000) | below(4) << 16 | (one_in(8) ? 0x1000 : 0) |
                            (tlb1 ? (1 + below(3)) << 8 : 0x100));
            add(mtspr(625, r));
            const uint32_t page = (one_in(4) ? code_address() : data_address()) & ~0xfffu;
            add_li32(r, page | (one_in(16) ? 1 : 0));
            add(mtspr(626, r));
            add_li32(r, (page ^ below(4) << 12) | (one_in(4) ? random() & 0x3f : 0x3f));
            add(mtspr(627, r));
            if (one_in(2)) add_li32(r, 0), add(mtspr(944, r));
            add(kTlbwe);
            if (one_in(2)) add(kIsync);
            break;
        }
        case 1:  // tlbivax
            add_li32(r, (data_address() & ~0xfffu) | (random() & random() & 0xc));
            add(x_form(0, 0, r, 786));
            break;
        case 2:  // tlbilx
            add_li32(r, below(4) << 16);
            add(mtspr(630, r));
            add_li32(r, one_in(2) ? code_address() : data_address());
            add(x_form(one_in(2) ? 3 : below(2), 0, r, 18));
            break;
        case 3:  // tlbsx, tlbre
            add_li32(r, one_in(2) ? code_address() : data_address());
            add(x_form(0, 0, r, 914));
            if (one_in(2)) add(kTlbre);
            if (one_in(3)) add(kTlbwe);
            break;
        case 4:
        case 5:  // another process
            add(d_form(14, r, 0, below(4)));
            add(mtspr(48, r));
            if (one_in(2)) add(kIsync);
            break;
        case 6:
            add(d_form(14, r, 0, random() & 6));
            add(mtspr(1012, r));  // MMUCSR0
            break;
        default:  // an external PID access
            add_li32(r, (random() & 0xc0000000) | below(4));
            add(mtspr(one_in(2) ? 947 : 948, r));
            add_li32(r, data_address());
            add(x_form(below(32), 0, r, one_in(2) ? 31 : 159));  // lwepx, stwepx
    }
}

void Fuzzer::add_mode_change() {
    const unsigned r = 2 + below(30);
    switch (below(8)) {
        case 0:
        case 1:
            add_li32(r, plausible_msr());
            add(x_form(r, 0, 0, 146));  // mtmsr
            if (one_in(2)) add(kIsync);
            break;
        case 2: {  // rfi to a place near by
            const auto here = Guest::kCode + static_cast<uint32_t>(4 * words_.size());
            add_li32(r, here + 4 * (6 + below(8)));
            add(mtspr(26, r));
            add_li32(r, plausible_msr());
            add(mtspr(27, r));
            add(0x4c000064);
            break;
        }
        case 3:
            add(x_form(below(32), one_in(2) ? 16 : 0, 0, one_in(2) ? 163 : 131));  // wrtee[i]
            break;
        case 4:  // XER[SO]
            add_li32(r, one_in(2) ? 0 : random() & 0xe000007f);
            add(mtspr(1, r));
            break;
        case 5:
            add(x_form(below(8) << 2, 0, 0, 512));  // mcrxr
            break;
        case 6:
            add(x_form(below(32), below(32), below(32), 512 | 266) | below(2));  // addo[.]
            break;
        default:
            add(0x44000002);  // sc
    }
}

void Fuzzer::add_float() {
    const unsigned r = 2 + below(30);
    if (one_in(12)) {
        add(63u << 26 | below(32) << 21 | (one_in(2) ? 38u : 70u) << 1);  // mtfsb1, mtfsb0
        return;
    }
    if (one_in(16)) {
        add(63u << 26 | below(255) << 17 | below(32) << 11 | 711u << 1);  // mtfsf
        return;
    }
    if (one_in(5)) {  // a double or single from memory
        add_li32(r, data_address());
        add(d_form(one_in(2) ? 50 : 48, below(32), r, 8 * below(4)));
        return;
    }
    for (unsigned n = 1 + below(5); n > 0; --n) {
        const isa::Instruction* row;
        do
            row = &isa::describe(
                static_cast<Opcode>(1 + below(static_cast<unsigned>(Opcode::Count) - 1)));
        while (row->category != isa::Category::FloatingPoint);
        add(row->match | (random() & ~row->mask & ~(one_in(4) ? 0u : row->pattern[31] == '.')));
    }
}

void Fuzzer::add_debug() {
    const unsigned r = 2 + below(30);
    switch (below(4)) {
        case 0:
            add_li32(r, core::dbcr0::kIDM | (random() & random() & 0x0fcf8060));
            add(mtspr(308, r));
            break;
        case 1:
            add_li32(r, code_address());
            add(mtspr(312 + below(2), r));
            break;
        case 2:
            add_li32(r, data_address());
            add(mtspr(316 + below(2), r));
            break;
        default:
            add_li32(r, plausible_msr() | core::msr::kDE);
            add(x_form(r, 0, 0, 146));
    }
}

void Fuzzer::add_counter() {
    const unsigned r = 2 + below(30);
    switch (below(6)) {
        case 0:
            add_li32(r, 0x80000000 - below(300));
            add(mtpmr(16 + below(4), r));
            break;
        case 1:
            add(mfpmr(r, (one_in(2) ? 16 : 0) + below(4)));
            break;
        case 2:
            add(mfspr(r, 268 + below(2)));
            break;
        case 3:
            add(d_form(14, r, 0, 1 + below(400)));
            add(mtspr(22, r));
            break;
        case 4:
            add(mfspr(r, one_in(2) ? 22 : 336));
            break;
        default:
            add_li32(r, 0x40000000 | (random() & 0x20000000));
            add(mtpmr(400, r));
    }
}

// A short loop, executed often enough to be linked to itself.
void Fuzzer::add_loop() {
    const unsigned r = 2 + below(30);
    add(d_form(14, r, 0, 2 + below(40)));
    add(mtspr(9, r));
    const size_t start = words_.size();
    for (unsigned n = 1 + below(6); n > 0; --n) {
        if (one_in(4) && kind_ != FuzzKind::Anything)
            add_memory();
        else
            add_ordinary();
    }
    const auto back = static_cast<uint32_t>(4 * (start - words_.size()));
    add(0x42000000 | (back & 0xfffc));  // bdnz
}

void Fuzzer::add_branch() {
    const unsigned r = 2 + below(30);
    switch (below(5)) {
        case 0:
            add(0x48000001 | 4 * (2 + below(40)));  // bl
            break;
        case 1:
            add(0x4e800020);  // blr
            break;
        case 2:
            add_li32(r, code_address());
            add(mtspr(one_in(2) ? 9 : 8, r));
            add(one_in(2) ? 0x4e800420 | below(2) : 0x4e800020 | below(2));
            break;
        default:
            add(x_form(below(8) << 2, below(32), below(32), one_in(2) ? 0 : 32));  // cmp, cmpl
            add(16u << 26 | below(32) << 21 | below(32) << 16 | 4 * (2 + below(12)) | below(2));
    }
}

void Fuzzer::add_reservation() {
    const unsigned r = 2 + below(30);
    add_li32(r, data_address() & ~3u);
    add(x_form(below(32), 0, r, 20));  // lwarx
    for (unsigned n = below(4); n > 0; --n)
        add_ordinary();
    add(x_form(below(32), 0, r, 150) | 1);  // stwcx.
}

void Fuzzer::add_snippet(FuzzKind kind) {
    switch (kind) {
        case FuzzKind::Anything:
            return add_any();
        case FuzzKind::User:
            return add_ordinary();
        case FuzzKind::Memory:
            return add_memory();
        case FuzzKind::SelfChanging:
            return add_self_change();
        case FuzzKind::Paging:
            return add_tlb();
        case FuzzKind::Modes:
            return add_mode_change();
        case FuzzKind::Float:
            return add_float();
        case FuzzKind::Debug:
            return add_debug();
        default:
            return add_counter();
    }
}

void Fuzzer::make_program() {
    words_.clear();
    while (words_.size() < kCodeBytes / 4) {
        switch (below(12)) {
            case 0:
                add_loop();
                break;
            case 1:
                add_branch();
                break;
            case 2:
                add_memory();
                break;
            case 3:
                if (one_in(4)) add_reservation();
                break;
            case 4:  // some of everything
                add_snippet(static_cast<FuzzKind>(below(kFuzzKinds)));
                break;
            case 5:
            case 6:
            case 7:
                add_snippet(kind_);
                break;
            default:
                add_ordinary();
        }
    }
    words_.resize(kCodeBytes / 4);
    words_.back() = 0x48000000 | ((4u - kCodeBytes) & 0x03fffffc);  // b to the start
}

}  // namespace perfvisor::test
