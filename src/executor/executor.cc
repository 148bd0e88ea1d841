#include "executor/executor.h"

namespace lem {

Result<std::unique_ptr<Executor>> Executor::Create(const BoundGraph& model, Plan plan, const DeviceRegistry& devices) {
  std::unique_ptr<Executor> executor(new Executor(*model.graph, std::move(plan)));
  for (const PlanStep& planned : executor->plan_.steps) {
    Step step;
    LEM_ASSIGN_OR_RETURN(step.device, devices.Find(planned.device_id));
    LEM_ASSIGN_OR_RETURN(step.executable, step.device->Compile(model, planned.segment, executor->plan_.bucket));
    step.boundary = FindBoundary(*model.graph, planned.segment);
    executor->steps_.push_back(std::move(step));
  }
  return executor;
}

float* Executor::ValueMemory(ValueId value, const Bindings& inputs, float* logits) {
  if (value == graph_.logits) return logits;
  const Value& info = graph_.values[static_cast<size_t>(value)];
  const size_t rows = info.rows == Rows::kTokens ? inputs.tokens.size() : inputs.output_rows.size();
  AlignedVector<float>& memory = crossing_[value];
  const size_t floats = rows * static_cast<size_t>(info.cols);
  if (memory.size() < floats) memory.resize(floats);
  return memory.data();
}

Status Executor::Run(const Bindings& inputs, float* logits) {
  DeviceEvent done = DeviceEvent::Finished(OkStatus());
  std::vector<ValueBinding> values;
  for (Step& step : steps_) {
    values.clear();
    for (const ValueId value : step.boundary.inputs) values.push_back({value, ValueMemory(value, inputs, logits)});
    for (const ValueId value : step.boundary.outputs) values.push_back({value, ValueMemory(value, inputs, logits)});
    Bindings bindings = inputs;
    bindings.values = values;
    const DeviceEvent waits[] = {done};
    done = step.device->Submit(*step.executable, bindings, waits);
    // `values` is reused by the next segment, so its submission must be over.
    LEM_TRY(done.Wait());
  }
  return OkStatus();
}

}  // namespace lem
