// What the programs do with their bytes: a look at some of them, as a detector or a hash of a preview has.
export function detect(bytes) {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 61) sum = (sum + bytes[i]) | 0;
  return sum;
}
