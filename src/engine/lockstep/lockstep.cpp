// SPDX-License-Identifier: GPL-2.0-or-later
// Both engines on the same guest, compared with each other.
#include "engine/lockstep/lockstep.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "isa/instruction.h"

namespace perfvisor::engine::lockstep {

using core::Core;
using translator::Translator;

Result<std::unique_ptr<Lockstep>> Lockstep::create(Core& core, const Tuning& tuning) {
    auto translator = Translator::create(core, tuning);
    if (!translator) return tl::unexpected(translator.error());
    return std::unique_ptr<Lockstep>(new Lockstep(core, std::move(*translator)));
}

Lockstep::Lockstep(Core& core, std::unique_ptr<Translator> translator)
    : core_(core),
      shadow_(std::make_unique<Core>(Core::Config{.model = &core.model(),
                                                  .id = core.id(),
                                                  .memory = &memory_,
                                                  .time = &core.time_source(),
                                                  .interconnect = nullptr})),
      translator_(std::move(translator)),
      interpreter_(*shadow_),
      stores_(core_, log_),
      shadow_stores_(*shadow_, log_) {
    core_.set_code_listener(this);
    take_over_memory();
}

Lockstep::~Lockstep() {
    core_.set_store_listener(nullptr);
}

void Lockstep::take_over_memory() {
    core_.memory().reservations().keep_versions();
    memory_.share_reservations(core_.memory());
    while (!memory_.slots().empty()) {
        core::MemorySlot none;
        none.id = memory_.slots().front().id;
        memory_.set_slot(none);
    }
    for (core::MemorySlot slot : core_.memory().slots()) {
        slot.has_code = nullptr;
        memory_.set_slot(slot);
    }
}

void Lockstep::flush() {
    translator_->flush();
    interpreter_.flush();
    take_over_memory();
    core_.mmu().forget_all();
    shadow_->mmu().forget_all();
}

// While the translator executes, a change of code is its own: the interpreter will make it, too.
void Lockstep::code_changed(uint64_t physical, uint64_t length) {
    translator_->code_changed(physical, length);
    if (!executing_) interpreter_.code_changed(physical, length);
}

// ---- stores ----

void Lockstep::Stores::storing(uint64_t ea, uint64_t physical, uint8_t* host) {
    log_.storing(physical, host);
    pages_.push_back(ea);
}

void Lockstep::Stores::forget_write_translations() {
    for (const uint64_t ea : pages_)
        core_.state.fast_tlb[core::fast_tlb_index(ea)].write_tag = core::FastTlbEntry::kNoTag;
    pages_.clear();
}

// ---- execution ----

// Mostly one block, whose first difference is then found; sometimes more, so that blocks follow
// each other without coming back here.
uint64_t Lockstep::next_length() {
    const auto random = lengths_();
    switch (random / 16 % 8) {
        case 0:
            return random / 128 % 1024;
        case 1:
            return random / 128 % 64;
        default:
            return 1;
    }
}

Stop Lockstep::run(uint64_t instructions) {
    if (!failure_.empty()) return Stop::Failed;
    // The outside may have changed anything meanwhile.
    shadow_->mirror(core_, tlbs_written());
    for (uint64_t left = instructions;;) {
        Translator::Piece done{};
        const bool agreed = run_piece(left, done);
        left -= std::min(left, done.used);
        core_.state.budget = static_cast<int64_t>(left);
        if (!agreed) return Stop::Failed;
        if (done.stop != Stop::Budget || left == 0) return done.stop;
    }
}

bool Lockstep::run_piece(uint64_t limit, Translator::Piece& done) {
    const core::CpuState& state = core_.state;
    start_ = {.pc = state.pc,
              .lr = state.lr,
              .ctr = state.ctr,
              .msr = state.msr,
              .cr = state.cr.word(),
              .pid = core_.mmu().registers().pid,
              .gpr = state.gpr};
    log_.clear();
    executing_ = true;
    done = translator_->run_whole_blocks(next_length(), limit);
    executing_ = false;
    log_.rewind();
    const bool agreed = follow(done) && compare();
    forget_write_translations();
    return agreed;
}

void Lockstep::forget_write_translations() {
    for (const uint64_t ea : stores_.pages())
        translator_->forget_writes(ea);
    stores_.forget_write_translations();
    shadow_stores_.forget_write_translations();
}

// The interpreter's turn, for exactly as long as the translator took.
bool Lockstep::follow(const Translator::Piece& done) {
    if (done.used > 0) {
        const Stop stop = interpreter_.run(done.used);
        const auto left = static_cast<uint64_t>(shadow_->state.budget);
        if (left > 0)
            return disagree(
                fmt::format("the interpreter stopped ({}) after {} of {} instructions",
                            stop == Stop::Mmio
                                ? "device access"
                                : fmt::format("attention {:#x}", shadow_->state.attention.load()),
                            done.used - left, done.used));
    }
    if (done.stop == Stop::Mmio && interpreter_.run(1) != Stop::Mmio)
        return disagree("only the translator met a device access");
    // What only the translator's core knows of may have come from another thread.
    const uint32_t missed = shadow_->state.attention.load() & ~core_.state.attention.load();
    if (missed != 0)
        return disagree(fmt::format("only the interpreter wants attention {:#x}", missed));
    return true;
}

// Whether some TLB has been written since the last question.
bool Lockstep::tlbs_written() {
    const uint64_t writes = core_.mmu().epoch(), shadow_writes = shadow_->mmu().epoch();
    const bool here = std::exchange(tlb_writes_, writes) != writes;
    const bool there = std::exchange(shadow_tlb_writes_, shadow_writes) != shadow_writes;
    return here || there;
}

bool Lockstep::compare() {
    const auto differences = core_.differences(*shadow_, tlbs_written());
    const auto memory = log_.difference();
    if (differences.empty() && !memory) return true;
    std::string text;
    for (const Core::Difference& one : differences)
        text += fmt::format("  {}: translator {:#x}, interpreter {:#x}\n", one.name, one.here,
                            one.there);
    if (memory)
        text += fmt::format("  memory at physical {:#x}: translator {:#04x}, interpreter {:#04x}\n",
                            memory->physical, memory->first, memory->second);
    return disagree("\n" + text);
}

// ---- the report ----

bool Lockstep::disagree(const std::string& what) {
    const core::CpuState& state = shadow_->state;
    failure_ = fmt::format(
        "the engines disagree behind the instructions from {:#010x}, about {} instructions after "
        "the start: {}\n",
        start_.pc, state.totals[core::Total::Instructions], what);
    failure_ += fmt::format(
        "before: pc {:#010x} MSR {:#010x} CR {:#010x} LR {:#010x} CTR {:#010x} PID {}\n", start_.pc,
        start_.msr, start_.cr, start_.lr, start_.ctr, start_.pid);
    for (unsigned n = 0; n < 32; ++n)
        failure_ += fmt::format("{}r{:<2} {:08x}{}", n % 8 == 0 ? "  " : " ", n, start_.gpr[n],
                                n % 8 == 7 ? "\n" : "");
    failure_ += fmt::format("behind: pc {:#010x} (translator), {:#010x} (interpreter)\n",
                            core_.state.pc, state.pc);
    failure_ += code_at(start_);
    return false;
}

// The instructions from where the piece began, as memory has them now.
std::string Lockstep::code_at(const Start& start) const {
    constexpr unsigned kMost = 24;
    const auto found = shadow_->mmu().translate(start.pc, core::Access::Fetch,
                                                (start.msr & core::msr::kIS) ? 1 : 0, start.pid,
                                                (start.msr & core::msr::kPR) != 0);
    const uint8_t* host = found.translation ? memory_.host(found.translation->physical) : nullptr;
    if (!host) return "  (the instructions are not to be found any more)\n";
    std::string text;
    for (unsigned n = 0; n < kMost; ++n) {
        const uint64_t pc = start.pc + uint64_t{4} * n;
        if (((pc ^ start.pc) & core::kPageMask) != 0) break;
        uint32_t word;
        std::memcpy(&word, host + size_t{4} * n, sizeof word);
        word = core::from_big_endian(word);
        text += fmt::format("  {:08x}: {:08x}  {}\n", pc, word, isa::disassemble(word, pc));
    }
    return text;
}

}  // namespace perfvisor::engine::lockstep
