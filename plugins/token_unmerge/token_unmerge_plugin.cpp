// TensorRT's side of TokenUnmerge; host-compiled, the kernel is behind the launcher.
#include "token_unmerge/token_unmerge_plugin.h"

#include "token_unmerge/token_unmerge.h"

namespace edgeexport {

void TokenUnmergeOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& /*builder*/) const {
    out[0].d[0] = in[0].d[0];
    out[0].d[1] = in[1].d[1];
    out[0].d[2] = in[0].d[2];
}

void TokenUnmergeOp::check(nvinfer1::Dims const* in) const {
    if (in[0].d[0] != in[1].d[0]) {
        throw std::invalid_argument("tokens of " + std::to_string(in[0].d[0]) + " images and indices of " +
                                    std::to_string(in[1].d[0]) + ", expected as many");
    }
}

cudaError_t TokenUnmergeOp::launch(Launch const& launch) const {
    TokenUnmergeSizes const sizes{
        launch.inputDim(0, 0), launch.inputDim(0, 1), launch.inputDim(1, 1), launch.inputDim(0, 2)};
    return launchTokenUnmerge(launch.input<void>(0), launch.input<int32_t>(1), launch.output<void>(0), sizes,
        launch.inputType(0), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenUnmergeCreator() {
    static OpCreator<TokenUnmergeOp> creator;
    return &creator;
}

}  // namespace edgeexport
