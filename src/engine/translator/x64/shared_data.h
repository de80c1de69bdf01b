// SPDX-License-Identifier: GPL-2.0-or-later
// Data that translated code and the engine share, in reach of the code.
#pragma once

#include <array>
#include <cstdint>

namespace perfvisor::engine::translator::x64 {

// A program counter that indirect branches find without help: key is pc with SharedData::jump_key
// above it.
struct Jump {
    static constexpr uint64_t kNone = ~uint64_t{0};
    uint64_t key = kNone;
    const uint8_t* code = nullptr;
};

constexpr unsigned kJumps = 4096;  // direct mapped by the low bits of the word address
constexpr unsigned kConstants = 8192;

struct SharedData {
    // Loads, stores, branches, taken branches that the totals do not have yet. 32 bits are enough
    // for as long as translated code runs at a time (Translator::kLongestRun).
    alignas(16) std::array<uint32_t, 4> counts{};
    // Bits 32 and up of a Jump's key at present: address context of fetches and modes.
    uint64_t jump_key = 0;
    alignas(64) std::array<Jump, kJumps> jumps{};
    // What blocks add to `counts`.
    alignas(16) std::array<std::array<uint32_t, 4>, kConstants> constants{};
};

inline unsigned jump_index(uint64_t pc) {
    return static_cast<unsigned>(pc >> 2) & (kJumps - 1);
}

}  // namespace perfvisor::engine::translator::x64
