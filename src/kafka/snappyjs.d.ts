/** The part of snappyjs 0.7.0 that is used here; it has no types. */
declare module "snappyjs" {
  export const compress: (buffer: Buffer) => Buffer;
  export const uncompress: (buffer: Buffer) => Buffer;
}
