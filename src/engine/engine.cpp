// SPDX-License-Identifier: GPL-2.0-or-later
// Which engines there are.
#include "engine/engine.h"

#include "engine/interpreter/interpreter.h"
#ifdef PERFVISOR_TRANSLATOR
#include "engine/lockstep/lockstep.h"
#include "engine/translator/translator.h"
#endif

namespace perfvisor::engine {

std::unique_ptr<Engine> make_engine(EngineKind kind, core::Core& core) {
    switch (kind) {
        case EngineKind::Interpreter:
            return std::make_unique<interpreter::Interpreter>(core);
        case EngineKind::Translator:
#ifdef PERFVISOR_TRANSLATOR
            if (auto made = translator::Translator::create(core)) return std::move(*made);
#endif
            return nullptr;
        case EngineKind::Lockstep:
#ifdef PERFVISOR_TRANSLATOR
            if (auto made = lockstep::Lockstep::create(core)) return std::move(*made);
#endif
            return nullptr;
        default:
            return nullptr;
    }
}

}  // namespace perfvisor::engine
