// The library's door: the creators, the logger, and what the library was built from.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstdio>

#include "common/log.h"
#include "common/portable.h"
#include "token_match/token_match_plugin.h"
#include "token_match_merge/token_match_merge_plugin.h"
#include "token_merge/token_merge_plugin.h"
#include "token_partition/token_partition_plugin.h"
#include "token_protect_select/token_protect_select_plugin.h"
#include "token_unmerge/token_unmerge_plugin.h"
#include "upsample_argmax/upsample_argmax_plugin.h"

// Set by the build: a list like 87 or 86,89 and the hash of the sources.
#ifndef EDGEEXPORT_ARCHITECTURES
#error "define EDGEEXPORT_ARCHITECTURES, for example -DEDGEEXPORT_ARCHITECTURES=87"
#endif
#ifndef EDGEEXPORT_SOURCE_HASH
#error "define EDGEEXPORT_SOURCE_HASH, the SHA-256 of the sources in hexadecimal"
#endif

#define EDGEEXPORT_TEXT_OF(...) #__VA_ARGS__
#define EDGEEXPORT_TEXT(...) EDGEEXPORT_TEXT_OF(__VA_ARGS__)

namespace edgeexport {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// Found in the file by its first characters, without loading it; ends with a null character.
#define EDGEEXPORT_MARK "EDGEEXPORT_PLUGINS_BUILD_INFO="
__attribute__((used)) char const build_info[] =
    EDGEEXPORT_MARK "{\"schema\": \"edgeexport.plugins/1\", \"architectures\": [" EDGEEXPORT_TEXT(
        EDGEEXPORT_ARCHITECTURES) "], \"tensorrt\": \"" EDGEEXPORT_TEXT(NV_TENSORRT_MAJOR) "." EDGEEXPORT_TEXT(
        NV_TENSORRT_MINOR) "." EDGEEXPORT_TEXT(NV_TENSORRT_PATCH) "\", \"cuda\": " EDGEEXPORT_TEXT(
        CUDART_VERSION) ", \"source_hash\": \"" EDGEEXPORT_TEXT(EDGEEXPORT_SOURCE_HASH) "\"}";

}  // namespace

void logError(std::string const& message) noexcept {
    try {
        nvinfer1::ILoggerFinder* const finder = logger_finder.load();
        nvinfer1::ILogger* const logger = finder != nullptr ? finder->findLogger() : nullptr;
        if (logger != nullptr) {
            logger->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
            return;
        }
    } catch (...) {  // a finder may throw; the message still has somewhere to go
    }
    std::fprintf(stderr, "edgeexport plugins: %s\n", message.c_str());
}

}  // namespace edgeexport

// TensorRT calls both when it loads the library.

EDGEEXPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static std::array<nvinfer1::IPluginCreatorInterface*, 7> const creators{
        edgeexport::tokenMatchCreator(),
        edgeexport::tokenMergeCreator(),
        edgeexport::tokenUnmergeCreator(),
        edgeexport::tokenPartitionCreator(),
        edgeexport::upsampleArgmaxCreator(),
        edgeexport::tokenProtectSelectCreator(),
        edgeexport::tokenMatchMergeCreator(),
    };
    count = static_cast<int32_t>(creators.size());
    return creators.data();
}

EDGEEXPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
    edgeexport::logger_finder.store(finder);
}

// JSON: architectures (list of integers), tensorrt (of the headers), cuda (CUDART_VERSION), source_hash.
EDGEEXPORT_EXPORT char const* edgeexport_plugins_build_info() {
    return edgeexport::build_info + sizeof(EDGEEXPORT_MARK) - 1;
}
