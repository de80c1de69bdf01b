// SPDX-License-Identifier: GPL-2.0-or-later
// The seam between a core and whatever executes it. Nothing above knows which engine runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "core/core.h"

namespace perfvisor::engine {

enum class Stop : uint8_t {
    Budget,      // exactly the instructions allowed were executed
    Attention,   // CpuState::attention is not 0
    Breakpoint,  // pc is where Core::breakpoints() wants to stop; asked again it stops there again
    Mmio,        // Core::mmio_request() waits for an answer; pc is at the instruction
    Failed,      // the engine found itself wrong: failure() says how. It executes nothing more
};

class Engine {
  public:
    virtual ~Engine() = default;

    // Executes at most `instructions` (1 or more) guest instructions from state.pc on. Synchronous
    // exceptions are delivered inside and execution goes on in the handler. When it returns, pc,
    // all registers and all totals are exact at an instruction boundary, and no more than
    // `instructions` were completed. An instruction that ends in an interrupt other than sc or a
    // trap is not completed and not counted; it still uses up one unit of the budget, so that an
    // endless storm of faults comes back too.
    virtual Stop run(uint64_t instructions) = 0;

    // Drops everything decoded or translated (reset, restored memory).
    virtual void flush() = 0;

    virtual const char* name() const = 0;

    // After Stop::Failed: what happened, in one or more lines.
    virtual std::string failure() const { return {}; }
};

enum class EngineKind : uint8_t {
    Interpreter,
    Translator,
    Lockstep,  // both, compared with each other (engine/lockstep/lockstep.h)
};

// What may be chosen of an engine that translates.
struct Tuning {
    // For translated code, bytes; rounded up to what a few of the longest blocks need.
    size_t code_bytes = size_t{32} << 20;
    // How often a block is interpreted before it is worth translating.
    unsigned patience = 2;
    // How often a translated block runs before a trace is made from there, 1 or more.
    unsigned trace_after = 4000;
    // How many instructions a process runs before its pages are mapped for the host's MMU to find.
    uint64_t window_after = 2'000'000;
};

// The engine of this kind for the core. Fails where this host has none; every host has the
// interpreter.
Result<std::unique_ptr<Engine>> make_engine(EngineKind kind, core::Core& core,
                                            const Tuning& tuning = {});

// Why this host has no translator; nothing where it has one.
std::optional<std::string> translator_missing();

}  // namespace perfvisor::engine
