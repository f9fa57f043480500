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

// What was compiled once is not compiled again: it halves the start of a worker, and of all that it starts.
var folder = require("node:path").join(__dirname, "../../node_modules/.cache/node-compile-cache");
require("node:module").enableCompileCache(folder);
process.env.NODE_COMPILE_CACHE = folder;
