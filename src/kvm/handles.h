// SPDX-License-Identifier: GPL-2.0-or-later
// The three handles of the KVM API, the same for the KVM in user space and for the kernel's:
// system, VM, vCPU. Requests and structures are those of kvm/uapi; kvm/api.h wraps them in types.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "kvm/uapi/kvm_perfmon.h"
#include "kvm/uapi/kvm_powerpc.h"
#include "kvm/uapi/kvm_soft.h"

namespace perfvisor::kvm {

// One virtual CPU. While one thread is in KVM_RUN, requests of others wait until it returns, but
// for KVM_INTERRUPT, kick() and those that uapi/kvm_soft.h says may come from any thread. It must
// be destroyed before its VM.
class Vcpu {
  public:
    virtual ~Vcpu() = default;

    // 0 or more, or -errno. `argument` points to the request's structure; KVM_RUN has none.
    virtual int ioctl(uint32_t request, void* argument) = 0;

    // The area shared with KVM_RUN: immediate_exit in, exit_reason and its details out. It is the
    // vCPU's own and lives as long as it.
    virtual kvm_run* run() = 0;

    // From any thread, and from a signal handler: sets immediate_exit and brings the vCPU out of
    // KVM_RUN, which then gives -EINTR with exit_reason KVM_EXIT_INTR. Where no KVM_RUN is under
    // way the next one returns so. The caller of KVM_RUN clears run()->immediate_exit
    // (forget_kick()).
    virtual void kick() = 0;

    // After KVM_EXIT_INTERNAL_ERROR: what went wrong, in one or more lines, where that is known.
    virtual std::string failure() const { return {}; }
};

// One virtual machine: guest memory and vCPUs. Requests may come from any thread.
class Vm {
  public:
    virtual ~Vm() = default;

    // 0 or more, or -errno. `argument` points to the request's structure; KVM_RESERVE_PERFMON and
    // KVM_RELEASE_PERFMON have none, KVM_CHECK_EXTENSION has the number as if it were a pointer.
    virtual int ioctl(uint32_t request, void* argument) = 0;

    // After -EBUSY or another failure of KVM_RESERVE_PERFMON: the sentence that says who holds the
    // performance monitor or what went wrong, where more is known than the errno.
    virtual std::string perfmon_failure() const { return {}; }

    // KVM_CREATE_VCPU: `id` is the guest's PIR, from 0.
    virtual Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned id) = 0;
};

// A KVM: what /dev/kvm is.
class System {
  public:
    virtual ~System() = default;

    // 0 or more, or -errno. KVM_CHECK_EXTENSION has the number as if it were a pointer.
    virtual int ioctl(uint32_t request, void* argument) = 0;

    // KVM_CREATE_VM. The VM may outlive the system handle.
    virtual Result<std::unique_ptr<Vm>> create_vm() = 0;
};

}  // namespace perfvisor::kvm
