// SPDX-License-Identifier: GPL-2.0-or-later
// Which engines there are.
#include "engine/engine.h"

#include "engine/interpreter/interpreter.h"
#ifdef PERFVISOR_TRANSLATOR
#include "engine/lockstep/lockstep.h"
#include "engine/translator/translator.h"
#endif

namespace perfvisor::engine {

#ifdef PERFVISOR_TRANSLATOR

std::optional<std::string> translator_missing() {
    return translator::Translator::missing();
}

Result<std::unique_ptr<Engine>> make_engine(EngineKind kind, core::Core& core,
                                            const Tuning& tuning) {
    switch (kind) {
        case EngineKind::Translator:
            return translator::Translator::create(core, tuning);
        case EngineKind::Lockstep:
            return lockstep::Lockstep::create(core, tuning);
        default:
            return std::make_unique<interpreter::Interpreter>(core);
    }
}

#else

std::optional<std::string> translator_missing() {
    return "the translator emits x86-64 code, and this host's processor is another";
}

Result<std::unique_ptr<Engine>> make_engine(EngineKind kind, core::Core& core, const Tuning&) {
    if (kind != EngineKind::Interpreter) return fail("{}", *translator_missing());
    return std::make_unique<interpreter::Interpreter>(core);
}

#endif

}  // namespace perfvisor::engine
