// Makes a component of a core module: node componentize.mjs CORE OUT [WIT WORLD]
//
// With a WIT world the module is taken to speak the component model's own ABI, and it gets exactly the imports that it
// uses of that world. Without one it is taken to be a WASI preview 1 command, and it gets the adapter around it.
// The packages are found in the working directory, which is where build_components.py installed them.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "package.json"));
const entry = require.resolve("@bytecodealliance/jco");
const { componentEmbed, componentNew } = await import(pathToFileURL(entry));

async function componentize(core, wit, world) {
  if (wit !== undefined) {
    return componentNew(await componentEmbed({ binary: core, witSource: await readFile(wit, "utf8"), world }), []);
  }
  const adapter = join(dirname(entry), "..", "lib", "wasi_snapshot_preview1.command.wasm");
  return componentNew(core, [["wasi_snapshot_preview1", await readFile(adapter)]]);
}

const [core, out, wit, world] = process.argv.slice(2);
await writeFile(out, await componentize(await readFile(core), wit, world));
