// Makes the component of component.js: node build.mjs OUT, in a folder where `node_modules` can be found.

import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: "component.js",
  witPath: "world.wit",
  worldName: "component",
  disableFeatures: ["random", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2], component);
