/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What the KVM in user space has beyond Linux's API, because its core and its clock are software:
 * more interrupt inputs, guest time, word of a guest that can go no further, and a performance
 * monitor of its own. A VMM asks for KVM_CAP_SOFT first and does without where it is 0 (a kernel's
 * KVM).
 */
#ifndef PERFVISOR_KVM_SOFT_H
#define PERFVISOR_KVM_SOFT_H

#include "kvm_powerpc.h"

/* KVM_CHECK_EXTENSION (system or VM): 1 if everything in this file exists. */
#define KVM_CAP_SOFT 0x736f6674 /* "soft" */

/*
 * KVM_SOFT_SET_LINE (vCPU, any thread): the level of an interrupt input. The external input is
 * that of KVM_INTERRUPT_SET_LEVEL and KVM_INTERRUPT_UNSET. -EINVAL: no such line.
 */
#define KVM_SOFT_LINE_EXTERNAL 0u
#define KVM_SOFT_LINE_CRITICAL 1u
#define KVM_SOFT_LINE_MACHINE_CHECK 2u
struct kvm_soft_line {
    __u32 line;
    __u32 level; /* 0 or 1 */
};
#define KVM_SOFT_SET_LINE KVM_PPC_IOW(0xf2, struct kvm_soft_line)

/*
 * KVM_SOFT_GET_TIME (VM, any thread): nanoseconds of guest time since the VM was made, as of the
 * vCPU's last return from its engine.
 */
struct kvm_soft_time {
    __u64 nanoseconds;
};
#define KVM_SOFT_GET_TIME KVM_PPC_IOR(0xf3, struct kvm_soft_time)

/*
 * KVM_SOFT_SET_DEADLINE (vCPU, any thread): once guest time reaches it, KVM_RUN gives -EINTR with
 * KVM_EXIT_INTR, once. With the virtual clock it comes at the same instruction in every run, and
 * an idle guest's time jumps to it. All ones: no deadline. kvm_run.hw.hardware_exit_reason is then
 * KVM_SOFT_INTR_DEADLINE, and 0 after any other -EINTR.
 */
#define KVM_SOFT_INTR_DEADLINE 1u
#define KVM_SOFT_SET_DEADLINE KVM_PPC_IOW(0xf4, struct kvm_soft_time)

/*
 * KVM_SOFT_FREEZE_TIMEBASES (VM, any thread): the time bases of the vCPUs in `vcpus` (bit n: id n)
 * stand still, or go on, all at the same moment.
 */
struct kvm_soft_freeze {
    __u32 vcpus;
    __u32 frozen; /* 0 or 1 */
};
#define KVM_SOFT_FREEZE_TIMEBASES KVM_PPC_IOW(0xf5, struct kvm_soft_freeze)

/*
 * KVM_SOFT_RESET (vCPU): the core's registers, TLB and performance monitor as after a hard reset;
 * the performance monitor stays the guest's. KVM_SET_MP_STATE has RUNNABLE and STOPPED, from any
 * thread: a stopped vCPU executes nothing, in KVM_RUN or out of it. With the virtual clock the
 * others go on only while every vCPU that is runnable and has something to do is in KVM_RUN, or on
 * its way there.
 */
#define KVM_SOFT_RESET KVM_PPC_IO(0xf7)

/*
 * KVM_EXIT_HLT: the guest can go no further. This vCPU is the last one of those that were ever run
 * to come to a point where nothing that it, its timers and its performance monitor do can make it
 * go on; the others rest in KVM_RUN. kvm_run.hw.hardware_exit_reason says which inputs could still
 * change this vCPU's course. KVM_RUN may be called again at any time, and goes on if one has come.
 *
 * Such points are:
 *  - a branch to itself, or one fault after the other without a completed instruction, with
 *    MSR[EE] = 0 (how Linux ends after "System halted"): always;
 *  - wait, nap or doze with no timer set: while KVM_CAP_SOFT_HLT_EXIT is enabled (KVM_ENABLE_CAP
 *    with args[0] = 1; 0 switches it off; any thread). Otherwise KVM_RUN blocks, as Linux's does.
 */
#define KVM_CAP_SOFT_HLT_EXIT 0x736f6675
#define KVM_SOFT_HLT_EXTERNAL (1u << 0)      /* external input or doorbell */
#define KVM_SOFT_HLT_CRITICAL (1u << 1)      /* critical input or critical doorbell */
#define KVM_SOFT_HLT_MACHINE_CHECK (1u << 2) /* machine check input */

/*
 * KVM_SOFT_GET_EVENT_TOTALS (vCPU, any thread): how often each event of the performance monitor's
 * catalogue has happened on the vCPU since it was made, whoever has the performance monitor; all
 * as of one instruction boundary after the call. The guest sees nothing of it, and its course
 * stays the same to the bit. The entries come by ascending event code; events that are not counted
 * have none. -E2BIG: there are `count` entries, more than `room`; the first `room` are filled in.
 *
 * What KVM_SOFT_COUNT_EVENTS asks for beside has been counted only while it was asked for, and
 * there is an entry or flag only while it is: differences mean something, the values do not.
 */
struct kvm_soft_event_total {
    __u64 total;
    __u64 user;       /* with KVM_SOFT_TOTAL_BY_MODE: with MSR[PR] = 1, */
    __u64 supervisor; /* and = 0 */
    __u32 event;      /* as PMLCa[EVENT] selects it */
    __u32 flags;
};
#define KVM_SOFT_TOTAL_BY_MODE 1u
struct kvm_soft_event_totals {
    __u64 entries; /* in: address of an array of kvm_soft_event_total */
    __u32 room;    /* in: how many entries it has */
    __u32 count;   /* out */
};
#define KVM_SOFT_GET_EVENT_TOTALS KVM_PPC_IOWR(0xf6, struct kvm_soft_event_totals)

/*
 * KVM_SOFT_COUNT_EVENTS (VM, any thread, also while vCPUs run): somebody begins (`on` = 1), or ends
 * (0), to count `events` on all vCPUs. While anybody does, KVM_SOFT_GET_EVENT_TOTALS has all events
 * apart for user and supervisor mode, and has these events, too, where they are the timing model's,
 * which runs for them. Several may count at once; each end is of the same events as a beginning. A
 * vCPU begins at the next instruction boundary at which it looks, at the latest at that of the next
 * KVM_SOFT_GET_EVENT_TOTALS. The guest's course stays the same to the bit.
 * -EINVAL: an event cannot be counted, or an end without a beginning. -EBUSY: events of the timing
 * model, and the guest has the performance monitor: its own counts of them would be others. For the
 * same reason KVM_RESERVE_PERFMON and KVM_SOFT_OWN_PERFMON give -EBUSY while they are counted.
 * Where the timing model is the VM's clock it runs in any case, and there is no such conflict.
 */
struct kvm_soft_count {
    __u64 events; /* address of an array of event codes */
    __u32 count;  /* how many it has */
    __u32 on;     /* 0 or 1 */
};
#define KVM_SOFT_COUNT_EVENTS KVM_PPC_IOW(0xfd, struct kvm_soft_count)

/*
 * Counts of a stretch of the guest's course, its window, apart for user and supervisor mode. The
 * guest marks it with mtspr DDAM (SPR 576), which user mode may write:
 *  - it opens at the first system call after `open` was written on the same vCPU: the sc is not in
 *    it, what the kernel does of the call is;
 *  - it closes before the mtspr that writes `close`.
 * There is one window in a VM's life; a vCPU beside the marking one counts from and to the next
 * instruction boundary at which it looks. Setting, getting and having a window changes nothing in
 * the guest.
 *
 * KVM_SOFT_SET_WINDOW (VM), before the first KVM_RUN. `events` are those that are to be counted
 * beside the ones that KVM_SOFT_GET_EVENT_TOTALS always has: for those of the timing model it runs
 * while the window is open, from an empty state, whoever else counts (unless it is the clock).
 * -EINVAL: `open` and `close` are the same, or an event cannot be counted. -EBUSY: as of
 * KVM_SOFT_COUNT_EVENTS.
 * KVM_SOFT_GET_WINDOW (vCPU): what this vCPU counted, by ascending event code.
 */
struct kvm_soft_window {
    __u32 open;
    __u32 close;
    __u64 events; /* address of an array of event codes */
    __u32 count;  /* how many it has */
    __u32 padding;
};
#define KVM_SOFT_WINDOW_AHEAD 0u
#define KVM_SOFT_WINDOW_OPEN 1u
#define KVM_SOFT_WINDOW_CLOSED 2u
struct kvm_soft_window_count {
    __u64 user;
    __u64 supervisor;
    __u32 event; /* as PMLCa[EVENT] selects it */
    __u32 padding;
};
struct kvm_soft_window_counts {
    __u64 entries;     /* in: address of an array of kvm_soft_window_count */
    __u32 room;        /* in: how many entries it has */
    __u32 count;       /* out */
    __u64 nanoseconds; /* out: guest time from opening to closing, or 0 */
    __u32 state;       /* out: KVM_SOFT_WINDOW_* */
    __u32 padding;
};
#define KVM_SOFT_SET_WINDOW KVM_PPC_IOW(0xf9, struct kvm_soft_window)
#define KVM_SOFT_GET_WINDOW KVM_PPC_IOWR(0xf8, struct kvm_soft_window_counts)

/*
 * KVM_SOFT_OWN_PERFMON (VM, no argument): this VM is a machine of its own and no guest of this one.
 * Its software core has its performance monitor like all the rest of it, without a reservation, for
 * as long as the VM is there. KVM_RESERVE_PERFMON and KVM_RELEASE_PERFMON give -EINVAL from then
 * on. -EBUSY: it holds a reservation as a guest, or see KVM_SOFT_COUNT_EVENTS. -ENXIO: this CPU
 * model has no performance monitor.
 */
#define KVM_SOFT_OWN_PERFMON KVM_PPC_IO(0xfa)

/*
 * KVM_SOFT_CODE_CHANGED (VM, any thread): the VMM has written guest memory that may hold
 * instructions. vCPUs have dropped what they derived from it before they next execute, as after a
 * dcbst, icbi and isync of each.
 */
struct kvm_soft_range {
    __u64 guest_physical;
    __u64 length; /* bytes */
};
#define KVM_SOFT_CODE_CHANGED KVM_PPC_IOW(0xfb, struct kvm_soft_range)

/*
 * A flag of kvm_guest_debug.control, as Linux's x86 has it: while single-stepping, interrupts and
 * timers wait.
 */
#define KVM_GUESTDBG_BLOCKIRQ 0x00100000u

/*
 * KVM_SOFT_SET_TIMING (VM): how long instructions take, for vCPUs made afterwards. SIMPLE, which is
 * so without it: one cycle each. E500MC: what a model of that core's pipeline and caches says.
 * KVM_CAP_SOFT_TIMING: 1 if it exists. -EINVAL: no such timing. -EBUSY: the VM has vCPUs.
 */
#define KVM_CAP_SOFT_TIMING 0x736f6677
#define KVM_SOFT_TIMING_SIMPLE 0u
#define KVM_SOFT_TIMING_E500MC 1u
struct kvm_soft_timing {
    __u32 timing;
    __u32 padding;
};
#define KVM_SOFT_SET_TIMING KVM_PPC_IOW(0xfc, struct kvm_soft_timing)

#endif /* PERFVISOR_KVM_SOFT_H */
