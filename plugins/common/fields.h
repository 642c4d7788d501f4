// Attributes of a plugin: what they are called, how they are read from TensorRT's fields and written back to them.
//
// The ONNX parser and a serialised engine both hand them over as PluginFields. Integers come as int32 or int64, lists
// as fields with a length; they are kept and serialised as int32, booleans among them (0 or 1).
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgeexport {

// One attribute as the op's Python definition (ATTRIBUTES) names it: "int" is kInteger, "ints" kIntegers.
struct AttributeSpec {
    enum class Kind { kInteger, kIntegers };

    char const* name;
    Kind kind;
    int32_t minimum = std::numeric_limits<int32_t>::min();  // of every element
    int32_t maximum = std::numeric_limits<int32_t>::max();
};

// A node, engine or caller asked for something that the op cannot do. The creator logs it and returns null.
class InvalidAttribute : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

// Message in the project's form: where | found against expected | what to do.
inline std::string attributeMessage(std::string const& op, std::string const& name, std::string const& finding) {
    return op + ": attribute \"" + name + "\" | " + finding +
           " | build the bundle and the plugin library with the same version of edgeexport";
}

// The values of all attributes of one plugin, complete and in range.
class Attributes {
public:
    // `specs` must outlive the object (they are static tables of the op).
    // Throws InvalidAttribute: an attribute is unknown, missing, given twice, of another type or length, or out of
    // range.
    template <class Specs>
    Attributes(char const* op, Specs const& specs, nvinfer1::PluginFieldCollection const* fields)
        : op_(op), specs_(specs.begin(), specs.end()), values_(specs_.size()) {
        std::vector<bool> given(specs_.size(), false);
        int32_t const count = fields != nullptr && fields->fields != nullptr ? fields->nbFields : 0;
        for (int32_t i = 0; i < count; ++i) {
            nvinfer1::PluginField const& field = fields->fields[i];
            std::string const name = field.name != nullptr ? field.name : "";
            // By these the parser finds the plugin; some versions pass them on.
            if (name == "plugin_version" || name == "plugin_namespace") {
                continue;
            }
            size_t const place = find(name);
            if (place == specs_.size()) {
                throw InvalidAttribute(attributeMessage(op_, name, "unknown, expected " + knownNames()));
            }
            if (given[place]) {
                throw InvalidAttribute(attributeMessage(op_, name, "given twice, expected once"));
            }
            given[place] = true;
            values_[place] = read(specs_[place], field);
        }
        for (size_t place = 0; place < specs_.size(); ++place) {
            if (!given[place]) {
                throw InvalidAttribute(
                    attributeMessage(op_, specs_[place].name, "missing, expected " + kindText(specs_[place])));
            }
        }
    }

    // The value of an attribute of kind kInteger.
    int32_t integer(char const* name) const { return values_.at(find(name)).at(0); }

    // The values of an attribute of kind kIntegers.
    std::vector<int32_t> const& integers(char const* name) const { return values_.at(find(name)); }

    // An error about a value, for checks of the op's own.
    InvalidAttribute error(char const* name, std::string const& finding) const {
        return InvalidAttribute(attributeMessage(op_, name, finding));
    }

    // Fields that point into this object.
    std::vector<nvinfer1::PluginField> fields() const {
        std::vector<nvinfer1::PluginField> result;
        result.reserve(specs_.size());
        for (size_t place = 0; place < specs_.size(); ++place) {
            result.emplace_back(specs_[place].name, values_[place].data(), nvinfer1::PluginFieldType::kINT32,
                static_cast<int32_t>(values_[place].size()));
        }
        return result;
    }

private:
    size_t find(std::string const& name) const {
        size_t place = 0;
        while (place < specs_.size() && name != specs_[place].name) {
            ++place;
        }
        return place;
    }

    std::string knownNames() const {
        std::string names;
        for (AttributeSpec const& spec : specs_) {
            names += (names.empty() ? "" : ", ") + std::string(spec.name);
        }
        return names.empty() ? "no attributes" : names;
    }

    static std::string kindText(AttributeSpec const& spec) {
        return spec.kind == AttributeSpec::Kind::kInteger ? "one integer" : "a list of integers";
    }

    static std::string typeText(nvinfer1::PluginFieldType type) {
        switch (type) {
        case nvinfer1::PluginFieldType::kFLOAT16: return "FLOAT16";
        case nvinfer1::PluginFieldType::kFLOAT32: return "FLOAT32";
        case nvinfer1::PluginFieldType::kFLOAT64: return "FLOAT64";
        case nvinfer1::PluginFieldType::kINT8: return "INT8";
        case nvinfer1::PluginFieldType::kINT16: return "INT16";
        case nvinfer1::PluginFieldType::kCHAR: return "text";
        default: return "number " + std::to_string(static_cast<int32_t>(type));
        }
    }

    std::vector<int32_t> read(AttributeSpec const& spec, nvinfer1::PluginField const& field) const {
        bool const narrow = field.type == nvinfer1::PluginFieldType::kINT32;
        bool const wide = field.type == nvinfer1::PluginFieldType::kINT64;
        if (!narrow && !wide) {
            throw error(
                spec.name, "of type " + typeText(field.type) + ", expected " + kindText(spec) + " (INT32 or INT64)");
        }
        bool const one = spec.kind == AttributeSpec::Kind::kInteger;
        if (field.data == nullptr || field.length < 1 || (one && field.length != 1)) {
            int32_t const found = field.data == nullptr ? 0 : field.length;
            throw error(spec.name, std::to_string(found) + " values, expected " + (one ? "one" : "at least one"));
        }
        std::vector<int32_t> values;
        values.reserve(static_cast<size_t>(field.length));
        for (int32_t i = 0; i < field.length; ++i) {
            int64_t const value = narrow ? load<int32_t>(field.data, i) : load<int64_t>(field.data, i);
            if (value < spec.minimum || value > spec.maximum) {
                throw error(spec.name, std::to_string(value) + ", expected " + std::to_string(spec.minimum) + " to " +
                                           std::to_string(spec.maximum));
            }
            values.push_back(static_cast<int32_t>(value));
        }
        return values;
    }

    // The data of a field that comes out of an engine need not be aligned.
    template <class T>
    static int64_t load(void const* data, int32_t place) {
        T value;
        std::memcpy(&value, static_cast<char const*>(data) + static_cast<size_t>(place) * sizeof(T), sizeof(T));
        return value;
    }

    std::string op_;
    std::vector<AttributeSpec> specs_;
    std::vector<std::vector<int32_t>> values_;
};

}  // namespace edgeexport
