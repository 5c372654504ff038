"""Components written as text that have files: what they compute is given as core WebAssembly, the rest is here.

    files(run="...", imports="...")     a component with wasi:cli/run, whose core function `run` is the given body

The body finds `$write (path, path length, bytes, length)`, which makes a file below /out; `$read (path, path length)
-> (length)`, which reads at most a megabyte of a file below /in and leaves its address in `$at`; `$identity (path,
path length) -> (number)` of a file below /in; `$room (pages) -> (address)`; and `$heap-to (address)`. Constants are
put in memory by `(data (i32.const 64) "...")` in `core`, up to 32768, where the heap begins.
"""

from __future__ import annotations

from typing import Final

import wasmtime

RUN: Final = "wasi:cli/run@0.2.0"
FILES_IMPORTS: Final = ("wasi:filesystem/preopens@0.2.0", "wasi:filesystem/types@0.2.0")

_ERRORS: Final = """
    "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist" "file-too-large"
    "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory" "loop" "too-many-links"
    "message-size" "name-too-long" "no-device" "no-entry" "no-lock" "insufficient-memory" "insufficient-space"
    "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow"
    "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy" "cross-device"
"""

_IMPORTS: Final = f"""
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type $d (sub resource)))
    (type $e0 (enum {_ERRORS})) (export "error-code" (type $e (eq $e0)))
    (type $p0 (flags "symlink-follow")) (export "path-flags" (type $p (eq $p0)))
    (type $o0 (flags "create" "directory" "exclusive" "truncate")) (export "open-flags" (type $o (eq $o0)))
    (type $f0 (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory")) (export "descriptor-flags" (type $f (eq $f0)))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $d)) (param "path-flags" $p) (param "path" string)
      (param "open-flags" $o) (param "flags" $f) (result (result (own $d) (error $e)))))
    (export "[method]descriptor.read" (func (param "self" (borrow $d)) (param "length" u64) (param "offset" u64)
      (result (result (tuple (list u8) bool) (error $e)))))
    (export "[method]descriptor.write" (func (param "self" (borrow $d)) (param "buffer" (list u8))
      (param "offset" u64) (result (result u64 (error $e)))))
    (type $h0 (record (field "lower" u64) (field "upper" u64))) (export "metadata-hash-value" (type $h (eq $h0)))
    (export "[method]descriptor.metadata-hash" (func (param "self" (borrow $d)) (result (result $h (error $e)))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d0)) (export "descriptor" (type $d (eq $d0)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
"""

# Results of imports are written to 16..48; the heap begins where the caller says and only grows.
_CORE: Final = """
  (import "files" "get-directories" (func $get-directories (param i32)))
  (import "files" "open-at" (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
  (import "files" "read" (func $read-at (param i32 i64 i64 i32)))
  (import "files" "identity" (func $identity-of (param i32 i32)))
  (import "files" "write" (func $write-at (param i32 i32 i32 i64 i32)))
  (import "memory" "memory" (memory 1))
  (import "memory" "heap-to" (func $heap-to (param i32)))
  (import "memory" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (global $folders (mut i32) (i32.const 0))
  (global $at (mut i32) (i32.const 0))
  (func $room (param $pages i32) (result i32)
    (i32.mul (memory.grow (local.get $pages)) (i32.const 65536)))
  (func $open (param $folder i32) (param $path i32) (param $size i32) (param $how i32) (param $flags i32) (result i32)
    (if (i32.eqz (global.get $folders)) (then
      (call $get-directories (i32.const 16))
      (global.set $folders (i32.load (i32.const 16)))))
    (call $open-at (i32.load (i32.add (global.get $folders) (local.get $folder))) (i32.const 0)
      (local.get $path) (local.get $size) (local.get $how) (local.get $flags) (i32.const 16))
    (if (i32.load8_u (i32.const 16)) (then unreachable))
    (i32.load (i32.const 20)))
  (func $write (param $path i32) (param $size i32) (param $bytes i32) (param $length i32)
    (local $file i32) (local $done i32)
    (local.set $file (call $open (i32.const 12) (local.get $path) (local.get $size) (i32.const 1) (i32.const 2)))
    (block $end (loop $more
      (br_if $end (i32.ge_u (local.get $done) (local.get $length)))
      (call $write-at (local.get $file) (i32.add (local.get $bytes) (local.get $done))
        (i32.sub (local.get $length) (local.get $done)) (i64.extend_i32_u (local.get $done)) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then unreachable))
      (local.set $done (i32.add (local.get $done) (i32.load (i32.const 24))))
      (br $more))))
  (func $identity (param $path i32) (param $size i32) (result i64)
    (call $identity-of (call $open (i32.const 0) (local.get $path) (local.get $size) (i32.const 0) (i32.const 1))
      (i32.const 16))
    (i64.xor (i64.load (i32.const 24)) (i64.load (i32.const 32))))
  (func $read (param $path i32) (param $size i32) (result i32)
    (call $read-at (call $open (i32.const 0) (local.get $path) (local.get $size) (i32.const 0) (i32.const 1))
      (i64.const 1000000) (i64.const 0) (i32.const 16))
    (if (i32.load8_u (i32.const 16)) (then unreachable))
    (global.set $at (i32.load (i32.const 20)))
    (i32.load (i32.const 24)))
"""

_WIRING: Final = """
  (core module $memory (memory (export "memory") 1) (global $heap (mut i32) (i32.const 32768))
    (func (export "heap-to") (param i32) (global.set $heap (local.get 0)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-directories (canon lower (func $preopens "get-directories") (memory $mem) (realloc $realloc)))
  (core func $open-at (canon lower (func $types "[method]descriptor.open-at") (memory $mem)))
  (core func $read-at (canon lower (func $types "[method]descriptor.read") (memory $mem) (realloc $realloc)))
  (core func $write-at (canon lower (func $types "[method]descriptor.write") (memory $mem)))
  (core func $identity (canon lower (func $types "[method]descriptor.metadata-hash") (memory $mem)))
  (core instance $files (export "identity" (func $identity))
    (export "get-directories" (func $get-directories)) (export "open-at" (func $open-at))
    (export "read" (func $read-at)) (export "write" (func $write-at)))
"""


def files(
    *, run: str, imports: str = "", lowered: str = "", imported: str = "", core: str = "", given: str = ""
) -> bytes:
    """Return a component of the profile `files`.

    Args:
        run: The body of the core function `run`; 0 on the stack is success.
        imports: Further imports of the component.
        lowered: Definitions that make core functions of them; `$mem` and `$realloc` are there.
        imported: Further imports of the core module.
        core: Data and functions of the core module.
        given: Further arguments of the core module's instantiation, such as `(with "calls" (instance $calls))`.
    """
    return bytes(
        wasmtime.wat2wasm(f"""(component {_IMPORTS} {imports} {_WIRING} {lowered}
  (core module $main {imported} {_CORE} {core} (func (export "run") (result i32) {run}))
  (core instance $main (instantiate $main (with "files" (instance $files)) (with "memory" (instance $memory)) {given}))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $interface (export "run" (func $run)))
  (export "{RUN}" (instance $interface)))""")
    )
