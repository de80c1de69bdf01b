// SPDX-License-Identifier: GPL-2.0-or-later
// Where a command's results go.
#include "cli/report_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace perfvisor::cli {
namespace {

std::string errno_text() {
    return std::generic_category().message(errno);
}

Result<void> write_all(int descriptor, const std::string& name, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = write(descriptor, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail("{} cannot be written: {}", name, errno_text());
        text.remove_prefix(static_cast<size_t>(n));
    }
    return {};
}

}  // namespace

Result<ReportOutput> ReportOutput::open(const std::optional<std::string>& file) {
    ReportOutput output;
    if (!file) return output;
    output.name_ = fmt::format("-o: \"{}\"", *file);
    output.file_ = UniqueFd(::open(file->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!output.file_) return fail("{} cannot be written: {}", output.name_, errno_text());
    return output;
}

Result<void> ReportOutput::write(std::string_view text) const {
    return write_all(file_ ? file_.get() : STDERR_FILENO, name_, text);
}

Result<int> print_to_stdout(std::string_view text) {
    if (auto written = write_all(STDOUT_FILENO, "standard output", text); !written)
        return tl::unexpected(written.error());
    return 0;
}

}  // namespace perfvisor::cli
