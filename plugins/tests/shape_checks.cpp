// What the builder asks: output shapes and types, formats, dimensions that fit each other, workspace.
#include <algorithm>

#include "tests/check.h"
#include "tests/descriptions.h"
#include "tests/library.h"

namespace driver {
namespace {

using nvinfer1::DataType;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr int32_t kTypes = 12;    // nvinfer1::DataType has 12 values in TensorRT 10.14
constexpr size_t kEnough = 32;    // combinations; three are right, and a plugin that takes all would never end
constexpr int32_t kFormats = 12;  // and TensorFormat as many

std::string expressionsOf(nvinfer1::DimsExprs const& dims) {
    std::string result;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
        result += (axis > 0 ? ", " : "") + Expressions::of(*dims.d[axis]).text();
    }
    return result;
}

std::vector<int64_t> valuesOf(nvinfer1::DimsExprs const& dims) {
    std::vector<int64_t> result;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
        result.push_back(Expressions::of(*dims.d[axis]).value());
    }
    return result;
}

std::vector<nvinfer1::DimsExprs> inputExpressions(Node const& node, Expressions& expressions) {
    std::vector<nvinfer1::DimsExprs> result(node.inputs.size());
    for (size_t i = 0; i < result.size(); ++i) {
        result[i].nbDims = static_cast<int32_t>(node.inputs[i].dims.size());
        for (int32_t axis = 0; axis < result[i].nbDims; ++axis) {
            result[i].d[axis] =
                expressions.dimension(static_cast<int32_t>(i), axis, node.inputs[i].dims[static_cast<size_t>(axis)]);
        }
    }
    return result;
}

// Walks as TensorRT does: position by position, with those before it settled and those behind it not yet.
void collect(Plugin const& plugin, Node const& node, std::vector<DynamicPluginTensorDesc>& descriptions,
    size_t position, std::vector<std::string>& found, std::string const& so_far, int64_t& asked) {
    if (found.size() >= kEnough) {
        return;
    }
    if (position == descriptions.size()) {
        found.push_back(so_far);
        return;
    }
    for (int32_t type = 0; type < kTypes; ++type) {
        for (int32_t format = 0; format < kFormats; ++format) {
            descriptions[position].desc.type = static_cast<DataType>(type);
            descriptions[position].desc.format = static_cast<TensorFormat>(format);
            ++asked;
            if (plugin.build().supportsFormatCombination(static_cast<int32_t>(position), descriptions.data(),
                    static_cast<int32_t>(node.inputs.size()), static_cast<int32_t>(node.outputs.size()))) {
                collect(plugin, node, descriptions, position + 1, found,
                    so_far + (position > 0 ? " " : "") + text(type) + ":" + text(format), asked);
            }
        }
    }
    descriptions[position].desc.type = DataType::kBOOL;
    descriptions[position].desc.format = TensorFormat::kCHW32;
}

std::vector<std::string> expectedCombinations(Node const& node) {
    std::vector<DataType> types{DataType::kFLOAT, DataType::kHALF};
    if (node.integer_data) {
        types.push_back(DataType::kINT32);
    }
    std::vector<std::string> result;
    for (DataType const data : types) {
        std::string combination;
        for (std::vector<Tensor> const* tensors : {&node.inputs, &node.outputs}) {
            for (Tensor const& tensor : *tensors) {
                combination += (combination.empty() ? "" : " ") +
                               text(static_cast<int32_t>(typeOf(tensor.element, data))) + ":0";  // kLINEAR
            }
        }
        result.push_back(combination);
    }
    return result;
}

void checkTypes(Plugin const& plugin, Node const& node) {
    for (DataType const data : {DataType::kFLOAT, DataType::kHALF}) {
        std::vector<DataType> inputs;
        for (Tensor const& tensor : node.inputs) {
            inputs.push_back(typeOf(tensor.element, data));
        }
        std::vector<DataType> outputs(node.outputs.size(), DataType::kBOOL);
        CHECK_EQUAL(node.op,
            plugin.build().getOutputDataTypes(outputs.data(), static_cast<int32_t>(outputs.size()), inputs.data(),
                static_cast<int32_t>(inputs.size())),
            0);
        for (size_t i = 0; i < outputs.size(); ++i) {
            CHECK_EQUAL(node.op + ", type of output " + text(i), static_cast<int32_t>(outputs[i]),
                static_cast<int32_t>(typeOf(node.outputs[i].element, data)));
        }
    }
}

int32_t configure(Plugin const& plugin, Node const& node) {
    std::vector<DynamicPluginTensorDesc> const in = dynamic(node.inputs, DataType::kFLOAT);
    std::vector<DynamicPluginTensorDesc> const out = dynamic(node.outputs, DataType::kFLOAT);
    return plugin.build().configurePlugin(
        in.data(), static_cast<int32_t>(in.size()), out.data(), static_cast<int32_t>(out.size()));
}

size_t workspace(Plugin const& plugin, Node const& node) {
    std::vector<DynamicPluginTensorDesc> in = dynamic(node.inputs, DataType::kFLOAT);
    for (DynamicPluginTensorDesc& description : in) {  // the size is for the largest dimensions
        std::fill_n(description.desc.dims.d, description.desc.dims.nbDims, -1);
    }
    std::vector<DynamicPluginTensorDesc> const out = dynamic(node.outputs, DataType::kFLOAT);
    return plugin.build().getWorkspaceSize(
        in.data(), static_cast<int32_t>(in.size()), out.data(), static_cast<int32_t>(out.size()));
}

void checkOneMessage(Log& log, std::string const& what, std::string const& part) {
    std::vector<std::string> const messages = log.take();
    if (messages.size() != 1 || messages[0].find(part) == std::string::npos) {
        report(__FILE__, __LINE__, what + ": found " + text(messages) + ", expected one message with " + part);
    }
}

}  // namespace

void checkShapes(Library const& library, Log& log) {
    for (Node const& node : nodes()) {
        Plugin const plugin = create(library, node);
        Expressions expressions;
        std::vector<nvinfer1::DimsExprs> in = inputExpressions(node, expressions);
        std::vector<nvinfer1::DimsExprs> out(node.outputs.size());
        auto const shapes = [&](int32_t inputs, int32_t outputs) {
            return plugin.build().getOutputShapes(in.data(), inputs, nullptr, 0, out.data(), outputs, expressions);
        };
        auto const inputs = static_cast<int32_t>(in.size());
        auto const outputs = static_cast<int32_t>(out.size());
        CHECK_EQUAL(node.op, shapes(inputs, outputs), 0);
        for (size_t i = 0; i < out.size(); ++i) {
            CHECK_EQUAL(node.op, expressionsOf(out[i]), node.outputs[i].expressions);
            CHECK_EQUAL(node.op, text(valuesOf(out[i])), text(node.outputs[i].dims));
        }
        checkTypes(plugin, node);
        CHECK(node.op, shapes(inputs + 1, outputs) != 0);
        checkOneMessage(log, node.op, text(inputs + 1) + " inputs");
        CHECK(node.op, shapes(inputs, outputs - 1) != 0);
        checkOneMessage(log, node.op, text(outputs - 1) + " outputs");
        in.back().nbDims += 1;
        CHECK(node.op, shapes(inputs, outputs) != 0);
        checkOneMessage(log, node.op, text(in.back().nbDims) + " dimensions, expected " + text(in.back().nbDims - 1));
    }
}

void checkFormats(Library const& library, Log&) {
    for (Node const& node : nodes()) {
        Plugin const plugin = create(library, node);
        std::vector<DynamicPluginTensorDesc> descriptions = dynamic(node.inputs, DataType::kBOOL);
        std::vector<DynamicPluginTensorDesc> const out = dynamic(node.outputs, DataType::kBOOL);
        descriptions.insert(descriptions.end(), out.begin(), out.end());
        std::vector<std::string> found;
        int64_t asked = 0;
        collect(plugin, node, descriptions, 0, found, "", asked);
        CHECK_EQUAL(node.op, text(found), text(expectedCombinations(node)));
        CHECK(node.op, asked >= kTypes * kFormats * static_cast<int64_t>(descriptions.size()));
        auto const inputs = static_cast<int32_t>(node.inputs.size());
        auto const outputs = static_cast<int32_t>(node.outputs.size());
        for (DynamicPluginTensorDesc& description : descriptions) {
            description.desc.type = DataType::kINT32;
            description.desc.format = TensorFormat::kLINEAR;
        }
        auto const supports = [&](int32_t position, int32_t in_count, int32_t out_count) {
            return plugin.build().supportsFormatCombination(position, descriptions.data(), in_count, out_count);
        };
        CHECK(node.op, !supports(-1, inputs, outputs) && !supports(inputs + outputs, inputs, outputs));
        CHECK(node.op, !supports(inputs, inputs - 1, outputs) && !supports(inputs, inputs, outputs + 1));
    }
}

void checkDimensions(Library const& library, Log& log) {
    for (Node const& node : nodes()) {
        Plugin const plugin = create(library, node);
        CHECK_EQUAL(node.op, configure(plugin, node), 0);
        CHECK_EQUAL(node.op + ", workspace", workspace(plugin, node), node.workspace_bytes);
        Node twice = node;
        for (Tensor& tensor : twice.inputs) {
            tensor.dims[0] *= 2;
        }
        CHECK_EQUAL(node.op + ", workspace of two batches", workspace(plugin, twice), 2 * node.workspace_bytes);
        for (size_t input = 0; input < node.inputs.size(); ++input) {
            for (size_t axis = 0; axis < node.inputs[input].dims.size(); ++axis) {
                Node open = node;
                open.inputs[input].dims[axis] = -1;
                CHECK_EQUAL(node.op + ", unknown dimension", configure(plugin, open), 0);
                open.inputs[input].dims[axis] = int64_t{1} << 31;
                CHECK(node.op, configure(plugin, open) != 0);
                checkOneMessage(log, node.op, "exceeds 2^31 - 1");
            }
            Node flat = node;
            flat.inputs[input].dims.resize(1);
            CHECK(node.op, configure(plugin, flat) != 0);
            checkOneMessage(log, node.op, " dimensions, expected ");
        }
    }
    struct Wrong {
        size_t node;
        size_t input;
        std::vector<int64_t> dims;
        char const* finding;
    };
    for (Wrong const& wrong : std::vector<Wrong>{
             {0, 0, {2, 6, 2}, "metric of 6 tokens, expected at least 7"},
             {0, 0, {2, 7, 0}, "channels"},
             {1, 1, {1, 7, 1}, "size of 1 images, expected 2"},
             {1, 1, {2, 6, 1}, "size of 6 x 1, expected 7 x 1"},
             {1, 3, {2, 3}, "2 sources and 3 targets"},
             {1, 0, {2, 5, 2}, "expected 5 x 1"},
             {2, 1, {3, 4}, "tokens of 2 images and indices of 3"},
             {3, 0, {2, 1}, "k outside 1 to the number of tokens"},
             {4, 0, {2, 3, 2, 2}, "whole multiple"},
             {4, 0, {2, 4096, 1, 2}, "2048 classes"},
             {5, 0, {2, 2, 2}, "k outside 1 to the number of tokens less 1"},
             {5, 0, {2, 2, 2049}, "tokens outside 2 to 2048"},
             {5, 2, {2, 4, 2}, "rows of 2 x 4 x 2, expected 2 x 5 rows"},
             {5, 3, {2, 5, 2}, "alive of 2 x 5 x 2, expected 2 x 5 x 1"},
             {6, 0, {2, 6, 2}, "metric of 6 tokens, expected at least 7"},
             {6, 0, {2, 65536, 2}, "more than 65535 tokens"},
             {6, 1, {2, 8, 2}, "x of 2 x 8 x 2, expected 2 x 7 rows"},
             {6, 2, {2, 7, 2}, "size of 2 x 7 x 2, expected 2 x 7 x 1"},
         }) {
        Node node = nodes()[wrong.node];
        Plugin const plugin = create(library, node);
        node.inputs[wrong.input].dims = wrong.dims;
        CHECK(node.op + ": " + wrong.finding, configure(plugin, node) != 0);
        checkOneMessage(log, node.op, wrong.finding);
    }
}

}  // namespace driver
