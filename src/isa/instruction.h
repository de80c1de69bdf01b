// SPDX-License-Identifier: GPL-2.0-or-later
// The instruction set as data: one table (instructions.inc) describes every instruction; the
// decoder, the engines' dispatch and the disassembler are made from it.
#pragma once

#include <cstdint>
#include <string>

namespace perfvisor::isa {

// What the layers above need to know of an instruction without executing it.
enum Flag : uint32_t {
    kLoad = 1u << 0,         // Counts as load micro-op(s).
    kStore = 1u << 1,        // Counts as store micro-op(s).
    kBranch = 1u << 2,       // b, bc, bclr, bcctr and their forms: a branch to the PM.
    kPrivileged = 1u << 3,   // Privileged-instruction program interrupt when MSR[PR]=1.
    kFloat = 1u << 4,        // FP-unavailable interrupt when MSR[FP]=0.
    kEndsBlock = 1u << 5,    // A translation block ends after it: control flow, context
                             // synchronisation, changes of MSR, PID, TLB, timers or PM registers.
    kReadsTotals = 1u << 6,  // Reads state derived from the event totals or the time base, so the
                             // engine must bring totals up to date before it executes.
    kMultiple = 1u << 7,     // lmw/stmw, string: one micro-op per word transferred.
    kByteReverse = 1u << 8,
    kUpdate = 1u << 9,       // A load or store that leaves its address in rA.
    kReadsCarry = 1u << 10,  // XER[CA]
    kWritesCarry = 1u << 11,
    kConditionLogic = 1u << 12,  // crand and the others: crbD of crbA and crbB
};

// Categories of the Power ISA, to say which core has an instruction.
enum class Category : uint8_t {
    Base,              // B, E: base and embedded
    FloatingPoint,     // FP, FP.R
    Sixty4Bit,         // 64
    PerfMonitor,       // E.PM
    ExternalPid,       // E.PD
    ProcessorControl,  // E.PC: msgsnd, msgclr
    EnhancedDebug,     // E.ED: rfdi
    Decorated,         // DS
    Wait,              // WT
    CacheLocking,      // E.CL (ECL)
    MoveAssist,        // MA: lswi, lswx, stswi, stswx; the e500 family leaves them to software
    Hypervisor,        // E.HV
    Spe,               // SP and its floating point
};

enum class Opcode : uint16_t {
    Invalid,
#define INST(name, mnemonic, pattern, category, flags) name,
#include "isa/instructions.inc"
#undef INST
    Count,
};

struct Instruction {
    Opcode opcode;
    const char* mnemonic;  // Without the "." of the record form and the "o" of the overflow form.
    const char* pattern;   // 32 fields, most significant first, as in instructions.inc.
    uint32_t mask, match;  // word & mask == match
    Category category;
    uint32_t flags;
};

// The row of an opcode; Opcode::Invalid has a row too, with mask 0 and mnemonic ".long".
const Instruction& describe(Opcode opcode);

// Decodes one instruction word by the whole table; Opcode::Invalid where nothing matches.
// Categories are not looked at: the caller asks the core model (core/model.h) for those.
Opcode decode(uint32_t word);

// Whether a block of decoded code ends after the instruction: its kEndsBlock, save that an mtspr
// of a register that changes nothing but itself (LR, CTR, XER, SPRGn, SRRn, MASn) does not end one.
bool ends_block(const Instruction& instruction, uint32_t word);
// The same for kReadsTotals: such an mtspr looks at no total, and an mfspr only for registers that
// count time.
bool reads_totals(const Instruction& instruction, uint32_t word);

// "addi r3,r1,8": for lockstep reports and the monitor. `pc` is for branch targets.
std::string disassemble(uint32_t word, uint64_t pc);

// Fields by the manual's names; the word is in host order, bit 0 the most significant.
constexpr unsigned rd(uint32_t w) {
    return (w >> 21) & 31;
}  // rD, rS, frD, frS, TO, BO
constexpr unsigned ra(uint32_t w) {
    return (w >> 16) & 31;
}  // rA, frA, BI
constexpr unsigned rb(uint32_t w) {
    return (w >> 11) & 31;
}  // rB, frB, SH, NB
constexpr unsigned rc_field(uint32_t w) {
    return (w >> 6) & 31;
}  // frC, MB, BC of isel
constexpr unsigned me(uint32_t w) {
    return (w >> 1) & 31;
}
constexpr int32_t si(uint32_t w) {
    return static_cast<int16_t>(w & 0xffff);
}
constexpr uint32_t ui(uint32_t w) {
    return w & 0xffff;
}
constexpr bool record(uint32_t w) {
    return w & 1;
}  // Rc
constexpr bool overflow_form(uint32_t w) {
    return w & 0x400;
}  // OE
constexpr unsigned crfd(uint32_t w) {
    return (w >> 23) & 7;
}
constexpr unsigned crfs(uint32_t w) {
    return (w >> 18) & 7;
}
constexpr unsigned crm(uint32_t w) {
    return (w >> 12) & 0xff;
}
constexpr int32_t li(uint32_t w) {
    return static_cast<int32_t>((w & 0x03fffffc) << 6) >> 6;
}
constexpr int32_t bd(uint32_t w) {
    return static_cast<int16_t>(w & 0xfffc);
}
constexpr bool aa(uint32_t w) {
    return w & 2;
}
constexpr bool lk(uint32_t w) {
    return w & 1;
}
// SPR, PMR, TBR and DCR numbers have their two 5-bit halves swapped.
constexpr unsigned spr(uint32_t w) {
    return ((w >> 16) & 31) | ((w >> 6) & 0x3e0);
}

}  // namespace perfvisor::isa
