// The plugin library through its exported functions, and one plugin through its capabilities.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/fields.h"
#include "tests/nodes.h"
#include "tests/stand_ins.h"

namespace driver {

class Library {
public:
    // Throws std::runtime_error. The library stays loaded.
    explicit Library(std::string const& path);

    std::vector<nvinfer1::IPluginCreatorV3One*> const& creators() const { return creators_; }
    nvinfer1::IPluginCreatorV3One& creator(std::string const& op) const;
    void setLoggerFinder(nvinfer1::ILoggerFinder* finder) const { set_finder_(finder); }
    std::string buildInfo() const { return build_info_(); }

    // An exported function of the library with a stand-in for CUDA, or null.
    void* symbol(char const* name) const;

private:
    void* handle_;
    void (*set_finder_)(nvinfer1::ILoggerFinder*);
    char const* (*build_info_)();
    std::vector<nvinfer1::IPluginCreatorV3One*> creators_;
};

// A plugin that a creator or a clone gave, or nothing.
class Plugin {
public:
    explicit Plugin(nvinfer1::IPluginV3* plugin) : plugin_(plugin) {}

    explicit operator bool() const { return plugin_ != nullptr; }
    nvinfer1::IPluginV3& operator*() const { return *plugin_; }
    nvinfer1::IPluginV3* operator->() const { return plugin_.get(); }
    nvinfer1::IPluginV3OneCore& core() const { return capability<nvinfer1::IPluginV3OneCore>(Type::kCORE); }
    nvinfer1::IPluginV3OneBuild& build() const { return capability<nvinfer1::IPluginV3OneBuild>(Type::kBUILD); }
    nvinfer1::IPluginV3OneRuntime& runtime() const { return capability<nvinfer1::IPluginV3OneRuntime>(Type::kRUNTIME); }

private:
    using Type = nvinfer1::PluginCapabilityType;

    // As TensorRT does it: down from the common base.
    template <class T>
    T& capability(Type type) const {
        return *static_cast<T*>(plugin_->getCapabilityInterface(type));
    }

    std::unique_ptr<nvinfer1::IPluginV3> plugin_;
};

inline Plugin create(Library const& library, std::string const& op, Fields& fields,
    nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD) {
    return Plugin(library.creator(op).createPlugin("node", fields.collection(), phase));
}

inline Plugin create(Library const& library, Node const& node, bool wide = false) {
    Fields fields;
    for (Attribute const& attribute : node.attributes) {
        fields.add(attribute, wide);
    }
    return create(library, node.op, fields);
}

// The parts of the driver.
void checkInterfaces(Library const& library, Log& log);
void checkAttributes(Library const& library, Log& log);
void checkMessages(Library const& library, Log& log);
void checkSerialisation(Library const& library, Log& log);
void checkShapes(Library const& library, Log& log);
void checkFormats(Library const& library, Log& log);
void checkDimensions(Library const& library, Log& log);
void checkWithoutGpu(Library const& library, Log& log);
void checkEnqueue(Library const& library, Log& log);
std::string contract(Library const& library);

}  // namespace driver
