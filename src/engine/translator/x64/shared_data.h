// SPDX-License-Identifier: GPL-2.0-or-later
// Data that translated code and the engine share, in reach of the code.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/state.h"
#include "engine/translator/model_block.h"

namespace perfvisor::engine::translator::x64 {

constexpr unsigned kHeats = 16384;

// What blocks add to the counts, up to these values at a time.
struct Steps {
    static constexpr unsigned kLoads = 32, kStores = 32, kBranches = 8, kTaken = 2;
    using Step = std::array<uint32_t, 4>;
    std::array<Step, size_t{kLoads} * kStores * kBranches * kTaken> steps;

    Steps() {
        size_t n = 0;
        for (uint32_t loads = 0; loads < kLoads; ++loads)
            for (uint32_t stores = 0; stores < kStores; ++stores)
                for (uint32_t branches = 0; branches < kBranches; ++branches)
                    for (uint32_t taken = 0; taken < kTaken; ++taken)
                        steps[n++] = {loads, stores, branches, taken};
    }
    static bool holds(uint32_t loads, uint32_t stores, uint32_t branches, uint32_t taken) {
        return loads < kLoads && stores < kStores && branches < kBranches && taken < kTaken;
    }
    const Step& get(uint32_t loads, uint32_t stores, uint32_t branches, uint32_t taken) const {
        return steps[((loads * kStores + stores) * kBranches + branches) * kTaken + taken];
    }
};

struct SharedData {
    static constexpr uint32_t kMxcsr = 0x1f80, kMxcsrPrecision = 0x20;

    // Loads, stores, branches, taken branches that the totals do not have yet. 32 bits are enough
    // for as long as translated code runs at a time (Translator::kLongestRun).
    alignas(16) std::array<uint32_t, 4> counts{};
    // What a C++ function said last, where code left because of it.
    uint32_t status = 0;
    // FetchMap's table of the present mode.
    const uint32_t* fetches = nullptr;
    // Micro-ops beyond one an instruction that the timing model does not have yet.
    int64_t more_ops = 0;
    // The last floating-point instruction whose FR, FI and FPRF are not in the FPSCR yet: its
    // opcode (0: none), and its operands a, c, b. A comparison after it whose FPCC is not there: 1
    // less, 2 equal, 3 greater (0: none).
    struct {
        uint32_t opcode = 0;
        uint32_t comparison = 0;
        std::array<uint64_t, 3> operands{};
        // MXCSR while C++ runs. Its precision flag: some result was inexact.
        uint32_t mxcsr = kMxcsr;
    } float_status;

    // How often plain blocks still run before a trace is made of them; several may share a place.
    std::array<int32_t, kHeats> heat{};
    // Condition fields by nibble (core::ConditionRegister::encode).
    std::array<uint64_t, 16> condition_fields = [] {
        std::array<uint64_t, 16> fields{};
        for (unsigned n = 0; n < 16; ++n)
            fields[n] = core::ConditionRegister::encode(n);
        return fields;
    }();
    alignas(16) Steps steps;
    Written written;
};

inline unsigned heat_index(uint64_t physical) {
    return static_cast<unsigned>(physical >> 2 ^ physical >> 16) & (kHeats - 1);
}

// Behind it, in reach of the code too: for each page with code an entry a word, 0 or the place of
// the block that begins there, in bytes from the first byte of all code. What is at that first byte
// is for those that there is no block for. A page's number (CodePage) is the place of its entries.
constexpr uint32_t kCodePages = 16384;
constexpr size_t kEntriesOffset = (sizeof(SharedData) + 4095) & ~size_t{4095};
constexpr size_t kDataBytes = kEntriesOffset + size_t{kCodePages} * 4096;
constexpr uint32_t kNoCodePage = 0x7fffffff;  // no page's number

// Where the displacement of the call is that an edge's stub is.
constexpr size_t kStubTarget = 1;

}  // namespace perfvisor::engine::translator::x64
