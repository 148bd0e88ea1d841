// A model as data: coarse ops over named weights and symbolic row counts. An op says what, never how; fusion, buffers
// and threads are a device's business at compile time.
//
// Symbols: T = tokens in the step, S = sequences in the step, O = rows whose logits are asked for, C = a sequence's
// context. Every value is float32, row-major, [rows, cols] with rows T or O, and is written by exactly one op (SSA).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace lem {

using ValueId = int32_t;     // index into Graph::values
using WeightSlot = int32_t;  // index into Graph::weights
inline constexpr int32_t kNone = -1;

// The number of rows of a value, known only at run time.
enum class Rows : uint8_t { kTokens, kOutputs };

struct Value {
  std::string name;
  Rows rows = Rows::kTokens;
  int64_t cols = 0;
};

// A matrix [rows, cols] or, with rows == 1, a vector [cols]; bound to a WeightHandle when a model is loaded.
struct WeightInfo {
  std::string name;  // of the tensor in the model file
  int64_t rows = 0;
  int64_t cols = 0;
};

// One set of rotary frequencies; layers of one model may use different ones (gemma3: local and global).
struct RopeSpec {
  int64_t rotary_dim = 0;
  double theta = 10000.0;
  // 1/factor for linear scaling of positions; 1 = none.
  double position_scale = 1.0;
  bool interleaved = false;    // pairs (2i, 2i+1) as in llama, else (i, i + rotary_dim / 2)
  WeightSlot factors = kNone;  // [rotary_dim / 2] divisors of the frequencies (Llama 3), or none
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

// out[T, cols] = scale * rows of `table` picked by the step's token ids
struct EmbedOp {
  WeightSlot table;
  float scale;
  ValueId out;
};
// out = in / sqrt(mean(in^2) + eps) * weight, over groups of `group` columns (the whole row, or one head)
struct RmsNormOp {
  ValueId in;
  WeightSlot weight;
  int64_t group;
  float eps;
  ValueId out;
};
// out[rows, N] = in[rows, K] * weight[N, K]^T + bias[N]
struct LinearOp {
  ValueId in;
  WeightSlot weight;
  WeightSlot bias;  // kNone = no bias
  ValueId out;
};
// Rotates every head of in [T, num_heads * head_dim] by the token's position.
struct RopeOp {
  ValueId in;
  int32_t rope;  // index into Graph::ropes
  int64_t head_dim;
  ValueId out;
};
// Appends k, v [T, kv_heads * head_dim] to the layer's paged cache, then attends causally over each sequence's context.
struct PagedAttentionOp {
  ValueId q, k, v;
  int32_t layer;  // of the KV cache
  int64_t num_heads;
  float scale;     // of q . k
  int64_t window;  // sliding window in tokens; 0 = all
  float softcap;   // 0 = off
  ValueId out;     // [T, num_heads * head_dim]
};
// out = activation(gate) * up
struct GluOp {
  ValueId gate, up;
  Activation activation;
  ValueId out;
};
struct AddOp {
  ValueId a, b;
  ValueId out;
};
// out[O, cols] = the rows of in[T, cols] whose logits are asked for
struct SelectOutputsOp {
  ValueId in;
  ValueId out;
};
// out = cap * tanh(in / cap)
struct SoftcapOp {
  ValueId in;
  float cap;
  ValueId out;
};

// out[rows, sum of cols] = the parts side by side: joins a product that was cut by rows of its matrix
struct ConcatOp {
  std::vector<ValueId> parts;
  ValueId out;
};

using OpBody = std::variant<EmbedOp, RmsNormOp, LinearOp, RopeOp, PagedAttentionOp, GluOp, AddOp, SelectOutputsOp,
                            SoftcapOp, ConcatOp>;

// The part of a model that an op belongs to: the units by which a graph is cut.
enum class Part : uint8_t { kEmbedding, kAttention, kFeedForward, kHead };

struct Op {
  OpBody body;
  Part part = Part::kEmbedding;
  int32_t layer = kNone;  // kNone outside the layers
};

// The KV cache that a model needs: the same shape in every layer.
struct KvSpec {
  int32_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
};

struct Graph {
  std::string architecture;
  std::vector<Value> values;
  std::vector<WeightInfo> weights;
  std::vector<RopeSpec> ropes;
  std::vector<Op> ops;  // in an order that can be run
  KvSpec kv;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  ValueId logits = kNone;  // [O, vocab_size]
};

// The values an op reads, the one it writes, and the weights that its kernels read (a rotation's factors are not: they
// go into tables).
std::vector<ValueId> OpInputs(const OpBody& body);
std::vector<WeightSlot> OpWeights(const OpBody& body);
ValueId OpOutput(const OpBody& body);

// The same model up to what its head reads: `logits` are the last hidden states then, [O, hidden_size], and vocab_size
// is their width.
Graph WithoutHead(Graph graph);

// Adds values, weights and ops while keeping the graph well formed: the language that models/*.cc are written in.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::string architecture) { graph_.architecture = std::move(architecture); }

  // Everything added from now on belongs to this part.
  void Enter(Part part, int32_t layer = kNone);

  WeightSlot Weight(std::string name, int64_t rows, int64_t cols);  // the same name twice is one slot
  int32_t Rope(const RopeSpec& spec);

  ValueId Embed(WeightSlot table, float scale);
  ValueId RmsNorm(ValueId in, WeightSlot weight, float eps, int64_t group = 0);
  ValueId Linear(ValueId in, WeightSlot weight, WeightSlot bias = kNone);
  ValueId Rope(ValueId in, int32_t rope, int64_t head_dim);
  ValueId PagedAttention(ValueId q, ValueId k, ValueId v, int32_t layer, int64_t num_heads, float scale, int64_t window,
                         float softcap = 0.0f);
  ValueId Glu(ValueId gate, ValueId up, Activation activation);
  ValueId Add(ValueId a, ValueId b);
  ValueId SelectOutputs(ValueId in);
  ValueId Softcap(ValueId in, float cap);

  Graph Finish(ValueId logits, const KvSpec& kv);

 private:
  ValueId AddValue(const char* name, Rows rows, int64_t cols);
  void AddOp(OpBody body);
  const Value& value(ValueId id) const { return graph_.values[static_cast<size_t>(id)]; }

  Graph graph_;
  Part part_ = Part::kEmbedding;
  int32_t layer_ = kNone;
};

}  // namespace lem
