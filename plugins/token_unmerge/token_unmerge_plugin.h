// TokenUnmerge as a TensorRT plugin: tokens (B,n,C), index (B,m) -> rows (B,m,C). No attributes.
#pragma once

#include "common/plugin_base.h"

namespace edgeexport {

class TokenUnmergeOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenUnmerge";
    static constexpr std::array<AttributeSpec, 0> kAttributes{};
    static constexpr std::array<TensorSpec, 2> kInputs{{{"tokens", Element::kData, 3}, {"index", Element::kInt32, 2}}};
    static constexpr std::array<TensorSpec, 1> kOutputs{{{"rows", Element::kData, 3}}};
    static constexpr std::array<char const*, 1> kLaunches{"tokenUnmergeKernel"};
    static constexpr bool kIntegerData = true;  // index maps pass through too, composed stage by stage

    explicit TokenUnmergeOp(Attributes const& /*attributes*/) {}

    void outputShapes(
        nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& /*builder*/) const;
    void check(nvinfer1::Dims const* in) const;
    cudaError_t launch(Launch const& launch) const;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenUnmergeCreator();

}  // namespace edgeexport
