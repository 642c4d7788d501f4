// Messages of the plugins. They go to the logger of the TensorRT that loaded the library (setLoggerFinder), else to
// standard error. Defined in registry.cpp.
#pragma once

#include <string>

namespace edgeexport {

// Never throws; safe from every plugin callback.
void logError(std::string const& message) noexcept;

}  // namespace edgeexport
