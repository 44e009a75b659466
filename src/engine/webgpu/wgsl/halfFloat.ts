/** Rounding to float16 in WGSL. Programs with it enable `f16`. */

/** The text for one number, or for four. */
const rounding = (name: string, float: string, unsigned: string, half: string) => `
fn ${name}(x: ${float}) -> ${half} {
  let bits = bitcast<${unsigned}>(x);
  let nearest = bitcast<${float}>((bits + 0xfffu + ((bits >> ${unsigned}(13u)) & ${unsigned}(1u))) & ${unsigned}(0xffffe000u));
  let small = round(x * 16777216f) / 16777216f;
  let size = bits & ${unsigned}(0x7fffffffu);
  let rounded = select(nearest, small, size < ${unsigned}(0x38800000u));
  return ${half}(select(rounded, x * 3e38f, size >= ${unsigned}(0x477ff000u)));
}
`;

/**
 * `half` and `half4` round to the nearest float16, ties to even, with denormals. WGSL leaves open how its own conversion rounds, and what becomes of
 * numbers that are too large: lavapipe cuts digits off, and a device may replace what is too large by the largest float16, so that nobody would
 * notice that a gradient is cut off. So numbers are rounded in float32 first: ordinary ones in integers, those below 2^-14 to multiples of
 * 2^-24. Those that would round to more than 65504 become infinite, and NaN stays NaN. What is left for the conversion is exact.
 */
export const halfFunctions = rounding('half', 'f32', 'u32', 'f16') + rounding('half4', 'vec4f', 'vec4u', 'vec4<f16>');
