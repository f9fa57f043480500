/**
 * The step between ticks, 1, 2 or 5 times a power of ten, that makes some `count` of them.
 *
 * @param {number} span
 * @param {number} count
 */
export const niceStep = (span, count) => {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((n) => n * power >= rough) ?? 10) * power;
};
