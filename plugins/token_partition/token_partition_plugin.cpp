// TensorRT's side of TokenPartition; host-compiled, the kernel is behind the launcher.
#include "token_partition/token_partition_plugin.h"

#include "token_partition/token_partition.h"

namespace edgeexport {

TokenPartitionOp::TokenPartitionOp(Attributes const& attributes) : k_(attributes.integer("k")) {}

void TokenPartitionOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const {
    nvinfer1::IDimensionExpr const* const k = builder.constant(k_);
    out[0].d[0] = in[0].d[0];
    out[0].d[1] = builder.operation(nvinfer1::DimensionOperation::kSUB, *in[0].d[1], *k);
    out[1].d[0] = in[0].d[0];
    out[1].d[1] = k;
}

void TokenPartitionOp::check(nvinfer1::Dims const* in) const {
    TokenPartitionSizes const sizes{static_cast<int32_t>(in[0].d[0]), static_cast<int32_t>(in[0].d[1]), k_};
    if (char const* const refusal = partitionRefusal(sizes); refusal != nullptr) {
        throw std::invalid_argument("score of " + std::to_string(sizes.batch) + " x " + std::to_string(sizes.tokens) +
                                    " and k = " + std::to_string(k_) + ": " + refusal);
    }
}

cudaError_t TokenPartitionOp::launch(Launch const& launch) const {
    TokenPartitionSizes const sizes{launch.inputDim(0, 0), launch.inputDim(0, 1), k_};
    return launchTokenPartition(launch.input<void>(0), launch.inputType(0), sizes, launch.output<int32_t>(0),
        launch.output<int32_t>(1), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenPartitionCreator() {
    static OpCreator<TokenPartitionOp> creator;
    return &creator;
}

}  // namespace edgeexport
