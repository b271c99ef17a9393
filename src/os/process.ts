/**
 * The process object, kept from when this was loaded: a program may delete or replace the global one later. It is not
 * imported from `node:process`, because that import reads every property, and reading `stdin` opens it: then
 * `readFileSync(0)` of the program fails with EAGAIN.
 */
export const process: NodeJS.Process = globalThis.process;
