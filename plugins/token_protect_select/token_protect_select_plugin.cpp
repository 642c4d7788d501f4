// TensorRT's side of TokenProtectSelect; host-compiled, the kernels are behind the launcher.
#include "token_protect_select/token_protect_select_plugin.h"

#include "token_protect_select/token_protect_select.h"

namespace edgeexport {

ProtectSelectSizes TokenProtectSelectOp::sizesOf(
    nvinfer1::Dims const& scores, nvinfer1::Dims const& x, nvinfer1::Dims const& rows) const {
    auto const size = [](nvinfer1::Dims const& dims, int32_t axis) { return static_cast<int32_t>(dims.d[axis]); };
    return ProtectSelectSizes{
        size(scores, 0), size(scores, 1), size(scores, 2), size(x, 2), size(rows, 2), k_, per_class_};
}

void TokenProtectSelectOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const {
    nvinfer1::IDimensionExpr const* const left = builder.constant(k_);
    nvinfer1::IDimensionExpr const* const kept =
        builder.operation(nvinfer1::DimensionOperation::kSUB, *in[0].d[2], *left);
    nvinfer1::IDimensionExpr const* const one = builder.constant(1);
    nvinfer1::IDimensionExpr const* const shapes[4][2] = {
        {kept, in[1].d[2]}, {left, in[2].d[2]}, {kept, one}, {left, one}};
    for (int32_t i = 0; i < 4; ++i) {
        out[i].d[0] = in[0].d[0];
        out[i].d[1] = shapes[i][0];
        out[i].d[2] = shapes[i][1];
    }
}

void TokenProtectSelectOp::check(nvinfer1::Dims const* in) const {
    ProtectSelectSizes const sizes = sizesOf(in[0], in[1], in[2]);
    if (char const* const refusal = protectSelectRefusal(sizes); refusal != nullptr) {
        throw std::invalid_argument("scores of " + std::to_string(sizes.batch) + " x " + std::to_string(sizes.classes) +
                                    " x " + std::to_string(sizes.tokens) + " and k = " + std::to_string(k_) + ": " +
                                    refusal);
    }
    for (size_t i = 1; i < kInputs.size(); ++i) {
        if (in[i].d[0] != in[0].d[0] || in[i].d[1] != in[0].d[2] || (i == 3 && in[i].d[2] != 1)) {
            throw std::invalid_argument(std::string(kInputs[i].name) + " of " + std::to_string(in[i].d[0]) + " x " +
                                        std::to_string(in[i].d[1]) + " x " + std::to_string(in[i].d[2]) +
                                        ", expected " + std::to_string(sizes.batch) + " x " +
                                        std::to_string(sizes.tokens) + (i == 3 ? " x 1" : " rows") +
                                        " to go with scores");
        }
    }
}

size_t TokenProtectSelectOp::workspaceBytes(nvinfer1::Dims const* in, ElementType /*type*/) const {
    return protectSelectWorkspaceBytes(sizesOf(in[0], in[1], in[2]));
}

cudaError_t TokenProtectSelectOp::launch(Launch const& launch) const {
    ProtectSelectAddresses const tensors{launch.input<void>(0), launch.input<void>(1), launch.input<void>(2),
        launch.input<int32_t>(3), launch.output<void>(0), launch.output<void>(1), launch.output<int32_t>(2),
        launch.output<int32_t>(3), launch.workspace};
    ProtectSelectSizes const sizes =
        sizesOf(launch.input_desc[0].dims, launch.input_desc[1].dims, launch.input_desc[2].dims);
    return launchTokenProtectSelect(tensors, sizes, launch.inputType(0), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenProtectSelectCreator() {
    static OpCreator<TokenProtectSelectOp> creator;
    return &creator;
}

}  // namespace edgeexport
