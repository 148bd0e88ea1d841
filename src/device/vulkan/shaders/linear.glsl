// Arguments and epilogue of the linear kernels: out[t, n] = sum over k of weight[n, k] * in[t, k].
layout(push_constant, scalar) uniform Args {
  StepHeader step;
  uint64_t weight;  // [n, k]
  uint64_t row_bytes;
  uint64_t in_rows;  // float [rows, k]
  uint64_t out_rows;
  uint64_t bias;      // float [n] or 0
  uint64_t residual;  // float [rows, n] or 0
  uint rows_kind;
  uint n;
  uint k;
  uint in_stride;
  uint out_stride;
  uint residual_stride;
} args;

void store_output(uint row, uint col, float value) {
  if (args.bias != 0) value += Floats(args.bias).at[col];
  if (args.residual != 0) value += Floats(args.residual + uint64_t(row) * args.residual_stride * 4).at[col];
  Floats(args.out_rows + uint64_t(row) * args.out_stride * 4).at[col] = value;
}
