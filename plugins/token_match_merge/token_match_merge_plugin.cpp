// TensorRT's side of TokenMatchMerge; host-compiled, the kernels are behind the launcher.
#include "token_match_merge/token_match_merge_plugin.h"

#include "token_match_merge/token_match_merge.h"

namespace edgeexport {

TokenMatchMergeOp::TokenMatchMergeOp(Attributes const& attributes)  : prefix_(attributes.integer("prefix")) {
    std::vector<int32_t> const& destinations = attributes.integers("destinations");
    MatchTables match = matchTablesFromAttributes(attributes.integers("sources"), destinations,
        attributes.integers("taken"), attributes.integers("left"), attributes.integer("windows"),
        attributes.integer("ascending"));
    if (!match.valid()) {
        throw attributes.error(match.attribute, match.problem);
    }
    tables_ = matchMergeTables(std::move(match), destinations);
}

MatchMergeSizes TokenMatchMergeOp::sizesOf(nvinfer1::Dims const& metric, nvinfer1::Dims const& x) const {
    auto const dim = [&](int32_t axis) { return static_cast<int32_t>(metric.d[axis]); };
    int32_t const rank = metric.nbDims;
    TokenMatchSizes const match{
        tables_.match.counts, dim(0), dim(rank - 2), dim(rank - 1), rank == 4 ? dim(1) : 1};
    return tables_.sizes(match, static_cast<int32_t>(x.d[2]), prefix_);
}

void TokenMatchMergeOp::outputShapes(
    nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder& builder) const {
    MatchCounts const& counts = tables_.match.counts;
    int64_t const rows = int64_t{prefix_} + counts.left + tables_.destinations;
    nvinfer1::IDimensionExpr const* const second[] = {builder.constant(rows), builder.constant(rows), builder.constant(1),
        builder.constant(counts.taken), builder.constant(counts.taken), builder.constant(counts.left)};
    for (int32_t i = 0; i < 6; ++i) {
        out[i].d[0] = in[0].d[0];
        out[i].d[1] = second[i];
    }
    out[0].d[2] = in[1].d[2];
    out[1].d[2] = builder.constant(1);
    out[2].d[2] = builder.constant(1);
    out[2].d[3] = builder.constant(rows);
}

void TokenMatchMergeOp::check(nvinfer1::Dims const* in) const {
    MatchMergeSizes const sizes = sizesOf(in[0], in[1]);
    if (char const* const refusal = matchMergeRefusal(sizes); refusal != nullptr) {
        throw std::invalid_argument("metric of " + std::to_string(sizes.match.batch) + " x " +
                                    std::to_string(sizes.match.tokens) + " x " + std::to_string(sizes.match.channels) +
                                    ": " + refusal);
    }
    if (tables_.match.highest_token >= sizes.match.tokens) {
        throw std::invalid_argument("metric of " + std::to_string(sizes.match.tokens) + " tokens, expected at least " +
                                    std::to_string(tables_.match.highest_token + 1) + ", which the tables name");
    }
    for (size_t i = 1; i < kInputs.size(); ++i) {
        if (in[i].d[0] != in[0].d[0] || in[i].d[1] != sizes.match.tokens || (i == 2 && in[i].d[2] != 1)) {
            throw std::invalid_argument(std::string(kInputs[i].name) + " of " + std::to_string(in[i].d[0]) + " x " +
                                        std::to_string(in[i].d[1]) + " x " + std::to_string(in[i].d[2]) +
                                        ", expected " + std::to_string(sizes.match.batch) + " x " +
                                        std::to_string(sizes.match.tokens) + (i == 2 ? " x 1" : " rows") +
                                        " to go with metric");
        }
    }
}

size_t TokenMatchMergeOp::workspaceBytes(nvinfer1::Dims const* in, ElementType /*type*/) const {
    return matchCandidateBytes(sizesOf(in[0], in[1]).match);
}

cudaError_t TokenMatchMergeOp::launch(Launch const& launch) const {
    MatchMergeAddresses const tensors{launch.input<void>(0), launch.input<float>(1), launch.input<float>(2), launch.table,
        launch.workspace, launch.output<float>(0), launch.output<float>(1), launch.output<void>(2),
        launch.output<int32_t>(3), launch.output<int32_t>(4), launch.output<int32_t>(5)};
    MatchMergeSizes const sizes = sizesOf(launch.input_desc[0].dims, launch.input_desc[1].dims);
    return launchTokenMatchMerge(tensors, sizes, launch.inputType(0), launch.stream);
}

nvinfer1::IPluginCreatorInterface* tokenMatchMergeCreator() {
    static OpCreator<TokenMatchMergeOp> creator;
    return &creator;
}

}  // namespace edgeexport
