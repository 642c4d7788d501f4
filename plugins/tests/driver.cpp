// Drives the plugin classes through the library's exported functions, without TensorRT and without a GPU.
//
//   driver LIBRARY contract   prints names, versions, attributes and build record as JSON
//   driver LIBRARY CHECK      runs a check of kChecks; exit code 1 and a line per finding where it fails
#include <dlfcn.h>

#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "tests/check.h"
#include "tests/library.h"

namespace driver {
namespace {

struct Check {
    char const* name;
    void (*run)(Library const&, Log&);
};

constexpr Check kChecks[] = {
    {"interfaces", checkInterfaces},
    {"attributes", checkAttributes},
    {"messages", checkMessages},
    {"serialisation", checkSerialisation},
    {"shapes", checkShapes},
    {"formats", checkFormats},
    {"dimensions", checkDimensions},
    {"without-gpu", checkWithoutGpu},
    {"enqueue", checkEnqueue},  // needs the library with a stand-in for CUDA (cuda_on_host.cpp)
};

template <class Function>
Function exported(void* handle, char const* name) {
    void* const found = dlsym(handle, name);
    if (found == nullptr) {
        throw std::runtime_error(std::string("the library does not export ") + name);
    }
    return reinterpret_cast<Function>(found);
}

}  // namespace

Library::Library(std::string const& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) {
        throw std::runtime_error(dlerror());
    }
    set_finder_ = exported<void (*)(nvinfer1::ILoggerFinder*)>(handle_, "setLoggerFinder");
    build_info_ = exported<char const* (*)()>(handle_, "edgeexport_plugins_build_info");
    auto const get = exported<nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&)>(handle_, "getCreators");
    int32_t count = -1;
    nvinfer1::IPluginCreatorInterface* const* const found = get(count);
    for (int32_t i = 0; i < count; ++i) {
        nvinfer1::InterfaceInfo const info = found[i]->getInterfaceInfo();
        if (std::string(info.kind) != "PLUGIN CREATOR_V3ONE") {
            throw std::runtime_error(std::string("creator of kind ") + info.kind);
        }
        creators_.push_back(static_cast<nvinfer1::IPluginCreatorV3One*>(found[i]));
    }
}

void* Library::symbol(char const* name) const { return dlsym(handle_, name); }

nvinfer1::IPluginCreatorV3One& Library::creator(std::string const& op) const {
    for (nvinfer1::IPluginCreatorV3One* const creator : creators_) {
        if (op == creator->getPluginName()) {
            return *creator;
        }
    }
    throw std::runtime_error("no creator of " + op);
}

// Whether an attribute may have several values: one that may not is refused for two, before others are missed.
bool takesList(Library const& library, std::string const& op, std::string const& attribute) {
    Log log;
    library.setLoggerFinder(&log);
    Fields fields;
    fields.add(attribute, std::vector<int32_t>{1, 2}, nvinfer1::PluginFieldType::kINT32);
    Plugin const plugin = create(library, op, fields);
    library.setLoggerFinder(nullptr);
    return text(log.take()).find("2 values, expected one") == std::string::npos;
}

std::string contract(Library const& library) {
    std::string json;
    for (nvinfer1::IPluginCreatorV3One* const creator : library.creators()) {
        json += std::string(json.empty() ? "" : ", ") + "{\"name\": \"" + creator->getPluginName() +
                "\", \"version\": \"" + creator->getPluginVersion() + "\", \"namespace\": \"" +
                creator->getPluginNamespace() + "\", \"attributes\": [";
        nvinfer1::PluginFieldCollection const* const fields = creator->getFieldNames();
        for (int32_t i = 0; i < fields->nbFields; ++i) {
            json += std::string(i > 0 ? ", " : "") + "{\"name\": \"" + fields->fields[i].name +
                    "\", \"type\": " + std::to_string(static_cast<int32_t>(fields->fields[i].type)) + ", \"list\": " +
                    (takesList(library, creator->getPluginName(), fields->fields[i].name) ? "true" : "false") + "}";
        }
        json += "]}";
    }
    return "{\"plugins\": [" + json + "], \"build\": " + library.buildInfo() + "}";
}

int run(std::string const& path, std::string const& wanted) {
    Library const library(path);
    if (wanted == "contract") {
        std::cout << contract(library) << "\n";
        return 0;
    }
    for (Check const& check : kChecks) {
        if (wanted == check.name) {
            Log log;
            library.setLoggerFinder(&log);
            check.run(library, log);
            library.setLoggerFinder(nullptr);
            CHECK_EQUAL("messages that no check looked at", text(log.take()), "[]");
            CHECK("messages are errors", log.onlyErrors());
            return failures == 0 ? 0 : 1;
        }
    }
    throw std::runtime_error("no check " + wanted);
}

}  // namespace driver

int main(int count, char** arguments) {
    try {
        if (count != 3) {
            throw std::runtime_error("usage: driver LIBRARY contract|CHECK");
        }
        return driver::run(arguments[1], arguments[2]);
    } catch (std::exception const& error) {
        std::cerr << "driver: " << error.what() << "\n";
        return 2;
    }
}
