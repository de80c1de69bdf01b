// SPDX-License-Identifier: GPL-2.0-or-later
// Where monitors are: one Unix socket in the runtime directory for each running guest. A socket at
// which nobody listens is a leftover of a process that was killed.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "host/runtime_directory.h"

namespace perfvisor::vmm {

// A monitor's end: the name exists exactly while it listens, and goes with the object.
class MonitorSocket {
  public:
    // Makes guest-PID.qmp, for those who may write to the directory (0600; 0660 in a shared one),
    // and removes leftovers. The directory must outlive the socket.
    static Result<MonitorSocket> listen(const host::RuntimeDirectory& directory);
    MonitorSocket(MonitorSocket&&) = default;
    MonitorSocket& operator=(MonitorSocket&&) = delete;
    ~MonitorSocket();

    // Non-blocking.
    int descriptor() const { return descriptor_.get(); }
    const std::string& name() const { return name_; }

  private:
    MonitorSocket(const host::RuntimeDirectory& directory, UniqueFd descriptor, std::string name,
                  host::FileIdentity identity)
        : directory_(&directory),
          descriptor_(std::move(descriptor)),
          name_(std::move(name)),
          identity_(identity) {}

    const host::RuntimeDirectory* directory_;
    UniqueFd descriptor_;
    std::string name_;
    host::FileIdentity identity_;
};

struct MonitorConnection {
    std::string name;  // of the socket
    UniqueFd descriptor;
};
// A connection to each guest that runs, in the order of their names. Leftovers are passed by.
Result<std::vector<MonitorConnection>> connect_monitors(const host::RuntimeDirectory& directory);

}  // namespace perfvisor::vmm
