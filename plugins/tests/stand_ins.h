// What TensorRT hands to plugins, as far as they use it: a builder of dimension expressions and a logger.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace driver {

// A dimension that knows its value and how it came about, such as "(in0.1 - 4)".
class Expression final : public nvinfer1::IDimensionExpr {
public:
    Expression(int64_t value, bool constant, std::string text)
        : implementation_(value, constant), text_(std::move(text)) {
        mImpl = &implementation_;
    }

    int64_t value() const { return implementation_.value; }
    std::string const& text() const { return text_; }

private:
    struct Implementation final : nvinfer1::apiv::VDimensionExpr {
        Implementation(int64_t value_of, bool is_constant) : value(value_of), constant(is_constant) {}
        bool isConstant() const override { return constant; }
        int64_t getConstantValue() const override { return value; }
        bool isSizeTensor() const override { return false; }

        int64_t value;
        bool constant;
    };

    Implementation implementation_;
    std::string text_;
};

// Owns the expressions that it makes.
class Expressions final : public nvinfer1::IExprBuilder {
public:
    Expressions() : implementation_(*this) { mImpl = &implementation_; }

    // Axis `axis` of input `input`; TensorRT may know it only when the engine runs.
    Expression const* dimension(int32_t input, int32_t axis, int64_t value) {
        return make(value, false, "in" + std::to_string(input) + "." + std::to_string(axis));
    }

    static Expression const& of(nvinfer1::IDimensionExpr const& expression) {
        return static_cast<Expression const&>(expression);
    }

private:
    Expression const* make(int64_t value, bool constant, std::string text) {
        made_.push_back(std::make_unique<Expression>(value, constant, std::move(text)));
        return made_.back().get();
    }

    struct Implementation final : nvinfer1::apiv::VExprBuilder {
        explicit Implementation(Expressions& owner_of) : owner(owner_of) {}

        nvinfer1::IDimensionExpr const* constant(int64_t value) override {
            return owner.make(value, true, std::to_string(value));
        }

        nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation operation,
            nvinfer1::IDimensionExpr const& first, nvinfer1::IDimensionExpr const& second) override {
            Expression const& a = of(first);
            Expression const& b = of(second);
            bool const constant = a.isConstant() && b.isConstant();
            switch (operation) {
            case nvinfer1::DimensionOperation::kSUM:
                return owner.make(a.value() + b.value(), constant, "(" + a.text() + " + " + b.text() + ")");
            case nvinfer1::DimensionOperation::kSUB:
                return owner.make(a.value() - b.value(), constant, "(" + a.text() + " - " + b.text() + ")");
            default: return nullptr;  // no plugin of ours uses another
            }
        }

        nvinfer1::IDimensionExpr const* declareSizeTensor(
            int32_t, nvinfer1::IDimensionExpr const&, nvinfer1::IDimensionExpr const&) override {
            return nullptr;
        }

        Expressions& owner;
    };

    Implementation implementation_;
    std::vector<std::unique_ptr<Expression>> made_;
};

// Keeps what is logged. As a finder it finds itself, nothing, or throws.
class Log final : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
public:
    enum class Finds { kItself, kNothing, kThrows };

    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
        messages_.emplace_back(message);
        only_errors_ = only_errors_ && severity == Severity::kERROR;
    }

    nvinfer1::ILogger* findLogger() override {
        if (finds == Finds::kThrows) {
            throw std::string("no logger");
        }
        return finds == Finds::kItself ? this : nullptr;
    }

    // What was logged since the last call.
    std::vector<std::string> take() { return std::exchange(messages_, {}); }

    bool onlyErrors() const { return only_errors_; }

    Finds finds = Finds::kItself;

private:
    std::vector<std::string> messages_;
    bool only_errors_ = true;
};

}  // namespace driver
