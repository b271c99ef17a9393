/**
 * The one place that detaches an ArrayBuffer. Not every one can be: WebAssembly's memory cannot, nor what a program
 * marked as untransferable, and nothing tells beforehand on every platform. So the question is the attempt, or an
 * attempt that must fail.
 */

interface Transferable {
  transfer?: () => ArrayBuffer;
}

/**
 * Ends every view of a buffer: the same bytes go on in the ArrayBuffer that comes back. Undefined, and nothing has
 * changed: this one cannot be detached. Never throws. O(1): 0.2 to 0.9 us for 8 MB.
 */
export function endViews(buffer: ArrayBuffer): ArrayBuffer | undefined {
  try {
    const { transfer } = buffer as Transferable;
    // Node 20 has no transfer(); structuredClone with a transfer list does the same in a few microseconds.
    const next = transfer === undefined ? structuredClone(buffer, { transfer: [buffer] }) : transfer.call(buffer);
    // There it also answers with a copy of what it cannot transfer.
    return buffer.byteLength === 0 ? next : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether a buffer can be transferred. Nothing changes: a copy is begun that must fail, and a buffer that cannot go is
 * refused before its first getter is read. Some 10 us, for slow paths.
 */
export function canTransfer(buffer: ArrayBuffer): boolean {
  let isRead = false;
  const failing = {
    get value(): never {
      isRead = true;
      throw new Error();
    },
  };
  try {
    structuredClone(failing, { transfer: [buffer] });
  } catch {
    // Always.
  }
  return isRead;
}
