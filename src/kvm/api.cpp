// SPDX-License-Identifier: GPL-2.0-or-later
// Typed wrappers of the KVM requests.
#include "kvm/api.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

namespace perfvisor::kvm {

namespace {

void* as_pointer(uint64_t number) {
    return reinterpret_cast<void*>(static_cast<uintptr_t>(number));
}

uint64_t as_address(const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer);
}

// strerror is not safe against other threads; this is, and says enough.
const char* errno_text(int negative_errno) {
    const char* text = strerrordesc_np(-negative_errno);
    return text != nullptr ? text : "unknown error";
}

// "KVM could not WHAT: REASON" for a negative result.
template <typename Handle>
Result<void> request(Handle& handle, uint32_t number, void* argument, const char* what) {
    const int result = handle.ioctl(number, argument);
    if (result >= 0) return {};
    return fail("KVM could not {}: {}", what, errno_text(result));
}

struct Required {
    unsigned capability;
    const char* what;
};
constexpr Required kRequired[] = {
    {KVM_CAP_USER_MEMORY, "memory regions"},
    {KVM_CAP_PPC_BOOKE_SREGS, "Book E special registers"},
    {KVM_CAP_ONE_REG, "access to single registers"},
    {KVM_CAP_SW_TLB, "the software TLB"},
    {KVM_CAP_ENABLE_CAP, "capabilities to enable"},
    {KVM_CAP_PPC_UNSET_IRQ, "lowering an interrupt line"},
    {KVM_CAP_PPC_IRQ_LEVEL, "level interrupts"},
    {KVM_CAP_PPC_EPR, "the external proxy"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

constexpr const char* kModelIsTheGuests =
    "events of the timing model cannot be counted from outside while the guest has a performance "
    "monitor, whose own counts would change (under --timing=e500mc they can)";

Result<void> set_soft_line(Vcpu& vcpu, uint32_t line, bool level, const char* what) {
    kvm_soft_line argument{line, level ? 1u : 0u};
    return request(vcpu, KVM_SOFT_SET_LINE, &argument, what);
}

}  // namespace

int check_extension(System& system, unsigned capability) {
    return std::max(0, system.ioctl(KVM_CHECK_EXTENSION, as_pointer(capability)));
}

int check_extension(Vm& vm, unsigned capability) {
    return std::max(0, vm.ioctl(KVM_CHECK_EXTENSION, as_pointer(capability)));
}

Result<void> check_required_extensions(System& system) {
    const int version = system.ioctl(KVM_GET_API_VERSION, nullptr);
    if (version != KVM_API_VERSION)
        return fail("this KVM speaks API version {}, {} is needed", version, KVM_API_VERSION);
    for (const Required& required : kRequired)
        if (check_extension(system, required.capability) == 0)
            return fail("this KVM does not have {} (capability {})", required.what,
                        required.capability);
    return {};
}

Result<void> set_user_memory_region(Vm& vm, uint32_t slot, uint64_t guest_physical, void* host,
                                    uint64_t size, bool readonly) {
    kvm_userspace_memory_region region{};
    region.slot = slot;
    region.flags = readonly ? KVM_MEM_READONLY : 0;
    region.guest_phys_addr = guest_physical;
    region.memory_size = size;
    region.userspace_addr = as_address(host);
    const int result = vm.ioctl(KVM_SET_USER_MEMORY_REGION, &region);
    if (result >= 0) return {};
    return fail("KVM could not set memory slot {} to {} bytes at guest physical {:#x}: {}", slot,
                size, guest_physical, errno_text(result));
}

Result<PerfmonReservation> reserve_perfmon(Vm& vm) {
    const int result = vm.ioctl(KVM_RESERVE_PERFMON, nullptr);
    if (result >= 0) return PerfmonReservation::Reserved;
    switch (-result) {
        case EBUSY:
            return PerfmonReservation::Busy;
        case ENXIO:
            return PerfmonReservation::NoDevice;
        case ENOTTY:
            return PerfmonReservation::Unsupported;
        default:
            break;
    }
    if (const std::string why = vm.perfmon_failure(); !why.empty()) return fail("{}", why);
    return fail("KVM could not reserve the performance monitor: {}", errno_text(result));
}

Result<void> release_perfmon(Vm& vm) {
    return request(vm, KVM_RELEASE_PERFMON, nullptr, "release the performance monitor");
}

Result<void> own_perfmon(Vm& vm) {
    const int result = vm.ioctl(KVM_SOFT_OWN_PERFMON, nullptr);
    if (result == -EBUSY) return fail("{}", kModelIsTheGuests);
    if (result >= 0) return {};
    return fail("KVM could not give the VM a performance monitor: {}", errno_text(result));
}

Result<kvm_regs> get_regs(Vcpu& vcpu) {
    kvm_regs regs{};
    if (auto result = request(vcpu, KVM_GET_REGS, &regs, "read the registers"); !result)
        return tl::unexpected(result.error());
    return regs;
}

Result<void> set_regs(Vcpu& vcpu, const kvm_regs& regs) {
    kvm_regs argument = regs;
    return request(vcpu, KVM_SET_REGS, &argument, "set the registers");
}

Result<kvm_sregs> get_sregs(Vcpu& vcpu) {
    kvm_sregs sregs{};
    if (auto result = request(vcpu, KVM_GET_SREGS, &sregs, "read the special registers"); !result)
        return tl::unexpected(result.error());
    return sregs;
}

Result<void> set_sregs(Vcpu& vcpu, const kvm_sregs& sregs) {
    kvm_sregs argument = sregs;
    return request(vcpu, KVM_SET_SREGS, &argument, "set the special registers");
}

namespace {

Result<void> one_reg(Vcpu& vcpu, uint32_t number, uint64_t id, const void* value, size_t size,
                     const char* what) {
    const uint64_t id_size = uint64_t{1} << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
    if (id_size != size) return fail("register {:#x} has {} bytes, not {}", id, id_size, size);
    kvm_one_reg argument{id, as_address(value)};
    const int result = vcpu.ioctl(number, &argument);
    if (result >= 0) return {};
    return fail("KVM could not {} register {:#x}: {}", what, id, errno_text(result));
}

}  // namespace

Result<void> get_one_reg(Vcpu& vcpu, uint64_t id, void* value, size_t size) {
    return one_reg(vcpu, KVM_GET_ONE_REG, id, value, size, "read");
}

Result<void> set_one_reg(Vcpu& vcpu, uint64_t id, const void* value, size_t size) {
    return one_reg(vcpu, KVM_SET_ONE_REG, id, value, size, "set");
}

Result<void> set_external_interrupt(Vcpu& vcpu, bool level) {
    kvm_interrupt interrupt{level ? KVM_INTERRUPT_SET_LEVEL : KVM_INTERRUPT_UNSET};
    return request(vcpu, KVM_INTERRUPT, &interrupt, "set the external interrupt");
}

Result<void> set_critical_interrupt(Vcpu& vcpu, bool level) {
    return set_soft_line(vcpu, KVM_SOFT_LINE_CRITICAL, level, "set the critical interrupt");
}

Result<void> set_machine_check(Vcpu& vcpu, bool level) {
    return set_soft_line(vcpu, KVM_SOFT_LINE_MACHINE_CHECK, level, "set the machine check input");
}

Result<void> enable_capability(Vcpu& vcpu, unsigned capability, std::span<const uint64_t> args) {
    kvm_enable_cap argument{};
    argument.cap = capability;
    if (args.size() > std::size(argument.args))
        return fail("capability {} cannot have {} arguments", capability, args.size());
    std::copy(args.begin(), args.end(), argument.args);
    const int result = vcpu.ioctl(KVM_ENABLE_CAP, &argument);
    if (result >= 0) return {};
    return fail("KVM could not enable capability {}: {}", capability, errno_text(result));
}

Result<void> set_external_proxy(Vcpu& vcpu, bool on) {
    const uint64_t args[] = {on ? 1u : 0u};
    return enable_capability(vcpu, KVM_CAP_PPC_EPR, args);
}

Result<void> enable_watchdog(Vcpu& vcpu) {
    return enable_capability(vcpu, KVM_CAP_PPC_BOOKE_WATCHDOG);
}

Result<void> config_tlb(Vcpu& vcpu, std::span<kvm_book3e_206_tlb_entry> entries,
                        uint32_t tlb0_entries, uint32_t tlb0_ways, uint32_t tlb1_entries) {
    if (entries.size() < uint64_t{tlb0_entries} + tlb1_entries)
        return fail("the TLB array has {} entries, {} are needed", entries.size(),
                    uint64_t{tlb0_entries} + tlb1_entries);
    kvm_book3e_206_tlb_params params{};
    params.tlb_sizes[0] = tlb0_entries;
    params.tlb_ways[0] = tlb0_ways;
    params.tlb_sizes[1] = params.tlb_ways[1] = tlb1_entries;
    kvm_config_tlb config{};
    config.params = as_address(&params);
    config.array = as_address(entries.data());
    config.mmu_type = KVM_MMU_FSL_BOOKE_NOHV;
    config.array_len = static_cast<uint32_t>(entries.size_bytes());
    const uint64_t args[] = {as_address(&config)};
    return enable_capability(vcpu, KVM_CAP_SW_TLB, args);
}

Result<void> dirty_tlb(Vcpu& vcpu, size_t entries) {
    const std::vector<uint64_t> bitmap((entries + 63) / 64, ~uint64_t{0});
    kvm_dirty_tlb dirty{};
    dirty.bitmap = as_address(bitmap.data());
    dirty.num_dirty = static_cast<uint32_t>(entries);
    return request(vcpu, KVM_DIRTY_TLB, &dirty, "take over the changed TLB");
}

Result<TranslatedAddress> translate(Vcpu& vcpu, uint32_t ea, unsigned pid, unsigned as) {
    kvm_translation argument{};
    argument.linear_address = ea | uint64_t{pid & 0xff} << 32 | uint64_t{as & 1} << 40;
    if (auto result = request(vcpu, KVM_TRANSLATE, &argument, "translate an address"); !result)
        return tl::unexpected(result.error());
    return TranslatedAddress{argument.valid != 0, argument.physical_address,
                             argument.writeable != 0, argument.usermode != 0};
}

Result<void> set_guest_debug(Vcpu& vcpu, const kvm_guest_debug& debug) {
    kvm_guest_debug argument = debug;
    return request(vcpu, KVM_SET_GUEST_DEBUG, &argument, "set up guest debugging");
}

Result<void> code_changed(Vm& vm, uint64_t guest_physical, std::span<const uint8_t> bytes) {
    // On a Power host the guest fetches through the host's own instruction cache.
    auto* const start = reinterpret_cast<char*>(const_cast<uint8_t*>(bytes.data()));
    __builtin___clear_cache(start, start + bytes.size());
    kvm_soft_range range{guest_physical, bytes.size()};
    const int result = vm.ioctl(KVM_SOFT_CODE_CHANGED, &range);
    if (result >= 0 || result == -ENOTTY) return {};
    return fail("KVM could not take over changed instructions: {}", errno_text(result));
}

Result<uint64_t> guest_time(Vm& vm) {
    kvm_soft_time time{};
    if (auto result = request(vm, KVM_SOFT_GET_TIME, &time, "read guest time"); !result)
        return tl::unexpected(result.error());
    return time.nanoseconds;
}

Result<void> set_timing(Vm& vm, uint32_t timing) {
    kvm_soft_timing argument{timing, 0};
    return request(vm, KVM_SOFT_SET_TIMING, &argument, "set how long instructions take");
}

Result<void> set_deadline(Vcpu& vcpu, uint64_t nanoseconds) {
    kvm_soft_time time{nanoseconds};
    return request(vcpu, KVM_SOFT_SET_DEADLINE, &time, "set a deadline in guest time");
}

Result<void> freeze_time_bases(Vm& vm, uint32_t vcpus, bool frozen) {
    kvm_soft_freeze freeze{vcpus, frozen ? 1u : 0u};
    return request(vm, KVM_SOFT_FREEZE_TIMEBASES, &freeze, "stop or start the time bases");
}

Result<void> set_stopped(Vcpu& vcpu, bool stopped) {
    kvm_mp_state state{stopped ? uint32_t{KVM_MP_STATE_STOPPED} : KVM_MP_STATE_RUNNABLE};
    return request(vcpu, KVM_SET_MP_STATE, &state, "stop or start a CPU");
}

Result<void> reset_core(Vcpu& vcpu) {
    uint32_t nothing = 0;
    return request(vcpu, KVM_SOFT_RESET, &nothing, "reset a CPU");
}

Result<void> set_halt_exit(Vcpu& vcpu, bool on) {
    const uint64_t args[] = {on ? 1u : 0u};
    return enable_capability(vcpu, KVM_CAP_SOFT_HLT_EXIT, args);
}

namespace {

// The result of a request that is about counting from outside.
Result<void> counting(int result, const char* what) {
    if (result == -ENOTTY) return fail("{}", kNoCountingFromOutside);
    if (result == -EBUSY) return fail("{}", kModelIsTheGuests);
    if (result < 0) return fail("KVM could not {}: {}", what, errno_text(result));
    return {};
}

}  // namespace

Result<std::vector<EventTotal>> event_totals(Vcpu& vcpu) {
    std::vector<kvm_soft_event_total> entries(64);
    kvm_soft_event_totals argument{};
    int result = -E2BIG;
    while (result == -E2BIG) {
        argument.entries = as_address(entries.data());
        argument.room = static_cast<uint32_t>(entries.size());
        result = vcpu.ioctl(KVM_SOFT_GET_EVENT_TOTALS, &argument);
        if (result == -E2BIG) entries.resize(argument.count);
    }
    if (auto counted = counting(result, "count events"); !counted)
        return tl::unexpected(counted.error());
    std::vector<EventTotal> totals;
    for (uint32_t n = 0; n < argument.count; ++n) {
        const kvm_soft_event_total& entry = entries[n];
        EventTotal& total = totals.emplace_back(EventTotal{entry.event, entry.total, {}});
        if (entry.flags & KVM_SOFT_TOTAL_BY_MODE) total.modes = {entry.user, entry.supervisor};
    }
    return totals;
}

Result<void> count_events(Vm& vm, const std::vector<uint32_t>& events, bool on) {
    kvm_soft_count argument{as_address(events.data()), static_cast<uint32_t>(events.size()),
                            on ? 1u : 0u};
    return counting(vm.ioctl(KVM_SOFT_COUNT_EVENTS, &argument), "count events");
}

Result<void> set_window(Vm& vm, uint32_t open, uint32_t close,
                        const std::vector<uint32_t>& events) {
    kvm_soft_window window{};
    window.open = open;
    window.close = close;
    window.events = as_address(events.data());
    window.count = static_cast<uint32_t>(events.size());
    return counting(vm.ioctl(KVM_SOFT_SET_WINDOW, &window), "count a window");
}

Result<WindowTotals> window_totals(Vcpu& vcpu) {
    std::vector<kvm_soft_window_count> entries(64);
    kvm_soft_window_counts argument{};
    int result = -E2BIG;
    while (result == -E2BIG) {
        argument.entries = as_address(entries.data());
        argument.room = static_cast<uint32_t>(entries.size());
        result = vcpu.ioctl(KVM_SOFT_GET_WINDOW, &argument);
        if (result == -E2BIG) entries.resize(argument.count);
    }
    if (result < 0) return fail("KVM could not count a window: {}", errno_text(result));
    WindowTotals totals;
    totals.opened = argument.state != KVM_SOFT_WINDOW_AHEAD;
    totals.closed = argument.state == KVM_SOFT_WINDOW_CLOSED;
    totals.nanoseconds = argument.nanoseconds;
    for (uint32_t n = 0; n < argument.count; ++n)
        totals.counts.push_back({entries[n].event, entries[n].user, entries[n].supervisor});
    return totals;
}

void forget_kick(Vcpu& vcpu) {
    // Kicks come from other threads.
    std::atomic_ref<uint8_t>(vcpu.run()->immediate_exit).store(0);
}

Result<RunResult> run(Vcpu& vcpu) {
    const int result = vcpu.ioctl(KVM_RUN, nullptr);
    if (result >= 0) return RunResult{false, vcpu.run()->exit_reason};
    if (result == -EINTR || result == -EAGAIN) return RunResult{true, KVM_EXIT_INTR};
    return fail("KVM_RUN failed: {}", errno_text(result));
}

}  // namespace perfvisor::kvm
