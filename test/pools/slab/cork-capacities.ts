/** How many elements of how many bytes libcork has in a block: floor((block - 8) / (element + 8)). */
export const CORK_CAPACITIES: readonly (readonly [blockSize: number, elementSize: number, capacity: number])[] = [
  [64, 8, 3],
  [4096, 8, 255],
  [4096, 5, 314],
  [4096, 64, 56],
  [4096, 256, 15],
  [4096, 4080, 1],
  [64, 48, 1],
  [64, 0, 7],
  [16, 0, 1],
];
