// The ports of a component: /in/PORT/data and /out/PORT/data, and a line for its author to read.
// The clock and random numbers are switched off here.

import { getDirectories } from "wasi:filesystem/preopens@0.2.0";

const READ_BYTES = 1n << 20n;
const WRITE_BYTES = 1 << 20;

/** Make the component's entry of the function that does its work; an exception in it is the component's failure. */
export function component(compute) {
  return {
    run() {
      try {
        compute();
      } catch (error) {
        say(`${error}\n${error?.stack ?? ""}`);
        throw undefined; // `result` has nothing to carry.
      }
    },
  };
}

/** Return what lies at an input port, as bytes. */
export function readPort(port) {
  const file = open(`/in/${port}/data`, {}, { read: true });
  const parts = [];
  let size = 0;
  for (let atEnd = false; !atEnd; ) {
    const [part, last] = file.read(READ_BYTES, BigInt(size));
    parts.push(part);
    size += part.length;
    atEnd = last || part.length === 0;
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Leave the content of an output port, bytes or text; once for each. */
export function writePort(port, content) {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const file = open(`/out/${port}/data`, { create: true, exclusive: true }, { write: true });
  for (let written = 0; written < bytes.length; ) {
    written += Number(file.write(bytes.subarray(written, written + WRITE_BYTES), BigInt(written)));
  }
}

/** Say something to `twocvm run --local`; in a guest it leads nowhere. */
export function say(text) {
  console.error(text);
}

function open(path, openFlags, flags) {
  for (const [folder, name] of getDirectories()) {
    if (path.startsWith(`${name}/`)) {
      return folder.openAt({}, path.slice(name.length + 1), openFlags, flags);
    }
  }
  throw new Error(`no ${path}`);
}
