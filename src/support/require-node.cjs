// Loaded before everything else, and in the words of the oldest Node, so that any says what is wrong with it.
var NEEDED = 26;
if (Number(process.versions.node.split(".")[0]) < NEEDED) {
  console.error(
    "expected Node " +
      NEEDED +
      " or newer, got " +
      process.versions.node +
      ": 'npm ci' brings its own (not with --omit=dev or --ignore-scripts), or install one from nodejs.org",
  );
  process.exit(1);
}
