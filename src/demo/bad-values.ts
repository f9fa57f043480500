/** Values of messages that name no record, each for a reason of its own. */
export const BAD_VALUES = [
  null,
  Buffer.from([0xff, 0xfe]),
  Buffer.from('["'),
  Buffer.from("{}"),
  Buffer.from("a:b"),
];
