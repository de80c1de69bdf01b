// Errors as values: every function that can fail for a reason the user can act on returns
// Result<T>, whose error is one sentence saying what is wrong and what would be right.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace perfvisor {

struct Error {
    std::string message;  // One sentence, no trailing newline; names the option, file or value.
    int exit_status = 1;  // What the process exits with: 1, or 2 for wrong usage.
};

template <typename T>
using Result = tl::expected<T, Error>;

// fail("kernel {} is empty", path): an error to return from a function that returns Result<T>.
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
    return tl::unexpected(Error{fmt::format(format, std::forward<Args>(args)...), 1});
}

}  // namespace perfvisor
