// SPDX-License-Identifier: GPL-2.0-or-later
// Where a command's results go. A disk that is full is an error, not a report that is cut off.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace perfvisor::cli {

class ReportOutput {
  public:
    // The file of -o, emptied; without one stderr, as perf stat has it. Fails with a sentence that
    // names the option.
    static Result<ReportOutput> open(const std::optional<std::string>& file);

    // All of it, at once.
    Result<void> write(std::string_view text) const;

  private:
    UniqueFd file_;
    std::string name_ = "standard error";
};

// The same on stdout; gives exit status 0.
Result<int> print_to_stdout(std::string_view text);

}  // namespace perfvisor::cli
