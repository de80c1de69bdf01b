// SPDX-License-Identifier: GPL-2.0-or-later
// Branches (Power ISA 2.06 Book I, 2.4). Each is the last op of its block: c is the number of
// instructions up to it, so that 4*c is the offset of the instruction behind it.
#include "engine/interpreter/op.h"

namespace perfvisor::engine::interpreter {
namespace {

using core::Core;
using isa::Opcode;
using Word = uint32_t;

template <typename W>
[[gnu::always_inline]] inline void link(Core& core, const Op* op) {
    core.state.lr = static_cast<W>(core.state.pc + 4u * op->c);
}
template <typename W>
[[gnu::always_inline]] inline const Op* take(Core& core, W target) {
    core.state.pc = target;
    ++core.state.totals[core::Total::TakenBranches];
    return nullptr;
}
template <typename W>
[[gnu::always_inline]] inline W relative_target(const Core& core, const Op* op) {
    return static_cast<W>(core.state.pc) + immediate<W>(op);
}

// b, bl target
template <typename W, bool Lk>
const Op* branch(Core& core, const Op* op) {
    const W target = relative_target<W>(core, op);
    if constexpr (Lk) link<W>(core, op);
    return take<W>(core, target);
}

// ba, bla target
template <typename W, bool Lk>
const Op* branch_absolute(Core& core, const Op* op) {
    if constexpr (Lk) link<W>(core, op);
    return take<W>(core, immediate<W>(op));
}

// What BO says of CTR, and of which bit of a CR field.
enum class Count : uint8_t { Ignore, NotZero, Zero };
enum class Test : uint8_t { None, Lt, Gt, Eq, So };

template <typename W, Count kCount>
[[gnu::always_inline]] inline bool count_ok(Core& core) {
    if constexpr (kCount == Count::Ignore) return true;
    const W ctr = static_cast<W>(core.state.ctr) - 1;
    core.state.ctr = ctr;
    return kCount == Count::NotZero ? ctr != 0 : ctr == 0;
}

template <Test kTest, bool Sense>
[[gnu::always_inline]] inline bool test_ok(const Core& core, unsigned field) {
    const uint64_t v = core.state.cr.field[field];
    if constexpr (kTest == Test::Lt) return ((v >> 62) & 1) == Sense;
    if constexpr (kTest == Test::Gt) return (static_cast<int64_t>(v) > 0) == Sense;
    if constexpr (kTest == Test::Eq) return (static_cast<uint32_t>(v) == 0) == Sense;
    if constexpr (kTest == Test::So) return (core.state.cr.so[field] != 0) == Sense;
    return true;
}

// bc[l] BO,BI,target with AA=0; the CR field is in a
template <typename W, Count kCount, Test kTest, bool Sense, bool Lk>
const Op* branch_conditional(Core& core, const Op* op) {
    const bool counted = count_ok<W, kCount>(core);
    if (counted & test_ok<kTest, Sense>(core, op->a)) {
        const W target = relative_target<W>(core, op);
        if constexpr (Lk) link<W>(core, op);
        return take<W>(core, target);
    }
    if constexpr (Lk) link<W>(core, op);
    advance<W>(core, op);
    return nullptr;
}

template <Count kCount, Test kTest, bool Sense>
Handler pick_link(uint32_t word) {
    return isa::lk(word) ? branch_conditional<Word, kCount, kTest, Sense, true>
                         : branch_conditional<Word, kCount, kTest, Sense, false>;
}
template <Count kCount, bool Sense>
Handler pick_test(uint32_t word) {
    switch (isa::ra(word) % 4) {
        case 0:
            return pick_link<kCount, Test::Lt, Sense>(word);
        case 1:
            return pick_link<kCount, Test::Gt, Sense>(word);
        case 2:
            return pick_link<kCount, Test::Eq, Sense>(word);
        default:
            return pick_link<kCount, Test::So, Sense>(word);
    }
}
template <Count kCount>
Handler pick_sense(uint32_t word) {
    const unsigned bo = isa::rd(word);
    if (bo & 16) return pick_link<kCount, Test::None, true>(word);
    return bo & 8 ? pick_test<kCount, true>(word) : pick_test<kCount, false>(word);
}
Handler pick_count(uint32_t word) {
    const unsigned bo = isa::rd(word);
    if (bo & 4) return pick_sense<Count::Ignore>(word);
    return bo & 2 ? pick_sense<Count::Zero>(word) : pick_sense<Count::NotZero>(word);
}

// The general condition: BO in d, BI in a.
template <typename W, bool MayCount>
bool condition_ok(Core& core, const Op* op) {
    const unsigned bo = op->d;
    bool counted = true;
    if (MayCount && !(bo & 4)) {
        core.state.ctr = static_cast<W>(core.state.ctr - 1);
        counted = (core.state.ctr == 0) == ((bo & 2) != 0);
    }
    return counted && ((bo & 16) || core.state.cr.bit(op->a) == ((bo & 8) != 0));
}

// bca[l] BO,BI,target
template <typename W, bool Lk>
const Op* branch_conditional_absolute(Core& core, const Op* op) {
    const bool taken = condition_ok<W, true>(core, op);
    if constexpr (Lk) link<W>(core, op);
    if (taken) return take<W>(core, immediate<W>(op));
    advance<W>(core, op);
    return nullptr;
}

// bclr[l] BO,BI
template <typename W, bool Lk>
const Op* branch_to_link(Core& core, const Op* op) {
    const W target = static_cast<W>(core.state.lr) & ~W{3};
    const bool taken = condition_ok<W, true>(core, op);
    if constexpr (Lk) link<W>(core, op);
    if (taken) return take<W>(core, target);
    advance<W>(core, op);
    return nullptr;
}

// blr
template <typename W>
const Op* branch_to_link_always(Core& core, const Op*) {
    return take<W>(core, static_cast<W>(core.state.lr) & ~W{3});
}

// bcctr[l] BO,BI: BO with the decrement is an invalid form, whose decrement is not done here
template <typename W, bool Lk>
const Op* branch_to_count(Core& core, const Op* op) {
    const bool taken = condition_ok<W, false>(core, op);
    if constexpr (Lk) link<W>(core, op);
    if (taken) return take<W>(core, static_cast<W>(core.state.ctr) & ~W{3});
    advance<W>(core, op);
    return nullptr;
}

}  // namespace

Handler select_branch(Opcode opcode, uint32_t word, unsigned index, Op& op) {
    const bool lk = isa::lk(word), aa = isa::aa(word);
    const auto here = static_cast<int32_t>(4 * index);
    switch (opcode) {
        case Opcode::B:
            op.imm = aa ? isa::li(word) : isa::li(word) + here;
            if (aa) return lk ? branch_absolute<Word, true> : branch_absolute<Word, false>;
            return lk ? branch<Word, true> : branch<Word, false>;
        case Opcode::Bc:
            op.imm = aa ? isa::bd(word) : isa::bd(word) + here;
            if (aa)
                return lk ? branch_conditional_absolute<Word, true>
                          : branch_conditional_absolute<Word, false>;
            op.a = static_cast<uint8_t>(isa::ra(word) / 4);
            return pick_count(word);
        case Opcode::Bclr:
            if ((op.d & 20) == 20 && !lk) return branch_to_link_always<Word>;
            return lk ? branch_to_link<Word, true> : branch_to_link<Word, false>;
        case Opcode::Bcctr:
            return lk ? branch_to_count<Word, true> : branch_to_count<Word, false>;
        default:
            return nullptr;
    }
}

}  // namespace perfvisor::engine::interpreter
