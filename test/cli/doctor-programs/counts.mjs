// A known number of buffers of a known size at each place: one at the first, two at the second ... Prints the places' lines.
import fs from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { MessageChannel } from "node:worker_threads";

const SIZE = 100_000;
const self = fileURLToPath(import.meta.url);
const big = process.argv[2];
const source = Buffer.alloc(SIZE, 1);

function typed() { return new Float32Array(SIZE / 4); }
function block() { return new ArrayBuffer(SIZE); }
function shared() { return new SharedArrayBuffer(SIZE); }
function alloc() { return Buffer.alloc(SIZE, 1); }
function unsafe() { return Buffer.allocUnsafe(SIZE); }
function slow() { return Buffer.allocUnsafeSlow(SIZE); }
function from() { return Buffer.from(source); }
function concat() { return Buffer.concat([source, source]); }
function ofArray() { return new Uint8Array(source); }
function sliced() { return source.buffer.slice(0, SIZE); }
function copied() { return Uint8Array.prototype.slice.call(source, 0, SIZE); }
function readSync() { return fs.readFileSync(big); }
function readBack() { return new Promise((resolve) => { fs.readFile(big, (_, data) => resolve(data)); }); }
function readPromise() { return readFile(big); }
function readText() { return fs.readFileSync(big, "latin1"); }
function clone() { return structuredClone({ deep: { frame: source } }); }
class Frame extends Uint8Array {}
function subclass() { return new Frame(SIZE); }
// None of these makes a large buffer.
function views() { return [new Uint8Array(source.buffer), source.subarray(1), Buffer.from(source.buffer), new DataView(source.buffer)]; }
function small() { return [new Uint8Array(1000), Buffer.alloc(1000), Buffer.from("small")]; }

const { port1, port2 } = new MessageChannel();
function post() { port1.postMessage({ frames: [source] }); }
function move() { const memory = new ArrayBuffer(SIZE); port1.postMessage(memory, [memory]); }

let times = 1;
for (const make of [typed, block, shared, alloc, unsafe, slow, from, concat, ofArray, sliced, copied, readSync, readBack, readPromise, readText, clone, subclass, views, small, post, move]) {
  for (let n = 0; n < times; n++) await make();
  times++;
}
port2.close();
const lines = fs.readFileSync(self, "utf8").split("\n");
console.log(JSON.stringify(Object.fromEntries(lines.flatMap((line, i) => {
  const name = /^function (\w+)/.exec(line)?.[1];
  return name === undefined ? [] : [[name, i + 1]];
}))));
