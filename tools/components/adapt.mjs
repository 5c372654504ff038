// Puts the WASI preview 1 adapter around an ordinary C program: node adapt.mjs CORE OUT
//
// The package is found in the working directory, which is where build_command.py installed it.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const entry = createRequire(join(process.cwd(), "package.json")).resolve("@bytecodealliance/jco");
const { componentNew } = await import(pathToFileURL(entry));
const [core, out] = process.argv.slice(2);
const adapter = await readFile(join(dirname(entry), "..", "lib", "wasi_snapshot_preview1.command.wasm"));
await writeFile(out, await componentNew(await readFile(core), [["wasi_snapshot_preview1", adapter]]));
