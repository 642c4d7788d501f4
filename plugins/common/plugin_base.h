// What the plugins share: OpPlugin<Op> is the IPluginV3 and OpCreator<Op> its creator, both complete. An op
// supplies a small class; token_unmerge/token_unmerge_plugin.{h,cpp} is the shortest example:
//
//   class TokenUnmergeOp : public OpDefaults {
//   public:
//       static constexpr char const* kName = "TokenUnmerge";
//       static constexpr std::array<AttributeSpec, 0> kAttributes{};
//       static constexpr std::array<TensorSpec, 2> kInputs{...};    // in the order of the node
//       static constexpr std::array<TensorSpec, 1> kOutputs{...};
//       static constexpr std::array<char const*, 1> kLaunches{"tokenUnmergeKernel"};  // kernels of one execution
//       static constexpr bool kIntegerData = true;                  // Element::kData may be int32 too (default: false)
//       explicit TokenUnmergeOp(Attributes const&);                 // may throw attributes.error(name, finding)
//       void outputShapes(nvinfer1::DimsExprs const* in, nvinfer1::DimsExprs* out, nvinfer1::IExprBuilder&) const;
//       cudaError_t launch(Launch const&) const;                    // calls the launcher, nothing else
//       // and, where OpDefaults does not do: check, workspaceBytes, deviceTable
//   };
//
// The op must be copyable. Everything it throws is caught here, logged and returned as a failure, since TensorRT's
// callbacks are noexcept. launch() must neither throw nor synchronise nor allocate.
//
// Launches must be memory-safe whatever the inputs hold (indices out of range, NaN): while it builds an engine,
// TensorRT times plugins on memory with arbitrary content.
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "common/device_table.h"
#include "common/element_type.h"
#include "common/fields.h"
#include "common/log.h"

namespace edgeexport {

constexpr char const* kPluginNamespace = "edgeexport";
constexpr char const* kPluginVersion = "1";

static_assert(static_cast<int32_t>(nvinfer1::DataType::kFLOAT) == static_cast<int32_t>(ElementType::kFloat32) &&
                  static_cast<int32_t>(nvinfer1::DataType::kHALF) == static_cast<int32_t>(ElementType::kFloat16) &&
                  static_cast<int32_t>(nvinfer1::DataType::kINT32) == static_cast<int32_t>(ElementType::kInt32),
    "ElementType repeats the numbers of nvinfer1::DataType");

// How the element type of a tensor is settled. kData: FP32 or FP16 (or int32, where the op sets kIntegerData), the same
// for all kData tensors of a node; the first kData input decides.
enum class Element { kData, kFloat32, kInt32 };

struct TensorSpec {
    char const* name;
    Element element;
    int32_t rank;
};

// Everything one launch is about. Dimensions are those of the op's inputs and outputs, in the node's order.
struct Launch {
    nvinfer1::PluginTensorDesc const* input_desc;
    nvinfer1::PluginTensorDesc const* output_desc;
    void const* const* inputs;   // device
    void* const* outputs;        // device
    void* workspace;             // device, workspaceBytes() of it
    int32_t const* table;        // device, what deviceTable() returned; null where that is empty
    cudaStream_t stream;

    int32_t inputDim(int32_t tensor, int32_t axis) const {
        return static_cast<int32_t>(input_desc[tensor].dims.d[axis]);
    }
    int32_t outputDim(int32_t tensor, int32_t axis) const {
        return static_cast<int32_t>(output_desc[tensor].dims.d[axis]);
    }
    ElementType inputType(int32_t tensor) const { return static_cast<ElementType>(input_desc[tensor].type); }
    template <class T>
    T const* input(int32_t tensor) const {
        return static_cast<T const*>(inputs[tensor]);
    }
    template <class T>
    T* output(int32_t tensor) const {
        return static_cast<T*>(outputs[tensor]);
    }
};

// What most ops do not need to say.
class OpDefaults {
public:
    static constexpr bool kIntegerData = false;

    // Whether an input may have one dimension more than its TensorSpec says, behind the first.
    static constexpr bool mayHaveHeads(int32_t) { return false; }

    // Throws std::invalid_argument ("finding, expectation") where the inputs' dimensions, all known, do not fit each
    // other or the attributes. Ranks are checked already.
    void check(nvinfer1::Dims const*) const {}

    // For the largest dimensions of the inputs; `type` is that of the kData tensors. TensorRT aligns the workspace to
    // 256.
    size_t workspaceBytes(nvinfer1::Dims const*, ElementType) const { return 0; }

    // Integers that every launch wants in device memory (index tables from the attributes).
    std::vector<int32_t> deviceTable() const { return {}; }
};

// Calls `body` and turns everything it throws into a logged message; false where it threw.
template <class Body>
bool guarded(char const* op, char const* callback, Body&& body) noexcept {
    try {
        body();
        return true;
    } catch (InvalidAttribute const& error) {
        logError(error.what());  // complete in itself
    } catch (std::exception const& error) {
        try {
            logError(std::string(op) + ", " + callback + ": " + error.what());
        } catch (...) {  // no memory for the message
        }
    } catch (...) {
    }
    return false;
}

template <class Op>
class OpPlugin final : public nvinfer1::IPluginV3,
                       public nvinfer1::IPluginV3OneCore,
                       public nvinfer1::IPluginV3OneBuild,
                       public nvinfer1::IPluginV3OneRuntime {
public:
    static constexpr int32_t kInputCount = static_cast<int32_t>(Op::kInputs.size());
    static constexpr int32_t kOutputCount = static_cast<int32_t>(Op::kOutputs.size());

    explicit OpPlugin(Attributes attributes) : attributes_(std::move(attributes)), op_(attributes_) {}

    // Clones share the device table, which never changes; the fields point into `attributes_` and are made anew.
    OpPlugin(OpPlugin const& other) : attributes_(other.attributes_), op_(other.op_), table_(other.table_) {}
    OpPlugin& operator=(OpPlugin const&) = delete;

    // IPluginV3

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
        case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
        case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    nvinfer1::IPluginV3* clone() noexcept override {
        nvinfer1::IPluginV3* copy = nullptr;
        guarded(Op::kName, "clone", [&] { copy = new OpPlugin(*this); });
        return copy;
    }

    // IPluginV3OneCore

    nvinfer1::AsciiChar const* getPluginName() const noexcept override { return Op::kName; }
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return kPluginNamespace; }

    // IPluginV3OneBuild

    int32_t getNbOutputs() const noexcept override { return kOutputCount; }

    int32_t getOutputDataTypes(nvinfer1::DataType* output_types, int32_t outputs, nvinfer1::DataType const* input_types,
        int32_t inputs) const noexcept override {
        return result(guarded(Op::kName, "getOutputDataTypes", [&] {
            requireCounts(inputs, outputs);
            for (int32_t i = 0; i < outputs; ++i) {
                Element const element = Op::kOutputs[static_cast<size_t>(i)].element;
                output_types[i] = element == Element::kData ? input_types[firstData()] : fixedType(element);
            }
        }));
    }

    int32_t getOutputShapes(nvinfer1::DimsExprs const* in, int32_t inputs, nvinfer1::DimsExprs const* /*shape_inputs*/,
        int32_t /*nb_shape_inputs*/, nvinfer1::DimsExprs* out, int32_t outputs,
        nvinfer1::IExprBuilder& builder) noexcept override {
        return result(guarded(Op::kName, "getOutputShapes", [&] {
            requireCounts(inputs, outputs);
            for (int32_t i = 0; i < inputs; ++i) {
                requireRank(i, in[i].nbDims);
            }
            for (int32_t i = 0; i < outputs; ++i) {
                out[i].nbDims = Op::kOutputs[static_cast<size_t>(i)].rank;
            }
            op_.outputShapes(in, out, builder);
        }));
    }

    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* in_out, int32_t inputs,
        int32_t outputs) noexcept override {
        if (inputs != kInputCount || outputs != kOutputCount || position < 0 || position >= inputs + outputs) {
            return false;
        }
        nvinfer1::PluginTensorDesc const& desc = in_out[position].desc;
        if (desc.format != nvinfer1::TensorFormat::kLINEAR) {
            return false;
        }
        Element const element = spec(position).element;
        if (element != Element::kData) {
            return desc.type == fixedType(element);
        }
        // TensorRT asks position by position, with those before it settled.
        return position == firstData() ? isDataType(desc.type) : desc.type == in_out[firstData()].desc.type;
    }

    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const* /*out*/, int32_t outputs) noexcept override {
        return result(guarded(Op::kName, "configurePlugin", [&] {
            requireCounts(inputs, outputs);
            std::array<nvinfer1::Dims, Op::kInputs.size()> dims;
            for (size_t i = 0; i < dims.size(); ++i) {
                dims[i] = in[i].desc.dims;
            }
            checkDims(dims.data());
        }));
    }

    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const* /*out*/, int32_t outputs) const noexcept override {
        size_t bytes = 0;
        guarded(Op::kName, "getWorkspaceSize", [&] {
            requireCounts(inputs, outputs);
            std::array<nvinfer1::Dims, Op::kInputs.size()> dims;
            for (size_t i = 0; i < dims.size(); ++i) {
                dims[i] = in[i].max;
            }
            bytes = op_.workspaceBytes(dims.data(), static_cast<ElementType>(in[firstData()].desc.type));
        });
        return bytes;
    }

    // IPluginV3OneRuntime

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t inputs,
        nvinfer1::PluginTensorDesc const* /*out*/, int32_t outputs) noexcept override {
        return result(guarded(Op::kName, "onShapeChange", [&] {
            requireCounts(inputs, outputs);
            std::array<nvinfer1::Dims, Op::kInputs.size()> dims;
            for (size_t i = 0; i < dims.size(); ++i) {
                dims[i] = in[i].dims;
            }
            checkDims(dims.data());
            cudaError_t const error = prepareTable();
            if (error != cudaSuccess) {
                throw std::runtime_error(
                    std::string("the index tables could not be copied to the GPU: ") + cudaGetErrorString(error));
            }
        }));
    }

    int32_t enqueue(nvinfer1::PluginTensorDesc const* input_desc, nvinfer1::PluginTensorDesc const* output_desc,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return result(guarded(Op::kName, "enqueue", [&] {
            int32_t const* const table = table_ != nullptr ? table_->data() : nullptr;
            if (table == nullptr && needs_table_) {
                throw std::runtime_error("called before onShapeChange, which copies the index tables to the GPU");
            }
            Launch const launch{input_desc, output_desc, inputs, outputs, workspace, table, stream};
            cudaError_t const error = op_.launch(launch);
            if (error != cudaSuccess) {
                throw std::runtime_error(std::string("the launch failed: ") + cudaGetErrorString(error) +
                                         "; is the library built for this GPU's architecture?");
            }
        }));
    }

    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept override {
        OpPlugin* copy = nullptr;
        guarded(Op::kName, "attachToContext", [&] {
            auto attached = std::make_unique<OpPlugin>(*this);
            // Early, so that a first enqueue inside a stream capture finds the table; a failure shows in onShapeChange.
            (void)attached->prepareTable();
            copy = attached.release();
        });
        return copy;
    }

    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        bool const done = guarded(Op::kName, "getFieldsToSerialize", [&] {
            fields_ = attributes_.fields();
            collection_.nbFields = static_cast<int32_t>(fields_.size());
            collection_.fields = fields_.data();
        });
        return done ? &collection_ : nullptr;
    }

private:
    static int32_t result(bool done) noexcept { return done ? 0 : -1; }

    static TensorSpec const& spec(int32_t position) noexcept {
        return position < kInputCount ? Op::kInputs[static_cast<size_t>(position)]
                                      : Op::kOutputs[static_cast<size_t>(position - kInputCount)];
    }

    // The input whose element type all kData tensors have.
    static constexpr int32_t firstData() noexcept {
        int32_t position = 0;
        while (Op::kInputs[static_cast<size_t>(position)].element != Element::kData) {
            ++position;
        }
        return position;
    }

    static bool isDataType(nvinfer1::DataType type) noexcept {
        return type == nvinfer1::DataType::kFLOAT || type == nvinfer1::DataType::kHALF ||
               (Op::kIntegerData && type == nvinfer1::DataType::kINT32);
    }

    static nvinfer1::DataType fixedType(Element element) noexcept {
        return element == Element::kFloat32 ? nvinfer1::DataType::kFLOAT : nvinfer1::DataType::kINT32;
    }

    static void requireCounts(int32_t inputs, int32_t outputs) {
        if (inputs != kInputCount || outputs != kOutputCount) {
            throw std::invalid_argument(std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                                        " outputs, expected " + std::to_string(kInputCount) + " and " +
                                        std::to_string(kOutputCount));
        }
    }

    static void requireRank(int32_t input, int32_t rank) {
        TensorSpec const& expected = Op::kInputs[static_cast<size_t>(input)];
        if (rank != expected.rank && !(rank == expected.rank + 1 && Op::mayHaveHeads(input))) {
            throw std::invalid_argument(std::string("input ") + expected.name + " has " + std::to_string(rank) +
                                        " dimensions, expected " + std::to_string(expected.rank));
        }
    }

    // Leaves what is not known yet (-1) to onShapeChange.
    void checkDims(nvinfer1::Dims const* dims) const {
        bool known = true;
        for (int32_t i = 0; i < kInputCount; ++i) {
            requireRank(i, dims[i].nbDims);
            for (int32_t axis = 0; axis < dims[i].nbDims; ++axis) {
                known = known && dims[i].d[axis] >= 0;
                if (dims[i].d[axis] > std::numeric_limits<int32_t>::max()) {
                    throw std::invalid_argument(std::string("a dimension of input ") +
                                                Op::kInputs[static_cast<size_t>(i)].name + " exceeds 2^31 - 1");
                }
            }
        }
        if (known) {
            op_.check(dims);
        }
    }

    // Uploads the op's table unless it lies on the current device already.
    cudaError_t prepareTable() {
        if (!needs_table_) {
            return cudaSuccess;
        }
        int device = -1;
        cudaError_t error = cudaGetDevice(&device);
        if (error == cudaSuccess && (table_ == nullptr || table_->device() != device)) {
            table_ = DeviceTable::upload(op_.deviceTable(), error);
        }
        return error;
    }

    Attributes attributes_;
    Op op_;
    bool needs_table_ = !op_.deviceTable().empty();
    std::shared_ptr<DeviceTable const> table_;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

template <class Op>
class OpCreator final : public nvinfer1::IPluginCreatorV3One {
public:
    OpCreator() {
        for (AttributeSpec const& spec : Op::kAttributes) {
            names_.emplace_back(spec.name, nullptr, nvinfer1::PluginFieldType::kINT32, 1);
        }
        collection_.nbFields = static_cast<int32_t>(names_.size());
        collection_.fields = names_.data();
    }

    // Null, with a logged message, where the attributes are not the op's.
    nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* /*name*/,
        nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase /*phase*/) noexcept override {
        nvinfer1::IPluginV3* plugin = nullptr;
        guarded(Op::kName, "createPlugin",
            [&] { plugin = new OpPlugin<Op>(Attributes(Op::kName, Op::kAttributes, fields)); });
        return plugin;
    }

    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
    nvinfer1::AsciiChar const* getPluginName() const noexcept override { return Op::kName; }
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override { return kPluginVersion; }
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override { return kPluginNamespace; }

private:
    std::vector<nvinfer1::PluginField> names_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace edgeexport
