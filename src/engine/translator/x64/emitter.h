// SPDX-License-Identifier: GPL-2.0-or-later
// Emits the x86-64 code of one guest block.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <optional>
#include <type_traits>
#include <vector>

#include "engine/translator/block_cache.h"
#include "engine/translator/frontend/guest_block.h"
#include "engine/translator/midend/access_runs.h"
#include "engine/translator/midend/liveness.h"
#include "engine/translator/midend/register_choice.h"
#include "engine/translator/model_block.h"
#include "engine/translator/x64/code_buffer.h"
#include "engine/translator/x64/exit_site.h"
#include "engine/translator/x64/fault_sites.h"
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
    Emitter(CodeBuffer& buffer, const RuntimeCode& runtime, BlockCache& blocks, FaultSites& sites,
            const core::Core& core);

    // Enough for a trace of kMaxTraceInstructions.
    bool has_room() const;
    // Of so many bytes of room for code, what is for hot code, in front of the cold.
    static size_t hot_bytes(size_t bytes) { return bytes * 9 / 25; }
    // Emits to [begin, end) of the buffer from now on.
    void use(const uint8_t* begin, const uint8_t* end);
    // Emits `guest` behind what was emitted before and fills in `block`'s code, entry and edges.
    void emit(const GuestBlock& guest, Block& block);

  private:
    using Reg32 = Xbyak::Reg32;
    using Reg64 = Xbyak::Reg64;
    using PendingFields = std::array<Pending, 8>;

    // For the timing model: behind so many instructions of the block.
    struct Place {
        const core::timing::Segment* segment = nullptr;  // null: the last was told at once
        uint32_t count = 0, accesses = 0;                // in the segment
        int more_ops = 0;  // than instructions, in the block; of those told at once none at all
    };
    // ---- emitter.cpp: the frame of a block ----
    void emit_instruction(const GuestInstruction& in);
    bool emit_native(const GuestInstruction& in);
    void emit_fallback(const GuestInstruction& in);
    // Calls the interpreter's handler in cold code, then goes on at `done`, or at stopped_at().
    void call_handler(const GuestInstruction& in, Label* stopped, Label* done) {
        call_handler(in, stopped, done, calls().execute);
    }
    void call_handler(const GuestInstruction& in, Label* stopped, Label* done,
                      const uint8_t* execute);
    void emit_last(const GuestInstruction& in);
    void emit_ops(Label& label, const GuestInstruction& in, const interpreter::Op& behind);
    static interpreter::Op nothing_behind();
    void emit_cold();
    void move_to(const uint8_t* here) { setSize(static_cast<size_t>(here - buffer_.code())); }
    // Code elsewhere, for what happens rarely.
    template <typename F>
    void later(F code) {
        static_assert(std::is_trivially_destructible_v<F>);
        void* at = for_block_.allocate(sizeof code, alignof(F));
        cold_.push_back({new (at) F(code), [](void* what) { (*static_cast<F*>(what))(); }});
    }
    Label* new_label() { return new (for_block_.allocate(sizeof(Label), alignof(Label))) Label; }
    void add_counts(const Counts& counts);
    bool is_last() const { return index_ + 1 == guest_->instructions.size(); }
    unsigned number_of(const GuestInstruction& in) const {
        return static_cast<unsigned>(&in - guest_->instructions.data());
    }
    // Comes back to have a trace made from here, every so often.
    void count_heat();
    // Takes the instructions from the `done`th on back off the budget.
    void refund(unsigned done);
    // Leaves before the instruction, which was stopped, or behind it, where code has changed: edx
    // says which, a Status.
    Label* stopped_at(const GuestInstruction& in);
    void leave_stopped(const GuestInstruction& in, unsigned index, const PendingFields& pending);
    void leave_behind(const GuestInstruction& in, unsigned index, const PendingFields& pending);
    // Leaves where `done` instructions are done, which have counted so much and left so much
    // pending.
    void leave(Exit exit, uint32_t pc, unsigned done, const Counts& counts,
               const GuestInstruction* stopped = nullptr, const PendingFields* pending = nullptr,
               const Place* place = nullptr);
    void append(const void* bytes, size_t size);
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

    // ---- emit_model.cpp: what the timing model is told of ----
    bool models() const { return guest_->mode.model != ModelKind::None; }
    bool is_clock() const { return guest_->mode.model == ModelKind::Clock; }
    bool writes_addresses() const { return guest_->mode.model == ModelKind::Addresses; }
    bool tells_accesses() const { return writes_addresses() || is_clock(); }
    void begin_model();
    void enter_model(const GuestInstruction& in);
    void leave_model();
    const ToldOp* tell_model(const GuestInstruction& in, const interpreter::Op& behind);
    void tell_access();
    void write_address();
    // ModelKind::Clock.
    void look_at_time(Label& out);
    void look_at_fetch();
    void look_at_line(uint32_t pc, Label& asks);
    void look_at_access();
    void look_at_branch(bool taken, bool indirect, uint32_t target, const Place& place);
    void look_at_passed_branch(bool taken, uint32_t target);
    void ask_access_later(Label* asks, Label* asked);
    void end_segment(const core::timing::SegmentEnd& end);
    bool begins_line() const;
    void write_end(unsigned done, core::timing::SegmentEnd::Way way, uint32_t target = 0);
    void emit_told(const GuestInstruction& in);
    void emit_last_told(const GuestInstruction& in);
    Xbyak::Address written_next();

    // ---- registers ----
    bool is_pinned(unsigned reg) const { return hosts_[reg] >= 0; }
    Reg32 host32(unsigned reg) const { return Reg32(hosts_[reg]); }
    Reg64 host64(unsigned reg) const { return Reg64(hosts_[reg]); }
    // A trace may have other registers in host registers than blocks have: on the way in they are
    // exchanged, and back wherever something else goes on. Moves only: flags and scratch registers
    // stay.
    void choose_registers();
    void exchange_registers();
    void load_exchanged();
    void restore_registers();
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
    bool emit_logic_immediate(const GuestInstruction& in);
    bool emit_extension(const GuestInstruction& in);
    bool emit_shift(const GuestInstruction& in);
    void add_immediate(unsigned d, unsigned a, int32_t immediate);
    void subtract(unsigned d, unsigned a, unsigned b);
    template <typename F>
    void commutative(unsigned d, unsigned x, unsigned y, F operation);
    void load_carry();
    // CA from the host's carry flag, or the opposite of it.
    void store_carry();
    void store_not_borrow();
    bool carry_lives() const { return liveness_.carry_lives_behind(index_); }
    void divide(const GuestInstruction& in, bool is_signed);
    void rotate_and_mask(const GuestInstruction& in);
    void rotate_insert(const GuestInstruction& in);
    void shift_algebraic(const GuestInstruction& in);

    // ---- emit_condition.cpp ----
    bool emit_compare(const GuestInstruction& in);
    bool emit_isel(const GuestInstruction& in);
    bool emit_condition_move(const GuestInstruction& in);
    // CR0 of a record form, whose result is in the general register.
    void record(unsigned reg);
    void pend(unsigned field, const Pending& comparison);
    // Sets the host's flags to those of the difference compared with 0.
    void store_pending(unsigned field, const Pending& comparison);
    // All of them, in numeric order but `last`.
    void store_all_pending(int last = -1);
    void store_pending_of(uint32_t registers, uint8_t fields);
    static bool uses(const Pending& pending, uint32_t registers);
    // For cold code: what is pending here, and then the code that completes it.
    unsigned remember_pending();
    void complete(unsigned remembered);
    // Sets the host's flags, and gives the host's condition under which the bit is set.
    static constexpr unsigned kBelow = 2, kEqual = 4, kAbove = 7, kLess = 12, kGreater = 15;
    unsigned test_condition(unsigned bit);
    unsigned condition_of_difference(unsigned bit);

    // ---- emit_branch.cpp ----
    bool emit_branch(const GuestInstruction& in);
    void emit_conditional(const GuestInstruction& in);
    void emit_indirect(const GuestInstruction& in, int target_offset);
    // At the end of a block: jumps to the label it gives where the branch is not taken; null:
    // always taken. All fields are stored.
    Label* branch_unless(const GuestInstruction& in);
    // Inside a block: goes on where the block does, out of it where it does not.
    void pass_conditional(const GuestInstruction& in);
    void pass_return(const GuestInstruction& in);
    void not_taken_exit(const GuestInstruction& in);
    void taken_exit(const GuestInstruction& in, uint32_t target_pc);
    void indirect_exit(const GuestInstruction& in);

    // ---- emit_memory.cpp ----
    bool emit_memory(const GuestInstruction& in);
    bool emit_load(const GuestInstruction& in);
    bool emit_store(const GuestInstruction& in);
    bool emit_multiple(const GuestInstruction& in);
    bool emit_zero_line(const GuestInstruction& in);
    void multiple_in_window(const GuestInstruction& in, unsigned first, bool is_load,
                            Label* stopped);
    // The instructions of the run that begins at index_.
    void emit_run(const AccessRun& run);
    struct Access {
        unsigned size_log2;
        bool indexed, update;
        bool is_signed = false, reversed = false;
    };
    static std::optional<Access> load_access(isa::Opcode opcode);
    static std::optional<Access> store_access(isa::Opcode opcode);
    void address(const GuestInstruction& in, const Access& access);  // to eax
    void update_base(const GuestInstruction& in, const Access& access);
    void stop_store(const GuestInstruction& in, const Access& access, Label* stopped);
    // Gives rcx + rax as the host address of the aligned bytes at eax, or goes to `slow`.
    void translate(unsigned size_log2, int pages, Label* slow);
    // Where the bytes of an access are, if it does not go to `slow`; the timing model is told.
    Xbyak::RegExp place(const GuestInstruction& in, const Access& access, int pages, Label* slow);
    // Where the block's accesses go to the window (Mode::window), the operand of one; uses eax.
    bool in_window() const { return guest_->mode.window; }
    Xbyak::RegExp in_window(const GuestInstruction& in, const Access& access);
    // The host's instruction that comes next is such an access, if there is a window. In cold code:
    // here its fault leads.
    unsigned access_site();
    void fault_leads_here(unsigned site);
    // In cold code: here an access comes that its place does not answer, its address in eax; and
    // what does it then.
    void slow_road(const GuestInstruction& in, const Access& access, Label* slow, unsigned site);
    const uint8_t* slow_load(unsigned size_log2) const {
        return in_window() ? calls().load_page[size_log2] : calls().load[size_log2];
    }
    const uint8_t* slow_store(unsigned size_log2) const {
        return in_window() ? calls().store_page[size_log2] : calls().store[size_log2];
    }

    // ---- emit_reservation.cpp ----
    bool emit_reservation(const GuestInstruction& in);
    bool emit_load_reserve(const GuestInstruction& in);
    bool emit_store_conditional(const GuestInstruction& in);
    void find_reservation_entry();
    void release_reservation_entry();

    // ---- emit_system.cpp ----
    bool emit_system(const GuestInstruction& in);
    bool emit_interrupt_enable(const GuestInstruction& in);

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
    bool float_status_is_set_again() const;
    // Of FPSCR what Mode::plain_float tells: whether the instruction may have changed it, and the
    // way out behind it if it has.
    static bool changes_float_control(isa::Opcode opcode);
    void check_float_control(const GuestInstruction& in);
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
    FaultSites& sites_;
    const core::Core& core_;
    // Cold code lies by itself, so that what is hot is close together: the ends of the room for
    // either, and where the next cold code goes.
    const uint8_t* end_ = nullptr;
    const uint8_t* cold_end_ = nullptr;
    const uint8_t* cold_here_ = nullptr;

    // Of the block being emitted.
    const GuestBlock* guest_ = nullptr;
    Block* block_ = nullptr;
    unsigned index_ = 0;  // of the instruction
    Liveness liveness_;
    PendingFields pending_{};
    std::array<int8_t, 32> hosts_{};  // by GPR: its host register, or -1
    std::vector<Exchange> exchanges_;
    Label* again_ = nullptr;  // a loop that has exchanged registers: where it goes on
    std::vector<PendingFields> remembered_;
    std::vector<Place> places_;  // by number of instructions
    bool open_segment_ = false;
    uint32_t most_cycles_ = 0;                  // of the block (Pace::most_cycles)
    size_t size_before_ = 0, cold_before_ = 0;  // before enter_model() emitted something
    uint32_t next_end_ = core::timing::SegmentEnd::kNoEnd + 1;  // SegmentEnd::number
    struct Cold {
        void* closure;
        void (*emit)(void* closure);
    };
    std::vector<Cold> cold_;
    // Labels and closures of the block. More than this is rare.
    std::array<std::byte, size_t{32} << 10> first_bytes_;
    std::pmr::monotonic_buffer_resource for_block_{first_bytes_.data(), first_bytes_.size()};
};

}  // namespace perfvisor::engine::translator::x64
