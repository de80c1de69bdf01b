/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Linux's KVM API as powerpc has it, for the Book E (e500) flavour of KVM: structures, request
 * numbers, capabilities, exit reasons and register ids of Linux 6.1's <linux/kvm.h> and
 * <asm/kvm.h>. The request numbers are powerpc's whatever the host is, so that one VMM speaks one
 * language to the KVM in user space and to a Power host's /dev/kvm. What only other architectures
 * have is left out.
 */
#ifndef PERFVISOR_KVM_POWERPC_H
#define PERFVISOR_KVM_POWERPC_H

#include <linux/types.h>

/* ---- powerpc's _IOC: 13 bits of size, 3 of direction (asm/ioctl.h) ---- */

#define KVMIO 0xAEu

#define KVM_PPC_IOC_NONE 1u
#define KVM_PPC_IOC_READ 2u
#define KVM_PPC_IOC_WRITE 4u
#define KVM_PPC_IOC(dir, nr, size) \
    ((dir) << 29 | (unsigned)(size) << 16 | KVMIO << 8 | (unsigned)(nr))
#define KVM_PPC_IO(nr) KVM_PPC_IOC(KVM_PPC_IOC_NONE, nr, 0)
#define KVM_PPC_IOR(nr, type) KVM_PPC_IOC(KVM_PPC_IOC_READ, nr, sizeof(type))
#define KVM_PPC_IOW(nr, type) KVM_PPC_IOC(KVM_PPC_IOC_WRITE, nr, sizeof(type))
#define KVM_PPC_IOWR(nr, type) KVM_PPC_IOC(KVM_PPC_IOC_READ | KVM_PPC_IOC_WRITE, nr, sizeof(type))

#define KVM_API_VERSION 12

/* ---- memory ---- */

/* for KVM_SET_USER_MEMORY_REGION */
struct kvm_userspace_memory_region {
    __u32 slot;
    __u32 flags;
    __u64 guest_phys_addr;
    __u64 memory_size;    /* bytes */
    __u64 userspace_addr; /* start of the userspace allocated memory */
};

#define KVM_MEM_LOG_DIRTY_PAGES (1u << 0)
#define KVM_MEM_READONLY (1u << 1)

/* ---- registers ---- */

/* for KVM_GET_REGS and KVM_SET_REGS */
struct kvm_regs {
    __u64 pc;
    __u64 cr;
    __u64 ctr;
    __u64 lr;
    __u64 xer;
    __u64 msr;
    __u64 srr0;
    __u64 srr1;
    __u64 pid;

    __u64 sprg0;
    __u64 sprg1;
    __u64 sprg2;
    __u64 sprg3;
    __u64 sprg4;
    __u64 sprg5;
    __u64 sprg6;
    __u64 sprg7;

    __u64 gpr[32];
};

#define KVM_SREGS_E_IMPL_NONE 0
#define KVM_SREGS_E_IMPL_FSL 1

#define KVM_SREGS_E_FSL_PIDn (1u << 0) /* PID1/PID2 */

/*
 * Feature bits: which sections of kvm_sregs.u.e are valid. Registers of a section whose bit is not
 * set are not changed by KVM_SET_SREGS.
 */
#define KVM_SREGS_E_BASE (1u << 0)        /* CSRR, ESR, DEAR, MCSR, TSR, TCR, DEC, TB, VRSAVE */
#define KVM_SREGS_E_ARCH206 (1u << 1)     /* PIR, MCSRR, DECAR, IVPR */
#define KVM_SREGS_E_64 (1u << 2)          /* EPCR and upper halves */
#define KVM_SREGS_E_SPRG8 (1u << 3)       /* SPRG8 */
#define KVM_SREGS_E_MCIVPR (1u << 4)      /* MCIVPR */
#define KVM_SREGS_E_IVOR (1u << 5)        /* IVOR0-15, and 32-37 with E_SPE, E_PM, E_PC */
#define KVM_SREGS_E_ARCH206_MMU (1u << 6) /* MAS0-4, MAS6-7, TLBnCFG, MMUCFG */
#define KVM_SREGS_E_DEBUG (1u << 7)       /* DBSR, DBCR, IAC, DAC, DVC */
#define KVM_SREGS_E_ED (1u << 8)          /* DSRR0/1, SPRG9 */
#define KVM_SREGS_E_SPE (1u << 9)         /* IVOR32-34 */
#define KVM_SREGS_EXP (1u << 10)          /* EPR (use KVM_REG_PPC_EPR) */
#define KVM_SREGS_E_PD (1u << 11)         /* EPSC, EPLC */
#define KVM_SREGS_E_PC (1u << 12)         /* IVOR36-37 */
#define KVM_SREGS_E_PT (1u << 13)         /* EPTCFG */
#define KVM_SREGS_E_PM (1u << 14)         /* IVOR35 */

/* Registers that change while a vCPU does not run: set only if asked for in update_special. */
#define KVM_SREGS_E_UPDATE_MCSR (1u << 0)
#define KVM_SREGS_E_UPDATE_TSR (1u << 1)
#define KVM_SREGS_E_UPDATE_DEC (1u << 2)
#define KVM_SREGS_E_UPDATE_DBSR (1u << 3)

/* The Book E registers, kvm_sregs.u.e */
struct kvm_sregs_e {
    union {
        struct {            /* KVM_SREGS_E_IMPL_FSL */
            __u32 features; /* KVM_SREGS_E_FSL_ */
            __u32 svr;
            __u64 mcar;
            __u32 hid0;
            __u32 pid1, pid2; /* KVM_SREGS_E_FSL_PIDn */
        } fsl;
        __u8 pad[256];
    } impl;

    __u32 features;       /* KVM_SREGS_E_ */
    __u32 impl_id;        /* KVM_SREGS_E_IMPL_ */
    __u32 update_special; /* KVM_SREGS_E_UPDATE_ */
    __u32 pir;            /* read-only */
    __u64 sprg8;
    __u64 sprg9; /* E.ED */
    __u64 csrr0;
    __u64 dsrr0; /* E.ED */
    __u64 mcsrr0;
    __u32 csrr1;
    __u32 dsrr1; /* E.ED */
    __u32 mcsrr1;
    __u32 esr;
    __u64 dear;
    __u64 ivpr;
    __u64 mcivpr;
    __u64 mcsr; /* KVM_SREGS_E_UPDATE_MCSR */

    __u32 tsr; /* KVM_SREGS_E_UPDATE_TSR */
    __u32 tcr;
    __u32 decar;
    __u32 dec; /* KVM_SREGS_E_UPDATE_DEC */

    __u64 tb; /* read-only, consistent with dec */

    __u32 dbsr; /* KVM_SREGS_E_UPDATE_DBSR */
    __u32 dbcr[3];
    __u32 iac[4];
    __u32 dac[2];
    __u32 dvc[2];
    __u8 num_iac; /* read-only */
    __u8 num_dac; /* read-only */
    __u8 num_dvc; /* read-only */
    __u8 pad;

    __u32 epr;    /* EXP */
    __u32 vrsave; /* also USPRG0 */
    __u32 epcr;   /* KVM_SREGS_E_64 */

    __u32 mas0;
    __u32 mas1;
    __u64 mas2;
    __u64 mas7_3;
    __u32 mas4;
    __u32 mas6;

    __u32 ivor_low[16];  /* IVOR0-15 */
    __u32 ivor_high[18]; /* IVOR32 and up */

    __u32 mmucfg;    /* read-only */
    __u32 eptcfg;    /* E.PT, read-only */
    __u32 tlbcfg[4]; /* read-only */
    __u32 tlbps[4];  /* read-only */

    __u32 eplc, epsc; /* E.PD */
};

/* for KVM_GET_SREGS and KVM_SET_SREGS; the union's size is that of Linux's Book S registers */
struct kvm_sregs {
    __u32 pvr;
    union {
        struct kvm_sregs_e e;
        __u8 pad[1224];
    } u;
};

/* for KVM_GET_FPU and KVM_SET_FPU */
struct kvm_fpu {
    __u64 fpr[32];
};

/* for KVM_GET_ONE_REG and KVM_SET_ONE_REG: `addr` is a pointer to a value of the id's size */
struct kvm_one_reg {
    __u64 id;
    __u64 addr;
};

/* ---- interrupts and capabilities ---- */

struct kvm_interrupt {
    __u32 irq; /* KVM_INTERRUPT_ */
};

#define KVM_INTERRUPT_SET ((__u32)-1)
#define KVM_INTERRUPT_UNSET ((__u32)-2)
#define KVM_INTERRUPT_SET_LEVEL ((__u32)-3)

struct kvm_enable_cap {
    __u32 cap;
    __u32 flags;
    __u64 args[4];
    __u8 pad[64];
};

#define KVM_MP_STATE_RUNNABLE 0
#define KVM_MP_STATE_STOPPED 8
struct kvm_mp_state {
    __u32 mp_state;
};

/* ---- translation and the software TLB ---- */

/* for KVM_TRANSLATE */
struct kvm_translation {
    __u64 linear_address; /* bits 0-31 EA, 32-39 PID, 40 AS (KVM on Book E) */

    __u64 physical_address;
    __u8 valid;
    __u8 writeable;
    __u8 usermode;
    __u8 pad[5];
};

#define KVM_MMU_FSL_BOOKE_NOHV 0
#define KVM_MMU_FSL_BOOKE_HV 1

/* args[0] of KVM_ENABLE_CAP(KVM_CAP_SW_TLB) points to this */
struct kvm_config_tlb {
    __u64 params; /* pointer to kvm_book3e_206_tlb_params */
    __u64 array;  /* pointer to the kvm_book3e_206_tlb_entry array */
    __u32 mmu_type;
    __u32 array_len; /* bytes */
};

/* for KVM_DIRTY_TLB */
struct kvm_dirty_tlb {
    __u64 bitmap; /* pointer to one bit per entry, least significant first in each __u64 */
    __u32 num_dirty;
};

struct kvm_book3e_206_tlb_entry {
    __u32 mas8;
    __u32 mas1;
    __u64 mas2;
    __u64 mas7_3;
};

struct kvm_book3e_206_tlb_params {
    __u32 tlb_sizes[4];
    __u32 tlb_ways[4];
    __u32 reserved[8];
};

/* ---- debug ---- */

#define KVMPPC_DEBUG_NONE 0x0u
#define KVMPPC_DEBUG_BREAKPOINT (1u << 1)
#define KVMPPC_DEBUG_WATCH_WRITE (1u << 2)
#define KVMPPC_DEBUG_WATCH_READ (1u << 3)

struct kvm_debug_exit_arch {
    __u64 address;
    __u32 status; /* KVMPPC_DEBUG_ */
    __u32 reserved;
};

struct kvm_guest_debug_arch {
    struct {
        __u64 addr;
        __u32 type; /* KVMPPC_DEBUG_ */
        __u32 reserved;
    } bp[16];
};

#define KVM_GUESTDBG_ENABLE 0x00000001u
#define KVM_GUESTDBG_SINGLESTEP 0x00000002u
#define KVM_GUESTDBG_USE_SW_BP 0x00010000u
#define KVM_GUESTDBG_USE_HW_BP 0x00020000u

/* for KVM_SET_GUEST_DEBUG */
struct kvm_guest_debug {
    __u32 control;
    __u32 pad;
    struct kvm_guest_debug_arch arch;
};

/* ---- the run area, shared with KVM_RUN ---- */

#define KVM_EXIT_UNKNOWN 0
#define KVM_EXIT_DEBUG 4
#define KVM_EXIT_HLT 5
#define KVM_EXIT_MMIO 6
#define KVM_EXIT_SHUTDOWN 8
#define KVM_EXIT_FAIL_ENTRY 9
#define KVM_EXIT_INTR 10
#define KVM_EXIT_INTERNAL_ERROR 17
#define KVM_EXIT_WATCHDOG 21
#define KVM_EXIT_EPR 23
#define KVM_EXIT_SYSTEM_EVENT 24

#define KVM_INTERNAL_ERROR_EMULATION 1

#define KVM_SYSTEM_EVENT_SHUTDOWN 1
#define KVM_SYSTEM_EVENT_RESET 2
#define KVM_SYSTEM_EVENT_CRASH 3

#define KVM_PPC_SYNC_REGS_SIZE_BYTES 2048

struct kvm_run {
    /* in */
    __u8 request_interrupt_window;
    __u8 immediate_exit;
    __u8 padding1[6];

    /* out */
    __u32 exit_reason;
    __u8 ready_for_interrupt_injection;
    __u8 if_flag;
    __u16 flags;

    __u64 cr8;
    __u64 apic_base;

    union {
        /* KVM_EXIT_UNKNOWN */
        struct {
            __u64 hardware_exit_reason;
        } hw;
        /* KVM_EXIT_FAIL_ENTRY */
        struct {
            __u64 hardware_entry_failure_reason;
            __u32 cpu;
        } fail_entry;
        /* KVM_EXIT_DEBUG */
        struct {
            struct kvm_debug_exit_arch arch;
        } debug;
        /* KVM_EXIT_MMIO */
        struct {
            __u64 phys_addr;
            __u8 data[8]; /* the bytes as they are in memory, lowest address first */
            __u32 len;
            __u8 is_write;
        } mmio;
        /* KVM_EXIT_INTERNAL_ERROR */
        struct {
            __u32 suberror;
            __u32 ndata;
            __u64 data[16];
        } internal;
        /* KVM_EXIT_EPR */
        struct {
            __u32 epr;
        } epr;
        /* KVM_EXIT_SYSTEM_EVENT */
        struct {
            __u32 type;
            __u32 ndata;
            __u64 data[16];
        } system_event;
        __u8 padding[256];
    };

    __u64 kvm_valid_regs;
    __u64 kvm_dirty_regs;
    __u8 s_padding[KVM_PPC_SYNC_REGS_SIZE_BYTES];
};

/* ---- requests of the system handle (/dev/kvm) ---- */

#define KVM_GET_API_VERSION KVM_PPC_IO(0x00)
#define KVM_CREATE_VM KVM_PPC_IO(0x01)
#define KVM_CHECK_EXTENSION KVM_PPC_IO(0x03) /* of the VM handle too */
#define KVM_GET_VCPU_MMAP_SIZE KVM_PPC_IO(0x04)

/* ---- of a VM ---- */

#define KVM_CREATE_VCPU KVM_PPC_IO(0x41)
#define KVM_SET_USER_MEMORY_REGION KVM_PPC_IOW(0x46, struct kvm_userspace_memory_region)

/* ---- of a vCPU ---- */

#define KVM_RUN KVM_PPC_IO(0x80)
#define KVM_GET_REGS KVM_PPC_IOR(0x81, struct kvm_regs)
#define KVM_SET_REGS KVM_PPC_IOW(0x82, struct kvm_regs)
#define KVM_GET_SREGS KVM_PPC_IOR(0x83, struct kvm_sregs)
#define KVM_SET_SREGS KVM_PPC_IOW(0x84, struct kvm_sregs)
#define KVM_TRANSLATE KVM_PPC_IOWR(0x85, struct kvm_translation)
#define KVM_INTERRUPT KVM_PPC_IOW(0x86, struct kvm_interrupt)
#define KVM_GET_FPU KVM_PPC_IOR(0x8c, struct kvm_fpu)
#define KVM_SET_FPU KVM_PPC_IOW(0x8d, struct kvm_fpu)
#define KVM_GET_MP_STATE KVM_PPC_IOR(0x98, struct kvm_mp_state)
#define KVM_SET_MP_STATE KVM_PPC_IOW(0x99, struct kvm_mp_state)
#define KVM_SET_GUEST_DEBUG KVM_PPC_IOW(0x9b, struct kvm_guest_debug)
#define KVM_ENABLE_CAP KVM_PPC_IOW(0xa3, struct kvm_enable_cap)
#define KVM_DIRTY_TLB KVM_PPC_IOW(0xaa, struct kvm_dirty_tlb)
#define KVM_GET_ONE_REG KVM_PPC_IOW(0xab, struct kvm_one_reg)
#define KVM_SET_ONE_REG KVM_PPC_IOW(0xac, struct kvm_one_reg)

/* ---- capabilities ---- */

#define KVM_CAP_USER_MEMORY 3
#define KVM_CAP_NR_VCPUS 9
#define KVM_CAP_NR_MEMSLOTS 10
#define KVM_CAP_MP_STATE 14
#define KVM_CAP_SYNC_MMU 16
#define KVM_CAP_DESTROY_MEMORY_REGION_WORKS 21
#define KVM_CAP_SET_GUEST_DEBUG 23
#define KVM_CAP_JOIN_MEMORY_REGIONS_WORKS 30
#define KVM_CAP_INTERNAL_ERROR_DATA 40
#define KVM_CAP_PPC_UNSET_IRQ 53
#define KVM_CAP_ENABLE_CAP 54
#define KVM_CAP_PPC_IRQ_LEVEL 58
#define KVM_CAP_PPC_BOOKE_SREGS 62
#define KVM_CAP_MAX_VCPUS 66
#define KVM_CAP_SW_TLB 69
#define KVM_CAP_ONE_REG 70
#define KVM_CAP_READONLY_MEM 81
#define KVM_CAP_PPC_BOOKE_WATCHDOG 83
#define KVM_CAP_PPC_EPR 86
#define KVM_CAP_CHECK_EXTENSION_VM 105
#define KVM_CAP_MAX_VCPU_ID 128
#define KVM_CAP_IMMEDIATE_EXIT 136
#define KVM_CAP_PPC_GUEST_DEBUG_SSTEP 176

/* ---- registers by id (KVM_CAP_ONE_REG) ---- */

#define KVM_REG_ARCH_MASK 0xff00000000000000ULL
#define KVM_REG_PPC 0x1000000000000000ULL
#define KVM_REG_SIZE_SHIFT 52
#define KVM_REG_SIZE_MASK 0x00f0000000000000ULL
#define KVM_REG_SIZE_U32 0x0020000000000000ULL
#define KVM_REG_SIZE_U64 0x0030000000000000ULL

#define KVM_REG_PPC_IAC1 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x2)
#define KVM_REG_PPC_IAC2 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x3)
#define KVM_REG_PPC_IAC3 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x4)
#define KVM_REG_PPC_IAC4 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x5)
#define KVM_REG_PPC_DAC1 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x6)
#define KVM_REG_PPC_DAC2 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x7)
#define KVM_REG_PPC_FPR0 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x20)
#define KVM_REG_PPC_FPR(n) (KVM_REG_PPC_FPR0 + (n))
#define KVM_REG_PPC_FPR31 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x3f)
#define KVM_REG_PPC_FPSCR (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x80)
#define KVM_REG_PPC_EPCR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x85)
#define KVM_REG_PPC_EPR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x86)
#define KVM_REG_PPC_OR_TSR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x87)
#define KVM_REG_PPC_CLEAR_TSR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x88)
#define KVM_REG_PPC_TCR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x89)
#define KVM_REG_PPC_TSR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x8a)
#define KVM_REG_PPC_DEBUG_INST (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x8b)
#define KVM_REG_PPC_MAS0 (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x8c)
#define KVM_REG_PPC_MAS1 (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x8d)
#define KVM_REG_PPC_MAS2 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x8e)
#define KVM_REG_PPC_MAS7_3 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0x8f)
#define KVM_REG_PPC_MAS4 (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x90)
#define KVM_REG_PPC_MAS6 (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x91)
#define KVM_REG_PPC_MMUCFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x92)
#define KVM_REG_PPC_TLB0CFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x93)
#define KVM_REG_PPC_TLB1CFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x94)
#define KVM_REG_PPC_TLB2CFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x95)
#define KVM_REG_PPC_TLB3CFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x96)
#define KVM_REG_PPC_TLB0PS (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x97)
#define KVM_REG_PPC_TLB1PS (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x98)
#define KVM_REG_PPC_TLB2PS (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x99)
#define KVM_REG_PPC_TLB3PS (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x9a)
#define KVM_REG_PPC_EPTCFG (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0x9b)
#define KVM_REG_PPC_VRSAVE (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0xb4)
#define KVM_REG_PPC_SPRG9 (KVM_REG_PPC | KVM_REG_SIZE_U64 | 0xba)
#define KVM_REG_PPC_DBSR (KVM_REG_PPC | KVM_REG_SIZE_U32 | 0xbb)

#ifdef __cplusplus
#include <cstddef>
static_assert(sizeof(kvm_userspace_memory_region) == 32);
static_assert(sizeof(kvm_regs) == 392);
static_assert(offsetof(kvm_sregs, u) == 8);
static_assert(sizeof(kvm_sregs_e) == 664);
static_assert(sizeof(kvm_sregs) == 1232);
static_assert(sizeof(kvm_fpu) == 256);
static_assert(sizeof(kvm_one_reg) == 16);
static_assert(sizeof(kvm_enable_cap) == 104);
static_assert(sizeof(kvm_translation) == 24);
static_assert(sizeof(kvm_config_tlb) == 24);
static_assert(sizeof(kvm_dirty_tlb) == 16);
static_assert(sizeof(kvm_book3e_206_tlb_entry) == 24);
static_assert(sizeof(kvm_book3e_206_tlb_params) == 64);
static_assert(sizeof(kvm_guest_debug) == 264);
static_assert(offsetof(kvm_run, exit_reason) == 8);
static_assert(offsetof(kvm_run, mmio) == 32);
static_assert(sizeof(kvm_run) == 2352);
#endif

#endif /* PERFVISOR_KVM_POWERPC_H */
