// One node of every op, with its attributes, inputs, and what it gives.
#pragma once

#include <cmath>
#include <NvInferRuntime.h>

#include <cstdint>
#include <string>
#include <vector>

namespace driver {

enum class Element { kData, kFloat32, kInt32 };

// Numbers are exact in FP16; kData tensors are FP32 unless a check says otherwise.
struct Tensor {
    Element element;
    std::vector<int64_t> dims;
    std::vector<float> values;
    std::string expressions;  // of an output: what getOutputShapes makes of its dimensions
};

struct Attribute {
    std::string name;
    bool list;
    std::vector<int32_t> values;
};

struct Node {
    std::string op;
    std::vector<Attribute> attributes;
    std::vector<Tensor> inputs;
    std::vector<Tensor> outputs;
    size_t workspace_bytes;  // FP32
    bool integer_data;       // kData may be int32
    bool has_table;          // wants integers in device memory
};

// In the order of getCreators.
inline std::vector<Node> nodes() {
    Element const data = Element::kData;
    Element const real = Element::kFloat32;
    Element const index = Element::kInt32;
    std::vector<Node> list;

    // Sources 2, 4, 6 and destinations 1, 3, 5. First image: 4 lies on 1; 2 and 6 tie at 0.8, so that 2 merges. Second
    // image: all similarities are 0.
    list.push_back({"TokenMatch",
        {{"sources", true, {2, 4, 6}}, {"destinations", true, {1, 3, 5}}, {"taken", true, {0, 1}}, {"left", true, {2}},
            {"windows", false, {1}}, {"ascending", false, {1}}},
        {{data, {2, 7, 2}, {9, 9, 1, 0, 3, 4, 0, 1, 1, 0, -1, 0, -4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ""}},
        {{index, {2, 2}, {4, 2, 2, 4}, "in0.0, 2"}, {index, {2, 2}, {1, 3, 1, 1}, "in0.0, 2"},
            {index, {2, 1}, {6, 6}, "in0.0, 1"}},
        2 * 3 * 8 + 2 * 3 * 4,  // candidates of 8 bytes and marks of 4, per image and source
        false, true});

    // x[t] = 100 * image + 4 * t + channel.
    list.push_back({"TokenMerge", {{"prefix", false, {1}}, {"destinations", true, {1, 3, 5}}},
        {{data, {2, 7, 2},
             {0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 100, 101, 104, 105, 108, 109, 112, 113, 116, 117, 120,
                 121, 124, 125},
             ""},
            {real, {2, 7, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1}, ""}, {index, {2, 2}, {4, 2, 2, 4}, ""},
            {index, {2, 2}, {1, 3, 1, 1}, ""}, {index, {2, 1}, {6, 6}, ""}},
        {{data, {2, 5, 2}, {0, 1, 24, 25, 10, 11, 10, 11, 20, 21, 100, 101, 124, 125, 108, 109, 112, 113, 120, 121},
             "in0.0, (in4.1 + 4), in0.2"},
            {real, {2, 5, 1}, {1, 1, 2, 2, 1, 1, 1, 4, 1, 1}, "in0.0, (in4.1 + 4), 1"}},
        0, false, true});

    list.push_back({"TokenUnmerge", {},
        {{data, {2, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, ""}, {index, {2, 4}, {2, 0, 1, 2, 1, 1, 0, 2}, ""}},
        {{data, {2, 4, 2}, {4, 5, 0, 1, 2, 3, 4, 5, 8, 9, 8, 9, 6, 7, 10, 11}, "in0.0, in1.1, in0.2"}}, 0, true,
        false});

    list.push_back(
        {"TokenPartition", {{"k", false, {2}}}, {{data, {2, 5}, {0.5f, 0.25f, 0.5f, 0.5f, 0, 0, 1, 2, 3, 4}, ""}},
            {{index, {2, 3}, {1, 3, 4, 0, 1, 2}, "in0.0, (in0.1 - 2)"}, {index, {2, 2}, {0, 2, 3, 4}, "in0.0, 2"}}, 0,
            false, false});

    // First image: class 0 on the left, class 2 on the right. Second image: all zero, class 0 everywhere, none
    // certified.
    list.push_back({"UpsampleArgmax", {{"height", false, {2}}, {"width", false, {4}}, {"candidates", false, {2}}},
        {{data, {2, 3, 1, 2}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, ""}},
        {{index, {2, 2, 4}, {0, 0, 2, 2, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0}, "in0.0, 2, 4"},
            {index, {2}, {0, 8}, "in0.0"}},
        0, false, false});

    // Scores are [class][token]. First image: classes 0 0 1 1 0, confidences 4 3 2 1 2 (in eighths); of class 0 token 0
    // is protected, of class 1 token 2, so that 1 and 4 leave. Second image: all equal, token 0 is protected, 1 and 2
    // leave. x is 10 * image + token, rows are twice that with its negative.
    list.push_back({"TokenProtectSelect", {{"k", false, {2}}, {"per_class", false, {1}}},
        {{data, {2, 2, 5}, {0.5f, 0.375f, 0, 0, 0.25f, 0, 0, 0.25f, 0.125f, 0.25f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ""},
            {data, {2, 5, 1}, {0, 1, 2, 3, 4, 10, 11, 12, 13, 14}, ""},
            {data, {2, 5, 2}, {0, 0, 2, -2, 4, -4, 6, -6, 8, -8, 20, -20, 22, -22, 24, -24, 26, -26, 28, -28}, ""},
            {index, {2, 5, 1}, {5, 6, 7, 8, 9, 0, 2, 4, 6, 8}, ""}},
        {{data, {2, 3, 1}, {0, 2, 3, 10, 13, 14}, "in0.0, (in0.2 - 2), in1.2"},
            {data, {2, 2, 2}, {2, -2, 8, -8, 22, -22, 24, -24}, "in0.0, 2, in2.2"},
            {index, {2, 3, 1}, {5, 7, 8, 0, 6, 8}, "in0.0, (in0.2 - 2), 1"},
            {index, {2, 2, 1}, {6, 9, 2, 4}, "in0.0, 2, 1"}},
        2 * 5 * 8,  // a score and a class per image and token
        false, false});

    // The first two as one.
    Node const match = list[0];
    Node const merge = list[1];
    Node both{"TokenMatchMerge", match.attributes, {match.inputs[0], merge.inputs[0], merge.inputs[1]}, merge.outputs,
        2 * 3 * 8,  // candidates of 8 bytes per image and source
        false, true};
    // Two heads, each off by 1 the other way, so that their mean is TokenMatch's metric.
    both.inputs[0].dims = {2, 2, 7, 2};
    both.inputs[0].values.clear();
    for (size_t head = 0; head < 4; ++head) {  // of the first image, then of the second
        for (size_t at = 0; at < 14; ++at) {
            float const away = (head + at) % 2 == 0 ? 1 : -1;
            both.inputs[0].values.push_back(match.inputs[0].values[head / 2 * 14 + at] + away);
        }
    }
    both.inputs[1].element = real;
    both.outputs[0].element = real;
    both.attributes.push_back(merge.attributes[0]);
    both.outputs[0].expressions = "in0.0, 5, in1.2";
    both.outputs[1].expressions = "in0.0, 5, 1";
    Tensor logarithms{data, {2, 1, 1, 5}, {}, "in0.0, 1, 1, 5"};
    for (float const size : both.outputs[1].values) {
        logarithms.values.push_back(std::log(size));
    }
    both.outputs.push_back(logarithms);
    both.outputs.insert(both.outputs.end(), match.outputs.begin(), match.outputs.end());
    list.push_back(both);
    return list;
}

}  // namespace driver
