/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Reservation of the Embedded performance monitor (Power ISA category E.PM) for a guest: an
 * addition to Linux's KVM API for powerpc, written so that a kernel could include it.
 * Documentation: docs/kvm-perfmon-api.rst.
 */
#ifndef PERFVISOR_KVM_PERFMON_H
#define PERFVISOR_KVM_PERFMON_H

#ifdef __KERNEL__
#include <linux/kvm.h>
#define KVM_PERFMON_IO(nr) _IO(KVMIO, nr)
#else
#include "kvm_powerpc.h"
#define KVM_PERFMON_IO(nr) KVM_PPC_IO(nr)
#endif

/*
 * KVM_CHECK_EXTENSION (system or VM): 1 if the two requests below exist. The number is far from
 * those Linux hands out in sequence.
 */
#define KVM_CAP_PPC_PERFMON 0x65706d /* "epm" */

/* VM ioctls, no argument. Errors: EBUSY, ENXIO; ENOTTY where the kernel does not know them. */
#define KVM_RESERVE_PERFMON KVM_PERFMON_IO(0xf0)
#define KVM_RELEASE_PERFMON KVM_PERFMON_IO(0xf1)

/*
 * Performance monitor registers by their PMR number as mtpmr has it, supervisor numbers
 * (PMC0-3 16-19, PMLCa0-3 144-147, PMLCb0-3 272-275, PMGC0 400).
 */
#define KVM_REG_PPC_PM (KVM_REG_PPC | 0x40000000ULL)
#define KVM_REG_PPC_PMR(n) (KVM_REG_PPC_PM | KVM_REG_SIZE_U32 | (n))

/*
 * What no performance monitor register shows and a guest can notice all the same. All other bits
 * are 0.
 */
#define KVM_REG_PPC_PM_STATE (KVM_REG_PPC_PM | KVM_REG_SIZE_U32 | 0x10000)
/* A time base transition was signalled and its interrupt not taken yet. */
#define KVM_PM_STATE_TIME_BASE 0x80000000u
/* PMCn waits for its trigger-on. */
#define KVM_PM_STATE_WAITING(n) (1u << (n))

#endif /* PERFVISOR_KVM_PERFMON_H */
