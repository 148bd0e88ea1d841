// Turns the description of a static graph into an ov::Model. Throws what OpenVINO throws; the plug-in's entry points
// catch it.
#pragma once

#include <memory>
#include <openvino/core/model.hpp>

#include "device/npu/openvino/openvino_runtime_abi.h"

namespace lem::openvino {

// Parameters and results are in the order of Inference: values, rotations (cosines, sines), masks, then keys and values
// of each attention op. Weights are used where they lie.
std::shared_ptr<ov::Model> BuildModel(const Graph& graph);

}  // namespace lem::openvino
