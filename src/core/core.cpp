// SPDX-License-Identifier: GPL-2.0-or-later
// A core as a whole: reset, MSR, deadlines, code pages.
#include "core/core.h"

#include <algorithm>

#include "core/spr.h"

namespace perfvisor::core {
namespace {

uint32_t implemented_msr_bits(const CoreModel& model) {
    uint32_t bits = msr::kUCLE | msr::kWE | msr::kCE | msr::kEE | msr::kPR | msr::kME | msr::kDE |
                    msr::kIS | msr::kDS | msr::kRI;
    if (model.has(isa::Category::FloatingPoint)) bits |= msr::kFP | msr::kFE0 | msr::kFE1;
    if (model.has(isa::Category::PerfMonitor)) bits |= msr::kPMM;
    if (model.has(isa::Category::Sixty4Bit)) bits |= msr::kCM;
    if (model.has(isa::Category::Hypervisor)) bits |= msr::kGS;
    if (model.has(isa::Category::Spe)) bits |= msr::kSPV;
    return bits;
}

constexpr uint64_t kResetVector = 0xfffffffc;

// A page with code that has been stored to this often is given up as a page with code: it has
// become data, and its stores are to be fast again.
constexpr uint8_t kStoresToForgetCode = 64;
// Beside that number in MemorySlot::has_code: since the mark was set every core has dropped its
// write translations of the page.
constexpr uint8_t kAllHaveForgotten = 0x80;

}  // namespace

Core::Core(const Config& config)
    : config_(config),
      mmu_(*config.model, state),
      timers_(state, *config.time),
      perfmon_(*config.model, state),
      timing_(state, mmu_, perfmon_),
      msr_mask_(implemented_msr_bits(*config.model)),
      value_mask_(config.model->gpr_bits == 64 ? ~uint64_t{0} : 0xffffffff) {
    // An instruction makes at most one device access a byte: lswx of 128 bytes the most.
    mmio_log_.reserve(128);
    reset();
}

// The state after a hard reset; lines keep their levels, as they come
// from outside.
void Core::reset() {
    state.gpr.fill(0);
    state.fpr.fill(0);
    state.pc = kResetVector;
    state.lr = state.ctr = 0;
    state.cr = {};
    state.cr.set_word(0);
    state.xer_so = state.xer_ov = state.xer_ca = state.xer_count = 0;
    state.msr = 0;
    state.fpscr = 0;
    state.reserve_size = 0;
    state.attention.fetch_and(kKick | kInterruptCheck);
    sprs_.fill(0);
    pir_ = config_.id;
    doorbells_ = 0;
    fault_pending_ = false;
    halted_ = checkstop_ = false;
    external_wanted_ = false;
    reset_request_ = 0;
    mmio_waiting_ = false;
    mmio_log_.clear();
    mmio_used_ = 0;
    timers_.reset();
    last_time_base_ = timers_.time_base();
    perfmon_.reset();
    mmu_.reset();
    timing_.reset();
    update_debug();
}

void Core::set_msr(uint32_t value) {
    value &= msr_mask_;
    const uint32_t old = state.msr, changed = old ^ value;
    if (changed == 0) return;
    if (changed & (msr::kPR | msr::kPMM | msr::kGS)) perfmon_.msr_changes(old, value);
    if ((changed & msr::kPR) && count_listener_) count_listener_->privilege_changes();
    state.msr = value;
    if (changed & (msr::kPR | msr::kIS | msr::kDS)) mmu_.update_contexts();
    if (changed & (msr::kDE | msr::kPR | msr::kDS | msr::kIS)) update_debug();
    if (value & changed & (msr::kEE | msr::kCE | msr::kME | msr::kDE)) check_interrupts();
    if ((value & msr::kWE) && (sprs_[spr::kHID0] & kHid0PowerModes)) set_halted(true);
}

void Core::set_halted(bool halted) {
    halted_ = halted || checkstop_;
    if (halted_)
        state.attention.fetch_or(kHalted, std::memory_order_relaxed);
    else
        state.attention.fetch_and(~uint32_t{kHalted}, std::memory_order_relaxed);
}

uint64_t Core::instructions_to_deadline(uint64_t limit, uint64_t cycles) {
    timing_.forget_waits();
    if (limit <= 1 || debug_armed_ || !mmio_log_.empty()) return std::min<uint64_t>(limit, 1);
    perfmon_.wait_for_events(timing_);
    const uint64_t count = std::min(limit, perfmon_.instructions_to_event());
    cycles = std::min(cycles, cycles_to_deadline());
    if (timing_.drives_clock()) {
        timing_.wait_for_cycles(cycles);
        return std::max<uint64_t>(count, 1);
    }
    return std::max<uint64_t>(std::min(count, cycles), 1);
}

uint64_t Core::cycles_to_deadline() const {
    const uint64_t timers = timers_.cycles_to_next_event();
    const uint64_t wait = ticks_to_time_base_event();
    const uint64_t cycles = state.totals.cycles();
    const uint64_t ticks = config_.time->ticks(cycles);
    if (wait == ~uint64_t{0} || wait > ~uint64_t{0} - ticks) return timers;
    return std::min(timers, config_.time->cycles_until(ticks + wait, cycles));
}

uint64_t Core::ticks_to_time_base_event() const {
    const uint64_t tick = perfmon_.next_time_base_event(last_time_base_);
    if (tick == ~uint64_t{0}) return tick;
    const uint64_t now = timers_.time_base();
    return tick > now ? tick - now : 0;
}

// ---- code pages ----

void Core::protect_code_page(uint64_t physical) {
    const MemorySlot* slot = config_.memory->find(physical);
    if (!slot) return;
    std::atomic<uint8_t>& mark = slot->has_code[(physical - slot->base) / kPageSize];
    // Mostly another engine or core had the same page before.
    if ((mark.load() & kAllHaveForgotten) != 0) return;
    uint8_t none = 0;
    // The mark first: from now on no core enters a write translation of the page.
    const bool is_first = mark.compare_exchange_strong(none, 1);
    mmu_.forget_physical_page(physical);
    if (config_.interconnect) config_.interconnect->protect_code_page(*this, physical);
    if (is_first) mark.fetch_or(kAllHaveForgotten);
}

void Core::invalidate_code(uint64_t physical, uint64_t length) {
    if (code_listener_) code_listener_->code_changed(physical, length);
    if (config_.interconnect) config_.interconnect->invalidate_code(*this, physical, length);
}

// Called after bytes of a page with code have changed.
void Core::code_stored(const MemorySlot& slot, uint64_t physical, uint64_t length) {
    std::atomic<uint8_t>& mark = slot.has_code[(physical - slot.base) / kPageSize];
    uint8_t seen = mark.load();
    if ((seen & ~kAllHaveForgotten) < kStoresToForgetCode) {
        mark.compare_exchange_strong(seen, static_cast<uint8_t>(seen + 1));  // or another counted
        invalidate_code(physical, length);
        return;
    }
    // Whoever protects the page must have done so: the mark stands for that from its beginning to
    // its end. And the mark goes first: who has seen it decodes before it hears of this.
    if ((seen & kAllHaveForgotten) != 0 && mark.compare_exchange_strong(seen, 0)) {
        physical &= kPageMask;
        length = kPageSize;
    }
    invalidate_code(physical, length);
}

}  // namespace perfvisor::core
