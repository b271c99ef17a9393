// A cache of tiles: the last 100 of 400, each in use until it is the oldest.
const tiles = new Map();
function load(key) {
  const tile = new Uint8Array(1024 * 1024 * 2).fill(key);
  tiles.set(key, tile);
  if (tiles.size > 100) tiles.delete(tiles.keys().next().value);
  return tile;
}
let sum = 0;
for (let n = 0; n < 400; n++) {
  sum += load(n)[5];
  for (const tile of tiles.values()) sum += tile[n];
  await new Promise(setImmediate);
}
console.log(sum);
