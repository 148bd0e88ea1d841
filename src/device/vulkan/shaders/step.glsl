// The step header and its tables: the device's side of vulkan_step.h, and what every kernel needs around them.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_control_flow_attributes : require

// Constant 0 of every shader: threads of a workgroup.
layout(local_size_x_id = 0, local_size_y = 1, local_size_z = 1) in;
layout(constant_id = 0) const uint WORKGROUP = 32;

layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer Uints { uint at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Longs { uint64_t at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer LongPairs { u64vec2 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Addresses { uint64_t at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Vec4s { vec4 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 2) buffer Shorts { uint16_t at[]; };

struct StepRow { uint position; uint kv_block_begin; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer StepRows { StepRow at[]; };
struct AttentionTile { uint row_begin; uint num_rows; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer AttentionTiles { AttentionTile at[]; };

layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer StepHeader {
  uint num_rows[2];  // of values of kind Rows::kTokens, Rows::kOutputs
  uint num_attention_tiles;
  uint reserved;
  Uints token_ids;
  Uints output_rows;
  StepRows rows;
  AttentionTiles attention_tiles;
  Addresses kv_blocks;
};

uint thread_idx() { return gl_LocalInvocationID.x; }
