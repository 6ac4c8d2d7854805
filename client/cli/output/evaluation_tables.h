#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::cli {

// The texts of a report, a line each; "" where it has none. So with the others.
std::string EvaluationText(const v1::Report& report);

// Multiple choice and last words.
std::string TasksText(const v1::Report& report);

// What is left of the original by domain, where something is compared.
std::string DomainsText(const v1::Report& report);

}  // namespace calipress::cli
