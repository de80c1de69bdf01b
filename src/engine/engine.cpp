// SPDX-License-Identifier: GPL-2.0-or-later
// Which engines there are.
#include "engine/engine.h"

#include "engine/interpreter/interpreter.h"

namespace perfvisor::engine {

std::unique_ptr<Engine> make_engine(EngineKind kind, core::Core& core) {
    switch (kind) {
        case EngineKind::Interpreter:
            return std::make_unique<interpreter::Interpreter>(core);
        default:
            return nullptr;
    }
}

}  // namespace perfvisor::engine
