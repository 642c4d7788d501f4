// TensorRT's side of TokenMatch; host-compiled, the kernels are behind the launcher.
#include "token_match/token_match_plugin.h"

#include "token_match/token_match.h"

namespace edgeexport {
namespace {

TokenMatchSizes sizesOf(MatchTables const& tables, nvinfer1::Dims const& metric) {
    return TokenMatchSizes{tables.counts, static_cast<int32_t>(metric.d[0]), static_cast<int32_t>(metric.d[1]),
        static_cast<int32_t>(metric.d[2])};
}

}  // namespace

TokenMatchOp::TokenMatchOp(Attributes const& attributes)
    : tables_(matchTablesFromAttributes(attributes.integers("sources"), attributes.integers("destinations"),
          attributes.integers("taken"), attributes.integers("left"), attributes.integer("windows"),
          attributes.integer("ascending"))) {
    if (!tables_.valid()) {
        throw attributes.error(tables_.attribute, tables_.problem);
    }
}

void TokenMatchOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const {
    for (int32_t i = 0; i < 3; ++i) {
        out[i].d[0] = in[0].d[0];
        out[i].d[1] = builder.constant(i < 2 ? tables_.counts.taken : tables_.counts.left);
    }
}

void TokenMatchOp::check(nvinfer1::Dims const* in) const {
    TokenMatchSizes const sizes = sizesOf(tables_, in[0]);
    if (char const* const refusal = matchRefusal(sizes); refusal != nullptr) {
        throw std::invalid_argument("metric of " + std::to_string(sizes.batch) + " x " + std::to_string(sizes.tokens) +
                                    " x " + std::to_string(sizes.channels) + ": " + refusal);
    }
    if (tables_.highest_token >= sizes.tokens) {
        throw std::invalid_argument("metric of " + std::to_string(sizes.tokens) + " tokens, expected at least " +
                                    std::to_string(tables_.highest_token + 1) + ", which the tables name");
    }
}

size_t TokenMatchOp::workspaceBytes(nvinfer1::Dims const* in, ElementType /*type*/) const {
    return matchWorkspaceBytes(sizesOf(tables_, in[0]));
}

cudaError_t TokenMatchOp::launch(Launch const& launch) const {
    return launchTokenMatch(launch.input<void>(0), launch.inputType(0), sizesOf(tables_, launch.input_desc[0].dims),
        launch.table, launch.workspace, launch.output<int32_t>(0), launch.output<int32_t>(1),
        launch.output<int32_t>(2), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenMatchCreator() {
    static OpCreator<TokenMatchOp> creator;
    return &creator;
}

}  // namespace edgeexport
