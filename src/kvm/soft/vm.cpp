// SPDX-License-Identifier: GPL-2.0-or-later
// One VM of the KVM in user space.
#include "kvm/soft/vm.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <thread>

#include "kvm/soft/vcpu.h"

namespace perfvisor::kvm {

namespace {

// The parts of the timing model that the events at `address` need, or -errno.
int model_parts_of(uint64_t address, uint32_t count) {
    if (count != 0 && address == 0) return -EFAULT;
    uint32_t parts = 0;
    for (uint32_t n = 0; n < count; ++n) {
        uint32_t code;
        std::memcpy(&code,
                    reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(address)) +
                        size_t{n} * sizeof code,
                    sizeof code);
        const core::Event* const event = core::find_event(code);
        if (event == nullptr || !total_of(event->source, {}, core::timing_part::kAll))
            return -EINVAL;
        parts |= event->source.part;
    }
    return static_cast<int>(parts);
}

std::unique_ptr<GuestTime> make_host_time(const SoftOptions& options) {
    if (options.clock == SoftClock::Virtual) return nullptr;
    return std::make_unique<HostTime>(options.timebase_hz);
}

}  // namespace

int soft_extension(uint64_t capability, bool has_perfmon) {
    switch (capability) {
        case KVM_CAP_USER_MEMORY:
        case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
        case KVM_CAP_MP_STATE:
        case KVM_CAP_SET_GUEST_DEBUG:
        case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
        case KVM_CAP_INTERNAL_ERROR_DATA:
        case KVM_CAP_PPC_UNSET_IRQ:
        case KVM_CAP_ENABLE_CAP:
        case KVM_CAP_PPC_IRQ_LEVEL:
        case KVM_CAP_PPC_BOOKE_SREGS:
        case KVM_CAP_SW_TLB:
        case KVM_CAP_ONE_REG:
        case KVM_CAP_READONLY_MEM:
        case KVM_CAP_PPC_BOOKE_WATCHDOG:
        case KVM_CAP_PPC_EPR:
        case KVM_CAP_CHECK_EXTENSION_VM:
        case KVM_CAP_IMMEDIATE_EXIT:
        case KVM_CAP_PPC_GUEST_DEBUG_SSTEP:
        case KVM_CAP_SOFT:
        case KVM_CAP_SOFT_TIMING:
            return 1;
        case KVM_CAP_NR_MEMSLOTS:
            return kMaxMemorySlots;
        case KVM_CAP_NR_VCPUS:
            return std::clamp<int>(static_cast<int>(std::thread::hardware_concurrency()), 1,
                                   kMaxVcpus);
        case KVM_CAP_MAX_VCPUS:
        case KVM_CAP_MAX_VCPU_ID:
            return kMaxVcpus;
        case KVM_CAP_PPC_PERFMON:
            return has_perfmon ? 1 : 0;
        default:
            return 0;
    }
}

SoftVm::SoftVm(const SoftOptions& options, const core::CoreModel& model,
               std::shared_ptr<PerfmonGuests> perfmon)
    : options_(options),
      model_(model),
      perfmon_(std::move(perfmon)),
      host_time_(make_host_time(options)) {}

SoftVm::~SoftVm() {
    if (perfmon_reserved_) perfmon_->remove();
}

int SoftVm::ioctl(uint32_t request, void* argument) {
    switch (request) {
        case KVM_CHECK_EXTENSION:
            return soft_extension(reinterpret_cast<uintptr_t>(argument), perfmon_->available());
        case KVM_RESERVE_PERFMON:
            return reserve_perfmon();
        case KVM_RELEASE_PERFMON:
            return release_perfmon();
        case KVM_SOFT_OWN_PERFMON:
            return own_perfmon();
        case KVM_SET_USER_MEMORY_REGION:
            if (argument == nullptr) return -EFAULT;
            return set_memory_region(*static_cast<const kvm_userspace_memory_region*>(argument));
        case KVM_SOFT_FREEZE_TIMEBASES:
            if (argument == nullptr) return -EFAULT;
            return freeze_time_bases(*static_cast<const kvm_soft_freeze*>(argument));
        case KVM_SOFT_CODE_CHANGED: {
            if (argument == nullptr) return -EFAULT;
            const auto& range = *static_cast<const kvm_soft_range*>(argument);
            for_each_vcpu([&](SoftVcpu& vcpu) {
                vcpu.mailbox()->send_code_change(range.guest_physical, range.length);
            });
            return 0;
        }
        case KVM_SOFT_GET_TIME:
            if (argument == nullptr) return -EFAULT;
            static_cast<kvm_soft_time*>(argument)->nanoseconds = nanoseconds();
            return 0;
        case KVM_SOFT_SET_WINDOW:
            if (argument == nullptr) return -EFAULT;
            return set_window(*static_cast<const kvm_soft_window*>(argument));
        case KVM_SOFT_COUNT_EVENTS:
            if (argument == nullptr) return -EFAULT;
            return count_events(*static_cast<const kvm_soft_count*>(argument));
        case KVM_SOFT_SET_TIMING:
            if (argument == nullptr) return -EFAULT;
            return set_timing(static_cast<const kvm_soft_timing*>(argument)->timing);
        default:
            return -ENOTTY;
    }
}

// ---- counting from outside ----

int SoftVm::set_window(const kvm_soft_window& window) {
    if (window.open == window.close) return -EINVAL;
    const int parts = model_parts_of(window.events, window.count);
    if (parts < 0) return parts;
    const std::lock_guard lock(configuration_mutex_);
    if (parts != 0 && guest_would_see_model()) return -EBUSY;
    window_.open_mark = window.open;
    window_.close_mark = window.close;
    window_.model_parts = static_cast<uint32_t>(parts);
    return 0;
}

void SoftVm::window_changed() {
    if (has_others_) for_each_vcpu([](SoftVcpu& vcpu) { vcpu.hurry(); });
}

int SoftVm::count_events(const kvm_soft_count& request) {
    if (request.on > 1) return -EINVAL;
    const int parts = model_parts_of(request.events, request.count);
    if (parts < 0) return parts;
    {
        const std::lock_guard lock(configuration_mutex_);
        if (request.on == 0) {
            if (!count_requests_.remove(static_cast<uint32_t>(parts))) return -EINVAL;
        } else {
            if (parts != 0 && guest_would_see_model()) return -EBUSY;
            count_requests_.add(static_cast<uint32_t>(parts));
        }
    }
    for_each_vcpu([](SoftVcpu& vcpu) { vcpu.hurry(); });
    return 0;
}

// With configuration_mutex_ held: counters of the guest's own would count what the timing model
// does, which would depend on whether it has run for others before.
bool SoftVm::guest_would_see_model() const {
    return (perfmon_reserved_ || perfmon_owned_) && !modelled_timing();
}
bool SoftVm::model_runs_for_outside() const {
    return (count_requests_.model_parts() | window_.model_parts) != 0 && !modelled_timing();
}

int SoftVm::set_timing(uint32_t timing) {
    if (timing > KVM_SOFT_TIMING_E500MC) return -EINVAL;
    const std::lock_guard lock(vcpus_mutex_);
    if (!vcpus_.empty()) return -EBUSY;
    modelled_timing_ = timing == KVM_SOFT_TIMING_E500MC;
    return 0;
}

// ---- memory ----

bool SoftVm::overlaps_other_slot(const kvm_userspace_memory_region& region) const {
    return std::any_of(memory_.slots().begin(), memory_.slots().end(), [&](const auto& slot) {
        return slot.id != region.slot && region.guest_phys_addr < slot.base + slot.size &&
               slot.base < region.guest_phys_addr + region.memory_size;
    });
}

// As Linux's: -EINVAL for what is not whole pages or wraps around, -EEXIST for an overlap.
int SoftVm::set_memory_region(const kvm_userspace_memory_region& region) {
    constexpr uint64_t kInPage = core::kPageSize - 1;
    if (region.slot >= kMaxMemorySlots) return -EINVAL;
    if ((region.flags & ~KVM_MEM_READONLY) != 0) return -EINVAL;
    if (((region.guest_phys_addr | region.memory_size | region.userspace_addr) & kInPage) != 0)
        return -EINVAL;
    if (region.guest_phys_addr + region.memory_size < region.guest_phys_addr) return -EINVAL;
    const bool removes = region.memory_size == 0;
    const uint64_t last = region.userspace_addr + region.memory_size;
    if (!removes &&
        (region.userspace_addr == 0 || last < region.userspace_addr || last - 1 > UINTPTR_MAX))
        return -EINVAL;

    const std::lock_guard lock(configuration_mutex_);
    const bool exists =
        std::any_of(memory_.slots().begin(), memory_.slots().end(),
                    [&](const core::MemorySlot& slot) { return slot.id == region.slot; });
    if (removes && !exists) return -EINVAL;
    if (!removes && overlaps_other_slot(region)) return -EEXIST;

    core::MemorySlot slot;
    slot.id = region.slot;
    slot.base = region.guest_phys_addr;
    slot.size = region.memory_size;
    slot.host = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(region.userspace_addr));
    slot.readonly = (region.flags & KVM_MEM_READONLY) != 0;
    if (!removes) {
        auto* marks = new (std::nothrow) std::atomic<uint8_t>[slot.size / core::kPageSize]();
        if (marks == nullptr) return -ENOMEM;
        slot.has_code.reset(marks);
    }
    const ExecutionGate::Pause pause(gate_,
                                     [&] { for_each_vcpu([](SoftVcpu& vcpu) { vcpu.hurry(); }); });
    memory_.set_slot(std::move(slot));
    for_each_vcpu([](SoftVcpu& vcpu) { vcpu.mailbox()->send_memory_change(); });
    return 0;
}

// ---- performance monitor ----

int SoftVm::reserve_perfmon() {
    const std::lock_guard lock(configuration_mutex_);
    perfmon_failure_.clear();
    if (perfmon_owned_) return -EINVAL;
    if (!perfmon_->available()) return -ENOTTY;
    if (model_.pmc_count == 0) return -ENXIO;
    if (perfmon_reserved_) return 0;
    if (model_runs_for_outside()) {
        perfmon_failure_ = "events of the timing model are being counted from outside";
        return -EBUSY;
    }
    if (const int error = perfmon_->add(perfmon_failure_); error < 0) return error;
    perfmon_reserved_ = true;
    for_each_vcpu([](SoftVcpu& vcpu) { vcpu.set_perfmon(true); });
    return 0;
}

int SoftVm::release_perfmon() {
    const std::lock_guard lock(configuration_mutex_);
    if (perfmon_owned_) return -EINVAL;
    if (!perfmon_->available()) return -ENOTTY;
    if (!perfmon_reserved_) return 0;
    for_each_vcpu([](SoftVcpu& vcpu) { vcpu.set_perfmon(false); });
    perfmon_reserved_ = false;
    perfmon_->remove();
    return 0;
}

int SoftVm::own_perfmon() {
    const std::lock_guard lock(configuration_mutex_);
    if (perfmon_reserved_ || model_runs_for_outside()) return -EBUSY;
    if (model_.pmc_count == 0) return -ENXIO;
    perfmon_owned_ = true;
    for_each_vcpu([](SoftVcpu& vcpu) { vcpu.set_perfmon(true); });
    return 0;
}

std::string SoftVm::perfmon_failure() const {
    const std::lock_guard lock(configuration_mutex_);
    return perfmon_failure_;
}

// ---- vCPUs ----

Result<std::unique_ptr<Vcpu>> SoftVm::create_vcpu(unsigned id) {
    if (options_.engine == SoftEngine::Lockstep && id > 0)
        return fail("the lockstep engine has one CPU; use another engine for more");
    if (id >= kMaxVcpus) return fail("CPU {} is out of range: at most {} CPUs", id, kMaxVcpus);
    auto vcpu = SoftVcpu::create(*this, id);
    if (!vcpu) return tl::unexpected(vcpu.error());

    if (!add_vcpu(**vcpu)) return fail("CPU {} exists already", id);
    return std::unique_ptr<Vcpu>(std::move(*vcpu));
}

bool SoftVm::add_vcpu(SoftVcpu& vcpu) {
    const std::lock_guard configuration(configuration_mutex_);
    const std::lock_guard lock(vcpus_mutex_);
    for (const SoftVcpu* other : vcpus_)
        if (other->id() == vcpu.id()) return false;
    vcpus_.push_back(&vcpu);
    has_others_ = vcpus_.size() > 1;
    turns_.join(vcpu);
    vcpu.set_perfmon(perfmon_reserved_ || perfmon_owned_);
    return true;
}

void SoftVm::remove_vcpu(SoftVcpu& vcpu) {
    turns_.leave(vcpu);
    const std::lock_guard lock(vcpus_mutex_);
    std::erase(vcpus_, &vcpu);
    has_others_ = vcpus_.size() > 1;
}

void SoftVm::cpu_active() {
    const std::lock_guard lock(vcpus_mutex_);
    ++active_cpus_;
}

bool SoftVm::cpu_rests() {
    const std::lock_guard lock(vcpus_mutex_);
    if (active_cpus_ <= 1) return false;
    --active_cpus_;
    return true;
}

void SoftVm::cpu_gone() {
    const std::lock_guard lock(vcpus_mutex_);
    --active_cpus_;
}

uint64_t SoftVm::nanoseconds() {
    if (host_time_) return host_time_->nanoseconds(0);
    return VirtualTime(clock_, options_.timebase_hz, options_.cpu_hz).nanoseconds(0);
}

int SoftVm::freeze_time_bases(const kvm_soft_freeze& freeze) {
    if (freeze.frozen > 1) return -EINVAL;
    const uint64_t tick = host_time_
                              ? host_time_->ticks(0)
                              : VirtualTime(clock_, options_.timebase_hz, options_.cpu_hz).ticks(0);
    for_each_vcpu([&](SoftVcpu& vcpu) {
        if (freeze.vcpus >> vcpu.id() & 1) vcpu.freeze_time_base(freeze.frozen != 0, tick);
    });
    return 0;
}

// ---- between cores ----

SoftVm::Post SoftVm::post_of(const core::Core& core) const {
    const std::lock_guard lock(vcpus_mutex_);
    Post post;
    for (const SoftVcpu* vcpu : vcpus_)
        if (vcpu->id() == core.id())
            post.own = vcpu->mailbox();
        else
            post.others.push_back(vcpu->mailbox());
    return post;
}

// Waits for all others to have invalidated. Two cores may do so at once, so each answers while it
// waits.
void SoftVm::broadcast_tlbivax(core::Core& from, uint64_t ea) {
    if (!has_others_.load(std::memory_order_relaxed)) return;
    const Post post = post_of(from);
    for (const auto& other : post.others) {
        const uint64_t number = other->send_tlbivax(ea);
        while (!other->tlbivax_done(number)) {
            if (post.own) post.own->receive(Mailbox::Receive::Translations);
            std::this_thread::yield();
        }
    }
}

void SoftVm::protect_code_page(core::Core& from, uint64_t physical) {
    if (!has_others_.load(std::memory_order_relaxed)) return;
    const Post post = post_of(from);
    for (const auto& other : post.others) {
        const uint64_t number = other->send_forget_page(physical);
        while (!other->forget_page_done(number)) {
            if (post.own) post.own->receive(Mailbox::Receive::WriteAccess);
            std::this_thread::yield();
        }
    }
}

void SoftVm::send_doorbell(core::Core& from, uint64_t message) {
    if (!has_others_.load(std::memory_order_relaxed)) return from.receive_doorbell(message);
    const Post post = post_of(from);
    if (post.own) post.own->send_doorbell(message);
    for (const auto& other : post.others)
        other->send_doorbell(message);
}

void SoftVm::invalidate_code(core::Core& from, uint64_t physical, uint64_t length) {
    if (!has_others_.load(std::memory_order_relaxed)) return;
    const Post post = post_of(from);
    // What a core drops because another told it to is no news to the others.
    if (post.own && post.own->receiving()) return;
    for (const auto& other : post.others)
        other->send_code_change(physical, length);
}

}  // namespace perfvisor::kvm
