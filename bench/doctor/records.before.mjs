// Records of objects, and a buffer now and then: the collections are for the objects.
const rows = JSON.stringify(
  Array.from({ length: 2000 }, (_, id) => ({ id, name: `name ${id}`, tags: ["a", "b"], at: { x: id, y: 2 } })),
);
const kept = [];
for (let n = 0; n < 400; n++) {
  kept.push(JSON.parse(rows));
  if (kept.length > 40) kept.shift();
  if (n % 4 === 0) Buffer.alloc(100_000, n);
  await new Promise(setImmediate);
}
