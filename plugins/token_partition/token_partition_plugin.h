// TokenPartition as a TensorRT plugin: score (B,N) -> kept (B,N-k), taken (B,k). Attribute: k.
#pragma once

#include "common/plugin_base.h"
#include "token_partition/partition_sizes.h"

namespace edgeexport {

class TokenPartitionOp : public OpDefaults {
public:
    static constexpr char const* kName = "TokenPartition";
    static constexpr std::array<AttributeSpec, 1> kAttributes{
        {{"k", AttributeSpec::Kind::kInteger, 1, kPartitionMaxTokens}}};
    static constexpr std::array<TensorSpec, 1> kInputs{{{"score", Element::kData, 2}}};
    static constexpr std::array<TensorSpec, 2> kOutputs{{{"kept", Element::kInt32, 2}, {"taken", Element::kInt32, 2}}};
    static constexpr std::array<char const*, 1> kLaunches{"tokenPartitionKernel"};

    explicit TokenPartitionOp(Attributes const& attributes);

    void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const;
    void check(nvinfer1::Dims const* in) const;
    cudaError_t launch(Launch const& launch) const;

private:
    int32_t k_;
};

// The creator, alive as long as the library.
nvinfer1::IPluginCreatorInterface* tokenPartitionCreator();

}  // namespace edgeexport
