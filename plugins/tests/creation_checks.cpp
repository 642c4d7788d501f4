// Creating plugins: interfaces, attributes taken and refused, where messages go, serialised and made again.
#include <functional>

#include "tests/check.h"
#include "tests/library.h"

namespace driver {
namespace {

using nvinfer1::PluginFieldType;

constexpr int64_t kBeyondInt32 = int64_t{1} << 31;

std::string kindOf(nvinfer1::IVersionedInterface const& interface) { return interface.getInterfaceInfo().kind; }

// What a plugin would put into an engine, as text: "k: type 5 [2]; ...".
std::string serialised(Plugin const& plugin) {
    nvinfer1::PluginFieldCollection const* const fields = plugin.runtime().getFieldsToSerialize();
    if (fields == nullptr) {
        return "nothing";
    }
    std::string result;
    for (int32_t i = 0; i < fields->nbFields; ++i) {
        nvinfer1::PluginField const& field = fields->fields[i];
        auto const* const values = static_cast<int32_t const*>(field.data);
        result += std::string(field.name) + ": type " + text(static_cast<int32_t>(field.type)) + " " +
                  text(std::vector<int32_t>(values, values + field.length)) + "; ";
    }
    return result;
}

std::string expectedFields(Node const& node) {
    std::string result;
    for (Attribute const& attribute : node.attributes) {
        result += attribute.name + ": type 5 " + text(attribute.values) + "; ";
    }
    return result;
}

// Null, and exactly one message 'Op: attribute "name" | ...finding... | remedy'.
void checkRefused(Library const& library, Log& log, std::string const& op, std::string const& attribute,
    std::string const& finding, Fields& fields) {
    std::string const what = op + ", " + attribute + " " + finding;
    CHECK(what, !create(library, op, fields));
    std::vector<std::string> const messages = log.take();
    CHECK_EQUAL(what + ", messages", messages.size(), size_t{1});
    std::string const message = messages.empty() ? "" : messages[0];
    std::string const start = op + ": attribute \"" + attribute + "\" | ";
    if (message.rfind(start, 0) != 0 || message.find(finding) == std::string::npos ||
        message.find(" | build the bundle and the plugin library with the same version") == std::string::npos) {
        report(__FILE__, __LINE__, what + ": found the message " + message);
    }
}

// The node's attributes; `change` replaces the one called `name`.
void refused(Library const& library, Log& log, Node const& node, std::string const& name, std::string const& finding,
    std::function<void(Fields&)> const& change) {
    Fields fields;
    for (Attribute const& attribute : node.attributes) {
        if (attribute.name != name) {
            fields.add(attribute);
        }
    }
    change(fields);
    checkRefused(library, log, node.op, name, finding, fields);
}

void checkAttribute(Library const& library, Log& log, Node const& node, Attribute const& attribute) {
    std::string const& name = attribute.name;
    std::vector<int32_t> const& values = attribute.values;
    auto const is_refused = [&](std::string const& finding, std::function<void(Fields&)> const& change) {
        refused(library, log, node, name, finding, change);
    };
    is_refused("missing", [](Fields&) {});
    is_refused("given twice", [&](Fields& fields) {
        fields.add(attribute);
        fields.add(attribute);
    });
    for (int32_t type = 0; type < 14; ++type) {
        if (type == static_cast<int32_t>(PluginFieldType::kINT32) ||
            type == static_cast<int32_t>(PluginFieldType::kINT64)) {
            continue;
        }
        is_refused("(INT32 or INT64)", [&](Fields& fields) {
            fields.add(name, std::vector<double>(values.size(), 1.0), static_cast<PluginFieldType>(type));
        });
    }
    is_refused("0 values", [&](Fields& fields) { fields.add(name, values, PluginFieldType::kINT32, 0); });
    is_refused("0 values", [&](Fields& fields) {
        fields.add(nvinfer1::PluginField(attribute.name.c_str(), nullptr, PluginFieldType::kINT32, 1));
    });
    if (!attribute.list) {
        is_refused("2 values", [&](Fields& fields) {
            fields.add(name, std::vector<int32_t>{values[0], values[0]}, PluginFieldType::kINT32);
        });
    }
    for (int64_t const wide : {kBeyondInt32, -kBeyondInt32 - 1}) {
        is_refused(
            text(wide), [&](Fields& fields) { fields.add(name, std::vector<int64_t>{wide}, PluginFieldType::kINT64); });
    }
    is_refused("-2", [&](Fields& fields) {  // no attribute of ours may be
        std::vector<int32_t> wrong = values;
        wrong.back() = -2;
        fields.add(name, wrong, PluginFieldType::kINT32);
    });
}

void checkTables(Library const& library, Log& log, Node const& match) {
    struct Wrong {
        char const* name;
        std::vector<int32_t> values;
        char const* finding;
    };
    for (Wrong const& wrong : std::vector<Wrong>{
             {"sources", {-1, 4, 6}, "after padding"},
             {"sources", {2, 4, 1 << 24}, "16777216, expected -1 to"},
             {"destinations", {1, -1, 5}, "after padding"},
             {"taken", {0, 3}, "expected positions from 0 to 2"},
             {"taken", {1, 1}, "twice"},
             {"left", {3}, "expected positions from 0 to 2"},
             {"windows", {0}, "expected 1 to"},
             {"ascending", {2}, "expected 0 to 1"},
         }) {
        refused(library, log, match, wrong.name, wrong.finding,
            [&](Fields& fields) { fields.add(wrong.name, wrong.values, PluginFieldType::kINT32); });
    }
    // Three sources do not fall into two windows: the list is named, not the number.
    Fields fields;
    for (Attribute const& attribute : match.attributes) {
        if (attribute.name != "windows") {
            fields.add(attribute);
        }
    }
    fields.add("windows", std::vector<int32_t>{2}, PluginFieldType::kINT32);
    checkRefused(library, log, match.op, "sources", "3 entries", fields);
}

}  // namespace

void checkInterfaces(Library const& library, Log&) {
    std::vector<Node> const all = nodes();
    CHECK_EQUAL("creators", library.creators().size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
        std::string const& op = all[i].op;
        CHECK_EQUAL("creator", std::string(library.creators()[i]->getPluginName()), op);
        Plugin const plugin = create(library, all[i]);
        CHECK(op, plugin);
        if (!plugin) {
            continue;
        }
        CHECK_EQUAL(op, kindOf(*plugin), "PLUGIN");
        CHECK_EQUAL(op, kindOf(plugin.core()), "PLUGIN_V3ONE_CORE");
        CHECK_EQUAL(op, kindOf(plugin.build()), "PLUGIN_V3ONE_BUILD");
        CHECK_EQUAL(op, kindOf(plugin.runtime()), "PLUGIN_V3ONE_RUNTIME");
        auto const none = static_cast<nvinfer1::PluginCapabilityType>(17);
        CHECK(op, plugin->getCapabilityInterface(none) == nullptr);
        CHECK_EQUAL(op, std::string(plugin.core().getPluginName()), op);
        CHECK_EQUAL(op, std::string(plugin.core().getPluginVersion()), "1");
        CHECK_EQUAL(op, std::string(plugin.core().getPluginNamespace()), "edgeexport");
        CHECK_EQUAL(op, plugin.build().getNbOutputs(), static_cast<int32_t>(all[i].outputs.size()));
    }
}

void checkAttributes(Library const& library, Log& log) {
    for (Node const& node : nodes()) {
        for (Attribute const& attribute : node.attributes) {
            checkAttribute(library, log, node, attribute);
        }
        refused(library, log, node, "surprise", "unknown, expected ",
            [](Fields& fields) { fields.add("surprise", std::vector<int32_t>{1}, PluginFieldType::kINT32); });
        refused(library, log, node, "", "unknown, expected ",
            [](Fields& fields) { fields.add(nvinfer1::PluginField(nullptr, nullptr, PluginFieldType::kINT32, 1)); });
        // What the parser looks plugins up by is no attribute, though some versions pass it on.
        Fields fields;
        fields.add("plugin_version", std::vector<char>{'1'}, PluginFieldType::kCHAR);
        fields.add("plugin_namespace", std::vector<char>{'e'}, PluginFieldType::kCHAR);
        for (Attribute const& attribute : node.attributes) {
            fields.add(attribute);
        }
        CHECK(node.op, create(library, node.op, fields));
        // No collection at all, and one whose list is null.
        nvinfer1::PluginFieldCollection const empty{3, nullptr};
        for (nvinfer1::PluginFieldCollection const* collection : {&empty, (decltype(&empty))nullptr}) {
            Plugin const plugin(
                library.creator(node.op).createPlugin("node", collection, nvinfer1::TensorRTPhase::kBUILD));
            CHECK_EQUAL(node.op, static_cast<bool>(plugin), node.attributes.empty());
            CHECK_EQUAL(node.op, log.take().size(), node.attributes.empty() ? size_t{0} : size_t{1});
        }
    }
    for (Node const& node : nodes()) {
        if (node.op.rfind("TokenMatch", 0) == 0) {
            checkTables(library, log, node);
        }
    }
}

void checkMessages(Library const& library, Log& log) {
    auto const refuse = [&] {
        Fields fields;
        CHECK("no k", !create(library, "TokenPartition", fields));
    };
    refuse();
    CHECK_EQUAL("through the logger", log.take().size(), size_t{1});
    for (Log::Finds const finds : {Log::Finds::kNothing, Log::Finds::kThrows}) {
        log.finds = finds;
        refuse();  // to standard error: the test counts the lines there
        CHECK_EQUAL("without a logger", log.take().size(), size_t{0});
    }
    library.setLoggerFinder(nullptr);
    refuse();
    CHECK_EQUAL("without a finder", log.take().size(), size_t{0});
    log.finds = Log::Finds::kItself;
    library.setLoggerFinder(&log);
}

void checkSerialisation(Library const& library, Log&) {
    for (Node const& node : nodes()) {
        Plugin original = create(library, node);
        std::string const expected = expectedFields(node);
        CHECK_EQUAL(node.op, serialised(original), expected);
        CHECK_EQUAL(node.op + ", a second time", serialised(original), expected);
        CHECK_EQUAL(node.op + ", from int64", serialised(create(library, node, true)), expected);

        // An engine holds a copy of the fields, and the plugin is made of that.
        Fields fields;
        nvinfer1::PluginFieldCollection const* const saved = original.runtime().getFieldsToSerialize();
        for (int32_t i = 0; i < saved->nbFields; ++i) {
            nvinfer1::PluginField const& field = saved->fields[i];
            auto const* const values = static_cast<int32_t const*>(field.data);
            fields.add(field.name, std::vector<int32_t>(values, values + field.length), field.type);
        }
        Plugin const again = create(library, node.op, fields, nvinfer1::TensorRTPhase::kRUNTIME);
        CHECK_EQUAL(node.op + ", made again", serialised(again), expected);

        // A clone lives on without its original, and so does what is attached to a context.
        Plugin const clone(original->clone());
        Plugin const attached(original.runtime().attachToContext(nullptr));
        nvinfer1::IPluginV3 const* const before = &*original;
        original = Plugin(nullptr);
        for (Plugin const* copy : {&clone, &attached}) {
            CHECK(node.op, *copy && &**copy != before);
            CHECK_EQUAL(node.op + ", copy", serialised(*copy), expected);
            CHECK_EQUAL(node.op + ", copy", std::string(copy->core().getPluginName()), node.op);
        }
    }
}

}  // namespace driver
