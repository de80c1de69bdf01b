// SPDX-License-Identifier: GPL-2.0-or-later
// One core's state copied to and compared with another's: all that is listed here is state.
#include <fmt/format.h>

#include <iterator>
#include <tuple>

#include "core/core.h"
#include "core/spr.h"

namespace perfvisor::core {
namespace {

// What of CpuState is copied and compared as it stands.
template <typename T>
auto plain_fields(T& of) {
    return std::tie(of.gpr, of.pc, of.lr, of.ctr, of.xer_so, of.xer_ov, of.xer_ca, of.xer_count,
                    of.msr, of.fpscr, of.fpr, of.reserve_size, of.totals.value);
}

constexpr const char* kTotalNames[] = {"instructions",
                                       "branches",
                                       "taken branches",
                                       "loads",
                                       "stores",
                                       "stall cycles",
                                       "interrupts",
                                       "external inputs",
                                       "critical inputs",
                                       "calls and traps",
                                       "stwcx. successes",
                                       "stwcx. failures",
                                       "decorated loads",
                                       "decorated stores",
                                       "TLB misses",
                                       "DVT0",
                                       "DVT1",
                                       "DVT2",
                                       "DVT3",
                                       "DVT4",
                                       "DVT5",
                                       "DVT6",
                                       "DVT7"};
static_assert(std::size(kTotalNames) == kTotalCount);

}  // namespace

void Timers::mirror(const Timers& from) {
    fields(*this) = fields(from);
}
bool Timers::operator==(const Timers& other) const {
    return fields(*this) == fields(other);
}
void PerfMon::mirror(const PerfMon& from) {
    fields(*this) = fields(from);
}
bool PerfMon::operator==(const PerfMon& other) const {
    return fields(*this) == fields(other);
}

void Core::mirror(const Core& from, bool tlbs) {
    const bool other_contexts = (state.msr ^ from.state.msr) & (msr::kPR | msr::kIS | msr::kDS);
    plain_fields(state) = plain_fields(from.state);
    state.cr = from.state.cr;
    state.reserve_address = from.state.reserve_address;
    state.reserve_value = from.state.reserve_value;
    state.reserve_version = from.state.reserve_version;
    state.modelled = from.state.modelled;
    state.model = from.state.model;
    state.attention = from.state.attention.load();
    sprs_ = from.sprs_;
    fault_pending_ = from.fault_pending_;
    halted_ = from.halted_;
    checkstop_ = from.checkstop_;
    external_proxy_ = from.external_proxy_;
    external_wanted_ = from.external_wanted_;
    reset_request_ = from.reset_request_;
    mmio_waiting_ = from.mmio_waiting_;
    mmio_request_ = from.mmio_request_;
    mmio_log_ = from.mmio_log_;
    mmio_used_ = from.mmio_used_;
    lines_ = from.lines_.load();
    doorbells_ = from.doorbells_.load();
    pir_ = from.pir_.load();
    last_time_base_ = from.last_time_base_;
    external_times_ = from.external_times_;
    critical_times_ = from.critical_times_;
    before_pc_ = from.before_pc_;
    before_lr_ = from.before_lr_;
    before_ctr_ = from.before_ctr_;
    before_totals_ = from.before_totals_;
    timers_.mirror(from.timers_);
    perfmon_.mirror(from.perfmon_);
    mmu_.mirror(from.mmu_, tlbs);
    timing_.mirror(from.timing_);
    if (other_contexts) mmu_.update_contexts();
    update_debug();
}

std::vector<Core::Difference> Core::differences(const Core& other, bool tlbs) const {
    std::vector<Difference> found;
    if (!same_registers(other)) compare_registers(other, found);
    if (mmu_.registers() != other.mmu_.registers() || tlbs) compare_mmu(other, found);
    return found;
}

bool Core::same_registers(const Core& other) const {
    const CpuState &s = state, &t = other.state;
    if (plain_fields(s) != plain_fields(t)) return false;
    // The fields of CR may stand for the same in different ways.
    if ((s.cr.field != t.cr.field || s.cr.so != t.cr.so) && s.cr.word() != t.cr.word())
        return false;
    if (s.reserve_size != 0 &&
        (s.reserve_address != t.reserve_address || s.reserve_value != t.reserve_value ||
         s.reserve_version != t.reserve_version))
        return false;
    return sprs_ == other.sprs_ && halted_ == other.halted_ && checkstop_ == other.checkstop_ &&
           reset_request_ == other.reset_request_ && mmio_waiting_ == other.mmio_waiting_ &&
           (!mmio_waiting_ || mmio_request_ == other.mmio_request_) &&
           mmio_log_ == other.mmio_log_ && doorbells_ == other.doorbells_ && pir_ == other.pir_ &&
           last_time_base_ == other.last_time_base_ && timers_ == other.timers_ &&
           s.modelled.value == t.modelled.value && timing_.cycles() == other.timing_.cycles() &&
           perfmon_ == other.perfmon_;
}

void Core::compare_registers(const Core& other, std::vector<Difference>& found) const {
    const auto compare = [&](std::string name, uint64_t here, uint64_t there) {
        if (here != there) found.push_back({std::move(name), here, there});
    };
    const CpuState &s = state, &t = other.state;
    compare("pc", s.pc, t.pc);
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("r{}", n), s.gpr[n], t.gpr[n]);
    compare("LR", s.lr, t.lr);
    compare("CTR", s.ctr, t.ctr);
    compare("CR", s.cr.word(), t.cr.word());
    compare("XER[SO]", s.xer_so, t.xer_so);
    compare("XER[OV]", s.xer_ov, t.xer_ov);
    compare("XER[CA]", s.xer_ca, t.xer_ca);
    compare("XER byte count", s.xer_count, t.xer_count);
    compare("MSR", s.msr, t.msr);
    compare("FPSCR", s.fpscr, t.fpscr);
    for (unsigned n = 0; n < 32; ++n)
        compare(fmt::format("f{}", n), s.fpr[n], t.fpr[n]);
    compare("reservation size", s.reserve_size, t.reserve_size);
    if (s.reserve_size != 0) {
        compare("reservation address", s.reserve_address, t.reserve_address);
        compare("reservation value", s.reserve_value, t.reserve_value);
        compare("reservation version", s.reserve_version, t.reserve_version);
    }
    for (unsigned n = 0; n < kTotalCount; ++n)
        compare(fmt::format("total of {}", kTotalNames[n]), s.totals.value[n], t.totals.value[n]);
    for (unsigned n = 0; n < sprs_.size(); ++n)
        compare(fmt::format("SPR {} ({})", n, spr_name(n)), sprs_[n], other.sprs_[n]);
    compare("waiting", halted_, other.halted_);
    compare("checkstop", checkstop_, other.checkstop_);
    compare("reset request", reset_request_, other.reset_request_);
    compare("device access waiting", mmio_waiting_, other.mmio_waiting_);
    if (mmio_waiting_ && mmio_request_ != other.mmio_request_) {
        compare("device address", mmio_request_.physical, other.mmio_request_.physical);
        compare("device access size", mmio_request_.size, other.mmio_request_.size);
        compare("device access is a write", mmio_request_.write, other.mmio_request_.write);
        for (unsigned n = 0; n < mmio_request_.size; ++n)
            compare(fmt::format("device data byte {}", n), mmio_request_.data[n],
                    other.mmio_request_.data[n]);
    }
    compare("device answers", mmio_log_.size(), other.mmio_log_.size());
    compare("doorbells", doorbells_, other.doorbells_);
    compare("PIR", pir_, other.pir_);
    compare("time base seen", last_time_base_, other.last_time_base_);
    compare("TCR", timers_.tcr(), other.timers_.tcr());
    compare("TSR", timers_.tsr(), other.timers_.tsr());
    compare("DEC", timers_.decrementer(), other.timers_.decrementer());
    compare("time base", timers_.time_base(), other.timers_.time_base());
    for (unsigned n = 0; n < kModelledCount; ++n)
        compare(fmt::format("modelled count {}", n), s.modelled.value[n], t.modelled.value[n]);
    compare("modelled cycles", timing_.cycles(), other.timing_.cycles());
    // What has no name here still counts.
    compare("timers (0: differ)", timers_ == other.timers_, true);
    compare("performance monitor (0: differs)", perfmon_ == other.perfmon_, true);
    compare("device answers (0: differ)", mmio_log_ == other.mmio_log_, true);
}

void Core::compare_mmu(const Core& other, std::vector<Difference>& found) const {
    const auto compare = [&](std::string name, uint64_t here, uint64_t there) {
        if (here != there) found.push_back({std::move(name), here, there});
    };
    const Mmu::Registers &r = mmu_.registers(), &q = other.mmu_.registers();
    compare("MAS0", r.mas0, q.mas0);
    compare("MAS1", r.mas1, q.mas1);
    compare("MAS2", r.mas2, q.mas2);
    compare("MAS3", r.mas3, q.mas3);
    compare("MAS4", r.mas4, q.mas4);
    compare("MAS5", r.mas5, q.mas5);
    compare("MAS6", r.mas6, q.mas6);
    compare("MAS7", r.mas7, q.mas7);
    compare("MAS8", r.mas8, q.mas8);
    compare("PID", r.pid, q.pid);
    compare("EPLC", r.eplc, q.eplc);
    compare("EPSC", r.epsc, q.epsc);
    compare("MMUCSR0", r.mmucsr0, q.mmucsr0);
    compare("TLB0's next victim", mmu_.next_victim(), other.mmu_.next_victim());
    for (const unsigned tlb : {0u, 1u})
        for (unsigned n = 0; n < mmu_.entries(tlb); ++n) {
            const TlbEntry &here = mmu_.entry(tlb, n), &there = other.mmu_.entry(tlb, n);
            if (here == there) continue;
            const auto name = [&](const char* field) {
                return fmt::format("TLB{} entry {} {}", tlb, n, field);
            };
            compare(name("valid"), here.valid, there.valid);
            compare(name("IPROT"), here.iprot, there.iprot);
            compare(name("TS"), here.ts, there.ts);
            compare(name("TID"), here.tid, there.tid);
            compare(name("effective address"), here.ea, there.ea);
            compare(name("real address"), here.ra, there.ra);
            compare(name("size"), here.size, there.size);
            compare(name("attributes"), here.attributes, there.attributes);
            compare(name("permissions"), here.permissions, there.permissions);
            compare(name("MAS8"), here.mas8, there.mas8);
        }
}

}  // namespace perfvisor::core
