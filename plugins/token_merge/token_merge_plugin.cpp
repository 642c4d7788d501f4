// TensorRT's side of TokenMerge; host-compiled, the kernel is behind the launcher.
#include "token_merge/token_merge_plugin.h"

#include <algorithm>

#include "token_merge/token_merge.h"

namespace edgeexport {

void TokenMergeOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const {
    nvinfer1::IDimensionExpr const* const copied_and_merged =
        builder.constant(static_cast<int64_t>(prefix_) + static_cast<int64_t>(destinations_.size()));
    nvinfer1::IDimensionExpr const* const rows =
        builder.operation(nvinfer1::DimensionOperation::kSUM, *in[4].d[1], *copied_and_merged);
    out[0].d[0] = in[0].d[0];
    out[0].d[1] = rows;
    out[0].d[2] = in[0].d[2];
    out[1].d[0] = in[0].d[0];
    out[1].d[1] = rows;
    out[1].d[2] = builder.constant(1);
}

void TokenMergeOp::check(nvinfer1::Dims const* in) const {
    int64_t const batch = in[0].d[0];
    int64_t const tokens = in[0].d[1];
    for (size_t i = 1; i < kInputs.size(); ++i) {
        if (in[i].d[0] != batch) {
            throw std::invalid_argument(std::string(kInputs[i].name) + " of " + std::to_string(in[i].d[0]) +
                                        " images, expected " + std::to_string(batch) + " as x has");
        }
    }
    if (in[1].d[1] != tokens || in[1].d[2] != 1) {
        throw std::invalid_argument("size of " + std::to_string(in[1].d[1]) + " x " + std::to_string(in[1].d[2]) +
                                    ", expected " + std::to_string(tokens) + " x 1 to go with x");
    }
    if (in[2].d[1] != in[3].d[1]) {
        throw std::invalid_argument(std::to_string(in[2].d[1]) + " sources and " + std::to_string(in[3].d[1]) +
                                    " targets, expected as many");
    }
    int32_t const largest = *std::max_element(destinations_.begin(), destinations_.end());
    if (prefix_ > tokens || largest >= tokens) {
        throw std::invalid_argument("attributes prefix = " + std::to_string(prefix_) + " and destinations up to " +
                                    std::to_string(largest) + ", expected to fit " + std::to_string(tokens) +
                                    " tokens; the graph was changed after its export: build it again");
    }
}

cudaError_t TokenMergeOp::launch(Launch const& launch) const {
    TokenMergeSizes const sizes{launch.inputDim(0, 0), launch.inputDim(0, 1), launch.inputDim(0, 2),
        launch.inputDim(2, 1), launch.inputDim(4, 1), prefix_, static_cast<int32_t>(destinations_.size())};
    TokenMergeAddresses const tensors{launch.input<void>(0), launch.input<float>(1), launch.input<int32_t>(2),
        launch.input<int32_t>(3), launch.input<int32_t>(4), launch.table, launch.output<void>(0),
        launch.output<float>(1)};
    return launchTokenMerge(tensors, sizes, launch.inputType(0), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenMergeCreator() {
    static OpCreator<TokenMergeOp> creator;
    return &creator;
}

}  // namespace edgeexport
