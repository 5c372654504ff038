// @name@: counts and adds up the numbers that it is given.
//
// in numbers:  CSV, its one column `number`
// out summary: JSON, {"count":N,"sum":S}

import { component, readPort, say, writePort } from "./ports.js";

// What the component exports; it keeps this name.
export const run = component(() => {
  const [, ...lines] = new TextDecoder().decode(readPort("numbers")).trimEnd().split("\n");
  const numbers = lines.map(Number);
  if (numbers.some(Number.isNaN)) throw new Error("numbers: want a number in each line");
  say(`${numbers.length} numbers`);
  writePort("summary", JSON.stringify({ count: numbers.length, sum: numbers.reduce((sum, each) => sum + each, 0) }));
});
