// SPDX-License-Identifier: GPL-2.0-or-later
// One vCPU of the KVM in user space: its requests. KVM_RUN itself is in vcpu_run.cpp.
#include "kvm/soft/vcpu.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "kvm/soft/one_reg.h"
#include "kvm/soft/registers.h"
#include "kvm/soft/vm.h"

namespace perfvisor::kvm {

namespace {

engine::EngineKind engine_kind(SoftEngine engine) {
    switch (engine) {
        case SoftEngine::Translator:
            return engine::EngineKind::Translator;
        case SoftEngine::Lockstep:
            return engine::EngineKind::Lockstep;
        default:
            return engine::EngineKind::Interpreter;
    }
}

}  // namespace

Result<std::unique_ptr<SoftVcpu>> SoftVcpu::create(SoftVm& vm, unsigned id) {
    std::unique_ptr<SoftVcpu> vcpu(new SoftVcpu(vm, id));
    if (!vcpu->sleeper_.valid())
        return fail("cannot create an event descriptor for CPU {}: too many open files", id);
    auto engine = engine::make_engine(engine_kind(vm.options().engine), vcpu->core_);
    if (!engine)
        return fail("--engine: {}; --engine=interpreter does without", engine.error().message);
    vcpu->engine_ = std::move(*engine);
    vcpu->mailbox_ = std::make_shared<Mailbox>(vcpu->core_, *vcpu->engine_,
                                               [self = vcpu.get()] { self->wake(); });
    return vcpu;
}

SoftVcpu::SoftVcpu(SoftVm& vm, unsigned id)
    : vm_(vm),
      virtual_time_(vm.clock(), vm.options().timebase_hz, vm.options().cpu_hz),
      time_(vm.host_time() ? static_cast<GuestTime&>(*vm.host_time()) : virtual_time_),
      time_base_(time_),
      core_({.model = &vm.model(),
             .id = id,
             .memory = &vm.memory(),
             .time = &time_base_,
             .interconnect = &vm}),
      tlb_(core_.mmu(), vm.model()),
      counts_(core_, vm.count_requests(), vm.window(), time_, [&vm] { vm.window_changed(); }) {
    core_.timing().set_drives_clock(vm.modelled_timing());
}

SoftVcpu::~SoftVcpu() {
    if (mailbox_) mailbox_->close();
    if (started_) vm_.cpu_gone();
    vm_.remove_vcpu(*this);
}

// ---- from any thread ----

void SoftVcpu::kick() {
    std::atomic_ref<uint8_t>(run_.immediate_exit).store(1);
    hurry();
    sleeper_.wake();
}

void SoftVcpu::wake() {
    hurry();
    if (!vm_.turns().attended()) sleeper_.wake();
}

void SoftVcpu::leave_soon() {
    leave_soon_ = true;
    hurry();
}

bool SoftVcpu::wait_for_call(const std::atomic<bool>& called) {
    return sleeper_.sleep(kNever, [&] {
        return !called.load() && !leave_requested() && !(vm_.turns().idle() && has_news());
    });
}

void SoftVcpu::hurry() {
    core_.state.attention.fetch_or(core::kKick);
}

void SoftVcpu::set_perfmon(bool available) {
    uint32_t epoch = perfmon_epoch_.load();
    if ((epoch & 1) != (available ? 1u : 0u)) perfmon_epoch_.store(epoch + 1);
    requests_ = true;
    hurry();
}

int SoftVcpu::interrupt(uint32_t irq) {
    if (irq == KVM_INTERRUPT_UNSET) {
        external_edge_ = false;
        core_.set_line(core::Line::External, false);
        return 0;
    }
    // Like Linux, anything but "unset" and "set level" is an edge.
    external_edge_ = irq != KVM_INTERRUPT_SET_LEVEL;
    core_.set_line(core::Line::External, true);
    wake();
    return 0;
}

int SoftVcpu::set_line(const kvm_soft_line& line) {
    if (line.level > 1) return -EINVAL;
    switch (line.line) {
        case KVM_SOFT_LINE_EXTERNAL:
            return interrupt(line.level ? KVM_INTERRUPT_SET_LEVEL : KVM_INTERRUPT_UNSET);
        case KVM_SOFT_LINE_CRITICAL:
            core_.set_line(core::Line::Critical, line.level != 0);
            break;
        case KVM_SOFT_LINE_MACHINE_CHECK:
            core_.set_line(core::Line::MachineCheck, line.level != 0);
            break;
        default:
            return -EINVAL;
    }
    wake();
    return 0;
}

int SoftVcpu::set_mp_state(uint32_t state) {
    if (state != KVM_MP_STATE_RUNNABLE && state != KVM_MP_STATE_STOPPED) return -EINVAL;
    stopped_ = state == KVM_MP_STATE_STOPPED;
    wake();
    return 0;
}

// Requests that do not wait for KVM_RUN to return. False: not one of those.
bool SoftVcpu::any_thread_ioctl(uint32_t request, void* argument, int& result) {
    switch (request) {
        case KVM_INTERRUPT:
            result = interrupt(static_cast<const kvm_interrupt*>(argument)->irq);
            return true;
        case KVM_SOFT_SET_LINE:
            result = set_line(*static_cast<const kvm_soft_line*>(argument));
            return true;
        case KVM_SOFT_SET_DEADLINE:
            deadline_ = time_.tick_of(static_cast<const kvm_soft_time*>(argument)->nanoseconds);
            break;
        case KVM_SET_MP_STATE:
            result = set_mp_state(static_cast<const kvm_mp_state*>(argument)->mp_state);
            return true;
        case KVM_GET_MP_STATE:
            static_cast<kvm_mp_state*>(argument)->mp_state =
                stopped_ ? KVM_MP_STATE_STOPPED : KVM_MP_STATE_RUNNABLE;
            result = 0;
            return true;
        case KVM_ENABLE_CAP: {
            const auto& cap = *static_cast<const kvm_enable_cap*>(argument);
            if (cap.cap != KVM_CAP_PPC_EPR && cap.cap != KVM_CAP_SOFT_HLT_EXIT) return false;
            if (cap.flags != 0) {
                result = -EINVAL;
                return true;
            }
            (cap.cap == KVM_CAP_PPC_EPR ? external_proxy_ : halt_exit_) = cap.args[0] != 0;
            break;
        }
        case KVM_SOFT_GET_EVENT_TOTALS:
            result = event_totals(counts_exchange_.ask(
                                      mutex_, [this] { return take_counts(); }, [this] { wake(); }),
                                  *static_cast<kvm_soft_event_totals*>(argument));
            return true;
        default:
            return false;
    }
    requests_ = true;
    wake();
    result = 0;
    return true;
}

// ---- with the core at rest ----

int SoftVcpu::ioctl(uint32_t request, void* argument) {
    if (request == KVM_RUN) {
        const std::lock_guard lock(mutex_);
        return run_guest();
    }
    if (argument == nullptr) return -EFAULT;
    int result = 0;
    if (any_thread_ioctl(request, argument, result)) return result;
    const std::lock_guard lock(mutex_);
    take_requests();
    // What other cores had invalidated before, that they do not invalidate what is set now.
    mailbox_->receive(Mailbox::Receive::Everything);
    // It may be something that a waiting CPU goes on after.
    hurry();
    return vcpu_thread_ioctl(request, argument);
}

namespace {

int access_one_reg(core::Core& core, uint32_t request, const kvm_one_reg& reg) {
    if ((reg.id & KVM_REG_ARCH_MASK) != KVM_REG_PPC) return -EINVAL;
    const uint64_t size = reg.id & KVM_REG_SIZE_MASK;
    if (size != KVM_REG_SIZE_U32 && size != KVM_REG_SIZE_U64) return -EINVAL;
    if (reg.addr == 0) return -EFAULT;
    void* const memory = reinterpret_cast<void*>(static_cast<uintptr_t>(reg.addr));
    uint64_t value = 0;
    uint32_t word = 0;
    const bool wide = size == KVM_REG_SIZE_U64;
    void* const held = wide ? static_cast<void*>(&value) : &word;
    const size_t bytes = wide ? sizeof value : sizeof word;
    if (request == KVM_SET_ONE_REG) {
        std::memcpy(held, memory, bytes);
        return set_one_reg(core, reg.id, wide ? value : word);
    }
    if (const int error = get_one_reg(core, reg.id, value); error < 0) return error;
    word = static_cast<uint32_t>(value);
    std::memcpy(memory, held, bytes);
    return 0;
}

}  // namespace

int SoftVcpu::vcpu_thread_ioctl(uint32_t request, void* argument) {
    switch (request) {
        case KVM_GET_REGS:
            get_regs(core_, *static_cast<kvm_regs*>(argument));
            return 0;
        case KVM_SET_REGS:
            forget_unfinished();
            set_regs(core_, *static_cast<const kvm_regs*>(argument));
            return 0;
        case KVM_GET_SREGS:
            tlb_.publish();
            get_sregs(core_, *static_cast<kvm_sregs*>(argument));
            return 0;
        case KVM_SET_SREGS:
            return set_sregs(core_, *static_cast<const kvm_sregs*>(argument));
        case KVM_GET_ONE_REG:
        case KVM_SET_ONE_REG:
            return access_one_reg(core_, request, *static_cast<const kvm_one_reg*>(argument));
        case KVM_TRANSLATE:
            translate(core_.mmu(), *static_cast<kvm_translation*>(argument));
            return 0;
        case KVM_ENABLE_CAP:
            return enable_cap(*static_cast<const kvm_enable_cap*>(argument));
        case KVM_DIRTY_TLB:
            return tlb_.dirty(*static_cast<const kvm_dirty_tlb*>(argument));
        case KVM_SET_GUEST_DEBUG:
            stuck_at_.reset();  // a breakpoint there is met
            return debugger_.configure(*static_cast<const kvm_guest_debug*>(argument));
        case KVM_SOFT_RESET:
            reset();
            return 0;
        case KVM_SOFT_GET_WINDOW:
            return window_counts(counts_.window(), vm_.window(),
                                 *static_cast<kvm_soft_window_counts*>(argument));
        // Linux's Book E answers: floating point registers are one-reg's.
        case KVM_GET_FPU:
        case KVM_SET_FPU:
            return -EOPNOTSUPP;
        default:
            return -ENOTTY;
    }
}

int SoftVcpu::enable_cap(const kvm_enable_cap& cap) {
    if (cap.flags != 0) return -EINVAL;
    switch (cap.cap) {
        case KVM_CAP_PPC_BOOKE_WATCHDOG:
            watchdog_enabled_ = true;
            return 0;
        case KVM_CAP_SW_TLB:
            if (cap.args[0] == 0) return -EFAULT;
            return tlb_.configure(
                *reinterpret_cast<const kvm_config_tlb*>(static_cast<uintptr_t>(cap.args[0])));
        default:
            return -EINVAL;
    }
}

// What other threads asked for, applied by whoever holds the core.
void SoftVcpu::take_requests() {
    if (!requests_.exchange(false)) return;
    if (const uint32_t epoch = perfmon_epoch_.load(); epoch != perfmon_epoch_seen_) {
        perfmon_epoch_seen_ = epoch;
        core_.perfmon().set_available(false);
        if (epoch & 1) core_.perfmon().set_available(true);
        core_.check_interrupts();
    }
    core_.set_external_proxy(external_proxy_);
}

CountsSnapshot SoftVcpu::take_counts() {
    counts_.look();
    return counts_.snapshot();
}

// A CPU that waits has to work out anew for how long.
void SoftVcpu::freeze_time_base(bool frozen, uint64_t tick) {
    time_base_.freeze(frozen, tick);
    wake();
}

// The lines from outside keep their levels, the time base its freeze.
void SoftVcpu::reset() {
    forget_unfinished();
    stuck_at_.reset();
    fruitless_ = 0;
    reset_reported_ = 0;
    counts_.settle();
    core_.reset();
    engine_->flush();
    if (time_.skips_idle_time()) vm_.turns().reset(*this);
}

// New registers: what KVM_RUN left half done belongs to the old ones.
void SoftVcpu::forget_unfinished() {
    if (mmio_unfinished_) {
        constexpr uint8_t kNothing[8] = {};
        core_.complete_mmio(kNothing);
        mmio_unfinished_ = false;
    }
    core_.instruction_finished();
    epr_unfinished_ = false;
    core_.set_halted(false);
}

}  // namespace perfvisor::kvm
