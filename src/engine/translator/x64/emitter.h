// SPDX-License-Identifier: GPL-2.0-or-later
// Emits the x86-64 code of one guest block.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "engine/translator/block_cache.h"
#include "engine/translator/frontend/guest_block.h"
#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/registers.h"
#include "engine/translator/x64/runtime_code.h"
#include "engine/translator/x64/shared_data.h"
#include "engine/translator/x64/xbyak.h"

namespace perfvisor::engine::translator::x64 {

// A place in the code, which may be referred to before it is there.
struct Label {
    const uint8_t* place = nullptr;
    uint8_t* waiting = nullptr;  // the last displacement that waits for it, which leads to others
};

class Emitter : private Xbyak::CodeGenerator {
  public:
    // `core` is the one whose state the code addresses.
    Emitter(CodeBuffer& buffer, const RuntimeCode& runtime, BlockCache& blocks,
            const core::Core& core);

    // Enough for a block of kMaxBlockInstructions.
    bool has_room() const;
    // Emits to [begin, end) of the buffer from now on.
    void use(const uint8_t* begin, const uint8_t* end);
    // Emits `guest` behind what was emitted before and fills in `block`'s code, entry and edges.
    void emit(const GuestBlock& guest, Block& block);

  private:
    using Reg32 = Xbyak::Reg32;
    using Reg64 = Xbyak::Reg64;
    using Condition = void (Emitter::*)(Label&, LabelType);

    // ---- emitter.cpp: the frame of a block ----
    void emit_instruction(const GuestInstruction& in);
    bool emit_native(const GuestInstruction& in);
    void emit_fallback(const GuestInstruction& in);
    // Calls the interpreter's handler in cold code, then goes on at `done`.
    void call_handler(const GuestInstruction& in, Label* stopped, Label* done);
    void emit_last(const GuestInstruction& in);
    void emit_ops(Label& label, const GuestInstruction& in, const interpreter::Op& behind);
    void emit_cold();
    // Code behind the block, for what happens rarely.
    void later(std::function<void()> code) { cold_.push_back(std::move(code)); }
    Label* new_label() { return &labels_.emplace_back(); }
    void add_counts(const Counts& counts);
    // Takes the instructions from the `done`th on back off the budget.
    void refund(unsigned done);
    // Leaves before the instruction, which was stopped.
    Label* stopped_at(const GuestInstruction& in);
    // Leaves behind it: translated code has changed.
    void leave_after(const GuestInstruction& in);
    void leave(uint32_t pc, Exit exit);
    // Goes on at `target` from behind the `done`th instruction.
    void go_to(uint32_t target);
    void jump_to(const uint8_t* runtime_code) { CodeGenerator::jmp(runtime_code, T_NEAR); }

    // ---- labels: the library's cost more time than all else that it does ----
    void L(Label& label);
    void refer(Label& label);
    void jump_if(unsigned condition, Label& label);
    void lea_label(const Reg64& to, Label& label);
    void jmp(Label& label, LabelType = T_NEAR);
    void jb(Label& label, LabelType = T_NEAR) { jump_if(2, label); }
    void jae(Label& label, LabelType = T_NEAR) { jump_if(3, label); }
    void je(Label& label, LabelType = T_NEAR) { jump_if(4, label); }
    void jz(Label& label, LabelType = T_NEAR) { jump_if(4, label); }
    void jne(Label& label, LabelType = T_NEAR) { jump_if(5, label); }
    void jnz(Label& label, LabelType = T_NEAR) { jump_if(5, label); }
    void jbe(Label& label, LabelType = T_NEAR) { jump_if(6, label); }
    void ja(Label& label, LabelType = T_NEAR) { jump_if(7, label); }
    void js(Label& label, LabelType = T_NEAR) { jump_if(8, label); }
    void jp(Label& label, LabelType = T_NEAR) { jump_if(10, label); }
    void jl(Label& label, LabelType = T_NEAR) { jump_if(12, label); }
    void jge(Label& label, LabelType = T_NEAR) { jump_if(13, label); }
    void jle(Label& label, LabelType = T_NEAR) { jump_if(14, label); }
    void jg(Label& label, LabelType = T_NEAR) { jump_if(15, label); }

    // ---- registers ----
    static bool is_pinned(unsigned reg) { return pinned_host(reg) >= 0; }
    static Reg32 host32(unsigned reg) { return Reg32(pinned_host(reg)); }
    static Reg64 host64(unsigned reg) { return Reg64(pinned_host(reg)); }
    Xbyak::Address memory32(unsigned reg) { return dword[kState + gpr_offset(reg)]; }
    Xbyak::Address word_at(unsigned reg) { return word[kState + gpr_offset(reg)]; }
    // The register itself, or `scratch` with its value.
    Reg32 use(unsigned reg, const Reg32& scratch);
    // Its value in `to`.
    void fetch(const Reg32& to, unsigned reg);
    // Register or memory operand.
    template <typename F>
    void with(unsigned reg, F use_operand) {
        if (is_pinned(reg))
            use_operand(host32(reg));
        else
            use_operand(memory32(reg));
    }
    // Where to compute a new value, and then: store it where that is not the register itself.
    Reg32 target(unsigned reg, const Reg32& scratch) {
        return is_pinned(reg) ? host32(reg) : scratch;
    }
    void put(unsigned reg, const Reg32& value);

    // ---- emit_integer.cpp ----
    bool emit_arithmetic(const GuestInstruction& in);
    bool emit_carrying(const GuestInstruction& in);
    bool emit_multiply(const GuestInstruction& in);
    bool emit_logic(const GuestInstruction& in);
    bool emit_shift(const GuestInstruction& in);
    void add_immediate(unsigned d, unsigned a, int32_t immediate);
    void subtract(unsigned d, unsigned a, unsigned b);
    template <typename F>
    void commutative(unsigned d, unsigned x, unsigned y, F operation);
    void load_carry();
    void store_carry();
    void store_not_borrow();
    void divide(const GuestInstruction& in, bool is_signed);
    void rotate_and_mask(const GuestInstruction& in);
    void rotate_insert(const GuestInstruction& in);
    void shift_algebraic(const GuestInstruction& in);

    // ---- emit_condition.cpp ----
    bool emit_compare(const GuestInstruction& in);
    bool emit_isel(const GuestInstruction& in);
    bool emit_condition_move(const GuestInstruction& in);
    void record(const GuestInstruction& in, const Reg32& result);
    void set_field(unsigned field, const Reg64& difference);
    struct Jumps {
        Condition if_set, if_clear;
    };
    Jumps test_condition(unsigned bit);

    // ---- emit_branch.cpp ----
    bool emit_branch(const GuestInstruction& in);
    void emit_conditional(const GuestInstruction& in);
    void emit_indirect(const GuestInstruction& in, int target_offset);
    // Jumps to the label it gives where the branch is not taken; null: always taken.
    Label* branch_unless(const GuestInstruction& in);
    void taken_exit(const GuestInstruction& in, uint32_t target_pc);
    void indirect_exit(const GuestInstruction& in);
    void look_up_jump();

    // ---- emit_memory.cpp ----
    bool emit_memory(const GuestInstruction& in);
    bool emit_load(const GuestInstruction& in);
    bool emit_store(const GuestInstruction& in);
    bool emit_multiple(const GuestInstruction& in);
    struct Access {
        unsigned size_log2;
        bool indexed, update;
        bool is_signed = false, reversed = false;
    };
    static std::optional<Access> load_access(isa::Opcode opcode);
    static std::optional<Access> store_access(isa::Opcode opcode);
    void address(const GuestInstruction& in, const Access& access);  // to eax
    void update_base(const GuestInstruction& in, const Access& access);
    // Gives rcx + rax as the host address of the aligned bytes at eax, or goes to `slow`.
    void translate(unsigned size_log2, int pages, Label* slow);

    // ---- emit_system.cpp ----
    bool emit_system(const GuestInstruction& in);

    // ---- emit_float.cpp ----
    struct FloatOperation;
    bool emit_float(const GuestInstruction& in);
    bool emit_float_arithmetic(const GuestInstruction& in);
    bool emit_float_move(const GuestInstruction& in);
    bool emit_float_compare(const GuestInstruction& in);
    bool emit_float_load(const GuestInstruction& in);
    bool emit_float_store(const GuestInstruction& in);
    void widen_single();
    void narrow_double(Label* slow);
    void check_exponent(unsigned lowest, unsigned highest, Label* slow);
    void compute(const FloatOperation& operation, unsigned d, unsigned a, unsigned b, unsigned c);
    void round_to_single(const FloatOperation& operation, const GuestInstruction& in, Label* slow);
    Xbyak::Address float_memory(unsigned n) { return qword[kState + fpr_offset(n)]; }
    static bool is_float_pinned(unsigned n) { return float_host(n) >= 0; }
    Xbyak::Xmm use_float(unsigned n, const Xbyak::Xmm& scratch);
    void put_float(unsigned n, const Xbyak::Xmm& value);
    const RuntimeCode::Calls& calls() const {
        return runtime_.calls[guest_->mode.floating_point ? 1 : 0];
    }
    const SharedData& shared() const {
        return *reinterpret_cast<const SharedData*>(buffer_.beside_code(buffer_.data()));
    }
    Xbyak::Address datum(const void* shared_datum) { return ptr[rip + shared_datum]; }

    CodeBuffer& buffer_;
    const RuntimeCode& runtime_;
    BlockCache& blocks_;
    const core::Core& core_;
    const uint8_t* end_ = nullptr;  // of the room for code

    // Of the block being emitted.
    const GuestBlock* guest_ = nullptr;
    Block* block_ = nullptr;
    unsigned index_ = 0;    // of the instruction
    int flags_field_ = -1;  // CR field whose comparison the host's flags hold, or -1
    std::vector<std::function<void()>> cold_;
    std::deque<Label> labels_;
};

}  // namespace perfvisor::engine::translator::x64
