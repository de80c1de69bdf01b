// SPDX-License-Identifier: GPL-2.0-or-later
// What the timing model knows of an instruction from its word alone: unit, latency, registers,
// and where its address comes from.
#pragma once

#include <array>
#include <cstdint>

#include "isa/instruction.h"

namespace perfvisor::core::timing {

enum class Unit : uint8_t { Branch, Simple, Multiple, LoadStore, Float };

// What an instruction does with memory, as the caches see it.
enum class MemoryUse : uint8_t {
    None,
    Load,
    Store,
    Touch,           // dcbt
    TouchForStore,   // dcbtst
    Allocate,        // dcba, dcbz: a line without its old contents
    Clean,           // dcbst
    Flush,           // dcbf, dcbi
    InvalidateCode,  // icbi
    LockData,        // dcbtls, dcbtstls
    UnlockData,      // dcblc
    LockCode,        // icbtls
    UnlockCode,      // icblc
};

// Registers by number: general, floating, and those that are waited for one by one.
constexpr uint8_t kGpr = 0, kFpr = 32, kCarry = 64, kLink = 65, kCounter = 66, kNoRegister = 67;
constexpr unsigned kRegisters = 68;

struct Instruction {
    Unit unit = Unit::Simple;
    uint8_t latency = 1;      // cycles from the start of execution to the result
    uint8_t occupancy = 1;    // cycles before the unit starts the next one
    uint8_t ops = 1;          // micro-ops; 0: a string of XER's length
    bool divides = false;     // by the divider of its unit, beside which others go on
    bool serializes = false;  // is executed when all before it are completed
    bool drains = false;      // ... and all stores are in the cache (sync, mbar)
    bool refetches = false;   // what follows is fetched when it is completed
    bool branch = false;
    bool conditional = false;  // a branch that may not be taken
    bool indirect = false;     // a branch to LR or CTR
    MemoryUse use = MemoryUse::None;
    bool external = false;                            // an access in the contexts of EPLC and EPSC
    bool to_l2 = false;                               // of locks: CT says the L2
    uint8_t base = kNoRegister, index = kNoRegister;  // of the address
    uint8_t size = 0;                                 // bytes of an access, of one of a multiple
    uint8_t first = kNoRegister;  // of a multiple: its registers go on to the last
    int32_t displacement = 0;
    std::array<uint8_t, 4> sources{kNoRegister, kNoRegister, kNoRegister, kNoRegister};
    std::array<uint8_t, 3> results{kNoRegister, kNoRegister, kNoRegister};
    uint8_t reads_cr = 0, writes_cr = 0;  // fields, CR0 the most significant bit
};

// For words that the core executes; what others give has no meaning.
Instruction describe(uint32_t word);

}  // namespace perfvisor::core::timing
