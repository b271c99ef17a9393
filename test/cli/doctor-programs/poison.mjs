// Notes everything of the built-in classes and of Node's modules that the doctor calls after its preload has been loaded.
import fs, { readFile, readFileSync, writeSync } from "node:fs";
import path from "node:path";
import util from "node:util";
import v8 from "node:v8";
import vm from "node:vm";
import { MessageChannel } from "node:worker_threads";

const { apply, construct, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, setPrototypeOf } = Reflect;
const { stringify } = JSON;
const OriginalError = Error;
const has = Function.prototype.call.bind(String.prototype.includes);
const split = Function.prototype.call.bind(String.prototype.split);
const seen = { __proto__: null };
const DOCTOR = ["doctor-preload", "profile/originals", "profile/recorder", "profile/patches"];
let isBusy = false;

/** The innermost frame that has a file says who called; `note` and the poisoned function are above it. */
function note(name) {
  if (isBusy) return;
  isBusy = true;
  const limit = getOwnPropertyDescriptor(OriginalError, "stackTraceLimit");
  defineProperty(OriginalError, "stackTraceLimit", { __proto__: null, value: 20, writable: true, configurable: true });
  const lines = split(`${new OriginalError().stack}`, "\n");
  defineProperty(OriginalError, "stackTraceLimit", setPrototypeOf(limit, null) && limit);
  if (lines.length < 3) seen.blind = lines.length;
  for (let i = 3; i < lines.length; i++) {
    const line = lines[i];
    if (has(line, "<anonymous>") || has(line, "(native)")) continue;
    for (let n = 0; n < DOCTOR.length; n++) if (has(line, DOCTOR[n])) seen[name] = line;
    break;
  }
  isBusy = false;
}

function poisoned(original, name) {
  return function (...args) {
    note(name);
    return new.target === undefined ? apply(original, this, args) : construct(original, args, new.target);
  };
}

function poison(holder, name) {
  for (const key of ownKeys(holder)) {
    const property = getOwnPropertyDescriptor(holder, key);
    if (key === "constructor" || key === "stack" || property.configurable !== true) continue;
    const full = `${name}.${String(key)}`;
    if (typeof property.value === "function") property.value = poisoned(property.value, full);
    if (typeof property.get === "function") property.get = poisoned(property.get, full);
    defineProperty(holder, key, property);
  }
}

const port = new MessageChannel();
const iterators = [[], new Map(), new Set(), ""].map((one) => getPrototypeOf(one[Symbol.iterator]()));
const classes = { Array, Map, Set, WeakMap, WeakSet, String, Number, Boolean, RegExp, Promise, FinalizationRegistry, WeakRef, Symbol };
const views = [Int8Array, getPrototypeOf(Int8Array), ArrayBuffer, SharedArrayBuffer, DataView];
const list = Object.entries(classes);
const stubs = list.map(([name, one]) => [name, poisoned(one, name)]);
for (const [at, proto] of iterators.entries()) poison(proto, `iterator ${at}`);
for (const [name, holder] of Object.entries({ JSON, Math, v8, vm, path, "types": util.types })) poison(holder, name);
for (const view of views) poison(view.prototype, view.name);
poison(v8.GCProfiler.prototype, "GCProfiler");
poison(getPrototypeOf(setImmediate(() => {})), "Immediate");
for (const name of ["writeFileSync", "openSync", "writeSync", "closeSync", "renameSync"]) fs[name] = poisoned(fs[name], name);
for (const name of ["memoryUsage", "resourceUsage", "hrtime"]) process[name] = poisoned(process[name], name);
performance.now = poisoned(performance.now, "now");
for (const name of ["setImmediate", "setTimeout"]) globalThis[name] = poisoned(globalThis[name], name);
for (const key of ["stackTraceLimit", "prepareStackTrace"]) {
  const value = Error[key];
  defineProperty(Error, key, { get() { note(key); return value; }, set() { note(`${key}=`); }, configurable: true });
}
for (let at = 0; at < list.length; at++) poison(list[at][1].prototype, list[at][0]);
poison(Function.prototype, "Function");
poison(Reflect, "Reflect");
for (const [holder, keys] of [[Object.prototype, ["toJSON", "get", "set", "value"]], [Array.prototype, ["toJSON", "0", "1"]]]) {
  for (const key of keys) {
    defineProperty(holder, key, {
      __proto__: null,
      get() { note(`get ${key}`); return undefined; },
      set(value) { note(`set ${key}`); defineProperty(this, key, { __proto__: null, value, writable: true, enumerable: true, configurable: true }); },
      configurable: true,
    });
  }
}
for (let at = 0; at < stubs.length; at++) globalThis[stubs[at][0]] = stubs[at][1];

function made(n) { return new Uint8Array(1 << 20).fill(n); }
function shared() { return Buffer.from({ valueOf: () => new SharedArrayBuffer(100_000) }); }
function joined(parts) { return Buffer.concat(parts); }
let last = 0;
for (let n = 0; n < 420; n++) last = made(n).length;
shared();
joined([Buffer.alloc(70_000), Buffer.alloc(70_000)]);
const one = made(1);
structuredClone({ one, more: [one] });
port.port1.postMessage({ one }, [one.buffer]);
port.port1.postMessage([made(2)], { transfer: [] });
new ArrayBuffer(100_000).slice(0, 90_000);
readFileSync(process.execPath).slice(0, 100_000);
readFile(process.execPath, () => fs.promises.readFile(process.execPath).then(() => port.port1.close()));
process.on("exit", () => {
  isBusy = true;
  writeSync(1, `${stringify(seen)}\n`);
});
